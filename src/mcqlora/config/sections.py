"""Every key of the configuration: its type, its default, its bounds, and what it is for.

config.yaml and the JSON schema are made from these sections by `python -m mcqlora.config`.
"""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, TypeVar, get_args, get_origin

import pydantic
from pydantic import Field, ValidationInfo
from pydantic_core import PydanticCustomError

from mcqlora.config import presets
from mcqlora.config.scalars import PARSED, TEXT, WHOLE, Number, parsed
from mcqlora.data.layouts import Layout
from mcqlora.evaluate import protocols

GENERATED = "generated"  # value of `data` for the embedded benchmark

# Bounds stand before the reader, so that the JSON schema has them.
Flag = Annotated[bool, PARSED]
Int = Annotated[int, WHOLE]
Count = Annotated[int, Field(ge=1), WHOLE]
Seed = Annotated[int, Field(ge=0, le=2**32 - 1), WHOLE]
Text = Annotated[str, TEXT]
Filled = Annotated[str, Field(min_length=1), TEXT]
Sha256 = Annotated[str, Field(pattern="^[0-9A-Fa-f]{64}$"), TEXT]
FileName = Annotated[str, Field(pattern="^[A-Za-z0-9][A-Za-z0-9._-]*$"), TEXT]
Tag = Annotated[str, Field(pattern="^[A-Za-z0-9_-]+$"), TEXT]

Checkpoint = Literal["best", "checkpoint_1", "checkpoint_2", "checkpoint_3", "checkpoint_4", "checkpoint_5"]
OwnModel = Literal["base", "checkpoint_1", "checkpoint_2", "checkpoint_3", "checkpoint_4", "checkpoint_5"]
Template = Literal["internlm", "chatml", "llama3", "plain", "chat_template"]
Part = Literal["adapters", "reports", "data", "networks"]
if TYPE_CHECKING:
    Protocol: TypeAlias = str
    Headline: TypeAlias = str
    Preset: TypeAlias = str
else:  # what the registry has; a headline is asked of every question
    Protocol = Literal[tuple(protocols.BY_NAME)]
    Headline = Literal[tuple(name for name, one in protocols.BY_NAME.items() if one.language is None)]

    Preset = Literal[tuple(presets.PRESETS)]


def _distinct(values: list[object]) -> list[object]:
    if twice := [value for value in values if values.count(value) > 1]:
        raise PydanticCustomError(
            "distinct", "{value} stands there twice; remove one", {"value": str(twice[0])}
        )
    return values


_SHORT = {
    "eng": "en",
    "zho": "zh",
    "chi": "zh",
    "cmn": "zh",
    "spa": "es",
    "fra": "fr",
    "fre": "fr",
    "deu": "de",
}
_SHORT |= {"ger": "de", "por": "pt", "rus": "ru", "jpn": "ja", "kor": "ko", "ara": "ar", "hin": "hi"}


def _language(tag: str) -> str:
    """The language of a tag (BCP 47), with the shortest code of those that have patterns."""
    if not re.fullmatch(LANGUAGE, tag):
        said = "{value} is no language tag; write a code with two or three letters (BCP 47): en, zh, fr"
        raise PydanticCustomError("language", said, {"value": tag})
    code = re.split("[-_]", tag)[0].lower()
    return _SHORT.get(code, code)


def _language_key(tag: str) -> str:
    if (code := _language(tag)) != tag:
        raise PydanticCustomError("language", "a tag counts by its language; write {code}", {"code": code})
    return tag


LANGUAGE = "^[A-Za-z]{2,3}([-_][A-Za-z0-9]{1,8})*$"
_PATTERN = Field(json_schema_extra={"pattern": LANGUAGE})
Language = Annotated[str, _PATTERN, TEXT, pydantic.AfterValidator(_language)]
LanguageKey = Annotated[str, _PATTERN, TEXT, pydantic.AfterValidator(_language_key)]
_T = TypeVar("_T")
_UNIQUE = Field(min_length=1, json_schema_extra={"uniqueItems": True})
Distinct = Annotated[list[_T], _UNIQUE, pydantic.AfterValidator(_distinct)]


