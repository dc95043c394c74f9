"""A part's records as documents of token ids: encoded once, whatever the layout and the number of shards."""

from mcqlora import encode, io, prompt, tokenizer
from mcqlora.cli import job

with job(snakemake.log[0]):
    params, made = snakemake.params, snakemake.output
    processor = tokenizer.load(snakemake.input.tokenizer)
    long = encode.write_documents(
        io.read_json_array(snakemake.input.records),
        encode.SegmentEncoder(processor),
        prompt.template(processor, params.reference_template),
        params.size,
        made.ids,
        made.shapes,
    )
    io.write_json(made.long, long)
