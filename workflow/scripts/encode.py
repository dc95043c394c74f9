"""Records to documents of token ids, encoded once, and the rows that they make in both layouts."""

from types import SimpleNamespace

from mcqlora import files
from mcqlora.job import job
from mcqlora.tokens import encoding, packing, prompt, segments, tokenizer

with job(snakemake):
    params, made = SimpleNamespace(**snakemake.params.chosen), snakemake.output
    processor = tokenizer.load(snakemake.input.tokenizer)
    encoder = segments.SegmentEncoder(processor)
    template = prompt.template(processor, params.unused_marks)
    report = {}
    mixed = [path for path in (snakemake.input.mix,) if path]
    for index, part in enumerate(params.parts):
        size, layout = params.sizes[index], params.layouts[index]
        lengths, long = encoding.write_documents(
            [snakemake.input.records[index], *(mixed if part == "train" else [])],
            encoder,
            template,
            size,
            made.ids[index],
            made.shapes[index],
            snakemake.threads,
        )
        plans = {name: packing.plan(lengths, size, name, params.on_long) for name in packing.COLUMNS}
        files.write_array(made.plans[index], plans[layout])
        files.write_json(made.facts[index], {"pad": template.pad, "long": long})
        report[part] = {"layout": layout} | packing.summary(lengths, plans, size)
    files.write_json(made.report, report, indent=True)
