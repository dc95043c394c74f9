"""Item files of other evaluation tools, as items of ours: lm-evaluation-harness' and OpenCompass'.

Their rows are matched to the run's held-out questions, by id or by text. What is not matched is counted.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from mcqlora.data import duplicates, pieces
from mcqlora.data.leakage import Sought
from mcqlora.data.questions import LETTERS, Question
from mcqlora.errors import UserError
from mcqlora.files import Json

SPOKEN = ("HUMAN", "user", "human")  # roles of OpenCompass' and the harness' turns that ask
METRICS = ("acc", "exact_match", "acc_norm")  # of the harness, the first that a row has
_NAMED = re.compile(
    r"(?:right option is|answer is|答案是|答案为|选)[:：\s]*[(（]?([A-Z])(?![A-Za-z])", re.IGNORECASE
)
_LONE = re.compile(r"(?<![A-Za-z])([A-HJ-Z])(?![A-Za-z])")  # not the word I


@dataclass(frozen=True, slots=True)
class Sample:
    """One row of another tool: what was asked, and how it was answered."""

    asked: Sequence[str]  # its texts, without worked examples
    identity: str | None  # its own id of the question
    subject: str | None
    gold: str | None  # letter, in the order of options that it showed
    choice: str | None  # likewise; None: unreadable
    correct: bool
    scores: Sequence[float] = ()  # log-likelihoods of the options, where it has them


def read(path: Path) -> list[Sample]:
    """The rows of a file; the format is told by its content.

    lm-evaluation-harness writes `samples_TASK_TIME.jsonl` with --log_samples, a JSON object a line.
    OpenCompass writes `predictions/MODEL/DATASET.json`, {number: row}, and with --dump-eval-details
    `results/MODEL/DATASET.json`, of which `details` is read.
    Source: lm_eval/evaluator.py (`logged_samples`), version 0.4.13; OpenCompass'
    openicl/icl_inferencer/icl_base_inferencer.py and tasks/openicl_eval.py (`format_details`).

    Raises:
        UserError: the file is missing, or no such file.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot read ({error.strerror}); correct judge.samples") from error
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError:
        document = None
    try:
        if isinstance(document, dict) and "doc" not in document:
            rows = document.get("details", document)
            samples = [_opencompass(row) for row in rows.values() if isinstance(row, dict)]
        else:
            samples = _harness(path, data)
    except (KeyError, TypeError, IndexError, ValueError, AttributeError) as error:
        kinds = "samples_*.jsonl of lm-evaluation-harness, predictions/*/*.json of OpenCompass"
        raise UserError(f"{path}: no item file ({type(error).__name__}: {error}); give {kinds}") from error
    if not samples:
        raise UserError(f"{path}: no items in it; run the other tool again, the harness with --log_samples")
    return samples


def _harness(path: Path, data: bytes) -> list[Sample]:
    """Of a row that was filtered in several ways, the first."""
    found: dict[Any, Sample] = {}
    for number, line in enumerate(data.split(b"\n"), 1):
        if line.strip():
            try:
                row = orjson.loads(line)
            except orjson.JSONDecodeError as error:
                raise UserError(
                    f"{path}: line {number} is not valid JSON ({error}); copy it again"
                ) from error
            found.setdefault(row["doc_id"], _harness_row(row))
    return list(found.values())


def _harness_row(row: Json) -> Sample:
    doc = row["doc"]
    metric = METRICS[[name in row for name in METRICS].index(True)]
    scores = [float(pair[0][0]) for pair in row["resps"] if isinstance(pair[0], list)]
    if scores:
        choice: str | None = LETTERS[max(range(len(scores)), key=scores.__getitem__)]
    else:
        answers = row["filtered_resps"]
        choice = letter(str(answers[0] if isinstance(answers, list) else answers))
    identity = doc.get("id", doc.get("question_id"))
    subject = doc.get("subject", doc.get("category"))
    return Sample(
        asked=list(pieces.strings(doc)),
        identity=None if identity is None else str(identity),
        subject=None if subject is None else str(subject),
        gold=_letter_of(row["target"]),
        choice=choice,
        correct=float(row[metric]) == 1.0,
        scores=scores,
    )


def _letter_of(target: Any) -> str | None:
    text = str(target).strip()
    if text.isdigit():
        return LETTERS[int(text)]
    return text if re.fullmatch("[A-Z]", text) else None


def _opencompass(row: Json) -> Sample:
    likelihoods = {key: part for key, part in row.items() if isinstance(part, dict) and "PPL" in part}
    prompt = row.get("origin_prompt", row.get("prompt"))
    if likelihoods:  # without the worked examples
        prompt = next(iter(likelihoods.values())).get("testing input", prompt)
    said = row.get("prediction", row.get("predictions", row.get("pred")))
    gold = row.get("gold", row.get("references", row.get("answer")))
    choice = letter(str(said))
    right = _letter_of(gold)
    correct = (
        row["correct"] if isinstance(row.get("correct"), bool) else choice is not None and choice == right
    )
    return Sample(_last_turn(prompt), None, None, right, choice, correct)


