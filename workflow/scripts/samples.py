"""Item files of another evaluation tool as items of ours."""

from pathlib import Path
from types import SimpleNamespace

from mcqlora import files
from mcqlora.data.questions import read_questions
from mcqlora.interop import samples
from mcqlora.job import job

with job(snakemake) as terminal:
    given, params = snakemake.input, SimpleNamespace(**snakemake.params.chosen)
    held = {record["id"] for record in files.read_json_array(given.test)}
    questions = [question for question in read_questions(given.questions) if question.id in held]
    found = samples.items(map(Path, given.files), questions)
    terminal.say(samples.said(params.name, found.counts))
    files.write_json(snakemake.output[0], samples.document(params.name, params.protocol, found))
