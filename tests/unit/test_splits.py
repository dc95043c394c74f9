from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcqlora.config import recipe
from mcqlora.data import alpaca, duplicates, leakage, shuffle, splits, users_expressions
from mcqlora.data.questions import Question
from mcqlora.errors import UserError


def question(n, text=None, subject="s", split="test", benchmark="b", options=("one", "two", "three", "four")):
    return Question(
        id=f"{benchmark}/{subject}/{split}/{n}",
        benchmark=benchmark,
        subject=subject,
        split=split,
        row=n,
        language="en",
        question=f"Llama number {n}?" if text is None else text,
        options=list(options),
        answer="B",
    )


def grouped(*texts, threshold=None, options=None):
    items = [
        question(n, text, options=options[n] if options else ("w", "x", "y", "z"))
        for n, text in enumerate(texts)
    ]
    named = duplicates.groups(items, threshold)
    return [named[item.id] for item in items]


def test_fold():
    assert duplicates.fold(" Ｌlama,\n LLAMA…（1）") == "llamallama1"
    assert duplicates.fold("a+b") == "a+b"
    assert duplicates.fold("?!") == "?!"
    assert duplicates.fold("") == ""


def test_groups_ignore_case_space_punctuation_and_option_order():
    names = grouped(
        "What is it?", "what  is it", "What is it not?", "What is it",
        options=[("a", "b", "c", "d"), ("D.", "C", "b", "a"), ("a", "b", "c", "d"), ("a", "b", "c", "e")],
    )  # fmt: skip
    assert names[0] == names[1] == names[3] == "b/s/test/0" != names[2]


def test_groups_of_nothing():
    assert duplicates.groups([]) == {}


def test_near_duplicates_merge_transitively():
    base = "the quick brown llama jumps over the lazy alpaca near the quiet river at dawn"
    names = grouped(
        base, base + " today", base + " today, again", "something else entirely, about ferns", threshold=0.8
    )
    assert names[0] == names[1] == names[2] != names[3]
    assert len(set(grouped(base, base + " today"))) == 2
    assert len(set(grouped(base, base + " today", threshold=1.0))) == 2


texts = st.lists(st.sampled_from(["a", "A ", "b", "b.", "c", "d", "e", "?", "!"]), min_size=1, max_size=9)


@given(texts=texts, data=st.data())
def test_groups_do_not_depend_on_order(texts, data):
    items = [question(n, text) for n, text in enumerate(texts)]
    named = duplicates.groups(items)
    assert duplicates.groups(data.draw(st.permutations(items))) == named
    for one in items:
        for other in items:
            same = duplicates.fold(one.question) == duplicates.fold(other.question)
            assert (named[one.id] == named[other.id]) == same
    assert all(named[name] == name for name in named.values())


def parts_of(split):
    return {identity: part for part in splits.PARTS for identity in getattr(split, part)}


banks = st.lists(
    st.tuples(
        st.sampled_from("abcdefghijkl"), st.sampled_from("xyz"), st.sampled_from(["dev", "val", "test"])
    ),
    min_size=1,
    max_size=40,
).map(lambda rows: [question(n, *row) for n, row in enumerate(rows)])


@settings(max_examples=150)
@given(items=banks, seed=st.integers(0, 99), valid=st.integers(0, 3), test=st.integers(0, 3), data=st.data())
def test_split_question_keeps_groups_whole(items, seed, valid, test, data):
    named = duplicates.groups(items)
    try:
        split = splits.split_question(items, named, seed, valid, test)
    except UserError as error:
        assert "none is left to train on" in str(error)
        return
    part = parts_of(split)
    assert set(part) == {item.id for item in items}
    assert len(part) == len(split.train) + len(split.valid) + len(split.test)
    by_group = {}
    for identity, name in part.items():
        assert by_group.setdefault(named[identity], name) == name
    counts = Counter((item.category, part[item.id]) for item in items)
    assert all(
        counts[key, "test"] <= test and counts[key, "valid"] <= valid for key in {i.category for i in items}
    )
    shuffled = splits.split_question(data.draw(st.permutations(items)), named, seed, valid, test)
    assert parts_of(shuffled) == part


