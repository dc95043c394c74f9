"""plan.json, from the parts and the tokenizer."""

from mcqlora import encode, io, plan, prompt, tokenizer
from mcqlora.cli import job

with job(snakemake.log[0]):
    params, source = snakemake.params, snakemake.input
    processor = tokenizer.load(source.tokenizer)
    template = prompt.template(processor, params.reference_template)
    encoder, size = encode.SegmentEncoder(processor), params.plan["row_length"]
    lengths = {
        part: plan.lengths(io.read_json_array(source[part]), encoder, template) for part in ("train", "valid")
    }
    padded = {part: plan.padded(found, size[part], params.on_long) for part, found in lengths.items()}
    packable = plan.pack(lengths["train"], size["train"])
    packed = params.plan["layout"] == "packed"
    made = plan.reckon(
        train=packable if packed else padded["train"],
        valid=padded["valid"],
        test=io.read_json(source.leakage)["records"]["test"],
        packable=None if packed else packable,
        vocabulary=processor.vocab_size(),
        **params.plan,
    )
    io.write_json(snakemake.output[0], made, indent=True)
