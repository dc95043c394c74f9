"""What the rules need of the configuration: checks across keys, and the narrow subtree for each rule."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mcqlora.config import loading
from mcqlora.errors import UserError
from mcqlora.model import tensorfiles
from mcqlora.storage import addresses

Config = Mapping[str, Any]

TOKENIZER = "tokenizer.model"
# Names of downloads; a benchmark's ends as its archive does.
READING, BASE_CONFIG = "reading.json", "base-config/config.json"

# The keys of `train` that decide its steps and their cost.
STEPS = (
    *("rows", "workers", "batch_size", "epochs", "evaluations", "checkpoints"),
    *("evaluation_interval", "checkpoint_interval", "evaluation_batch_size", "recompute"),
)


def gres(config: Config, npu: int) -> str:
    """What Slurm is asked for on each machine, as `npu:4`; empty where nothing is to be asked for."""
    name = config["gres"] or ("npu" if config["device"] == "Ascend" else None)
    return f"{name}:{npu}" if name and npu else ""


def benchmark_inputs(config: Config) -> list[str]:
    """CSV files and archives to be watched; none for the generated one, whose folder is watched instead."""
    return [] if config["data"] == loading.GENERATED else loading.benchmark_inputs(config)


def fetched_archives(config: Config) -> dict[str, dict[str, Any]]:
    """{file name: arguments of `downloads.fetch`} of the benchmarks that come by address."""
    return {
        benchmark["name"] + addresses.suffix(benchmark["path"]): _download(config, benchmark["path"])
        | {"sha256": benchmark["sha256"]}
        for benchmark in config["benchmarks"]
        if addresses.is_address(benchmark["path"])
    }


def fetched(config: Config) -> dict[str, dict[str, Any]]:
    """{file name: arguments of `downloads.fetch`} of every single file that comes by address."""
    part, base = config["evaluate"], config["base"]
    files = [
        (TOKENIZER, config["tokenizer"]["path"], config["tokenizer"]["sha256"]),
        (READING, part["squad"], part["squad_sha256"]),
    ]
    if addresses.is_address(base["path"] or ""):  # alone, so that the plan needs no weights
        files.append(
            (BASE_CONFIG, addresses.join(base["path"], "config.json"), base["sha256"].get("config.json"))
        )
    return fetched_archives(config) | {
        name: _download(config, path) | {"sha256": sha256}
        for name, path, sha256 in files
        if addresses.is_address(path or "")
    }


def fetched_base(config: Config) -> dict[str, Any] | None:
    """Arguments of `downloads.fetch_network`, if the base comes by address."""
    base = config["base"]
    if not addresses.is_address(base["path"] or ""):
        return None
    return _download(config, base["path"]) | {"sha256": base["sha256"]}


def _download(config: Config, address: str) -> dict[str, Any]:
    """What is no S3 service's does not depend on its settings."""
    return {"address": address, "s3": config["s3"] if addresses.ADDRESS.match(address) else None}


def recipe(config: Config) -> Config:
    """What of the configuration made the run, without what an address may say of passwords and tokens."""
    others = ("s3", "publish", "fetch_run", "plan")
    return {key: addresses.shown(value) for key, value in config.items() if key not in others}


def sources(config: Config, root: str, fetched: str) -> list[dict[str, Any]]:
    """Arguments of `benchmarks.read_benchmark`: below `root`, or of a download below `fetched`."""
    found = []
    for benchmark in config["benchmarks"]:
        source = {key: benchmark[key] for key in ("name", "layout", "path", "language", "sha256")}
        if addresses.is_address(benchmark["path"]):  # its hash was compared before it was kept
            source |= {"path": benchmark["name"] + addresses.suffix(benchmark["path"]), "sha256": None}
        found.append({"root": fetched if addresses.is_address(benchmark["path"]) else root} | source)
    return found


def reading(config: Config) -> dict[str, Any]:
    return {key: config["read"][key] for key in ("on_bad_row", "first_row_lost", "pandas_na")}


def screening(config: Config) -> dict[str, Any]:
    return {key: config["read"][key] for key in ("drop_identical_options", "drop_contradictory")}


def shuffling(config: Config) -> dict[str, Any]:
    keys = ("seed", "pin_references", "balance_letters", "reparse_options")
    return {key: config["shuffle"][key] for key in keys}


def card(config: Config) -> dict[str, Any]:
    """What the data card says of the configuration."""
    return {key: config[key] for key in ("run", "recipe", "split")} | {
        key: config["shuffle"][key] for key in ("seed", "copies")
    }


def licences(config: Config) -> dict[str, str | None]:
    return {benchmark["name"]: benchmark["licence"] for benchmark in config["benchmarks"]}


def sizes(config: Config) -> dict[str, Any]:
    return {"seed": config["shuffle"]["seed"]} | {key: config["holdout"][key] for key in ("valid", "test")}


def tokenizer(config: Config) -> dict[str, Any]:
    """A given model has its own size."""
    path = config["tokenizer"]["path"]
    return {"path": path, "vocab_size": None if path else config["tokenizer"]["vocab_size"]}


