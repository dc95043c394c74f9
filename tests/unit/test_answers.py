import numpy as np
import pytest

from mcqlora.evaluate.answers import Cache, Share


def test_what_was_added_is_there_again(tmp_path):
    first = Cache(tmp_path / "runs" / "kept")
    first.add({"a": [1.5, None], "b": []})
    first.add({"c": {"deep": "é"}})
    again = Cache(tmp_path / "runs" / "kept")
    assert [again.get(key) for key in "abcd"] == [[1.5, None], [], {"deep": "é"}, None]


def test_floats_come_back_as_they_were(tmp_path):
    values = np.random.default_rng(0).normal(size=100).astype(np.float32)
    Cache(tmp_path / "kept").add({"x": values.tolist()})
    np.testing.assert_array_equal(np.array(Cache(tmp_path / "kept").get("x"), np.float32), values)


@pytest.mark.parametrize("cut", range(2, 11))  # without its end alone, a line is as good as whole
def test_a_line_that_is_cut_off_was_never_written(tmp_path, cut):
    path = tmp_path / "kept"
    cache = Cache(path)
    cache.add({"a": 1})
    cache.add({"b": [22]})
    path.write_bytes(path.read_bytes()[:-cut])
    again = Cache(path)
    assert (again.get("a"), again.get("b")) == (1, None)
    again.add({"c": 3})
    last = Cache(path)
    assert [last.get(key) for key in "abc"] == [1, None, 3]


def test_a_first_line_that_is_cut_off_harms_no_later_one(tmp_path):
    (tmp_path / "kept").write_bytes(b'{"a": [1.0, 2')
    Cache(tmp_path / "kept").add({"b": 2})
    Cache(tmp_path / "kept").add({"c": 3})
    again = Cache(tmp_path / "kept")
    assert [again.get(key) for key in "abc"] == [None, 2, 3]


def test_what_another_adds_meanwhile_stays(tmp_path):
    path = tmp_path / "kept"
    first = Cache(path)
    first.add({"a": 1})
    second = Cache(path)
    first.add({"b": 2})
    second.add({"c": 3})
    assert [Cache(path).get(key) for key in "abc"] == [1, 2, 3]


def test_without_a_path_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cache = Cache()
    cache.add({"a": 1})
    assert cache.get("a") == 1 and list(tmp_path.iterdir()) == []


def test_nothing_found_writes_no_line(tmp_path):
    Cache(tmp_path / "kept").add({})
    assert not (tmp_path / "kept").exists()


def test_what_other_processes_said_is_known_whatever_their_number(tmp_path):
    path = tmp_path / "kept.jsonl"
    Cache(path).add({"a": 1})
    Cache(path, Share(1, 3)).add({"b": 2})
    for cache in (Cache(path), Cache(path, Share(0, 2))):
        assert [cache.get(key) for key in "abc"] == [1, 2, None]
    (tmp_path / "kept-1.jsonl").write_bytes(b'{"b": 2}\n{"c": ')
    assert [Cache(path, Share(0, 2)).get(key) for key in "abc"] == [1, 2, None]
    assert (tmp_path / "kept-1.jsonl").read_bytes().endswith(b'{"c": ')  # another's file is left alone


def test_every_turn_is_one_process_s(tmp_path):
    caches = [Cache(tmp_path / "kept", Share(rank, 3)) for rank in range(3)]
    assert all(sum(cache.due(turn, ["a"]) for cache in caches) == 1 for turn in range(10))


def test_a_turn_is_due_until_all_its_keys_are_known():
    cache = Cache()
    cache.add({"a": 1})
    assert not cache.due(0, ["a"]) and cache.due(0, ["a", "b"]) and not cache.due(0, [])
