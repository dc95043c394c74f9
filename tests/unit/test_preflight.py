import os
import shutil
import time

import pytest

from mcqlora.errors import UserError
from mcqlora.machine import preflight


@pytest.fixture
def made(tmp_path):
    folder = tmp_path / "results" / "demo"
    (folder / "splits").mkdir(parents=True)
    (folder / "splits" / "train.json").write_text("[]")
    return folder


def check(tmp_path, given=()):
    made = [tmp_path / "results/demo", tmp_path / "logs/demo"]
    preflight.check(made=made, state=[tmp_path / "runs"], given=given)


def test_a_good_place(tmp_path, made):
    check(tmp_path, [made / "splits/train.json"])
    (made / "link").symlink_to("nowhere")
    check(tmp_path)
    assert not (tmp_path / "logs").exists()  # it only looks


@pytest.mark.parametrize("ahead", [60, 10 * 365 * 24 * 3600])
def test_a_file_from_the_future_is_named(tmp_path, made, ahead):
    later = time.time() + ahead
    outside = tmp_path / "x.csv"
    outside.write_text("")
    check(tmp_path, [outside])
    for path, given in ((outside, [outside]), (made / "splits/train.json", [])):
        os.utime(path, (later, later))
        with pytest.raises(UserError, match=f"{path}: was changed at .*, in the future; .* touch it"):
            check(tmp_path, given)
        os.utime(path)


@pytest.mark.parametrize("place", ["results/demo", "results/demo/splits", "runs", "."])
def test_a_place_that_cannot_be_written_is_named(tmp_path, made, monkeypatch, place):
    refused = (tmp_path / place).resolve()
    if place == "runs":
        refused.mkdir()
    allowed = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: path != refused and allowed(path, mode))
    with pytest.raises(UserError, match=f"{refused}: cannot write there; mend permissions"):
        check(tmp_path)


def test_a_full_disk_is_named(tmp_path, made, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=preflight.ROOM - 1))
    with pytest.raises(UserError, match="the disk is full; free space"):
        check(tmp_path)
