"""plan.json, from row counts, the tokenizer and a given base's config.json."""

from pathlib import Path
from types import SimpleNamespace

from mcqlora import files
from mcqlora.interop import huggingface
from mcqlora.job import job
from mcqlora.model.architecture import Architecture, Lora
from mcqlora.tokens import tokenizer
from mcqlora.train import plan, settings

with job(snakemake):
    params, source = SimpleNamespace(**snakemake.params.chosen), snakemake.input
    vocabulary = tokenizer.load(source.tokenizer).vocab_size()
    if source.base:
        folder = Path(source.base[0]).parent
        network = huggingface.check_architecture(folder, params.model, params.seq_length)
    else:
        network = Architecture(**params.model)
    orders = [record["order"] for record in files.read_json_array(source.test)]
    made = plan.reckon(
        rows=plan.Rows.of(files.read_json(source.packing), len(orders), params.shards),
        vocabulary=vocabulary,
        network=network,
        lora=Lora(params.lora_rank, params.lora_alpha, params.lora_dropout, params.target_modules),
        size=settings.of(settings.Size, vars(params)),
        warmup_ratio=params.warmup_ratio,
        seq_length=params.seq_length,
        device=params.device,
        machine=plan.Machine.of(params.machine, params.npus, params.nodes),
        given=bool(source.base),
        asked=plan.Asked.of(vars(params), orders),
        attention=params.attention,
        lora_dtype=params.lora_dtype,
    )
    named = {"run": params.run, "recipe": params.recipe}
    files.write_json(snakemake.output[0], named | made, indent=True)
