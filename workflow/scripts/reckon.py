"""plan.json, from what the rows are and the tokenizer."""

from pathlib import Path

from mcqlora import huggingface, io, plan, tokenizer
from mcqlora.cli import job

with job(snakemake):
    params, source = snakemake.params, snakemake.input
    processor = tokenizer.load(source.tokenizer)
    for path in source.base:
        huggingface.check_architecture(
            Path(path).parent, params.plan["network"], processor.vocab_size(), params.plan["seq_length"]
        )
    made = plan.reckon(
        layouts=io.read_json(source.packing),
        test=io.read_json(source.leakage)["records"]["test"],
        vocabulary=processor.vocab_size(),
        **params.plan,
    )
    io.write_json(snakemake.output[0], made, indent=True)
