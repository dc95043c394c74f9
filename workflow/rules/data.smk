if GENERATED:

    rule demo:
        """Generate the embedded benchmark, its reading test and the base network's corpus."""
        output:
            directory(ROOT),
        log:
            f"{LOGS}/demo.log",
        benchmark:
            f"{TIMES}/demo.tsv"
        conda:
            ENVIRONMENT
        params:
            chosen=dict(
                seed=config.demo.seed,
                repeats=config.demo.repeats,
                family_size=config.demo.family_size,
            ),
            code=code("demo.py"),
        script:
            "../scripts/demo.py"


rule fetch:
    """Download a file that the config names by address; it is there whole, or not at all."""
    output:
        f"{FETCHED}/{{download}}",
    log:
        f"{LOGS}/fetch/{{download}}.log",
    benchmark:
        f"{TIMES}/fetch/{{download}}.tsv"
    conda:
        ENVIRONMENT
    params:
        source=lambda wildcards: DOWNLOADS[wildcards.download],
        code=code("fetch.py"),
    script:
        "../scripts/fetch.py"


rule read:
    """Read every benchmark's files; account for every row."""
    input:
        ROOT if GENERATED else BENCHMARK_FILES,
        expand(rules.fetch.output, download=inputs.archives(settings)),
    output:
        questions=f"{RESULTS}/questions.jsonl",
        ledger=f"{RESULTS}/ledger.json",
    log:
        f"{LOGS}/read.log",
    benchmark:
        f"{TIMES}/read.tsv"
    conda:
        ENVIRONMENT
    params:
        chosen=dict(
            sources=inputs.sources(settings, ROOT, FETCHED),
            on_bad_row=config.read.on_bad_row,
            check_quotes=config.read.check_quotes,
            strip_letters=config.read.strip_letters,
            first_row_lost=config.read.first_row_lost,
            pandas_na=config.read.pandas_na,
            drop_identical_options=config.read.drop_identical_options,
            drop_contradictory=config.read.drop_contradictory,
        ),
        code=code("read.py"),
    script:
        "../scripts/read.py"


rule alpaca:
    """One Alpaca record per question, in the recipe's wording."""
    input:
        rules.read.output.questions,
    output:
        f"{RESULTS}/alpaca.json",
    log:
        f"{LOGS}/alpaca.log",
    benchmark:
        f"{TIMES}/alpaca.tsv"
    conda:
        ENVIRONMENT
    params:
        code=code("alpaca.py"),
    script:
        "../scripts/alpaca.py"


rule shuffle:
    """Copies of every question with its options re-ordered, one file per copy."""
    input:
        rules.read.output.questions,
    output:
        [f"{RESULTS}/epochs/epoch_{k}.json" for k in COPIES],
    log:
        f"{LOGS}/shuffle.log",
    benchmark:
        f"{TIMES}/shuffle.tsv"
    conda:
        ENVIRONMENT
    params:
        chosen=dict(
            seed=config.shuffle.seed,
            pin_references=config.shuffle.pin_references,
            balance_letters=config.shuffle.balance_letters,
            reparse_options=config.shuffle.reparse_options,
            option_references=config.shuffle.option_references,
            copies=config.shuffle.copies,  # fewer leave the others' files as they are, but not their orders
        ),
        code=code("shuffle.py"),
    script:
        "../scripts/shuffle.py"


rule groups:
    """Which questions are duplicates of each other; runs beside shuffle."""
    input:
        rules.read.output.questions,
    output:
        f"{RESULTS}/groups.json",
    log:
        f"{LOGS}/groups.log",
    benchmark:
        f"{TIMES}/groups.tsv"
    conda:
        ENVIRONMENT
    params:
        chosen=dict(
            near_duplicate_threshold=config.holdout.near_duplicate_threshold,
            families={one.name: one.family for one in config.benchmarks if one.family is not None},
        ),
        code=code("groups.py"),
    script:
        "../scripts/groups.py"


