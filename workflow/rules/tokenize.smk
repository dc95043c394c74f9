# The run's own first. Variants with other bases may bring tokenizers of other forms: a rule for each.
TOKENIZER_FORMS = list(dict.fromkeys(map(tokenizer_form, EACH)))
for number, form in enumerate(TOKENIZER_FORMS, 1):

    rule tokenizer:
        """The tokenizer: the given one, or a SentencePiece model trained on the embedded corpus."""
        name:
            "tokenizer" if number == 1 else f"tokenizer_{number}"
        input:
            lambda wildcards: given_tokenizer(wildcards) or root(wildcards),
        output:
            f"{MADE}tokenizer{form[1]}",
            # Jobs find it beside the tokenizer.
            **({"config": f"{MADE}tokenizer_config.json"} if form[2] else {}),
        log:
            f"{LOG}tokenizer.log",
        benchmark:
            f"{TIME}tokenizer.tsv"
        wildcard_constraints:
            variant=folders(lambda each: tokenizer_form(each) == form),
        conda:
            ENVIRONMENT
        params:
            chosen=lambda wildcards: (
                # Refused before anything is encoded.
                dict(path=of(wildcards).tokenizer.path, template=template(wildcards))
                if of(wildcards).tokenizer.path
                else dict(path=None, vocab_size=of(wildcards).tokenizer.vocab_size)
            ),
            code=code(form[0]),
        script:
            f"../scripts/{form[0]}"


rule encode:
    """Records as documents of token ids, and which of them share a row; packing.json compares both layouts."""
    input:
        records=made(f"{MADE}splits/{{part}}.json", part=SHARDED),
        mix=mix("records"),
        mix_ledger=mix("ledger"),
        tokenizer=tokenizer,
    output:
        ids=temp([f"{MADE}encoded/{part}/ids.int32" for part in SHARDED]),
        shapes=temp([f"{MADE}encoded/{part}/shapes.npy" for part in SHARDED]),
        plans=temp([f"{MADE}encoded/{part}/plan.npy" for part in SHARDED]),
        facts=temp([f"{MADE}encoded/{part}/facts.json" for part in SHARDED]),
        report=f"{MADE}packing.json",
    log:
        f"{LOG}encode.log",
    benchmark:
        f"{TIME}encode.tsv"
    conda:
        ENVIRONMENT
    threads: 4
    params:
        chosen=lambda wildcards: dict(
            parts=list(SHARDED),
            sizes=[settings_of(wildcards).encode.row_size(part) for part in SHARDED],
            layouts=[settings_of(wildcards).encode.layout_of(part) for part in SHARDED],
            on_long=of(wildcards).encode.on_long,
            template=template(wildcards),
        ),
        code=code("encode.py"),
    script:
        "../scripts/encode.py"


rule shard:
    """One MindRecord shard: its share of a part's rows."""
    input:
        # Of the training's own folder: temporary files are not shared, else another's shards would be made again.
        ids=f"{MADE}encoded/{{part}}/ids.int32",
        shapes=f"{MADE}encoded/{{part}}/shapes.npy",
        plan=f"{MADE}encoded/{{part}}/plan.npy",
        facts=f"{MADE}encoded/{{part}}/facts.json",
    output:
        shard=f"{MADE}mindrecord/{{part}}/shard-{{shard}}-of-{{shards}}.mindrecord",
        index=f"{MADE}mindrecord/{{part}}/shard-{{shard}}-of-{{shards}}.mindrecord.db",
        stats=f"{MADE}mindrecord/{{part}}/shard-{{shard}}-of-{{shards}}.json",
    log:
        f"{LOG}shard/{{part}}-{{shard}}-of-{{shards}}.log",
    benchmark:
        f"{TIME}shard/{{part}}-{{shard}}-of-{{shards}}.tsv"
    conda:
        ENVIRONMENT
    params:
        chosen=lambda wildcards: dict(
            size=settings_of(wildcards).encode.row_size(wildcards.part),
            layout=settings_of(wildcards).encode.layout_of(wildcards.part),
            edge=settings_of(wildcards).encode.edge(wildcards.part),
            shard=int(wildcards.shard),
            shards=int(wildcards.shards),
        ),
        code=code("shard.py"),
    script:
        "../scripts/shard.py"
