"""Which questions are one item: the duplicate groups that a split must keep together."""

from types import SimpleNamespace

from mcqlora import files
from mcqlora.data import duplicates
from mcqlora.data.questions import read_questions
from mcqlora.job import job

with job(snakemake) as terminal:
    params = SimpleNamespace(**snakemake.params.chosen)
    questions = list(read_questions(snakemake.input[0]))
    found = duplicates.find(questions, params.near_duplicate_threshold, params.families)
    for name in found.unmatched:
        terminal.say(
            f"benchmarks: family of {name} is found in none of its questions, so it ties none together; "
            "mend the expression, or remove it"
        )
    files.write_json(snakemake.output[0], {"duplicates": found.counts, "groups": found.groups})
