# A script each: what only the training of one needs does not count where one is given.
TOKENIZER_SCRIPT = "given_tokenizer.py" if config["tokenizer"]["path"] else "tokenizer.py"


rule tokenizer:
    """The SentencePiece model: the given one, or one trained on the embedded corpus."""
    input:
        given_file(config["tokenizer"]["path"], wiring.TOKENIZER) if config["tokenizer"]["path"] else ROOT,
    output:
        f"{RESULTS}/tokenizer.model",
    log:
        f"{LOGS}/tokenizer.log",
    benchmark:
        f"{TIMES}/tokenizer.tsv"
    conda:
        ENVIRONMENT
    params:
        **wiring.tokenizer(config),
        code=code(TOKENIZER_SCRIPT),
    script:
        f"../scripts/{TOKENIZER_SCRIPT}"


rule encode:
    """A part's records as documents of token ids, one after the other."""
    input:
        records=f"{RESULTS}/splits/{{part}}.json",
        tokenizer=rules.tokenizer.output[0],
    output:
        ids=temp(f"{RESULTS}/encoded/{{part}}/ids.int32"),
        shapes=temp(f"{RESULTS}/encoded/{{part}}/shapes.npy"),
        facts=temp(f"{RESULTS}/encoded/{{part}}/facts.json"),
    log:
        f"{LOGS}/encode/{{part}}.log",
    benchmark:
        f"{TIMES}/encode/{{part}}.tsv"
    conda:
        ENVIRONMENT
    threads: 4
    params:
        size=lambda wildcards: wiring.row_size(config, wildcards.part),
        reference_template=config["tokenizer"]["unused_marks"],
        code=code("encode.py"),
    script:
        "../scripts/encode.py"


rule pack:
    """Which documents share a row, from their lengths; packing.json compares padded and packed rows."""
    input:
        train=f"{RESULTS}/encoded/train/shapes.npy",
        valid=f"{RESULTS}/encoded/valid/shapes.npy",
    output:
        train=temp(f"{RESULTS}/encoded/train/plan.npy"),
        valid=temp(f"{RESULTS}/encoded/valid/plan.npy"),
        report=f"{RESULTS}/packing.json",
    log:
        f"{LOGS}/pack.log",
    benchmark:
        f"{TIMES}/pack.tsv"
    conda:
        ENVIRONMENT
    params:
        sizes={part: wiring.row_size(config, part) for part in SHARDS},
        layouts={part: wiring.layout(config, part) for part in SHARDS},
        on_long=config["encode"]["on_long"],
        code=code("pack.py"),
    script:
        "../scripts/pack.py"


rule shard:
    """One MindRecord shard: its share of a part's rows."""
    input:
        ids=rules.encode.output.ids,
        shapes=rules.encode.output.shapes,
        facts=rules.encode.output.facts,
        plan=f"{RESULTS}/encoded/{{part}}/plan.npy",
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
        size=lambda wildcards: wiring.row_size(config, wildcards.part),
        layout=lambda wildcards: wiring.layout(config, wildcards.part),
        edge=lambda wildcards: wiring.edge(config, wildcards.part),
        shard=lambda wildcards: int(wildcards.shard),
        shards=lambda wildcards: int(wildcards.shards),
        code=code("shard.py"),
    script:
        "../scripts/shard.py"