def row_size(config: Config, part: str) -> int:
    """Ids of a row: the network slices the last one off in training, and not in evaluation."""
    return config["encode"]["seq_length"] + (part == "train")


def layout(config: Config, part: str) -> str:
    """Rows of the validation part are padded: its loss is compared between layouts."""
    return config["encode"]["layout"] if part == "train" else "padded"


def edge(config: Config, part: str) -> str:
    """What becomes of a padded row that fits exactly, see `packing.batches`."""
    masks = config["encode"]["mask_full_rows"] and layout(config, part) == "padded"
    return "reference" if masks else "corrected"


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


def base_folder(config: Config, fetched: str) -> Path | None:
    """The Hugging Face folder that the base is made of, if any; a downloaded one is below `fetched`."""
    path = config["base"]["path"]
    if addresses.is_address(path or ""):
        return Path(fetched) / "base"
    return loading.data_root(config) / path if path else None


def base_files(config: Config, fetched: str) -> list[str]:
    """The files, or the folder to be downloaded, that a given base is made of; config.json first.

    Raises:
        UserError: there is no such folder, or none with weights in it.
    """
    folder = base_folder(config, fetched)
    if folder is None:
        return []
    if addresses.is_address(config["base"]["path"]):
        return [f"{fetched}/{BASE_CONFIG}", str(folder)]
    if not folder.is_dir():
        raise UserError(f"base.path: there is no folder {folder}; it is relative to data ({config['data']})")
    return [loading.data_file(config, str(Path(config["base"]["path"]) / "config.json"))] + [
        str(path) for path in tensorfiles.weight_files(folder)
    ]


def conversion(config: Config) -> dict[str, Any]:
    return {"network": network(config), "device": config["device"]}


def train(config: Config) -> dict[str, Any]:
    part = config["train"]
    return {
        "network": network(config),
        "lora": lora(config),
        "optimization": optimization(part),
        "seq_length": config["encode"]["seq_length"],
        "device": config["device"],
        "layout": config["encode"]["layout"],
        "reference_template": config["tokenizer"]["unused_marks"],
        "patience": part["patience"],
    } | {key: part[key] for key in STEPS}


def plan(config: Config, npus: int | None) -> dict[str, Any]:
    """`npus` is the profile's; a machine described in the configuration has its own number."""
    part, machine = config["train"], config["plan"]
    devices = npus if machine["devices"] is None else machine["devices"]
    return {
        "run": config["run"],
        "recipe": config["recipe"],
        "network": network(config),
        "lora": lora(config),
        "device": config["device"],
        "seq_length": config["encode"]["seq_length"],
        "shards": config["encode"]["shards"],
        "warmup_ratio": part["warmup_ratio"],
        "machine": machine | {"devices": devices and devices * part["nodes"]},
    } | {key: part[key] for key in STEPS}


def asking(config: Config, tuned: bool = True) -> dict[str, Any]:
    """What every evaluation needs to ask a checkpoint, or the base, for which no key of LoRA counts."""
    return {
        "network": network(config),
        "lora": lora(config) if tuned else None,
        "device": config["device"],
        "seq_length": config["encode"]["seq_length"],
        "batch_size": config["evaluate"]["batch_size"],
        "reference_template": config["tokenizer"]["unused_marks"],
    }


def evaluate(config: Config, tuned: bool = True) -> dict[str, Any]:
    part = config["evaluate"]
    return asking(config, tuned) | {
        "choosing": {
            **{key: part[key] for key in ("protocols", "shots", "rotations")},
            "option_references": config["shuffle"]["option_references"],
            # Where the split itself leaks, the test questions are such questions already.
            "leak_items": 0 if config["split"] == "recipe" else part["leak_items"],
            "generation": {
                "items": part["generation_items"],
                "max_new_tokens": part["generation_max_new_tokens"],
            },
        },
        "reading": {"items": part["squad_items"], "max_new_tokens": part["squad_max_new_tokens"]},
        "seed": part["seed"],
    }


def export(config: Config) -> dict[str, Any]:
    return {
        "lora": lora(config),
        "seq_length": config["encode"]["seq_length"],
        "reference_template": config["tokenizer"]["unused_marks"],
    }


def merged(config: Config) -> str:
    """The checkpoint to be merged, or the rule that chooses it."""
    wanted = config["export"]["checkpoint"]
    return config["train"]["best"] if wanted == "best" else wanted


def peft_base(config: Config, fetched: str, exported: str) -> str:
    """Where PEFT finds the network of an adapter: the given folder, or our export of one trained here."""
    return str(base_folder(config, fetched) or exported)


def prediction(config: Config) -> dict[str, Any]:
    part = config["evaluate"]
    return {
        "network": network(config),
        "lora": lora(config),
        "device": config["device"],
        "seq_length": config["encode"]["seq_length"],
        "reference_template": config["tokenizer"]["unused_marks"],
        "squad_max_new_tokens": part["squad_max_new_tokens"],
        "mcq_max_new_tokens": part["generation_max_new_tokens"],
    }
