"""Every delivered checkpoint as a PEFT adapter's folder."""

from pathlib import Path

from mcqlora.interop import export
from mcqlora.job import job

with job(snakemake):
    for adapter, weights in zip(snakemake.input, snakemake.output.weights, strict=True):
        folder = Path(weights).parent
        export.export_adapter(Path(adapter), folder, snakemake.params.lora, snakemake.params.base)
