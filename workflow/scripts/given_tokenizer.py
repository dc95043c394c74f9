"""The tokenizer: a given one, checked, with what stands in tokenizer_config.json beside it."""

import shutil

from mcqlora import files
from mcqlora.job import job
from mcqlora.tokens import prompt, tokenizer

with job(snakemake) as terminal:
    found = tokenizer.load(snakemake.input[0])
    said, notice = prompt.said(found, snakemake.params.chosen["template"])
    print(said)
    if notice:
        terminal.say(notice)
    with files.atomic(snakemake.output[0]) as file, open(snakemake.input[0], "rb") as given:
        shutil.copyfileobj(given, file)
    if snakemake.output.get("config"):
        files.write_json(snakemake.output.config, found.config, indent=True)
