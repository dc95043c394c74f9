import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcqlora.tokens import packing
from mcqlora.tokens.packing import IGNORE, Document, Documents, RowFormat

SIZE = 40
LENGTHS = st.lists(st.integers(1, SIZE + 3), max_size=120)


def documents_of(lengths):
    """Documents whose ids are all different, with prompts of 0, 1, 2, ... ids."""
    starts = np.cumsum([0, *lengths])
    return [
        Document(np.arange(start, start + length, dtype=np.int32) + 1, index % (length + 1))
        for index, (start, length) in enumerate(zip(starts, lengths, strict=False))
    ]


def rows_of(batches):
    """The rows of batches, one by one."""
    return [
        dict(zip(batch, row, strict=True)) for batch in batches for row in zip(*batch.values(), strict=True)
    ]


def packed(documents, size, pad):
    """The packed rows of documents, in batches."""
    held = Documents.of(documents)
    return packing.batches(held, packing.plan(held.lengths, size, "packed"), RowFormat(size, pad, "packed"))


def one_row(documents, form):
    """All documents in a single row."""
    plan = np.array([(0, index) for index in range(len(documents))], np.int32)
    (row,) = rows_of(packing.batches(Documents.of(documents), plan, form))
    return row


def next_fit(lengths, size):
    rows, free = 0, 0
    for length in lengths:
        if length > free:
            rows, free = rows + 1, size
        free -= length
    return rows


@given(LENGTHS)
def test_every_document_once_and_no_row_too_full(lengths):
    bins = packing.best_fit_decreasing(lengths, SIZE)
    placed = sorted(index for row in bins for index in row)
    assert placed == [index for index, length in enumerate(lengths) if length <= SIZE]
    assert all(row and sum(lengths[index] for index in row) <= SIZE for row in bins)
    assert all(row == sorted(row) for row in bins)
    assert bins == sorted(bins)


@given(LENGTHS)
def test_never_more_rows_than_next_fit_or_the_proven_bound(lengths):
    fitting = [length for length in lengths if length <= SIZE]
    rows = len(packing.best_fit_decreasing(fitting, SIZE))
    assert rows <= next_fit(fitting, SIZE)
    # At most 11/9 OPT + 4 rows (Johnson 1973), and OPT <= 2 total / size + 1.
    assert rows <= 11 / 9 * (2 * sum(fitting) / SIZE + 1) + 4
    assert rows * SIZE >= sum(fitting)


@given(LENGTHS)
def test_same_choice_as_the_plain_algorithm(lengths):
    free = []
    for length in sorted((length for length in lengths if length <= SIZE), reverse=True):
        best = min((f for f in free if f >= length), default=None)
        if best is None:
            free.append(SIZE - length)
        else:
            free[free.index(best)] = best - length
    bins = packing.best_fit_decreasing(lengths, SIZE)
    assert sorted(SIZE - sum(lengths[index] for index in row) for row in bins) == sorted(free)


def test_best_fit_by_hand():
    # 7 opens row 0, 6 row 1, 4 fits row 1 exactly, 3 row 0 exactly, 2 opens a row.
    assert packing.best_fit_decreasing([2, 3, 4, 6, 7], 10) == [[0], [1, 4], [2, 3]]
    assert packing.best_fit_decreasing([10, 11, 9], 10) == [[0], [2]]
    assert packing.best_fit_decreasing([], 10) == []
    assert packing.best_fit_decreasing([5] * 100, 10) == [[i, i + 1] for i in range(0, 100, 2)]


def test_an_empty_document_is_a_mistake():
    with pytest.raises(ValueError, match="at least one id"):
        packing.best_fit_decreasing([3, 0], 10)


@given(LENGTHS.map(lambda lengths: [length for length in lengths if length <= SIZE]))
def test_packed_rows_hold_each_document_whole(lengths):
    documents = documents_of(lengths)
    found = []
    for row in rows_of(packed(documents, SIZE, pad=0)):
        assert all(column.dtype == np.int32 and column.shape == (SIZE,) for column in row.values())
        numbers = row["document_ids"]
        assert sorted(set(numbers) - {0}) == list(range(1, numbers.max() + 1))
        for number in range(1, numbers.max() + 1):
            place = np.flatnonzero(numbers == number)
            assert (np.diff(place) == 1).all()
            found.append((row["input_ids"][place].tolist(), row["labels"][place].tolist()))
        assert (row["input_ids"][numbers == 0] == 0).all()
        assert (row["labels"][numbers == 0] == IGNORE).all()
    ignored = [max(document.n_prompt, 1) for document in documents]
    expected = [
        (document.ids.tolist(), [IGNORE] * n + document.ids[n:].tolist())
        for document, n in zip(documents, ignored, strict=True)
    ]
    assert sorted(found) == sorted(expected)


