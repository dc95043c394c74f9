"""One MindRecord shard: its share of a part's rows."""

import numpy as np

from mcqlora import files
from mcqlora.job import job
from mcqlora.tokens import mindrecord, packing
from mcqlora.tokens.documents import read_documents

with job(snakemake):
    source, params = snakemake.input, snakemake.params
    facts = files.read_json(source.facts)
    documents, plan = read_documents(source.ids, source.shapes), np.load(source.plan)
    own = packing.share(plan, params.shard, params.shards)
    mindrecord.write_batches(
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
    stats["sha256"] = mindrecord.hashes(snakemake.output.shard)
    files.write_json(snakemake.output.stats, stats, indent=True)
