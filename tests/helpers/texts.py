"""Short texts in English and Chinese on which the tests train a tokenizer."""

import itertools

WORDS = [
    "river",
    "town",
    "capital",
    "mountain",
    "metal",
    "planet",
    "author",
    "colour",
    "河流",
    "城市",
    "首都",
    "山脉",
]
TEXTS = [
    f"Which {a} belongs to the {b}? \nA.the {a}\nB.{b} {i}\nC.东{a}西\nD.none\n\nThe right option is B.{b}"
    for i, (a, b) in enumerate(itertools.permutations(WORDS, 2))
]
