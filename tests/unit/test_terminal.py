"""What `make run` tells: lines and estimates from given events, times and files."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
import yaml

from mcqlora import files, terminal
from tests.helpers.evaluations import build, few

ROOT = Path(__file__).parents[2]
JOBS = {"read": 1, "base": 1, "evaluate": 2, "all": 1}


def progress(known=(), jobs=JOBS):
    return terminal.Progress(jobs, dict(known), began=100.0)


def ran(found, number, rule, seconds):
    """A job from start to end, alone; the line of its rule, if it was the last one."""
    found.start(number, rule)
    found.advance(found.now + seconds)
    return found.finish(number)


@pytest.mark.parametrize(
    ("seconds", "exact", "rough"),
    [
        (0.4, "0 s", "10 s"),
        (42, "42 s", "40 s"),
        (59.6, "1 min 00 s", "1 min"),
        (432, "7 min 12 s", "7 min"),
        (3599.7, "1 h 00 min", "60 min"),
        (9000, "2 h 30 min", "2 h"),
    ],
)
def test_times_in_words(seconds, exact, rough):
    assert (terminal.duration(seconds), terminal.roughly(seconds)) == (exact, rough)


def test_a_rule_has_its_line_when_its_last_job_is_done():
    found = progress()
    assert ran(found, 1, "read", 2) == "read                   2 s"
    found.start(2, "evaluate")
    found.start(3, "evaluate")
    found.advance(162)
    assert found.line() == "1 of 5 jobs | evaluate (2 jobs) 1 min 00 s"
    assert found.finish(2) is None
    found.advance(164)
    assert found.finish(3) == "evaluate        1 min 02 s   2 jobs"  # waited for, not added up
    assert ran(found, 4, "all", 0) is None


def test_what_runs_and_since_when():
    found = progress()
    found.start(1, "read")
    found.advance(103)
    found.start(2, "base")
    found.advance(105)
    assert found.line() == "0 of 5 jobs | read 5 s, base 2 s"


def test_a_first_run_does_not_know_how_long_it_takes():
    found = progress()
    assert found.left() is None
    assert found.first_line("earlier runs") == "5 jobs; how long is known after a first run"
    ran(found, 1, "read", 2)
    assert "left" not in found.line()
    assert progress({"read": 1, "base": 60}).left() is None  # none of evaluate


def test_the_rest_by_earlier_runs():
    found = progress({"read": 10, "base": 60, "evaluate": 30})
    assert found.left() == 130
    assert found.first_line("earlier runs") == "5 jobs, about 2 min by the times of earlier runs"
    ran(found, 1, "read", 10)
    assert found.left() == 120
    found.start(2, "base")
    found.advance(found.now + 45)
    assert found.left() == 75
    found.advance(found.now + 45)
    assert found.left() == 60  # it takes longer than before, and nobody knows how much
    assert found.line() == "1 of 5 jobs | base 1 min 30 s | about 1 min left"


def test_a_slower_machine_is_noticed():
    found = progress({"read": 90, "base": 60, "evaluate": 30})
    ran(found, 1, "read", 190)  # (190 + 10) / (90 + 10)
    assert found.left() == pytest.approx(2 * 120)
    short = progress({"read": 0.1, "base": 60, "evaluate": 30})
    ran(short, 1, "read", 0.3)  # three times as long says nothing yet
    assert short.left() == pytest.approx(120, rel=0.03)


def test_jobs_side_by_side_share_the_time():
    found = progress({"read": 10, "base": 60, "evaluate": 30}, {"evaluate": 2})
    found.start(1, "evaluate")
    found.start(2, "evaluate")
    found.advance(120)
    assert found.left() == 40


def test_a_training_goes_by_its_own_steps():
    found = progress({"read": 10, "evaluate": 30})
    found.start(1, "base")
    found.see(5, 105)
    assert found.left() is None
    found.advance(120)
    found.see(15, 105)
    assert found.line() == "0 of 5 jobs | base 20 s, step 15 of 105 | about 4 min left"  # 180 s, 10 and 60
    alone = progress()
    alone.start(1, "base")
    alone.see(5, 105)
    alone.advance(120)
    alone.see(15, 105)
    assert alone.line().endswith("| about 3 min left of its training")
    alone.finish(1)
    assert "step" not in alone.line() and "left" not in alone.line()


def test_a_job_that_failed_and_is_tried_again():
    found = progress()
    found.start(1, "base")
    found.advance(112)
    assert found.fail(1, "base") == "base failed after 12 s" and found.failed == {1: "base"}
    assert found.line() == "0 of 5 jobs"
    found.start(1, "base")
    assert found.failed == {}


def benchmark(folder, name, seconds, end):
    path = folder / f"{name}.tsv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"s\th:m:s\tmax_rss\n{seconds}\t0:00:01\t10.0\n")
    os.utime(path, (end, end))


def test_times_of_earlier_runs(tmp_path):
    assert terminal.earlier(tmp_path / "none") == {}
    benchmark(tmp_path, "read", 5.0, 1000)
    benchmark(tmp_path, "evaluate/base", 20.0, 1030)  # 1010 to 1030
    benchmark(tmp_path, "evaluate/checkpoint_1", 20.0, 1040)  # 1020 to 1040: half of it beside the other
    (tmp_path / "cut.tsv").write_text("s\n")
    assert terminal.earlier(tmp_path) == {"read": 5.0, "evaluate": 15.0}


def test_times_on_file(tmp_path):
    assert terminal.read_times(tmp_path / "times.tsv") == {}
    benchmark(tmp_path, "read", 5.04, 1000)
    (tmp_path / "times.txt").write_text(terminal.write_times(tmp_path))
    assert terminal.read_times(tmp_path / "times.txt") == {"read": 5.0}


def test_rules_without_a_time_are_known():
    text = "\n".join(path.read_text() for path in (ROOT / "workflow" / "rules").glob("*.smk"))
    text += (ROOT / "Snakefile").read_text()
    blocks = re.split(r"^ *rule (?=\w+:$)", text, flags=re.MULTILINE)[1:]
    untimed = {block.partition(":")[0] for block in blocks if not re.search(r"^ +benchmark:$", block, re.M)}
    assert untimed == set(terminal.UNTIMED)


def training(runs, name, steps, last, time):
    folder = runs / name
    (folder / "output").mkdir(parents=True)
    callbacks = [{"type": "MFLossMonitor"}, {"type": "ScheduleCallback", "checkpoints": [last // 2, last]}]
    (folder / "config.yaml").write_text(yaml.safe_dump({"callbacks": callbacks}))
    history = folder / "output" / "history.jsonl"
    history.write_text("".join(json.dumps({"step": step, "pad": 99 * "x"}) + "\n" for step in steps))
    os.utime(history, (time, time))
    return history


def test_the_step_of_the_newest_training(tmp_path):
    training(tmp_path, "old", range(1, 5), 10, 1000)
    history = training(tmp_path, "new", range(1, 200), 300, 2000)
    assert terminal.training_step(tmp_path, 1500) == (199, 300)
    assert terminal.training_step(tmp_path, 2500) is None  # of a run before this one
    assert terminal.training_step(tmp_path / "none", 0) is None
    with history.open("a") as file:
        file.write('{"step": 20')  # as it is written
    assert terminal.training_step(tmp_path, 1500) == (199, 300)
    history.write_text('{"st')
    assert terminal.training_step(tmp_path, 1500) is None


@pytest.fixture
def summary(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results" / "mine").mkdir(parents=True)

    def write(**changes):
        files.write_json(tmp_path / "results" / "mine" / "summary.json", build(few(**changes)))

    return write


def test_the_end_has_the_verdicts_the_report_and_what_is_next(summary, tmp_path):
    summary()
    lines = list(terminal.closing("mine"))
    assert lines[0].startswith("Learnt: yes, on unseen questions: 90.0 % [") and "p < 0.0001" in lines[0]
    assert lines[1].startswith("Leak: ") and lines[2].startswith("Retained ability")
    assert lines[3] == f"Report: {tmp_path / 'results/mine/report.md'}"
    assert lines[4].startswith("Next: make report") and "make run RUN=" in lines[5]
    assert not re.search(r"\*\*|\[\^", "\n".join(lines))
    assert "with the same RUN" in list(terminal.closing("mine", whole=False))[-1]


def test_a_leaked_run_ends_with_that_first(summary):
    summary(leaked=True)
    assert next(terminal.closing("mine")).startswith("LEAKED: ")


def test_long_lines_are_wrapped():
    said = terminal.wrapped("Learnt: " + 30 * "yes ", 40).splitlines()
    assert len(said) > 2 and max(map(len, said)) <= 40 and said[1].startswith("  yes")
