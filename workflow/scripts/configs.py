"""MindFormers' YAMLs of the report's evaluations."""

from pathlib import Path
from types import SimpleNamespace

from mcqlora.interop import huggingface, mindformers
from mcqlora.job import job
from mcqlora.model.architecture import Architecture, Lora

with job(snakemake):
    base, output, params = snakemake.input.base, snakemake.output, SimpleNamespace(**snakemake.params.chosen)
    network = huggingface.describe(Path(base[0]).parent) if base else Architecture(**params.model)
    mindformers.write(
        tokenizer_path=snakemake.input.tokenizer,
        evaluations={
            "squad": mindformers.Answers(Path(output.squad), params.squad_max_new_tokens),
            "mcq": mindformers.Answers(Path(output.mcq), params.generation_max_new_tokens),
        },
        network=network,
        lora=Lora(params.lora_rank, params.lora_alpha, params.lora_dropout, params.target_modules),
        device=params.device,
        seq_length=params.seq_length,
        template=params.template,
        load_checkpoint=params.tuned,
    )
