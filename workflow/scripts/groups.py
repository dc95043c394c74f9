"""Which questions are one item: the duplicate groups that a split must keep together."""

from mcqlora import files
from mcqlora.data import duplicates
from mcqlora.data.questions import read_questions
from mcqlora.job import job

with job(snakemake):
    questions = list(read_questions(snakemake.input[0]))
    found = duplicates.find(questions, snakemake.params.near_duplicate_threshold)
    files.write_json(snakemake.output[0], {"duplicates": found.counts, "groups": found.groups})
