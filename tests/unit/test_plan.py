import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mcqlora.config import checks, loading
from mcqlora.errors import UserError
from mcqlora.model import weights
from mcqlora.model.architecture import Architecture, Lora
from mcqlora.tokens import mindrecord, packing
from mcqlora.train import costs, plan, settings
from tests.helpers.networks import INTERNLM_7B

ROOT = Path(__file__).parents[2]
VOCABULARY = 103_168


def part(size, layout="padded", documents=138_020, dropped=0, longest=1_080, padded=None, packed=21_009):
    """A part of packing.json; 153 ids a document."""
    kept = documents - dropped
    rows = {"padded": kept if padded is None else padded, "packed": packed}
    fractions = {name: {"rows": n, "useful_fraction": 153 * kept / (n * size)} for name, n in rows.items()}
    return {
        "layout": layout,
        "size": size,
        "documents": documents,
        "longest": longest,
        "dropped": dropped,
    } | (fractions)


# The report's rows: 5 questions, in 5 copies each, are longer than a row and cut.
REFERENCE_ROWS = part(1_025, dropped=25, padded=138_020)
VALID_ROWS = part(1_024, documents=2_480, longest=700, packed=378)


def overlay(name, **changes):
    """A checked overlay on top of the default; `train__workers=8` is train.workers."""
    made = loading.read_yaml(ROOT / "config" / f"{name}.yaml")
    for key, value in changes.items():
        section, last = key.split("__")
        made.setdefault(section, {})[last] = value
    settings = loading.load(made)
    checks.check(settings)
    return loading.namespace(settings)


def parallel(train):
    """The configuration's `train` as a rule passes it."""
    return dict(train) | {"tensor": train.parallel.tensor, "shard_optimizer": train.parallel.optimizer}


def reckon(name="reference-4npu", train=REFERENCE_ROWS, valid=VALID_ROWS, given=True, **changes):
    asked = overlay(name, **changes)
    lora = (asked.train.lora_rank, asked.train.lora_alpha, asked.train.lora_dropout)
    return plan.reckon(
        rows=plan.Rows.of({"train": train, "valid": valid}, 2_480, asked.encode.shards),
        vocabulary=VOCABULARY,
        network=Architecture(**asked.model),
        lora=Lora(*lora, asked.train.target_modules),
        size=settings.of(settings.Size, parallel(asked.train)),
        warmup_ratio=asked.train.warmup_ratio,
        seq_length=asked.encode.seq_length,
        device=asked.device,
        machine=plan.Machine.of(asked.plan, 2, asked.train.nodes),
        given=given,
        asked=plan.Asked.of(asked.evaluate, ["ABCD"] * 2_480),
        attention=asked.train.attention,
        lora_dtype=asked.train.lora_dtype,
    )


@pytest.mark.parametrize(
    ("devices", "npus", "nodes", "expected"),
    [(None, 2, 1, 2), (8, 2, 1, 8), (None, 4, 2, 8), (None, None, 2, None)],
)
def test_devices_are_those_of_the_machine_or_of_the_profile(devices, npus, nodes, expected):
    described = dict(overlay("reference-4npu").plan) | {"devices": devices}
    assert plan.Machine.of(described, npus, nodes).devices == expected


def test_the_reports_numbers():
    made = reckon()
    assert made["rows"] == {"train": 138_020, "valid": 2_480, "test": 2_480}
    assert made["row_length"] == {"train": 1_025, "valid": 1_024}
    assert made["steps_per_epoch"] == 8_626
    assert made["steps"] == 34_504
    assert made["warmup_steps"] == 1_035
    assert len(made["evaluations"]) == 19 and made["evaluations"][:2] == [1_726, 3_452]
    assert made["evaluation_at_end"] == 34_504
    assert len(made["checkpoints"]) == 10 and made["checkpoints"][-2:] == [31_068, 34_504]
    assert made["delivered"] == [6_904, 13_808, 20_712, 27_616, 34_504]
    assert made["parameters"]["trainable"] == 16_777_216
    assert made["parameters"]["total"] == 7_321_948_160
    assert round(made["parameters"]["ratio"], 5) == 0.00229
    assert made["tokens"]["total"] == 34_504 * 16 * 1_024
    assert round(made["tokens"]["useful_fraction"], 3) == 0.149
    assert made["epoch_speedup_over_padding"] == 1
    assert made["refusals"] == []