def test_split_question_is_exact_and_seeded():
    items = [question(n, subject=subject) for subject in "xyz" for n in range(30)]
    named = duplicates.groups(items)
    assert len(set(named.values())) == 30  # each text occurs in all three subjects
    split = splits.split_question(items, named, 1, 4, 6)
    assert not split.test and len(split.train) == 90  # groups that span categories train
    items = [question(n, f"{subject} {n}", subject) for subject in "xyz" for n in range(30)]
    named = duplicates.groups(items)
    split = splits.split_question(items, named, 1, 4, 6)
    summary = splits.summary(items, split)
    assert summary["categories"] == {
        f"b/{subject}": {"train": 20, "valid": 4, "test": 6} for subject in "xyz"
    }
    assert (summary["train"], summary["valid"], summary["test"], summary["dropped"]) == (60, 12, 18, 0)
    assert split.test != splits.split_question(items, named, 2, 4, 6).test
    assert split == splits.split_question(items, named, 1, 4, 6)


def test_a_new_question_moves_few_others():
    items = [question(n) for n in range(40)]
    before = splits.split_question(items, duplicates.groups(items), 1, 5, 5)
    items.append(question(40))
    after = splits.split_question(items, duplicates.groups(items), 1, 5, 5)
    assert len(set(before.test) ^ set(after.test)) <= 2


def test_split_official():
    items = [
        *(question(n, f"dev {n}", split="dev") for n in range(5)),
        *(question(n, f"val {n}", split="val") for n in range(15)),
        question(15, "TEST 3", split="val"),
        *(question(n, f"test {n}") for n in range(30)),
    ]
    split = splits.split_official(items, duplicates.groups(items), 1, 4)
    assert len(split.test) == 30 and all("/test/" in identity for identity in split.test)
    assert len(split.valid) == 4 and len(split.train) == 16
    assert split.dropped == [{"id": "b/s/val/15", "reason": "its group stands in test", "test": "b/s/test/3"}]
    assert len(splits.split_official(items, duplicates.groups(items), 1, 100).valid) == 10  # half at most
    with pytest.raises(UserError, match="no benchmark has a test directory"):
        splits.split_official(items[:5], duplicates.groups(items), 1, 4)


@settings(max_examples=100)
@given(items=banks, seed=st.integers(0, 9), valid=st.integers(0, 3))
def test_split_official_never_crosses(items, seed, valid):
    named = duplicates.groups(items)
    try:
        split = splits.split_official(items, named, seed, valid)
    except UserError:
        return
    names = [{named[identity] for identity in getattr(split, part)} for part in splits.PARTS]
    assert not names[0] & names[1] and not names[0] & names[2] and not names[1] & names[2]
    everything = [*split.train, *split.valid, *split.test, *(row["id"] for row in split.dropped)]
    assert sorted(everything) == sorted(item.id for item in items)


def bank(size=50):
    return [question(n, f"{subject} {n}", subject) for subject in ("x", "y") for n in range(size)]


def epochs_of(items, **settings):
    """The six copies of all questions, copy by copy."""
    return list(zip(*(shuffle.copies(item, shuffle.Shuffle(**settings)) for item in items), strict=True))


