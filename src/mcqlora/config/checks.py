"""Checks of the configuration that go across its sections."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from mcqlora.config import loading
from mcqlora.config.params import TOKENIZER, Config
from mcqlora.data import option_references
from mcqlora.errors import UserError
from mcqlora.evaluate import protocols
from mcqlora.model import architecture
from mcqlora.provenance import record
from mcqlora.storage import addresses

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
    option_references.table(config["shuffle"]["option_references"])
    _check_benchmarks(config["benchmarks"])
    given = config["base"]["path"]
    if given and config["tokenizer"]["path"] is None:
        elsewhere = addresses.is_address(given)
        config["tokenizer"]["path"] = (
            addresses.join(given, TOKENIZER) if elsewhere else str(Path(given) / TOKENIZER)
        )
        config["tokenizer"]["sha256"] = config["tokenizer"]["sha256"] or config["base"]["sha256"].get(
            TOKENIZER
        )
    elif TOKENIZER in config["base"]["sha256"]:
        raise UserError(
            f"base.sha256: {TOKENIZER} is not of the base where tokenizer.path is set; set tokenizer.sha256"
        )
    _check_addresses(config)
    generated = config["data"] == loading.GENERATED
    if os.path.normpath(config["data"]).split("/")[0] == record.TIMES:
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
    pattern, cells = config["train"]["target_modules"], ", ".join(architecture.projections(model))
    try:
        tuned = architecture.tuned(model, config["train"])
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
        if addresses.suffix(path):
            continue
        if addresses.is_address(path):
            kinds = ", ".join(addresses.SUFFIXES)
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
        if sha256 and not addresses.is_address(path or ""):
            raise UserError(f"{hash_key}: {key} is no address whose file could be compared; remove it")
    given = [(key, path) for key, path, _, _ in hashed]
    given += [("benchmarks", benchmark["path"]) for benchmark in config["benchmarks"]]
    for key, path in given:
        if (path or "").lower().startswith("s3:"):
            addresses.place(path)
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


def check_publish(config: Config) -> None:
    """Raises: UserError: publish.to is missing or no address of a bucket."""
    if not config["publish"]["to"]:
        raise UserError("publish.to: not set; give s3://bucket/prefix")
    addresses.place(config["publish"]["to"])


def check_fetch_run(config: Config) -> None:
    """Raises: UserError: fetch_run.manifest is missing or no address."""
    given = config["fetch_run"]["manifest"]
    if not given or not addresses.is_address(given):
        raise UserError("fetch_run.manifest: no address; give that of a published run's manifest.json")
