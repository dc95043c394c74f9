"""Known benchmarks: how each is laid out where it is published, in the keys of an entry of `benchmarks`.

The forms are those that lm-evaluation-harness 0.4.13 and OpenCompass read. File names of TMLU, TMMLU+,
ArabicMMLU and INCLUDE, and the licences, come from descriptions of the sets: not compared with the files.
docs/benchmarks.md has this table, tests/helpers/benchmarks.py a few invented rows of each in its true form.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

Keys = Mapping[str, Any]

_PARTS = {"dev": "dev", "val": "val", "test": "test"}
_TRAINED = {"train": "dev", "validation": "val", "test": "test"}  # worked examples come from dev
_HIDDEN = {"train": "dev", "validation": "test", "dev": "test", "test": "unlabelled"}
_CHOICES = {"options": ["choices.text"], "answer": "label"}
_STEM = {"question": "question.stem", "labels": "question.choices.label", "answer": "answerKey"}
_KEYED = {"labels": "choices.label", "answer": "answerKey"}
_OPS = ["opa", "opb", "opc", "opd"]
_OPTIONS = ["option_a", "option_b", "option_c", "option_d"]


class Preset(NamedTuple):
    """A set: its title, where it is published, its terms, its language (None: its files say), its keys."""

    title: str
    source: str
    licence: str
    language: str | None
    keys: Keys


LAYOUTS: Mapping[str, Keys] = {
    "mmlu": {
        "files": ["{split}/{subject}_{split}.csv"],
        "columns": ["question", "A", "B", "C", "D", "answer"],
        "splits": _PARTS,
    },
    "cmmlu": {"files": ["{split}/{subject}.csv"], "splits": _PARTS},
}

_HF = "https://huggingface.co/datasets/"
_GITHUB = "https://github.com/"

PRESETS: Mapping[str, Preset] = {
    "mmlu": Preset("MMLU", _GITHUB + "hendrycks/test", "MIT", "en", LAYOUTS["mmlu"]),
    "mmlu_hf": Preset(
        "MMLU, as cais/mmlu",
        _HF + "cais/mmlu",
        "MIT",
        "en",
        {
            "files": ["all/{split}-*.parquet", "{subject}/{split}-*.parquet"],
            "splits": {"dev": "dev", "validation": "val", "test": "test"},
            "fields": {"subject": "subject"},
            "options": ["choices"],
            "answer": "index",
        },
    ),
    "cmmlu": Preset("CMMLU", _GITHUB + "haonan-li/CMMLU", "CC BY-NC-SA 4.0", "zh", LAYOUTS["cmmlu"]),
    "ceval": Preset(
        "C-Eval",
        _HF + "ceval/ceval-exam",
        "CC BY-NC-SA 4.0",
        "zh",
        {
            "files": ["{split}/{subject}_{split}.csv"],
            "splits": {"dev": "dev", "val": "test", "test": "unlabelled"},
        },
    ),
    "mmlu_pro": Preset(
        "MMLU-Pro",
        _HF + "TIGER-Lab/MMLU-Pro",
        "MIT",
        "en",
        {
            "files": ["data/{split}-*.parquet", "{split}-*.parquet", "{split}.json*"],
            "splits": {"validation": "dev", "test": "test"},
            "fields": {"subject": "category", "answer": "answer_index"},
            "options": ["options"],
            "answer": "index",
            "absent": ["N/A"],
        },
    ),
    "mmlu_redux": Preset(
        "MMLU-Redux, questions without an error",
        _HF + "edinburgh-dawg/mmlu-redux-2.0",
        "CC BY 4.0",
        "en",
        {
            "files": ["{subject}/data-*.arrow", "{subject}/test.csv"],
            "splits": {"test": "test"},
            "options": ["choices"],
            "answer": "index",
            "where": {"error_type": ["ok"]},
        },
    ),
    "mmmlu": Preset(
        "MMMLU, one language: path is its file, or subset its config",
        _HF + "openai/MMMLU",
        "MIT",
        None,
        {"splits": {"test": "test"}, "fields": {"subject": "Subject"}},
    ),
    "global_mmlu": Preset(
        "Global-MMLU, one language: path is its folder",
        _HF + "CohereForAI/Global-MMLU",
        "Apache-2.0",
        None,
        {
            "files": ["{split}-*.parquet"],
            "splits": {"dev": "dev", "test": "test"},
            "fields": {"subject": "subject"},
            "options": _OPTIONS,
        },
    ),
    "include": Preset(
        "INCLUDE, one language: path is its folder",
        _HF + "CohereForAI/include-base-44",
        "Apache-2.0",
        None,
        {
            "files": ["{split}-*.parquet"],
            "splits": {"validation": "dev", "test": "test"},
            "fields": {"subject": "subject"},
            "options": _OPTIONS,
            "answer": "index",
        },
    ),
    "gpqa": Preset(
        "GPQA, main",
        _HF + "Idavidrein/gpqa",
        "CC BY 4.0",
        "en",
        {
            "files": ["gpqa_main.csv"],
            "splits": {"train": "test"},
            "fields": {"question": "Question", "subject": "High-level domain"},
            "options": ["Correct Answer", "Incorrect Answer 1", "Incorrect Answer 2", "Incorrect Answer 3"],
            "answer": "first",
        },
    ),
    "arc": Preset(
        "ARC, Easy and Challenge",
        _HF + "allenai/ai2_arc",
        "CC BY-SA 4.0",
        "en",
        {"files": ["{subject}/{split}-*.parquet"], "splits": _TRAINED, "fields": _KEYED, **_CHOICES},
    ),
    "arc_jsonl": Preset(
        "ARC, as AI2 publishes it",
        "https://allenai.org/data/arc",
        "CC BY-SA 4.0",
        "en",
        {
            "files": ["{subject}/{subject}-{split}.jsonl"],
            "splits": {"train": "dev", "dev": "val", "test": "test"},
            "fields": _STEM,
            "options": ["question.choices.text"],
            "answer": "label",
        },
    ),
    "openbookqa": Preset(
        "OpenBookQA",
        _HF + "allenai/openbookqa",
        "Apache-2.0",
        "en",
        {
            "files": ["main/{split}-*.parquet"],
            "splits": _TRAINED,
            "fields": {"question": "question_stem", **_KEYED},
            **_CHOICES,
        },
    ),
    "openbookqa_jsonl": Preset(
        "OpenBookQA, as AI2 publishes it",
        "https://allenai.org/data/open-book-qa",
        "Apache-2.0",
        "en",
        {
            "files": ["Main/{split}.jsonl"],
            "splits": {"train": "dev", "dev": "val", "test": "test"},
            "fields": _STEM,
            "options": ["question.choices.text"],
            "answer": "label",
        },
    ),
    "commonsenseqa": Preset(
        "CommonsenseQA",
        _HF + "tau/commonsense_qa",
        "MIT",
        "en",
        {"files": ["data/{split}-*.parquet"], "splits": _HIDDEN, "fields": _KEYED, **_CHOICES},
    ),
    "commonsenseqa_jsonl": Preset(
        "CommonsenseQA, as its authors publish it",
        "https://www.tau-nlp.org/commonsenseqa",
        "MIT",
        "en",
        {
            "files": ["{split}_rand_split*.jsonl"],
            "splits": _HIDDEN,
            "fields": _STEM,
            "options": ["question.choices.text"],
            "answer": "label",
        },
    ),
    "hellaswag": Preset(
        "HellaSwag",
        _GITHUB + "rowanz/hellaswag",
        "MIT",
        "en",
        {
            "files": ["hellaswag_{split}.jsonl", "data/{split}-*.parquet"],
            "splits": {"train": "dev", "val": "test", "validation": "test", "test": "unlabelled"},
            "fields": {"question": "ctx", "answer": "label"},
            "options": ["endings"],
            "answer": "index",
        },
    ),
    "truthfulqa": Preset(
        "TruthfulQA, one right answer (mc1)",
        _HF + "truthfulqa/truthful_qa",
        "Apache-2.0",
        "en",
        {
            "files": ["multiple_choice/{split}-*.parquet", "{split}.json"],
            "splits": {"validation": "test"},
            "options": ["mc1_targets.choices"],
            "answer": "first",
        },
    ),
    "medqa": Preset(
        "MedQA (USMLE), four options",
        _GITHUB + "jind11/MedQA",
        "MIT",
        "en",
        {
            "files": ["4_options/phrases_no_exclude_{split}.jsonl", "US/{split}.jsonl", "{split}.jsonl"],
            "splits": {"train": "dev", "dev": "val", "test": "test"},
            "fields": {"answer": "answer_idx"},
            "options": ["options"],
            "answer": "label",
        },
    ),
    "medmcqa": Preset(
        "MedMCQA",
        _HF + "openlifescienceai/medmcqa",
        "Apache-2.0",
        "en",
        {
            "files": ["data/{split}-*.parquet"],
            "splits": _HIDDEN,
            "fields": {"subject": "subject_name", "answer": "cop"},
            "options": _OPS,
            "answer": "index",
        },
    ),
    "medmcqa_json": Preset(
        "MedMCQA, as its authors publish it",
        _GITHUB + "MedMCQA/MedMCQA",
        "Apache-2.0",
        "en",
        {
            "files": ["{split}.json*"],
            "splits": _HIDDEN,
            "fields": {"subject": "subject_name", "answer": "cop"},
            "options": _OPS,
            "answer": "number",
        },
    ),
    "agieval": Preset(
        "AGIEval, one task in English or Chinese: path is its file",
        _GITHUB + "ruixiangcui/AGIEval",
        "MIT",
        None,
        {
            "files": ["{subject}.jsonl"],
            "splits": {"test": "test"},
            "fields": {"passage": "passage", "answer": "label"},
            "options": ["options"],
        },
    ),
    "kmmlu": Preset(
        "KMMLU",
        _HF + "HAERAE-HUB/KMMLU",
        "CC BY-ND 4.0",
        "ko",
        {
            "files": ["data/{subject}-{split}.csv", "{subject}-{split}.csv"],
            "splits": {"train": "dev", "dev": "val", "test": "test"},
            "answer": "number",
        },
    ),
    "tmmluplus": Preset(
        "TMMLU+",
        _HF + "ikala/tmmluplus",
        "MIT",
        "zh",
        {
            "files": ["data/{subject}_{split}.csv", "{subject}_{split}.csv"],
            "splits": {"train": "dev", "dev": "dev", "val": "val", "test": "test"},
        },
    ),
    "tmlu": Preset(
        "TMLU",
        _HF + "miulab/tmlu",
        "MIT",
        "zh",
        {
            "files": ["{subject}_{split}.*", "{subject}/{split}*"],
            "splits": {"dev": "dev", "test": "test"},
            "absent": [""],
        },
    ),
    "arabicmmlu": Preset(
        "ArabicMMLU",
        _HF + "MBZUAI/ArabicMMLU",
        "CC BY-NC-SA 4.0",
        "ar",
        {
            "files": ["ArabicMMLU.csv"],
            "splits": {"1": "dev", "0": "test"},
            "fields": {
                "question": "Question",
                "passage": "Context",
                "subject": "Subject",
                "split": "is_few_shot",
                "answer": "Answer Key",
            },
            "options": [f"Option {number}" for number in range(1, 6)],
            "absent": [""],
        },
    ),
    "sciq": Preset(
        "SciQ",
        "https://allenai.org/data/sciq",
        "CC BY-NC 3.0",
        "en",
        {
            "files": ["{split}.json", "data/{split}-*.parquet"],
            "splits": {"train": "dev", "valid": "val", "validation": "val", "test": "test"},
            "fields": {"passage": "support"},
            "options": ["correct_answer", "distractor1", "distractor2", "distractor3"],
            "answer": "first",
        },
    ),
    "head_qa": Preset(
        "HEAD-QA, English or Spanish",
        _GITHUB + "aghie/head-qa",
        "MIT",
        None,
        {
            "files": ["{split}_HEAD*.json", "{split}-*.parquet"],
            "splits": {"train": "dev", "dev": "val", "validation": "val", "test": "test"},
            "fields": {"question": "qtext", "subject": "category", "labels": "answers.aid", "answer": "ra"},
            "options": ["answers.atext"],
            "answer": "label",
        },
    ),
    "piqa": Preset(
        "PIQA",
        _HF + "ybisk/piqa",
        "AFL-3.0",
        "en",
        {
            "files": ["plain_text/{split}-*.parquet", "{split}-*.parquet", "{split}.jsonl"],
            "splits": _HIDDEN,
            "fields": {"question": "goal", "answer": "label"},
            "options": ["sol1", "sol2"],
            "answer": "index",
        },
    ),
    "winogrande": Preset(
        "WinoGrande, XL",
        "https://winogrande.allenai.org",
        "CC BY",
        "en",
        {
            "files": ["{split}.jsonl"],
            "splits": {"train_xl": "dev", "dev": "test", "test": "unlabelled"},
            "fields": {"question": "sentence"},
            "options": ["option1", "option2"],
            "answer": "number",
        },
    ),
    "boolq": Preset(
        "BoolQ",
        _HF + "google/boolq",
        "CC BY-SA 3.0",
        "en",
        {
            "files": ["{split}.jsonl", "data/{split}-*.parquet"],
            "splits": {"train": "dev", "dev": "test", "validation": "test"},
            "fields": {"passage": "passage"},
            "options": ["=no", "=yes"],
            "answer": "index",
        },
    ),
}
