"""Every delivered checkpoint as a PEFT adapter's folder."""

from pathlib import Path

from mcqlora import export
from mcqlora.cli import job

with job(snakemake):
    for adapter, weights in zip(snakemake.input, snakemake.output.weights, strict=True):
        folder = Path(weights).parent
        export.export_adapter(Path(adapter), folder, snakemake.params.lora, snakemake.params.base)
