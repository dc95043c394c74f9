"""plan.json, from what the rows are and the tokenizer."""

from pathlib import Path

from mcqlora import files
from mcqlora.interop import huggingface
from mcqlora.job import job
from mcqlora.tokens import tokenizer
from mcqlora.train import plan

with job(snakemake):
    params, source = snakemake.params, snakemake.input
    processor = tokenizer.load(source.tokenizer)
    for path in source.base:
        huggingface.check_architecture(
            Path(path).parent, params.plan["network"], processor.vocab_size(), params.plan["seq_length"]
        )
    made = plan.reckon(
        layouts=files.read_json(source.packing),
        test=files.read_json(source.leakage)["records"]["test"],
        vocabulary=processor.vocab_size(),
        **params.plan,
    )
    files.write_json(snakemake.output[0], made, indent=True)
