rule report:
    """summary.json, report.md and the figures."""
    input:
        ledger=made(rules.read.output.ledger),
        alpaca=rules.alpaca.output,
        leakage=made(rules.split.output.leakage),
        groups=made(rules.groups.output[0]),
        facts=made(rules.train.output.facts),
        packing=made(rules.encode.output.report) if config.train.mix else [],
        mcq=made(rules.evaluate.output.mcq, model=MODELS),
        squad=made(rules.evaluate.output.squad, model=MODELS),
        valid=validated,
        benchmarks=TIME_FILES,
    output:
        summary=report(
            f"{RESULTS}/summary.json",
            caption="../report/summary.rst",
            category="Results",
        ),
        report=report(f"{RESULTS}/report.md", caption="../report/report.rst", category="Results"),
        loss=report(
            f"{RESULTS}/figures/loss_curve.svg",
            caption="../report/loss_curve.rst",
            category="Training",
            labels={"figure": "Training and validation loss"},
        ),
        comparison=report(
            f"{RESULTS}/figures/base_against_tuned.svg",
            caption="../report/base_against_tuned.rst",
            category="Evaluation",
            labels={"figure": "Base against tuned"},
        ),
        heatmap=report(
            f"{RESULTS}/figures/category_heatmap.svg",
            caption="../report/category_heatmap.rst",
            category="Evaluation",
            labels={"figure": "Accuracy by category and model"},
        ),
        forest=report(
            f"{RESULTS}/figures/accuracy_by_category.svg",
            caption="../report/accuracy_by_category.rst",
            category="Evaluation",
            labels={"figure": "Accuracy by category, base against tuned"},
        ),
        letters=report(
            f"{RESULTS}/figures/letter_confusion.svg",
            caption="../report/letter_confusion.rst",
            category="Robustness",
            labels={"figure": "Letter confusion"},
        ),
        reliability=report(
            f"{RESULTS}/figures/reliability.svg",
            caption="../report/reliability.rst",
            category="Robustness",
            labels={"figure": "Reliability"},
        ),
        leak=report(
            f"{RESULTS}/figures/leak_gap.svg",
            caption="../report/leak_gap.rst",
            category="Robustness",
            labels={"figure": "Leak gap"},
        ),
    log:
        f"{LOGS}/report.log",
    benchmark:
        f"{TIMES}/report.tsv"
    conda:
        ENVIRONMENT
    params:
        chosen=dict(
            run=RUN,
            recipe=config.recipe,
            protocol=config.evaluate.protocol,
            best=config.train.best,
            models=MODELS,
        ),
        code=code("report.py"),
    script:
        "../scripts/report.py"
