"""What every test has: few examples or many, and what several ask for: a finished run, dry runs, S3."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.helpers.dryruns import Process
from tests.helpers.runs import snakemake

# The same examples in every run, `many` in make slow; `search` draws new ones. No test fails for being slow.
settings.register_profile("few", deadline=None, derandomize=True, max_examples=20)
settings.register_profile("many", deadline=None, derandomize=True, max_examples=200)
settings.register_profile("search", deadline=None, max_examples=1000)
settings.load_profile("few")
INTEGRATION = Path(__file__).parent / "integration"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What asks for the S3 server or stands in tests/integration is `integration` without saying so."""
    for item in items:
        if "s3_server" in getattr(item, "fixturenames", ()) or item.path.is_relative_to(INTEGRATION):
            item.add_marker("integration")


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Path:
    """A folder in which the whole tiny workflow has run once, really training and evaluating."""
    folder = tmp_path_factory.mktemp("tiny")
    result = snakemake(folder, "--cores", "2", "all", "results/tiny/plan.json")
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    return folder


@pytest.fixture(scope="session")
def dry() -> Iterator[Process]:
    """A process for dry runs: `dry.run(folder, ...)` is `snakemake(folder, "-n", ...)`, but quick."""
    with Process() as process:
        yield process


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory):
    from tests.helpers import s3 as servers  # not where boto3 is not: parity's environment

    with servers.serve(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def s3(s3_server, monkeypatch, tmp_path):
    """The S3 server, with credentials for it in the environment and nothing else of the machine's."""
    from mcqlora.storage.s3 import client
    from tests.helpers import s3 as servers

    client.cache_clear()
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", servers.KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", servers.SECRET)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")  # boto3 waits before each
    monkeypatch.setenv("NO_PROXY", f"127.0.0.1,{servers.DOMAIN}")
    yield s3_server
    client.cache_clear()
