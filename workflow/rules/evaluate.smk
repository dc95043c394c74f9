# All NPUs of a machine, since workers take device 0 and those after it: one evaluation runs at a time.
EVALUATION_NPUS = NPUS or 1 if config.device == "Ascend" else 0
ASKING = {
    "npu": EVALUATION_NPUS,
    "gres": settings.devices_of_slurm(EVALUATION_NPUS),
    "workers": lambda wildcards: of(wildcards).evaluate.workers,  # no param: their number decides nothing
}


rule evaluate:
    """Multiple choice and reading, item by item, of the base or of a checkpoint."""
    input:
        base=made(rules.base.output[0]),
        adapter=adapter,
        tokenizer=tokenizer,
        test=made(rules.split.output.test),
        train=made(rules.split.output.train),
        last_copy=made(rules.shuffle.output[-1]),
        questions=made(rules.read.output.questions),
        groups=made(rules.groups.output[0]),
        squad=reading,
        devices=only_if(checks.check_npus, "evaluate", NPUS),
    output:
        mcq=f"{MADE}evaluation/{{model}}/mcq.json",
        squad=f"{MADE}evaluation/{{model}}/squad.json",
    log:
        f"{LOG}evaluate/{{model}}.log",
    benchmark:
        f"{TIME}evaluate/{{model}}.tsv"
    conda:
        ENVIRONMENT
    threads: lambda wildcards: of(wildcards).evaluate.workers
    resources:
        **ASKING,
    params:
        chosen=lambda wildcards: dict(
            model=of(wildcards).model,
            lora_scaling=lora_scaling(wildcards),
            batch_size=of(wildcards).evaluate.batch_size,
            seq_length=of(wildcards).encode.seq_length,
            template=template(wildcards),
            device=of(wildcards).device,
            protocols=of(wildcards).evaluate.protocols,
            shots=of(wildcards).evaluate.shots,
            rotations=of(wildcards).evaluate.rotations,
            option_references=of(wildcards).shuffle.option_references,
            # Where the split itself leaks, the test questions are such questions already.
            leak_items=0 if of(wildcards).split == "recipe" else of(wildcards).evaluate.leak_items,
            seed=of(wildcards).evaluate.seed,
            generation_items=of(wildcards).evaluate.generation_items,
            generation_max_new_tokens=of(wildcards).evaluate.generation_max_new_tokens,
            squad=of(wildcards).evaluate.squad,
            squad_items=of(wildcards).evaluate.squad_items,
            squad_max_new_tokens=of(wildcards).evaluate.squad_max_new_tokens,
        ),
        code=code("evaluate.py", "evaluation_worker.py"),
    script:
        "../scripts/evaluate.py"


rule validate:
    """The validation questions, of a checkpoint; runs where train.best chooses by them."""
    input:
        base=made(rules.base.output[0]),
        adapter=adapter,
        tokenizer=tokenizer,
        valid=made(rules.split.output.valid),
        questions=made(rules.read.output.questions),
        devices=only_if(checks.check_npus, "evaluate", NPUS),
    output:
        f"{MADE}evaluation/{{model}}/valid.json",
    log:
        f"{LOG}validate/{{model}}.log",
    benchmark:
        f"{TIME}validate/{{model}}.tsv"
    conda:
        ENVIRONMENT
    threads: lambda wildcards: of(wildcards).evaluate.workers
    resources:
        **ASKING,
    params:
        chosen=lambda wildcards: dict(
            model=of(wildcards).model,
            lora_scaling=lora_scaling(wildcards),
            batch_size=of(wildcards).evaluate.batch_size,
            seq_length=of(wildcards).encode.seq_length,
            template=template(wildcards),
            device=of(wildcards).device,
        ),
        code=code("evaluate.py", "evaluation_worker.py"),
    script:
        "../scripts/evaluate.py"
