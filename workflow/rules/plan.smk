rule reckon:
    """plan.json: steps, parameters, tokens, hours, disk and memory of the training, from row counts alone."""
    input:
        packing=made(rules.encode.output.report),
        test=made(rules.split.output.test),
        tokenizer=tokenizer,
        base=lambda wildcards: base_files(wildcards)[:1],  # its config.json
    output:
        f"{RESULTS}/plan.json",
    log:
        f"{LOGS}/reckon.log",
    benchmark:
        f"{TIMES}/reckon.tsv"
    conda:
        ENVIRONMENT
    params:
        chosen=dict(
            run=RUN,
            recipe=config.recipe,
            model=config.model,
            lora_rank=config.train.lora_rank,
            lora_alpha=config.train.lora_alpha,
            lora_dropout=config.train.lora_dropout,
            target_modules=config.train.target_modules,
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
            warmup_ratio=config.train.warmup_ratio,
            seq_length=config.encode.seq_length,
            shards=config.encode.shards,
            device=config.device,
            machine=config.plan,
            npus=NPUS,
            nodes=config.train.nodes,
            protocols=config.evaluate.protocols,
            shots=config.evaluate.shots,
            rotations=config.evaluate.rotations,
            generation_items=config.evaluate.generation_items,
            generation_max_new_tokens=config.evaluate.generation_max_new_tokens,
            squad_items=config.evaluate.squad_items,
            squad_max_new_tokens=config.evaluate.squad_max_new_tokens,
        ),
        code=code("reckon.py"),
    script:
        "../scripts/reckon.py"


rule plan:
    """Print plan.json, and refuse what would fail after hours; needs no NPU and trains nothing."""
    input:
        rules.reckon.output,
    log:
        f"{LOGS}/plan.log",
    conda:
        ENVIRONMENT
    params:
        code=code("plan.py"),
    script:
        "../scripts/plan.py"


rule configs:
    """The YAMLs of the report's two evaluations, multiple choice and SQuAD, for MindFormers by itself."""
    input:
        tokenizer=tokenizer,
        base=lambda wildcards: base_files(wildcards)[:1],  # its config.json
    output:
        squad=f"{RESULTS}/training/predict_squad.yaml",
        mcq=f"{RESULTS}/training/predict_mcq.yaml",
    log:
        f"{LOGS}/configs.log",
    benchmark:
        f"{TIMES}/configs.tsv"
    conda:
        ENVIRONMENT
    params:
        chosen=dict(
            model=config.model,
            lora_rank=config.train.lora_rank,
            lora_alpha=config.train.lora_alpha,
            lora_dropout=config.train.lora_dropout,
            target_modules=config.train.target_modules,
            seq_length=config.encode.seq_length,
            template=template(),
            device=config.device,
            squad_max_new_tokens=config.evaluate.squad_max_new_tokens,
            generation_max_new_tokens=config.evaluate.generation_max_new_tokens,
            tuned=f"{RESULTS}/tuned",
        ),
        code=code("configs.py"),
    script:
        "../scripts/configs.py"
