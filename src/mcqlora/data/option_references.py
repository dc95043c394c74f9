"""Options that refer to other options ("both A and B", "none of the above", "以上都对"): what they forbid.

`reference_expressions` has the expressions by which they are found.

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
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial

from mcqlora.data.questions import Question
from mcqlora.data.reference_expressions import KINDS, SCRIPTS, expressions
from mcqlora.data.users_expressions import bounded
from mcqlora.errors import UserError

Search = Callable[[str], object]  # true of a text in which an expression is found
Given = Mapping[str, tuple[Search, ...]]  # a user's expressions by kind
Table = Mapping[str, Given]  # by language
DEFAULT: Table = {}
KEY = "shuffle.option_references"


def table(extra: Mapping[str, Mapping[str, Sequence[str]]] | None = None) -> Table:
    """A user's compiled expressions, case ignored; `extra` has them by language and kind. They add to ours.

    Raises:
        UserError: a kind that does not exist, or an expression that does not compile.
    """
    made: dict[str, dict[str, tuple[Search, ...]]] = {}
    for language, given in (extra or {}).items():
        for kind in given:
            if kind not in KINDS:
                raise UserError(f"{KEY}: {language}: {kind!r} is not one of {', '.join(KINDS)}")
        try:
            made[language] = {
                kind: tuple(partial(bounded, re.compile(one, re.IGNORECASE), KEY) for one in given[kind])
                for kind in given
            }
        except re.error as error:
            raise UserError(f"{KEY}: {language}: {error.pattern!r}: {error}; mend the expression") from error
    return made


_LATEX = re.compile(r"\\(?:mathrm|text|mathbf)\{([^}]*)\}|\$")


def _search(expressions: Sequence[str], flags: re.RegexFlag) -> Search:
    """Whether one of our expressions is found in a text.

    A search tries all of them at every character. But most can only be found at the start of the text (`^`),
    or at that of a word (`\\b`), so they are tried there alone.
    """
    parts = [one for one in expressions if one.startswith("^")]
    for steps, others in (
        (r"(?:\W*+\w++)*?\W*+", [one for one in expressions if one.startswith(r"\b")]),
        (r"(?s:.*?)", [one for one in expressions if not one.startswith(("^", r"\b"))]),
    ):
        parts += [f"{steps}(?:{'|'.join(others)})"] if others else []
    return re.compile("|".join(f"(?:{one})" for one in parts) or "(?!)", flags).match


@cache
def _by_kind(language: str, count: int) -> dict[str, Search]:
    """Our expressions of a language, for questions of `count` options."""
    return {kind: _search(found, re.I) for kind, found in expressions(language, count).items()}


@cache
def _any(languages: Sequence[str], count: int) -> Search:
    """Those of some languages and every kind in one, for a text in small letters, in which they find more.

    It says that an option has none, as nearly all do. `re` is more than twice as fast where case counts.
    """
    by_kind = [expressions(language, count, folded=True) for language in languages]
    return _search([one for kinds in by_kind for found in kinds.values() for one in found], re.NOFLAG)


@cache
def _others(language: str) -> list[tuple[Search, tuple[str, ...]]]:
    """The other languages of ours, by what finds their script in a text."""
    others = {script: tuple(one for one in of if one != language) for script, of in SCRIPTS.items()}
    return [(re.compile(script).search, some) for script, some in others.items() if some]


def not_looked_for(language: str, patterns: Table = DEFAULT) -> list[str]:
    """Those of `KINDS` for which a language has no expression of its own."""
    own, given = expressions(language, 4), patterns.get(language, {})
    return [kind for kind in KINDS if not own.get(kind) and not given.get(kind)]


def reference_kind(option: str, language: str, patterns: Table = DEFAULT, count: int = 4) -> str | None:
    """One of `KINDS`, or None for an option that refers to no other of a question's `count`.

    Looked for are the expressions of the benchmark's `language`, ours and the user's. Then come ours of all
    other languages in whose script the option has a word: an English option may stand among Chinese ones.

    Raises:
        UserError: a user's expression comes to no end.
    """
    text = unicodedata.normalize("NFKC", option)
    if "$" in text or "\\" in text:
        last = text.rfind("}") + 1  # behind it no brace is closed, so none is looked for
        text = _LATEX.sub(r"\1", text[:last]) + text[last:].replace("$", "")
    text = text.strip()
    if kind := _kind(text, language, count, patterns.get(language, {})):
        return kind
    for script, others in _others(language):
        if script(text) and _any(others, count)(text.lower()):
            return next(filter(None, (_kind(text, other, count, {}) for other in others)), None)
    return None


def _kind(text: str, language: str, count: int, given: Given) -> str | None:
    if not given and not _any((language,), count)(text.lower()):
        return None
    ours = _by_kind(language, count)
    for kind in KINDS:
        if (kind in ours and ours[kind](text)) or any(search(text) for search in given.get(kind, ())):
            return kind
    return None


def kinds(question: Question, patterns: Table = DEFAULT) -> list[str | None]:
    """The kind of each option.

    Where all of them name letters ("A and B", "A and C", ...), these are letters of statements in the
    question: no option is left that they could mean, so none counts as a reference.
    """
    of = partial(reference_kind, language=question.language, patterns=patterns, count=len(question.options))
    found = [of(option) for option in question.options]
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
