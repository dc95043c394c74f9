"""What the rules need of the configuration: checks across keys, and the narrow subtree for each rule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mcqlora import config as settings
from mcqlora.errors import UserError

Config = Mapping[str, Any]

# Whatever else is asked for, the reference recipe has these; docs/recipe.md explains each.
REFERENCE = {
    "split": "recipe",
    "read": {
        "first_row_lost": True,
        "pandas_na": True,
        "drop_identical_options": False,
        "drop_contradictory": False,
    },
}


def check(config: dict[str, Any], npus: int | None) -> None:
    """Check what no schema can say, and let `recipe: reference` imply its defects (in place).

    Args:
        npus: the npu resource of the profile; None when it has none.

    Raises:
        UserError: one line that names the key.
    """
    if config["recipe"] == "reference":
        config["split"] = REFERENCE["split"]
        config["read"] = config["read"] | REFERENCE["read"]
    for part in ("base", "train"):
        workers = config[part]["workers"]
        if npus is not None and workers > npus:
            raise UserError(
                f"{part}.workers is {workers}, but the profile has {npus} npu; lower it, or raise npu in the "
                f"profile (--resources npu={workers})"
            )
    generated = config["data"] == settings.GENERATED
    if config["tokenizer"]["path"] is None and not generated:
        raise UserError("tokenizer.path: not set; only the generated benchmark has a text to train one on")
    if config["base"]["text"] == "corpus" and not generated:
        raise UserError("base.text: only the generated benchmark has a corpus; set base.text: train")
    model = config["model"]
    if model["hidden_size"] % model["num_heads"]:
        raise UserError(
            f"model.hidden_size: {model['hidden_size']} is no multiple of num_heads {model['num_heads']}"
        )


def benchmark_inputs(config: Config) -> list[str]:
    """CSV files to be watched; none for the generated benchmark, whose folder is watched instead."""
    return [] if config["data"] == settings.GENERATED else settings.benchmark_inputs(config)


def reading(config: Config) -> dict[str, Any]:
    return {key: config["read"][key] for key in ("on_bad_row", "first_row_lost", "pandas_na")}


def screening(config: Config) -> dict[str, Any]:
    return {key: config["read"][key] for key in ("drop_identical_options", "drop_contradictory")}


def shuffling(config: Config) -> dict[str, Any]:
    return {"seed": config["shuffle"]["seed"], "reference": config["recipe"] == "reference"}


def sizes(config: Config) -> dict[str, Any]:
    return {"seed": config["shuffle"]["seed"]} | {key: config["holdout"][key] for key in ("valid", "test")}


def row_size(config: Config, part: str) -> int:
    """Ids of a row: the network slices the last one off in training, and not in evaluation."""
    return config["encode"]["seq_length"] + (part == "train")


def network(config: Config) -> dict[str, Any]:
    return dict(config["model"])


def lora(config: Config) -> dict[str, Any]:
    train = config["train"]
    return {
        "rank": train["lora_rank"],
        "alpha": train["lora_alpha"],
        "dropout": train["lora_dropout"],
        "target_modules": train["target_modules"],
    }


def optimization(part: Config, **changes: Any) -> dict[str, Any]:
    """AdamW's betas and epsilon are the recipe's; everything else comes from `part` or `changes`."""
    keys = ("learning_rate", "warmup_ratio", "weight_decay", "loss_scale", "max_grad_norm", "seed")
    return {"betas": [0.9, 0.999], "eps": 1e-8} | {key: part[key] for key in keys if key in part} | changes


def base(config: Config) -> dict[str, Any]:
    part = config["base"]
    return {
        "network": network(config),
        "optimization": optimization(
            part, warmup_ratio=0.05, weight_decay=0.01, loss_scale=16384, max_grad_norm=1.0
        ),
        "seq_length": config["encode"]["seq_length"],
        "device": config["device"],
    } | {key: part[key] for key in ("rows", "workers", "batch_size", "epochs")}


def train(config: Config) -> dict[str, Any]:
    part = config["train"]
    return {
        "network": network(config),
        "lora": lora(config),
        "optimization": optimization(part),
        "seq_length": config["encode"]["seq_length"],
        "device": config["device"],
        "reference_template": config["recipe"] == "reference",
    } | {
        key: part[key]
        for key in ("rows", "workers", "batch_size", "epochs", "evaluations", "checkpoints", "patience")
    }


def evaluate(config: Config) -> dict[str, Any]:
    part = config["evaluate"]
    return {
        "network": network(config),
        "lora": lora(config),
        "device": config["device"],
        "seq_length": config["encode"]["seq_length"],
        "batch_size": part["batch_size"],
        "generation": {
            "items": part["generation_items"],
            "max_new_tokens": part["generation_max_new_tokens"],
        },
        "reading": {"items": part["squad_items"], "max_new_tokens": part["squad_max_new_tokens"]},
        "seed": part["seed"],
        "reference_template": config["recipe"] == "reference",
    }
