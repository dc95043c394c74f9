"""The reading test: greedy answers to SQuAD questions, by both scorers."""

from __future__ import annotations

from mcqlora.data import squad
from mcqlora.evaluate import squad_metrics
from mcqlora.evaluate.asking import GenerationSettings, Model
from mcqlora.evaluate.sampling import drawn
from mcqlora.files import Json


def read(model: Model, path: str, settings: GenerationSettings, seed: int) -> Json:
    """squad.json: greedy answers to a sample of the reading test, by both scorers.

    The sample is stratified by article. The official scorer counts every item of it, MindFormers' those that
    are the first of their paragraph, against its first answer.

    Returns:
        `model`, `items`, `official` and `mindformers` (see `squad_metrics.aggregate`), `truncated`; the file
        has `of` questions, `of_first` of them the first of their paragraph. An item has `id`, `paragraph`,
        `article` (numbers), `prediction`, and by scorer `em` and `f1` in 0..1, None where it doesn't count.

    Raises:
        UserError: the file is no SQuAD v1.1.
    """
    questions = list(squad.read(path))
    ids, articles = [q.id for q in questions], [q.article for q in questions]
    sample = [questions[i] for i in drawn(ids, articles, settings.items, seed)]
    encode, template = model.tokens.encode, model.tokens.template
    prompts = [[*template.start, *encode(squad.prompt(q.context, q.question))] for q in sample]
    answers = model.write(prompts, settings.max_new_tokens, {template.eos, *template.line_ends}, "reading")
    said = [model.tokens.processor.decode(ids).strip() for ids in answers]
    pairs = list(zip(sample, said, strict=True))
    official = [squad_metrics.official(text, q.answers) for q, text in pairs]
    first = [squad_metrics.mindformers(text, q.answers[0]) if q.first else None for q, text in pairs]
    items: list[Json] = [
        {"id": q.id, "paragraph": q.paragraph, "article": q.article, "prediction": text}
        | {"official": ours._asdict(), "mindformers": theirs and theirs._asdict()}
        for (q, text), ours, theirs in zip(pairs, official, first, strict=True)
    ]
    lengths = [len(ids) + len(answer) for ids, answer in zip(prompts, answers, strict=True)]
    return {
        "model": model.name,
        "items": items,
        "official": squad_metrics.aggregate(official),
        "mindformers": squad_metrics.aggregate(filter(None, first)),
        "of": len(questions),
        "of_first": sum(question.first for question in questions),
        "truncated": sum(length > model.engine.limit for length in lengths),
    }
