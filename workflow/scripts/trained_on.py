"""Which held-out questions stand in what a model was trained on elsewhere."""

from mcqlora import files
from mcqlora.data import trained_on
from mcqlora.data.questions import read_questions
from mcqlora.job import job

with job(snakemake) as terminal:
    given = snakemake.input
    questions = list(read_questions(given.questions))
    parts = {}
    for part in ("valid", "test"):
        held = {record["id"] for record in files.read_json_array(given[part])}
        parts[part] = [question for question in questions if question.id in held]
    found = trained_on.leaks(given.files, parts, questions)
    for line in trained_on.said(snakemake.params.chosen["name"], found):
        terminal.say(line)
    files.write_json(snakemake.output[0], found, indent=True)
