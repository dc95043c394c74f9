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
    records = {part: [path] for part, path in zip(params.parts, snakemake.input.records, strict=True)}
    mixed = {}  # records by file
    if snakemake.input.mix:
        records["train"].append(snakemake.input.mix)
        mixed = {one["file"]: one["drawn"] for one in files.read_json(snakemake.input.mix_ledger)["sources"]}
    report = {}
    for index, part in enumerate(params.parts):
        size, layout = params.sizes[index], params.layouts[index]
        lengths, long, passages = encoding.write_documents(
            records[part],
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
        if passages:
            report[part]["passages"] = packing.passages(passages)
        if mixed and part == "train":
            report[part]["mix"] = packing.mixed(lengths, plans[layout], size, mixed)
    files.write_json(made.report, report, indent=True)
