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
            folder=str(wiring.base_folder(config)),
            conversion=wiring.conversion(config),
            code=code("convert.py"),
        script:
            "../scripts/convert.py"

else:

    rule base:
        """Train the small base network, a stand-in for weights that come from outside."""
        input:
            corpus=ROOT if config["base"]["text"] == "corpus" else rules.split.output.train,
            tokenizer=rules.tokenizer.output[0],
            devices=enough_npus("base"),
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
            npu=config["base"]["workers"],
            gres=wiring.gres(config, config["base"]["workers"]),
        params:
            base=wiring.base(config),
            worker=str(SCRIPTS / "worker.py"),
            code=code("base.py"),
        script:
            "../scripts/base.py"