def test_hours_are_tokens_over_a_measured_rate():
    took = reckon(plan__tokens_per_second=3_864, plan__source="mine")["hours"]
    assert took["tokens_per_second"] == pytest.approx([3_864] * 2) and took["source"] == "mine"
    assert took["npu_training"] == pytest.approx([34_504 * 16 * 1_024 / 3_864 / 3_600] * 2)
    # A forward pass is one of three, as layers are computed again, but for the head and LoRA.
    assert took["npu_validation"][0] == pytest.approx(20 * 2_480 * 1_024 / 3 / 3_864 / 3_600, rel=0.05)
    assert took["wall"] == [value / 4 for value in took["npu"]]
    other, counted = took["other_wall"], reckon()["hours"]["other_wall"]
    assert other["flash, padded"] == pytest.approx([value / 4 for value in took["npu_training"]])
    slower = [
        plain / flash for plain, flash in zip(counted["plain, padded"], counted["flash, padded"], strict=True)
    ]
    measured = [
        plain / flash for plain, flash in zip(other["plain, padded"], other["flash, padded"], strict=True)
    ]
    assert measured == pytest.approx(slower) and min(slower) > 1


CARD = costs.Run(
    network=INTERNLM_7B,
    lora=Lora(8, 16, 0.1, ".*wq|.*wk|.*wv|.*wo"),
    size=settings.Size(rows=None, workers=8, batch_size=4, epochs=1),
    seq_length=2_048,
    flash=True,
    width=2,
    lora_width=2,
)


def test_operations_by_hand():
    """Of a token: two for a weight and pass, of which a frozen weight has two and LoRA three."""
    layer = 4 * 4_096**2 + 3 * 4_096 * 11_008
    pairs = 4 * 8 * 2 * 4_096
    assert costs.training(CARD) == {
        "matrices": 2 * 2 * 32 * layer,
        "lora": 3 * 2 * 32 * pairs,
        "attention": 3.5 * 4 * 32 * 4_096 * 2_048,
        "head": 2 * 2 * VOCABULARY * 4_096,
        "recompute": 0,
    }
    again = costs.training(replace(CARD, size=replace(CARD.size, recompute=True)))["recompute"]
    assert again == 2 * 32 * (layer + pairs) + 4 * 32 * 4_096 * 2_048


@pytest.mark.parametrize(("recompute", "share"), [(False, 0.379), (True, 0.549)])
def test_the_rate_of_the_model_card_is_a_likely_utilisation(recompute, share):
    """MindFormers' card of InternLM-7B has 3,864 tokens/s of LoRA, rank 8, rows of 2,048, 800T A2."""
    run = replace(CARD, size=replace(CARD.size, recompute=recompute))
    peak, (worse, better) = costs.SPEEDS["Ascend"].operations, costs.SPEEDS["Ascend"].utilisation
    used = sum(costs.training(run).values()) * 3_864 / peak
    assert used == pytest.approx(share, abs=0.001)
    assert worse < used < 1.1 * better


def test_hours_are_a_range_with_either_attention_and_layout():
    took = reckon()["hours"]
    for key in ("npu_training", "npu_validation", "npu_evaluation", "wall", "tokens_per_second"):
        least, most = took[key]
        assert 0 < least < most
    other = took["other_wall"]
    assert list(other) == ["flash, padded", "flash, packed", "plain, padded", "plain, packed"]
    assert other["flash, padded"] == pytest.approx([value / 4 for value in took["npu_training"]])
    assert other["flash, packed"][1] == pytest.approx(other["flash, padded"][1] * 21_009 / 138_020)
    assert all(other[f"plain, {layout}"][0] > other[f"flash, {layout}"][0] for layout in ("padded", "packed"))
    text = plan.table({"run": "r", "recipe": "reference"} | reckon())
    assert "NPU hours        43.6 to 87.1 (42.3 to 84.6 training" in text


