"""Other instruction data among the training records, and a ledger that accounts for every row of it."""

from pathlib import Path
from types import SimpleNamespace

from mcqlora import files
from mcqlora.data import mix, squad
from mcqlora.data.questions import read_questions
from mcqlora.job import job
from mcqlora.storage import addresses


def inside(path: str, name: str) -> Path:
    """The file `name` of a generated folder, or the file itself."""
    return Path(path, name) if Path(path).is_dir() else Path(path)


with job(snakemake) as terminal:
    source, params = snakemake.input, SimpleNamespace(**snakemake.params.chosen)
    held_out = {record["id"] for path in source.held_out for record in files.read_json_array(path)}
    made = mix.mix(
        [
            mix.Source(path=inside(path, name), name=addresses.shown(name), share=share)
            for path, name, share in zip(source.files, params.paths, params.shares, strict=True)
        ],
        train=files.read_json(source.leakage)["records"]["train"],
        held=mix.Held(
            questions=[one for one in read_questions(source.questions) if one.id in held_out],
            reading=list(squad.read(inside(source.squad, params.squad))),
        ),
        seed=params.seed,
        on_bad_row=params.on_bad_row,
    )
    for line in mix.shortfalls(made.ledger):
        terminal.say(line)
    files.write_json(snakemake.output.ledger, made.ledger, indent=True)
    files.write_json_array(snakemake.output.records, made.records)
