rule tokenizer:
    """The SentencePiece model: the given one, or one trained on the embedded corpus."""
    input:
        given_file(config["tokenizer"]["path"]) if config["tokenizer"]["path"] else ROOT,
    output:
        f"{RESULTS}/tokenizer.model",
    log:
        f"{LOGS}/tokenizer.log",
    benchmark:
        f"{TIMES}/tokenizer.tsv"
    conda:
        ENVIRONMENT
    params:
        path=config["tokenizer"]["path"],
        vocab_size=config["tokenizer"]["vocab_size"],
        code=code("tokenizer.py"),
    script:
        "../scripts/tokenizer.py"


rule encode:
    """One MindRecord shard: its share of a part's records as rows of token ids."""
    input:
        records=f"{RESULTS}/splits/{{part}}.json",
        tokenizer=rules.tokenizer.output[0],
    output:
        shard=f"{RESULTS}/mindrecord/{{part}}/shard-{{shard}}-of-{{shards}}.mindrecord",
        index=f"{RESULTS}/mindrecord/{{part}}/shard-{{shard}}-of-{{shards}}.mindrecord.db",
        stats=f"{RESULTS}/mindrecord/{{part}}/shard-{{shard}}-of-{{shards}}.json",
    log:
        f"{LOGS}/encode/{{part}}-{{shard}}-of-{{shards}}.log",
    benchmark:
        f"{TIMES}/encode/{{part}}-{{shard}}-of-{{shards}}.tsv"
    conda:
        ENVIRONMENT
    params:
        size=lambda wildcards: wiring.row_size(config, wildcards.part),
        shard=lambda wildcards: int(wildcards.shard),
        shards=lambda wildcards: int(wildcards.shards),
        on_long=config["encode"]["on_long"],
        edge=wiring.edge(config),
        reference_template=config["tokenizer"]["unused_marks"],
        code=code("encode.py"),
    script:
        "../scripts/encode.py"
