"""What MindFormers makes of a training whose network is divided: its own configuration objects.

A CPU has no semi-automatic parallelism, so nothing is built or run here.
"""

from dataclasses import replace

import pytest
import yaml

from tests.helpers.networks import INTERNLM_7B
from tests.unit.test_finetune import SMALL, cpu, rendered

pytest.importorskip("mindformers")


@pytest.fixture
def config(tmp_path, monkeypatch):
    from mindformers import MindFormerConfig

    monkeypatch.chdir(tmp_path)
    size = replace(SMALL, workers=8, tensor=4, batch_size=2, shard_optimizer=True)
    made = rendered(cpu(network=INTERNLM_7B, device="Ascend", size=size, layout="packed"))
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(made, sort_keys=False))
    return MindFormerConfig("config.yaml")


def test_mindspore_divides_the_network(config):
    from mindformers.core.context.parallel import ParallelOperator

    operator = ParallelOperator(config)
    context = operator.parallel_ctx
    assert context["parallel_mode"] in (1, "semi_auto_parallel") and context["full_batch"] is False
    assert context["enable_parallel_optimizer"] is True
    assert context["dataset_strategy"] == [[2, 1]] * 3  # rows: two groups of four workers
    assert (operator.parallel.data_parallel, operator.parallel.model_parallel) == (2, 4)


def test_layers_are_told_how(config):
    from mindformers.core.parallel_config import build_parallel_config

    build_parallel_config(config)
    found = config.parallel_config
    assert (found.data_parallel, found.model_parallel, found.pipeline_stage) == (2, 4, 1)
    assert found.vocab_emb_dp is True
