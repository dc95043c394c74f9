"""plan.json, from the parts and the tokenizer."""

from pathlib import Path

from mcqlora import encode, huggingface, io, plan, prompt, tokenizer
from mcqlora.cli import job

with job(snakemake.log[0]):
    params, source = snakemake.params, snakemake.input
    processor = tokenizer.load(source.tokenizer)
    for path in source.base:
        huggingface.check_architecture(Path(path).parent, params.plan["network"], processor.vocab_size())
    template = prompt.template(processor, params.reference_template)
    encoder = encode.SegmentEncoder(processor)
    layouts = {
        part: plan.summary(
            plan.lengths(io.read_json_array(source[part]), encoder, template), size, "padded", params.on_long
        )
        for part, size in params.sizes.items()
    }
    made = plan.reckon(
        layouts=layouts,
        test=io.read_json(source.leakage)["records"]["test"],
        vocabulary=processor.vocab_size(),
        **params.plan,
    )
    io.write_json(snakemake.output[0], made, indent=True)
