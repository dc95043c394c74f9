# All of a machine's, since each job would take device 0.
EVALUATION_NPUS = NPUS or 1 if config["device"] == "Ascend" else 0


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
    output:
        mcq=f"{RESULTS}/evaluation/{{model}}/mcq.json",
        squad=f"{RESULTS}/evaluation/{{model}}/squad.json",
    log:
        f"{LOGS}/evaluate/{{model}}.log",
    benchmark:
        f"{TIMES}/evaluate/{{model}}.tsv"
    conda:
        ENVIRONMENT
    resources:
        npu=EVALUATION_NPUS,
        gres=wiring.gres(config, EVALUATION_NPUS),
    params:
        squad=config["evaluate"]["squad"],
        evaluate=wiring.evaluate(config),
        code=code("evaluate.py"),
    script:
        "../scripts/evaluate.py"
