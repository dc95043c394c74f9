"""Checks of the configuration that go across its sections."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import get_args
from urllib.parse import urlsplit

from mcqlora.config.sections import GENERATED, Benchmark, Model, OwnModel, Settings
from mcqlora.data import layouts, option_references, rows
from mcqlora.errors import UserError
from mcqlora.evaluate import protocols
from mcqlora.model.architecture import Architecture, Lora
from mcqlora.storage import addresses


def check(settings: Settings) -> None:
    """Check what no single section can say.

    Raises:
        UserError: one line that names the key.
    """
    patterns = settings.shuffle.option_references
    option_references.table({language: kinds.model_dump() for language, kinds in patterns.items()})
    for faults in (_benchmarks, _addresses, _data, _evaluation, _comparison, _training):
        for fault in faults(settings):
            raise UserError(fault)


def _benchmarks(settings: Settings) -> Iterator[str]:
    names = [benchmark.name for benchmark in settings.benchmarks]
    for benchmark in settings.benchmarks:
        name, path = benchmark.name, benchmark.path
        if names.count(name) > 1:
            yield f"benchmarks: two are called {name}; give every benchmark a name of its own"
        if benchmark.family is not None:
            yield from _family(name, benchmark.family)
        yield from _declaration(benchmark)
        if addresses.suffix(path) or layouts.ending(addresses.plain(path)):
            continue
        if addresses.is_address(path):
            kinds = ", ".join((*addresses.SUFFIXES, *layouts.ENDINGS))
            yield f"benchmarks: the address of {name} ends in none of {kinds}; give a file's or an archive's"
        if benchmark.sha256:
            yield f"benchmarks: {name} has a sha256 but is a folder; remove it, or give an archive"


def _declaration(benchmark: Benchmark) -> Iterator[str]:
    place, layout = f"benchmarks: {benchmark.name}", benchmark.declaration()
    if not benchmark.language:
        yield f"{place} has no language; add it, e.g. language: en"
    if benchmark.preset and benchmark.layout:
        yield f"{place} has a preset and a layout; remove one"
    for pattern in layout.files:
        for word in re.findall(r"\{[^{}]*\}?|\}", pattern):
            if word not in ("{subject}", "{split}"):
                yield f"{place}: files: {word} is neither {{subject}} nor {{split}}; mend {pattern}"
    if layout.columns and (wrong := rows.fits(layout.columns, layout, labelled=True)):
        yield f"{place}: columns: {wrong}"
    if (layout.delimiter or ",") in '"\r\n\0':
        yield f"{place}: delimiter: {layout.delimiter!r} cannot part cells; give another character"
    if len(set(layout.columns)) < len(layout.columns):
        yield f"{place}: columns: a name stands there twice; give each a name of its own"
    if len(layout.options) == 1 and layout.options[0].startswith("="):
        yield f"{place}: options: {layout.options[0]} is one option; name two or more"


def _family(name: str, expression: str) -> Iterator[str]:
    key = f"benchmarks: family of {name}: {expression!r}"
    try:
        if not re.compile(expression).groups:
            yield f"{key} has no group; put ( ) around what the questions of a family share"
    except (re.error, OverflowError, RecursionError) as error:
        yield f"{key} is no regular expression ({error}); mend it"


def _addresses(settings: Settings) -> Iterator[str]:
    """Addresses are well-formed, and hashes stand beside them: a file of this machine is watched itself."""
    base, tokenizer, part = settings.base, settings.tokenizer, settings.evaluate
    given = [("benchmarks", benchmark.path) for benchmark in settings.benchmarks]
    given.append(("fetch_run.manifest", settings.fetch_run.manifest or ""))
    for key, path, hash_key, sha256 in (
        ("base.path", base.path or "", "base.sha256", base.sha256),  # first: it may bring the tokenizer
        ("tokenizer.path", tokenizer.path or "", "tokenizer.sha256", tokenizer.sha256),
        ("evaluate.squad", part.squad, "evaluate.squad_sha256", part.squad_sha256),
        *(("train.mix", one.path, "train.mix.sha256", one.sha256) for one in settings.train.mix),
    ):
        given.append((key, path))
        if sha256 and not addresses.is_address(path):
            yield f"{hash_key}: {key} is no address whose file could be compared; remove it"
    for key, path in given:
        if path.lower().startswith("s3:"):
            addresses.place(path)
        try:
            if addresses.is_address(path):
                _ = urlsplit(path).port
        except ValueError:  # its text repeats what may be a password
            yield f"{key}: no address can be read in it; mend it, for instance write / in a password as %2F"
            continue
        if found := addresses.plain_secret(path):
            yield (
                f"{key}: {addresses.without_secrets(path)} has {found} in it, which Snakemake would keep in "
                ".snakemake; write ${NAME} in its place and set NAME in the environment, or use ~/.netrc"
            )


def _data(settings: Settings) -> Iterator[str]:
    generated = settings.data == GENERATED
    if os.path.normpath(settings.data).split("/")[0] == "benchmarks":
        yield f"data: {settings.data} is where the jobs' times are written; call the folder something else"
    if settings.tokenizer.path is None and not generated:
        yield "tokenizer.path: not set; only the generated benchmark has a text to train one on"
    if settings.base.text == "corpus" and not generated and not settings.base.path:
        yield "base.text: only the generated benchmark has a corpus; set base.path, or base.text: train"


def _evaluation(settings: Settings) -> Iterator[str]:
    part = settings.evaluate
    if part.protocol not in part.protocols:
        yield f"evaluate.protocol: {part.protocol}, the headline, is not in evaluate.protocols; add it there"
    if protocols.BY_NAME[part.protocol].worked_examples and 0 not in part.shots:
        yield f"evaluate.shots: {part.protocol}, the headline, is asked without worked examples; add 0"


def _comparison(settings: Settings) -> Iterator[str]:
    judged = [one.name for one in settings.judge.everything()]
    own = list(get_args(OwnModel))
    for name in judged:
        if judged.count(name) > 1 or name in own:
            yield f"judge: two models are called {name}; give every one a name of its own"
    for one in settings.judge.samples:
        if one.protocol not in settings.evaluate.protocols:
            yield f"judge.samples: {one.name}: {one.protocol} is not in evaluate.protocols; add it there"
    known = _compared(settings)
    if settings.compare.against not in known and (judged or settings.compare.against not in own):
        named = ", ".join(known)
        yield f"compare.against: {settings.compare.against} is none of the models compared ({named})"


def _training(settings: Settings) -> Iterator[str]:
    model, train = settings.model, settings.train
    if (shares := sum(one.share for one in train.mix)) >= 1:
        yield f"train.mix: the shares are {shares:g} together, which leaves nothing for questions; lower them"
    paths = [addresses.shown(one.path) for one in train.mix]
    for path in paths:
        if paths.count(path) > 1:
            yield f"train.mix: {path} stands there twice; remove one"
    turns = settings.tokenizer.template
    if settings.tokenizer.unused_marks and turns not in (None, "internlm"):
        said = f"tokenizer.unused_marks: they mark InternLM's turns, not those of {turns}"
        yield f"{said}; set tokenizer.unused_marks: false, or tokenizer.template: null"
    if settings.encode.layout == "packed" and settings.encode.on_long == "truncate":
        yield (
            "encode.on_long: truncate leaves rows without a label, and packed rows have no room for them; "
            "set encode.on_long: drop or encode.layout: padded"
        )
    if train.workers % train.nodes:
        spread = f"cannot be spread evenly over train.nodes {train.nodes}"
        yield f"train.workers: {train.workers} {spread}; make it a multiple"
    tensor = train.parallel.tensor
    if train.workers % tensor:
        said = f"{tensor} does not divide train.workers {train.workers}"
        yield f"train.parallel.tensor: {said}; make it a divisor"
    if settings.device == "CPU" and (tensor > 1 or train.parallel.optimizer):
        yield "train.parallel: a CPU has no semi-automatic parallelism; leave it out, or set device: Ascend"
    named = {key: value for key, value in model.model_dump().items() if value is not None}
    shape = Model().model_dump() | named
    if not settings.base.path:
        for key, usual in Model().model_dump().items():
            if key not in named and usual is not None:
                yield f"model.{key}: null, which only the folder of base.path could say; give a value"
        if shape["hidden_size"] % shape["num_heads"]:
            yield f"model.hidden_size: {model.hidden_size} is no multiple of num_heads {model.num_heads}"
        if shape["num_heads"] % (model.n_kv_heads or 1):
            yield f"model.n_kv_heads: {model.n_kv_heads} does not divide num_heads {model.num_heads}"
    # Names of cells are those of any network.
    network, pattern = Architecture(**shape), train.target_modules
    if not settings.base.path:
        try:
            network.check_parts(tensor)
        except UserError as error:
            yield str(error)
    try:
        if not network.tuned(Lora(train.lora_rank, train.lora_alpha, train.lora_dropout, pattern)):
            cells = ", ".join(network.projections())
            yield f"train.target_modules: {pattern!r} matches none of the network's cells {cells}"
        for layer in range(model.num_layers or 1):
            if re.match(pattern, str(layer)):
                said = f"{pattern!r} matches {layer}, a layer, which MindFormers then passes over"
                yield f"train.target_modules: {said}; name its cells alone"
    except re.error as error:
        yield f"train.target_modules: {pattern!r} is no regular expression ({error}); mend it"


def check_npus(settings: Settings, part: str, npus: int | None) -> None:
    """Check that all workers of `part` get a device: Snakemake would clamp the resource without a word.

    Raises:
        UserError: `npus`, the profile's resource, is less than base, train or evaluate needs. None is any.
    """
    nodes, total = settings.train.nodes if part == "train" else 1, getattr(settings, part).workers
    workers = total // nodes
    if npus is not None and workers > npus:
        where = f" on {nodes} nodes" if nodes > 1 else ""
        raise UserError(
            f"{part}.workers is {total}{where}, but the profile has {npus} npu; lower it, "
            f"or take another profile (--workflow-profile profiles/ascend, or --resources npu={workers})"
        )


def check_publish(settings: Settings) -> None:
    """Raises: UserError: publish.to is missing or no address of a bucket."""
    if not settings.publish.to:
        raise UserError("publish.to: not set; give s3://bucket/prefix")
    addresses.place(settings.publish.to)


def check_fetch_run(settings: Settings) -> None:
    """Raises: UserError: fetch_run.manifest is missing or no address."""
    if not addresses.is_address(settings.fetch_run.manifest or ""):
        raise UserError("fetch_run.manifest: no address; give that of a published run's manifest.json")


def check_judge(settings: Settings) -> None:
    """Raises: UserError: nothing is to be judged."""
    if not settings.judge.models and not settings.judge.samples:
        raise UserError("judge: no models and no samples; docs/compare.md says how to name some")


def _compared(settings: Settings) -> list[str]:
    """What `snakemake compare` puts side by side; a variant is all of its trainings."""
    judged = [one.name for one in settings.judge.everything()]
    trained = [settings.run] if settings.seeds else []
    return [*settings.compare.models, *judged, *trained, *settings.variants]


def check_compare(settings: Settings) -> None:
    """Raises: UserError: there are not two models to compare, or not the one to compare with."""
    known = _compared(settings)
    if len(known) < 2 or settings.compare.against not in known:
        raise UserError(
            f"compare: {settings.compare.against} and another model must be among those compared "
            f"({', '.join(known) or 'none'}); set compare.models, compare.against, variants or judge"
        )
