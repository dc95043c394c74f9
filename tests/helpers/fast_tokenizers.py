"""Small byte-level tokenizers as Hugging Face's library writes them, one per kind of pre-tokenizer."""

import json

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from tests.helpers.texts import TEXTS

LLAMA_3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|"
    r"\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN_2 = LLAMA_3.replace("{1,3}", "")
QWEN_3_5 = QWEN_2.replace(r"?\p{L}+", r"?[\p{L}\p{M}]+").replace(r"[^\s\p{L}\p{N}]", r"[^\s\p{L}\p{M}\p{N}]")
TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|"
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|"
    r"\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
DEEPSEEK = (
    r"\p{N}{1,3}",
    "[一-龥\u3040-ゟ゠-ヿ]+",
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+|"
    " ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+",
)
GPT_2 = pre_tokenizers.ByteLevel(add_prefix_space=False)


def split(*expressions):
    parts = [pre_tokenizers.Split(Regex(one), "isolated") for one in expressions]
    return pre_tokenizers.Sequence([*parts, pre_tokenizers.ByteLevel(False, use_regex=False)])


# By name: the pre-tokenizer, and where lines may be cut.
KINDS = {
    "gpt2": (GPT_2, "before"),
    "smollm2": (pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), GPT_2]), "before"),
    "llama3": (split(LLAMA_3), "after"),
    "qwen2": (split(QWEN_2), "after"),
    "qwen3.5": (split(QWEN_3_5), "after"),
    "tekken": (split(TEKKEN), "after"),
    "deepseek": (split(*DEEPSEEK), "after"),
    "unknown": (split(r"\w+|\W+"), None),
    "prefix space": (pre_tokenizers.ByteLevel(add_prefix_space=True), None),
    "none": (pre_tokenizers.ByteLevel(False, use_regex=False), None),
}
CHATML = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")


def write(folder, kind="qwen2", special=CHATML, added=(), start=None, size=390, normalizer=None, **config):
    """A tokenizer.json trained on `TEXTS`, with a tokenizer_config.json beside it if it has keys.

    `special` pieces and `added` ones, which texts may spell, come after `size` others; `start` is one that is
    put before a text.
    """
    made = Tokenizer(models.BPE())
    made.normalizer = normalizers.NFC() if normalizer is None else normalizer
    made.pre_tokenizer, _ = KINDS[kind]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(
        TEXTS, trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False)
    )
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens(list(special))
    made.add_tokens(list(added))
    if start:
        pair = (start, made.token_to_id(start))
        made.post_processor = processors.TemplateProcessing(f"{start} $A", special_tokens=[pair])
    folder.mkdir(exist_ok=True, parents=True)
    made.save(str(folder / "tokenizer.json"))
    if config:
        (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder / "tokenizer.json"
