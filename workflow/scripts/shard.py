"""One MindRecord shard: its share of a part's rows."""

from types import SimpleNamespace

import numpy as np

from mcqlora import files
from mcqlora.job import job
from mcqlora.tokens import mindrecord, packing

with job(snakemake):
    source, params = snakemake.input, SimpleNamespace(**snakemake.params.chosen)
    facts = files.read_json(source.facts)
    documents, plan = packing.read_documents(source.ids, source.shapes), np.load(source.plan)
    form = packing.RowFormat(params.size, facts["pad"], params.layout, params.edge)
    own = packing.share(plan, params.shard, params.shards)
    rows, columns = packing.batches(documents, own, form), packing.COLUMNS[params.layout]
    mindrecord.write_batches(rows, snakemake.output.shard, columns)
    stats = packing.shard_summary(documents.lengths, plan, params.shard, params.shards, form, facts["long"])
    stats["sha256"] = mindrecord.hashes(snakemake.output.shard)
    files.write_json(snakemake.output.stats, stats, indent=True)