@given(LENGTHS.map(lambda lengths: [length for length in lengths if length <= SIZE]))
def test_shifted_loss_never_crosses_documents(lengths):
    for row in rows_of(packed(documents_of(lengths), SIZE, pad=0)):
        learnt = row["labels"][1:] != IGNORE
        assert (row["document_ids"][1:] == row["document_ids"][:-1])[learnt].all()


def test_a_row_by_hand():
    documents = [Document(np.array([5, 6, 7], np.int32), 2), Document(np.array([8, 9], np.int32), 0)]
    row = one_row(documents, RowFormat(7, 2, "packed"))
    assert row["input_ids"].tolist() == [5, 6, 7, 8, 9, 2, 2]
    assert row["labels"].tolist() == [IGNORE, IGNORE, 7, IGNORE, 9, IGNORE, IGNORE]
    assert row["document_ids"].tolist() == [1, 1, 1, 2, 2, 0, 0]


def test_a_row_that_does_not_fit():
    documents = documents_of([4, 4])
    assert one_row(documents, RowFormat(8, 0, "packed"))["document_ids"].tolist() == [1] * 4 + [2] * 4
    with pytest.raises(ValueError, match="8 ids do not fit a row of 7"):
        one_row(documents, RowFormat(7, 0, "packed"))


def pad_row(document, size, pad, edge="corrected"):
    """A document in a padded row of its own."""
    return one_row([document], RowFormat(size, pad, "padded", edge))


def edge_documents(size):
    """Documents of size - 1, size and size + 1 ids, the edges of a row."""
    return documents_of([size - 1, size, size + 1])


def test_padded_rows_at_the_edges():
    documents = [Document(document.ids, 4) for document in edge_documents(10)]
    short, same, long = (pad_row(document, 10, pad=2) for document in documents)
    for row in (short, same, long):
        assert all(column.dtype == np.int32 and column.shape == (10,) for column in row.values())
    assert short["input_ids"].tolist() == [*documents[0].ids, 2]
    assert short["labels"].tolist() == [*[IGNORE] * 4, *documents[0].ids[4:], IGNORE]
    assert same["input_ids"].tolist() == documents[1].ids.tolist()
    assert same["labels"].tolist() == [*[IGNORE] * 4, *documents[1].ids[4:]]
    assert long["input_ids"].tolist() == [*documents[2].ids[:9], documents[2].ids[-1]]
    assert long["labels"].tolist() == [IGNORE] * 10


@given(st.lists(st.integers(1, 40), min_size=1, max_size=300), st.integers(2, 30))
def test_every_padded_document_keeps_its_last_id(lengths, size):
    """The ids of a cut one are its first and its last, whatever stands in the rows beside it."""
    documents = documents_of(lengths)
    held, form = Documents.of(documents), RowFormat(size, 0, "padded")
    plan = packing.plan(held.lengths, size, "padded", "truncate")
    for row, document in zip(rows_of(packing.batches(held, plan, form)), documents, strict=True):
        kept = min(len(document.ids), size)
        assert row["input_ids"][:kept].tolist() == [*document.ids[: kept - 1], document.ids[-1]]
        assert (row["labels"] == IGNORE).all() or len(document.ids) <= size


def test_the_reference_edge_masks_a_full_row_alone():
    short, same, long = edge_documents(10)
    for document in (short, long):
        rows = [pad_row(document, 10, 2, edge) for edge in ("corrected", "reference")]
        np.testing.assert_equal(*rows)
    row = pad_row(same, 10, 2, "reference")
    assert row["input_ids"].tolist() == same.ids.tolist()
    assert row["labels"].tolist() == [IGNORE] * 10


def test_packed_rows_at_the_edges():
    """n = S - 1 and n = S fill a row each with their labels, n = S + 1 goes nowhere, one id fills a gap."""
    documents = [*edge_documents(10), *documents_of([1])]
    rows = rows_of(packed(documents, 10, pad=2))
    assert [row["document_ids"].tolist() for row in rows] == [[*[1] * 9, 2], [1] * 10]
    assert rows[0]["input_ids"].tolist() == [*documents[0].ids, *documents[3].ids]
    assert rows[0]["labels"].tolist() == [IGNORE, *documents[0].ids[1:], IGNORE]
    assert rows[1]["labels"].tolist() == [IGNORE, *documents[1].ids[1:]]


