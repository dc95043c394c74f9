"""A run in a bucket and back through Snakemake, against a real S3 server. Nothing is trained: see `made`."""

import functools
import json
import shutil
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from mcqlora import demo, files, hashing
from tests.helpers.runs import jobs, only_line, setting, snakemake
from tests.helpers.s3 import BUCKET, KEY, SECRET

SLOW = functools.partial(pytest.param, marks=pytest.mark.slow)
RESULTS = Path("results/tiny")
CHECKPOINTS = [f"checkpoint_{k}" for k in range(1, 6)]
STAND_INS = [
    *(f"adapters/{name}.safetensors" for name in CHECKPOINTS),
    *(f"training/{name}" for name in ("history.csv", "config.yaml", "training.json")),
    *(f"training/predict_{name}.yaml" for name in ("squad", "mcq")),
    "training/tensorboard/events.out.tfevents.history",
    *(f"export/peft/{name}/adapter_model.safetensors" for name in CHECKPOINTS),
    *(f"export/peft/{name}/adapter_config.json" for name in CHECKPOINTS),
    *(f"export/peft/{name}/README.md" for name in CHECKPOINTS),
]


def run(folder, server, *arguments, config=()):
    given = [setting(f"s3.endpoint={server.endpoint}"), *config]
    return snakemake(folder, "--cores", "2", *arguments, "--config", *given)


def planned(dry, folder, server, *arguments, config=()):
    """The same, dry."""
    return dry.run(folder, *arguments, "--config", setting(f"s3.endpoint={server.endpoint}"), *config)


def said(result):
    lines = (result.stdout + result.stderr).splitlines()
    assert "Traceback" not in result.stdout + result.stderr
    return [line.removeprefix("mcqlora: ") for line in lines if line.startswith("mcqlora:")]


def refusal(result):
    assert result.returncode != 0
    (line,) = said(result)
    return line