def test_an_evaluation_costs_by_what_is_asked():
    few = reckon(evaluate__protocols=["answer"], evaluate__protocol="answer", evaluate__rotations=1)
    many = reckon(evaluate__protocols=["answer"], evaluate__protocol="answer", evaluate__rotations=4)
    assert few["hours"]["npu_evaluation"][0] < many["hours"]["npu_evaluation"][0]
    assert plan.Asked.of(overlay("reference-4npu").evaluate, ["ABCD"] * 2_480) == (12, 2_480 + 10_570, 200)
    assert plan.Asked.of(overlay("reference-4npu").evaluate, ["AB", "ABCDEF"] * 3).forms == 12


QWEN_32B = {
    **{"hidden_size": 5_120, "num_layers": 64, "num_heads": 40, "n_kv_heads": 8, "intermediate_size": 27_648},
    "vocab_size": VOCABULARY,
}


def large(workers, tensor, devices, **changes):
    keys = {f"model__{key}": value for key, value in QWEN_32B.items()} | changes
    parallel = {"tensor": tensor}
    return reckon(train__workers=workers, train__parallel=parallel, plan__devices=devices, **keys)


def test_a_network_of_32_b_on_8_devices():
    made = large(8, 4, 8)
    assert made["parameters"]["total"] > 31e9
    assert made["refusals"] == [] and made["global_batch"] == 2 * 4
    note = made["notices"][-1]  # it is trained, but not asked
    assert note.startswith(
        "an evaluation has all weights on each device, 64.5 GB, of the 58 that MindSpore may"
    )
    assert made["device_memory_bytes"]["weights"] < 18e9


@pytest.mark.parametrize(
    ("workers", "tensor", "devices", "said"),
    [
        (
            8,
            8,
            4,
            "train.workers is 8, but there are 4 devices; set train.workers: 4, train.parallel.tensor: 4",
        ),
        (
            4,
            1,
            4,
            "device memory: a step takes 75 GB, there are 58 of a device; set train.parallel.tensor: 2",
        ),
    ],
)
def test_a_network_of_32_b_that_does_not_fit_is_refused_with_what_would(workers, tensor, devices, said):
    refusals = large(workers, tensor, devices, plan__disk_gb=400)["refusals"]
    assert refusals[0].startswith(said) and refusals[0].endswith(" GB")


def test_what_nothing_makes_fit():
    (line,) = reckon(plan__memory_gb=3)["refusals"]
    assert line.endswith("no attention, recomputation, batch or tensor parallelism fits: take more devices")


def test_packed_rows_make_a_shorter_epoch():
    made = reckon("internlm-7b-4npu", train=part(1_025, "packed", dropped=25))
    assert made["steps_per_epoch"] == 21_009 // 16 == 1_313
    assert made["epoch_speedup_over_padding"] == (137_995 // 16) / 1_313 > 6
    assert made["dropped"]["train"] == 25
    assert any("25 train records are longer than a row" in line for line in made["notices"])


def test_a_part_of_the_rows():
    made = reckon(train__rows=16_000, train__evaluation_interval=100, train__checkpoint_interval=200)
    assert made["rows"]["train"] == 16_000 and made["steps_per_epoch"] == 1_000
    assert made["epoch_speedup_over_padding"] == 1


LENGTHS = np.array([3, 5, 8, 9, 12, 8, 2], np.int32)


@pytest.mark.parametrize(
    ("layout", "on_long", "expected"),
    [
        ("padded", "drop", plan.Part(5, 8, 26, 12, 2, 5, 4)),
        ("padded", "truncate", plan.Part(7, 8, 26 + 16, 12, 0, 7, 4)),
        ("packed", "drop", plan.Part(4, 8, 26, 12, 2, 5, 4)),
    ],
)
def test_rows_of_each_layout(layout, on_long, expected):
    plans = {name: packing.plan(LENGTHS, 8, name, on_long) for name in packing.COLUMNS}
    made = {"layout": layout} | packing.summary(LENGTHS, plans, 8)
    assert plan.Part.of(made) == expected


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"train__workers": 8}, "train.workers is 8, but there are 4 devices; set train.workers: 4"),
        ({"plan__disk_gb": 20}, "disk: 32.4 GB are needed, 20.0 GB are free; make room"),
        ({"plan__disk_gb": 40, "given": False}, "disk: 47.0 GB are needed, 40.0 GB are free; make room"),
        ({"model__vocab_size": 32_000}, "model.vocab_size: the network has 32000 ids, the tokenizer 103168"),
    ],
)
def test_refusals(changes, said):
    if "train__workers" in changes:  # keeps the steps
        changes["train__batch_size"] = 2
    (line,) = reckon(**changes)["refusals"]
    assert line.startswith(said) and "\n" not in line


