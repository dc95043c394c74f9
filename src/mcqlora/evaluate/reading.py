"""The reading test: greedy answers to SQuAD questions, by both scorers."""

from __future__ import annotations

from collections.abc import Mapping

from mcqlora.data import squad
from mcqlora.evaluate import squad_metrics
from mcqlora.evaluate.mcq import Json
from mcqlora.evaluate.model import Model
from mcqlora.evaluate.sampling import drawn

# Reading


def read(model: Model, path: str, reading: Mapping[str, int], seed: int) -> Json:
    """squad.json: greedy answers to a sample of the reading test, by both scorers.

    The sample is stratified by article. The official scorer counts every item of it, MindFormers' those that
    are the first of their paragraph, against its first answer.
    """
    questions = list(squad.read(path))
    ids, articles = [q["id"] for q in questions], [q["article"] for q in questions]
    sample = [questions[i] for i in drawn(ids, articles, reading["items"], seed)]
    template = model.template
    prompts = [[template.bos, *model.encode(squad.prompt(q["context"], q["question"]))] for q in sample]
    stop = {template.eos, template.newline}
    answers = model.write(prompts, reading["max_new_tokens"], stop, "reading")
    items = []
    for question, written in zip(sample, answers, strict=True):
        prediction = model.processor.decode(written).strip()
        official = squad_metrics.official(prediction, question["answers"])
        other = squad_metrics.mindformers(prediction, question["answers"][0]) if question["first"] else None
        items.append(
            {
                "id": question["id"],
                "paragraph": question["paragraph"],
                "article": question["article"],
                "prediction": prediction,
                "official": dict(zip(("em", "f1"), official, strict=True)),
                "mindformers": dict(zip(("em", "f1"), other, strict=True)) if other else None,
            }
        )
    scores = {
        scorer: squad_metrics.aggregate(
            (item[scorer]["em"], item[scorer]["f1"]) for item in items if item[scorer]
        )
        for scorer in ("official", "mindformers")
    }
    return {
        "model": model.name,
        "items": items,
        **scores,
        "of": len(questions),
        "of_first": sum(question["first"] for question in questions),
        "truncated": sum(
            len(ids) + len(answer) > model.limit for ids, answer in zip(prompts, answers, strict=True)
        ),
    }