def key(default: Any, about: str | None = None, **bounds: Any) -> Any:
    return Field(default, description=about, **bounds)


def section(kind: type[Section], about: str | None = None) -> Any:
    return Field(default_factory=kind, description=about)


class Section(pydantic.BaseModel):
    """Keys that belong together. Unknown ones are refused, and no value changes once it is read.

    What a key is for stands beside its default, or below where that is too long for a line.
    """

    model_config = pydantic.ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    @pydantic.model_validator(mode="before")
    @classmethod
    def _keys(cls, value: object) -> object:
        return {} if value is None else parsed(value)

    @pydantic.field_validator("*", mode="before")
    @classmethod
    def _value(cls, value: object, info: ValidationInfo) -> object:
        kind = cls.model_fields[info.field_name or ""].annotation
        inner = get_args(get_args(kind)[0]) if type(None) in get_args(kind) else ()
        if inner and (value == "null" or (str not in inner and parsed(value) is None)):
            return None
        return parsed(value) if get_origin(kind) in (list, dict) else value


def _several(value: object) -> object:
    """One text where several may stand."""
    value = parsed(value) if isinstance(value, str) and value[:1] == "[" else value
    return value if isinstance(value, list) else [value]


def _lists(value: object) -> object:
    return {key: _several(one) for key, one in value.items()} if isinstance(value, dict) else value


def _partial(value: object) -> object:
    return {} if value is None else parsed(value)


Partial = Annotated[dict[str, Any], pydantic.BeforeValidator(_partial)]  # keys that a variant changes
Texts = Annotated[list[Filled], pydantic.BeforeValidator(_several)]
Values = Annotated[dict[str, list[Text]], pydantic.BeforeValidator(_lists)]
Field_ = Literal["question", "answer", "labels", "passage", "subject", "split"]


class Benchmark(Section):
    """A benchmark: a folder, a file, or an archive of a folder, and how its files and rows are laid out."""

    name: Tag = Field(description="First part of every question's id.")
    preset: Preset | None = None
    """How a known set is laid out, with its language and licence (docs/benchmarks.md)."""
    layout: Literal["mmlu", "cmmlu"] | None = None
    """mmlu (no header, {split}/{subject}_{split}.csv) or cmmlu (header, {split}/{subject}.csv), any set."""
    path: Text
    """Folder, file or archive (.zip, .tar, .tar.gz, .tgz) below data, or a file's or archive's address."""
    language: Language | None = None
    """Language tag; of en, zh, es, fr, de, pt, ru, ja, ko, ar, hi options that refer to others are known."""
    licence: Text | None = key(None, "terms of use of its text, for the data card; null: the preset's")
    sha256: Sha256 | None = key(None, "that the file or archive must have, in hex; null takes any")
    family: Text | None = None
    """Regular expression; questions with equal groups share a part, and count as one in intervals."""
    files: Texts | None = None
    """Patterns with {subject}, {split}, *; the first that fits counts; none: what its README.md names."""
    subset: Filled | None = key(None, "of the configs of README.md, one; null: all, each a subject")
    columns: Texts | None = key(None, "names of the columns of files without a header; []: they have one")
    splits: dict[Filled, Literal["dev", "val", "test", "unlabelled"]] | None = None
    """its names of splits, e.g. {train: dev, validation: val, test: unlabelled}; unlabelled: no answers"""
    fields: dict[Field_, Filled] | None = None
    """columns of question, answer, labels (of options), passage, subject, split; a.b leads into objects"""
    options: Texts | None = None
    """columns of the options, or the one that holds a list or an object; null: those called A, B, C, ..."""
    answer: Literal["letter", "index", "number", "label", "text", "first"] | None = None
    """says the right option by letter, index from 0, number from 1, label, text; first: it stands first"""
    absent: Annotated[list[Text], pydantic.BeforeValidator(_several)] | None = None
    """texts of options that are not there, e.g. ["", "N/A"]"""
    where: Values | None = key(None, "rows that are kept, e.g. {error_type: ok}, or one of several texts")
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] | None = None
    """of cells; null: comma, semicolon, tab or bar, as the first row says"""

    @pydantic.model_validator(mode="before")
    @classmethod
    def _of_preset(cls, value: object) -> object:
        """Language and licence of a preset, where none is given."""
        if not isinstance(value, dict):
            return value
        known = presets.PRESETS.get(str(value.get("preset")))
        given = {key: one for key, one in value.items() if one is not None}
        return ({"language": known.language, "licence": known.licence} if known else {}) | given

    def declaration(self) -> Layout:
        """How it is laid out: its preset, with the keys that stand beside it."""
        known = presets.PRESETS.get(self.preset or "")
        keys = known.keys if known else presets.LAYOUTS.get(self.layout or "", {})
        own = self.model_dump(include={field.name for field in dataclasses.fields(Layout)}, exclude_none=True)
        own["fields"] = {**keys.get("fields", {}), **own.get("fields", {})}
        return Layout(**{**keys, **own})


