# Models and answers from elsewhere, on this run's held-out questions. Nothing here needs MindSpore, nor anything trained.
TORCH = PROJECT / "envs" / "torch.yaml"
JUDGED = {one.name: one for one in config.judge.models}
ANSWERED = {one.name: one for one in config.judge.samples}
TRAINED_ON = [one.name for one in (*JUDGED.values(), *ANSWERED.values()) if one.trained_on]


rule judged:
    """The held-out questions, asked of a Hugging Face network through transformers and peft."""
    input:
        network=lambda wildcards: given_by(inputs.judged_files, wildcards.judged),
        test=made(rules.split.output.test),
        valid=made(rules.split.output.valid),
        questions=made(rules.read.output.questions),
        groups=made(rules.groups.output[0]),
    output:
        mcq=f"{RESULTS}/judged/{{judged}}/mcq.json",
        valid=f"{RESULTS}/judged/{{judged}}/valid.json",
    log:
        f"{LOGS}/judged/{{judged}}.log",
    benchmark:
        f"{TIMES}/judged/{{judged}}.tsv"
    wildcard_constraints:
        judged=named(JUDGED),
    conda:
        TORCH
    threads: 4
    params:
        chosen=lambda wildcards: dict(
            path=str(inputs.data_root(settings) / JUDGED[wildcards.judged].path),
            adapter=(
                str(inputs.data_root(settings) / JUDGED[wildcards.judged].adapter)
                if JUDGED[wildcards.judged].adapter
                else None
            ),
            device=config.judge.device,
            dtype=config.judge.dtype,
            batch_size=config.judge.batch_size,
            seq_length=config.judge.seq_length or config.encode.seq_length,
            template=template(),
            protocols=config.evaluate.protocols,
            shots=config.evaluate.shots,
            rotations=config.evaluate.rotations,
            option_references=config.shuffle.option_references,
            seed=config.evaluate.seed,
            generation_items=config.evaluate.generation_items,
            generation_max_new_tokens=config.evaluate.generation_max_new_tokens,
        ),
        code=code("judge.py"),
    script:
        "../scripts/judge.py"


rule samples:
    """The held-out questions, as another evaluation tool has them answered."""
    input:
        files=lambda wildcards: given_by(inputs.sample_files, wildcards.answered),
        test=made(rules.split.output.test),
        questions=made(rules.read.output.questions),
    output:
        f"{RESULTS}/judged/{{answered}}/mcq.json",
    log:
        f"{LOGS}/samples/{{answered}}.log",
    benchmark:
        f"{TIMES}/samples/{{answered}}.tsv"
    wildcard_constraints:
        answered=named(ANSWERED),
    conda:
        ENVIRONMENT
    params:
        chosen=lambda wildcards: dict(
            name=wildcards.answered,
            protocol=ANSWERED[wildcards.answered].protocol,
        ),
        code=code("samples.py"),
    script:
        "../scripts/samples.py"


rule trained_on:
    """Which held-out questions stand in what a model was trained on elsewhere."""
    input:
        files=lambda wildcards: given_by(inputs.training_files, wildcards.trained),
        test=made(rules.split.output.test),
        valid=made(rules.split.output.valid),
        questions=made(rules.read.output.questions),
    output:
        f"{RESULTS}/judged/{{trained}}/trained_on.json",
    log:
        f"{LOGS}/trained_on/{{trained}}.log",
    benchmark:
        f"{TIMES}/trained_on/{{trained}}.tsv"
    wildcard_constraints:
        trained=named(TRAINED_ON),
    conda:
        ENVIRONMENT
    params:
        chosen=lambda wildcards: dict(name=wildcards.trained),
        code=code("trained_on.py"),
    script:
        "../scripts/trained_on.py"


rule judge:
    """All models and answers from elsewhere; needs no MindSpore, and nothing trained."""
    input:
        only_if(checks.check_judge),
        expand(rules.judged.output, judged=JUDGED),
        expand(rules.samples.output, answered=ANSWERED),
        expand(rules.trained_on.output, trained=TRAINED_ON),
