"""questions.jsonl to one Alpaca record a question."""

from mcqlora import alpaca, io
from mcqlora.cli import job

with job(snakemake):
    io.write_json_array(snakemake.output[0], map(alpaca.record, io.read_jsonl(snakemake.input[0])))
