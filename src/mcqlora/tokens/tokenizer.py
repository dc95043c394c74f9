"""Tokenizers: load a given one of either kind, or train the small one of the embedded benchmark."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import sentencepiece

from mcqlora import files
from mcqlora.errors import UserError
from mcqlora.tokens.marks import EOA, EOH
from mcqlora.tokens.tokenizer_config import read_config, special_piece


class Tokenizer(Protocol):
    """Text to ids and back. `encode` adds no mark, and takes a special piece in a text for text."""

    @property
    def bos(self) -> int | None: ...
    @property
    def eos(self) -> int | None: ...
    @property
    def pad(self) -> int | None: ...
    @property
    def unk(self) -> int | None: ...
    @property
    def start(self) -> tuple[int, ...]:
        """The ids with which a text begins."""
        ...

    @property
    def marks(self) -> Mapping[str, int]:
        """The pieces that a chat template may spell, and their ids."""
        ...

    @property
    def config(self) -> files.Json:
        """tokenizer_config.json, empty where there is none."""
        ...

    @property
    def line_cut(self) -> Literal["before", "after"] | None:
        """Where words of a pre-tokenizer end at newlines, see `fast.FastTokenizer.line_cut`."""
        ...

    def encode(self, text: str) -> list[int]: ...
    def decode(self, ids: Sequence[int]) -> str: ...
    def vocab_size(self) -> int: ...
    def id_of(self, piece: str) -> int | None: ...
    def id_to_piece(self, index: int) -> str: ...


def load(path: files.PathLike) -> Tokenizer:
    """Load a SentencePiece model, or a `tokenizer.json`, with the `tokenizer_config.json` beside it.

    Raises:
        UserError: there is no such file, or it is no tokenizer (for instance cut off).
    """
    config = read_config(path)
    if str(path).endswith(".json"):
        from mcqlora.tokens.fast import FastTokenizer  # a library of 8 MB, where it is used

        return FastTokenizer(path, config)
    try:
        serialized = Path(path).read_bytes()
        processor = SentencePiece(serialized, config)
        # An empty file loads, and one cut between two fields, with other rules: the normalizer's come last.
        if 3 not in dict(_fields(serialized)):
            raise ValueError("no normalizer")
    except OSError as error:
        raise UserError(f"{path}: cannot read the tokenizer ({error.strerror})") from error
    except (RuntimeError, ValueError) as error:
        said = "not a SentencePiece model; give the tokenizer.model, or the tokenizer.json, of the base"
        raise UserError(f"{path}: {said}") from error
    return processor


class SentencePiece(sentencepiece.SentencePieceProcessor):
    """A SentencePiece model, and the pieces that `tokenizer_config.json` adds or renames (InternLM2's do)."""

    line_cut = None  # it has no pre-tokenizer

    def __init__(self, model_proto: bytes, config: files.Json | None = None) -> None:
        super().__init__(model_proto=model_proto)
        self.config = config or {}
        added = self.config.get("added_tokens_decoder", {})
        self.marks = {token["content"]: int(index) for index, token in added.items()}
        self._added = {index: piece for piece, index in self.marks.items()}
        self.bos, self.eos = self._special("bos", self.bos_id()), self._special("eos", self.eos_id())
        self.unk, self.pad = self._special("unk", self.unk_id()), self._special("pad", self.pad_id())
        begins = self.config.get("add_bos_token", True)
        self.start: tuple[int, ...] = () if self.bos is None or not begins else (self.bos,)

    def _special(self, role: str, own: int) -> int | None:
        named = special_piece(self.config, f"{role}_token")
        return (self.id_of(named) if named else None) or (own if own >= 0 else None)

    def decode(self, ids: Sequence[int]) -> str:  # type: ignore[override]  # of one text
        """Without ids that have no piece: a network whose vocabulary is padded may write them."""
        pieces = self.get_piece_size()
        return super().decode([index for index in ids if index < pieces])

    def vocab_size(self) -> int:
        return max(self.get_piece_size(), 1 + max(self._added, default=0))

    def id_of(self, piece: str) -> int | None:
        if piece in self.marks:
            return self.marks[piece]
        index = self.piece_to_id(piece)  # an unknown piece has the id of <unk>
        return index if super().id_to_piece(index) == piece else None

    def id_to_piece(self, index: int) -> str:  # type: ignore[override]  # of one id
        return self._added.get(index) or super().id_to_piece(index)


def train(texts: Iterable[str], path: files.PathLike, vocab_size: int) -> None:
    """Train a BPE model with the properties of InternLM's and write it to `path`.

    Those are: identity normalisation (every space and newline survives), no dummy prefix, byte fallback, one
    piece per digit, ids unk 0, bos 1, eos 2, no pad. `EOH` and `EOA` get the ids from 3 on. Each character of
    ASCII gets a piece, seen in `texts` or not. Training sees one line at a time, its newlines at
    the end. So no piece holds a newline followed by text, and letters of options stay pieces of their own.
    The same texts in the same order give the same bytes.

    Raises:
        UserError: `vocab_size` is too small for the characters of the texts, or too large for their pairs.
    """
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=(line for text in texts for line in re.findall(r"[^\n]*\n+|[^\n]+", text)),
            model_writer=model,
            model_type="bpe",
            vocab_size=vocab_size,
            user_defined_symbols=[EOH, EOA],
            required_chars="\n" + "".join(map(chr, range(0x21, 0x7F))),
            character_coverage=1.0,
            byte_fallback=True,
            split_digits=True,
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            add_dummy_prefix=False,
            max_sentence_length=1 << 20,  # bytes; longer lines are skipped without a word
            unk_id=0,
            bos_id=1,
            eos_id=2,
            pad_id=-1,
            num_threads=1,
            minloglevel=2,
        )
    except RuntimeError as error:
        reason = str(error).rpartition("] ")[2].strip()  # after the place in the library's source
        message = f"{path}: cannot train a tokenizer of {vocab_size} pieces ({reason}); change vocab_size"
        raise UserError(message) from error
    files.write_bytes(path, model.getvalue())


