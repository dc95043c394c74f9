"""SentencePiece models: load a given one, or train the small one of the embedded default."""

from __future__ import annotations

import io as bytes_io
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import sentencepiece

from mcqlora import files
from mcqlora.errors import UserError

EOH, EOA = "<eoh>", "<eoa>"  # end of human, end of assistant: spelled as in InternLM's own model
ASCII = "\n" + "".join(map(chr, range(0x21, 0x7F)))
LINE = re.compile(r"[^\n]*\n+|[^\n]+")


def load(path: files.PathLike) -> sentencepiece.SentencePieceProcessor:
    """Load a SentencePiece model.

    Raises:
        UserError: there is no such file, or it is no SentencePiece model (for instance cut off).
    """
    try:
        with open(path, "rb") as file:
            return _processor(file.read())
    except OSError as error:
        raise UserError(f"{path}: cannot read the tokenizer ({error.strerror})") from error
    except (RuntimeError, ValueError) as error:
        raise UserError(f"{path}: not a SentencePiece model; give the tokenizer.model of the base") from error


def train(
    texts: Iterable[str],
    path: files.PathLike,
    vocab_size: int,
    user_defined_symbols: Sequence[str] = (EOH, EOA),
    required_chars: str = ASCII,
) -> None:
    """Train a BPE model with the properties of InternLM's and write it to `path`.

    Those are: identity normalisation (every space and newline survives), no dummy prefix, byte fallback,
    digits one by one, ids unk 0, bos 1, eos 2, no pad. `user_defined_symbols` get the ids from 3 on and
    `required_chars` a piece each, seen in `texts` or not. Training sees a line at a time, its newlines at the
    end, so that no piece holds a newline followed by text: letters of options stay pieces of their own.
    The same texts in the same order give the same bytes.

    Raises:
        UserError: `vocab_size` is too small for the characters of the texts, or too large for their pairs.
    """
    model = bytes_io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=(line for text in texts for line in LINE.findall(text)),
            model_writer=model,
            model_type="bpe",
            vocab_size=vocab_size,
            user_defined_symbols=list(user_defined_symbols),
            required_chars=required_chars,
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


def network_vocabulary(pieces: int, ids: int | None) -> int:
    """Ids of a network for a tokenizer of so many pieces: `ids` are asked for, None means as many.

    Raises:
        UserError: the network has fewer ids than there are pieces, which would crash, or more, which is
            another model's tokenizer.
    """
    if ids is not None and ids != pieces:
        raise UserError(
            f"model.vocab_size: the network has {ids} ids, the tokenizer {pieces} pieces; give the base's "
            "own tokenizer"
        )
    return pieces


class Settings(NamedTuple):
    """What a model does to a text beside merging: fields of TrainerSpec and NormalizerSpec."""

    is_bpe: bool
    byte_fallback: bool
    whitespace_as_suffix: bool
    maps_characters: bool
    dummy_prefix: bool
    remove_extra_whitespaces: bool


def settings(processor: sentencepiece.SentencePieceProcessor) -> Settings:
    """Settings of a loaded model, by the field numbers of sentencepiece_model.proto.

    Read without protobuf's generated code: after importing that, a process can't import MindSpore 2.7.
    """
    trainer: dict[int, int | bytes] = {}
    normalizer: dict[int, int | bytes] = {}
    for number, value in _fields(processor.serialized_model_proto()):
        if number == 2:
            trainer = dict(_fields(value))
        elif number == 3:
            normalizer = dict(_fields(value))
    return Settings(
        is_bpe=trainer.get(3) == 2,
        byte_fallback=bool(trainer.get(35, False)),
        whitespace_as_suffix=bool(trainer.get(24, False)),
        maps_characters=bool(normalizer.get(2)),
        dummy_prefix=bool(normalizer.get(3, True)),
        remove_extra_whitespaces=bool(normalizer.get(4, True)),
    )


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """(field number, value) pairs of a protobuf message; integers are decoded, all else stays bytes."""
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    while at < len(message):
        number, kind = divmod(varint(), 8)
        if kind == 0:
            yield number, varint()
            continue
        length = varint() if kind == 2 else {1: 8, 5: 4}[kind]
        yield number, message[at : at + length]
        at += length


def _processor(serialized: bytes) -> sentencepiece.SentencePieceProcessor:
    if not serialized:
        raise ValueError("empty file")  # SentencePiece loads no bytes without complaint
    processor = sentencepiece.SentencePieceProcessor()
    processor.LoadFromSerializedProto(serialized)
    # Cut between two fields it is a model still, of other rules: the normalizer's come last.
    if 3 not in dict(_fields(serialized)):
        raise ValueError("no normalizer")
    return processor