def to(name, parts="adapters, data"):
    return [f"publish={{to: 's3://{BUCKET}/{name}', parts: [{parts}]}}"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run whose data half is real, and whose training is files with their own names in them."""
    folder = tmp_path_factory.mktemp("run")
    result = snakemake(folder, "--cores", "2", "data")
    assert result.returncode == 0, result.stderr[-3000:]
    for name in STAND_INS:  # newer than the shards, so Snakemake takes them for what train and peft made
        files.write_text(folder / RESULTS / name, f"stands for {name}")
    return folder


@pytest.fixture
def published(made, s3):
    """That run, published once for all tests: none of them may leave it otherwise."""
    if not (made / RESULTS / "published.json").exists():
        result = run(made, s3, "publish", config=to("shared"))
        assert result.returncode == 0, result.stderr[-3000:]
    return SimpleNamespace(folder=made, **files.read_json(made / RESULTS / "published.json"))


@pytest.fixture
def copy(made, tmp_path):
    """A copy of it, not published, to be published elsewhere."""
    folder = tmp_path / "copy"
    shutil.copytree(made, folder)
    (folder / RESULTS / "published.json").unlink(missing_ok=True)
    return folder


def test_round_trip(published, dry, s3, tmp_path):
    assert published.address == f"s3://{BUCKET}/shared/tiny/manifest.json"
    assert published.endpoint == s3.endpoint
    assert json.loads(s3.get("shared/tiny/manifest.json")) == published.manifest
    files = published.manifest["files"]
    assert set(STAND_INS) < set(files) and "splits/test.json" in files
    assert "mindrecord/train/shard-1-of-2.mindrecord.db" in files
    assert published.manifest["config"]["train"]["lora_rank"] == 4
    assert "publish" not in published.manifest["config"]

    files = "files: ['export/peft/*', '*.jsonl']"
    wanted = f"{{manifest: '{published.address}', sha256: {published.sha256}, {files}}}"
    result = run(tmp_path, s3, "fetch_run", config=[f"fetch_run={wanted}"])
    assert result.returncode == 0, result.stderr
    assert said(result) == ["16 files in results/tiny/fetched"]
    fetched = tmp_path / RESULTS / "fetched"
    for name in [*(name for name in STAND_INS if name.startswith("export/")), "questions.jsonl"]:
        assert (fetched / name).read_bytes() == (published.folder / RESULTS / name).read_bytes()
    assert hashing.sha256(fetched / "manifest.json") == published.sha256
    assert jobs(planned(dry, tmp_path, s3, "fetch_run", config=[f"fetch_run={wanted}"])) == set()


def test_an_unchanged_run_is_not_published_again(published, dry, s3):
    before = s3.objects("shared/")
    assert jobs(planned(dry, published.folder, s3, "publish", config=to("shared"))) == set()
    forced = run(published.folder, s3, "publish", "--forcerun", "publish", config=to("shared"))
    assert forced.returncode == 0, forced.stderr
    assert said(forced)[0].endswith("manifest.json, 0 uploaded now")
    assert s3.objects("shared/") == before


@pytest.mark.slow
def test_inputs_from_the_bucket_with_the_manifests_hashes(published, s3, tmp_path):
    """Another checkout takes a benchmark's archive, the published tokenizer and a reading test from it."""
    demo.write(tmp_path / "data", seed=1, repeats=1)
    with zipfile.ZipFile(tmp_path / "island.zip", "w") as packed:
        for path in sorted((tmp_path / "data/island_en").rglob("*.csv")):
            packed.write(path, path.relative_to(tmp_path / "data/island_en"))
    archive = s3.put("inputs/island.zip", (tmp_path / "island.zip").read_bytes())
    reading = s3.put("inputs/dev.json", b"{}")
    model = published.address.replace("manifest.json", "tokenizer.model")
    right = published.manifest["files"]["tokenizer.model"]["sha256"]
    config = [
        f"data={tmp_path}",
        f"benchmarks=[{{name: island, layout: mmlu, language: en, path: '{archive}', "
        f"sha256: {hashing.sha256(tmp_path / 'island.zip')}}}]",
        f"tokenizer={{path: '{model}', sha256: {right}}}",
        f"evaluate={{squad: '{reading}'}}",
        setting("base.text=train"),
    ]
    targets = [
        str(RESULTS / name) for name in ("questions.jsonl", "tokenizer.model", "downloads/reading.json")
    ]
    result = run(tmp_path, s3, *targets, config=config)
    assert result.returncode == 0, result.stderr
    assert hashing.sha256(tmp_path / RESULTS / "tokenizer.model") == right
    assert (tmp_path / RESULTS / "downloads/reading.json").read_bytes() == b"{}"
    assert len(list(files.read_jsonl(tmp_path / RESULTS / "questions.jsonl"))) > 100

    config[2] = f"tokenizer={{path: '{model}', sha256: {'0' * 64}}}"
    line = refusal(run(tmp_path, s3, targets[1], config=config))
    assert line.startswith(f"{model}: its sha256 is {right}, not 0000")
    assert not (tmp_path / RESULTS / "downloads/tokenizer.model").exists()


def test_a_file_with_another_hash_is_refused_and_nothing_is_left(published, s3, tmp_path):
    name = "export/peft/checkpoint_1/adapter_config.json"
    right = s3.get(f"shared/tiny/{name}")
    s3.put(f"shared/tiny/{name}", right[::-1])
    try:
        given = [setting(f"fetch_run.manifest={published.address}")]
        line = refusal(run(tmp_path, s3, "fetch_run", config=given))
    finally:
        s3.put(f"shared/tiny/{name}", right)
    assert line.startswith(f"s3://{BUCKET}/shared/tiny/{name}: its sha256 is ")
    assert not (tmp_path / RESULTS / "fetched").exists()


@pytest.mark.parametrize(
    ("bucket", "environment", "line"),
    [
        SLOW("nowhere", {}, "s3://nowhere/denied/tiny: no such bucket; create it"),
        SLOW(BUCKET, {"AWS_SECRET_ACCESS_KEY": "wrong/secret"}, "answers 403 (SignatureDoesNotMatch)"),
        (BUCKET, {"AWS_SECRET_ACCESS_KEY": ""}, "no credentials; set AWS_ACCESS_KEY_ID"),
    ],
)
def test_what_stops_a_publication_is_one_line(copy, s3, monkeypatch, bucket, environment, line):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    config = [f"publish={{to: 's3://{bucket}/denied', parts: [data]}}"]
    assert line in refusal(run(copy, s3, "publish", config=config))
    assert not (copy / RESULTS / "published.json").exists()
    assert s3.objects("denied/") == {}


@pytest.mark.slow
def test_the_secret_is_nowhere(published, copy, s3, tmp_path, monkeypatch):
    """Not in what is printed, logged, recorded by Snakemake or stored in the bucket; a wrong one neither."""
    given = [setting(f"fetch_run.manifest={published.address}")]
    results = [run(tmp_path, s3, "fetch_run", config=given)]
    results.append(run(copy, s3, "publish", config=to("secret", "data")))
    assert [result.returncode for result in results] == [0, 0]
    wrong = SECRET[::-1]
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", wrong)
    results.append(run(copy, s3, "publish", "--forcerun", "publish", config=to("more", "data")))
    assert results[-1].returncode != 0
    texts = [(result.stdout + result.stderr).encode() for result in results]
    for folder in (published.folder, tmp_path):  # the copy is in the latter
        texts += [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
    texts += [s3.get(f"secret/{key}") for key in s3.objects("secret/")]
    assert len(texts) > 100
    assert not [text for text in texts for word in (SECRET, wrong, KEY) if word.encode() in text]


@pytest.mark.parametrize(
    ("target", "change", "line"),
    [
        ("publish", "run=tiny", "publish.to: not set; give s3://bucket/prefix"),
        ("publish", "publish.to=bucket", "bucket: no address of a bucket; write s3://bucket/key"),
        ("fetch_run", "run=tiny", "fetch_run.manifest: no address; give that of a published run's"),
        ("all", "s3.endpoint=https://me:pw@host", "s3.endpoint"),
        ("all", "tokenizer.path=s3:/bucket/t.model", "s3:/bucket/t.model: no address of a bucket"),
        ("all", "base.sha256={config.json: " + "0" * 64 + "}", "base.sha256: base.path is no address"),
        ("all", "evaluate.squad_sha256=" + "0" * 64, "evaluate.squad_sha256: evaluate.squad is no address"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_the_configuration_is_one_line_before_anything_runs(
    tmp_path, dry, target, change, line
):
    assert line in only_line(dry.run(tmp_path, target, "--config", setting(change)))


def test_a_base_from_a_bucket_is_planned_without_its_weights_and_no_network_is_asked(tmp_path, dry):
    given = setting("base={path: 's3://bucket/llama', sha256: {model.safetensors: " + "0" * 64 + "}}")
    planned = jobs(dry.run(tmp_path, "results/tiny/plan.json", "--config", given))
    assert {"fetch", "tokenizer", "reckon"} <= planned and not {"fetch_base", "base"} & planned
    everything = {job.split()[0] for job in jobs(dry.run(tmp_path, "--config", given))}
    assert {"fetch", "fetch_base", "base"} <= everything and "exported_base" not in everything
    assert not {"publish", "fetch_run"} & everything
