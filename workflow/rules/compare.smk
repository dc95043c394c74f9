OWN = config.compare.models
# What variants and seeds train, and the run's own training.
TRAINED = [each for each in EACH if training_of(each) in variants.compared(TRAININGS)]
ASKED = OWN if EACH[0] not in TRAINED else [*OWN, *(name for name in CHECKPOINTS if name not in OWN)]
# By what was asked of its best checkpoint; trainings with equal keys are one.
ALIKE = {}
for each, answers in zip(TRAINED, of_each(rules.evaluate.output.mcq, TRAINED, model="best")):
    ALIKE.setdefault(answers, []).append(each)
DISTINCT = [alike[0] for alike in ALIKE.values()]
SAME = {training_of(each).name: training_of(alike[0]).name for alike in ALIKE.values() for each in alike[1:]}
CAST = [EACH[0], *(each for each in DISTINCT if each is not EACH[0])]
CURVE = variants.curve([training_of(each) for each in DISTINCT])
TUNED_HERE = CAST if {*ASKED} - {"base"} else CAST[1:]
# Untuned, of variants that have another base: its place in CAST.
BASES = {}
for number, (base, answers) in enumerate(
    zip(of_each(rules.base.output[0], CAST), of_each(rules.evaluate.output.mcq, CAST, model="base"))
):
    if base != expand(rules.base.output[0], variant="")[0]:
        BASES.setdefault(answers, number)


rule compare:
    """The run's models, its variants, those judged and those that others asked, side by side."""
    input:
        run=made(rules.evaluate.output.mcq, model=ASKED),
        bases=list(BASES),
        trained=of_each(rules.evaluate.output.mcq, CAST[1:], model="best"),
        judged=expand(rules.judged.output.mcq, judged=JUDGED),
        samples=expand(rules.samples.output, answered=ANSWERED),
        trained_on=expand(rules.trained_on.output, trained=TRAINED_ON),
        # Of each training; the run's own is the first, if it has them.
        best=of_each(rules.best.output.name, DISTINCT),
        valid=of_each(rules.validate.output[0], DISTINCT, model="best"),
        packing=of_each(rules.encode.output.report, DISTINCT),
        facts=of_each(rules.train.output.facts, TUNED_HERE),
        times=of_each(rules.train.benchmark, TUNED_HERE),
        questions=of_each(rules.read.output.questions, CAST),
        groups=of_each(rules.groups.output[0], CAST),
        leakage=of_each(rules.split.output.leakage, CAST),
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
            models=OWN,
            trainings=[
                dict(
                    name=training_of(each).name,
                    variant=training_of(each).variant or RUN,
                    seed=training_of(each).seed,
                    rows=[of(each).train.rows] if training_of(each) in CURVE else [],
                )
                for each in CAST
            ],
            bases=list(BASES.values()),
            same=SAME,
            changes={name: variants.changed(changes) for name, changes in settings.variants.items()},
        ),
        code=code("compare.py"),
    script:
        "../scripts/compare.py"
