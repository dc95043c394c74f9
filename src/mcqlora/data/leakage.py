"""The leakage gate: held-out questions that training has seen are counted, and stop a run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mcqlora.errors import UserError

Prompt = tuple[str, str]  # instruction and input


def leakage(
    train_records: Iterable[dict],
    parts: Mapping[str, Iterable[dict]],
    groups: Mapping[str, str],
    listed: int | None = None,
) -> dict[str, dict]:
    """Count the held-out questions of each part that training has seen.

    A question leaks if training holds it, or a duplicate of it, with its options in any order. A prompt
    (instruction and input) leaks verbatim if training holds the very text. Train records are streamed and not
    kept.

    Args:
        groups: {id: group} of every question, from `groups`.
        listed: how many ids to list at most (None: all); the counts are always whole.

    Returns:
        {part: {"questions", "leaked_questions", "leaked_share", "prompts", "verbatim_prompts",
        "verbatim_share", "leaked": bool, "ids": [...], "verbatim_ids": [...]}}; shares are fractions, 0.0 of
        nothing. `leaked` says that either count is above zero.
    """
    held_out = {
        part: [(record["id"], _prompt(record)) for record in records] for part, records in parts.items()
    }
    prompts = {prompt for tested in held_out.values() for _, prompt in tested}
    trained, repeated = set(), set()
    for record in train_records:
        trained.add(groups[record["id"]])
        prompt = _prompt(record)
        if prompt in prompts:
            repeated.add(prompt)
    return {part: _leaked(tested, groups, trained, repeated, listed) for part, tested in held_out.items()}


def _leaked(
    tested: list[tuple[str, Prompt]],
    groups: Mapping[str, str],
    trained: set[str],
    repeated: set[Prompt],
    listed: int | None,
) -> dict:
    questions = dict.fromkeys(identity for identity, _ in tested)
    ids = [identity for identity in questions if groups[identity] in trained]
    verbatim = [identity for identity, prompt in tested if prompt in repeated]
    return {
        "questions": len(questions),
        "leaked_questions": len(ids),
        "leaked_share": len(ids) / max(1, len(questions)),
        "prompts": len(tested),
        "verbatim_prompts": len(verbatim),
        "verbatim_share": len(verbatim) / max(1, len(tested)),
        "leaked": bool(ids or verbatim),
        "ids": ids[:listed],
        "verbatim_ids": verbatim[:listed],
    }


def gate(found: dict, allowed: bool = False, part: str = "test") -> None:
    """Stop a run whose held-out questions were trained on, unless the recipe is known to leak and says so.

    Raises:
        UserError: names how many leak and the first three.
    """
    if allowed or not found["leaked"]:
        return
    first = ", ".join((found["ids"] or found["verbatim_ids"])[:3])
    raise UserError(
        f"{part}: {found['leaked_questions']} of {found['questions']} questions and "
        f"{found['verbatim_prompts']} of {found['prompts']} prompts stand in training too (first: {first}); "
        "split by question or by the official files, or allow the leak to reproduce a recipe that has it"
    )


def _prompt(record: dict) -> Prompt:
    return record["instruction"], record["input"]
