PUBLISHED = {
    "adapters": [made(rules.train.output), rules.configs.output, rules.peft.output],
    "reports": [
        rules.report.output,
        rules.data_card.output,
        made(rules.evaluate.output, model=MODELS),
        validated,
    ],
    "data": [
        made(rules.read.output),
        rules.alpaca.output,
        made(rules.shuffle.output),
        made(rules.split.output),
        made(rules.mix.output) if config.train.mix else [],
        tokenizer,
        made(rules.encode.output.report),
        *(shard_files(part, kind) for part in SHARDED for kind in ("mindrecord", "mindrecord.db", "json")),
    ],
    "networks": [rules.merged.output, *([] if base_is_given() else [rules.exported_base.output])],
}


rule publish:
    """Upload the run to publish.to, its manifest last; what the bucket already has is not uploaded again."""
    input:
        [PUBLISHED[part] for part in config.publish.parts],
        only_if(checks.check_publish),
    output:
        f"{RESULTS}/published.json",
    log:
        f"{LOGS}/publish.log",
    benchmark:
        f"{TIMES}/publish.tsv"
    conda:
        ENVIRONMENT
    params:
        chosen=dict(
            run=RUN,
            to=config.publish.to,
            s3=config.s3,
            config=inputs.recorded(config),
        ),
        code=code("publish.py"),
    script:
        "../scripts/publish.py"


rule fetch_run:
    """Download files of a published run, by its manifest, into results/<run>/fetched/; hashes are compared."""
    input:
        only_if(checks.check_fetch_run),
    output:
        directory(f"{RESULTS}/fetched"),
    log:
        f"{LOGS}/fetch_run.log",
    benchmark:
        f"{TIMES}/fetch_run.tsv"
    conda:
        ENVIRONMENT
    params:
        chosen=dict(
            source=config.fetch_run,
            s3=config.s3,
        ),
        code=code("fetch_run.py"),
    script:
        "../scripts/fetch_run.py"
