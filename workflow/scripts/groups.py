"""Which questions are one item: the duplicate groups that a split must keep together."""

from mcqlora import files
from mcqlora.data import duplicates
from mcqlora.data.questions import read_questions
from mcqlora.job import job

with job(snakemake):
    questions = list(read_questions(snakemake.input[0]))
    threshold = snakemake.params.near_duplicate_threshold
    found = duplicates.groups(questions, threshold)
    equal = found if threshold is None else duplicates.groups(questions)
    counts = {
        "threshold": threshold,
        "equal": duplicates.counts(equal),
        "near": duplicates.counts(found),
    }
    files.write_json(snakemake.output[0], {"duplicates": counts, "groups": found})