def test_recipe_leaks_and_the_gate_says_so():
    items = bank()
    split = splits.split_recipe(items, 42)
    assert len(split.train) == 100 and len(split.valid) == len(split.test) == 40
    assert not set(split.valid) & set(split.test)
    assert [identity.split("/")[1] for identity in split.test] == ["x"] * 20 + ["y"] * 20
    reference = recipe.REFERENCE["shuffle"]
    epochs = epochs_of(items, seed=42, **reference)
    parts = {part: list(records) for part, records in splits.assemble(split, epochs).items()}
    assert len(parts["train"]) == 500
    assert [record["id"] for record in parts["test"]] == split.test
    found = leakage.leakage(parts["train"], {"test": parts["test"]}, items, duplicates.groups(items), 5)[
        "test"
    ]
    assert found["leaked"] and found["leaked_questions"] == found["questions"] == 40
    assert found["leaked_share"] == 1.0 and found["ids"] == split.test[:5]
    assert found["found_by"] == dict.fromkeys(leakage.LOOKED_FOR, 40)
    assert found["verbatim_prompts"] == 0
    with pytest.raises(UserError, match=r"test: 40 of 40 questions .*; first: b/x/test/\d+, .*\)") as error:
        leakage.gate(found)
    assert "\n" not in str(error.value) and split.test[3] not in str(error.value)
    leakage.gate(found, allowed=True)


def test_honest_split_passes_the_gate():
    items = [*bank(), question(99, "x 1", "x")]
    named = duplicates.groups(items)
    split = splits.split_question(items, named, 1, 5, 10)
    epochs = epochs_of(items, seed=1)
    parts = {
        part: list(records) for part, records in splits.assemble(split, map_to_iterators(epochs)).items()
    }
    assert [record["id"] for record in parts["train"]] == 5 * [
        item.id for item in items if item.id in set(split.train)
    ]
    assert parts["valid"] == [record for record in epochs[5] if record["id"] in split.valid]
    assert parts["test"] == [record for record in epochs[5] if record["id"] in split.test]
    for part in ("valid", "test"):
        found = leakage.leakage(iter(parts["train"]), {part: iter(parts[part])}, items, named)[part]
        assert not found["leaked"] and found["leaked_share"] == 0.0 and found["ids"] == []
        leakage.gate(found, part=part)


def map_to_iterators(epochs):
    return [iter(epoch) for epoch in epochs]


def test_leakage_sees_duplicates_and_verbatim_prompts():
    items = [question(0, "Same?"), question(1, "same"), question(2, "Other"), question(3, "Fourth")]
    named = duplicates.groups(items)
    first = [alpaca.shuffled_record(item, "ABCD") for item in items]
    turned = [alpaca.shuffled_record(item, "DCBA") for item in items]
    found = leakage.leakage(first[:1], {"test": [turned[1], turned[2]]}, items, named)["test"]
    assert found["ids"] == ["b/s/test/1"] and found["leaked_share"] == 0.5 and found["verbatim_ids"] == []
    # A prompt that is there word for word leaks even if the groups know nothing of it.
    alone = {item.id: item.id for item in items}
    twin = {**first[2], "id": "b/s/test/3"}
    found = leakage.leakage([first[2]], {"test": [twin, first[3]]}, items, alone)["test"]
    assert found["leaked"] and found["ids"] == [] and found["verbatim_ids"] == ["b/s/test/3"]
    with pytest.raises(UserError, match=r"valid: 0 of 1 questions and 1 of 2 prompts .*first: b/s/test/3"):
        leakage.gate(found, part="valid")
    assert leakage.leakage([], {"test": []}, [], {})["test"]["leaked_share"] == 0.0


FIRST, OTHER, THIRD = ("one", "two", "three", "four"), ("one", "two", "3", "four"), ("a", "b", "c", "d")


@pytest.mark.parametrize(
    ("trained", "found_by"),
    [
        (question(1, "llama NUMBER 0", options=FIRST[::-1]), (1, 0, 1)),  # B is now another
        (question(1, "Llama number 0", options=OTHER), (0, 1, 1)),
        (question(1, "Llama number 0", options=THIRD), (0, 0, 1)),
        (question(1, "Llama number 0", options=OTHER, benchmark="c", subject="t", split="dev"), (0, 1, 1)),
        (question(1, "Llama number 1", options=FIRST), (0, 0, 0)),
    ],
)
def test_the_gate_needs_no_groups(trained, found_by):
    """It compares the texts themselves: groups that know of no duplicate hide none."""
    items = [question(0, options=FIRST), trained]
    alone = {item.id: item.id for item in items}
    first, second = ([alpaca.shuffled_record(item, "DCBA")] for item in items)
    found = leakage.leakage(second, {"test": first}, items, alone)["test"]
    assert found["found_by"] == dict(zip(leakage.LOOKED_FOR, (*found_by, 0), strict=True))
    assert found["leaked_questions"] == max(found_by) == found["leaked"]
    assert not leakage.leakage(second, {"test": []}, items, alone)["test"]["leaked"]
    if found["leaked"]:
        told = ", ".join(
            f"{words} {n}" for words, n in zip(leakage.LOOKED_FOR.values(), (*found_by, 0), strict=True)
        )
        with pytest.raises(UserError, match=rf"1 of 1 questions .*\(by {told}; first: b/s/test/0\)"):
            leakage.gate(found)


