"""config/reference-4npu.yaml against the report, field by field; what it comes to is in test_plan.py."""

from pathlib import Path

import pytest

from mcqlora.config import checks, loading
from mcqlora.model import architecture
from mcqlora.train import mindformers_yaml, settings
from mcqlora.train.schedule import plan_steps

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def overlay():
    return loading.load(loading.read_yaml(ROOT / "config" / "reference-4npu.yaml"))


@pytest.fixture(scope="module")
def made(overlay):
    checks.check(overlay)
    return loading.namespace(overlay)


@pytest.fixture(scope="module")
def rendered(made):
    """The MindFormers YAML of this overlay's training on the report's rows."""
    asked = made.train
    size, optimization = settings.of(settings.Size, asked), settings.of(settings.Optimization, asked)
    lora = (asked.lora_rank, asked.lora_alpha, asked.lora_dropout)
    training = mindformers_yaml.Training(
        name="lora",
        settings=settings.Settings(
            network=architecture.Architecture(**made.model | {"vocab_size": 103_168}),
            lora=architecture.Lora(*lora, asked.target_modules),
            optimization=optimization,
            size=size,
            seq_length=made.encode.seq_length,
            device=made.device,
        ),
        schedule=plan_steps(138_020, size, asked.warmup_ratio, 5, sink_size=2),
        pad=0,
        eos=2,
        layout="padded",
        valid_rows=2_480,
    )
    return mindformers_yaml.render(training, ["train.mindrecord"], ["valid.mindrecord"], "base.ckpt")


def at(values, path):
    for key in path.split("."):
        values = values[int(key) if key.isdigit() else key]
    return values


@pytest.mark.parametrize(
    ("field", "path", "expected"),
    [
        ("stamped LEAKED", "recipe", "reference"),
        ("valid and test are re-ordered training questions", "split", "recipe"),
        ("171 questions lost to a header", "read.first_row_lost", True),
        ("None becomes nan", "read.pandas_na", True),
        ("questions with identical options stay", "read.drop_identical_options", False),
        ("contradicting duplicates stay", "read.drop_contradictory", False),
        ("six copies", "shuffle.copies", 6),
        ("seed of the orders", "shuffle.seed", 42),
        ("valid rows a category", "holdout.valid", 20),
        ("test rows a category", "holdout.test", 20),
        ("MMLU first", "benchmarks.0.layout", "mmlu"),
        ("CMMLU second", "benchmarks.1.layout", "cmmlu"),
        ("sequence length", "encode.seq_length", 1_024),
        ("all 138,020 rows, five questions longer than a row among them", "encode.on_long", "truncate"),
        ("4 NPUs", "train.workers", 4),
        ("Ascend", "device", "Ascend"),
        ("greedy generation is the headline", "evaluate.protocol", "generation"),
        ("max_new_tokens", "evaluate.generation_max_new_tokens", 200),
        ("2,480 test rows are answered", "evaluate.generation_items", 2_480),
        ("SQuAD's 2,067 first questions among all", "evaluate.squad_items", 10_570),
    ],
)
def test_the_configuration(made, field, path, expected):
    assert at(made, path) == expected, field


def test_rows_are_one_id_longer_in_training(overlay):
    assert {part: overlay.encode.row_size(part) for part in ("train", "valid")} == {
        "train": 1_025,
        "valid": 1_024,
    }


@pytest.mark.parametrize(
    ("field", "path", "expected"),
    [
        ("vocabulary", "model.model_config.vocab_size", 103_168),
        ("hidden", "model.model_config.hidden_size", 4_096),
        ("layers", "model.model_config.num_layers", 32),
        ("heads", "model.model_config.num_heads", 32),
        ("feed-forward", "model.model_config.intermediate_size", 11_008),
        ("norm's epsilon", "model.model_config.rms_norm_eps", 1e-6),
        ("bias on q, k, v and o", "model.model_config.has_bias", True),
        ("LoRA rank", "model.model_config.pet_config.lora_rank", 16),
        ("LoRA alpha", "model.model_config.pet_config.lora_alpha", 32),
        ("LoRA dropout", "model.model_config.pet_config.lora_dropout", 0.05),
        ("LoRA targets", "model.model_config.pet_config.target_modules", ".*wq|.*wk|.*wv|.*wo"),
        ("fp16 compute", "model.model_config.compute_dtype", "float16"),
        ("fp32 norm", "model.model_config.layernorm_compute_type", "float32"),
        ("fp32 softmax", "model.model_config.softmax_compute_type", "float32"),
        ("epochs", "runner_config.epochs", 4),
        ("batch of an NPU", "runner_config.batch_size", 4),
        ("sink mode", "runner_config.sink_mode", True),
        ("sink size", "runner_config.sink_size", 2),
        ("data parallel over 4 NPUs", "parallel_config.data_parallel", 4),
        ("AdamW", "optimizer.type", "AdamW"),
        ("betas", "optimizer.betas", [0.9, 0.999]),
        ("epsilon", "optimizer.eps", 1e-8),
        ("weight decay", "optimizer.weight_decay", 0.01),
        ("cosine", "lr_schedule.type", "CosineWithWarmUpLR"),
        ("peak learning rate", "lr_schedule.learning_rate", 5e-5),
        ("down to", "lr_schedule.lr_end", 0),
        ("warm-up", "lr_schedule.warmup_ratio", 0.03),
        ("clipping", "runner_wrapper.use_clip_grad", True),
        ("clipped at", "runner_wrapper.max_grad_norm", 1.0),
        ("dynamic loss scale", "runner_wrapper.scale_sense.type", "DynamicLossScaleUpdateCell"),
        ("loss scale", "runner_wrapper.scale_sense.loss_scale_value", 16_384),
        ("seed", "seed", 0),
        ("do_eval", "do_eval", True),
        ("evaluation every", "eval_step_interval", 1_726),
    ],
)
def test_the_rendered_training(rendered, field, path, expected):
    assert at(rendered, path) == expected, field


def test_checkpoints_are_3_452_steps_apart_and_ten_are_kept(rendered):
    (callback,) = [c for c in rendered["callbacks"] if c["type"] == "ScheduleCallback"]
    assert callback["checkpoints"] == [*range(3_452, 34_504, 3_452), 34_504]
    assert len(callback["checkpoints"]) == 10