class Demo(Section):
    seed: Seed = key(7, "decides facts, questions and their order")
    repeats: Count = key(30, "how often the base network's corpus states each fact")
    family_size: Annotated[Literal[2, 3, 6], WHOLE] = key(
        3, "persons of a clan, and towns of a province, that share each value"
    )


class Read(Section):
    on_bad_row: Literal["fail", "drop"] = "fail"
    """fail stops at a bad row; drop puts it into the ledger with its reason"""
    first_row_lost: Flag = False
    """defect of the reference: the first row of a headerless file is taken for a header"""
    pandas_na: Flag = key(False, "defect of the reference: options such as None become nan")
    check_quotes: Flag = True
    """refuse a quoted cell of CSV that looks like several rows, as two stray quotes make it"""
    strip_letters: Flag = True
    """remove letters that options bring themselves: (A), (B), ...; false is a defect of the reference"""
    drop_identical_options: Flag = key(True, "drop questions whose right option stands twice")
    drop_contradictory: Flag = key(True, "drop duplicates that disagree about the right option")


class OptionReferences(Section):
    """Regular expressions for options that refer to others."""

    letters: list[Text] = key([], "names options by letter (both A and B): the question keeps its order")
    place: list[Text] = key([], "points above or below (all of the above): stays, as does what is above it")
    rest: list[Text] = key([], "speaks of all the others (none of these): stays at its place")


class Shuffle(Section):
    seed: Seed = key(42, "decides the orders of the options, and which questions are held out")
    copies: Int = key(6, ge=2, le=24)
    """per question; the first keeps the order, the last serves validation and test"""
    pin_references: Flag = True
    """options such as "both A and B" stay; false is a defect of the reference"""
    balance_letters: Flag = True
    """the right option visits every letter; false draws orders uniformly, as the reference"""
    reparse_options: Flag = False
    """defect of the reference: options are cut out of the text, and passages with them"""
    option_references: dict[LanguageKey, OptionReferences] = {}
    """patterns to add, e.g. {en: {place: ["^the lot$"]}}; kinds letters, place, rest"""


class Holdout(Section):
    valid: Count = key(6, "validation questions")
    test: Count = key(30, "test questions")
    near_duplicate_threshold: Number | None = key(0.8, gt=0, le=1)
    """Jaccard similarity from which questions share a part; null: equal texts only"""


class Tokenizer(Section):
    path: Text | None = None
    """tokenizer.model or tokenizer.json below data, or its address; null: base.path's, or trained here"""
    sha256: Sha256 | None = key(None, "that the file of an address must have, in hex; null takes any")
    vocab_size: Int = key(1400, "pieces of the trained one", ge=300)
    template: Template | None = None
    """turns: internlm, chatml, llama3, plain, or chat_template, its own; null: by its pieces"""
    unused_marks: Flag = False
    """defect of the reference: turns are marked with two unused pieces and a byte"""


