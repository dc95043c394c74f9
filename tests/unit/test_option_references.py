import os
import random
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcqlora.data import option_references
from mcqlora.data.questions import Question
from mcqlora.errors import UserError
from tests.helpers.questions import make_question, permitted_orders, read_layout

SOURCE = Path(__file__).parents[2] / "src"
REAL = Path(__file__).resolve().parents[3] / "shared" / "data"


ENGLISH = {
    "letters": """
        both A and B|Both A and B.|A and C|B and C only|neither A nor B|either (a) or (b)|Both a and c
        A, B, and C|(A), (B), and (C)|(B) (C) and (D).|A B and C|All of (a), (b) and (c) hold|a. and c. above
        Options A and B|A & D|only B|C only|all but D|Both Ａ and Ｂ|both A and B are true|A or B is correct
        (A) and (B) alike|The answer A|All of the above except B|A and C but not B|None of these but (D)""",
    "place": """
        all of the above|None of the above.|ALL of the above|none of above|both of the above|all the above
        neither of the above|All of the options above|Any two of the above|none of the above; nothing helps
        all of the above are true|All of the below|It could be any of the above|All of the above answers fit
        combinations of the above methods|none above|above of the above""",
    "rest": """
        None of these|All of these options|Both of these.|Neither of these|none of them|Both|None.|Neither
        All of the options given are correct|None of the other answers|No correct answer|either of these""",
    None: """
        A|B|Vitamin A and D|Events A and B are disjoint|P(A and B) = P(A)|30 or above|Below sea level|I and II
        one standard deviation above the mean|the demand curve lies above the cost curve|1 and 2 only|C, C++
        not C++|but a few|not a prime|not D'Alembert
        C and C#|a llama and a fox|a, b in H|Valid when A and B are true|all prices rise above cost level
        answer a question|some of the llamas|He gave away two of them|all of the area under the curve""",
}
CHINESE = {
    "letters": """
        A和C|A，B均不是|A、B和C都对|B与D|AB|ACD|AB都是|$\\mathrm{A}，\\mathrm{B}$均是|Ａ和Ｂ|选项A和选项B|A和B两者的总和
        除A外都对|以上除了B都对""",
    "place": """
        以上两者都对|上述三个平面垂直|以上都对|以上都不是|以上全部|以上皆非|以上说法均错误|所有以上|上述选项都不对|前两项都是|以下都不对""",
    "rest": """
        其他选项均可|其它选项都不是|都不是|全对|没有正确答案|均可|两者都是|其余答案都错""",
    None: """
        60岁以上|三层以上|以上|维生素A和C|A型|A与B相互独立|37°C|a+b|所有羊都吃草|前两年|上面有一只羊|A|除ATP外""",
}
CASES = [
    (language, kind, option.strip())
    for language, table in (("en", ENGLISH), ("zh", CHINESE))
    for kind, text in table.items()
    for line in text.strip().splitlines()
    for option in line.split("|")
]


@pytest.mark.parametrize(("language", "kind", "option"), CASES)
def test_reference_kind(language, kind, option):
    assert option_references.reference_kind(option, language) == kind


def question(*options, language="en"):
    return Question("x", "b", "s", "test", 0, language, "Which?", list(options), "A")


@pytest.mark.parametrize(
    ("options", "pins"),
    [
        (("one", "two", "three", "four"), ""),
        (("one", "two", "three", "all of the above"), "D"),
        (("one", "two", "all of the above", "none of the above"), "CD"),
        (("one", "two", "all of the above", "four"), "CD"),
        (("one", "all of the above", "three", "four"), "AB"),
        (("all of the above", "two", "three", "four"), "A"),
        (("one", "none of these", "three", "four"), "B"),
        (("one", "two", "both A and B", "four"), "ABCD"),
        (("A and B", "A and C", "B and C", "C and D"), ""),
        (("A and B", "A and C", "B and C", "all of the above"), "ABCD"),
    ],
)
def test_pins(options, pins):
    assert option_references.pins(question(*options)) == pins


texts = st.sampled_from(
    ["one", "two", "all of the above", "none of these", "both A and B", "none of the above"]
)


@given(st.lists(texts, min_size=4, max_size=4))
def test_pins_keep_what_an_option_points_at(options):
    item = question(*options)
    kinds = option_references.kinds(item)
    for order in permitted_orders(item, option_references.pins(item)):
        if "letters" in kinds:
            assert order == "ABCD"
        for place, kind in enumerate(kinds):
            if kind:
                assert order[place] == "ABCD"[place]
            if kind == "place":
                assert set(order[:place]) == set("ABCD"[:place])


pointers = st.sampled_from(["one", "all of the above", "none of these"])


@given(st.lists(pointers, min_size=2, max_size=6))
def test_pins_keep_what_is_above_whatever_the_number_of_options(options):
    item = make_question(options=options, answer="A")
    kinds = option_references.kinds(item)
    for order in permitted_orders(item, option_references.pins(item)):
        for place, kind in enumerate(kinds):
            assert kind is None or order[place] == item.letters[place]
            assert kind != "place" or set(order[:place]) == set(item.letters[:place])


def test_own_patterns_are_added():
    table = option_references.table({"fr": {"place": ["ci-dessus"]}, "en": {"rest": ["^the lot$"]}})
    assert option_references.reference_kind("Toutes les réponses CI-DESSUS", "fr", table) == "place"
    assert option_references.reference_kind("The lot", "en", table) == "rest"
    assert option_references.reference_kind("all of the above", "en", table) == "place"
    assert option_references.reference_kind("The lot", "en") is None
    assert option_references.reference_kind("ci-dessus", "fr") is None
    assert (
        option_references.pins(question("un", "deux", "trois", "tout ci-dessus", language="fr"), table) == "D"
    )


