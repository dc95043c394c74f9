import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcqlora import packing
from mcqlora.encode import IGNORE, Document

SIZE = 40
LENGTHS = st.lists(st.integers(1, SIZE + 3), max_size=120)


def documents_of(lengths):
    """Documents whose ids are all different, with prompts of 0, 1, 2, ... ids."""
    starts = np.cumsum([0, *lengths])
    return [
        Document(np.arange(start, start + length, dtype=np.int32) + 1, index % (length + 1))
        for index, (start, length) in enumerate(zip(starts, lengths, strict=False))
    ]


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
    for row in packing.pack(documents, SIZE, pad=0):
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
    for row in packing.pack(documents_of(lengths), SIZE, pad=0):
        learnt = row["labels"][1:] != IGNORE
        assert (row["document_ids"][1:] == row["document_ids"][:-1])[learnt].all()


def test_a_row_by_hand():
    documents = [Document(np.array([5, 6, 7], np.int32), 2), Document(np.array([8, 9], np.int32), 0)]
    row = packing.pack_row(documents, 7, pad=2)
    assert row["input_ids"].tolist() == [5, 6, 7, 8, 9, 2, 2]
    assert row["labels"].tolist() == [IGNORE, IGNORE, 7, IGNORE, 9, IGNORE, IGNORE]
    assert row["document_ids"].tolist() == [1, 1, 1, 2, 2, 0, 0]
    assert packing.positions(row["document_ids"]).tolist() == [0, 1, 2, 0, 1, 0, 1]


def test_a_row_that_does_not_fit():
    documents = documents_of([4, 4])
    assert packing.pack_row(documents, 8, pad=0)["document_ids"].tolist() == [1] * 4 + [2] * 4
    with pytest.raises(ValueError, match="8 ids do not fit a row of 7"):
        packing.pack_row(documents, 7, pad=0)


def test_positions_of_a_batch():
    batch = np.array([[1, 1, 2, 2], [1, 1, 1, 0], [1, 2, 3, 4]], np.int32)
    found = packing.positions(batch)
    assert found.dtype == np.int32
    assert found.tolist() == [[0, 1, 0, 1], [0, 1, 2, 0], [0, 0, 0, 0]]


def test_summary():
    lengths = [2, 3, 4, 6, 7, 11]
    bins = packing.best_fit_decreasing(lengths, 10)
    assert packing.packing_summary(lengths, bins, 10) == {
        "rows": 3,
        "useful_fraction": 22 / 30,
        "documents": 5,
        "longest": 11,
        "dropped": 1,
    }
    assert packing.packing_summary([], [], 10)["useful_fraction"] == 0.0


def test_long_tailed_lengths_pack_tightly():
    lengths = np.clip(np.random.default_rng(0).lognormal(4.8, 0.6, 20_000).astype(int), 1, 1024)
    bins = packing.best_fit_decreasing(lengths, 1024)
    assert packing.packing_summary(lengths, bins, 1024)["useful_fraction"] > 0.95
    assert lengths.sum() / (next_fit(lengths, 1024) * 1024) < 0.95
