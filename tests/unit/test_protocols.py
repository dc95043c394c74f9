from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcqlora.data import alpaca
from mcqlora.data.questions import LETTERS, Question
from mcqlora.errors import UserError
from mcqlora.evaluate import mcq, protocols, subjects
from mcqlora.evaluate.protocols import Answer, Context, Tokenization
from mcqlora.evaluate.trees import Scored, Tree, greedy_start
from mcqlora.tokens import prompt

TEMPLATE = prompt.Template(bos=1, eos=2, eoh=3, eoa=4, newline=5, pad=0)


def characters(text):
    """A tokenizer with a token a character."""
    return [100 + ord(character) for character in text]


def said(ids):
    return "".join(chr(i - 100) for i in ids if i >= 100)


def question(number=0, **changes):
    made = Question(
        id=f"toy/old_birds/test/{number}",
        benchmark="toy",
        subject="old_birds",
        split="test",
        row=number,
        language="en",
        question=" Which bird sings?\n",
        options=["the owl ", "a wren", "gull", "lark"],
        answer="B",
    )
    return replace(made, **changes)


DEV = [
    question(k, id=f"toy/old_birds/dev/{k}", split="dev", question=f"Bird {k}?", answer="ACD"[k])
    for k in range(3)
]
ZH = {"language": "zh", "subject": "anatomy", "id": "toy/anatomy/test/0", "question": "哪种鸟会唱歌？ "}


def ask(build, asked, others=(), encode=characters, processor=None, order="ABCD", **changes):
    """The item that a protocol's `build` makes of a question, its options in this order."""
    context = Context(
        questions={other.id: other for other in (asked, *others)},
        tokens=Tokenization(processor, encode, TEMPLATE),
        development=protocols.development(others),
        **{"limit": 9999} | changes,
    )
    return build(alpaca.shuffled_record(asked, order), context)


def branches(item):
    return [said(branch) for branch in item.tree.branches]


def test_recipe_items_hold_the_four_answers():
    asked = question()
    record = alpaca.shuffled_record(asked, "CABD")
    item = ask(protocols.recipe, asked, order="CABD")
    assert (item.id, item.order, item.gold, item.truncated) == (asked.id, "CABD", "C", False)
    assert item.tree.prompt == prompt.prompt_ids(characters, TEMPLATE, record["instruction"], record["input"])
    answers = ["A.gull", "B.the owl", "C.a wren", "D.lark"]
    assert branches(item) == [f"The right option is {answer}" for answer in answers]
    assert item.characters == [len(f"The right option is {answer}") for answer in answers]


def test_letters_end_with_the_letter():
    item = ask(protocols.recipe, question())
    assert branches(protocols.letters(item)) == [f"The right option is {letter}" for letter in "ABCD"]


def test_a_letter_that_is_one_token_with_more():
    """A vocabulary may join the letter with its period or with text: the token counts whole."""
    pieces = {" A.": 7, " B.a": 8, " C.g": 9, " D.": 10}

    def joined(text):
        for piece, number in pieces.items():
            text = text.replace(piece, chr(0x1000 + number))
        return characters(text)

    item = ask(protocols.recipe, question(), encode=joined)
    places = protocols.letter_places(item.tree)
    found = [ids[place] for ids, place in zip(item.tree.branches, places, strict=True)]
    assert found == [[100 + 0x1000 + number] for number in (7, 8, 9, 10)]


def in_bytes(text):
    """A tokenizer without pieces for letters after D: it spells them in two ids, of which they share one."""
    return [i for code in characters(text) for i in ([90, code] if 169 <= code <= 190 else [code])]


def test_a_letter_in_more_ids_than_one_is_told_apart_from_all_others():
    asked = question(options=["owl", "wren", "gull", "lark", "rook", "swift"], answer="F")
    item = ask(protocols.recipe, asked, encode=in_bytes, order="ABCDEF")
    places = protocols.letter_places(item.tree)
    found = [ids[place] for ids, place in zip(item.tree.branches, places, strict=True)]
    assert found == [[165], [166], [167], [168], [90, 169], [90, 170]]
    assert [ids[-1] for ids in protocols.letters(item).tree.branches] == [165, 166, 167, 168, 169, 170]
    likely = [[-1.0] * len(ids) for ids in item.tree.branches]
    likely[5][places[5].start], likely[5][places[5].stop - 1] = -0.5, -0.25
    judged = protocols.by_letter(item, scored(*likely))
    assert judged["scores"] == [-1, -1, -1, -1, -2, -0.75]
    assert (judged["choice"], judged["gold"], judged["correct"]) == ("F", "F", True)