@pytest.mark.parametrize(("name", "size"), [("train", 1_024), ("valid", 1_025)])
def test_rows_of_the_wrong_length_are_refused(name, size):
    rows = {"train": REFERENCE_ROWS, "valid": VALID_ROWS}
    rows[name] = rows[name] | {"size": size}
    (line,) = reckon(**rows)["refusals"]
    assert line.startswith(f"encode: {name} rows hold {size} ids, the network wants ")


def test_free_disk_counts_where_the_plan_says_none():
    made = reckon(plan__disk_gb=None)
    assert made["refusals"] == plan.disk_refusals(made, 50e9) == []
    assert plan.disk_refusals(made, 1e9) == ["disk: 32.4 GB are needed, 1.0 GB are free; make room"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"train__evaluation_interval": 1_725}, r"^train.evaluation_interval: 1725 is no multiple of the 2"),
        ({"train__checkpoint_interval": 3_451}, r"^train.checkpoint_interval: 3451 .*; set it to 3452$"),
        ({"train__evaluation_interval": 40_000}, r"^train.evaluation_interval: every 40000 steps is never"),
        (
            {"train__checkpoint_interval": 20_000},
            r"^train.checkpoint_interval: every 20000 .* fewer than the 5",
        ),
        ({"train__batch_size": 40_000}, r"^train: 138020 rows .* too few"),
    ],
)
def test_no_training_comes_of_it(changes, said):
    with pytest.raises(UserError, match=said):
        reckon(**changes)


def test_notices():
    valid = part(1_024, documents=2_480, dropped=1)
    made = reckon(valid=valid)
    said = "\n".join(made["notices"])
    assert "1 valid records are longer than a row" in said
    assert "85.1% of the compute is padding: packed, an epoch would be 6.57 times shorter" in said
    assert reckon("internlm-7b-4npu", train=part(1_025, "packed", documents=138_000))["notices"] == []


MIXED = {"file": "squad/train.json", "documents": 13_802, "share": 0.1, "ids": 9, "share_of_ids": 0.25}


def test_what_is_mixed_in_is_told_by_file():
    made = reckon(
        "internlm-7b-4npu", train=part(1_025, "packed", dropped=20) | {"mix": [MIXED | {"long": 7}]}
    )
    assert made["mix"] == [MIXED | {"long": 7}]
    told = "13,802 records, 10.0% of all and 25.0% of their ids, from squad/train.json"
    assert f"mixed in         {told}" in plan.table({"run": "r", "recipe": "corrected"} | made)
    assert made["notices"] == [
        "20 train records are longer than a row and left out (encode.on_long)",
        "7 records of squad/train.json are among the 20 left out",
    ]
    two = reckon(train=REFERENCE_ROWS | {"mix": [MIXED | {"long": 0}, MIXED | {"file": "b", "long": 0}]})
    assert f"{told}; {told.removesuffix('squad/train.json')}b\n" in plan.table(
        {"run": "r", "recipe": "corrected"} | two
    )
    assert "mix" not in reckon() and "mixed" not in plan.table({"run": "r", "recipe": "corrected"} | reckon())


def test_the_devices_are_the_profiles_where_none_are_described():
    made = reckon(plan__devices=None)
    (line,) = made["refusals"]
    assert line.startswith(
        "train.workers is 4, but there are 2 devices; set train.workers: 2, which takes 23 "
    )


