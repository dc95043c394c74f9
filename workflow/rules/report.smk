rule report:
    """summary.json, report.md and the figures."""
    input:
        ledger=rules.read.output.ledger,
        alpaca=rules.alpaca.output,
        leakage=rules.split.output.leakage,
        facts=rules.train.output.facts,
        mcq=expand(rules.evaluate.output.mcq, model=MODELS),
        squad=expand(rules.evaluate.output.squad, model=MODELS),
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
        ),
        categories=report(
            f"{RESULTS}/figures/accuracy_by_category.svg",
            caption="../report/accuracy_by_category.rst",
            category="Evaluation",
        ),
        comparison=report(
            f"{RESULTS}/figures/base_against_tuned.svg",
            caption="../report/base_against_tuned.rst",
            category="Evaluation",
        ),
    log:
        f"{LOGS}/report.log",
    conda:
        ENVIRONMENT
    params:
        run=RUN,
        recipe=config["recipe"],
        protocol=config["evaluate"]["protocol"],
        models=MODELS,
        code=code("report.py"),
    script:
        "../scripts/report.py"
