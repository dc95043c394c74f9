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
    retries: config["train"]["retries"]
    conda:
        ENVIRONMENT
    threads: workflow.cores
    resources:
        npu=config["train"]["workers"],
        # No params: these decide nothing of the result.
        rendezvous_timeout=config["train"]["rendezvous_timeout"],
        nodes=config["train"]["nodes"],
        tasks=config["train"]["nodes"],
        gres=wiring.gres(config, config["train"]["workers"] // config["train"]["nodes"]),
    params:
        train=wiring.train(config),
        code=code("train.py", "worker.py"),
    script:
        "../scripts/train.py"
