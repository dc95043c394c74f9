EXPORTED_BASE = f"{RESULTS}/export/base"


rule peft:
    """Every delivered checkpoint as a PEFT adapter."""
    input:
        adapters=made(rules.train.output.adapters),
        base=made(rules.base.output[0]),
    output:
        weights=[f"{RESULTS}/export/peft/{name}/adapter_model.safetensors" for name in CHECKPOINTS],
        configs=[f"{RESULTS}/export/peft/{name}/adapter_config.json" for name in CHECKPOINTS],
        cards=[f"{RESULTS}/export/peft/{name}/README.md" for name in CHECKPOINTS],
    log:
        f"{LOGS}/peft.log",
    benchmark:
        f"{TIMES}/peft.tsv"
    conda:
        ENVIRONMENT
    params:
        chosen=dict(
            lora_rank=config.train.lora_rank,
            lora_alpha=config.train.lora_alpha,
            lora_dropout=config.train.lora_dropout,
            target_modules=config.train.target_modules,
            base=inputs.base_name(settings, f"{RESULTS}/downloads") or EXPORTED_BASE,
            address=addresses.shown(config.base.path) if fetched_base() else None,
        ),
        code=code("peft.py"),
    script:
        "../scripts/peft.py"


rule merged:
    """The best checkpoint folded into the base, as a Hugging Face folder with its tokenizer."""
    input:
        base=made(rules.base.output[0]),
        tokenizer=tokenizer,
        adapters=made(rules.train.output.adapters),
        facts=made(rules.train.output.facts),
        valid=validated if config.export.checkpoint == "best" else [],
    output:
        directory(f"{RESULTS}/export/merged"),
    log:
        f"{LOGS}/merged.log",
    benchmark:
        f"{TIMES}/merged.tsv"
    conda:
        ENVIRONMENT
    params:
        chosen=dict(
            checkpoint=config.train.best if config.export.checkpoint == "best" else config.export.checkpoint,
            lora_scaling=config.train.lora_alpha / config.train.lora_rank,
            seq_length=config.encode.seq_length,
            template=template(),
        ),
        code=code("export.py"),
    script:
        "../scripts/export.py"


rule exported_base:
    """The base as a Hugging Face folder, for the PEFT adapters of a base that was trained here."""
    input:
        base=made(rules.base.output[0]),
        tokenizer=tokenizer,
    output:
        directory(EXPORTED_BASE),
    log:
        f"{LOGS}/exported_base.log",
    benchmark:
        f"{TIMES}/exported_base.tsv"
    conda:
        ENVIRONMENT
    params:
        chosen=dict(
            lora_scaling=1.0,  # no adapter is folded in
            seq_length=config.encode.seq_length,
            template=template(),
        ),
        code=code("export.py"),
    script:
        "../scripts/export.py"


EXPORTS = [
    rules.peft.output,
    rules.merged.output,
    *([] if base_is_given() else rules.exported_base.output),
]
