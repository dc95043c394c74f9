"""Records as documents of token ids: encoded once, and the rows that they make in both layouts."""

from mcqlora import encode, io, packing, prompt, tokenizer
from mcqlora.cli import job

with job(snakemake):
    params, made = snakemake.params, snakemake.output
    processor = tokenizer.load(snakemake.input.tokenizer)
    encoder = encode.SegmentEncoder(processor)
    template = prompt.template(processor, params.reference_template)
    report = {}
    for index, part in enumerate(params.parts):
        size, layout = params.sizes[index], params.layouts[index]
        lengths, long = encode.write_documents(
            snakemake.input.records[index],
            encoder,
            template,
            size,
            made.ids[index],
            made.shapes[index],
            snakemake.threads,
        )
        plans = {name: packing.plan(lengths, size, name, params.on_long) for name in packing.COLUMNS}
        io.write_array(made.plans[index], plans[layout])
        io.write_json(made.facts[index], {"pad": template.pad, "long": long})
        report[part] = {"layout": layout} | packing.summary(lengths, plans, size)
    io.write_json(made.report, report, indent=True)