def corpus_texts(corpus: files.PathLike) -> list[str]:
    """The distinct documents of corpus.jsonl, on which the demo's tokenizer is trained."""
    return sorted(set(files.read_jsonl(corpus)))


class Settings(NamedTuple):
    """What a model does to a text besides merging: fields of TrainerSpec and NormalizerSpec."""

    is_bpe: bool
    byte_fallback: bool
    whitespace_as_suffix: bool
    maps_characters: bool
    dummy_prefix: bool
    remove_extra_whitespaces: bool


def settings(processor: sentencepiece.SentencePieceProcessor) -> Settings:
    """Settings of a loaded model, by the field numbers of sentencepiece_model.proto.

    Read without protobuf's generated code: a process that has imported that cannot import MindSpore 2.7.
    """
    parts = dict(_fields(processor.serialized_model_proto()))
    trainer, normalizer = (dict(_fields(parts.get(number, b""))) for number in (2, 3))
    return Settings(
        is_bpe=trainer.get(3) == 2,
        byte_fallback=bool(trainer.get(35, False)),
        whitespace_as_suffix=bool(trainer.get(24, False)),
        maps_characters=bool(normalizer.get(2)),
        dummy_prefix=bool(normalizer.get(3, True)),
        remove_extra_whitespaces=bool(normalizer.get(4, True)),
    )


def _fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """(field number, value) pairs of a protobuf message; integers are decoded, anything else stays bytes."""
    rest = io.BytesIO(message)

    def varint() -> int:
        value = shift = 0
        while (byte := rest.read(1)[0]) & 0x80:
            value |= (byte & 0x7F) << shift
            shift += 7
        return value | byte << shift

    while rest.tell() < len(message):
        number, kind = divmod(varint(), 8)
        if kind == 0:
            yield number, varint()
        else:
            yield number, rest.read(varint() if kind == 2 else {1: 8, 5: 4}[kind])
