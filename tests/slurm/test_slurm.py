"""The tiny workflow through a real Slurm makes what a local run makes, and its jobs get what they ask for."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import pytest

from mcqlora import files
from tests.helpers.artefacts import hashes, summary
from tests.helpers.processes import at_work, running, wait_until
from tests.helpers.runs import ROOT, TINY, snakemake

TARGET = "results/tiny/training/training.json"
MADE = (
    *(f"results/tiny/adapters/checkpoint_{k}.safetensors" for k in range(1, 6)),
    "results/tiny/training/history.csv",
)

pytestmark = pytest.mark.slurm


def start(cluster, folder, *arguments, configfile=TINY, settings=(), **train):
    """Snakemake as it is started on a login node; `train` are its changed keys. No configfile: the demo."""
    changes = list(settings)
    changes += [f"train={{{', '.join(f'{key}: {value}' for key, value in train.items())}}}"] if train else []
    command = [
        *(sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")),
        *("--workflow-profile", str(ROOT / "profiles" / "slurm")),
        *(("--configfile", str(configfile)) if configfile else ()),
        *("--directory", str(folder), *arguments, "--config", "gres=npu", *changes),
    ]
    return subprocess.Popen(
        command,
        cwd=folder,
        env=cluster.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # background jobs ignore it
    )


def finish(process):
    said, _ = process.communicate()
    assert process.returncode == 0, said[-5000:]


def since(cluster, before):
    """The jobs that are new since `before`."""
    known = {job.id for job in before}
    return [job for job in cluster.jobs() if job.id not in known]


def of_rule(jobs, rule):
    return [
        job for job in jobs if job.rule == f"rule_{rule}" or job.rule.startswith(f"rule_{rule}_wildcards")
    ]


def npus(job):
    """All those of a job's nodes together."""
    counted = dict(part.split("=") for part in job.tres.split(","))
    return int(counted.get("gres/npu", 0))


def together(first, second):
    """Whether two jobs ran at once."""
    return first.start < second.end and second.start < first.end


@pytest.fixture(scope="module")
def untrained(finished, tmp_path_factory):
    """Makes folders with all that comes before the training."""

    def copy():
        folder = tmp_path_factory.mktemp("untrained").resolve() / "run"
        shutil.copytree(finished, folder)
        shutil.rmtree(folder / "results/tiny/training")
        shutil.rmtree(folder / "runs")
        return folder

    return copy


@pytest.fixture(scope="module")
def through(cluster, tmp_path_factory):
    """A folder in which the tiny workflow has run through Slurm, and the jobs that this took."""
    folder, before = tmp_path_factory.mktemp("through"), cluster.jobs()
    finish(start(cluster, folder))
    return folder, since(cluster, before)


@pytest.fixture(scope="module")
def local_demo(tmp_path_factory):
    """A folder in which the demo has run without Slurm: MCQLORA_DEMO, or a new one, made in some minutes."""
    if "MCQLORA_DEMO" in os.environ:
        return Path(os.environ["MCQLORA_DEMO"])
    folder = tmp_path_factory.mktemp("demo")
    result = snakemake(folder, "--cores", "2", configfile=None)
    assert result.returncode == 0, result.stderr[-5000:]
    return folder


def test_the_demo_is_the_same_as_a_local_run(cluster, local_demo, tmp_path):
    before = cluster.jobs()
    finish(start(cluster, tmp_path, configfile=None))
    jobs = since(cluster, before)
    assert all(job.state == "COMPLETED" for job in jobs)
    assert any(together(*pair) for pair in combinations(of_rule(jobs, "evaluate"), 2)), jobs
    made = hashes(tmp_path, "demo")
    print(f"the demo through Slurm: {len(jobs)} jobs, {len(made)} artefacts")
    assert made == hashes(local_demo, "demo")
    assert summary(tmp_path, "demo") == summary(local_demo, "demo")


def test_the_same_artefacts_as_a_local_run(finished, through):
    assert hashes(through[0]) == hashes(finished)
    assert summary(through[0]) == summary(finished)


