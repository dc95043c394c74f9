"""A model that was made elsewhere, ready to be asked as ours are: Hugging Face's formats, through PyTorch."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mcqlora import hashing
from mcqlora.errors import UserError
from mcqlora.evaluate import generation, scoring, torch_forward
from mcqlora.evaluate.answers import Cache
from mcqlora.evaluate.asking import Model
from mcqlora.evaluate.engine import Engine, Progress, silent
from mcqlora.evaluate.protocols import Tokenization
from mcqlora.evaluate.trees import Forward
from mcqlora.files import Json
from mcqlora.provenance import fingerprint
from mcqlora.tokens import prompt


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
    template: str | None  # of the run, see `tokenization`


class Processor:
    """A tokenizer of transformers' as one of ours; `ends` are its network's ends of text."""

    line_cut = None  # it is not cut

    def __init__(self, tokenizer: Any, ends: Sequence[int] = ()) -> None:
        self.tokenizer = tokenizer
        self._ids: Mapping[str, int] = tokenizer.get_vocab()
        self._pieces = {index: piece for piece, index in self._ids.items()}
        self.bos, self.unk, self.pad = tokenizer.bos_token_id, tokenizer.unk_token_id, tokenizer.pad_token_id
        self.eos = next(iter(ends), None) if tokenizer.eos_token_id is None else tokenizer.eos_token_id
        added = tokenizer.added_tokens_decoder
        self.marks: Mapping[str, int] = {token.content: index for index, token in added.items()}
        own = tokenizer.chat_template  # a text, or several by name
        template = own.get("default") if isinstance(own, dict) else own
        self.config: Json = {**tokenizer.special_tokens_map, "chat_template": template}
        plain, whole = (tokenizer.encode("a", add_special_tokens=marked) for marked in (False, True))
        starts = range(len(whole) - len(plain) + 1)
        before = next((i for i in starts if whole[i : i + len(plain)] == plain), 0)
        self.start: tuple[int, ...] = tuple(whole[:before])

    def encode(self, text: str) -> list[int]:
        if not text:
            return []
        return self.tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)

    def decode(self, ids: Sequence[int]) -> str:
        return self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)

    def vocab_size(self) -> int:
        return 1 + max(self._pieces)

    def id_of(self, piece: str) -> int | None:
        return self._ids.get(piece)

    def id_to_piece(self, index: int) -> str:
        return self._pieces.get(index, "")


def tokenization(path: str, template: str | None) -> Tokenization:
    """The tokenizer of a folder, and the turns that its model knows.

    These are the run's `template` if its vocabulary has the pieces of it, else the ones that
    `prompt.template` chooses by its pieces. A text also ends where generation_config.json says so.

    Raises:
        UserError: there is none that transformers can load, or it has no end of text.
    """
    from transformers import AutoTokenizer, GenerationConfig

    try:
        tokenizer = AutoTokenizer.from_pretrained(path)
    except (OSError, ValueError, KeyError, ImportError) as error:
        said = " ".join(str(error).split())[:300]
        raise UserError(f"{path}: transformers cannot load its tokenizer ({said}); add its files") from error
    ends: Sequence[int | None] = []
    if Path(path, "generation_config.json").exists():
        named = GenerationConfig.from_pretrained(path).eos_token_id
        ends = named if isinstance(named, list) else [named]
    processor = Processor(tokenizer, known := [end for end in ends if end is not None])
    if processor.eos is None:
        raise UserError(f"{path}: its tokenizer has no eos_token; add it to tokenizer_config.json")
    try:
        turns = prompt.template(processor, template)
    except UserError:
        turns = prompt.template(processor)
    turns = replace(turns, stop=tuple(dict.fromkeys((*turns.stop, *known))))
    return Tokenization(processor, processor.encode, turns)


def ready(spec: ForeignSpec, progress: Progress = silent) -> Model:
    """The model of `spec`; its network is loaded when it is first asked something that is not kept.

    Raises:
        UserError: there is no torch here, or the folder is not as it should be.
    """
    place = torch_forward.device(spec.device)
    tokens = tokenization(spec.path, spec.template)

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
