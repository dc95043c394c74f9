"""Keys that documentation, overlays and messages name are keys that there are."""

import re
from pathlib import Path

import pytest

from mcqlora.config.sections import Benchmark, Section, Settings

ROOT = Path(__file__).parents[2]
SECTIONS = {
    name: set(field.annotation.model_fields)
    for name, field in Settings.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, Section)
}
KEYS = set(Settings.model_fields).union(Benchmark.model_fields, *SECTIONS.values())
FILES = {
    "py",
    "smk",
    "json",
    "jsonl",
    "model",
    "yaml",
    "md",
    "tsv",
    "csv",
    "safetensors",
    "log",
    "lock",
    "sh",
    "db",
    "npy",
}
MODULES = {f"{path.parent.name}.{path.stem}" for path in ROOT.glob("src/mcqlora/*/*.py")}
TENSORS = re.compile(r"model\.(layers|norm|norm_out|embed_tokens|tok_embeddings)$")
MISSPELT = {"train.lora_rnak"}  # an example
OTHERS = {"letters", "place", "rest", "en", "zh"}  # of shuffle.option_references
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("config/*"), ROOT / "config.yaml"]
CODE = [*ROOT.glob("src/**/*.py"), *ROOT.glob("workflow/**/*.smk"), *ROOT.glob("workflow/scripts/*.py")]


def dotted(text: str) -> set[str]:
    """`train.lora_rank` and the like that name no key; texts and comments of code, or a page."""
    names = re.findall(rf"(?<![\w./-])({'|'.join(SECTIONS)})\.(\w+)(?![\w(])", text)
    found = {f"{one}.{key}" for one, key in names if key not in SECTIONS[one] | FILES}
    return {name for name in found - MODULES - MISSPELT if not TENSORS.match(name)}


def paired(text: str) -> set[str]:
    """`key: value` in backticks, in braces or in a comment's braces, whose key there is not."""
    spans = re.findall(r"`([^`\n]+)`", text) + re.findall(r"#.*?(\{.*?\})", text)
    names = {name for span in spans for name in re.findall(r"(?:^|[{,] ?)([a-z_0-9]+): ", span)}
    return names - KEYS - OTHERS


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_a_page_names_keys_that_there_are(path):
    text = path.read_text(encoding="utf-8")
    assert not dotted(text)


@pytest.mark.parametrize("path", sorted(ROOT.glob("config/*")), ids=lambda path: path.name)
def test_a_comment_of_an_overlay_shows_keys_that_there_are(path):
    assert not paired(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", CODE, ids=lambda path: path.name)
def test_messages_and_comments_name_keys_that_there_are(path):
    texts = re.findall(r'f?"[^"\n]*"|#.*', path.read_text(encoding="utf-8"))
    assert not dotted(re.sub(r"\{[^{}]*\}", "-/", "\n".join(texts)))


def test_a_key_that_is_none_is_found():
    assert dotted("set `tokenizer.file` or train.rank; see plan.json") == {"tokenizer.file", "train.rank"}
    assert paired("# trains a stand-in; or {weights: FOLDER}\n`bad_row: drop`, `train: {lora_rank: 8}`") == {
        "weights",
        "bad_row",
    }
