"""Evaluate one model: multiple choice by three protocols, reading by two scorers; every item is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mcqlora import adapters, encode, io, prompt, scoring, squad, tokenizer, training


def evaluate(
    *,
    model: str,
    base: Path,
    adapter: str | None,
    tokenizer_path: str,
    test: str,
    questions: str,
    squad_path: str,
    network: dict,
    lora: dict,
    device: str,
    seq_length: int,
    batch_size: int,
    generation: dict,
    reading: dict,
    seed: int,
    reference_template: bool,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """(mcq.json, squad.json) of the base, or of the base with `adapter`.

    `generation` and `reading` have `items` (how many, at most, drawn by the items' own keys: the same for
    every model) and `max_new_tokens`.
    """
    processor = tokenizer.load(tokenizer_path)
    encoder = encode.SegmentEncoder(processor)
    template = prompt.template(processor, reference_template)
    network = training.network_of(base, network)
    config = training.model_config(network, seq_length, batch_size, device, template.pad, template.eos, None)
    weights = adapters.read(base / "model.safetensors")
    if adapter:
        weights = adapters.merge(weights, adapters.read(adapter), lora["alpha"] / lora["rank"])
    forward = scoring.load(config, device, weights, str(adapter or base))

    by_id = {question["id"]: question for question in io.read_jsonl(questions)}
    items = scoring.choices(io.read_json_array(test), by_id, encoder, template)
    candidates = [scoring.Continuation(item.prompt, ids) for item in items for ids in item.candidates]
    scored = scoring.score(forward, candidates, batch_size, seq_length)
    protocols = scoring.choose(items, scored)

    sample = drawn([item.id for item in items], generation["items"], seed)
    matches = scoring.greedy_matches(items, scored)
    written = {
        i: items[i].candidates[matches[i]][: generation["max_new_tokens"]]
        for i in sample
        if matches[i] is not None
    }
    missing = [i for i in sample if i not in written]
    stop = {template.eos, template.eoa}
    texts = scoring.generate(
        forward,
        [items[i].prompt for i in missing],
        generation["max_new_tokens"],
        stop,
        batch_size,
        seq_length,
    )
    written |= dict(zip(missing, texts, strict=True))
    protocols["generation"] = [_generated(items[i], processor.decode(written[i])) for i in sample]
    mcq = {"model": model, "protocols": {name: {"items": rows} for name, rows in protocols.items()}}
    return mcq, read(
        model, forward, squad_path, processor, encoder, template, reading, batch_size, seq_length, seed
    )


def _generated(item: scoring.Choice, text: str) -> dict[str, Any]:
    choice = prompt.parse_answer(text)
    return {"id": item.id, "order": item.order, "gold": item.gold, "choice": choice} | {
        "correct": choice == item.gold,
        "text": text,
    }


def drawn(keys: list[str], count: int, seed: int) -> list[int]:
    """Indices of at most `count` items, drawn by the hash of seed and key, in their original order."""
    ranked = sorted(range(len(keys)), key=lambda i: io.digest(seed, "sample", keys[i]))
    return sorted(ranked[:count])


def read(
    model: str,
    forward: scoring.Forward,
    path: str,
    processor: Any,
    encoder: prompt.Encode,
    template: prompt.Template,
    reading: dict,
    batch_size: int,
    seq_length: int,
    seed: int,
) -> dict[str, Any]:
    """squad.json: greedy answers to a sample of the reading test, by both scorers.

    The official scorer counts every item of the sample, MindFormers' those that are the first of their
    paragraph, against its first answer.
    """
    questions = list(squad.read(path))
    sample = [questions[i] for i in drawn([q["id"] for q in questions], reading["items"], seed)]
    prompts = [[template.bos, *encoder(squad.prompt(q["context"], q["question"]))] for q in sample]
    answers = scoring.generate(
        forward, prompts, reading["max_new_tokens"], {template.eos, template.newline}, batch_size, seq_length
    )
    items = []
    for question, ids in zip(sample, answers, strict=True):
        prediction = processor.decode(ids).strip()
        official = squad.official(prediction, question["answers"])
        other = squad.mindformers(prediction, question["answers"][0]) if question["first"] else None
        items.append(
            {
                "id": question["id"],
                "paragraph": question["paragraph"],
                "prediction": prediction,
                "official": dict(zip(("em", "f1"), official, strict=True)),
                "mindformers": dict(zip(("em", "f1"), other, strict=True)) if other else None,
            }
        )
    scores = {
        scorer: squad.aggregate((item[scorer]["em"], item[scorer]["f1"]) for item in items if item[scorer])
        for scorer in ("official", "mindformers")
    }
    return {"model": model, "items": items, **scores}