def _last_turn(prompt: Any) -> list[str]:
    """What was asked last: the turns before it are worked examples."""
    if isinstance(prompt, str):
        return [prompt]
    turns = [turn for turn in prompt if isinstance(turn, dict) and turn.get("role") in SPOKEN]
    return list(pieces.strings(turns[-1].get("prompt", turns[-1].get("content"))))


def letter(text: str) -> str | None:
    """The letter that a text names: after "answer is" or the like, else the first that stands alone."""
    match = _NAMED.search(text) or _LONE.search(text)
    return match[1].upper() if match else None


@dataclass(frozen=True, slots=True)
class Matched:
    """Items as mcq.json has them, and what of the other tool's rows is not among them."""

    items: list[Json]
    counts: (
        Json  # rows; by_id, by_text: matched so; unmatched, twice, other_gold: left out; missing: questions
    )


def match(samples: Iterable[Sample], questions: Sequence[Question]) -> Matched:
    """The samples as items of `questions`, in their order; each question is taken once.

    A sample belongs to the question with its id, or to the one whose text and options all stand in what it
    asked; of several it is the one of its subject, else the first that is still free. Questions about another
    right option than ours are left out.
    """
    by_id = {question.id: question for question in questions}
    text = Sought(questions)
    items: dict[str, Json] = {}
    counts: Counter[str] = Counter()
    for sample in samples:
        counts["rows"] += 1
        how, fitting = "by_id", [by_id[sample.identity]] if sample.identity in by_id else []
        if not fitting:
            how, fitting = "by_text", _of_text(sample, by_id, text)
        free = [question for question in fitting if question.id not in items]
        if not free:
            counts["twice" if fitting else "unmatched"] += 1
            continue
        question = free[0]
        order = shown(sample, question)
        gold = question.shown(order)[1]
        if sample.gold is not None and sample.gold != gold:
            counts["other_gold"] += 1
            continue
        counts[how] += 1
        item: Json = {"id": question.id, "order": order, "gold": gold}
        items[question.id] = item | {"choice": sample.choice, "correct": sample.correct}
        if sample.scores:
            items[question.id]["scores"] = list(sample.scores)
    names = ("rows", "by_id", "by_text", "unmatched", "twice", "other_gold")
    found = {name: counts[name] for name in names} | {"missing": len(questions) - len(items)}
    return Matched([items[question.id] for question in questions if question.id in items], found)


def _of_text(sample: Sample, by_id: Mapping[str, Question], text: Sought) -> list[Question]:
    said = list(dict.fromkeys(("\n".join(sample.asked), *pieces.pieces(sample.asked))))
    ids = dict.fromkeys(identity for piece in said for identity in text.within(piece))
    whole = {duplicates.fold(piece) for piece in said}
    fitting = [by_id[one] for one in ids if all(duplicates.fold(o) in whole for o in by_id[one].options)]
    return sorted(fitting, key=lambda question: question.subject != sample.subject)


def shown(sample: Sample, question: Question) -> str:
    """The order in which the sample shows the options, see `Question.shown`; the file's if unknown."""
    letters = defaultdict(list)
    for place, option in zip(question.letters, question.options, strict=True):
        letters[duplicates.fold(option)].append(place)
    order: list[str] = []
    for piece in _in_order(sample.asked):
        here = letters.get(duplicates.fold(piece))
        if here:
            order.append(here.pop(0))
    return "".join(order) if len(order) == len(question.options) else question.letters


def _in_order(asked: Sequence[str]) -> Iterator[str]:
    """Each part of what was asked once, the options without their letters."""
    for text in asked:
        for line in text.split("\n"):
            yield from pieces.options(line)


def items(paths: Iterable[Path], questions: Sequence[Question]) -> Matched:
    """`match` of all rows of several files, such as the harness' one for each task.

    Raises:
        UserError: see `read`; or no row is about one of the questions.
    """
    files = list(paths)
    found = match((sample for path in files for sample in read(path)), questions)
    if not found.items:
        where = files[0].parent if len(files) > 1 else files[0]
        raise UserError(
            f"{where}: none of {found.counts['rows']} items is about one of the run's {len(questions)} test "
            "questions; ask the model the questions of results/<run>/splits/test.json"
        )
    return found


def document(name: str, protocol: str, found: Matched) -> Json:
    """mcq.json of a model that another tool asked, as if by our `protocol`."""
    parts = {protocol: {"items": found.items, "shots": 0}}
    return {"model": name, "protocols": parts, "circular": None, "leak": None, "matched": found.counts}


def said(name: str, counts: Json) -> str:
    """A line that leaves no row out."""
    matched = counts["by_id"] + counts["by_text"]
    left = {
        "unmatched": "about none of the test questions",
        "twice": "about one that had an item already",
        "other_gold": "with another right option",
    }
    rest = "".join(f", {counts[key]:,} {words}" for key, words in left.items() if counts[key])
    return (
        f"{name}: {matched:,} of {counts['rows']:,} items matched to test questions{rest}; "
        f"{counts['missing']:,} test questions have none"
    )
