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
import signal
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from mcqlora.data.questions import Question
from mcqlora.errors import UserError

KINDS = ("letters", "place", "rest")

Search = Callable[[str], object]  # true of a text in which an expression is found
Table = Mapping[str, Mapping[str, tuple[Search, ...]]]  # by language and kind
KEY = "shuffle.option_references"
SECONDS = 10.0  # of a processor, for one search by an expression that we have not written

# Expressions are searched for in NFKC text (full-width letters and punctuation become ASCII), without LaTeX
# markup and outer white space, case ignored. The first kind that matches wins. They rather find too much than
# too little: a question pinned without need loses variety, but one that is missed is trained or scored with a
# false option.
#
# An option may be damaged or hostile, so any takes linear time: what repeats never stands beside its like
# (`\s*\s*`, `(?:\s*,\s*)+`), nor `.*` before `\W*`. Else a text that fits nowhere is read in too many ways.
_LETTER = r"\(?[a-d]\)?\.?(?![\w'+#])"
_JOINS = r"\s*(?:(?:,|&|/|\band|\bor|\bnor|\bthrough|\bto)\.?\s*+)+"
_LETTERS = rf"{_LETTER}{_JOINS}{_LETTER}(?:[\s,]*+(?:(?:and|or|nor|&)\s*+)?{_LETTER})*"
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
            rf"^{_LETTERS}\W*+(?:(?:(?:only|above)\W*+|(?:are|is)(?: both| all)? {_TRUE}\b.*+(?:\n\W*+)?))?$",
            r"^\([a-d]\)\s*+(?:(?:,|&|and|or|nor)+\s*+)?\([a-d]\)",
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
            rf"^\W*{_ALL}\s++(?:of\s++)?(?:the\s++)?(?:(?:other|given|listed|remaining)\s*+)?{_NAMES}\b",
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
    made: dict[str, dict[str, tuple[Search, ...]]] = {}
    for language in (*PATTERNS, *extra):
        own, given = PATTERNS.get(language, {}), extra.get(language, {})
        for kind in given:
            if kind not in KINDS:
                raise UserError(f"{KEY}: {language}: {kind!r} is not one of {', '.join(KINDS)}")
        made[language] = {}
        try:
            for kind in KINDS:
                # Ours in one, which is faster. A user's stay apart, with their own groups and flags.
                ours = "|".join(f"(?:{one})" for one in own.get(kind, ()))
                made[language][kind] = (
                    *([re.compile(ours, re.IGNORECASE).search] if ours else []),
                    *(partial(bounded, re.compile(one, re.IGNORECASE), KEY) for one in given.get(kind, ())),
                )
        except re.error as error:
            raise UserError(f"{KEY}: {language}: {error.pattern!r}: {error}; mend the expression") from error
    return made


def bounded(expression: re.Pattern[str], key: str, text: str) -> re.Match[str] | None:
    """`expression.search(text)`, given up after `SECONDS`: some expressions would take years.

    Raises:
        UserError: it comes to no end; names `key`, where a user wrote it.
    """

    def give_up(*_: object) -> None:
        raise UserError(
            f"{key}: {expression.pattern!r} comes to no end in {text[:60]!r}; "
            "write it without a repetition inside a repetition"
        )

    before = signal.signal(signal.SIGVTALRM, give_up)  # `re` lets signals in while it searches
    signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
    try:
        return expression.search(text)
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


DEFAULT = table()
_LATEX = re.compile(r"\\(?:mathrm|text|mathbf)\{([^}]*)\}|\$")


def not_looked_for(language: str, patterns: Table = DEFAULT) -> list[str]:
    """Those of `KINDS` for which a language has no expression, so that they are never found."""
    return [kind for kind in KINDS if not patterns.get(language, {}).get(kind)]


def reference_kind(option: str, language: str, patterns: Table = DEFAULT) -> str | None:
    """One of `KINDS`, or None for an option that refers to no other; see `not_looked_for`.

    Raises:
        UserError: a user's expression comes to no end.
    """
    text = unicodedata.normalize("NFKC", option)
    if "$" in text or "\\" in text:
        last = text.rfind("}") + 1  # behind it no brace is closed, so none is looked for
        text = _LATEX.sub(r"\1", text[:last]) + text[last:].replace("$", "")
    text = text.strip()
    for kind, expressions in patterns.get(language, {}).items():
        if any(found(text) for found in expressions):
            return kind
    return None


def kinds(question: Question, patterns: Table = DEFAULT) -> list[str | None]:
    """The kind of each option.

    Where all of them name letters ("A and B", "A and C", ...), these are letters of statements in the
    question: no option is left that they could mean, so none counts as a reference.
    """
    found = [reference_kind(option, question.language, patterns) for option in question.options]
    return [None] * len(found) if set(found) == {"letters"} else found


def pins(question: Question, patterns: Table = DEFAULT) -> str:
    """Letters of the options that must stay where they are, in order; "" if all may move.

    An option that points above must not gain or lose an option above it. That holds if it stays, and those on
    its shorter side stay too: of four options, "B" pins A as well, "C" pins D.
    """
    pinned: set[str] = set()
    letters = question.letters
    for place, kind in enumerate(kinds(question, patterns)):
        if kind == "letters":
            return letters
        if kind:
            pinned.add(letters[place])
        if kind == "place":
            above, below = letters[:place], letters[place + 1 :]
            pinned.update(below if len(below) < len(above) else above)
    return "".join(sorted(pinned))