def test_memory_by_hand():
    """InternLM-7B, batch 4 x 1,024: of a token and layer 30 h + 6 F + 6 a s bytes, see docs/plan.md."""
    made = reckon(train__recompute=False, train__attention="plain")["device_memory_bytes"]
    layer = 30 * 4_096 + 6 * 11_008 + 6 * 32 * 1_024
    assert made["activations"] == 32 * 4_096 * layer
    assert made["weights"] == 2 * 7_321_948_160 + 4 * 16_777_216 and made["mask"] == 0
    assert made["optimizer"] == 8 * 16_777_216
    assert made["logits"] == 4_096 * VOCABULARY * 14
    assert made["total"] == sum(value for name, value in made.items() if name != "total")
    again = reckon(train__attention="plain")["device_memory_bytes"]
    assert again["activations"] == 32 * 4_096 * 2 * 4_096 + 4_096 * layer
    flash = reckon()["device_memory_bytes"]
    assert flash["activations"] == again["activations"] - 4_096 * 32 * (6 * 1_024 - 64)
    assert flash["mask"] == 4_096 * 1_024
    halved = reckon(train__lora_dtype="float16")["device_memory_bytes"]
    assert made["weights"] - halved["weights"] == 2 * 16_777_216
    two = reckon(train__parallel={"tensor": 2, "optimizer": True})["device_memory_bytes"]
    matrices = 32 * (4 * 4_096**2 + 3 * 4_096 * 11_008) + VOCABULARY * 4_096
    assert flash["weights"] - two["weights"] == matrices and two["optimizer"] == 8 * 16_777_216 // 4


def test_what_does_not_fit_is_refused_with_the_cheapest_change():
    plain = reckon(train__recompute=False, train__attention="plain")["refusals"]
    said = "device memory: a step takes 71 GB, there are 58 of a device; set train.attention: flash, which "
    assert plain[0].startswith(said)
    (line,) = reckon(train__recompute=False, plan__memory_gb=32)["refusals"]
    assert line.endswith("; set train.recompute: true, which takes 23 GB")
    (line,) = reckon(plan__memory_gb=20)["refusals"]
    assert line.endswith("; set train.batch_size: 2, which takes 19 GB")


def test_a_device_has_what_mindspore_may_take_of_it():
    """`max_device_memory` is 58GB: a step of 61 GB fails on a device of 64, and one of 54 does not."""
    fits, fails = (
        reckon(train__batch_size=rows, train__recompute=False, plan__memory_gb=64) for rows in (5, 6)
    )
    assert fits["device_memory_bytes"]["total"] < 58e9 < fails["device_memory_bytes"]["total"] < 64e9
    assert fits["refusals"] == []
    assert fails["refusals"][0].startswith(
        "device memory: a step takes 61 GB, there are 58 of a device; set "
    )


def test_memory_of_either_attention():
    flash, plain = (reckon(train__attention=name) for name in ("flash", "plain"))
    assert (
        flash["other_memory_bytes"]
        == plain["other_memory_bytes"]
        == {name: made["device_memory_bytes"]["total"] for name, made in (("flash", flash), ("plain", plain))}
    )
    said = plan.table({"run": "r", "recipe": "reference"} | flash)
    assert "by attention   flash 22.7 GB, plain 23.5 GB" in said


def test_a_base_that_no_npu_can_train_is_told():
    (note,) = [line for line in reckon(given=False)["notices"] if "base.path" in line]
    assert note.endswith(
        "takes, without activations, 87.9 GB, of the 58 that MindSpore may take; give base.path"
    )
    assert not any("base.path" in line for line in reckon()["notices"])


def test_disk_by_hand():
    """At 7 B in float16 a network takes 14.6 GB; what training starts from makes room for the exports."""
    made = reckon()["disk_bytes"]
    network = 2 * 7_321_948_160
    assert made["base"] == made["start"] == made["merged"] == network and made["exported_base"] == 0
    assert made["checkpoints"] == 16_777_216 * (10 * 4 + 9 * 8)
    assert made["adapters"] == made["peft"] == 16_777_216 * 5 * 4
    assert made["total"] == sum(made[key] for key in made if key not in ("total", "start"))
    own = reckon(given=False)["disk_bytes"]
    assert own["exported_base"] == own["total"] - made["total"] == network
    assert own["merged"] + own["exported_base"] == pytest.approx(29.3e9, rel=0.01)


