"""A model that was made elsewhere, ready to be asked as ours are: Hugging Face's formats, through PyTorch."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mcqlora import hashing
from mcqlora.errors import UserError
from mcqlora.evaluate import generation, scoring, torch_forward
from mcqlora.evaluate.answers import Cache
from mcqlora.evaluate.asking import Model
from mcqlora.evaluate.engine import Engine, Progress, silent
from mcqlora.evaluate.forward import Forward
from mcqlora.evaluate.protocols import Tokenization
from mcqlora.provenance import fingerprint
from mcqlora.tokens.marks import EOA, EOH
from mcqlora.tokens.prompt import Template

REFERENCE_MARKS = ("<TOKENS_UNUSED_140>", "<TOKENS_UNUSED_139>")  # see `prompt.reference`


@dataclass(frozen=True, kw_only=True)
class ForeignSpec:
    """Which model is judged, and how."""

    name: str
    path: str  # a Hugging Face folder
    adapter: str | None  # a folder of PEFT's
    runs: str  # the folder below which its answers are kept
    seq_length: int  # ids of the longest text
    batch_size: int  # texts that are fed at once
    device: str  # auto, cpu, cuda or npu
    dtype: str  # of weights and arithmetic
    unused_marks: bool  # the run marks turns as the reference recipe does


class Processor:
    """A tokenizer of transformers', with the few methods of SentencePiece's that the protocols use."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self._ids: Mapping[str, int] = tokenizer.get_vocab()
        self._pieces = {index: piece for piece, index in self._ids.items()}

    def piece_to_id(self, piece: str) -> int:
        return self._ids.get(piece, -1)

    def id_to_piece(self, index: int) -> str:
        return self._pieces.get(index, "")

    def decode(self, ids: list[int]) -> str:
        return self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)

    def encode(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False) if text else []


@dataclass(frozen=True)
class Foreign(Tokenization):
    """A tokenizer whose vocabulary need not have InternLM's marks.

    The recipe's prompt is asked in the form that the model knows: `turns` internlm, with the marks of the
    run, if the vocabulary has them; else chat, by the tokenizer's chat template; else plain, the text alone.
    """

    turns: str = "internlm"
    start_ids: tuple[int, ...] = ()
    stop_ids: frozenset[int] = field(default_factory=frozenset)

    @property
    def start(self) -> list[int]:
        return list(self.start_ids)

    @property
    def stops(self) -> set[int]:
        return set(self.stop_ids)

    def prompt(self, instruction: str, input: str) -> list[int]:
        if self.turns == "internlm":
            return super().prompt(instruction, input)
        text = f"{instruction}\n{input}" if input else instruction
        if self.turns == "plain":
            return [*self.start, *self.encode(f"{text}\n")]
        turn = [{"role": "user", "content": text}]
        tokenizer = self.processor.tokenizer  # type: ignore[attr-defined]
        return list(
            self.encode(tokenizer.apply_chat_template(turn, add_generation_prompt=True, tokenize=False))
        )


def tokenization(path: str, unused_marks: bool) -> Foreign:
    """The tokenizer of a folder.

    Raises:
        UserError: there is none that transformers can load, or it has no end of text.
    """
    from transformers import AutoTokenizer, GenerationConfig

    try:
        tokenizer = AutoTokenizer.from_pretrained(path)
    except (OSError, ValueError, KeyError, ImportError) as error:
        said = " ".join(str(error).split())[:300]
        raise UserError(f"{path}: transformers cannot load its tokenizer ({said}); add its files") from error
    ends = {tokenizer.eos_token_id}
    if Path(path, "generation_config.json").exists():
        said_ends = GenerationConfig.from_pretrained(path).eos_token_id
        ends |= set(said_ends if isinstance(said_ends, list) else [said_ends])
    stops = frozenset(end for end in ends if end is not None)
    if not stops:
        raise UserError(f"{path}: its tokenizer has no eos_token; add it to tokenizer_config.json")
    processor = Processor(tokenizer)
    eos, bos = tokenizer.eos_token_id, tokenizer.bos_token_id
    eoh, eoa = (processor.piece_to_id(mark) for mark in (REFERENCE_MARKS if unused_marks else (EOH, EOA)))
    newline = processor.piece_to_id("<0x0A>") if unused_marks else (processor.encode("\n") or [-1])[-1]
    turns = "chat" if tokenizer.chat_template else "plain"
    if min(eoh, eoa, newline, -1 if bos is None else bos, -1 if eos is None else eos) >= 0:
        turns, stops = "internlm", stops | {eoa}
    template = Template(-1 if bos is None else bos, min(stops), eoh, eoa, newline, min(stops))
    start = () if bos is None else (bos,)
    return Foreign(processor, processor.encode, template, turns, start, stops)  # type: ignore[arg-type]


def ready(spec: ForeignSpec, progress: Progress = silent) -> Model:
    """The model of `spec`; its network is loaded when it is first asked something that is not kept.

    Raises:
        UserError: there is no torch here, or the folder is not as it should be.
    """
    place = torch_forward.device(spec.device)
    tokens = tokenization(spec.path, spec.unused_marks)

    @functools.cache
    def built() -> Forward:
        return torch_forward.load(spec.path, spec.adapter, place, spec.dtype, spec.batch_size)

    cache = Cache(kept(spec, str(place)))
    engine = Engine(lambda rows: built()(rows), spec.batch_size, spec.seq_length, cache, progress)
    return Model(spec.name, engine, tokens)


def kept(spec: ForeignSpec, place: str) -> Path:
    """The file of a model's answers, named by all that decides them."""
    folders = [Path(spec.path), *([Path(spec.adapter)] if spec.adapter else [])]
    files = [
        hashing.sha256(file) for folder in folders for file in sorted(folder.iterdir()) if file.is_file()
    ]
    code = fingerprint.fingerprint(
        *(Path(one.__file__) for one in (generation, scoring, torch_forward) if one.__file__)
    )
    versions = [version(name) for name in ("torch", "transformers", "peft")]
    key = hashing.digest(files, spec.dtype, spec.batch_size, place, code, versions)
    return Path(spec.runs) / key[:16] / "evaluation.jsonl"