def test_patterns_keep_their_own_groups_and_flags():
    table = option_references.table(
        {"en": {"rest": [r"(?i)^the lot$", r"(?P<x>foo|bar)", r"^(the) lot \1$", "(?P<x>baz)"]}}
    )
    for option in ("The lot", "foo", "the lot the", "baz"):
        assert option_references.reference_kind(option, "en", table) == "rest", option


def test_wrong_patterns_are_named():
    with pytest.raises(UserError, match="fr: 'places' is not one of letters, place, rest"):
        option_references.table({"fr": {"places": []}})
    with pytest.raises(UserError, match=r"fr: '\(': missing \)"):
        option_references.table({"fr": {"place": ["("]}})


@pytest.mark.integration
@pytest.mark.skipif(not REAL.is_dir(), reason="needs the real benchmarks in ../shared/data")
def test_real_counts():
    counts = {}
    for name, language in (("mmlu", "en"), ("cmmlu", "zh")):
        questions, _ = read_layout(REAL, name, name, name, language)
        found = [set(option_references.kinds(item)) - {None} for item in questions]
        counts[name] = [sum(kind in kinds for kinds in found) for kind in option_references.KINDS]
    # Read one by one when the expressions were made; a change here needs another reading.
    assert counts == {"mmlu": [121, 454, 239], "cmmlu": [25, 134, 32]}


# Every word and mark of the expressions, and of options that nearly fit one.
ALPHABET = [
    *"abcdABCDx ,&/.!()+、;'\n$\\{}3",
    *("and ", "or ", "nor ", "through ", "to ", "only ", "just ", "both ", "either ", "neither ", "option "),
    *(
        "options ",
        "answers ",
        "all ",
        "none ",
        "any ",
        "each ",
        "combination ",
        "more than one ",
        "of ",
        "(a)",
    ),
    *(
        "the ",
        "above",
        "below",
        "these ",
        "other ",
        "given ",
        "are true",
        "is false",
        "not ",
        "but ",
        "except ",
    ),
    *(
        "选项",
        "以上",
        "前",
        "其他",
        "没有",
        "正确",
        "答案",
        "都",
        "全",
        "对",
        "不",
        "是",
        "两",
        "者",
        "和",
        "除",
    ),
    *("A和B", "\\text{", "\\mathrm{"),
]
COMMAS = "a" + " , " * 16 + "!"


def options(count, length):
    draw = random.Random(11)
    for _ in range(count):
        yield "".join(draw.choices(ALPHABET, k=length))[:length]


def search_all(count, length, repeated):
    """What the process below does: random options, and long ones that repeat a piece."""
    asked = [COMMAS, *options(count, length)]
    for start in ("", "a", "both ", "all ", "(a)", "A和", "选项A", "以上"):
        for piece in (*ALPHABET, " , ", ", and ", "A和", "a b", "(a) ", "\\text{a", ",and(a)"):
            asked += [start + piece * (repeated // len(piece)) + end for end in ("x", "!")]
    for option in asked:
        for language in option_references.PATTERNS:
            option_references.reference_kind(option, language)
    print(len(asked))


@pytest.mark.parametrize(
    ("count", "repeated"), [(2_000, 1_000), pytest.param(100_000, 30_000, marks=pytest.mark.slow)]
)
def test_any_option_takes_linear_time(count, repeated):
    """In a process that the kernel ends when it has used up its processor time."""
    call = f"search_all({count}, 200, {repeated})"
    code = f"from tests.unit.test_option_references import search_all; {call}"

    def limit():
        resource.setrlimit(resource.RLIMIT_CPU, (300, 300))  # what ends takes a minute

    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=SOURCE.parent,
        env=os.environ | {"PYTHONPATH": f"{SOURCE}:{SOURCE.parent}"},
        preexec_fn=limit,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > count


@pytest.mark.parametrize(
    ("option", "kind"),
    [
        ("a , , , and b", "letters"),
        ("(a) , and (b)", "letters"),
        ("a, b are true\n...", "letters"),
        ("a, b are true\nbut not this one", None),
        ("all   other   options", "rest"),
        ("\\text{A} and \\text{B} and \\text{C", None),
        ("$A$ and $B$", "letters"),
        (COMMAS, None),
    ],
)
def test_white_space_and_marks_between_words(option, kind):
    assert option_references.reference_kind(option, "en") == kind


def test_an_expression_of_a_users_that_comes_to_no_end_is_named(monkeypatch):
    monkeypatch.setattr(option_references, "SECONDS", 0.1)
    table = option_references.table({"en": {"rest": ["^(x+)+$", "^odd$"]}})
    with pytest.raises(UserError, match=r"^shuffle\.option_.*: '\^\(x\+\)\+\$' comes to no end in 'xxx"):
        option_references.reference_kind("x" * 200 + "!", "en", table)
    assert option_references.reference_kind("ODD", "en", table) == "rest"


def test_the_bound_names_the_key_it_is_given(monkeypatch):
    monkeypatch.setattr(option_references, "SECONDS", 0.1)
    expression = re.compile("^(x+)+$")
    with pytest.raises(UserError, match=r"^a.key: '\^\(x\+\)\+\$' comes to no end in 'xxx"):
        option_references.bounded(expression, "a.key", "x" * 200 + "!")
    assert option_references.bounded(expression, "a.key", "xx").groups() == ("xx",)


def test_kinds_without_an_expression_are_known():
    table = option_references.table({"fr": {"place": ["ci-dessus"]}})
    assert option_references.not_looked_for("fr", table) == ["letters", "rest"]
    assert option_references.not_looked_for("fr") == ["letters", "place", "rest"]
    assert option_references.not_looked_for("en") == option_references.not_looked_for("zh", table) == []
