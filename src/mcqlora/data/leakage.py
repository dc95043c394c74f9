"""The leakage gate: held-out questions that training has seen are counted, and stop a run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from mcqlora.data import duplicates
from mcqlora.data.questions import Question
from mcqlora.errors import UserError
from mcqlora.files import Json

if TYPE_CHECKING:
    from mcqlora.data.alpaca import Record


class Asked(Protocol):
    """A question of any kind."""

    @property
    def id(self) -> str: ...
    @property
    def question(self) -> str: ...


# How a held-out question is always looked for in training, in a reader's words; groups hold near duplicates.
LOOKED_FOR = {name: duplicates.DEFINITIONS[name] for name in duplicates.EXACT} | {
    "duplicate_group": "duplicate group"
}
WORDS = duplicates.DEFINITIONS | LOOKED_FOR  # of `found_by`, which has families where a benchmark names them
TELLING = 40  # bytes of folded UTF-8, some 40 Latin letters or 14 Chinese characters, see `in_texts`


def leakage(
    train_records: Iterable[Record],
    parts: Mapping[str, Iterable[Record]],
    questions: Sequence[Question],
    groups: Mapping[str, str],
    listed: int | None = None,
    families: Mapping[str, str] | None = None,
) -> dict[str, Json]:
    """Count the held-out questions of each part that training has seen: {part: leak}.

    Every held-out question is compared with every question trained on, by each of `LOOKED_FOR`: the exact
    definitions and families anew, from the texts, so that a fault of the groups is seen. A prompt
    (instruction and input) leaks verbatim if training holds its text. Train records are streamed, not kept.

    Args:
        questions: all that the records show; the general stems among them are found here, too.
        groups: {id: group} of every question, from `duplicates.groups`.
        listed: how many ids to list at most (None: all); the counts are always complete.
        families: see `duplicates.keys`.

    Returns:
        Of each part the counts `questions`, `leaked_questions` (by any definition), `found_by`
        {definition: count}, `prompts` and `verbatim_prompts`, the shares `leaked_share` and `verbatim_share`
        (0 to 1; 0.0 of nothing), `ids` and `verbatim_ids`, and `leaked`: a question or a prompt leaks.
        leakage.json has these, and what was split into the parts.
    """
    held_out = {part: [(one["id"], _prompt(one)) for one in records] for part, records in parts.items()}
    prompts = {prompt for tested in held_out.values() for _, prompt in tested}
    trained: set[str] = set()
    repeated: set[tuple[str, str]] = set()
    for record in train_records:
        trained.add(record["id"])
        prompt = _prompt(record)
        if prompt in prompts:
            repeated.add(prompt)
    ids = [question.id for question in questions]
    exact = duplicates.keys(questions, families)
    keys = {name: dict(zip(ids, known, strict=True)) for name, known in exact.items()}
    keys["duplicate_group"] = dict(groups)
    seen = {name: {key[identity] for identity in trained} - {None} for name, key in keys.items()}
    found: dict[str, Json] = {}
    for part, tested in held_out.items():
        asked = dict.fromkeys(identity for identity, _ in tested)
        by = {name: {one for one in asked if key[one] in seen[name]} for name, key in keys.items()}
        leaked = [identity for identity in asked if any(identity in some for some in by.values())]
        verbatim = [identity for identity, prompt in tested if prompt in repeated]
        found[part] = {
            "questions": len(asked),
            "leaked_questions": len(leaked),
            "leaked_share": len(leaked) / max(1, len(asked)),
            "found_by": {name: len(some) for name, some in by.items()},
            "prompts": len(tested),
            "verbatim_prompts": len(verbatim),
            "verbatim_share": len(verbatim) / max(1, len(tested)),
            "leaked": bool(leaked or verbatim),
            "ids": leaked[:listed],
            "verbatim_ids": verbatim[:listed],
        }
    return found


def _prompt(record: Record) -> tuple[str, str]:
    return record["instruction"], record["input"]


def gate(found: Json, allowed: bool = False, part: str = "test") -> None:
    """Stop a run whose held-out questions were trained on, unless the recipe is known to leak and says so.

    Raises:
        UserError: names how many leak, by which definition, and the first three.
    """
    if allowed or not found["leaked"]:
        return
    first = ", ".join((found["ids"] or found["verbatim_ids"])[:3])
    by = ", ".join(f"{WORDS[name]} {count}" for name, count in found["found_by"].items())
    raise UserError(
        f"{part}: {found['leaked_questions']} of {found['questions']} questions and "
        f"{found['verbatim_prompts']} of {found['prompts']} prompts stand in training too "
        f"(by {by}; first: {first}); "
        "set split: question or split: official, or split: recipe to reproduce a recipe that leaks"
    )


class Sought:
    """Questions whose text is looked for in other texts; options are not compared.

    Texts are compared as `duplicates.fold` leaves them. A question of `TELLING` bytes or more is found
    wherever it stands in a text; a shorter one, such as "Which is true?", only if it is the whole text.
    Looking takes time linear in the text, since each question is looked up by its first bytes.
    """

    def __init__(self, questions: Iterable[Asked]) -> None:
        self._whole: dict[bytes, list[str]] = defaultdict(list)
        self._starts: dict[bytes, list[tuple[bytes, str]]] = defaultdict(list)
        for question in questions:
            told = duplicates.fold(question.question).encode()
            if len(told) < TELLING:
                self._whole[told].append(question.id)
            else:
                self._starts[told[:TELLING]].append((told, question.id))

    def within(self, text: str) -> list[str]:
        """The ids of those that stand in `text`, each once."""
        folded = duplicates.fold(text).encode()
        ids = self._whole.get(folded, [])
        for place in range(len(folded) - TELLING + 1):
            for told, identity in self._starts.get(folded[place : place + TELLING], ()):
                if folded.startswith(told, place):
                    ids = [*ids, identity]
        return list(dict.fromkeys(ids))


def in_texts(held_out: Iterable[Asked], texts: Iterable[str]) -> list[tuple[str, int]]:
    """Held-out questions whose text stands in other training texts: (id, index of the text), in their order.

    See `Sought`. The texts are streamed.
    """
    sought = Sought(held_out)
    return [(identity, index) for index, text in enumerate(texts) for identity in sought.within(text)]
