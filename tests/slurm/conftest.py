"""Each cluster is started once."""

import pytest

from tests.slurm import cluster as slurm


@pytest.fixture(scope="session")
def installed():
    reason = slurm.missing()
    if reason:
        pytest.skip(reason)
    slurm.install()


@pytest.fixture(scope="session")
def cluster(installed, tmp_path_factory):
    """A real Slurm of two nodes, stopped when the tests are over."""
    with slurm.running(tmp_path_factory.mktemp("slurm")) as made:
        yield made


@pytest.fixture
def without_accounting(installed, tmp_path_factory):
    """The same without slurmdbd."""
    with slurm.running(tmp_path_factory.mktemp("slurm"), accounting=False) as made:
        yield made
