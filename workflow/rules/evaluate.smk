# All NPUs of a machine, since workers take device 0 and those after it: one evaluation runs at a time.
EVALUATION_NPUS = NPUS or 1 if config.device == "Ascend" else 0
ASKING = {
    "npu": EVALUATION_NPUS,
    "gres": settings.devices_of_slurm(EVALUATION_NPUS),
    "workers": config.evaluate.workers,  # no param: their number decides nothing
}


rule evaluate:
    """Multiple choice and reading, item by item, of the base or of a checkpoint."""
    input:
        base=rules.base.output[0],
        adapter=adapter,
        tokenizer=rules.tokenizer.output[0],
        test=rules.split.output.test,
        train=rules.split.output.train,
        last_copy=rules.shuffle.output[-1],
        questions=rules.read.output.questions,
        groups=rules.groups.output[0],
        squad=READING,
        devices=only_if(checks.check_npus, "evaluate", NPUS),
    output:
        mcq=f"{RESULTS}/evaluation/{{model}}/mcq.json",
        squad=f"{RESULTS}/evaluation/{{model}}/squad.json",
    log:
        f"{LOGS}/evaluate/{{model}}.log",
    benchmark:
        f"{TIMES}/evaluate/{{model}}.tsv"
    conda:
        ENVIRONMENT
    threads: config.evaluate.workers
    resources:
        **ASKING,
    params:
        chosen=lambda wildcards: dict(
            model=config.model,
            lora_scaling=lora_scaling(wildcards),
            batch_size=config.evaluate.batch_size,
            seq_length=config.encode.seq_length,
            template=TEMPLATE,
            device=config.device,
            protocols=config.evaluate.protocols,
            shots=config.evaluate.shots,
            rotations=config.evaluate.rotations,
            option_references=config.shuffle.option_references,
            # Where the split itself leaks, the test questions are such questions already.
            leak_items=0 if config.split == "recipe" else config.evaluate.leak_items,
            seed=config.evaluate.seed,
            generation_items=config.evaluate.generation_items,
            generation_max_new_tokens=config.evaluate.generation_max_new_tokens,
            squad=config.evaluate.squad,
            squad_items=config.evaluate.squad_items,
            squad_max_new_tokens=config.evaluate.squad_max_new_tokens,
        ),
        code=code("evaluate.py", "evaluation_worker.py"),
    script:
        "../scripts/evaluate.py"


rule validate:
    """The validation questions, of a checkpoint; runs where train.best chooses by them."""
    input:
        base=rules.base.output[0],
        adapter=adapter,
        tokenizer=rules.tokenizer.output[0],
        valid=rules.split.output.valid,
        questions=rules.read.output.questions,
        devices=only_if(checks.check_npus, "evaluate", NPUS),
    output:
        f"{RESULTS}/evaluation/{{model}}/valid.json",
    log:
        f"{LOGS}/validate/{{model}}.log",
    benchmark:
        f"{TIMES}/validate/{{model}}.tsv"
    conda:
        ENVIRONMENT
    threads: config.evaluate.workers
    resources:
        **ASKING,
    params:
        chosen=lambda wildcards: dict(
            model=config.model,
            lora_scaling=lora_scaling(wildcards),
            batch_size=config.evaluate.batch_size,
            seq_length=config.encode.seq_length,
            template=TEMPLATE,
            device=config.device,
        ),
        code=code("evaluate.py", "evaluation_worker.py"),
    script:
        "../scripts/evaluate.py"


VALIDATED = expand(rules.validate.output, model=CHECKPOINTS) if BY_ACCURACY else []
