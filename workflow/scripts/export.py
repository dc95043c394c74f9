"""A Hugging Face folder of the base, or of the base with the chosen checkpoint folded in."""

from pathlib import Path
from types import SimpleNamespace

from mcqlora import files
from mcqlora.evaluate import selection
from mcqlora.interop import export
from mcqlora.job import job

with job(snakemake) as terminal:
    params, adapter = SimpleNamespace(**snakemake.params.chosen), None
    if snakemake.input.get("adapters"):
        training = files.read_json(snakemake.input.facts)["training"]
        valid = map(files.read_json, snakemake.input.valid)
        name = selection.chosen(training, params.checkpoint, valid)
        adapter = next(path for path in map(Path, snakemake.input.adapters) if path.stem == name)
    if said := export.export_network(
        base=Path(snakemake.input.base),
        adapter=adapter,
        tokenizer_path=snakemake.input.tokenizer,
        output=Path(snakemake.output[0]),
        scaling=params.lora_scaling,
        seq_length=params.seq_length,
        template=params.template,
    ):
        terminal.say(f"{snakemake.output[0]}: {said}")
