"""questions.jsonl to one Alpaca record a question."""

from mcqlora import files
from mcqlora.data import alpaca
from mcqlora.job import job

with job(snakemake):
    files.write_json_array(snakemake.output[0], map(alpaca.record, files.read_jsonl(snakemake.input[0])))
