"""What every test has: the same examples in every run, and an S3 server for those that ask for it."""

import pytest
from hypothesis import settings

# No test fails for being slow; `--hypothesis-profile=search` draws new examples.
settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.register_profile("search", deadline=None, max_examples=1000)
settings.load_profile("repeatable")


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory):
    from tests import s3 as servers  # not where boto3 is not: parity's environment

    with servers.serve(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def s3(s3_server, monkeypatch, tmp_path):
    """The S3 server, with credentials for it in the environment and nothing else of the machine's."""
    from mcqlora.storage.s3 import client
    from tests import s3 as servers

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
