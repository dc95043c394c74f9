"""MindFormers' YAMLs of the report's evaluations."""

from pathlib import Path
from types import SimpleNamespace

from mcqlora.interop import mindformers
from mcqlora.job import job
from mcqlora.model.architecture import Architecture, Lora

with job(snakemake):
    output, params = snakemake.output, SimpleNamespace(**snakemake.params.chosen)
    mindformers.write(
        tokenizer_path=snakemake.input[0],
        evaluations={
            "squad": mindformers.Answers(Path(output.squad), params.squad_max_new_tokens),
            "mcq": mindformers.Answers(Path(output.mcq), params.generation_max_new_tokens),
        },
        network=Architecture(**params.model),
        lora=Lora(params.lora_rank, params.lora_alpha, params.lora_dropout, params.target_modules),
        device=params.device,
        seq_length=params.seq_length,
        template=params.template,
        load_checkpoint=params.tuned,
    )