@given(st.integers(2, 26), st.sampled_from(["recipe", "harness", "option"]), st.data())
def test_every_protocol_asks_as_many_options_as_there_are(options, name, data):
    texts = [f"bird {k}" for k in range(options)]
    letters = LETTERS[:options]
    asked = question(options=texts, answer=data.draw(st.sampled_from(letters)))
    order = "".join(data.draw(st.permutations(letters)))
    item = ask(getattr(protocols, name), asked, order=order)
    assert len(item.tree.branches) == len(item.characters) == len(item.order) == options
    texts, gold = asked.shown(item.order)
    assert item.gold == gold
    right = {"recipe": f"{gold}.{texts[LETTERS.index(gold)]}", "harness": f" {gold}", "option": texts[-1]}
    assert branches(item)[-1 if name == "option" else LETTERS.index(gold)].endswith(right[name])
    answer = Answer([Scored(np.array([-float(k)]), np.array([0])) for k in range(options)], "")
    assert protocols.by_sum(item, answer)["choice"] == "A"
    said_last = Answer([], f"The right option is {letters[-1]}.")
    assert protocols.by_text(item, said_last)["choice"] == letters[-1]
    assert protocols.by_text(item, Answer([], "The right option is [."))["choice"] is None


def test_a_passage_stands_before_the_question_in_every_prompt():
    asked = question(passage="Larks sing.\nOwls don't. ")
    texts = {
        build: said(ask(build, asked, processor=Pieces(*"ABCD")).tree.prompt)
        for build in (protocols.recipe, protocols.harness, protocols.cmmlu, protocols.option)
    }
    assert "\nPassage: Larks sing.\nOwls don't. \nQuestion:  Which bird sings?" in texts[protocols.recipe]
    assert "\n\nLarks sing.\nOwls don't.\n\nWhich bird sings?\nA." in texts[protocols.harness]
    assert "题目：Larks sing.\nOwls don't.\n\n Which bird sings?" in texts[protocols.cmmlu]
    assert texts[protocols.option] == "Larks sing.\nOwls don't.\nQuestion: Which bird sings?\nAnswer:"


def test_the_harness_in_english():
    item = ask(protocols.harness, question())
    assert item.tree.prompt[0] == TEMPLATE.bos
    assert said(item.tree.prompt) == (
        "The following are multiple choice questions (with answers) about old birds.\n\n"
        "Which bird sings?\nA. the owl \nB. a wren\nC. gull\nD. lark\nAnswer:"
    )
    assert branches(item) == [" A", " B", " C", " D"]
    assert (item.order, item.gold, item.truncated) == ("ABCD", "B", False)


def test_the_harness_in_chinese():
    item = ask(protocols.harness, question(**ZH))
    assert said(item.tree.prompt) == (
        "以下是关于解剖学的单项选择题，请直接给出正确答案的选项。\n\n"
        "哪种鸟会唱歌？\nA. the owl \nB. a wren\nC. gull\nD. lark\n答案："
    )
    assert branches(item) == [" A", " B", " C", " D"]


def test_worked_examples_are_the_first_of_the_development_split():
    item = ask(protocols.harness, question(), DEV, shots=2)
    options = "\nA. the owl \nB. a wren\nC. gull\nD. lark\nAnswer:"
    head, first, second, own = said(item.tree.prompt).split("\n\n")
    assert head.endswith("old birds.") and own == f"Which bird sings?{options}"
    assert (first, second) == (f"Bird 0?{options} A", f"Bird 1?{options} C")


def test_a_question_is_no_example_of_itself():
    item = ask(protocols.harness, DEV[0], DEV, shots=5)
    assert [part[:7] for part in said(item.tree.prompt).split("\n\n")[1:]] == [
        "Bird 1?",
        "Bird 2?",
        "Bird 0?",
    ]


