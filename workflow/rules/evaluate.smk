# All of a machine's, since workers take device 0 and those after it: one evaluation runs at a time.
EVALUATION_NPUS = NPUS or 1 if config["device"] == "Ascend" else 0
ASKING = {
    "npu": EVALUATION_NPUS,
    "gres": wiring.gres(config, EVALUATION_NPUS),
    "workers": config["evaluate"]["workers"],  # no param: their number decides nothing
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
        squad=under_data(config["evaluate"]["squad"], wiring.READING),
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
    threads: config["evaluate"]["workers"]
    resources:
        **ASKING,
    params:
        squad=config["evaluate"]["squad"],
        evaluate=lambda wildcards: wiring.evaluate(config, wildcards.model != "base"),
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
    threads: config["evaluate"]["workers"]
    resources:
        **ASKING,
    params:
        validate=wiring.asking(config),
        code=code("validate.py", "evaluation_worker.py"),
    script:
        "../scripts/validate.py"


VALIDATED = expand(rules.validate.output, model=CHECKPOINTS) if BY_ACCURACY else []
