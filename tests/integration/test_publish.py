"""A run's way into a bucket and back, against a real S3 server."""

import json
import os
import platform
import socket

import pytest

from mcqlora import files, hashing
from mcqlora.errors import UserError
from mcqlora.storage import addresses, publish
from mcqlora.storage.downloads import Source
from mcqlora.storage.s3 import Service, client
from tests.helpers.s3 import BUCKET, DOMAIN, KEY, SECRET, Cutter

BIG = bytes(range(256)) * (9 << 12)  # 9 MiB: two parts of a multipart upload
FILES = {
    "adapters/checkpoint_1.safetensors": BIG,
    "export/peft/checkpoint_1/adapter_config.json": b"{}",
    "questions.jsonl": b"one\n",
    "report.md": b"a report",
}
VERSIONS = {"python": "3.11"}
CONFIG = {"run": "mine", "train": {"lora_rank": 8}}


@pytest.fixture
def run(tmp_path):
    """A results folder with small stand-ins."""
    folder = tmp_path / "results"
    for name, data in FILES.items():
        files.write_bytes(folder / name, data)
    return folder


@pytest.fixture
def prefix(request):
    """A place in the bucket for this test alone."""
    return request.node.name.replace("[", "-").replace("]", "")


def bring(run, prefix, endpoint, **more):
    files = publish.local_files([run / name for name in FILES], run)
    made = publish.manifest("mine", files, CONFIG, VERSIONS)
    return publish.publish(files, f"s3://{BUCKET}/{prefix}", made, Service(endpoint), **more)


def fetch(done, folder, endpoint, *, sha256=None, **more):
    return publish.fetch_run(Source(done.address, sha256, Service(endpoint)), folder, **more)


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def test_local_files_are_named_below_the_root_and_folders_are_walked(run):
    files.write_bytes(run / "export/.snakemake_timestamp", b"")
    found = publish.local_files([run / "questions.jsonl", run / "export"], run)
    assert list(found) == ["export/peft/checkpoint_1/adapter_config.json", "questions.jsonl"]
    assert found["questions.jsonl"] == run / "questions.jsonl"


def test_the_manifest(run):
    files = publish.local_files([run / "report.md"], run)
    assert publish.manifest("mine", files, CONFIG, VERSIONS) == {
        "format": "mcqlora-run/1",
        "run": "mine",
        "versions": VERSIONS,
        "config": CONFIG,
        "files": {"report.md": {"size": 8, "sha256": hashing.sha256(run / "report.md")}},
    }


def test_versions():
    made = publish.versions()
    assert made["mcqlora"] == "0.1.0" and made["python"] == platform.python_version() and made["snakemake"]
    assert made["commit"] is None or len(made["commit"]) >= 40


def test_round_trip(run, tmp_path, s3, prefix):
    done = bring(run, prefix, s3.endpoint)
    assert done.address == f"s3://{BUCKET}/{prefix}/mine/manifest.json"
    assert done.endpoint == s3.endpoint
    assert done.uploaded == [*sorted(FILES), "manifest.json"]
    assert json.loads(s3.get(f"{prefix}/mine/manifest.json")) == done.manifest
    assert s3.unfinished(prefix) == []
    names = fetch(done, tmp_path / "back", s3.endpoint, sha256=done.sha256)
    assert names == sorted(FILES)
    back = contents(tmp_path / "back")
    assert json.loads(back.pop("manifest.json")) == done.manifest and back == FILES


def test_the_bucket_may_be_the_whole_place(run, s3):
    files = publish.local_files([run / "report.md"], run)
    made = publish.manifest("whole-bucket", files, CONFIG, VERSIONS)
    done = publish.publish(files, f"s3://{BUCKET}", made, Service(s3.endpoint))
    assert done.address == f"s3://{BUCKET}/whole-bucket/manifest.json"
    assert s3.get("whole-bucket/report.md") == b"a report"


def test_buckets_named_before_the_host_as_obs_wants(run, tmp_path, s3, prefix, monkeypatch):
    def resolve(host, *arguments, **more):
        asked.add(host)
        return real("127.0.0.1", *arguments, **more)

    asked, real = set(), socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    place = Service(s3.endpoint.replace("127.0.0.1", DOMAIN), addressing="virtual")
    files = publish.local_files([run / "report.md"], run)
    made = publish.manifest("mine", files, CONFIG, VERSIONS)
    done = publish.publish(files, f"s3://{BUCKET}/{prefix}", made, place)
    publish.fetch_run(Source(done.address, None, place), tmp_path / "back")
    assert asked == {f"{BUCKET}.{DOMAIN}"} and s3.get(f"{prefix}/mine/report.md") == b"a report"