class Encode(Section):
    seq_length: Int = key(128, ge=16)
    """ids that the network sees of a row; training rows hold one more, the last label"""
    shards: Count = key(2, "MindRecord shards of the training part, one job each")
    layout: Literal["padded", "packed"] = "padded"
    """training rows: padded, one question each; packed, as many as fit, isolated from each other"""
    on_long: Literal["drop", "truncate"] = "drop"
    """longer rows: drop, or truncate, which leaves no label; counted either way"""
    mask_full_rows: Flag = False
    """defect of the reference: a padded row that fits exactly loses every label"""

    def row_size(self, part: str) -> int:
        """Ids of a row: the network slices the last one off in training, and not in evaluation."""
        return self.seq_length + (part == "train")

    def layout_of(self, part: str) -> str:
        """Rows of the validation part are padded: its loss is compared between layouts."""
        return self.layout if part == "train" else "padded"

    def edge(self, part: str) -> str:
        """What becomes of a padded row that fits exactly, see `tokens.packing.batches`."""
        return "reference" if self.mask_full_rows and self.layout_of(part) == "padded" else "corrected"


class Model(Section):
    """Of a network that is trained here. With base.path all that is not named is None: the folder says it."""

    vocab_size: Count | None = key(None, "ids of the network; null: as many as the tokenizer has pieces")
    hidden_size: Count | None = key(160, "width")
    num_layers: Count | None = key(3, "decoder layers")
    num_heads: Count | None = key(4, "attention heads")
    n_kv_heads: Count | None = key(None, "key and value heads; null: as many as num_heads")
    intermediate_size: Count | None = key(424, "width of the feed-forward part")
    rms_norm_eps: Number | None = key(1e-6, "epsilon of the norms", gt=0)
    theta: Number | None = key(10000.0, "base of the rotary frequencies", gt=0)
    has_bias: Flag | None = key(True, "bias on q, k, v and o: InternLM")
    init_std: Number = key(0.06, "standard deviation of random weights", ge=0)


class Base(Section):
    path: Filled | None = None
    """Hugging Face folder below data, or its address (docs/interoperation.md); null trains one"""
    name: Filled | None = None
    """on the Hub, which exported adapters give as their base, e.g. Qwen/Qwen2.5-0.5B; null: its place"""
    sha256: dict[FileName, Sha256] = {}
    """that files of an address must have, in hex, e.g. {model.safetensors: ...}"""
    text: Literal["corpus", "train"] = "corpus"
    """corpus, the embedded one, or train, the training questions' own text"""
    rows: Count | None = key(None, "texts used, drawn at random; null: all")
    workers: Count = key(1, "processes under msrun, one per NPU")
    epochs: Count = key(1, "passes over the text")
    batch_size: Count = key(8, "rows per worker and step")
    learning_rate: Number = key(0.003, "peak", gt=0)
    seed: Seed = key(0, "of weights and row order")


class Mix(Section):
    """A file of other instruction data: Alpaca JSON or JSONL, SQuAD v1.1, or plain texts."""

    path: Filled = Field(description="File below data, or its address (https://, s3://).")
    share: Number = Field(gt=0, lt=1, description="Of all training records, those from this file.")
    sha256: Sha256 | None = key(None, "that the file of an address must have, in hex; null takes any")
    licence: Text | None = key(None, "terms of use of its text, for the data card; null: none was given")


class Parallel(Section):
    """For networks that one NPU cannot hold; data parallelism is what `workers` are for otherwise."""

    tensor: Count = key(1, "workers that share a network, its matrices divided among them")
    optimizer: Flag = key(False, "AdamW's moments are divided among the workers")


