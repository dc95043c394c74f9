if FETCHED_BASE:

    rule fetch_base:
        """Download a Hugging Face folder's config.json and weights; they are there whole, or not at all."""
        output:
            directory(f"{FETCHED}/base"),
        log:
            f"{LOGS}/fetch_base.log",
        benchmark:
            f"{TIMES}/fetch_base.tsv"
        localrule: True
        conda:
            ENVIRONMENT
        params:
            source=FETCHED_BASE,
            code=code("fetch_base.py"),
        script:
            "../scripts/fetch_base.py"


if BASE_FILES:

    rule base:
        """The base network, converted from a Hugging Face folder's weights."""
        input:
            files=BASE_FILES,
            tokenizer=rules.tokenizer.output[0],
        output:
            directory(f"{RESULTS}/base"),
        log:
            f"{LOGS}/base.log",
        benchmark:
            f"{TIMES}/base.tsv"
        conda:
            ENVIRONMENT
        params:
            chosen=dict(
                folder=str(inputs.base_folder(settings, FETCHED)),
                model=config.model,
                device=config.device,
            ),
            code=code("convert.py"),
        script:
            "../scripts/convert.py"

else:

    rule base:
        """Train the small base network, a stand-in for weights that come from outside."""
        input:
            corpus=ROOT if config.base.text == "corpus" else rules.split.output.train,
            tokenizer=rules.tokenizer.output[0],
            devices=only_if(checks.check_npus, "base", NPUS),
        output:
            directory(f"{RESULTS}/base"),
        log:
            f"{LOGS}/base.log",
        benchmark:
            f"{TIMES}/base.tsv"
        conda:
            ENVIRONMENT
        threads: workflow.cores
        resources:
            npu=config.base.workers,
            gres=settings.devices_of_slurm(config.base.workers),
        params:
            chosen=dict(
                model=config.model,
                rows=config.base.rows,
                workers=config.base.workers,
                batch_size=config.base.batch_size,
                epochs=config.base.epochs,
                learning_rate=config.base.learning_rate,
                seed=config.base.seed,
                seq_length=config.encode.seq_length,
                device=config.device,
            ),
            code=code("base.py", "worker.py"),
        script:
            "../scripts/base.py"
