"""questions.jsonl to one Alpaca record per question."""

from mcqlora import files
from mcqlora.data import alpaca
from mcqlora.data.questions import read_questions
from mcqlora.job import job

with job(snakemake):
    files.write_json_array(snakemake.output[0], map(alpaca.record, read_questions(snakemake.input[0])))
