"""The data half on the real MMLU and CMMLU: the reference's numbers, and what the corrected recipe promises.

Slow: minutes. No text of the benchmarks is kept here; docs/option-references.md names questions by id.
"""

import csv
import math
import re
import unicodedata
from collections import Counter, defaultdict

import pytest

from mcqlora import files
from mcqlora.data import duplicates, option_orders, option_references, shuffle, splits
from mcqlora.data.questions import read_questions
from mcqlora.report import data_card
from mcqlora.tokens import tokenizer
from tests.helpers.questions import permitted_orders, read_layout
from tests.helpers.runs import ROOT, snakemake
from tests.helpers.shards import read_rows

DATA = ROOT.parent / "shared" / "data"
REFERENCE = ROOT / "config" / "reference-4npu.yaml"
CORRECTED = ROOT / "config" / "internlm-7b-4npu.yaml"
TOO_LONG = {f"mmlu/college_medicine/test/{row}" for row in (6, 50, 66, 93, 162)}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not DATA.is_dir(), reason="needs the real benchmarks in ../shared/data, no part of the project"
    ),
]


def run(folder, overlay, *targets, **config):
    """Make the targets in results/real/; returns that folder."""
    given = [f"{key}={value}" for key, value in ({"data": DATA, "run": "real"} | config).items()]
    result = snakemake(
        folder,
        *(f"results/real/{target}" for target in targets),
        *("--cores", "1", "--resources", "npu=4"),
        *("--config", *given),
        configfile=overlay,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return folder / "results" / "real"


TRAIN = [f"mindrecord/train/shard-{i}-of-4.mindrecord" for i in range(4)]
SHARDS = (TRAIN[0], "mindrecord/valid/shard-0-of-1.mindrecord")


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    return run(tmp_path_factory.mktemp("reference"), REFERENCE, "data_card.md", *TRAIN, SHARDS[1])


@pytest.fixture(scope="module")
def corrected(tmp_path_factory):
    return run(tmp_path_factory.mktemp("corrected"), CORRECTED, "data_card.md", *SHARDS)


@pytest.fixture(scope="module")
def official(tmp_path_factory):
    return run(tmp_path_factory.mktemp("official"), CORRECTED, "leakage.json", split="official")


@pytest.fixture(scope="module")
def questions():
    return [
        question
        for name, language in (("mmlu", "en"), ("cmmlu", "zh"))
        for question in read_layout(DATA, name, name, name, language)[0]
    ]


def test_the_reference_has_the_reports_numbers(reference):
    ledger, leakage = (files.read_json(reference / name) for name in ("ledger.json", "leakage.json"))
    assert (ledger["read"], ledger["kept"], ledger["dropped"]) == (27_775, 27_604, {"first_row_lost": 171})
    assert leakage["records"] == {"train": 138_020, "valid": 2_480, "test": 2_480}
    assert len(leakage["split"]["categories"]) == 124
    assert all(parts["test"] == 20 for parts in leakage["split"]["categories"].values())
    for part in ("valid", "test"):
        assert leakage[part]["leaked_questions"] == leakage[part]["questions"] == 2_480
        assert leakage[part]["leaked_share"] == 1.0 and leakage[part]["leaked"]
        assert 0 < leakage[part]["verbatim_prompts"] < 2_480
    assert "LEAKED" in (reference / "data_card.md").read_text().splitlines()[2]


def test_the_references_rows(reference):
    for part, size, rows in (("train", 1_025, 138_020 // 4), ("valid", 1_024, 2_480)):
        (path,) = (reference / shard for shard in SHARDS if part in shard)
        stats = files.read_json(path.with_suffix(".json"))
        assert (stats["size"], stats["rows"], stats["dropped"]) == (size, rows, [])
        first = next(iter(read_rows([path])))
        assert first["input_ids"].shape == first["labels"].shape == (size,)
        assert {103_166, 103_167} <= set(first["input_ids"].tolist())
    masked = files.read_json(reference / SHARDS[0].replace(".mindrecord", ".json"))["masked"]
    assert {row["id"] for row in masked if row["length"] > 1_025} == TOO_LONG


def test_the_references_cut_rows_end_with_their_end_mark(reference):
    """All 25 of the four shards. The other rows without a label are those that fit exactly."""
    shards = [reference / name for name in TRAIN]
    masked = [row for path in shards for row in files.read_json(path.with_suffix(".json"))["masked"]]
    assert sum(row["length"] > 1_025 for row in masked) == 25
    silent = [row["input_ids"] for row in read_rows(shards) if (row["labels"] == -100).all()]
    eos = tokenizer.load(reference / "tokenizer.model").eos_id()
    assert len(silent) == len(masked) and {int(ids[-1]) for ids in silent} == {eos}
    assert all(eos in row["input_ids"] for row in read_rows([reference / SHARDS[1]]))


def test_each_switch_of_the_reference_shows_what_it_breaks(questions):
    def changed(**switch):
        return [question.id for question in questions if bare(question) != bare(question, **switch)]

    def bare(question, **switch):
        second = shuffle.copies(question, shuffle.Shuffle(seed=42, **switch), 2)[1]
        return "".join(second["input"].split())  # re-parsing also loses white space, of many questions

    cut = [f"mmlu/high_school_european_history/test/{row}" for row in (50, 52, 151)]
    assert changed(reparse_options=True) == cut
    moved = set(changed(pin_references=False))
    assert moved and moved <= {question.id for question in questions if option_references.pins(question)}


def test_the_corrected_recipe_reads_all_and_leaks_nothing(corrected):
    ledger, leakage = (files.read_json(corrected / name) for name in ("ledger.json", "leakage.json"))
    assert ledger["read"] == 27_775
    assert ledger["dropped"] == {"contradictory": 10, "identical_options": 5}
    assert ledger["kept"] == 27_760 == ledger["read"] - len(ledger["rows"])
    assert all(row["reason"] and row["detail"] for row in ledger["rows"])
    assert leakage["records"] == {"train": 5 * 22_800, "valid": 2_480, "test": 2_480}
    for part in ("valid", "test"):
        assert not leakage[part]["leaked"] and leakage[part]["ids"] == leakage[part]["verbatim_ids"] == []
        assert set(leakage[part]["found_by"].values()) == {0}
    assert leakage["split"]["fell_short"] == {"asked": {"valid": 20, "test": 20}, "categories": {}}
    assert "LEAKED" not in (corrected / "data_card.md").read_text()


def folded(text):
    """As `duplicates.fold`, written anew."""
    plain = unicodedata.normalize("NFKC", text).casefold()
    return "".join(c for c in plain if not c.isspace() and unicodedata.category(c)[0] not in "PZC")


@pytest.mark.parametrize("split", ["corrected", "official"])
def test_no_held_out_text_stands_in_training(split, request):
    """From the files alone: not with the same right option, nor by itself where it is no general stem."""
    made = request.getfixturevalue(split)
    told = {}
    for question in read_questions(made / "questions.jsonl"):
        right = question.options["ABCD".index(question.answer)]
        told[question.id] = folded(question.question) or question.question, folded(right) or right
    rights = Counter(text for text, _ in set(told.values()))
    ids = {
        part: {record["id"] for record in files.read_json_array(made / f"splits/{part}.json")}
        for part in ("train", "valid", "test")
    }
    trained = {told[identity] for identity in ids["train"]}
    texts = {text for text, _ in trained}
    for held_out in (ids["valid"], ids["test"]):
        assert len(held_out) > 800
        assert [identity for identity in held_out if told[identity] in trained] == []
        alone = {told[identity][0] for identity in held_out} & texts
        assert {text for text in alone if rights[text] < 5} == set()
    stems = [text for text, count in rights.items() if count >= 5]
    assert len(stems) == 9 and max(map(len, stems)) < 40


def test_the_same_question_with_other_options_is_one_item(corrected):
    """Pairs with the same right option, less similar than 0.8."""
    groups = files.read_json(corrected / "groups.json")["groups"]
    for category, left, right in (
        ("mmlu/astronomy", "test/133", "test/142"),
        ("mmlu/high_school_mathematics", "test/129", "test/243"),
        ("mmlu/high_school_chemistry", "val/3", "test/153"),
        ("cmmlu/anatomy", "test/106", "test/118"),
        ("cmmlu/management", "test/153", "test/207"),
    ):
        assert groups[f"{category}/{left}"] == groups[f"{category}/{right}"]


def test_the_duplicates_are_those_of_the_documentation(corrected):
    page = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    kept = list(read_questions(corrected / "questions.jsonl"))
    without = duplicates.find(kept)
    found = {threshold: duplicates.find(kept, threshold) for threshold in (0.9, 0.8, 0.7)}
    counts = found[0.8].counts
    assert counts == files.read_json(corrected / "leakage.json")["duplicates"]
    told = re.findall(r"^\| `(\w+)` \| .* \| (\d+) \| (\d+) \|$", page, re.MULTILINE)
    parts = counts["definitions"] | {"together": counts["together"]}
    assert told == [(name, str(part["groups"]), str(part["questions"])) for name, part in parts.items()]

    def more(threshold):
        pair = found[threshold].counts["together"], without.counts["together"]
        return [pair[0][key] - pair[1][key] for key in ("groups", "questions")]

    for threshold, one in found.items():
        near = one.counts["definitions"]["near_duplicate"]["groups"]
        row = [threshold, near, *more(threshold), one.counts["together"]["largest"]]
        assert f"| {' | '.join(map(str, row))} |" in page
    groups, questions = more(0.8)
    assert f"| near duplicates are not looked for | {groups} groups more, {questions} questions |" in page
    stems = counts["general_stems"]
    assert f"{stems['texts']} texts of {stems['questions']} questions" in page
    dropped = [len(splits.split_official(kept, one.groups, 42, 20).dropped) for one in (without, found[0.8])]
    assert "dropped: {} by equal texts, {} with near duplicates".format(*dropped) in page


def test_near_duplicates_are_all_found(corrected):
    """What MinHash proposes, against every pair that shares one of its rarest shingles, of which it must."""
    kept = list(read_questions(corrected / "questions.jsonl"))
    texts = {"\n".join([folded(q.question), *sorted(map(folded, q.options))]): q.id for q in reversed(kept)}
    sets = [{(text + 4 * "\0")[i : i + 5] for i in range(len(text))} for text in texts]
    counts = Counter(shingle for shingles in sets for shingle in shingles)
    index, pairs = defaultdict(list), set()
    for number, shingles in enumerate(sets):
        ordered = sorted(shingles, key=lambda shingle: (counts[shingle], shingle))
        for shingle in ordered[: len(ordered) - math.ceil(0.8 * len(ordered)) + 1]:
            pairs |= {
                (other, number) for other in index[shingle] if 0.8 <= len(sets[other]) / len(shingles) <= 1.25
            }
            index[shingle].append(number)
    alike = [(a, b) for a, b in pairs if len(sets[a] & sets[b]) >= 0.8 * len(sets[a] | sets[b])]
    groups = duplicates.groups(kept, 0.8)
    ids = list(texts.values())
    assert len(alike) > 200 and all(groups[ids[a]] == groups[ids[b]] for a, b in alike)


def test_no_training_row_is_without_a_label_and_the_long_ones_are_named(corrected):
    for shard in SHARDS:
        stats = files.read_json(corrected / shard.replace(".mindrecord", ".json"))
        assert stats["masked"] == []
        assert stats["documents"] + len(stats["dropped"]) == stats["records"]
        assert {row["id"] for row in stats["dropped"]} <= TOO_LONG
        assert all((row["labels"] != -100).any() for row in read_rows([corrected / shard]))


def test_the_ledger_adds_up_row_by_row(corrected):
    """Against a count of its own: every row of every file is a question or a ledger row, and only one."""
    ledger = files.read_json(corrected / "ledger.json")
    told = {row["file"]: (row["read"], row["kept"], row["dropped"]) for row in ledger["files"]}
    kept = Counter()
    ids = set()
    for question in read_questions(corrected / "questions.jsonl"):
        ending = f"_{question.split}.csv" if question.benchmark == "mmlu" else ".csv"
        kept[f"{question.benchmark}/{question.split}/{question.subject}{ending}"] += 1
        ids.add(question.id)
    dropped = Counter(row["file"] for row in ledger["rows"])
    assert len(ids) + len({row["id"] for row in ledger["rows"]} - ids) == ledger["read"]
    for name in ("mmlu", "cmmlu"):
        for path in (DATA / name).glob("*/*.csv"):
            with open(path, encoding="utf-8", newline="") as file:
                rows = sum(1 for cells in csv.reader(file) if cells) - (name == "cmmlu")
            place = path.relative_to(DATA).as_posix()
            assert told.pop(place) == (rows, kept[place], dropped[place])
            assert rows == kept[place] + dropped[place]
    assert not told


def test_the_official_split_tests_on_the_test_files_and_leaks_nothing(official):
    leakage = files.read_json(official / "leakage.json")
    kept = list(read_questions(official / "questions.jsonl"))
    tested = {q.id for q in kept if q.split == "test"}
    assert {record["id"] for record in files.read_json_array(official / "splits/test.json")} == tested
    for part in ("train", "valid"):
        assert not tested & {
            record["id"] for record in files.read_json_array(official / f"splits/{part}.json")
        }
    for part in ("valid", "test"):
        assert not leakage[part]["leaked"]
    dropped = leakage["dropped"]
    assert len(kept) == sum(leakage["split"][part] for part in ("train", "valid", "test")) + len(dropped)
    assert {row["id"].split("/")[2] for row in dropped} == {"dev", "val"}
    assert {row["test"] for row in dropped} <= tested


def test_the_official_files_share_the_questions_that_are_known(questions):
    files = defaultdict(set)
    for question in (q for q in questions if q.benchmark == "mmlu"):
        files[question.question, tuple(sorted(question.options))].add(question.split)
    counts = Counter(tuple(sorted(names)) for names in files.values())
    assert (counts["test", "val"], counts["dev", "test"]) == (27, 5)
    groups = duplicates.groups(questions)
    dropped = splits.split_official(questions, groups, 42, 20).dropped
    found = Counter(tuple(row["id"].split("/")[::2]) for row in dropped)
    assert found["mmlu", "val"] >= 27 and found["mmlu", "dev"] >= 5


def test_letters_are_balanced_over_the_copies(corrected, questions):
    """Each question that may move shows the right option under each letter once or twice."""
    counts = [
        data_card.letters(files.read_json_array(corrected / f"epochs/epoch_{k}.json")) for k in range(1, 7)
    ]
    for letter in "ABCD":
        share = sum(copy[letter] for copy in counts) / sum(sum(copy.values()) for copy in counts)
        assert 0.245 < share < 0.257  # 2.3 % of the questions are pinned, and more often D
    for question in questions:
        if not option_references.pins(question):
            shown = Counter(question.shown(order)[1] for order in option_orders.orders(question, 42, 6))
            assert set(shown) == set("ABCD") and max(shown.values()) <= 2


# A net of its own, coarser than `option_references`: letters that are joined or stand alone, and words
# for what stands above or below, wherever they are in an option.
_JOINED = re.compile(
    r"(?<![A-Za-z0-9'])\(?[A-Da-d]\)?\.?\s*(?:,|&|/|、|\+|-|and|or|nor|through|to|和|与|或|及|以及)+"
    r"\s*\(?[A-Da-d]\)?(?![A-Za-z0-9'(])"
)
_ALONE = re.compile(
    r"(?:options?|answers?|choices?|选项|答案)\s*\(?[A-D]\b|^\W*[A-D]{2,4}(?![A-Za-z])"
    r"|\b(?:only|just|both|neither|either)\b.*\b[A-D]\b"
)
_PLACE = re.compile(
    r"\b(?:above|below|preceding|foregoing|aforementioned|previous)\b"
    r"|以上|以下|上述|下述|上面|下面|前述|前[两二三]|后[两二三]",
    re.IGNORECASE,
)


def suspicious(option):
    """(may name letters, may speak of a place)"""
    text = unicodedata.normalize("NFKC", option)
    return bool(_JOINED.search(text) or _ALONE.search(text)), bool(_PLACE.search(text))


def named(option):
    return set(re.findall(r"(?<![A-Za-z])[A-Da-d](?![a-z])|[A-D](?=[A-D])", option.upper())) & set("ABCD")


def lies(question, order):
    """Whether `order` moves what an option may name: a letter, or the options above it."""
    for letter, option in zip("ABCD", question.options, strict=True):
        by_letter, by_place = suspicious(option)
        place = order.index(letter)
        if by_letter and any(order["ABCD".index(other)] != other for other in named(option) or "ABCD"):
            return True
        if by_place and set(order[:place]) != set("ABCD"[: "ABCD".index(letter)]):
            return True
    return False


def in_doubt(questions):
    """Questions of which an order that we allow changes what one of their options may speak of."""

    def lying(question):
        allowed = permitted_orders(question, option_references.pins(question))
        return any(lies(question, order) for order in allowed)

    doubtful = (question for question in questions if any(map(any, map(suspicious, question.options))))
    return [question.id for question in doubtful if lying(question)]


def test_no_option_names_a_wrong_letter_after_shuffling(questions):
    """Each of the net's rows is held in place, or was read and found to name no option."""
    caught = [q.id for q in questions if any(map(any, map(suspicious, q.options)))]
    assert len(caught) >= 722
    read = (ROOT / "docs" / "option-references.md").read_text()
    reviewed = {
        f"{match[1]}/{row}"
        for match in re.finditer(r"^\| ([a-z]+/\w+) \| (.*) \|$", read, re.MULTILINE)
        for row in match[2].split(", ")
    }
    doubt = in_doubt(questions)
    assert sorted(doubt) == sorted(reviewed)
    held = len(caught) - len(doubt)
    assert f"{len(caught)} questions" in read and f"{held} of them" in read and f"{len(doubt)} others" in read


def test_references_that_the_table_finds_hold_in_every_copy(questions):
    for question in questions:
        found = option_references.kinds(question)
        for order in option_orders.orders(question, 42, 6, option_references.pins(question)):
            for place, kind in enumerate(found):
                assert kind != "letters" or order == "ABCD"
                assert not kind or order[place] == "ABCD"[place]
                assert kind != "place" or set(order[:place]) == set("ABCD"[:place])
