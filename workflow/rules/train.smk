rule train:
    """LoRA fine-tuning with MindFormers under msrun."""
    input:
        base=made(rules.base.output[0]),
        tokenizer=tokenizer,
        train=shard_files("train"),
        valid=shard_files("valid"),
        train_stats=shard_files("train", "json"),
        valid_stats=shard_files("valid", "json"),
        devices=only_if(checks.check_npus, "train", NPUS),
    output:
        adapters=ensure(
            [f"{MADE}adapters/{name}.safetensors" for name in CHECKPOINTS],
            non_empty=True,
        ),
        history=f"{MADE}training/history.csv",
        tensorboard=f"{MADE}training/tensorboard/events.out.tfevents.history",
        config=f"{MADE}training/config.yaml",
        facts=f"{MADE}training/training.json",
    log:
        f"{LOG}train.log",
    benchmark:
        f"{TIME}train.tsv"
    retries: config.train.retries
    conda:
        ENVIRONMENT
    threads: workflow.cores
    resources:
        npu=lambda wildcards: of(wildcards).train.workers,
        # Not in params: these do not affect the result.
        rendezvous_timeout=lambda wildcards: of(wildcards).train.rendezvous_timeout,
        nodes=lambda wildcards: of(wildcards).train.nodes,
        tasks=lambda wildcards: of(wildcards).train.nodes,
        gres=lambda wildcards: settings.devices_of_slurm(
            of(wildcards).train.workers // of(wildcards).train.nodes
        ),
    params:
        chosen=lambda wildcards: dict(
            model=of(wildcards).model,
            lora_rank=of(wildcards).train.lora_rank,
            lora_alpha=of(wildcards).train.lora_alpha,
            lora_dropout=of(wildcards).train.lora_dropout,
            target_modules=of(wildcards).train.target_modules,
            learning_rate=of(wildcards).train.learning_rate,
            warmup_ratio=of(wildcards).train.warmup_ratio,
            weight_decay=of(wildcards).train.weight_decay,
            loss_scale=of(wildcards).train.loss_scale,
            max_grad_norm=of(wildcards).train.max_grad_norm,
            seed=of(wildcards).train.seed,
            rows=of(wildcards).train.rows,
            workers=of(wildcards).train.workers,
            batch_size=of(wildcards).train.batch_size,
            epochs=of(wildcards).train.epochs,
            evaluations=of(wildcards).train.evaluations,
            checkpoints=of(wildcards).train.checkpoints,
            evaluation_interval=of(wildcards).train.evaluation_interval,
            checkpoint_interval=of(wildcards).train.checkpoint_interval,
            evaluation_batch_size=of(wildcards).train.evaluation_batch_size,
            recompute=of(wildcards).train.recompute,
            attention=of(wildcards).train.attention,
            lora_dtype=of(wildcards).train.lora_dtype,
            tensor=of(wildcards).train.parallel.tensor,
            shard_optimizer=of(wildcards).train.parallel.optimizer,
            patience=of(wildcards).train.patience,
            seq_length=of(wildcards).encode.seq_length,
            layout=of(wildcards).encode.layout,
            template=template(wildcards),
            device=of(wildcards).device,
        ),
        code=code("train.py", "worker.py"),
    script:
        "../scripts/train.py"


rule best:
    """The best of a training's checkpoints, which the comparison asks; the run's own are all asked."""
    input:
        adapters=made(rules.train.output.adapters),
        facts=made(rules.train.output.facts),
        valid=validated,
    output:
        adapter=f"{MADE}adapters/best.safetensors",
        name=f"{MADE}adapters/best.json",
    log:
        f"{LOG}best.log",
    benchmark:
        f"{TIME}best.tsv"
    conda:
        ENVIRONMENT
    params:
        chosen=lambda wildcards: dict(checkpoint=of(wildcards).train.best),
        code=code("best.py"),
    script:
        "../scripts/best.py"
