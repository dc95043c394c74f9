import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcqlora import files, hashing
from mcqlora.errors import UserError

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def left(folder):
    return sorted(path.name for path in folder.iterdir())


def test_an_error_while_writing_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file"
    files.write_text(path, "old")
    with pytest.raises(RuntimeError), files.atomic(path) as file:
        file.write(b"new, but not all of it")
        raise RuntimeError
    assert path.read_text() == "old"
    assert left(tmp_path) == ["file"]


def test_an_error_while_writing_a_first_file_leaves_nothing(tmp_path):
    def rows():
        yield 1
        raise RuntimeError

    for write in (files.write_json_array, files.write_jsonl):
        with pytest.raises(RuntimeError):
            write(tmp_path / "file", rows())
    assert left(tmp_path) == []


def test_the_new_file_is_not_seen_before_it_is_whole(tmp_path):
    path = tmp_path / "file"
    with files.atomic(path) as file:
        file.write(b"part")
        file.flush()
        assert not path.exists()
    assert path.read_bytes() == b"part"


def test_text_is_utf8_with_lone_newlines(tmp_path):
    files.write_text(tmp_path / "file", "水\n")
    assert (tmp_path / "file").read_bytes() == "水\n".encode()


def test_missing_folders_are_made(tmp_path):
    files.write_text(tmp_path / "a" / "b" / "file", "text")
    assert (tmp_path / "a" / "b" / "file").read_text() == "text"


@pytest.mark.parametrize("number", ["ENOSPC", "EROFS", "EACCES"])
def test_a_full_or_closed_disk_is_the_users_matter(tmp_path, monkeypatch, number):
    import errno

    def fail(descriptor):
        code = getattr(errno, number)
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(UserError, match=r"file: cannot write \(.*\); free space or mend permissions"):
        files.write_text(tmp_path / "file", "text")
    assert left(tmp_path) == []


@given(st.lists(JSON, max_size=5))
def test_json_array_round_trip(tmp_path_factory, elements):
    path = tmp_path_factory.mktemp("array") / "file.json"
    assert files.write_json_array(path, iter(elements)) == len(elements)
    assert list(files.read_json_array(path)) == elements
    assert files.read_json(path) == elements  # it is JSON as a whole, too


def test_json_array_has_one_element_per_line(tmp_path):
    files.write_json_array(tmp_path / "file", [{"a": 1}, "x"])
    assert (tmp_path / "file").read_text() == '[\n{"a":1},\n"x"\n]\n'


def test_an_empty_array_is_json(tmp_path):
    assert files.write_json_array(tmp_path / "file", []) == 0
    assert files.read_json(tmp_path / "file") == []
    assert list(files.read_json_array(tmp_path / "file")) == []


def test_jsonl_round_trip(tmp_path):
    rows = [{"a": 1}, [None, True], "\n"]
    files.write_jsonl(tmp_path / "file", iter(rows))
    assert list(files.read_jsonl(tmp_path / "file")) == rows


@pytest.mark.parametrize("read", [files.read_json, lambda path: list(files.read_jsonl(path))])
def test_truncated_json_names_the_file(tmp_path, read):
    path = tmp_path / "file"
    path.write_bytes(b'{"a": [1, 2')
    with pytest.raises(UserError, match=r"file(:1)?: not valid JSON \(.*\); delete it and run again"):
        read(path)


def test_a_truncated_line_names_file_and_line(tmp_path):
    path = tmp_path / "file"
    files.write_json_array(path, [{"a": 1}, {"b": 2}])
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(UserError, match=r"file:3: not valid JSON"):
        list(files.read_json_array(path))


@pytest.mark.parametrize("keep", [0, 1, 2, 9, 10])
def test_an_array_cut_off_between_two_elements_is_noticed(tmp_path, keep):
    path = tmp_path / "file"
    files.write_json_array(path, [{"a": 1}, {"b": 2}])
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match="not valid JSON"):
        list(files.read_json_array(path))


def test_numpy_numbers_are_written(tmp_path):
    files.write_json(tmp_path / "file", {"a": np.float32(0.5), "b": np.arange(2)}, indent=True)
    assert files.read_json(tmp_path / "file") == {"a": 0.5, "b": [0, 1]}


def test_digest_knows_no_key_order_but_every_value():
    assert hashing.digest({"a": 1, "b": [2]}) == hashing.digest({"b": [2], "a": 1})
    assert len({hashing.digest(*parts) for parts in ([1], [1, 2], [[1, 2]], ["1"], [None], [])}) == 6


def test_sha256_is_of_the_bytes(tmp_path):
    (tmp_path / "file").write_bytes(b"abc")
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert hashing.sha256(tmp_path / "file") == known


def test_rng_depends_on_seed_and_key_alone():
    first = hashing.rng(1, "a", 2).random(3).tolist()
    hashing.rng(9).random(5)
    assert hashing.rng(1, "a", 2).random(3).tolist() == first
    others = [hashing.rng(2, "a", 2), hashing.rng(1, "b", 2), hashing.rng(1, "a2"), hashing.rng(1, 2, "a")]
    assert all(other.random(3).tolist() != first for other in others)


def test_an_array_round_trip_and_a_full_disk(tmp_path):
    array = np.arange(100_000, dtype=np.int32).reshape(-1, 2)
    files.write_array(tmp_path / "x.npy", array)
    np.testing.assert_array_equal(np.load(tmp_path / "x.npy"), array)
    (tmp_path / f".y.npy.{os.getpid()}.tmp").symlink_to("/dev/full")
    with pytest.raises(UserError, match=r"y.npy: cannot write \(No space left on device\); free space"):
        files.write_array(tmp_path / "y.npy", array)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.npy"]
