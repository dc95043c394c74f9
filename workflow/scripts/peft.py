"""Every delivered checkpoint as a PEFT adapter's folder."""

from pathlib import Path
from types import SimpleNamespace

from mcqlora.interop import peft
from mcqlora.job import job
from mcqlora.model.architecture import Lora

with job(snakemake):
    params = SimpleNamespace(**snakemake.params.chosen)
    lora = Lora(params.lora_rank, params.lora_alpha, params.lora_dropout, params.target_modules)
    for adapter, weights in zip(snakemake.input.adapters, snakemake.output.weights, strict=True):
        peft.export_adapter(
            adapter=Path(adapter),
            output=Path(weights).parent,
            lora=lora,
            network=Path(snakemake.input.base),
            base=params.base,
            name=params.address,
        )