def test_a_cluster_without_accounting(without_accounting, finished, tmp_path):
    asked = subprocess.run(["sacct"], env=without_accounting.environment, capture_output=True, text=True)
    assert asked.returncode == 1 and "accounting storage is disabled" in asked.stderr
    finish(start(without_accounting, tmp_path, "--slurm-status-command", "squeue"))
    assert hashes(tmp_path) == hashes(finished)
    assert summary(tmp_path) == summary(finished)


def test_shards_and_evaluations_run_side_by_side(through):
    _, jobs = through
    assert all(job.state == "COMPLETED" for job in jobs)
    for rule, count in (("shard", 3), ("evaluate", 6)):
        found = of_rule(jobs, rule)
        assert len(found) == count
        assert any(together(*pair) for pair in combinations(found, 2)), found


def test_trainings_ask_for_npus_and_trifles_for_no_job(through):
    _, jobs = through
    assert {job.rule: npus(job) for job in jobs if npus(job)} == {"rule_base": 1, "rule_train": 2}
    assert len(jobs) == 1 + 3 + 2 + 6 + 4  # data, shards, base and training, evaluations, report and exports
    assert not of_rule(jobs, "configs")


def test_variants_and_seeds_train_side_by_side(cluster, finished, tmp_path):
    folder, before = tmp_path / "run", cluster.jobs()
    shutil.copytree(finished, folder)
    finish(
        start(
            cluster, folder, "compare", settings=["variants={rank8: {train: {lora_rank: 8}}}", "seeds=[0, 1]"]
        )
    )
    jobs = since(cluster, before)
    assert all(job.state == "COMPLETED" for job in jobs)
    trainings = of_rule(jobs, "train")
    assert len(trainings) == 3 and any(together(*pair) for pair in combinations(trainings, 2)), trainings
    compared = files.read_json(folder / "results/tiny/compare/summary.json")
    seeds = {row["name"]: row["seeds"] for row in compared["variants"]}
    assert seeds == {"base": [None], "tiny": [0, 1], "rank8": [0, 1]}


def test_a_second_run_sends_no_job(cluster, through):
    before = cluster.jobs()
    finish(start(cluster, through[0]))
    assert since(cluster, before) == []


def test_a_training_over_two_nodes_that_was_cancelled_makes_the_same_adapters(cluster, finished, untrained):
    folder, before = untrained(), cluster.jobs()

    def workers():  # and msrun's scheduler; not srun nor msrun, whose command lines have their script, too
        return running(folder, "worker.py", first=True)

    with start(cluster, folder, TARGET, nodes=2) as first:
        assert wait_until(lambda: len(workers()) == 3 or first.poll() is not None, 600)
        assert first.poll() is None, first.stdout.read()[-5000:]
        workers()[-1].suspend()  # so that the training cannot end before it is cancelled
        os.kill(first.pid, signal.SIGINT)
        first.communicate()
    assert first.returncode != 0
    assert wait_until(lambda: not at_work(folder) and cluster.idle(), 120), at_work(folder)

    def states():
        return [job.state.split()[0] for job in since(cluster, before)]

    assert wait_until(lambda: states() == ["CANCELLED"], 60), states()  # slurmdbd hears of it a little later

    before = cluster.jobs()
    finish(start(cluster, folder, TARGET, nodes=2))
    (job,) = since(cluster, before)
    assert (job.state, job.nodes, npus(job)) == ("COMPLETED", "n[1-2]", 2)
    for name in MADE:
        assert (folder / name).read_bytes() == (finished / name).read_bytes(), name


def test_two_trainings_are_never_on_the_same_npus(cluster, untrained):
    before = cluster.jobs()
    cluster.tell("scontrol", "update", "nodename=n2", "state=drain", "reason=test")
    try:
        # A quarter of the CPUs and half of the memory each: only the four NPUs keep them apart.
        trainings = [start(cluster, untrained(), TARGET, "--cores", "2", workers=4) for _ in range(2)]
        waited = wait_until(lambda: cluster.queued("running") == 1 and cluster.queued("pending") == 1, 120)
        for training in trainings:
            finish(training)
    finally:
        cluster.tell("scontrol", "update", "nodename=n2", "state=resume")
    first, second = of_rule(since(cluster, before), "train")
    assert waited
    assert [(job.state, job.nodes, npus(job)) for job in (first, second)] == [("COMPLETED", "n1", 4)] * 2
    assert not together(first, second)