@pytest.mark.parametrize(
    ("rows", "size", "used", "packed", "vocabulary"),
    [
        (3_000, 1_025, 153, False, VOCABULARY),
        (700, 1_025, 1_000, True, VOCABULARY),
        (4_000, 129, 90, False, 1_200),
    ],
)
def test_shards_are_as_large_as_reckoned(tmp_path, rows, size, used, packed, vocabulary):
    """At most: ids are drawn so that nearly all need the width of the vocabulary's largest."""
    ids = np.full(size, 2, np.int32)
    ids[:used] = np.linspace(vocabulary // 2, vocabulary - 1, used)
    labels = np.where(np.arange(size) < used, ids, -100).astype(np.int32)
    row = {"input_ids": ids, "labels": labels} | ({"document_ids": np.ones_like(ids)} if packed else {})
    batch = {name: np.tile(column, (rows, 1)) for name, column in row.items()}
    mindrecord.write_batches([batch], tmp_path / "x.mindrecord", tuple(row))
    found = sum(path.stat().st_size for path in tmp_path.iterdir())
    made = plan.Part(rows, size, rows * used, used, 0, rows, rows)
    assert plan.mindrecord_bytes(made, vocabulary, 1, packed) == pytest.approx(found, rel=0.03)


def test_the_table_says_it_all():
    made = {"run": "r", "recipe": "reference"} | reckon(plan__disk_gb=20)
    text = plan.table(made)
    for said in ("8,626", "34,504", "1,035", "16,777,216 trainable of 7,321,948,160", "ratio 0.00229"):
        assert said in text
    assert "6,904 / 13,808 / 20,712 / 27,616 / 34,504" in text
    assert text.splitlines()[-1].startswith("REFUSED: disk:")


def test_no_framework_is_imported():
    code = (
        "import sys, mcqlora.train.plan; sys.exit('mindspore' in sys.modules or 'mindformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": str(ROOT / "src")}).returncode == 0


LLAMA_2_7B = replace(INTERNLM_7B, vocab_size=32_000, has_bias=False)


@pytest.mark.parametrize(
    ("network", "total"),
    [
        (LLAMA_2_7B, 6_738_415_616),
        (INTERNLM_7B, 7_321_948_160),
        (
            replace(LLAMA_2_7B, hidden_size=5120, num_layers=40, num_heads=40, intermediate_size=13824),
            13_015_864_320,  # LLaMA-2-13B
        ),
        (
            replace(
                LLAMA_2_7B,
                **{"hidden_size": 8192, "num_layers": 80, "num_heads": 64, "n_kv_heads": 8},
                intermediate_size=28672,
            ),
            68_976_648_192,  # LLaMA-2-70B, grouped-query attention
        ),
        (
            replace(LLAMA_2_7B, n_kv_heads=8, intermediate_size=14336, vocab_size=128_256),
            8_030_261_248,  # LLaMA-3-8B, grouped-query attention
        ),
    ],
)
def test_published_totals(network, total):
    assert network.parameters().total == total


@pytest.fixture(scope="module")
def built():
    """A function that builds the real network with MindSpore and counts (all but the adapter, trainable)."""
    ms = pytest.importorskip("mindspore")
    from mindformers import MindFormerConfig
    from mindformers.models import build_network

    import mcqlora.model.decoder
    import mcqlora.train.callbacks
    import mcqlora.train.step  # noqa: F401

    ms.set_context(mode=ms.GRAPH_MODE, device_target="CPU")

    def build(network, lora):
        model = network.model_config(32, 2, "CPU", 2, 2, lora)
        arch = {"type": "InternLMForCausalLM"}
        made = build_network(MindFormerConfig(model={"model_config": model, "arch": arch}).model)
        sizes = {name: parameter.size for name, parameter in made.parameters_dict().items()}
        adapter = sum(size for name, size in sizes.items() if name.endswith(weights.LORA))
        return sum(sizes.values()) - adapter, adapter

    return build


@pytest.mark.integration
@pytest.mark.parametrize("target", [".*wq|.*wk|.*wv|.*wo", ".*w1|.*w2|.*w3|.*wk"])
@pytest.mark.parametrize("kv_heads", [None, 2])
@pytest.mark.parametrize("bias", [True, False])
def test_the_count_is_that_of_the_built_network(built, target, kv_heads, bias):
    network = replace(
        INTERNLM_7B,
        **{"hidden_size": 32, "num_layers": 3, "num_heads": 4, "n_kv_heads": kv_heads, "has_bias": bias},
        **{"intermediate_size": 88, "vocab_size": 101},
    )
    lora = Lora(rank=5, alpha=10, dropout=0.05, target_modules=target)
    found = network.parameters(lora)
    assert (found.total, found.trainable) == built(network, lora)
