OWN = config.compare.models
TUNED_HERE = [name for name in OWN if name != "base"]


rule compare:
    """The run's models, those judged and those that others asked, side by side."""
    input:
        run=expand(rules.evaluate.output.mcq, model=OWN),
        judged=expand(rules.judged.output.mcq, judged=JUDGED),
        samples=expand(rules.samples.output, answered=ANSWERED),
        valid=[
            *(expand(rules.validate.output, model=TUNED_HERE) if BY_ACCURACY else []),
            *expand(rules.judged.output.valid, judged=JUDGED),
        ],
        trained_on=expand(rules.trained_on.output, trained=TRAINED_ON),
        facts=[rules.train.output.facts] if TUNED_HERE else [],
        times=[f"{TIMES}/train.tsv"] if TUNED_HERE else [],
        groups=rules.groups.output[0],
        two=only_if(checks.check_compare),
    output:
        summary=report(
            f"{RESULTS}/compare/summary.json",
            caption="../report/compare_summary.rst",
            category="Comparison",
        ),
        report=report(
            f"{RESULTS}/compare/report.md",
            caption="../report/compare_report.rst",
            category="Comparison",
        ),
        accuracies=report(
            f"{RESULTS}/compare/figures/accuracies.svg",
            caption="../report/compare_accuracies.rst",
            category="Comparison",
            labels={"figure": "Accuracy of all models"},
        ),
        learning_curve=report(
            f"{RESULTS}/compare/figures/learning_curve.svg",
            caption="../report/compare_learning_curve.rst",
            category="Comparison",
            labels={"figure": "Accuracy by training rows"},
        ),
    log:
        f"{LOGS}/compare.log",
    benchmark:
        f"{TIMES}/compare.tsv"
    conda:
        ENVIRONMENT
    params:
        chosen=dict(
            run=RUN,
            against=config.compare.against,
            protocol=config.evaluate.protocol,
        ),
        code=code("compare.py"),
    script:
        "../scripts/compare.py"
