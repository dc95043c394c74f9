"""Ask the base or a checkpoint: the test questions and the reading test, or the validation questions."""

from pathlib import Path
from types import SimpleNamespace

from mcqlora import files
from mcqlora.evaluate import tasks
from mcqlora.evaluate.asking import GenerationSettings
from mcqlora.evaluate.mcq import McqSettings
from mcqlora.evaluate.model import ModelSpec
from mcqlora.job import job, progress_on
from mcqlora.model.architecture import of_base

with job(snakemake) as terminal:
    given, params = snakemake.input, SimpleNamespace(**snakemake.params.chosen)
    model = ModelSpec(
        name=snakemake.wildcards.model,
        base=given.base,
        adapter=given.get("adapter") or None,
        tokenizer=given.tokenizer,
        runs="runs",
        architecture=of_base(params.model, Path(given.base), params.seq_length),
        scaling=params.lora_scaling,
        device=params.device,
        seq_length=params.seq_length,
        batch_size=params.batch_size,
        template=params.template,
    )
    if given.get("valid"):
        task = tasks.Validation(model=model, questions=given.questions, valid=given.valid)
    else:
        squad = Path(given.squad)
        task = tasks.Evaluation(
            model=model,
            questions=given.questions,
            groups=given.groups,
            test=given.test,
            train=given.train,
            last_copy=given.last_copy,
            squad=str(squad / params.squad if squad.is_dir() else squad),
            multiple_choice=McqSettings(
                protocols=params.protocols,
                shots=params.shots,
                rotations=params.rotations != 1,
                option_references=params.option_references,
                leak_items=params.leak_items,
                generation=GenerationSettings(params.generation_items, params.generation_max_new_tokens),
            ),
            reading=GenerationSettings(params.squad_items, params.squad_max_new_tokens),
            seed=params.seed,
        )
    worker = Path(snakemake.scriptdir, "evaluation_worker.py")
    made = tasks.ask(task, snakemake.resources.workers, worker, progress_on(terminal))
    for path, document in zip(snakemake.output, made, strict=True):
        files.write_json(path, document)
