"""questions.jsonl to the option-shuffled epochs, one file per copy."""

import contextlib
from types import SimpleNamespace

from mcqlora.data import option_references, shuffle
from mcqlora.data.questions import read_questions
from mcqlora.files import json_array
from mcqlora.job import job

with job(snakemake) as terminal, contextlib.ExitStack() as stack:
    params = SimpleNamespace(**snakemake.params.chosen)
    patterns = option_references.table(params.option_references)
    settings = shuffle.Shuffle(
        seed=params.seed,
        pin_references=params.pin_references,
        balance_letters=params.balance_letters,
        reparse_options=params.reparse_options,
    )
    files = [stack.enter_context(json_array(path)) for path in snakemake.output]
    languages = set()
    for question in read_questions(snakemake.input[0]):
        languages.add(question.language)
        records = shuffle.copies(question, settings, len(files), patterns)
        for write, record in zip(files, records, strict=True):
            write(record)
    for language in sorted(languages):
        missing = option_references.not_looked_for(language, patterns)
        if params.pin_references and missing:
            terminal.say(
                f"language {language}: options in it that refer to others ({', '.join(missing)}) are not "
                "looked for and move as all others do; add expressions to shuffle.option_references"
            )