def test_general_stems_are_no_duplicates_of_each_other():
    """By the fifth right option; two questions that share one are duplicates all the same."""
    told = "Which of the following is true?"
    four = [question(n, told, options=("w", right, "y", "z")) for n, right in enumerate(("a", "b", "c", "d"))]
    assert len(set(duplicates.groups(four).values())) == 1
    items = [*four, question(4, told.upper(), subject="t", options=("w", "e", "y", "z"))]
    found = duplicates.find(items)
    assert len(set(found.groups.values())) == 5
    assert found.counts["general_stems"] == {"rule": duplicates.STEM, "texts": 1, "questions": 5}
    items.append(question(5, told, options=("p", "E.", "q", "r")))
    assert duplicates.groups(items)["b/s/test/5"] == "b/s/test/5" == duplicates.groups(items)["b/t/test/4"]
    assert duplicates.keys(items)["question_text"] == [None] * 6
    # A right option that is written in five ways is one.
    ways = ("x", "X", " x.", "Ｘ", "(x)")
    same = [question(n, told, options=("w", right, str(n), "z")) for n, right in enumerate(ways)]
    assert len(set(duplicates.groups(same).values())) == 1


FAMILY = {"b": r"^What is the (\w+) of \w+ (\w+)\?"}


def relatives():
    """Two families, of four and of three, a question without a match, and another benchmark's."""
    asked = [f"What is the {relation} of {one} Orsk?" for relation in ("tree", "dish") for one in "pqrs"][:-1]
    items = [question(n, text, options=map(str, range(n, n + 4))) for n, text in enumerate(asked)]
    items.append(question(7, "Whose is the tree of p Orsk?"))
    return [*items, question(8, "What is the tree of t Orsk?", benchmark="c")]


def test_a_family_is_one_item():
    items = relatives()
    found = duplicates.find(items, families=FAMILY)
    tree, dish, others = items[:4], items[4:7], items[7:]
    assert {found.groups[item.id] for item in tree} == {"b/s/test/0"}
    assert {found.groups[item.id] for item in dish} == {"b/s/test/4"}
    assert [found.groups[item.id] for item in others] == [item.id for item in others]
    assert found.counts["definitions"]["family"] == {"groups": 2, "questions": 7}
    assert found.counts["together"] == {"groups": 2, "questions": 7, "largest": 4} and not found.unmatched
    # Another benchmark's expression may find the same: they are not one family.
    both = duplicates.find(items, families=FAMILY | {"c": FAMILY["b"]})
    assert both.groups == found.groups and not both.unmatched
    without = duplicates.find(items)
    assert set(without.groups.values()) == {item.id for item in items}
    assert list(without.counts["definitions"]) == list(duplicates.EXACT)
    assert duplicates.find(items, families={}) == without


def test_a_family_is_told_by_the_text_as_it_stands():
    """Case counts, and a group that takes no part finds nothing, as any text would be found."""
    items = [question(n, text) for n, text in enumerate(("x is AB?", "y is AB!", "z is ab", "is AB, or C"))]
    named = duplicates.groups(items, families={"b": "is (AB)(?:, or (.))?"})
    assert [named[item.id][-1] for item in items] == ["0", "0", "2", "3"]


