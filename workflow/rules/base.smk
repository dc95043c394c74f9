if any(map(fetched_base, EACH)):

    rule fetch_base:
        """Download a Hugging Face folder's config.json and weights; they are there whole, or not at all."""
        output:
            directory(f"{MADE}downloads/base"),
        log:
            f"{LOG}fetch_base.log",
        benchmark:
            f"{TIME}fetch_base.tsv"
        localrule: True
        conda:
            ENVIRONMENT
        params:
            source=fetched_base,
            code=code("fetch_base.py"),
        script:
            "../scripts/fetch_base.py"


# A variant may convert a base where the run trains one, or the other way round: then there are both rules.
if any(map(base_is_given, EACH)):

    rule base:
        """The base network, converted from a Hugging Face folder's weights."""
        name:
            "base" if base_is_given() else "base_2"
        input:
            files=base_files,
            tokenizer=tokenizer,
        output:
            directory(f"{MADE}base"),
        log:
            f"{LOG}base.log",
        benchmark:
            f"{TIME}base.tsv"
        wildcard_constraints:
            variant=folders(base_is_given),
        conda:
            ENVIRONMENT
        params:
            chosen=lambda wildcards: dict(
                folder=place(str(inputs.base_folder(settings_of(wildcards), f"{MADE}downloads")), wildcards),
                model=of(wildcards).model,
                device=of(wildcards).device,
            ),
            code=code("convert.py"),
        script:
            "../scripts/convert.py"


if not all(map(base_is_given, EACH)):

    rule base:
        """Train the small base network, a stand-in for weights that come from outside."""
        name:
            "base_2" if base_is_given() else "base"
        input:
            corpus=lambda wildcards: (
                root(wildcards)
                if of(wildcards).base.text == "corpus"
                else made(rules.split.output.train)(wildcards)
            ),
            tokenizer=tokenizer,
            devices=only_if(checks.check_npus, "base", NPUS),
        output:
            directory(f"{MADE}base"),
        log:
            f"{LOG}base.log",
        benchmark:
            f"{TIME}base.tsv"
        wildcard_constraints:
            variant=folders(lambda each: not base_is_given(each)),
        conda:
            ENVIRONMENT
        threads: workflow.cores
        resources:
            npu=lambda wildcards: of(wildcards).base.workers,
            gres=lambda wildcards: settings.devices_of_slurm(of(wildcards).base.workers),
        params:
            chosen=lambda wildcards: dict(
                model=of(wildcards).model,
                rows=of(wildcards).base.rows,
                workers=of(wildcards).base.workers,
                batch_size=of(wildcards).base.batch_size,
                epochs=of(wildcards).base.epochs,
                learning_rate=of(wildcards).base.learning_rate,
                seed=of(wildcards).base.seed,
                seq_length=of(wildcards).encode.seq_length,
                device=of(wildcards).device,
            ),
            code=code("base.py", "worker.py"),
        script:
            "../scripts/base.py"
