if GENERATED:

    rule demo:
        """Generate the embedded benchmark, its reading test and the base network's corpus."""
        output:
            directory(f"{MADE}data"),
        log:
            f"{LOG}demo.log",
        benchmark:
            f"{TIME}demo.tsv"
        conda:
            ENVIRONMENT
        params:
            chosen=lambda wildcards: dict(
                seed=of(wildcards).demo.seed,
                repeats=of(wildcards).demo.repeats,
                family_size=of(wildcards).demo.family_size,
            ),
            code=code("demo.py"),
        script:
            "../scripts/demo.py"


rule fetch:
    """Download a file that the config names by address; it is there whole, or not at all."""
    output:
        f"{MADE}downloads/{{download}}",
    log:
        f"{LOG}fetch/{{download}}.log",
    benchmark:
        f"{TIME}fetch/{{download}}.tsv"
    conda:
        ENVIRONMENT
    params:
        source=lambda wildcards: inputs.downloads(settings_of(wildcards)).get(wildcards.download),
        code=code("fetch.py"),
    script:
        "../scripts/fetch.py"


rule read:
    """Read every benchmark's files; account for every row."""
    input:
        benchmarks,
    output:
        questions=f"{MADE}questions.jsonl",
        ledger=f"{MADE}ledger.json",
    log:
        f"{LOG}read.log",
    benchmark:
        f"{TIME}read.tsv"
    conda:
        ENVIRONMENT
    params:
        chosen=lambda wildcards: dict(
            sources=sources(wildcards),
            on_bad_row=of(wildcards).read.on_bad_row,
            check_quotes=of(wildcards).read.check_quotes,
            strip_letters=of(wildcards).read.strip_letters,
            first_row_lost=of(wildcards).read.first_row_lost,
            pandas_na=of(wildcards).read.pandas_na,
            drop_identical_options=of(wildcards).read.drop_identical_options,
            drop_contradictory=of(wildcards).read.drop_contradictory,
        ),
        code=code("read.py"),
    script:
        "../scripts/read.py"


rule alpaca:
    """One Alpaca record per question, in the recipe's wording."""
    input:
        made(rules.read.output.questions),
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
        made(rules.read.output.questions),
    output:
        [f"{MADE}epochs/epoch_{k}.json" for k in COPIES],
    log:
        f"{LOG}shuffle.log",
    benchmark:
        f"{TIME}shuffle.tsv"
    conda:
        ENVIRONMENT
    params:
        chosen=lambda wildcards: dict(
            seed=of(wildcards).shuffle.seed,
            pin_references=of(wildcards).shuffle.pin_references,
            balance_letters=of(wildcards).shuffle.balance_letters,
            reparse_options=of(wildcards).shuffle.reparse_options,
            option_references=of(wildcards).shuffle.option_references,
            copies=of(
                wildcards
            ).shuffle.copies,  # fewer leave the others' files as they are, but not their orders
        ),
        code=code("shuffle.py"),
    script:
        "../scripts/shuffle.py"


rule groups:
    """Which questions are duplicates of each other; runs beside shuffle."""
    input:
        made(rules.read.output.questions),
    output:
        f"{MADE}groups.json",
    log:
        f"{LOG}groups.log",
    benchmark:
        f"{TIME}groups.tsv"
    conda:
        ENVIRONMENT
    params:
        chosen=lambda wildcards: dict(
            near_duplicate_threshold=of(wildcards).holdout.near_duplicate_threshold,
            families={one.name: one.family for one in of(wildcards).benchmarks if one.family is not None},
        ),
        code=code("groups.py"),
    script:
        "../scripts/groups.py"


rule split:
    """Train, valid and test; fails if a test question was trained on, unless the recipe is known to leak."""
    input:
        questions=made(rules.read.output.questions),
        groups=made(rules.groups.output[0]),
        epochs=made(rules.shuffle.output),
    output:
        train=f"{MADE}splits/train.json",
        valid=f"{MADE}splits/valid.json",
        test=f"{MADE}splits/test.json",
        leakage=f"{MADE}leakage.json",
    log:
        f"{LOG}split.log",
    benchmark:
        f"{TIME}split.tsv"
    conda:
        ENVIRONMENT
    params:
        chosen=lambda wildcards: dict(
            split=of(wildcards).split,
            seed=of(wildcards).shuffle.seed,
            valid=of(wildcards).holdout.valid,
            test=of(wildcards).holdout.test,
            allow_leak=of(wildcards).split == "recipe",
            families={one.name: one.family for one in of(wildcards).benchmarks if one.family is not None},
        ),
        code=code("split.py"),
    script:
        "../scripts/split.py"


if any(training.config.train.mix for training in TRAININGS):

    rule mix:
        """Other instruction data, cleared of what is held out and drawn at a share of the training records."""
        input:
            files=mixed,
            questions=made(rules.read.output.questions),
            held_out=made([rules.split.output.valid, rules.split.output.test]),
            leakage=made(rules.split.output.leakage),
            squad=reading,
        output:
            records=f"{MADE}mix.json",
            ledger=f"{MADE}mix_ledger.json",
        log:
            f"{LOG}mix.log",
        benchmark:
            f"{TIME}mix.tsv"
        conda:
            ENVIRONMENT
        params:
            chosen=lambda wildcards: dict(
                paths=[one.path for one in of(wildcards).train.mix],
                shares=[one.share for one in of(wildcards).train.mix],
                seed=of(wildcards).shuffle.seed,
                on_bad_row=of(wildcards).read.on_bad_row,
                squad=of(wildcards).evaluate.squad,
            ),
            code=code("mix.py"),
        script:
            "../scripts/mix.py"


rule data_card:
    """What the questions are: counts, duplicates, lengths, letters, licences."""
    input:
        questions=made(rules.read.output.questions),
        ledger=made(rules.read.output.ledger),
        epochs=made(rules.shuffle.output),
        leakage=made(rules.split.output.leakage),
        mix=mix("ledger"),
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
        parts=made([rules.split.output.train, rules.split.output.valid, rules.split.output.test]),
        leakage=made(rules.split.output.leakage),
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