@pytest.mark.parametrize("build", [protocols.harness, protocols.cmmlu])
@pytest.mark.parametrize(
    ("own", "group", "shown", "lacking"),
    [
        (None, "other", "01", False),
        (None, "toy/old_birds/dev/0", "12", False),  # its duplicate is passed over, and the next one taken
        (None, "toy/old_birds/dev/1", "02", False),
        (1, "toy/old_birds/dev/1", "02", False),
        (1, "toy/old_birds/dev/0", "2", True),  # itself and its duplicate: the category has no more
    ],
)
def test_no_duplicate_is_a_worked_example(build, own, group, shown, lacking):
    asked = question(question="Which bird sings?") if own is None else DEV[own]
    groups = {one.id: one.id for one in DEV} | {asked.id: group}
    item = ask(build, asked, DEV, processor=Pieces(*"xABCD"), shots=2, groups=groups)
    told = [part.split("Bird ")[1][0] for part in said(item.tree.prompt).split("\n\n")[1:-1]]
    assert "".join(told) == shown and item.lacking == lacking and not item.truncated


@pytest.mark.parametrize(("room", "kept"), [(0, "012"), (-1, "12"), (-58, "2"), (-115, "")])
def test_examples_that_do_not_fit_go_from_the_start(room, kept):
    whole = ask(protocols.harness, question(), DEV, shots=3)
    needed = len(whole.tree.prompt) + 1  # " A", without its last id
    item = ask(protocols.harness, question(), DEV, shots=3, limit=needed + room)
    shown = said(item.tree.prompt).split("\n\n")
    assert shown[0].endswith("old birds.") and len(item.tree.prompt) + 1 <= needed + room
    assert "".join(part[5] for part in shown[1:-1]) == kept
    assert item.truncated == (kept != "012") and branches(item) == [" A", " B", " C", " D"]


def test_a_prompt_too_long_without_examples_loses_its_start():
    whole, cut = (ask(protocols.harness, question(), limit=limit) for limit in (999, 100))
    assert cut.truncated and cut.tree.prompt == whole.tree.prompt[-99:]


def test_cmmlu_scores_the_bare_letters():
    example = question(**ZH | {"id": "toy/anatomy/dev/0", "split": "dev", "answer": "D"})
    item = ask(protocols.cmmlu, question(**ZH), [example], processor=Pieces(*"xABCD"), shots=1)
    asked = "题目：哪种鸟会唱歌？ \nA. the owl \nB. a wren\nC. gull\nD. lark\n答案是："
    head = "以下是关于解剖学的单项选择题，请直接给出正确答案的选项。\n\n"
    assert said(item.tree.prompt) == f"{head}{asked}D\n\n{asked}"
    assert item.tree.branches == [[2], [3], [4], [5]]


class Pieces:
    def __init__(self, *known):
        self.known = ["<unk>", *known]

    def piece_to_id(self, piece):
        return self.known.index(piece) if piece in self.known else 0

    def id_to_piece(self, index):
        return self.known[index]


def test_letter_ids():
    assert protocols.letter_ids(Pieces("D", "A", "B", "x", "C"), "ABCD") == [2, 3, 5, 1]
    assert protocols.letter_ids(Pieces("D", "A", "B"), "AB") == [2, 3]
    with pytest.raises(UserError, match=r"no piece 'C'; take cmmlu out of evaluate\.protocols"):
        protocols.letter_ids(Pieces("D", "A", "B"), "ABCD")


def test_the_option_s_own_text():
    item = ask(protocols.option, question())
    assert said(item.tree.prompt) == "Question: Which bird sings?\nAnswer:"
    assert branches(item) == [" the owl ", " a wren", " gull", " lark"]
    assert item.characters == [8, 6, 4, 4]
    item = ask(protocols.option, question(**ZH))
    assert said(item.tree.prompt) == "问题：哪种鸟会唱歌？\n答案："


def test_every_subject_of_cmmlu_has_its_name():
    assert len(subjects.CHINESE) == 67 == len(set(subjects.CHINESE.values()))
    assert subjects.chinese("world_religions") == "世界宗教"
    assert subjects.chinese("island_birds") == "island birds"


def test_names_and_their_worked_examples():
    found = protocols.variants(["generation", "cmmlu", "answer", "harness"], [0, 5])
    assert [(variant.name, variant.shots) for variant in found] == [
        ("answer", 0),
        ("answer_norm", 0),
        ("harness", 0),
        ("harness_5shot", 5),
        ("cmmlu", 0),
        ("cmmlu_5shot", 5),
        ("generation", 0),
    ]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("answer", "full answer"),
        ("answer_norm", "full answer per character"),
        ("harness_5shot", "lm-evaluation-harness, 5-shot"),
        ("another_0", "another_0"),
    ],
)
def test_names_in_words(name, words):
    assert protocols.label(name) == words


