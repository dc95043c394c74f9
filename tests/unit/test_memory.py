"""How much memory there is, and how many rows of a forward pass it holds."""

from dataclasses import replace

import pytest

from mcqlora.errors import UserError
from mcqlora.evaluate import forward
from mcqlora.evaluate.engine import Engine
from mcqlora.evaluate.memory import room
from mcqlora.launch import memory
from mcqlora.model.attention import fused
from tests.helpers.networks import INTERNLM_7B, TINY


def machine(root, groups, files):
    for path, text in ({"proc/self/cgroup": groups} | files).items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding="utf-8")
    return root


def test_without_control_groups_it_is_the_machines(tmp_path):
    assert memory.limit(tmp_path) == memory.limit(machine(tmp_path, "3:cpuset:/\n0::/\n", {})) > 1e8


@pytest.mark.parametrize(
    ("groups", "files"),
    [
        ("0::/slurm/job_7\n", {"sys/fs/cgroup/slurm/job_7/memory.max": "4096\n"}),
        ("0::/slurm/job_7/step\n", {"sys/fs/cgroup/slurm/job_7/memory.max": "4096\n"}),
        ("0::/\n", {"sys/fs/cgroup/memory.max": "4096\n"}),  # as a container sees itself
        (
            "0::/a/b\n",
            {"sys/fs/cgroup/a/memory.max": "4096\n", "sys/fs/cgroup/a/b/memory.max": "max\n"},
        ),
        ("4:cpu,memory:/job\n0::/\n", {"sys/fs/cgroup/memory/job/memory.limit_in_bytes": "4096\n"}),
    ],
)
def test_the_least_limit_counts_of_a_group_and_those_around_it(tmp_path, groups, files):
    assert memory.limit(machine(tmp_path, groups, files)) == 4096


def test_a_cpus_rows_by_hand():
    """TINY: 2 heads, a hidden width of 16, an inner width of 24, 50 ids."""
    per_row = 128 * (5 * 4 * 2 * 128 + 4 * (8 * 16 + 3 * 24)) + 12 * 16 * 50
    weights = 4 * TINY.parameters().total
    there = room(TINY, "CPU", 4, False, 2 * (weights + 10 * per_row))
    assert there.takes(128, 16) == per_row
    assert [there.rows(most, 128, 16) for most in (4, 10, 32)] == [4, 10, 10]
    assert room(TINY, "CPU", 4, False, weights).rows(32, 128, 16) == 1


def test_an_npu_has_its_own_memory_and_its_fused_kernel_keeps_no_scores():
    """7.3 B weights in 2 bytes leave 43.4 of 58 GB, whatever the server has."""
    flash = room(INTERNLM_7B, "Ascend", 2, fused("auto", "Ascend", INTERNLM_7B, 2048), 10**12)
    plain = replace(flash, flash=False)
    assert flash.flash and round(flash.bytes / 1e9, 1) == 43.4
    assert plain.takes(2048, 16) > 3 * flash.takes(2048, 16)
    assert flash.rows(32, 2048, 16) == 32 and plain.rows(32, 2048, 16) < 32


def test_a_network_that_an_npu_cannot_hold_is_refused_before_it_is_built():
    large = replace(INTERNLM_7B, num_layers=150)  # 62 GB in 2 bytes
    said = (
        r"^evaluate: .* all weights on each device, 62\.4 GB, of the 58 .*; run `snakemake export`, and ask "
    )
    with pytest.raises(UserError, match=said):
        room(large, "Ascend", 2, True, 10**12)
    assert room(large, "CPU", 4, False, 10**12).bytes > 0


def test_an_npu_s_network_is_compiled_kernel_by_kernel(monkeypatch):
    """As trainings are, whose context MindFormers sets: within the same memory, with the same kernels."""
    import mindspore

    def told(**context):
        assert context == {
            **{"mode": mindspore.GRAPH_MODE, "device_target": "Ascend"},
            **{"jit_config": {"jit_level": "O0"}, "max_device_memory": "58GB"},
        }
        raise InterruptedError

    monkeypatch.setattr(mindspore, "set_context", told)
    with pytest.raises(InterruptedError):
        forward.load({}, "Ascend", {}, "")


def test_a_pass_that_would_not_fit_is_made_smaller_and_said(capsys):
    there = room(TINY, "CPU", 4, False, 2 * (4 * TINY.parameters().total + 10**6))
    engine = Engine(lambda rows: None, 32, 128, room=there)
    assert engine.fitting(32, 64, 16) < 32
    said = capsys.readouterr().out
    assert said == "rows of 64 ids and 16 positions: 4 per pass, not 32, for the memory\n"
    assert engine.fitting(2, 64, 16) == 2 and Engine(lambda rows: None, 32, 128).fitting(32, 2048, 512) == 32
    assert capsys.readouterr().out == ""
