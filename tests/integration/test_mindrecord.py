import contextlib
import errno
import itertools
import os
import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mcqlora.errors import UserError
from mcqlora.tokens import mindrecord
from mcqlora.tokens.layout import COLUMNS
from tests.helpers.shards import read_rows


def rows_of(count, size=12, columns=("input_ids", "labels")):
    generator = np.random.default_rng(count)
    for _ in range(count):
        yield {name: generator.integers(-100, 2**31 - 1, size).astype(np.int32) for name in columns}


def write(rows, path, names=COLUMNS["padded"]):
    """Write rows, each as a batch of its own."""
    batches = ({name: column[None] for name, column in row.items()} for row in rows)
    return mindrecord.write_batches(batches, path, names)


def assert_same(found, expected):
    for a, b in itertools.zip_longest(found, expected):
        assert a.keys() == b.keys()
        for name in a:
            assert a[name].dtype == np.int32
            np.testing.assert_array_equal(a[name], b[name])


@pytest.fixture(scope="module")
def shard(tmp_path_factory):
    """2,100 rows: more than one call and one page."""
    path = tmp_path_factory.mktemp("records") / "train" / "shard-0-of-1.mindrecord"
    assert write(rows_of(2100, 100), path) == 2100
    return path


@pytest.fixture
def copy(shard, tmp_path):
    """The shard in another directory."""
    for file in shard.parent.iterdir():
        shutil.copy(file, tmp_path)
    return tmp_path / shard.name


def test_rows_come_back(shard):
    assert_same(read_rows([shard]), rows_of(2100, 100))
    assert mindrecord.count_rows([shard]) == 2100


def test_only_the_pair_of_files_is_left_and_is_small(shard):
    assert sorted(os.listdir(shard.parent)) == [shard.name, shard.name + ".db"]
    assert shard.stat().st_size < 2 * 2100 * 100 * 4 + mindrecord.HEADER + 4 * mindrecord.PAGE
    assert shard.stat().st_mode & 0o444 == (shard.parent.stat().st_mode & 0o444)


def test_same_rows_same_bytes_and_an_old_shard_is_replaced(shard, tmp_path):
    path = tmp_path / shard.name
    write(rows_of(5), path)
    write(rows_of(2100, 100), path)
    for name in (shard.name, shard.name + ".db"):
        assert (tmp_path / name).read_bytes() == (shard.parent / name).read_bytes()


def test_several_shards_read_in_order(tmp_path):
    paths = [tmp_path / f"shard-{i}-of-3.mindrecord" for i in range(3)]
    for i, path in enumerate(paths):
        write(itertools.islice(rows_of(20), 20 * i // 3, 20 * (i + 1) // 3), path)
    assert_same(read_rows(paths), rows_of(20))
    assert mindrecord.count_rows(paths) == 20


def test_mindspores_dataset_reads_it(shard):
    from mindspore import dataset

    rows = dataset.MindDataset([str(shard)], shuffle=False, num_parallel_workers=1)
    assert_same(rows.create_dict_iterator(num_epochs=1, output_numpy=True), rows_of(2100, 100))


def test_three_columns_of_rows_larger_than_a_page(tmp_path):
    columns = ("input_ids", "labels", "document_ids")
    size = mindrecord.PAGE // 8
    path = tmp_path / "packed.mindrecord"
    write(rows_of(3, size, columns), path, columns)
    assert_same(read_rows([path]), rows_of(3, size, columns))


def test_no_rows(tmp_path):
    with pytest.raises(UserError, match=r"x\.mindrecord: no row falls to this shard"):
        write([], tmp_path / "x.mindrecord")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({}, "input_ids: expected .*, found missing"),
        ({"input_ids": np.zeros(12, np.int32)}, "labels: expected int32.1, 12., found missing"),
        ({"input_ids": np.zeros(12, np.int32), "labels": np.zeros(13, np.int32)}, "found int32.1, 13."),
        (
            {"input_ids": np.zeros(12, np.int64), "labels": np.zeros(12, np.int32)},
            "input_ids: .* found int64.1, 12.",
        ),
    ],
)
def test_a_bad_row_stops_the_writing_and_keeps_the_old_shard(copy, bad, message):
    before = copy.read_bytes()
    with pytest.raises(ValueError, match=message):
        write(itertools.chain(rows_of(3), [bad]), copy)
    assert copy.read_bytes() == before
    assert sorted(os.listdir(copy.parent)) == [copy.name, copy.name + ".db"]