def test_only_the_plain_variant_is_asked_for_robustness():
    found = protocols.variants([protocol.name for protocol in protocols.PROTOCOLS], [0, 5])
    assert [variant.name for variant in found if variant.robustness] == ["answer", "letter"]


def test_rotations_move_every_option_through_every_letter():
    asked = question()
    record = alpaca.shuffled_record(asked, "BDAC")
    four = mcq.rotations(record, asked)
    assert [other["order"] for other in four] == ["BDAC", "DACB", "ACBD", "CBDA"]
    assert four[0] is record
    assert {asked.shown(other["order"])[1] for other in four} == set("ABCD")


@given(st.integers(2, 26))
def test_there_are_as_many_rotations_as_options(options):
    asked = question(options=[f"bird {k}" for k in range(options)])
    turned = mcq.rotations(alpaca.shuffled_record(asked, asked.letters[::-1]), asked)
    assert len(turned) == options
    for place in range(options):
        assert {record["order"][place] for record in turned} == set(asked.letters)


def test_an_option_that_refers_to_others_is_not_rotated():
    asked = question(options=["owl", "wren", "gull", "both A and B"])
    assert mcq.rotations(alpaca.shuffled_record(asked, "ABCD"), asked) == []


def item(*continuations, gold="A", lengths=None):
    tree = Tree([1], [list(ids) for ids in continuations])
    return protocols.Item("b/s/test/0", "BADC", gold, tree, lengths or [1] * len(continuations), False)


def scored(*values, choices=None):
    choices = choices or [[0] * len(row) for row in values]
    return Answer(
        [
            Scored(np.array(row, np.float32), np.array(own, np.int32))
            for row, own in zip(values, choices, strict=True)
        ]
    )


def test_by_sum_by_letter_and_by_norm():
    # C has the best letter; B's text makes up for its own; A is long, so that a character of it costs least.
    asked = item([5, 1, 9], [5, 2, 9], [5, 3, 9], [5, 4, 9], gold="B", lengths=[30, 6, 6, 6])
    found = scored([-1, -2, -9], [-1, -3, -1], [-1, -1, -8], [-1, -4, -7])
    assert protocols.by_sum(asked, found) == {
        "id": "b/s/test/0",
        "order": "BADC",
        "gold": "B",
        "choice": "B",
        "correct": True,
        "scores": [-12.0, -5.0, -10.0, -12.0],
    }
    letter, norm = protocols.by_letter(asked, found), protocols.by_norm(asked, found)
    assert (letter["choice"], letter["correct"]) == ("C", False)
    assert letter["scores"] == [-2.0, -3.0, -1.0, -4.0]
    assert norm["choice"] == "A" and norm["scores"] == [-0.4, -0.83333, -1.66667, -2.0]


def test_the_first_of_equals_wins():
    assert protocols.by_sum(item([2], [3], [4], [5]), scored([-3], [-1], [-1], [-1]))["choice"] == "B"


@pytest.mark.parametrize(
    ("text", "choice", "correct"),
    [
        ("The right option is A.owl", "A", True),
        ("The right option is B", "B", False),
        ("The right option is E", None, False),
        ("", None, False),
    ],
)
def test_by_text(text, choice, correct):
    found = protocols.by_text(item([2], [3], [4], [5]), Answer([], text))
    assert (found["choice"], found["correct"], found["text"]) == (choice, correct, text)


def test_what_greedy_generation_writes_as_far_as_the_scores_tell():
    asked = item([2, 3, 4], [2, 5])
    whole = scored([-1] * 3, [-1] * 2, choices=[[2, 5, 9], [2, 5]])
    assert greedy_start(asked.tree, whole.scored) == ([2, 5], True)
    parts = scored([-1] * 3, [-1] * 2, choices=[[2, 3, 9], [2, 3]])
    assert greedy_start(asked.tree, parts.scored) == ([2, 3, 9], False)  # the longer of what is known
    nothing = scored([-1] * 3, [-1] * 2, choices=[[8, 3, 9], [8, 3]])
    assert greedy_start(asked.tree, nothing.scored) == ([8], False)


def test_the_harness_standard_error():
    values = [1, 0, 1, 1, 0]
    expected = np.std(values, ddof=1) / np.sqrt(len(values))
    assert mcq.standard_error(values) == pytest.approx(expected)
    assert mcq.standard_error([True]) is None