def test_only_the_wanted_files_are_fetched(run, tmp_path, s3, prefix):
    done = bring(run, prefix, s3.endpoint)
    assert fetch(done, tmp_path / "back", s3.endpoint, patterns=["export/*", "*.md"]) == [
        "export/peft/checkpoint_1/adapter_config.json",
        "report.md",
    ]
    assert set(contents(tmp_path / "back")) == {
        "export/peft/checkpoint_1/adapter_config.json",
        "manifest.json",
        "report.md",
    }
    with pytest.raises(UserError, match=r"^fetch_run\.files: nothing in s3://.* is called \*\.txt"):
        fetch(done, tmp_path / "none", s3.endpoint, patterns=["*.md", "*.txt"])


def test_an_unchanged_run_uploads_nothing(run, s3, prefix):
    first = bring(run, prefix, s3.endpoint)
    before = s3.objects(prefix)
    again = bring(run, prefix, s3.endpoint)
    assert again == first._replace(uploaded=[])
    assert s3.objects(prefix) == before


def test_only_what_differs_or_is_missing_is_uploaded(run, s3, prefix):
    bring(run, prefix, s3.endpoint)
    files.write_bytes(run / "report.md", b"A REPORT")  # of the same size
    s3.client.delete_object(Bucket=BUCKET, Key=f"{prefix}/mine/questions.jsonl")
    assert bring(run, prefix, s3.endpoint).uploaded == ["questions.jsonl", "report.md", "manifest.json"]
    s3.put(f"{prefix}/mine/questions.jsonl", b"two\n")  # somebody else's bytes, and no hash beside them
    assert bring(run, prefix, s3.endpoint).uploaded == ["questions.jsonl", "manifest.json"]
    assert s3.get(f"{prefix}/mine/questions.jsonl") == b"one\n"


def test_the_manifest_comes_last_and_goes_before_a_file_is_replaced(run, s3, prefix):
    def seen(name):
        there.append((name, "/mine/manifest.json" in s3.objects(prefix)))

    there = []
    bring(run, prefix, s3.endpoint, progress=seen)
    assert there[-1] == ("manifest.json", False) and len(there) == 5
    there.clear()
    files.write_bytes(run / "report.md", b"another")
    bring(run, prefix, s3.endpoint, progress=seen)
    assert there == [("report.md", False), ("manifest.json", False)]
    assert "/mine/manifest.json" in s3.objects(prefix)


def test_a_connection_cut_once_during_an_upload_is_no_matter(run, s3, prefix):
    with Cutter(s3.endpoint, 3_000_000, "up", times=1) as proxy:
        bring(run, prefix, proxy.endpoint)
    assert proxy.cut == 1 and s3.get(f"{prefix}/mine/{next(iter(FILES))}") == BIG


def test_an_interrupted_upload_leaves_no_manifest_and_restarts_cleanly(run, s3, prefix):
    with (
        Cutter(s3.endpoint, 3_000_000, "up") as proxy,
        pytest.raises(UserError, match=r"checkpoint_1\.safetensors: the connection failed") as error,
    ):
        bring(run, prefix, proxy.endpoint)
    assert proxy.cut > 1 and "\n" not in str(error.value)
    assert "/mine/manifest.json" not in s3.objects(prefix)
    assert f"/mine/{next(iter(FILES))}" not in s3.objects(prefix)
    assert bring(run, prefix, s3.endpoint).uploaded[-1] == "manifest.json"
    assert s3.unfinished(prefix) == []
    assert s3.get(f"{prefix}/mine/{next(iter(FILES))}") == BIG


def test_unfinished_uploads_of_a_killed_attempt_are_given_up_and_others_are_not(run, s3, prefix):
    for key in (f"{prefix}/mine/report.md", f"{prefix}/mine2/report.md"):
        upload = s3.client.create_multipart_upload(Bucket=BUCKET, Key=key)
        part = {"Bucket": BUCKET, "Key": key, "UploadId": upload["UploadId"], "PartNumber": 1}
        s3.client.upload_part(**part, Body=b"a part")
    bring(run, prefix, s3.endpoint)
    assert s3.unfinished(f"{prefix}/mine/") == []
    assert s3.unfinished(f"{prefix}/mine2/") == [f"{prefix}/mine2/report.md"]


def test_a_kill_in_the_middle_of_an_upload_leaves_nothing_that_counts(run, s3, prefix):
    """A process that stops at its second file, as a kill would make it: the first is whole, no manifest."""
    program = os.fork()
    if program == 0:
        bring(run, prefix, s3.endpoint, progress=lambda name: name.startswith("export") and os._exit(9))
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(program, 0)[1]) == 9
    assert set(s3.objects(prefix)) == {f"/mine/{next(iter(FILES))}"}
    assert bring(run, prefix, s3.endpoint).uploaded == [*sorted(FILES)[1:], "manifest.json"]


