"""One shard of one part: its share of the records as rows of token ids in MindRecord."""

from mcqlora import encode, io, prompt, records, tokenizer
from mcqlora.cli import job

with job(snakemake.log[0]):
    params = snakemake.params
    processor = tokenizer.load(snakemake.input.tokenizer)
    template = prompt.template(processor, params.reference_template)
    total = sum(1 for _ in io.read_json_array(snakemake.input.records))
    share = records.shard_rows(
        io.read_json_array(snakemake.input.records), total, params.shard, params.shards
    )
    rows, stats = encode.encode_split(
        share, encode.SegmentEncoder(processor), template, params.size, params.edge, params.on_long
    )
    records.write_shard(rows, snakemake.output.shard)
    io.write_json(snakemake.output.stats, stats.summary(), indent=True)
