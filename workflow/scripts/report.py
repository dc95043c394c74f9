"""summary.json, report.md and the figures, from what the stages wrote."""

import os

from mcqlora import figures, io, report
from mcqlora.cli import job

with job(snakemake.log[0]):
    source, made = snakemake.input, snakemake.output
    models = snakemake.params.models
    mcq = {model: io.read_json(path) for model, path in zip(models, source.mcq, strict=True)}
    squad = {model: io.read_json(path) for model, path in zip(models, source.squad, strict=True)}
    leakage, facts = io.read_json(source.leakage), io.read_json(source.facts)
    summary = report.summary(
        run=snakemake.params.run,
        recipe=snakemake.params.recipe,
        leaked=leakage["test"]["leaked"],
        questions=io.read_json(source.ledger),
        splits=leakage["records"],
        parameters=facts["parameters"],
        training=facts["training"],
        mcq=mcq,
        squad=squad,
        seconds=report.seconds_by_stage(source.benchmarks, os.path.commonpath(source.benchmarks)),
        protocol=snakemake.params.protocol,
    )
    items = [
        mcq[model]["protocols"][snakemake.params.protocol]["items"] for model in ("base", summary["tuned"])
    ]
    figures.loss_curve(facts["training"]["history"], made.loss, facts["training"]["checkpoints"])
    figures.accuracy_by_category(report.categories(*items), made.categories, leakage["test"]["leaked"])
    figures.base_against_tuned(summary, made.comparison)
    io.write_json(made.summary, summary, indent=True)
    titles = ("Training and validation loss", "Accuracy by category", "Base against tuned")
    paths = (f"figures/{path.rsplit('/', 1)[1]}" for path in (made.loss, made.categories, made.comparison))
    named = {
        path.split("/", 2)[2]: path for path in (*source.mcq, *source.squad, source.leakage, source.facts)
    }
    hashes = {name: io.sha256(path) for name, path in named.items()}
    io.write_text(made.report, report.markdown(summary, dict(zip(titles, paths, strict=True)), hashes))