@given(LENGTHS, st.integers(1, 9), st.sampled_from(["padded", "packed"]))
def test_any_number_of_shards_has_the_same_rows_in_the_same_order(lengths, shards, layout):
    documents, form = Documents.of(documents_of(lengths)), RowFormat(SIZE, 0, layout)
    plan = packing.plan(documents.lengths, SIZE, layout)
    whole = rows_of(packing.batches(documents, plan, form))
    shares = [packing.share(plan, shard, shards) for shard in range(shards)]
    parts = [rows_of(packing.batches(documents, share, form)) for share in shares]
    np.testing.assert_equal([row for part in parts for row in part], whole)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert len(whole) == packing.count_rows(plan)


@given(LENGTHS)
def test_both_layouts_hold_the_same_documents_with_the_same_labels(lengths):
    documents, learnt = Documents.of(documents_of(lengths)), {}
    for layout in packing.COLUMNS:
        plan = packing.plan(documents.lengths, SIZE, layout)
        rows = rows_of(packing.batches(documents, plan, RowFormat(SIZE, 0, layout)))
        learnt[layout] = sorted(label for row in rows for label in row["labels"].tolist() if label != IGNORE)
    assert learnt["padded"] == learnt["packed"]


def test_truncated_documents_stay_in_padded_rows_only():
    lengths = np.array([4, 11, 6])
    assert packing.plan(lengths, 10, "padded").tolist() == [[0, 0], [1, 2]]
    assert packing.plan(lengths, 10, "padded", "truncate").tolist() == [[0, 0], [1, 1], [2, 2]]
    assert packing.plan(lengths, 10, "packed", "truncate").tolist() == [[0, 0], [0, 2]]
    assert (
        packing.plan(lengths[:0], 10, "packed").shape
        == packing.plan(lengths[:0], 10, "padded").shape
        == (0, 2)
    )


def summary_of(lengths, size):
    lengths = np.array(lengths, np.int64)
    return packing.summary(
        lengths, {name: packing.plan(lengths, size, name) for name in packing.COLUMNS}, size
    )


def test_summary():
    assert summary_of([2, 3, 4, 6, 7, 11], 10) == {
        "size": 10,
        "documents": 6,
        "longest": 11,
        "dropped": 1,
        "padded": {"rows": 5, "useful_fraction": 22 / 50},
        "packed": {"rows": 3, "useful_fraction": 22 / 30},
    }
    assert summary_of([], 10)["packed"] == {"rows": 0, "useful_fraction": 0.0}


def test_long_tailed_lengths_pack_tightly():
    lengths = np.clip(np.random.default_rng(0).lognormal(4.8, 0.6, 20_000).astype(int), 1, 1024)
    assert summary_of(lengths, 1024)["packed"]["useful_fraction"] > 0.95
    assert lengths.sum() / (next_fit(lengths, 1024) * 1024) < 0.95


LONG = [
    {"index": index, "id": f"toy/t/{index}", "order": "ABCD", "length": length}
    for index, length in ((2, 10), (3, 12), (5, 11))
]
OF_LONG = np.array([2, 3, 10, 12, 4, 11])


def shard_summaries(layout, shards, on_long="drop", edge="corrected"):
    plan, form = packing.plan(OF_LONG, 10, layout, on_long), RowFormat(10, 0, layout, edge)
    return [packing.shard_summary(OF_LONG, plan, shard, shards, form, LONG) for shard in range(shards)]


def name(index):
    return {
        key: value for item in LONG if item["index"] == index for key, value in item.items() if key != "index"
    }


def test_shard_summary():
    (padded,) = shard_summaries("padded", 1)
    assert padded == {
        "size": 10,
        "records": 6,
        "documents": 4,
        "rows": 4,
        "ids": 19,
        "useful_fraction": 19 / 40,
        "longest": 12,
        "dropped": [name(3), name(5)],
        "masked": [],
    }
    (packed,) = shard_summaries("packed", 1)
    assert packed == padded | {"rows": 2, "useful_fraction": 19 / 20}


def test_rows_without_labels_are_named():
    for options, masked in (
        ({"edge": "reference"}, [2]),
        ({"on_long": "truncate"}, [3, 5]),
        ({"on_long": "truncate", "edge": "reference"}, [2, 3, 5]),
    ):
        (found,) = shard_summaries("padded", 1, **options)
        assert found["masked"] == [name(index) for index in masked]
        assert found["documents"] + len(found["dropped"]) == found["records"] == 6


@pytest.mark.parametrize("layout", packing.COLUMNS)
@pytest.mark.parametrize("shards", [1, 2, 3, 7])
def test_shards_counts_add_up(layout, shards):
    (whole,), parts = shard_summaries(layout, 1), shard_summaries(layout, shards)
    for key in ("records", "documents", "rows", "ids", "dropped", "masked"):
        assert sum((part[key] for part in parts), type(whole[key])()) == whole[key]
    assert max(part["longest"] for part in parts) == whole["longest"]