@pytest.mark.parametrize("name", ["adapters/checkpoint_1.safetensors", "report.md"])
def test_a_file_with_other_bytes_is_refused(run, tmp_path, s3, prefix, name):
    done = bring(run, prefix, s3.endpoint)
    s3.put(f"{prefix}/mine/{name}", FILES[name][::-1])
    with pytest.raises(UserError, match=rf"/mine/{name}: its sha256 is .*, not ") as error:
        fetch(done, tmp_path / "back", s3.endpoint)
    assert "\n" not in str(error.value)
    back = contents(tmp_path / "back")
    assert name not in back and "manifest.json" not in back


def test_a_wrong_hash_of_the_manifest_fetches_nothing(run, tmp_path, s3, prefix):
    done = bring(run, prefix, s3.endpoint)
    with pytest.raises(UserError, match=r"manifest\.json: its sha256 is"):
        fetch(done, tmp_path / "back", s3.endpoint, sha256="0" * 64)
    assert contents(tmp_path / "back") == {}


def test_a_partial_download_never_counts(run, tmp_path, s3, prefix):
    done = bring(run, prefix, s3.endpoint)
    with (
        Cutter(s3.endpoint, 3_000_000, "down") as proxy,
        pytest.raises(UserError, match="the connection failed"),
    ):
        fetch(done, tmp_path / "back", proxy.endpoint)
    assert proxy.cut > 1 and set(contents(tmp_path / "back")) <= {".manifest.json"}


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (b"<html>", "no manifest of a published run"),
        (b'{"format": "other/1", "files": {}}', "no manifest of a published run"),
        ({"../out": {}}, "which is no path below it"),
        ({"/etc/passwd": {}}, "which is no path below it"),
        ({"a/../../out": {}}, "which is no path below it"),
        ({"a\\..\\out": {}}, "which is no path below it"),
        ({"manifest.json": {}}, "which is no path below it"),
        ({".manifest.json": {}}, "which is no path below it"),
        ({"": {}}, "which is no path below it"),
        ({"a\0b": {}}, "which is no path below it"),
        ({"a" * 256: {}}, "which is no path below it"),
        ({"a": {"size": 1}}, "has no size and sha256"),
        ({"a": {"size": "1", "sha256": "0" * 64}}, "has no size and sha256"),
        ({"a": {"size": 1, "sha256": "../x"}}, "has no size and sha256"),
        ({"a": []}, "has no size and sha256"),
    ],
)
def test_a_bad_manifest_is_refused(tmp_path, made, said):
    data = made if isinstance(made, bytes) else json.dumps({"format": publish.FORMAT, "files": made}).encode()
    files.write_bytes(tmp_path / "m.json", data)
    with pytest.raises(UserError, match=said) as error:
        publish.read_manifest(tmp_path / "m.json", "s3://bucket/manifest.json")
    assert str(error.value).startswith("s3://bucket/manifest.json: ")


def test_a_missing_bucket_is_one_line(run, s3):
    files = publish.local_files([run / "report.md"], run)
    made = publish.manifest("mine", files, CONFIG, VERSIONS)
    with pytest.raises(UserError, match=r"^s3://nowhere/mine: no such bucket; create it"):
        publish.publish(files, "s3://nowhere", made, Service(s3.endpoint))


def test_no_credentials_is_one_line(run, s3, prefix, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    client.cache_clear()
    with pytest.raises(UserError, match="no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"):
        bring(run, prefix, s3.endpoint)


def test_the_secret_is_in_nothing_that_is_stored(run, s3, prefix):
    bring(run, prefix, s3.endpoint)
    for key in s3.objects(f"{prefix}/"):
        head = s3.client.head_object(Bucket=BUCKET, Key=f"{prefix}/{key}")
        stored = s3.get(f"{prefix}/{key}") + repr(head["Metadata"]).encode()
        assert SECRET.encode() not in stored and KEY.encode() not in stored


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("s3://bucket", ("bucket", "")),
        ("s3://bucket/a/b/", ("bucket", "a/b")),
        ("S3://Bucket/A", ("bucket", "A")),
    ],
)
def test_place(address, place):
    assert addresses.place(address) == place


@pytest.mark.parametrize(
    "address", ["s3://", "s3:/bucket/key", "s3://me:secret@bucket/key", "s3://b/key", "b"]
)
def test_no_place(address):
    with pytest.raises(UserError, match="no address of a bucket") as error:
        addresses.place(address)
    assert "secret" not in str(error.value)