class Train(Section):
    mix: list[Mix] = [Mix(path="squad/train-v1.1.json", share=0.1)]
    """other instruction data among the training records, here the embedded benchmark's; [] for none"""
    rows: Count | None = key(None, "training rows per epoch, drawn anew in each; null: all")
    workers: Count = key(2, "processes under msrun, one per NPU")
    nodes: Count = key(1, "machines of a Slurm cluster that the workers are spread over evenly")
    lora_rank: Count = key(16, "inner dimension of the two matrices")
    lora_alpha: Number = key(32, "the update is scaled by alpha / rank", gt=0)
    lora_dropout: Number = key(0.05, "of the input, before the first matrix", ge=0, lt=1)
    target_modules: Text = key(".*wq|.*wk|.*wv|.*wo", "regular expression of the projections that are tuned")
    lora_dtype: Literal["float32", "float16"] = "float32"
    """of the two matrices and so of the adapters; float16 loses most of the last steps' small updates"""
    epochs: Count = key(1, "passes over the training rows")
    batch_size: Count = key(4, "rows per worker and step")
    learning_rate: Number = key(0.003, "peak; rises linearly, then falls as a cosine", gt=0)
    warmup_ratio: Number = key(0.03, "share of the steps with a rising rate", ge=0, le=1)
    weight_decay: Number = key(0.01, "of AdamW", ge=0)
    loss_scale: Count = key(16384, "first dynamic loss scale")
    max_grad_norm: Number = key(1.0, "gradients are clipped to this norm", gt=0)
    seed: Seed = key(0, "of LoRA's weights, dropout and row order")
    evaluations: Count = key(5, "parts into which evaluations of the validation loss divide the training")
    checkpoints: Int = key(5, "likewise; the five most evenly spaced are delivered", ge=5)
    best: Literal["valid_loss", "valid_accuracy"] = "valid_loss"
    """chooses the best checkpoint; or valid_accuracy: full answers to validation questions"""
    patience: Count | None = None
    """evaluations without a better loss after which training stops, once five checkpoints are there"""
    rendezvous_timeout: Int = key(300, "seconds that workers wait for each other at the start", ge=10)
    evaluation_interval: Count | None = None
    """steps between two evaluations, instead of evaluations; a multiple of 2 on Ascend"""
    checkpoint_interval: Count | None = None
    """steps between two checkpoints, instead of checkpoints; a multiple of 2 on Ascend"""
    evaluation_batch_size: Count | None = None
    """validation rows per worker and step, at most; null: batch_size"""
    recompute: Flag = key(False, "make activations again in the backward pass: less memory, same result")
    attention: Literal["auto", "flash", "plain"] = "auto"
    """flash: the NPU's fused kernel; plain operators; auto: flash where the device has it"""
    parallel: Parallel = section(Parallel, "for networks larger than one NPU")
    retries: Int = key(0, "how often a failed training starts again, from its last complete checkpoint", ge=0)


class Plan(Section):
    devices: Count | None = key(None, "of the machine; null: the npu of the profile")
    tokens_per_second: Number | None = key(1550, gt=0)
    """measured, that a device trains on, padding included; null: by operations, peak and utilisation"""
    source: Filled = key("this file's network on two CPU cores", "where tokens_per_second is from")
    memory_gb: Number | None = key(None, "of a device, in 10^9 bytes; null: no limit to compare with", gt=0)
    disk_gb: Number | None = key(None, gt=0)
    """free for the run, in 10^9 bytes; null: what is free in this folder"""


