"""The cluster is started once."""

import pytest

from tests.slurm import cluster as slurm


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    """A real Slurm of two nodes, stopped when the tests are over."""
    reason = slurm.missing()
    if reason:
        pytest.skip(reason)
    slurm.install()
    with slurm.running(tmp_path_factory.mktemp("slurm")) as made:
        yield made
