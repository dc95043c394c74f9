"""Orders of a question's options: which permutations its copies show, and what a permutation shows.

An order is a string such as "CABD": its i-th letter is the original letter of the option shown at position i.
"""

from __future__ import annotations

from functools import cache
from itertools import permutations

from mcqlora import hashing
from mcqlora.data.questions import LETTERS

IDENTITY = LETTERS


def present(question: dict, order: str) -> tuple[list[str], str]:
    """The options in the order they are shown, and the letter under which the right one now stands."""
    options = question["options"]
    return [options[place] for place in _places(order)], LETTERS[order.index(question["answer"])]


@cache
def _places(order: str) -> tuple[int, ...]:
    return tuple(map(LETTERS.index, order))


@cache
def permitted(pinned: str) -> tuple[str, ...]:
    """All orders that leave the options in `pinned` (letters) in place, identity first: 24, 6, 2 or 1."""
    everything = map("".join, permutations(LETTERS))
    return tuple(order for order in everything if all(order[LETTERS.index(p)] == p for p in pinned))


def orders(question: dict, seed: int, copies: int = 6, pinned: str = "") -> list[str]:
    """The orders of a question's copies; the first is the identity.

    Copies differ from each other as long as permitted orders last (24 without pins, 6 with one, 2 with two,
    else the identity alone); when they are used up all of them may be used again. Each next copy takes a
    letter under which the right option stood least often so far, at random among equals, then an order that
    puts it there. Without pins six copies show each letter once or twice, and the fifth and the sixth copy
    show every letter equally often over questions, whatever the original answers.

    Depends on `seed` and the question's id alone, never on its neighbours; copy k is the same for any
    `copies` >= k.
    """
    answer = question["answer"]
    uniforms = iter(hashing.rng(seed, "order", question["id"]).random(2 * copies).tolist())
    chosen, shown = [IDENTITY], {letter: int(letter == answer) for letter in LETTERS}
    unused = _by_letter(answer, pinned)
    unused[answer].remove(IDENTITY)
    while len(chosen) < copies:
        if not any(unused.values()):
            unused = _by_letter(answer, pinned)
        free = [letter for letter in LETTERS if unused[letter]]
        least = min([shown[letter] for letter in free])
        letter = _pick([letter for letter in free if shown[letter] == least], next(uniforms))
        order = _pick(unused[letter], next(uniforms))
        unused[letter].remove(order)
        shown[letter] += 1
        chosen.append(order)
    return chosen


def _by_letter(answer: str, pinned: str) -> dict[str, list[str]]:
    """The permitted orders by the letter under which they show the option `answer`."""
    return {letter: list(held) for letter, held in _permitted_by_letter(answer, pinned).items()}


@cache
def _permitted_by_letter(answer: str, pinned: str) -> dict[str, tuple[str, ...]]:
    return {
        letter: tuple(order for order in permitted(pinned) if order[position] == answer)
        for position, letter in enumerate(LETTERS)
    }


def reference_orders(question: dict, seed: int = 42, copies: int = 6, pinned: str = "") -> list[str]:
    """The reference recipe's choice: the identity, then distinct others, each uniform over what is left.

    Letters are not balanced; the recipe pins nothing. When the permitted orders are used up all of them may
    be used again. The recipe drew from one global generator while it walked through `os.listdir`, so its very
    draws cannot be had again; the distribution is the same.
    """
    allowed = permitted(pinned)
    generator = hashing.rng(seed, "reference order", question["id"])
    others = generator.permutation(len(allowed) - 1)[: copies - 1].tolist()
    chosen = [IDENTITY, *(allowed[1 + index] for index in others)]
    while len(chosen) < copies:
        chosen += [allowed[index] for index in generator.permutation(len(allowed)).tolist()]
    return chosen[:copies]


def _pick(values: list[str], uniform: float) -> str:
    """The element that `uniform` in [0, 1) falls on."""
    return values[int(uniform * len(values))]
