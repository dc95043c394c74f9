"""One MindRecord shard: its share of a part's rows."""

import numpy as np

from mcqlora import encode, io, packing, records
from mcqlora.cli import job

with job(snakemake):
    source, params = snakemake.input, snakemake.params
    facts = io.read_json(source.facts)
    documents, plan = encode.read_documents(source.ids, source.shapes), np.load(source.plan)
    own = packing.share(plan, params.shard, params.shards)
    records.write_batches(
        packing.batches(documents, own, params.size, facts["pad"], params.layout, params.edge),
        snakemake.output.shard,
        packing.COLUMNS[params.layout],
    )
    stats = packing.shard_summary(
        documents.lengths,
        plan,
        params.size,
        params.shard,
        params.shards,
        facts["long"],
        params.edge,
    )
    stats["sha256"] = records.hashes(snakemake.output.shard)
    io.write_json(snakemake.output.stats, stats, indent=True)
