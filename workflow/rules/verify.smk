# In a Snakemake module the rules have the names that its user gave them.
VERIFIED = [workflow.modifier.modify_rulename(name) for name in ("all", "reckon")]


rule verify:
    """Print which artefacts are what they would be if made now, by the records beside them; makes nothing."""
    log:
        f"{LOGS}/verify.log",
    conda:
        ENVIRONMENT
    params:
        graph=dict(
            snakefile=workflow.main_snakefile,
            config=loading.as_written(
                workflow.config_settings.overwrite_config,
                workflow.configfiles,
                workflow.config_settings.config_args or [],
            ),
            npus=NPUS,
            targets=VERIFIED if os.path.exists(rules.reckon.output[0]) else VERIFIED[:1],
        ),
        code=code("verify.py"),
    script:
        "../scripts/verify.py"
