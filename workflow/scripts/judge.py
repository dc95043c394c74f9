"""Ask a model that was made elsewhere the run's validation and test questions, as the run's own are asked."""

from types import SimpleNamespace

from mcqlora import files
from mcqlora.data.questions import read_questions
from mcqlora.evaluate import foreign, mcq
from mcqlora.evaluate.asking import GenerationSettings
from mcqlora.job import job, progress_on

with job(snakemake) as terminal:
    given, params = snakemake.input, SimpleNamespace(**snakemake.params.chosen)
    spec = foreign.ForeignSpec(
        name=snakemake.wildcards.judged,
        path=params.path,
        adapter=params.adapter,
        runs="runs",
        seq_length=params.seq_length,
        batch_size=params.batch_size,
        device=params.device,
        dtype=params.dtype,
        template=params.template,
    )
    model = foreign.ready(spec, progress_on(terminal))
    terminal.say(f"{spec.name}: the recipe's prompt is asked in {model.tokens.template.name} turns")
    questions = {question.id: question for question in read_questions(given.questions)}
    settings = mcq.McqSettings(
        protocols=params.protocols,
        shots=params.shots,
        rotations=params.rotations != 1,
        option_references=params.option_references,
        leak_items=0,  # what it was trained on is not known here
        generation=GenerationSettings(params.generation_items, params.generation_max_new_tokens),
    )
    test, valid = (list(files.read_json_array(path)) for path in (given.test, given.valid))
    groups = files.read_json(given.groups)["groups"]
    found = mcq.choose(model, questions, test, [], settings, params.seed, groups)
    files.write_json(snakemake.output.mcq, found | {"turns": model.tokens.template.name})
    files.write_json(snakemake.output.valid, mcq.validate(model, questions, valid))
