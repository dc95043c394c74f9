"""A few invented questions as each preset's set is published: the files, the columns, the answer's coding."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow
import pyarrow.parquet

from mcqlora.config import presets

QUESTIONS = 18  # of each split


class Made(NamedTuple):
    """An invented question: `right` is the place of its right option."""

    subject: str
    text: str
    options: list[str]
    right: int


_garden = ""  # of the set that was written last: sets side by side have no question in common


def invented(split: str, options: int = 4, subject: str = "ferns") -> list[Made]:
    parts = ("frond", "spore", "root", "stem", "vein", "bud", "tip", "hair", "scale", "sorus")
    return [
        Made(
            subject,
            f"Which of {options} parts of {subject} {number} in {_garden} {split} is first at {7 * number}?",
            [f"the {part} {split} {number}" for part in parts[:options]],
            number % options,
        )
        for number in range(QUESTIONS)
    ]


def _write(file: Path, raw: str | bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(raw if isinstance(raw, bytes) else raw.encode())


def table(file: Path, rows: list[dict[str, Any]], header: bool = True) -> None:
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, list(rows[0]))
    if header:
        writer.writeheader()
    writer.writerows(rows)
    _write(file, out.getvalue())


def lines(file: Path, rows: list[dict[str, Any]]) -> None:
    _write(file, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def array(file: Path, rows: list[dict[str, Any]]) -> None:
    _write(file, json.dumps(rows, indent=2))


def parquet(file: Path, rows: list[dict[str, Any]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), file)


def arrow(file: Path, rows: list[dict[str, Any]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    made = pyarrow.Table.from_pylist(rows)
    with pyarrow.ipc.new_stream(file, made.schema) as stream:
        stream.write_table(made)


def _lettered(one: Made, names: str = "ABCD") -> dict[str, str]:
    return dict(zip(names, one.options, strict=True))


def _letter(one: Made) -> str:
    return "ABCDEFGHIJ"[one.right]


def _mmlu(folder: Path) -> None:
    for split in ("dev", "val", "test"):
        rows = [{"q": one.text} | _lettered(one) | {"a": _letter(one)} for one in invented(split)]
        table(folder / split / f"ferns_{split}.csv", rows, header=False)


def _mmlu_hf(folder: Path) -> None:
    for split in ("dev", "validation", "test"):
        rows = [
            {"question": one.text, "subject": one.subject, "choices": one.options, "answer": one.right}
            for one in invented(split)
        ]
        parquet(folder / "all" / f"{split}-00000-of-00001.parquet", rows)
        parquet(folder / "ferns" / f"{split}-00000-of-00001.parquet", rows)


def _cmmlu(folder: Path) -> None:
    for split in ("dev", "test"):
        rows = [
            {"": number, "Question": one.text} | _lettered(one) | {"Answer": _letter(one)}
            for number, one in enumerate(invented(split))
        ]
        table(folder / split / "ferns.csv", rows)


def _ceval(folder: Path) -> None:
    for split in ("dev", "val", "test"):
        rows = [
            {"id": number, "question": one.text}
            | _lettered(one)
            | ({"answer": _letter(one)} if split != "test" else {})
            | ({"explanation": "Since it does."} if split == "dev" else {})
            for number, one in enumerate(invented(split))
        ]
        table(folder / split / f"ferns_{split}.csv", rows)


def _mmlu_pro(folder: Path) -> None:
    for split in ("validation", "test"):
        rows = [
            {
                "question_id": number,
                "question": one.text,
                "options": [*one.options, "N/A"] if len(one.options) < 10 else one.options,
                "answer": _letter(one),
                "answer_index": one.right,
                "cot_content": "",
                "category": one.subject,
                "src": "own",
            }
            for count in (3, 10)
            for number, one in enumerate(invented(f"{split}{count}", count))
        ]
        parquet(folder / "data" / f"{split}-00000-of-00001.parquet", rows)


def _mmlu_redux(folder: Path) -> None:
    made = [
        {
            "question": one.text,
            "choices": one.options,
            "answer": one.right,
            "error_type": kind,
            "source": None,
        }
        for one, kind in zip(invented("test"), ["ok", "ok", "wrong_groundtruth"] * 6, strict=True)
    ]
    arrow(folder / "ferns" / "data-00000-of-00001.arrow", made)
    for name in ("dataset_info.json", "state.json"):
        _write(folder / "ferns" / name, "{}")


def _mmmlu(folder: Path) -> None:
    rows = [
        {"": number, "Question": one.text} | _lettered(one) | {"Answer": _letter(one), "Subject": one.subject}
        for number, one in enumerate(invented("test"))
    ]
    table(folder / "mmlu_FR-FR.csv", rows)


def _option(one: Made) -> dict[str, str]:
    return {f"option_{letter}": text for letter, text in zip("abcd", one.options, strict=True)}


def _global_mmlu(folder: Path) -> None:
    for split in ("dev", "test"):
        rows = [
            {"sample_id": f"{split}/{number}", "subject": one.subject, "question": one.text}
            | _option(one)
            | {"answer": _letter(one), "is_annotated": False}
            for number, one in enumerate(invented(split))
        ]
        parquet(folder / f"{split}-00000-of-00001.parquet", rows)


def _include(folder: Path) -> None:
    for split in ("validation", "test"):
        rows = [
            {"language": "French", "subject": one.subject, "question": one.text}
            | _option(one)
            | {"answer": one.right}
            for one in invented(split)
        ]
        parquet(folder / f"{split}-00000-of-00001.parquet", rows)


def _by_role(one: Made, right: str, wrong: str) -> dict[str, str]:
    others = [text for place, text in enumerate(one.options) if place != one.right]
    return {right: one.options[one.right]} | {
        f"{wrong}{number}": text for number, text in enumerate(others, 1)
    }


def _gpqa(folder: Path) -> None:
    rows = [
        {"Pre-Revision Question": "x", "Question": one.text}
        | _by_role(one, "Correct Answer", "Incorrect Answer ")
        | {"Explanation": "Two\nlines, with commas, A", "High-level domain": one.subject}
        for one in invented("test")
    ]
    table(folder / "gpqa_main.csv", rows)


def _keyed(one: Made, labels: str = "ABCDE") -> dict[str, Any]:
    names = list(labels[: len(one.options)])
    return {"choices": {"text": one.options, "label": names}, "answerKey": names[one.right]}


def _stem(one: Made, labels: str = "ABCDE") -> dict[str, Any]:
    names = labels[: len(one.options)]
    choices = [{"text": text, "label": label} for text, label in zip(one.options, names, strict=True)]
    return {"question": {"stem": one.text, "choices": choices}, "answerKey": names[one.right]}


def _arc(folder: Path) -> None:
    for split in ("train", "validation", "test"):
        made = [(invented(f"{split}{count}", count), labels) for count, labels in ((3, "ABC"), (4, "1234"))]
        rows = [
            {"id": one.text, "question": one.text} | _keyed(one, labels)
            for some, labels in made
            for one in some
        ]
        parquet(folder / "ARC-Easy" / f"{split}-00000-of-00001.parquet", rows)


def _arc_jsonl(folder: Path) -> None:
    for split in ("Train", "Dev", "Test"):
        rows = [{"id": one.text} | _stem(one) for one in invented(split)]
        lines(folder / "ARC-Easy" / f"ARC-Easy-{split}.jsonl", rows)


def _openbookqa(folder: Path) -> None:
    for split in ("train", "validation", "test"):
        rows = [{"id": one.text, "question_stem": one.text} | _keyed(one) for one in invented(split)]
        parquet(folder / "main" / f"{split}-00000-of-00001.parquet", rows)


def _openbookqa_jsonl(folder: Path) -> None:
    for split in ("train", "dev", "test"):
        lines(folder / "Data" / "Main" / f"{split}.jsonl", [_stem(one) for one in invented(split)])


def _commonsenseqa(folder: Path) -> None:
    for split in ("train", "validation", "test"):
        rows = [
            {"question": one.text} | _keyed(one) | ({"answerKey": ""} if split == "test" else {})
            for one in invented(split, 5)
        ]
        parquet(folder / "data" / f"{split}-00000-of-00001.parquet", rows)


def _commonsenseqa_jsonl(folder: Path) -> None:
    for split in ("train", "dev"):
        lines(folder / f"{split}_rand_split.jsonl", [_stem(one) for one in invented(split, 5)])
    rows = [{"question": _stem(one)["question"]} for one in invented("test", 5)]
    lines(folder / "test_rand_split_no_answers.jsonl", rows)


def _hellaswag(folder: Path) -> None:
    for split in ("train", "val", "test"):
        rows = [
            {"ind": 3, "activity_label": "Gardening", "ctx": one.text, "endings": one.options}
            | ({"label": one.right} if split != "test" else {})
            for one in invented(split)
        ]
        lines(folder / f"hellaswag_{split}.jsonl", rows)


def _truthfulqa(folder: Path) -> None:
    rows = [
        {
            "question": one.text,
            "mc1_targets": {
                "choices": list(_by_role(one, "right", "wrong").values()),
                "labels": [1] + [0] * (count - 1),
            },
        }
        for count in (2, 5)
        for one in invented(f"v{count}", count)
    ]
    parquet(folder / "multiple_choice" / "validation-00000-of-00001.parquet", rows)


def _medqa(folder: Path) -> None:
    for split in ("train", "dev", "test"):
        rows = [
            {"question": one.text, "answer": one.options[one.right], "options": _lettered(one)}
            | {"meta_info": "step1", "answer_idx": _letter(one)}
            for one in invented(split)
        ]
        lines(folder / "US" / "4_options" / f"phrases_no_exclude_{split}.jsonl", rows)


def _ops(one: Made, answer: int) -> dict[str, Any]:
    named = {f"op{letter}": text for letter, text in zip("abcd", one.options, strict=True)}
    return {"id": one.text, "question": one.text} | named | {"cop": answer, "subject_name": one.subject}


def _medmcqa(folder: Path) -> None:
    for split in ("train", "validation", "test"):
        rows = [_ops(one, one.right if split != "test" else -1) for one in invented(split)]
        parquet(folder / "data" / f"{split}-00000-of-00001.parquet", rows)


def _medmcqa_json(folder: Path) -> None:
    for split in ("train", "dev", "test"):
        rows = [_ops(one, one.right + 1) for one in invented(split)]
        if split == "test":
            rows = [{key: value for key, value in row.items() if key != "cop"} for row in rows]
        lines(folder / f"{split}.json", rows)


def _agieval(folder: Path) -> None:
    rows = [
        {
            "passage": f"Gardens {number // 3} were planted.",
            "question": one.text,
            "options": [f"({letter}){text}" for letter, text in zip("ABCDE", one.options, strict=True)],
            "label": _letter(one),
            "answer": None,
        }
        for number, one in enumerate(invented("test", 5))
    ]
    lines(folder / "lsat-ar.jsonl", rows)


def _kmmlu(folder: Path) -> None:
    for split in ("train", "dev", "test"):
        rows = [
            {"question": one.text, "answer": one.right + 1} | _lettered(one) | {"Category": "ferns"}
            for one in invented(split)
        ]
        table(folder / "data" / f"ferns-{split}.csv", rows)


def _tmmluplus(folder: Path) -> None:
    for split in ("train", "val", "test"):
        rows = [{"question": one.text} | _lettered(one) | {"answer": _letter(one)} for one in invented(split)]
        table(folder / "data" / f"ferns_{split}.csv", rows)


def _tmlu(folder: Path) -> None:
    for split in ("dev", "test"):
        rows = [
            {"id": one.text, "question": one.text}
            | dict.fromkeys("ABCDEF", "")
            | _lettered(one, "ABCDEF"[:count])
            | {"answer": _letter(one)}
            for count in (4, 6)
            for one in invented(f"{split}{count}", count)
        ]
        table(folder / f"ferns_{split}.csv", rows)


def _arabicmmlu(folder: Path) -> None:
    rows = [
        {"ID": one.text, "Subject": one.subject, "Question": one.text, "Context": ""}
        | {f"Option {place}": "" for place in range(1, 6)}
        | {f"Option {place}": text for place, text in enumerate(one.options, 1)}
        | {"Answer Key": _letter(one), "is_few_shot": few}
        for few, count in ((1, 2), (0, 3), (0, 5))
        for one in invented(f"part{few}{count}", count)
    ]
    table(folder / "ArabicMMLU.csv", rows)


def _sciq(folder: Path) -> None:
    for split in ("train", "valid", "test"):
        rows = [
            {"question": one.text, "support": f"Ferns {number} have parts."}
            | _by_role(one, "correct_answer", "distractor")
            for number, one in enumerate(invented(split))
        ]
        array(folder / f"{split}.json", rows)


def _head_qa(folder: Path) -> None:
    for split in ("train", "dev", "test"):
        exams = {
            name: {
                "name": name,
                "year": "2013",
                "category": one,
                "data": [
                    {
                        "qid": str(number),
                        "qtext": made.text,
                        "ra": str(made.right + 1),
                        "answers": [
                            {"aid": place, "atext": text} for place, text in enumerate(made.options, 1)
                        ],
                        "image": "",
                    }
                    for number, made in enumerate(invented(f"{split} {one}", 5))
                ],
            }
            for name, one in (("Cuaderno_1", "botany"), ("Cuaderno_2", "biology"))
        }
        made = {"version": "1.0", "language": "en", "exams": exams}
        _write(folder / f"{split}_HEAD_EN.json", json.dumps(made, indent=1))


def _piqa(folder: Path) -> None:
    for split in ("train", "validation", "test"):
        rows = [
            {"goal": one.text, "sol1": one.options[0], "sol2": one.options[1]}
            | {"label": one.right if split != "test" else -1}
            for one in invented(split, 2)
        ]
        parquet(folder / "plain_text" / f"{split}-00000-of-00001.parquet", rows)


def _winogrande(folder: Path) -> None:
    for split, name in (("train", "train_xl"), ("dev", "dev"), ("test", "test")):
        rows = [
            {"qID": one.text, "sentence": one.text, "option1": one.options[0], "option2": one.options[1]}
            | ({"answer": str(one.right + 1)} if split != "test" else {})
            for one in invented(split, 2)
        ]
        lines(folder / f"{name}.jsonl", rows)


def _boolq(folder: Path) -> None:
    for split in ("train", "dev"):
        rows = [
            {"question": one.text, "title": "Ferns", "answer": bool(one.right), "passage": f"Fern {number}."}
            for number, one in enumerate(invented(split, 2))
        ]
        lines(folder / f"{split}.jsonl", rows)


WRITERS: dict[str, Callable[[Path], None]] = {preset: globals()[f"_{preset}"] for preset in presets.PRESETS}
ONE_FILE = {"mmmlu": "mmlu_FR-FR.csv", "agieval": "lsat-ar.jsonl"}  # where `path` names the file


def write(preset: str, folder: Path) -> dict[str, str]:
    """Write the files of a preset's set into `folder`/`preset`; returns its entry of `benchmarks`."""
    global _garden
    _garden = preset
    WRITERS[preset](folder / preset)
    entry = {"name": preset, "preset": preset, "path": str(Path(preset, ONE_FILE.get(preset, "")))}
    return (
        entry
        | ({"language": "fr"} if preset in ("mmmlu", "agieval", "global_mmlu", "include") else {})
        | ({"language": "en"} if preset == "head_qa" else {})
    )
