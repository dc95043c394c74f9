# Those beside `all` count once they were asked for. In a Snakemake module rules have the names that its user gave them.
VERIFIED = [
    workflow.modifier.modify_rulename(name)
    for name, one in {"all": None, "reckon": rules.reckon, "compare": rules.compare}.items()
    if one is None or os.path.exists(one.output[0])
]


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
            targets=VERIFIED,
        ),
        code=code("verify.py"),
    script:
        "../scripts/verify.py"