@given(data=st.data())
def test_families_do_not_depend_on_order(data):
    found = duplicates.groups(data.draw(st.permutations(relatives())), families=FAMILY)
    assert found == duplicates.groups(relatives(), families=FAMILY)


@pytest.mark.parametrize("name", ["b", "none"])
def test_an_expression_that_is_found_nowhere_is_known(name):
    """In no question of its benchmark, or because there is no such benchmark."""
    found = duplicates.find(relatives(), families={"c": FAMILY["b"], name: "(odd)"})
    assert found.unmatched == [name]
    assert duplicates.find([], families=FAMILY).unmatched == ["b"]


def test_an_expression_of_families_that_comes_to_no_end_is_named(monkeypatch):
    monkeypatch.setattr(users_expressions, "SECONDS", 0.1)
    items = [question(0, "x" * 200 + "!")]
    with pytest.raises(UserError, match=r"^benchmarks: family of b: '\^\(x\+\)\+\$' comes to no end in 'xx"):
        duplicates.groups(items, families={"b": "^(x+)+$"})
    assert duplicates.groups(items, families={"c": "^(x+)+$"}) == {items[0].id: items[0].id}


@pytest.mark.parametrize("known", [True, False], ids=["groups", "groups that know no family"])
def test_the_gate_finds_a_family_that_was_split(known):
    items = relatives()
    records = [alpaca.shuffled_record(item, "ABCD") for item in items]
    groups = duplicates.groups(items, families=FAMILY if known else None)
    trained, tested = [records[0], records[8]], [records[1], records[4], records[7]]
    found = leakage.leakage(trained, {"test": tested}, items, groups, families=FAMILY)["test"]
    assert found["found_by"] == dict.fromkeys(duplicates.EXACT, 0) | {
        "family": 1,
        "duplicate_group": int(known),
    }
    assert found["ids"] == ["b/s/test/1"] and found["leaked_questions"] == 1
    told = (
        rf"one family, by the benchmark's own expression 1, duplicate group {int(known)}; first: b/s/test/1\)"
    )
    with pytest.raises(UserError, match=told):
        leakage.gate(found)
    if known:  # the groups alone tell as much
        alone = leakage.leakage(trained, {"test": tested}, items, groups)["test"]
        assert "family" not in alone["found_by"] and alone["ids"] == found["ids"]


def test_a_family_goes_to_one_part():
    """And what is held out of each category is whole families."""
    items = [
        question(n, f"What is the {subject} of {n} f{n % 9}?", subject) for subject in "xy" for n in range(54)
    ]
    named = duplicates.groups(items, families=FAMILY)
    split = splits.split_question(items, named, 1, 6, 12)
    assert (len(split.valid), len(split.test)) == (12, 24)
    parts = [{named[identity] for identity in getattr(split, part)} for part in splits.PARTS]
    assert [len(part) for part in parts] == [12, 2, 4] and len(set.union(*parts)) == 18


def test_each_definition_is_counted_alone():
    base = "the quick brown llama jumps over the lazy alpaca near the quiet river at dawn"
    items = [
        question(0, "What?", options=FIRST),
        question(1, "what", options=FIRST),
        question(2, "What", options=OTHER),
        question(3, "What", options=THIRD),
        question(4, base),
        question(5, base + " today"),
        question(6, "Why?"),
    ]
    found = duplicates.find(items, 0.8)
    assert found.counts == {
        "threshold": 0.8,
        "definitions": {
            "question_and_options": {"groups": 1, "questions": 2},
            "question_and_answer": {"groups": 1, "questions": 3},
            "question_text": {"groups": 1, "questions": 4},
            "near_duplicate": {"groups": 2, "questions": 4},
        },
        "together": {"groups": 2, "questions": 6, "largest": 4},
        "general_stems": {"rule": duplicates.STEM, "texts": 0, "questions": 0},
    }
    exact = duplicates.find(items).counts
    assert list(exact["definitions"]) == list(duplicates.EXACT) and exact["threshold"] is None
    assert duplicates.find([]).counts["together"] == {"groups": 0, "questions": 0, "largest": 0}


