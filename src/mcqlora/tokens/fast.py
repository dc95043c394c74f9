"""Hugging Face `tokenizers`: a tokenizer.json, with what tokenizer_config.json says beside it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from mcqlora import files
from mcqlora.errors import UserError
from mcqlora.tokens.tokenizer_config import special_piece

# Pre-tokenizers whose words are known to end at places that `line_cut` and `segments` name; each is the steps
# that `_steps` reads from the file. None looks behind.
_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_LINES = r"\s*[\r\n]+|\s+(?!\S)|\s+"
GPT_2 = "gpt2"  # ByteLevel's own expression
DIGITS = "digits"
CUT_BEFORE_NEWLINES = {(GPT_2,), (DIGITS, GPT_2)}  # GPT-2; SmolLM2
CUT_AFTER_NEWLINES = {
    (rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{n}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{_LINES}",)
    for n in ("", "{1,3}")  # Qwen 2 to 3; Llama 3
} | {
    (  # Qwen 3.5
        rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}\p{{M}}]+|\p{{N}}|"
        rf" ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*|{_LINES}",
    ),
    (  # DeepSeek V3
        r"\p{N}{1,3}",
        "[一-龥\u3040-ゟ゠-ヿ]+",
        r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+|"""
        rf" ?[\p{{P}}\p{{S}}]+[\r\n]*|{_LINES}",
    ),
    (  # Mistral's tekken
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|"
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|"
        rf"\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{_LINES}",
    ),
}


class FastTokenizer:
    """A tokenizer of Hugging Face's library, under the names that SentencePiece's has."""

    def __init__(self, path: files.PathLike, config: files.Json) -> None:
        """Raises: UserError: the file is no tokenizer.json (for instance cut off), or cannot be read."""
        import tokenizers

        self.config = config
        try:
            self._tokenizer = tokenizers.Tokenizer.from_buffer(Path(path).read_bytes())
        except OSError as error:
            raise UserError(f"{path}: cannot read the tokenizer ({error.strerror})") from error
        except Exception as error:  # the library raises no other kind
            reason = " ".join(str(error).split())[:200]
            said = f"not a tokenizer.json of Hugging Face's tokenizers ({reason}); fetch it again"
            raise UserError(f"{path}: {said}") from error
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._tokenizer.encode_special_tokens = True  # a special piece in a text is text
        added = self._tokenizer.get_added_tokens_decoder()
        self.marks: Mapping[str, int] = {token.content: index for index, token in added.items()}
        self.bos, self.eos = self._special("bos"), self._special("eos")
        self.unk, self.pad = self._special("unk"), self._special("pad")
        self.start = self._start()

    def encode(self, text: str) -> list[int]:
        return self._tokenizer.encode(text, add_special_tokens=False).ids

    def decode(self, ids: Sequence[int]) -> str:
        return self._tokenizer.decode(list(ids), skip_special_tokens=True)

    def vocab_size(self) -> int:
        """All ids up to the last one that a piece has."""
        return 1 + max(self._tokenizer.get_vocab().values())

    def id_of(self, piece: str) -> int | None:
        return self._tokenizer.token_to_id(piece)

    def id_to_piece(self, index: int) -> str:
        return self._tokenizer.id_to_token(index) or ""

    def _special(self, role: str) -> int | None:
        piece = special_piece(self.config, f"{role}_token")
        return None if piece is None else self.id_of(piece)

    def _start(self) -> tuple[int, ...]:
        """What the post-processor puts before a text; LLaMA's class in transformers adds its own."""
        if self.config.get("add_bos_token") is False:
            return ()
        plain, whole = (self._tokenizer.encode("a", add_special_tokens=x).ids for x in (False, True))
        starts = range(len(whole) - len(plain) + 1)
        before = next((i for i in starts if whole[i : i + len(plain)] == plain), 0)
        llama = str(self.config.get("tokenizer_class", "")).startswith("LlamaTokenizer")
        if not before and llama and self.bos is not None:
            return (self.bos,)
        return tuple(whole[:before])

    @property
    def line_cut(self) -> Literal["before", "after"] | None:
        """Whether a text may be cut before or after its newlines, see `segments`; None: not known.

        A cut must be where two words of the pre-tokenizer meet, whatever stands before and after. Merges stay
        within a word, and canonical composition (NFC) within what is between two such places.
        """
        given = self._tokenizer
        merges = type(given.model).__name__ == "BPE" and not given.model.dropout
        composes = all(one["type"] == "NFC" for one in _flat(given.normalizer, "normalizers"))
        if not merges or not composes or any(map(_reaches_out, given.get_added_tokens_decoder().values())):
            return None
        try:
            steps = tuple(map(_step, _flat(given.pre_tokenizer, "pretokenizers")))
        except ValueError:
            return None
        steps = tuple(filter(None, steps))
        if steps in CUT_BEFORE_NEWLINES:
            return "before"
        return "after" if steps in CUT_AFTER_NEWLINES else None


def _reaches_out(added: Any) -> bool:
    """Whether an added piece may stand across a cut, or take the place of what follows one."""
    reaches = added.lstrip or added.rstrip or added.single_word
    return reaches or re.search(r"[\s.]|^[A-Za-z]", added.content) is not None


def _flat(part: Any, inner: str) -> list[Mapping[str, Any]]:
    """The steps of a normalizer or pre-tokenizer, as tokenizer.json spells them."""
    if part is None:
        return []
    said = json.loads(part.__getstate__())
    return list(said[inner]) if said["type"] == "Sequence" else [said]


def _step(said: Mapping[str, Any]) -> str:
    """What a step of a pre-tokenizer splits by; nothing where it only spells bytes as characters.

    Raises: ValueError: it is of another kind.
    """
    match said:
        case {"type": "ByteLevel", "add_prefix_space": False, "use_regex": splits}:
            return GPT_2 if splits else ""
        case {"type": "Digits", "individual_digits": True}:
            return DIGITS
        case {"type": "Split", "pattern": {"Regex": found}, "behavior": "Isolated", "invert": False}:
            return found.replace("\r", r"\r").replace("\n", r"\n")  # of a class may stand there themselves
    raise ValueError(said)