def as_batch(rows):
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


@pytest.mark.parametrize("sizes", [[300], [128, 128, 44], [7, 0, 293], [0, 300], [1] * 300])
def test_batches_of_any_size_give_the_same_bytes(tmp_path, sizes):
    rows, ends = list(rows_of(300)), np.cumsum(sizes)
    (tmp_path / "batches").mkdir()
    paths = [tmp_path / "x.mindrecord", tmp_path / "batches" / "x.mindrecord"]
    write(rows, paths[0])
    whole = as_batch(rows)
    batches = (
        {name: column[end - size : end] for name, column in whole.items()}
        for size, end in zip(sizes, ends, strict=True)
    )
    assert mindrecord.write_batches(batches, paths[1]) == 300
    for suffix in ("", ".db"):
        assert Path(f"{paths[0]}{suffix}").read_bytes() == Path(f"{paths[1]}{suffix}").read_bytes()


@pytest.mark.parametrize(
    ("shape", "labels", "message"),
    [
        ((12,), (12,), r"column input_ids: expected int32\[12, n\], found int32\[12\]"),
        ((2, 3, 4), (2, 3, 4), r"column input_ids: expected int32\[2, n\], found int32\[2, 3, 4\]"),
        ((2, 12), (3, 12), r"column labels: expected int32\[2, 12\], found int32\[3, 12\]"),
        ((2, 12), (2, 11), r"column labels: expected int32\[2, 12\], found int32\[2, 11\]"),
        ((), (), r"column input_ids: expected int32\[n\], found int32\[\]"),
    ],
)
def test_a_batch_of_another_shape_is_refused(tmp_path, shape, labels, message):
    batch = {"input_ids": np.zeros(shape, np.int32), "labels": np.zeros(labels, np.int32)}
    with pytest.raises(ValueError, match=message):
        mindrecord.write_batches([batch], tmp_path / "x.mindrecord")
    assert os.listdir(tmp_path) == []


def test_a_later_batch_of_longer_rows_is_refused(tmp_path):
    batches = [dict.fromkeys(("input_ids", "labels"), np.zeros((2, length), np.int32)) for length in (12, 13)]
    with pytest.raises(ValueError, match=r"expected int32\[2, 12\], found int32\[2, 13\]"):
        mindrecord.write_batches(batches, tmp_path / "x.mindrecord")
    assert os.listdir(tmp_path) == []


def test_a_shard_too_large_for_its_header(tmp_path, monkeypatch):
    monkeypatch.setattr(mindrecord, "HEADER", 500)
    with pytest.raises(UserError, match=r"x\.mindrecord: too large for one shard; raise encode.shards"):
        write(rows_of(3), tmp_path / "x.mindrecord")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), sqlite3.OperationalError("full")]
)
def test_a_full_disk(tmp_path, monkeypatch, error):
    def full(*_):
        raise error

    monkeypatch.setattr(mindrecord, "_write_index", full)
    with pytest.raises(UserError, match=r"x\.mindrecord: cannot write .*\(.*\); free space"):
        write(rows_of(3), tmp_path / "x.mindrecord")
    assert os.listdir(tmp_path) == []


def extremes(count, size, columns=("input_ids", "labels")):
    """Values around each width's limits: every width occurs, and pages differ in their numbers of rows."""
    limits = [0, 1, -1, 127, 128, -128, -129, 32767, 32768, -32768, -32769, 103167, 2**31 - 1, -(2**31)]
    generator = np.random.default_rng(size)
    for _ in range(count):
        yield {name: generator.choice(limits, size).astype(np.int32) for name in columns}


