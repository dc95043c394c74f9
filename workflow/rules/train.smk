rule train:
    """LoRA fine-tuning with MindFormers under msrun."""
    input:
        base=rules.base.output[0],
        tokenizer=rules.tokenizer.output[0],
        train=shard_files("train"),
        valid=shard_files("valid"),
        train_stats=shard_files("train", "json"),
        valid_stats=shard_files("valid", "json"),
        devices=only_if(checks.check_npus, "train", NPUS),
    output:
        adapters=ensure(
            [f"{RESULTS}/adapters/{name}.safetensors" for name in CHECKPOINTS],
            non_empty=True,
        ),
        history=f"{RESULTS}/training/history.csv",
        tensorboard=f"{RESULTS}/training/tensorboard/events.out.tfevents.history",
        config=f"{RESULTS}/training/config.yaml",
        facts=f"{RESULTS}/training/training.json",
    log:
        f"{LOGS}/train.log",
    benchmark:
        f"{TIMES}/train.tsv"
    retries: config.train.retries
    conda:
        ENVIRONMENT
    threads: workflow.cores
    resources:
        npu=config.train.workers,
        # Not in params: these do not affect the result.
        rendezvous_timeout=config.train.rendezvous_timeout,
        nodes=config.train.nodes,
        tasks=config.train.nodes,
        gres=settings.devices_of_slurm(config.train.workers // config.train.nodes),
    params:
        chosen=dict(
            model=config.model,
            lora_rank=config.train.lora_rank,
            lora_alpha=config.train.lora_alpha,
            lora_dropout=config.train.lora_dropout,
            target_modules=config.train.target_modules,
            learning_rate=config.train.learning_rate,
            warmup_ratio=config.train.warmup_ratio,
            weight_decay=config.train.weight_decay,
            loss_scale=config.train.loss_scale,
            max_grad_norm=config.train.max_grad_norm,
            seed=config.train.seed,
            rows=config.train.rows,
            workers=config.train.workers,
            batch_size=config.train.batch_size,
            epochs=config.train.epochs,
            evaluations=config.train.evaluations,
            checkpoints=config.train.checkpoints,
            evaluation_interval=config.train.evaluation_interval,
            checkpoint_interval=config.train.checkpoint_interval,
            evaluation_batch_size=config.train.evaluation_batch_size,
            recompute=config.train.recompute,
            attention=config.train.attention,
            lora_dtype=config.train.lora_dtype,
            tensor=config.train.parallel.tensor,
            shard_optimizer=config.train.parallel.optimizer,
            patience=config.train.patience,
            seq_length=config.encode.seq_length,
            layout=config.encode.layout,
            template=TEMPLATE,
            device=config.device,
        ),
        code=code("train.py", "worker.py"),
    script:
        "../scripts/train.py"
