"""Orders of a question's options: which permutations its copies show, written as in `Question.shown`."""

from __future__ import annotations

from functools import cache
from itertools import permutations

from mcqlora import hashing
from mcqlora.data.questions import LETTERS, Question

IDENTITY = LETTERS[:4]


@cache
def permitted(pinned: str) -> tuple[str, ...]:
    """All orders that leave the options in `pinned` (letters) in place, identity first: 24, 6, 2 or 1."""
    everything = map("".join, permutations(IDENTITY))
    return tuple(order for order in everything if all(order[LETTERS.index(p)] == p for p in pinned))


def orders(question: Question, seed: int, copies: int = 6, pinned: str = "") -> list[str]:
    """The orders of a question's copies; the first is the identity.

    Copies differ from each other as long as permitted orders last: 24 without pins, 6 with one pin, 2 with
    two, else the identity alone. When they are used up, all of them may be used again. Each next copy takes a
    letter under which the right option stood least often so far, at random among equals. Then it takes an
    order that puts the right option there. Without pins, six copies show each letter once or twice. Over all
    questions the fifth and the sixth copy show every letter equally often, whatever the original answers.

    Depends on `seed` and the question's id and answer alone, never on its neighbours. Copy k is the same for
    any `copies` >= k.
    """
    answer = question.answer
    uniforms = iter(hashing.rng(seed, "order", question.id).random(2 * copies).tolist())
    chosen, shown = [IDENTITY], {letter: int(letter == answer) for letter in IDENTITY}
    unused = _by_letter(answer, pinned)
    unused[answer].remove(IDENTITY)
    while len(chosen) < copies:
        if not any(unused.values()):
            unused = _by_letter(answer, pinned)
        free = [letter for letter in IDENTITY if unused[letter]]
        least = min([shown[letter] for letter in free])
        letter = _pick([letter for letter in free if shown[letter] == least], next(uniforms))
        order = _pick(unused[letter], next(uniforms))
        unused[letter].remove(order)
        shown[letter] += 1
        chosen.append(order)
    return chosen


def _by_letter(answer: str, pinned: str) -> dict[str, list[str]]:
    """The permitted orders by the letter under which they show the option `answer`."""
    return {
        letter: [order for order in permitted(pinned) if order[place] == answer]
        for place, letter in enumerate(IDENTITY)
    }


def reference_orders(question: Question, seed: int = 42, copies: int = 6, pinned: str = "") -> list[str]:
    """The reference recipe's choice: the identity, then distinct others, each uniform over what is left.

    Letters are not balanced; the recipe pins nothing. When the permitted orders are used up, all of them may
    be used again. The distribution is the recipe's. Its exact draws cannot be reproduced: they came from one
    global generator, in the order of `os.listdir`.
    """
    allowed = permitted(pinned)
    generator = hashing.rng(seed, "reference order", question.id)
    others = generator.permutation(len(allowed) - 1)[: copies - 1].tolist()
    chosen = [IDENTITY, *(allowed[1 + index] for index in others)]
    while len(chosen) < copies:
        chosen += [allowed[index] for index in generator.permutation(len(allowed)).tolist()]
    return chosen[:copies]


def _pick(values: list[str], uniform: float) -> str:
    """The element that `uniform` in [0, 1) falls on."""
    return values[int(uniform * len(values))]
