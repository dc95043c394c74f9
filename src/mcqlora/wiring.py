"""What the rules need of the configuration: checks across keys, and the narrow subtree for each rule."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from mcqlora import adapters, archives, buckets, downloads, optionrefs, protocols, provenance, tensorfiles
from mcqlora import config as settings
from mcqlora.errors import UserError

Config = Mapping[str, Any]

# What `recipe: reference` sets, a switch for each deviation; docs/data.md explains them one by one.
REFERENCE: dict[str, Any] = {
    "split": "recipe",
    "read": {
        "first_row_lost": True,
        "pandas_na": True,
        "drop_identical_options": False,
        "drop_contradictory": False,
    },
    "shuffle": {"pin_references": False, "balance_letters": False, "reparse_options": True},
    "holdout": {"near_duplicate_threshold": None},
    "tokenizer": {"unused_marks": True},
    "encode": {"mask_full_rows": True, "on_long": "truncate"},
}

TOKENIZER = "tokenizer.model"
# Names of downloads; a benchmark's ends as its archive does.
READING, BASE_CONFIG = "reading.json", "base-config/config.json"

# The keys of `train` that decide its steps and their cost.
STEPS = (
    *("rows", "workers", "batch_size", "epochs", "evaluations", "checkpoints"),
    *("evaluation_interval", "checkpoint_interval", "evaluation_batch_size", "recompute"),
)


def check(config: dict[str, Any], named: Config = MappingProxyType({})) -> None:
    """Check what no schema can say, and let `recipe: reference` imply its deviations (in place).

    Args:
        named: the configuration without the defaults of config.yaml: what an overlay or the command line
            names there wins over the recipe.

    Raises:
        UserError: one line that names the key.
    """
    if config["recipe"] == "reference":
        apply_reference(config, named)
    optionrefs.table(config["shuffle"]["option_references"])
    _check_benchmarks(config["benchmarks"])
    given = config["base"]["path"]
    if given and config["tokenizer"]["path"] is None:
        elsewhere = archives.is_address(given)
        config["tokenizer"]["path"] = (
            downloads.join(given, TOKENIZER) if elsewhere else str(Path(given) / TOKENIZER)
        )
        config["tokenizer"]["sha256"] = config["tokenizer"]["sha256"] or config["base"]["sha256"].get(
            TOKENIZER
        )
    elif TOKENIZER in config["base"]["sha256"]:
        raise UserError(
            f"base.sha256: {TOKENIZER} is not of the base where tokenizer.path is set; set tokenizer.sha256"
        )
    _check_addresses(config)
    generated = config["data"] == settings.GENERATED
    if os.path.normpath(config["data"]).split("/")[0] == provenance.TIMES:
        raise UserError(
            f"data: {config['data']} is where the jobs' times are written; call the folder something else"
        )
    if config["tokenizer"]["path"] is None and not generated:
        raise UserError("tokenizer.path: not set; only the generated benchmark has a text to train one on")
    if config["base"]["text"] == "corpus" and not generated and not given:
        raise UserError(
            "base.text: only the generated benchmark has a corpus; set base.path, or base.text: train"
        )
    part = config["evaluate"]
    if part["protocol"] not in part["protocols"]:
        raise UserError(
            f"evaluate.protocol: {part['protocol']}, the headline, is not in evaluate.protocols; add it there"
        )
    if part["protocol"] in protocols.SHOTS and 0 not in part["shots"]:
        raise UserError(
            f"evaluate.shots: {part['protocol']}, the headline, is asked without worked examples; add 0"
        )
    if config["encode"]["layout"] == "packed" and config["encode"]["on_long"] == "truncate":
        raise UserError(
            "encode.on_long: truncate leaves rows without a label, and packed rows have no room for them; "
            "set encode.on_long: drop or encode.layout: padded"
        )
    workers, nodes = config["train"]["workers"], config["train"]["nodes"]
    if workers % nodes:
        raise UserError(
            f"train.workers: {workers} cannot be spread evenly over train.nodes {nodes}; make it a multiple"
        )
    model = config["model"]
    if model["hidden_size"] % model["num_heads"]:
        raise UserError(
            f"model.hidden_size: {model['hidden_size']} is no multiple of num_heads {model['num_heads']}"
        )
    if model["num_heads"] % (model["n_kv_heads"] or 1):
        raise UserError(
            f"model.n_kv_heads: {model['n_kv_heads']} does not divide num_heads {model['num_heads']}"
        )
    pattern, cells = config["train"]["target_modules"], ", ".join(adapters.projections(model))
    try:
        tuned = adapters.tuned(model, config["train"])
    except re.error as error:
        raise UserError(
            f"train.target_modules: {pattern!r} is no regular expression ({error}); mend it"
        ) from error
    if not tuned:
        raise UserError(f"train.target_modules: {pattern!r} matches none of the network's cells {cells}")


def _check_benchmarks(benchmarks: list[dict[str, Any]]) -> None:
    names = [benchmark["name"] for benchmark in benchmarks]
    for benchmark in benchmarks:
        name, path = benchmark["name"], benchmark["path"]
        if names.count(name) > 1:
            raise UserError(f"benchmarks: two are called {name}; give every benchmark a name of its own")
        if archives.suffix(path):
            continue
        if archives.is_address(path):
            kinds = ", ".join(archives.SUFFIXES)
            raise UserError(
                f"benchmarks: the address of {name} ends in none of {kinds}; give an archive's address"
            )
        if benchmark["sha256"]:
            raise UserError(f"benchmarks: {name} has a sha256 but is a folder; remove it, or give an archive")


def _check_addresses(config: Config) -> None:
    """Addresses are well-formed, and hashes stand beside them: a file of this machine is watched itself."""
    part = config["evaluate"]
    hashed = (
        ("tokenizer.path", config["tokenizer"]["path"], "tokenizer.sha256", config["tokenizer"]["sha256"]),
        ("base.path", config["base"]["path"], "base.sha256", config["base"]["sha256"]),
        ("evaluate.squad", part["squad"], "evaluate.squad_sha256", part["squad_sha256"]),
    )
    for key, path, hash_key, sha256 in hashed:
        if sha256 and not archives.is_address(path or ""):
            raise UserError(f"{hash_key}: {key} is no address whose file could be compared; remove it")
    given = [(key, path) for key, path, _, _ in hashed]
    given += [("benchmarks", benchmark["path"]) for benchmark in config["benchmarks"]]
    for key, path in given:
        if (path or "").lower().startswith("s3:"):
            buckets.place(path)
        try:
            urlsplit(path or "")
        except ValueError as error:
            raise UserError(f"{key}: no address can be read in it ({error}); mend it") from error


def apply_reference(config: dict[str, Any], named: Config) -> None:
    """Set every switch of `REFERENCE` that `named` does not name (in place)."""
    for key, value in REFERENCE.items():
        if isinstance(value, Mapping):
            own = named.get(key) or {}
            config[key] = config[key] | {name: value[name] for name in value if name not in own}
        elif key not in named:
            config[key] = value


def check_npus(config: Config, part: str, npus: int | None) -> None:
    """Check that all workers of a part get a device: Snakemake would clamp the resource without a word.

    Args:
        part: base, train or evaluate.
        npus: the npu resource of the profile; None when it has none.

    Raises:
        UserError: the profile has too few.
    """
    nodes = config[part].get("nodes", 1)
    workers = config[part]["workers"] // nodes
    if npus is not None and workers > npus:
        where = f" on {nodes} nodes" if nodes > 1 else ""
        raise UserError(
            f"{part}.workers is {config[part]['workers']}{where}, but the profile has {npus} npu; lower it, "
            f"or take another profile (--workflow-profile profiles/ascend, or --resources npu={workers})"
        )


def gres(config: Config, npu: int) -> str:
    """What Slurm is asked for on each machine, as `npu:4`; empty where nothing is to be asked for."""
    name = config["gres"] or ("npu" if config["device"] == "Ascend" else None)
    return f"{name}:{npu}" if name and npu else ""


def benchmark_inputs(config: Config) -> list[str]:
    """CSV files and archives to be watched; none for the generated one, whose folder is watched instead."""
    return [] if config["data"] == settings.GENERATED else settings.benchmark_inputs(config)


def fetched_archives(config: Config) -> dict[str, dict[str, Any]]:
    """{file name: arguments of `downloads.fetch`} of the benchmarks that come by address."""
    return {
        benchmark["name"] + archives.suffix(benchmark["path"]): _download(config, benchmark["path"])
        | {"sha256": benchmark["sha256"]}
        for benchmark in config["benchmarks"]
        if archives.is_address(benchmark["path"])
    }


def fetched(config: Config) -> dict[str, dict[str, Any]]:
    """{file name: arguments of `downloads.fetch`} of every single file that comes by address."""
    part, base = config["evaluate"], config["base"]
    files = [
        (TOKENIZER, config["tokenizer"]["path"], config["tokenizer"]["sha256"]),
        (READING, part["squad"], part["squad_sha256"]),
    ]
    if archives.is_address(base["path"] or ""):  # alone, so that the plan needs no weights
        files.append(
            (BASE_CONFIG, downloads.join(base["path"], "config.json"), base["sha256"].get("config.json"))
        )
    return fetched_archives(config) | {
        name: _download(config, path) | {"sha256": sha256}
        for name, path, sha256 in files
        if archives.is_address(path or "")
    }


def fetched_base(config: Config) -> dict[str, Any] | None:
    """Arguments of `downloads.fetch_network`, if the base comes by address."""
    base = config["base"]
    if not archives.is_address(base["path"] or ""):
        return None
    return _download(config, base["path"]) | {"sha256": base["sha256"]}


def _download(config: Config, address: str) -> dict[str, Any]:
    """What is no S3 service's does not depend on its settings."""
    return {"address": address, "s3": config["s3"] if buckets.ADDRESS.match(address) else None}


