rule verify:
    """Print which artefacts are what they would be if made now, by the records beside them; makes nothing."""
    log:
        f"{LOGS}/verify.log",
    conda:
        ENVIRONMENT
    params:
        graph=dict(
            snakefile=workflow.main_snakefile,
            config=config,
            npus=NPUS,
            targets=["all", "reckon"] if os.path.exists(rules.reckon.output[0]) else ["all"],
        ),
        code=code("verify.py"),
    script:
        "../scripts/verify.py"
