"""LoRA fine-tuning of the base under msrun; five checkpoints, the loss history and the rendered YAML."""

from pathlib import Path
from types import SimpleNamespace

from mcqlora.job import job
from mcqlora.model.architecture import Lora, of_base
from mcqlora.train import finetune, settings
from mcqlora.train.workplace import Launch

with job(snakemake):
    source, output, params = snakemake.input, snakemake.output, SimpleNamespace(**snakemake.params.chosen)
    finetune.finetune(
        base=Path(source.base),
        tokenizer_path=source.tokenizer,
        template=params.template,
        layout=params.layout,
        train=finetune.Shards(source.train, source.train_stats),
        valid=finetune.Shards(source.valid, source.valid_stats),
        settings=settings.Settings(
            network=of_base(params.model, Path(source.base), params.seq_length),
            lora=Lora(params.lora_rank, params.lora_alpha, params.lora_dropout, params.target_modules),
            optimization=settings.of(settings.Optimization, vars(params)),
            size=settings.of(settings.Size, vars(params)),
            seq_length=params.seq_length,
            device=params.device,
            attention=params.attention,
            lora_dtype=params.lora_dtype,
        ),
        launch=Launch(
            worker=Path(snakemake.scriptdir, "worker.py"),
            runs=Path("runs"),
            timeout=snakemake.resources.rendezvous_timeout,
            nodes=snakemake.resources.nodes,
        ),
        outputs=finetune.Outputs(
            adapters=[Path(path) for path in output.adapters],
            csv=Path(output.history),
            tensorboard=Path(output.tensorboard),
            config=Path(output.config),
            facts=Path(output.facts),
        ),
    )