def padded(count, size, columns=("input_ids", "labels")):
    for row in rows_of(count, size, columns):
        for column in row.values():
            column[size // 3 :] = -100
        yield row


@pytest.mark.parametrize(
    ("rows", "count", "size", "columns"),
    [
        (rows_of, 1, 1, 2),
        (extremes, 3, 13, 2),
        (extremes, 2_000, 14, 3),  # more than one page of blobs
        (padded, 700, 33, 3),
        (rows_of, 6_000, 3, 2),  # more than one page of raw data
        (rows_of, 2, 1 << 13, 3),  # rows larger than a page
    ],
)
def test_the_very_bytes_of_mindspores_writer(tmp_path, monkeypatch, rows, count, size, columns):
    from mindspore.mindrecord import FileWriter

    monkeypatch.setattr(mindrecord, "PAGE", 1 << 15)
    names = ("input_ids", "labels", "document_ids")[:columns]
    ours, theirs = (tmp_path / folder / "x.mindrecord" for folder in ("ours", "theirs"))
    write(rows(count, size, names), ours, names)
    theirs.parent.mkdir()
    writer = FileWriter(str(theirs))
    writer.set_page_size(max(mindrecord.PAGE, 2 * 4 * size * columns))
    writer.set_header_size(mindrecord.HEADER)
    writer.add_schema({name: {"type": "int32", "shape": [-1]} for name in names}, "mcqlora")
    writer.write_raw_data(list(rows(count, size, names)))
    writer.commit()
    assert ours.read_bytes() == theirs.read_bytes()
    assert table(ours) == table(theirs)


def table(path):
    """What the index says; SQLite writes its own version into the file."""
    with contextlib.closing(sqlite3.connect(f"{path}.db")) as index:
        return [list(index.execute(f"SELECT * FROM {name}")) for name in ("INDEXES", "SHARD_NAME")]


def cut(path, keep):
    with open(path, "rb+") as file:
        file.truncate(keep)


def test_missing_shard(tmp_path):
    with pytest.raises(UserError, match=r"x\.mindrecord: no such MindRecord shard"):
        mindrecord.count_rows([tmp_path / "x.mindrecord"])


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda path: cut(path, path.stat().st_size - 1), "cut off at"),
        (lambda path: cut(path, mindrecord.HEADER + 1000), "cut off at"),
        (lambda path: cut(path, 100), "no MindRecord header"),
        (lambda path: cut(path, 0), "no MindRecord header"),
        (lambda path: path.write_bytes(bytes(1000)), "no MindRecord header"),
        (lambda path: path.write_bytes(b"\xff" * 1000), "no MindRecord header"),
        (lambda path: path.with_name(path.name + ".db").unlink(), "its index .db is missing"),
    ],
)
def test_damage_that_the_header_shows(copy, harm, message):
    harm(copy)
    with pytest.raises(UserError, match=rf"{copy.name}: {message}.*; delete it and its \.db and run again"):
        mindrecord.count_rows([copy])


def test_a_whole_shard_is_verified(shard, copy):
    written = [mindrecord.hashes(shard)]
    assert mindrecord.verified([copy], written) == [written[0]["data"]]


@given(data=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_changed_byte_anywhere_is_noticed(shard, copy, data):
    written = [mindrecord.hashes(shard)]
    file = data.draw(st.sampled_from([copy, copy.with_name(copy.name + ".db")]))
    raw = file.read_bytes()
    place = data.draw(st.integers(0, len(raw) - 1))
    changed = raw[place] ^ data.draw(st.integers(1, 255))
    with open(file, "r+b") as opened:
        opened.seek(place)
        opened.write(bytes([changed]))
    try:
        with pytest.raises(UserError, match=r"; delete it and its \.db and run again") as error:
            mindrecord.verified([copy], written)
        assert "\n" not in str(error.value)
    finally:
        file.write_bytes(raw)


def test_a_crash_while_moving_leaves_no_old_rows_beside_a_new_index(copy, monkeypatch):
    replace = os.replace

    def crash(source, target):
        if str(target) == str(copy):
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, "replace", crash)
    with pytest.raises(KeyboardInterrupt):
        write(rows_of(3), copy)
    assert not copy.exists()
