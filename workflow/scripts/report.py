"""summary.json, report.md and the figures, from what the stages wrote."""

import os
from types import SimpleNamespace

from mcqlora import files, hashing
from mcqlora.job import job
from mcqlora.report import figures, page, summary

FIGURES = ("loss", "heatmap", "forest", "comparison", "letters", "reliability", "leak")

with job(snakemake):
    source, made = snakemake.input, snakemake.output
    params = SimpleNamespace(**snakemake.params.chosen)
    evaluations = summary.Evaluations(
        mcq={model: files.read_json(path) for model, path in zip(params.models, source.mcq, strict=True)},
        squad={model: files.read_json(path) for model, path in zip(params.models, source.squad, strict=True)},
        valid={part["model"]: part for part in map(files.read_json, source.valid)},
        groups=files.read_json(source.groups)["groups"],
    )
    ledger, leakage, facts = (files.read_json(path) for path in (source.ledger, source.leakage, source.facts))
    others = (source.ledger, source.leakage, source.groups, source.facts)
    read = [*source.mcq, *source.squad, *source.valid, *others]
    mixed = []
    if source.packing:
        read.append(source.packing)
        mixed = files.read_json(source.packing)["train"]["mix"]
    run = summary.Run(
        name=params.run,
        recipe=params.recipe,
        leaked=leakage["test"]["leaked"],
        questions=ledger,
        splits=leakage["records"],
        mix=mixed,
        parameters=facts["parameters"],
        training=facts["training"],
        seconds=summary.seconds_by_stage(source.benchmarks, os.path.commonpath(source.benchmarks)),
        hashes={os.path.relpath(path, os.path.dirname(made.summary)): hashing.sha256(path) for path in read},
    )
    whole = summary.build(run, evaluations, protocol=params.protocol, best=params.best)
    figures.draw(whole, run.training, evaluations.mcq, {name: made[name] for name in FIGURES})
    files.write_json(made.summary, whole, indent=True)
    paths = {name: f"figures/{os.path.basename(made[name])}" for name in FIGURES}
    files.write_text(made.report, page.markdown(whole, paths))
