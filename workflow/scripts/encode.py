"""A part's records as documents of token ids: encoded once, whatever the layout and the number of shards."""

from mcqlora import encode, io, prompt, tokenizer
from mcqlora.cli import job

with job(snakemake):
    params, made = snakemake.params, snakemake.output
    processor = tokenizer.load(snakemake.input.tokenizer)
    template = prompt.template(processor, params.reference_template)
    long = encode.write_documents(
        snakemake.input.records,
        encode.SegmentEncoder(processor),
        template,
        params.size,
        made.ids,
        made.shapes,
        snakemake.threads,
    )
    io.write_json(made.facts, {"pad": template.pad, "long": long})
