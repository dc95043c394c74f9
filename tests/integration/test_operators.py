"""Every operator of our networks has a fast kernel on Ascend, as far as MindSpore's wheel tells.

What has no aclnn kernel stands below with the reason why it does no harm; a new one fails by its name.
"""

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest
import yaml

from mcqlora.model.architecture import DEVICES
from tests.helpers import ascend
from tests.integration.test_training_objects import ROWS, shards
from tests.unit.test_finetune import LORA, SMALL, TESTS, TINY, cpu, rendered

pytest.importorskip("mindformers")

LENGTH = 48
INTERNLM = replace(TINY, num_heads=2)  # heads of 16
# All that other families add at once: grouped queries, norms of queries and keys, a tied head; no bias.
QWEN = replace(INTERNLM, n_kv_heads=1, has_bias=False, qk_norm=True, tied=True)
# Not computed: control flow, tuples, and calls of other graphs, whose names start with a number.
STRUCTURE = {"Constant", "Depend", "Load", "MakeTuple", "Partial", "Return", "Switch", "TupleGetItem"}
STRUCTURE |= {"UpdateState", "call", "Call", "make_tuple"}
# No aclnn kernel in graph mode; MindSpore takes CANN's graph operator of the same name.
EXCEPTIONS = {
    "AddN": "MindSpore's own derivatives: gradients that meet, in each of its trainings; norm and overflow",
    "Addcmul": "MindFormers' own AdamW: a moment of what is trained, with LoRA 0.2 % of the network",
    "Assign": "a copy, of what is trained and its moments",
    "AssignAdd": "one number: the step",
    "ExpandDims": "no data is moved",
    "Gather": "CANN's GatherV2: rows of the embeddings and of rotary's tables, once a step",
    "NPUClearFloatStatusV2": "8 numbers: the overflow status, as MindFormers' own step has it",
    "NPUGetFloatStatusV2": "8 numbers: the overflow status, as MindFormers' own step has it",
    "OneHot": "MindFormers' own loss, once a step, as in each of its trainings on Ascend",
    "Reshape": "no data is moved",
    "StridedSlice": "a copy: halves of queries and keys, ids without the last",
    "StridedSliceGrad": "the same backwards",
    "TensorMove": "a copy, of what is trained and its moments, for the branch that AdamW is in",
}
# Of a base alone. The operator with an aclnn kernel, EmbeddingDenseBackward, is not P.Gather's derivative.
OF_A_BASE = {
    "UnsortedSegmentSum": "MindFormers' own embeddings: their gradient, once a step; LoRA's training has none"
}


def training(folder, layout, network, lora):
    """config.yaml of a small training with Ascend's keys, but for rotary's; packed with flash attention.

    Rotary swaps halves by a BatchMatMul there (use_rope_slice: false), whose shapes MindSpore's frontend
    refuses on a CPU; attention has that operator too.
    """
    size = replace(SMALL, workers=1)
    config = rendered(cpu(ROWS, layout, size=size, seq_length=LENGTH, network=network, lora=lora))
    keys = {"use_rope_slice": True, "use_flash_attention": layout == "packed"}
    config["model"]["model_config"] |= DEVICES["Ascend"].model | keys
    train, valid = shards(folder, LENGTH, layout)
    config["train_dataset"]["data_loader"]["dataset_files"] = train
    config["eval_dataset"]["data_loader"]["dataset_files"] = valid
    config |= {"load_checkpoint": "", "use_parallel": False}
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    return "config.yaml"


def scoring(folder, network):
    keys = {"use_rope_slice": True, "use_flash_attention": True}
    told = network.model_config(LENGTH, 2, "Ascend", 2, 2) | keys
    shapes = {name: list(shape) for name, shape in network.shapes().items()}
    (folder / "told.json").write_text(json.dumps({"model": told, "shapes": shapes}))
    return "told.json"


@pytest.mark.parametrize(
    ("kind", "layout", "network", "lora"),
    [
        pytest.param("train", "packed", INTERNLM, LORA, id="packed"),
        pytest.param("train", "padded", INTERNLM, LORA, id="padded", marks=pytest.mark.slow),
        pytest.param("train", "packed", INTERNLM, None, id="base", marks=pytest.mark.slow),
        pytest.param("valid", "packed", INTERNLM, LORA, id="validation", marks=pytest.mark.slow),
        pytest.param("score", None, INTERNLM, None, id="scoring"),
        pytest.param("train", "padded", QWEN, LORA, id="padded, as Qwen3", marks=pytest.mark.slow),
        pytest.param("score", None, QWEN, None, id="scoring, as Qwen3", marks=pytest.mark.slow),
    ],
)
def test_every_operator_has_a_fast_kernel(tmp_path, capsys, request, kind, layout, network, lora):
    told = training(tmp_path, layout, network, lora) if layout else scoring(tmp_path, network)
    code = [sys.executable, str(TESTS / "fixtures" / "operators.py"), kind, told, "found.json"]
    environment = os.environ | {"PYTHONPATH": str(TESTS.parent / "src")}
    done = subprocess.run(code, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    found = json.loads((tmp_path / "found.json").read_text())
    found = {name: n for name, n in found.items() if name not in STRUCTURE and not name[0].isdigit()}
    fast = sorted(found.keys() & ascend.aclnn())
    others = sorted(found.keys() - ascend.aclnn())
    reasons = EXCEPTIONS | ({} if lora or kind == "score" else OF_A_BASE)
    with capsys.disabled():
        case = request.node.callspec.id
        print(f"\n{case}: {len(fast)} of {len(found)} operators have an aclnn kernel")
        for name in others:
            also = ", for the NPU's CPU cores too" if name in ascend.ai_cpu() else ""
            print(f"  {name} ({found[name]} times{also}): {reasons.get(name, 'SLOW')}")
    assert "MatMul" in fast and len(fast) > 15
    assert ("FlashAttentionScore" in fast) == (layout != "padded")
    assert [name for name in others if name not in reasons] == []


def test_the_tables_tell_fast_kernels_from_slow_ones():
    """What is known of some operators: N2's shift has no aclnn kernel, and one for the CPU cores."""
    assert {
        "MatMul",
        "BatchMatMul",
        "RmsNorm",
        "FlashAttentionScore",
        "Mul",
        "Floor",
        "Select",
    } <= ascend.aclnn()
    assert {"RightShift", "BitwiseXor", "pyboost"}.isdisjoint(ascend.aclnn())
    assert "RightShift" in ascend.ai_cpu() and "MatMul" not in ascend.ai_cpu()
