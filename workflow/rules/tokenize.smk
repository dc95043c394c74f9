# Two scripts, so that code that only trains a tokenizer does not count where one is given.
TOKENIZER_SCRIPT = "given_tokenizer.py" if config.tokenizer.path else "tokenizer.py"


rule tokenizer:
    """The tokenizer: the given one, or a SentencePiece model trained on the embedded corpus."""
    input:
        GIVEN_TOKENIZER or ROOT,
    output:
        f"{RESULTS}/tokenizer{TOKENIZER_KIND}",
        # Jobs find it beside the tokenizer.
        **({"config": f"{RESULTS}/tokenizer_config.json"} if GIVEN_TOKENIZER[1:] else {}),
    log:
        f"{LOGS}/tokenizer.log",
    benchmark:
        f"{TIMES}/tokenizer.tsv"
    conda:
        ENVIRONMENT
    params:
        chosen=(
            dict(path=config.tokenizer.path, template=TEMPLATE)  # refused before anything is encoded
            if config.tokenizer.path
            else dict(path=None, vocab_size=config.tokenizer.vocab_size)
        ),
        code=code(TOKENIZER_SCRIPT),
    script:
        f"../scripts/{TOKENIZER_SCRIPT}"


rule encode:
    """Records as documents of token ids, and which of them share a row; packing.json compares both layouts."""
    input:
        records=expand(f"{RESULTS}/splits/{{part}}.json", part=SHARDS),
        mix=MIX["records"],
        mix_ledger=MIX["ledger"],
        tokenizer=rules.tokenizer.output[0],
    output:
        ids=temp(expand(f"{RESULTS}/encoded/{{part}}/ids.int32", part=SHARDS)),
        shapes=temp(expand(f"{RESULTS}/encoded/{{part}}/shapes.npy", part=SHARDS)),
        plans=temp(expand(f"{RESULTS}/encoded/{{part}}/plan.npy", part=SHARDS)),
        facts=temp(expand(f"{RESULTS}/encoded/{{part}}/facts.json", part=SHARDS)),
        report=f"{RESULTS}/packing.json",
    log:
        f"{LOGS}/encode.log",
    benchmark:
        f"{TIMES}/encode.tsv"
    conda:
        ENVIRONMENT
    threads: 4
    params:
        chosen=dict(
            parts=list(SHARDS),
            sizes=[settings.encode.row_size(part) for part in SHARDS],
            layouts=[settings.encode.layout_of(part) for part in SHARDS],
            on_long=config.encode.on_long,
            template=TEMPLATE,
        ),
        code=code("encode.py"),
    script:
        "../scripts/encode.py"


rule shard:
    """One MindRecord shard: its share of a part's rows."""
    input:
        ids=f"{RESULTS}/encoded/{{part}}/ids.int32",
        shapes=f"{RESULTS}/encoded/{{part}}/shapes.npy",
        plan=f"{RESULTS}/encoded/{{part}}/plan.npy",
        facts=f"{RESULTS}/encoded/{{part}}/facts.json",
    output:
        shard=f"{RESULTS}/mindrecord/{{part}}/shard-{{shard}}-of-{{shards}}.mindrecord",
        index=f"{RESULTS}/mindrecord/{{part}}/shard-{{shard}}-of-{{shards}}.mindrecord.db",
        stats=f"{RESULTS}/mindrecord/{{part}}/shard-{{shard}}-of-{{shards}}.json",
    log:
        f"{LOGS}/shard/{{part}}-{{shard}}-of-{{shards}}.log",
    benchmark:
        f"{TIMES}/shard/{{part}}-{{shard}}-of-{{shards}}.tsv"
    conda:
        ENVIRONMENT
    params:
        chosen=lambda wildcards: dict(
            size=settings.encode.row_size(wildcards.part),
            layout=settings.encode.layout_of(wildcards.part),
            edge=settings.encode.edge(wildcards.part),
            shard=int(wildcards.shard),
            shards=int(wildcards.shards),
        ),
        code=code("shard.py"),
    script:
        "../scripts/shard.py"
