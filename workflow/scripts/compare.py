"""compare/summary.json, report.md and the figures: all models of the run, its variants, and those judged."""

import os
from types import SimpleNamespace

from mcqlora import files, hashing
from mcqlora.compare import costs, figures, page, table, trained
from mcqlora.compare.models import model
from mcqlora.data.questions import read_questions
from mcqlora.job import job

FIGURES = ("accuracies", "learning_curve")

with job(snakemake):
    source, made = snakemake.input, snakemake.output
    params = SimpleNamespace(**snakemake.params.chosen)

    def by_name(paths):
        """Documents by the name of the folder that each stands in."""
        return {os.path.basename(os.path.dirname(path)): files.read_json(path) for path in paths}

    def of_each(paths):
        """A file of each training; the run's own, the first, may have none."""
        return [*[None] * (len(params.trainings) - len(paths)), *paths]

    asked = {path: {one.id: one for one in read_questions(path)} for path in set(source.questions)}
    own, groups, cast = asked[source.questions[0]], files.read_json(source.groups[0])["groups"], []
    for number, one in enumerate(params.trainings):
        best, valid, packing, facts, times = (
            of_each(source[name])[number] for name in ("best", "valid", "packing", "facts", "times")
        )
        others = trained.other_questions(own, asked[source.questions[number]].values())
        theirs = files.read_json(source.groups[number])["groups"]
        groups = trained.merged_groups(groups, theirs, others, one["variant"])
        cast.append(
            trained.Trained(
                name=one["name"],
                variant=one["variant"],
                seed=one["seed"],
                rows=trained.rows_of_epoch(files.read_json(packing), *one["rows"]) if one["rows"] else None,
                checkpoint=files.read_json(best)["checkpoint"] if best else None,
                valid=files.read_json(valid)["items"] if valid else (),
                costs=costs.of_run(files.read_json(facts), times) if facts else {},
                seen=trained.seen(files.read_json(source.leakage[number])),
                others=others,
            )
        )
    compared = [
        cast[0].model(name, name, mcq)
        for name, mcq in by_name(source.run).items()
        if name in params.models or name == cast[0].checkpoint
    ]
    for number, path in zip(params.bases, source.bases, strict=True):
        compared.append(cast[number].model(f"{cast[number].variant}-base", "base", files.read_json(path)))
    for one, path in zip(cast[1:], source.trained, strict=True):
        compared.append(one.model(one.name, one.checkpoint, files.read_json(path)))
    seen = by_name(source.trained_on)
    for kind in ("judged", "samples"):
        for name, mcq in by_name(source[kind]).items():
            compared.append(model(name, kind, mcq, trained_on=seen.get(name)))
    here = os.path.dirname(made.summary)
    hashes = {
        os.path.relpath(path, here): hashing.sha256(path) for path in source if not path.endswith(".tsv")
    }
    summary = table.build(compared, params.against, params.protocol, groups, params.changes, params.same)
    figures.draw(summary, {name: made[name] for name in FIGURES}, hashes)
    files.write_json(made.summary, {"run": params.run, **summary, "inputs": hashes}, indent=True)
    shown = {name: f"figures/{os.path.basename(made[name])}" for name in FIGURES}
    files.write_text(made.report, page.markdown(summary, params.run, shown))
