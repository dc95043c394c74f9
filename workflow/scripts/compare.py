"""compare/summary.json, report.md and the figures: all models of the run, and those judged, side by side."""

import os
from types import SimpleNamespace

from mcqlora import files, hashing
from mcqlora.compare import costs, figures, page, table
from mcqlora.compare.models import model
from mcqlora.job import job

FIGURES = ("accuracies", "learning_curve")

with job(snakemake):
    source, made = snakemake.input, snakemake.output
    params = SimpleNamespace(**snakemake.params.chosen)

    def by_name(paths):
        """Documents by the name of the folder that each stands in."""
        return {os.path.basename(os.path.dirname(path)): files.read_json(path) for path in paths}

    valid, seen = by_name(source.valid), by_name(source.trained_on)
    took = costs.of_run(files.read_json(source.facts[0]), source.times[0]) if source.facts else {}
    compared = []
    for kind in ("run", "judged", "samples"):
        for name, mcq in by_name(source[kind]).items():
            known = {"cost": took.get(name, {}), "trained_on": seen.get(name)}
            compared.append(model(name, kind, mcq, valid=valid.get(name, {"items": []})["items"], **known))
    groups = files.read_json(source.groups)["groups"]
    read = [*source.run, *source.judged, *source.samples, *source.valid, *source.trained_on, source.groups]
    here = os.path.dirname(made.summary)
    hashes = {os.path.relpath(path, here): hashing.sha256(path) for path in read}
    summary = table.build(compared, params.against, params.protocol, groups)
    figures.draw(summary, {name: made[name] for name in FIGURES}, hashes)
    files.write_json(made.summary, {"run": params.run, **summary, "inputs": hashes}, indent=True)
    shown = {name: f"figures/{os.path.basename(made[name])}" for name in FIGURES}
    files.write_text(made.report, page.markdown(summary, params.run, shown))