class Evaluate(Section):
    protocol: Headline = "answer"
    """headline: answer, the likelihood of the full answer; or letter, option, harness, generation"""
    protocols: Distinct[Protocol] = ["answer", "letter", "option", "harness", "cmmlu", "generation"]
    """docs/evaluation.md has the table"""
    shots: Distinct[Annotated[int, Field(ge=0, le=5), WHOLE]] = [0]
    """worked examples of harness and cmmlu, e.g. [0, 5]; they must fit encode.seq_length"""
    rotations: Annotated[Literal["all", 1, 4], PARSED] = "all"
    """all (or 4): answer and letter also with the options rotated (circular evaluation); 1: as they are"""
    leak_items: Int = key(450, ge=0)
    """re-ordered training questions asked as well: what the reference recipe tests; 0: none"""
    workers: Count = key(1, "processes that share an evaluation under msrun, one per NPU; changes no result")
    batch_size: Count = key(32, "rows per forward pass")
    seed: Seed = key(0, "of the samples below")
    generation_items: Count = key(120, "test questions that are answered by greedy generation, at most")
    generation_max_new_tokens: Count = key(24, "length of a generated answer, at most")
    squad: Text = key("squad/dev-v1.1.json", "reading test, a SQuAD v1.1 file below data, or its address")
    squad_sha256: Sha256 | None = key(None, "that the file of an address must have, in hex; null takes any")
    squad_items: Count = key(108, "reading questions, at most")
    squad_max_new_tokens: Count = key(12, "length of a reading answer, at most")


class Judged(Section):
    """A model that was made elsewhere, judged on this run's held-out questions."""

    name: FileName = Field(description="In tables and below results/<run>/judged/; another for each model.")
    path: Filled = Field(description="Hugging Face folder of a causal language model, below data.")
    adapter: Text | None = key(None, "folder of a PEFT adapter for it, below data; null: the network alone")
    trained_on: list[Filled] = key([], "its training data, for the leak gate: JSON, JSONL or Parquet files")


class Samples(Section):
    """Item files of another evaluation tool: lm-evaluation-harness' samples, OpenCompass' predictions."""

    name: FileName = Field(description="In tables and below results/<run>/judged/; another for each model.")
    path: Filled = Field(description="File below data, or a folder of samples_*.jsonl or *.json files.")
    protocol: Protocol = key(
        "harness", "the protocol of evaluate.protocols that asks alike, to be paired with"
    )
    trained_on: list[Filled] = key([], "training data of the model, for the leak gate, as of models")


class Judge(Section):
    models: list[Judged] = key([], "made elsewhere: {name, path}, perhaps with adapter and trained_on")
    samples: list[Samples] = key([], "answered elsewhere: {name, path}, perhaps with protocol, trained_on")
    device: Literal["auto", "cpu", "cuda", "npu"] = key("auto", "of torch; auto: the one that it finds")
    dtype: Literal["float32", "bfloat16", "float16"] = key("float32", "of weights and arithmetic")
    batch_size: Count = key(32, "texts per forward pass")
    seq_length: Count | None = key(None, "ids of the longest text; null: encode.seq_length")

    def everything(self) -> list[Judged | Samples]:
        """All models that are not the run's own."""
        return [*self.models, *self.samples]


class Compare(Section):
    models: list[OwnModel] = [
        "base",
        "checkpoint_1",
        "checkpoint_2",
        "checkpoint_3",
        "checkpoint_4",
        "checkpoint_5",
    ]
    """of the run itself, beside all of judge; [] where nothing was trained here"""
    against: FileName = key("base", "the model that every other one is compared with")


class Export(Section):
    checkpoint: Checkpoint = "best"
    """the merged one: best, by train.best, or checkpoint_1 to checkpoint_5"""


class S3(Section):
    endpoint: Annotated[str, Field(pattern="^https?://[^/?#@]+/?$"), TEXT] | None = None
    """e.g. https://obs.cn-north-4.myhuaweicloud.com; null takes AWS_ENDPOINT_URL, else Amazon's"""
    region: Text | None = key(None, "null takes AWS_DEFAULT_REGION")
    addressing: Literal["auto", "virtual", "path"] = "auto"
    """where a bucket's name stands: virtual, before the host, for OBS; path; auto, by the endpoint"""


class Publish(Section):
    to: Text | None = key(None, "s3://bucket/prefix, below which the run gets a folder of its name")
    parts: Distinct[Part] = ["adapters", "reports", "data"]
    """or networks as well: the base and the merged one, as Hugging Face folders"""