def check_publish(config: Config) -> None:
    """Raises: UserError: publish.to is missing or no address of a bucket."""
    if not config["publish"]["to"]:
        raise UserError("publish.to: not set; give s3://bucket/prefix")
    buckets.place(config["publish"]["to"])


def check_fetch_run(config: Config) -> None:
    """Raises: UserError: fetch_run.manifest is missing or no address."""
    given = config["fetch_run"]["manifest"]
    if not given or not archives.is_address(given):
        raise UserError("fetch_run.manifest: no address; give that of a published run's manifest.json")


def recipe(config: Config) -> Config:
    """What of the configuration made the run, without what an address may say of passwords and tokens."""
    others = ("s3", "publish", "fetch_run", "plan")
    return {key: downloads.shown(value) for key, value in config.items() if key not in others}


def sources(config: Config, root: str, fetched: str) -> list[dict[str, Any]]:
    """Arguments of `benchmarks.read_benchmark`: below `root`, or of a download below `fetched`."""
    found = []
    for benchmark in config["benchmarks"]:
        source = {key: benchmark[key] for key in ("name", "layout", "path", "language", "sha256")}
        if archives.is_address(benchmark["path"]):  # its hash was compared before it was kept
            source |= {"path": benchmark["name"] + archives.suffix(benchmark["path"]), "sha256": None}
        found.append({"root": fetched if archives.is_address(benchmark["path"]) else root} | source)
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
    if archives.is_address(path or ""):
        return Path(fetched) / "base"
    return settings.data_root(config) / path if path else None


def base_files(config: Config, fetched: str) -> list[str]:
    """The files, or the folder to be downloaded, that a given base is made of; config.json first.

    Raises:
        UserError: there is no such folder, or none with weights in it.
    """
    folder = base_folder(config, fetched)
    if folder is None:
        return []
    if archives.is_address(config["base"]["path"]):
        return [f"{fetched}/{BASE_CONFIG}", str(folder)]
    if not folder.is_dir():
        raise UserError(f"base.path: there is no folder {folder}; it is relative to data ({config['data']})")
    return [settings.data_file(config, str(Path(config["base"]["path"]) / "config.json"))] + [
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
