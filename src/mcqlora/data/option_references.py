"""Options that refer to other options ("both A and B", "none of the above", "以上都对"): what they forbid.

Moving options can make such an option false. There are three kinds:

    letters   names options by their letters: the question keeps its original order
    place     points above or below: stays at its place, and what is above it stays above
    rest      speaks of all the others ("none of these", "其他选项均可"): stays at its place

The letters are not rewritten instead: "A and B" may mean two people, vitamins or events of the question, and
rewriting those would make the option false. A question kept in order without need loses only variety.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence

from mcqlora.data.questions import LETTERS, Question
from mcqlora.errors import UserError

KINDS = ("letters", "place", "rest")

Table = Mapping[str, Mapping[str, tuple[re.Pattern[str], ...]]]

# Expressions are searched for in NFKC text (full-width letters and punctuation become ASCII), without LaTeX
# markup and outer white space, case ignored. The first kind that matches wins. They rather find too much than
# too little: a question pinned without need loses variety, but one that is missed is trained or scored with a
# false option.
_LETTER = r"\(?[a-d]\)?\.?(?![\w'+#])"
_JOIN = r"\s*(?:,|&|/|\band|\bor|\bnor|\bthrough|\bto)\.?\s*"
_LETTERS = rf"{_LETTER}(?:{_JOIN})+{_LETTER}(?:[\s,]*(?:and|or|nor|&)?\s*{_LETTER})*"
_SINGLE = r"(?-i:\(?[A-D]\)?)"
_NAMES = r"(?:options?|answers?|choices?|alternatives?|responses?)"
_TRUE = r"(?:true|false|correct|incorrect|right|wrong)"
_NEITHER = r"n[ei]i?ther"
_ALL = rf"(?:all|none|both|any|either|{_NEITHER})"
_MANY = rf"(?:{_ALL}|each|some|most|one|two|three|\d|combinations?|more than one)"

PATTERNS: dict[str, dict[str, Sequence[str]]] = {
    "en": {
        "letters": [
            rf"^\W*(?:(?:only|just|{_NAMES})\s+)*(?:both|{_NEITHER}|either|{_NAMES}|only)\s+{_LETTERS}",
            rf"^\W*(?:all|any|none) of\s+{_LETTERS}",
            rf"^{_LETTERS}\W*(?:only|above|(?:are|is)(?: both| all)? {_TRUE}\b.*)?\W*$",
            r"^\([a-d]\)(?:\s*(?:,|&|and|or|nor)*\s*\([a-d]\))+",
            r"^\W*[a-d] [a-d],? (?:and|or) [a-d]\W*$",
            rf"^\W*(?:only|just|all (?:but|except)|same as)\s+{_SINGLE}\W*$",
            rf"^\W*{_SINGLE}\s+only\W*$",
            rf"\b{_NAMES}\s+{_SINGLE}(?!\w)",
            rf"\b(?:except|but(?:\s+not)?|not)\s+{_SINGLE}(?![\w'+#])",
        ],
        "place": [
            rf"\b{_MANY}\s+of\s+(?:the\s+)?(?:above|below|preceding|foregoing|previous)\b",
            rf"\b{_ALL}\s+(?:of\s+)?(?:the\s+)?(?:\w+\s+){{0,2}}(?:above|below)\W*$",
            r"\ball\s+the\s+above\b",
            r"^\W*(?:\w+\s+)?of\s+the\s+above\W*$",
        ],
        "rest": [
            rf"^\W*{_MANY}\s+of\s+(?:these|those|them)\b",
            rf"\b(?:{_ALL}|each|combination)\s+of\s+these\b",
            rf"^\W*{_ALL}\s+(?:of\s+)?(?:the\s+)?(?:other|given|listed|remaining)?\s*{_NAMES}\b",
            r"^\W*(?:none|all|both|either|neither)\W*$",
            r"^\W*no (?:correct|right) (?:answer|option|choice)",
        ],
    },
    "zh": {
        "letters": [
            r"^\W*(?:选项)?(?-i:[A-D](?:\s*(?:,|、|和|与|或|及|以及|\+)\s*(?:选项)?[A-D])+)\W*(?:(?:两|二|三)[者项个].{0,8}|[都均皆全].*)?$",
            r"^\W*(?:选项)?(?-i:[A-D]{2,4})\W*(?:(?:(?:两|二|三)[者项个])?[都均皆全].*)?$",
            r"选项\s*(?-i:[A-D])",
            r"除(?:了|去)?\s*(?-i:[A-D])(?![A-Za-z])",
        ],
        "place": [
            r"^\W*(?:以上|上述|以下|下述|上面|前述).{0,8}?(?:[都均皆全]|所有|各项)",
            r"(?:所有|全部)(?:的)?(?:以上|上述)",
            r"^\W*(?:以上|上述)[两二三几][个种者项]",
            r"^\W*前面?(?:两|二|三|几)(?:[者项]|个选项)",
        ],
        "rest": [
            r"^\W*(?:其他|其它|其余).{0,3}(?:选项|答案|各项)",
            r"^\W*(?:没有|无)(?:正确|合适)的?(?:答案|选项)",
            r"^\W*(?:[两二三四][者项])?(?:全部|全都|都|均|皆|全)不?(?:是|对|正确|错|错误|可以|可|有|有可能|包括)\W*$",
        ],
    },
}


def table(extra: Mapping[str, Mapping[str, Sequence[str]]] | None = None) -> Table:
    """The compiled expressions, case ignored; `extra`, shaped like `PATTERNS`, adds languages or expressions.

    Raises:
        UserError: a kind that does not exist, or an expression that does not compile.
    """
    extra = extra or {}
    made: dict[str, dict[str, tuple[re.Pattern[str], ...]]] = {}
    for language in (*PATTERNS, *extra):
        own, given = PATTERNS.get(language, {}), extra.get(language, {})
        for kind in given:
            if kind not in KINDS:
                raise UserError(
                    f"shuffle.option_references: {language}: {kind!r} is not one of {', '.join(KINDS)}"
                )
        made[language] = {}
        try:
            for kind in KINDS:
                # Ours in one, which is faster. A user's stay apart, with their own groups and flags.
                ours = "|".join(f"(?:{one})" for one in own.get(kind, ["(?!)"]))
                expressions = (ours, *given.get(kind, ()))
                made[language][kind] = tuple(re.compile(one, re.IGNORECASE) for one in expressions)
        except re.error as error:
            raise UserError(
                f"shuffle.option_references: {language}: {error.pattern!r}: {error}; mend the expression"
            ) from error
    return made


DEFAULT = table()
_LATEX = re.compile(r"\\(?:mathrm|text|mathbf)\{([^}]*)\}|\$")


def reference_kind(option: str, language: str, patterns: Table = DEFAULT) -> str | None:
    """One of `KINDS`, or None for an option that refers to no other; an unknown language has no kinds."""
    text = unicodedata.normalize("NFKC", option)
    if "$" in text or "\\" in text:
        text = _LATEX.sub(r"\1", text)
    text = text.strip()
    for kind, expressions in patterns.get(language, {}).items():
        if any(expression.search(text) for expression in expressions):
            return kind
    return None


def kinds(question: Question, patterns: Table = DEFAULT) -> list[str | None]:
    """The kind of each of the four options.

    Where all four name letters ("A and B", "A and C", ...), these are letters of statements in the question:
    no option is left that they could mean, so none counts as a reference.
    """
    found = [reference_kind(option, question.language, patterns) for option in question.options]
    return [None] * len(found) if set(found) == {"letters"} else found


def pins(question: Question, patterns: Table = DEFAULT) -> str:
    """Letters of the options that must stay where they are, in order; "" if all may move.

    An option that points above must not gain or lose an option above it. With four options, that holds if it
    stays and, where it is second or third, the single option on its shorter side stays too: "B" pins A as
    well, "C" pins D.
    """
    pinned: set[str] = set()
    for letter, kind in zip(LETTERS, kinds(question, patterns), strict=True):
        if kind == "letters":
            return LETTERS
        if kind:
            pinned.add(letter)
        if kind == "place" and letter in "BC":
            pinned.add("A" if letter == "B" else "D")
    return "".join(sorted(pinned))