class FetchRun(Section):
    manifest: Text | None = key(None, "address of its manifest.json, https:// or s3://")
    sha256: Sha256 | None = key(None, "that the manifest must have, in hex; null takes any")
    files: list[Text] = key(["*"], min_length=1)
    """patterns of names, e.g. ["export/peft/*"]; * stands for / as well"""


EMBEDDED = (
    Benchmark(
        name="island_en",
        layout="mmlu",
        path="island_en",
        language="en",
        licence="Apache-2.0",
        family=r"What is the (.+) of \w+ (\w+)\?",  # relation and clan
    ),
    Benchmark(
        name="island_zh",
        layout="cmmlu",
        path="island_zh",
        language="zh",
        licence="Apache-2.0",
        family="^(..)·..的(.+)是什么",  # province and relation
    ),
)


class Settings(Section):
    """The whole configuration."""

    run: FileName = key("demo", "name; everything made lands in results/<run>/")
    data: Filled = key(GENERATED, 'folder that holds the benchmarks, or "generated" for the embedded one')
    recipe: Literal["corrected", "reference"] = "corrected"
    """or reference: turns on every defect below that is not named, and is stamped LEAKED"""
    split: Literal["question", "official", "recipe"] = "question"
    """disjoint questions; official: train on dev and val, test on test; recipe: leaks"""
    device: Literal["CPU", "Ascend"] = key("CPU", "or Ascend")
    gres: Annotated[str, Field(pattern="^[A-Za-z0-9_]+(:[A-Za-z0-9_]+)?$"), TEXT] | None = None
    """what Slurm calls the devices (GRES); null: npu on Ascend, and on a CPU none are asked for"""
    variants: dict[FileName, Partial] = {}
    """for `snakemake compare`: partial configurations over this one, e.g. {rank8: {train: {lora_rank: 8}}}"""
    seeds: Annotated[list[Seed], pydantic.AfterValidator(_distinct)] = key(
        [], "values of train.seed, for the run and each variant, e.g. [0, 1, 2]; []: that one alone"
    )
    benchmarks: list[Benchmark] = key(list(EMBEDDED), min_length=1)
    """another one is an entry here, no code; path: a folder, an archive, or its address (sha256: ...)"""
    demo: Demo = section(Demo, "the embedded benchmark")
    read: Read = section(Read, "rules for rows")
    shuffle: Shuffle = section(Shuffle, "copies of every question with its options re-ordered")
    holdout: Holdout = section(Holdout, "held-out questions per category, which is (benchmark, subject)")
    tokenizer: Tokenizer = section(
        Tokenizer, "SentencePiece's, or of Hugging Face's tokenizers, and how it marks turns"
    )
    encode: Encode = section(Encode, "rows of token ids")
    model: Model = section(
        Model, "the network trained here; with base.path what its folder says, unless named"
    )
    base: Base = section(Base, "trained here, as a stand-in for weights from outside, unless path is given")
    train: Train = section(Train, "LoRA")
    plan: Plan = section(Plan, "what `snakemake plan` reckons with")
    evaluate: Evaluate = section(Evaluate, "of the base and of the five checkpoints")
    judge: Judge = section(
        Judge, "models and answers from elsewhere, for `snakemake judge` (docs/compare.md)"
    )
    compare: Compare = section(Compare, "what `snakemake compare` puts side by side")
    export: Export = section(Export)
    """to Hugging Face's formats: every checkpoint for PEFT, one merged into the base"""
    s3: S3 = section(S3)
    """the service of s3:// addresses (docs/buckets.md); credentials come from the environment alone"""
    publish: Publish = section(Publish, "what `snakemake publish` uploads")
    fetch_run: FetchRun = section(FetchRun)
    """`snakemake fetch_run`: a published run's files into results/<run>/fetched/"""

    def devices_of_slurm(self, number: int) -> str:
        """What Slurm is asked for on each machine, as `npu:4`; empty where nothing is to be asked for."""
        name = self.gres or ("npu" if self.device == "Ascend" else None)
        return f"{name}:{number}" if name and number else ""