rule split:
    """Train, valid and test; fails if a test question was trained on, unless the recipe is known to leak."""
    input:
        questions=rules.read.output.questions,
        groups=rules.groups.output[0],
        epochs=rules.shuffle.output,
    output:
        train=f"{RESULTS}/splits/train.json",
        valid=f"{RESULTS}/splits/valid.json",
        test=f"{RESULTS}/splits/test.json",
        leakage=f"{RESULTS}/leakage.json",
    log:
        f"{LOGS}/split.log",
    benchmark:
        f"{TIMES}/split.tsv"
    conda:
        ENVIRONMENT
    params:
        chosen=dict(
            split=config.split,
            seed=config.shuffle.seed,
            valid=config.holdout.valid,
            test=config.holdout.test,
            allow_leak=config.split == "recipe",
            families={one.name: one.family for one in config.benchmarks if one.family is not None},
        ),
        code=code("split.py"),
    script:
        "../scripts/split.py"


if MIXED:

    rule mix:
        """Other instruction data, cleared of what is held out and drawn at a share of the training records."""
        input:
            files=MIXED,
            questions=rules.read.output.questions,
            held_out=[rules.split.output.valid, rules.split.output.test],
            leakage=rules.split.output.leakage,
            squad=READING,
        output:
            records=f"{RESULTS}/mix.json",
            ledger=f"{RESULTS}/mix_ledger.json",
        log:
            f"{LOGS}/mix.log",
        benchmark:
            f"{TIMES}/mix.tsv"
        conda:
            ENVIRONMENT
        params:
            chosen=dict(
                paths=[one.path for one in config.train.mix],
                shares=[one.share for one in config.train.mix],
                seed=config.shuffle.seed,
                on_bad_row=config.read.on_bad_row,
                squad=config.evaluate.squad,
            ),
            code=code("mix.py"),
        script:
            "../scripts/mix.py"


MIX = rules.mix.output if MIXED else {"records": [], "ledger": []}


rule data_card:
    """What the questions are: counts, duplicates, lengths, letters, licences."""
    input:
        questions=rules.read.output.questions,
        ledger=rules.read.output.ledger,
        epochs=rules.shuffle.output,
        leakage=rules.split.output.leakage,
        mix=MIX["ledger"],
    output:
        report(f"{RESULTS}/data_card.md", caption="../report/data_card.rst", category="Data"),
    log:
        f"{LOGS}/data_card.log",
    benchmark:
        f"{TIMES}/data_card.tsv"
    conda:
        ENVIRONMENT
    params:
        chosen=dict(
            run=RUN,
            recipe=config.recipe,
            split=config.split,
            seed=config.shuffle.seed,
            copies=config.shuffle.copies,
            licences={benchmark.name: benchmark.licence for benchmark in config.benchmarks},
            mix_licences=[one.licence for one in config.train.mix],
            option_references=config.shuffle.option_references,
        ),
        code=code("data_card.py"),
    script:
        "../scripts/data_card.py"


rule dataset:
    """The parts for other trainers: messages, Alpaca JSON for LLaMA-Factory, Parquet with a dataset card."""
    input:
        parts=[rules.split.output.train, rules.split.output.valid, rules.split.output.test],
        leakage=rules.split.output.leakage,
    output:
        messages=expand(f"{RESULTS}/dataset/messages/{{part}}.jsonl", part=PARTS),
        alpaca=expand(f"{RESULTS}/dataset/alpaca/{{part}}.json", part=PARTS),
        parquet=expand(f"{RESULTS}/dataset/parquet/{{part}}.parquet", part=PARTS),
        info=f"{RESULTS}/dataset/dataset_info.json",
        card=f"{RESULTS}/dataset/README.md",
    log:
        f"{LOGS}/dataset.log",
    benchmark:
        f"{TIMES}/dataset.tsv"
    conda:
        ENVIRONMENT
    params:
        chosen=dict(
            run=RUN,
            recipe=config.recipe,
            split=config.split,
            seed=config.shuffle.seed,
            copies=config.shuffle.copies,
            benchmarks={one.name: [one.language, one.licence] for one in config.benchmarks},
            mixed=[addresses.shown(one.path) for one in config.train.mix],
        ),
        code=code("dataset.py"),
    script:
        "../scripts/dataset.py"
