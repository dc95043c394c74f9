rule reckon:
    """plan.json: steps, parameters, tokens, hours, disk and memory of the training, from row counts alone."""
    input:
        packing=rules.encode.output.report,
        leakage=rules.split.output.leakage,
        tokenizer=rules.tokenizer.output[0],
        base=BASE_FILES[:1],  # its config.json
    output:
        f"{RESULTS}/plan.json",
    log:
        f"{LOGS}/reckon.log",
    benchmark:
        f"{TIMES}/reckon.tsv"
    conda:
        ENVIRONMENT
    params:
        plan=wiring.plan(config, NPUS),
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
        seq_length=config["encode"]["seq_length"],
        code=code("plan.py"),
    script:
        "../scripts/plan.py"


rule configs:
    """The YAMLs of the report's two evaluations, multiple choice and SQuAD, for MindFormers by itself."""
    input:
        rules.tokenizer.output,
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
        prediction=wiring.prediction(config),
        tuned=f"{RESULTS}/tuned",
        code=code("configs.py"),
    script:
        "../scripts/configs.py"
