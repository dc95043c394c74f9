"""Orders of a question's options: which permutations its copies show, written as in `Question.shown`."""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterator
from functools import lru_cache
from math import factorial

from mcqlora import hashing
from mcqlora.data.questions import Question

LISTED = 720  # as many orders are drawn from a list; of more, by rejection of those drawn before


def permitted(question: Question, pinned: str = "") -> int:
    """How many orders leave the options in `pinned` (letters) in place: 24 of four options without pins."""
    return factorial(len(question.letters) - len(pinned))


def orders(question: Question, seed: int, copies: int = 6, pinned: str = "") -> list[str]:
    """The orders of a question's copies; the first is the identity.

    Copies differ from each other as long as permitted orders last: of four options 24 without pins, 6 with
    one pin, 2 with two, else the identity alone. When they are used up, all of them may be used again. Each
    next copy takes a letter under which the right option stood least often so far, at random among equals.
    Then it takes an order that puts the right option there. Without pins, six copies of four options show
    each letter once or twice, and six of ten show six letters. Over all questions each copy after the k-th
    shows every one of k letters equally often, whatever the original answers.

    Depends on `seed` and the question's id, options' number and answer alone, never on its neighbours. Copy k
    is the same for any `copies` >= k. Orders are counted and numbered, never listed, so 26 options are as
    good as four.
    """
    letters, answer = question.letters, question.answer
    moving = "".join(letter for letter in letters if letter not in pinned)
    places = moving if answer in moving else answer  # under which the right option may stand
    each = factorial(len(moving)) // len(places)  # orders that put it at one of them
    uniforms = iter(hashing.rng(seed, "order", question.id).random(3 * copies).tolist())
    chosen, shown = [letters], dict.fromkeys(places, 0) | {answer: 1}
    used: dict[str, list[int]] = {place: [] for place in places} | {answer: [0]}  # numbers; 0 is the identity
    while len(chosen) < copies:
        free = [place for place in places if len(used[place]) < each]
        if not free:
            used = {place: [] for place in places}
            free = list(places)
        least = min([shown[place] for place in free])
        rarest = [place for place in free if shown[place] == least]
        place = rarest[_below(len(rarest), uniforms)]
        numbers = used[place]
        number = _below(each - len(numbers), uniforms)
        for before in numbers:  # ascending: the number drawn counts the unused alone
            number += before <= number
        insort(numbers, number)
        shown[place] += 1
        chosen.append(_order(letters, moving, answer, place, number))
    return chosen


def reference_orders(question: Question, seed: int = 42, copies: int = 6, pinned: str = "") -> list[str]:
    """The reference recipe's choice: the identity, then distinct others, each uniform over what is left.

    Letters are not balanced; the recipe pins nothing. When the permitted orders are used up, all of them may
    be used again. The distribution is the recipe's. Its exact draws cannot be reproduced: they came from one
    global generator, in the order of `os.listdir`.
    """
    letters = question.letters
    moving = "".join(letter for letter in letters if letter not in pinned)
    count = permitted(question, pinned)
    generator = hashing.rng(seed, "reference order", question.id)
    numbers = [0]
    if count <= LISTED:
        numbers += [1 + index for index in generator.permutation(count - 1)[: copies - 1].tolist()]
        while len(numbers) < copies:
            numbers += generator.permutation(count).tolist()
    uniforms = iter(generator.random, None)
    while len(numbers) < copies:
        if (number := _below(count, uniforms)) not in numbers:
            numbers.append(number)
    return [_order(letters, moving, "", "", number) for number in numbers[:copies]]


def _below(size: int, uniforms: Iterator[float]) -> int:
    """A number below `size`, from one uniform float in [0, 1), or from two where its 53 bits are too few."""
    if size <= 1 << 53:
        return int(next(uniforms) * size)
    high, low = (int(next(uniforms) * (1 << 53)) for _ in range(2))
    return (high << 53 | low) * size >> 106


@lru_cache(1 << 12)  # all there are of up to six options
def _order(letters: str, moving: str, answer: str, place: str, number: int) -> str:
    """Order number `number`, from 0 in the alphabet's order, of those that move `moving` alone.

    If `answer` is one of them, of those that show it at `place`. By Lehmer's code: the digits of the number
    in the factorial system say which of the options left comes next.
    """
    left = [letter for letter in moving if letter != answer]
    made = []
    for here in letters:
        if here not in moving:
            made.append(here)
        elif here == place:
            made.append(answer)
        else:
            index, number = divmod(number, factorial(len(left) - 1))
            made.append(left.pop(index))
    return "".join(made)
