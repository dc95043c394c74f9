"""Which documents stand in which row, of the training part and of the validation part, and what it saves."""

import numpy as np

from mcqlora import io, packing
from mcqlora.cli import job

with job(snakemake):
    params, report = snakemake.params, {}
    for part in ("train", "valid"):
        size, layout = params.sizes[part], params.layouts[part]
        lengths = np.load(snakemake.input[part])[:, 0]
        plans = {name: packing.plan(lengths, size, name, params.on_long) for name in packing.COLUMNS}
        io.write_array(snakemake.output[part], plans[layout])
        report[part] = {"layout": layout} | packing.summary(lengths, plans, size)
    io.write_json(snakemake.output.report, report, indent=True)