twins = st.lists(
    st.tuples(st.sampled_from("ab"), st.sampled_from("pqrsvw"), st.sampled_from("tu"), st.sampled_from("xy")),
    min_size=3,
    max_size=30,
).map(
    lambda rows: [
        question(n, text, subject, options=(f"{other}1", right, f"{other}2", f"{other}3"))
        for n, (text, right, other, subject) in enumerate(rows)
    ]
)


@given(items=twins, seed=st.integers(0, 9), name=st.sampled_from(["question", "official"]), data=st.data())
def test_the_split_closes_what_the_gate_looks_for(items, seed, name, data):
    """With twins of every kind and general stems, nothing held out stands in training."""
    if name == "official":
        parts = data.draw(
            st.lists(st.sampled_from(["val", "test"]), min_size=len(items), max_size=len(items))
        )
        items = [replace(item, split=part) for item, part in zip(items, parts, strict=True)]
    named = duplicates.groups(items)
    assert duplicates.groups(data.draw(st.permutations(items))) == named
    try:
        split = splits.choose(name, items, named, seed, 2, 3)
    except UserError:
        return
    records = {item.id: alpaca.shuffled_record(item, "ABCD") for item in items}
    train, valid, test = ([records[identity] for identity in getattr(split, part)] for part in splits.PARTS)
    alone = {item.id: item.id for item in items}
    for part in leakage.leakage(train, {"valid": valid, "test": test}, items, alone).values():
        assert part["leaked_questions"] == 0


def test_a_category_that_falls_short_is_named():
    lead = (
        "A long lead-in that all of these word problems share before they ask anything of their own: llama "
    )
    problems = [question(n, f"{lead}{n}", "problems") for n in range(60)]
    problems += [question(n, f"Something else, {n * 1001}", "problems") for n in range(60, 64)]
    plenty = [question(n, f"{n} plenty {n}", "plenty") for n in range(30)]
    few = [question(n, f"{n} few {n}", "few") for n in range(3)]
    spread = [question(n, f"{n} both {n}", subject) for subject in ("left", "right") for n in range(20)]
    items = [*problems, *plenty, *few, *spread]
    named = duplicates.groups(items, 0.8)
    split = splits.split_question(items, named, 1, 4, 6)
    found = splits.fell_short("question", items, named, split, 4, 6)
    assert found == {
        "asked": {"valid": 4, "test": 6},
        "categories": {
            "b/few": {"valid": 0, "test": 3, "questions": 3, "largest_group": 1, "shared": 0},
            "b/left": {"valid": 0, "test": 0, "questions": 20, "largest_group": 1, "shared": 20},
            "b/problems": {"valid": 0, "test": 4, "questions": 64, "largest_group": 60, "shared": 0},
            "b/right": {"valid": 0, "test": 0, "questions": 20, "largest_group": 1, "shared": 20},
        },
    }
    assert splits.shortage(found, 5) == (
        "split: 4 of 5 categories have fewer held-out questions than asked, valid 4 and test 6: "
        "b/few (valid 0 and test 3 of 3 questions), "
        "b/left (valid 0 and test 0 of 20 questions, 20 in groups with another category), "
        "b/problems (valid 0 and test 4 of 64 questions, 60 in one duplicate group) "
        "and 1 more; leakage.json names all"
    )
    enough = splits.fell_short("question", plenty, named, splits.split_question(plenty, named, 1, 4, 6), 4, 6)
    assert enough["categories"] == {} and splits.shortage(enough, 1) is None


def test_categories_fall_short_by_the_other_splits_too():
    items = [question(n, f"{n} text {n}", split="test" if n > 4 else "dev") for n in range(10)]
    named = duplicates.groups(items)
    short = {"valid": 2, "questions": 5, "largest_group": 1, "shared": 0}
    official = splits.fell_short("official", items, named, splits.split_official(items, named, 1, 4), 4, 6)
    assert official == {"asked": {"valid": 4}, "categories": {"b/s": short}}
    assert "at most half of a category; leakage.json" in splits.shortage(official, 1)
    recipe = splits.fell_short("recipe", items, named, splits.split_recipe(items, 1, 4, 7), 4, 7)
    assert recipe["categories"]["b/s"] | {"valid": 4, "test": 6} == recipe["categories"]["b/s"]


def test_assemble_with_one_copy_and_with_a_missing_record():
    items = bank(5)
    split = splits.split_question(items, duplicates.groups(items), 1, 1, 1)
    only = [alpaca.shuffled_record(item, "ABCD") for item in items]
    parts = {part: list(records) for part, records in splits.assemble(split, [only]).items()}
    assert [len(parts[part]) for part in splits.PARTS] == [6, 2, 2]
    without_test = [record for record in only if record["id"] != split.test[0]]
    with pytest.raises(UserError, match=f"{split.test[0]} has no record"):
        splits.assemble(split, [only, without_test])
    without_train = [record for record in only if record["id"] != split.train[0]]
    with pytest.raises(UserError, match=f"{split.train[0]} has no record"):
        list(splits.assemble(split, [without_train, only])["train"])


def test_recipe_takes_as_many_as_it_is_told():
    items = bank(9)
    split = splits.choose("recipe", items, {}, 1, 2, 5)
    categories = len({item.category for item in items})
    assert (len(split.valid), len(split.test)) == (2 * categories, 5 * categories)
    assert set(split.valid).isdisjoint(split.test)


def test_assemble_streams_train():
    items = bank(5)
    split = splits.split_recipe(items, 1, 2, 2)
    only = [alpaca.shuffled_record(item, "ABCD") for item in items]
    pulled = []

    def watched(name):
        for record in only:
            pulled.append(name)
            yield record

    train = splits.assemble(split, [watched("first"), watched("second"), iter(only)])["train"]
    assert pulled == []
    next(train)
    assert pulled == ["first"]


LONG = "Which of the island's llamas has never crossed the quiet river at dawn?"  # over 40 bytes when folded


def test_questions_in_other_texts_are_found():
    held_out = [
        question(0, LONG),
        question(1, "Which is true?"),
        question(2, "岛上的哪一只羊驼从来没有在黎明时渡过那条安静的河"),
    ]
    texts = [
        "Which is true? Not this.",  # a short text says too little to be looked for inside another
        "  WHICH is true",
        "Answer me. " + LONG.upper().replace(" ", "\n") + " A. Ann B. Bo",
        "Answer me. " + LONG.replace("dawn", "noon"),
        "问：岛上的哪一只羊驼，从来没有在黎明时渡过那条安静的河？" * 2 + LONG,
        "",
    ]  # fmt: skip
    found = leakage.in_texts(iter(held_out), iter(texts))
    assert found == [("b/s/test/1", 1), ("b/s/test/0", 2), ("b/s/test/2", 4), ("b/s/test/0", 4)]
    assert leakage.in_texts([], texts) == leakage.in_texts(held_out, []) == []


ends = st.text("ab岛", max_size=9)


@given(
    stems=st.lists(st.text("ab岛", min_size=10, max_size=30), max_size=4),
    texts=st.lists(st.text("ab岛 .", max_size=90), max_size=4),
    data=st.data(),
)
def test_every_question_is_found_where_it_is_put(stems, texts, data):
    held_out = [question(n, text) for n, text in enumerate(stems)]
    texts += [f"{left}. {one} {right}" for one in stems for left, right in [data.draw(st.tuples(ends, ends))]]
    found = leakage.in_texts(held_out, texts)
    told = [duplicates.fold(text) for text in texts]
    expected = {
        (item.id, index)
        for item in held_out
        for index, text in enumerate(told)
        if (stem := duplicates.fold(item.question)) == text or (len(stem.encode()) >= 40 and stem in text)
    }
    assert set(found) == expected and len(found) == len(expected)
