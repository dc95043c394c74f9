"""Small artefacts of a finished run, as the stages write them."""

from mcqlora.data.questions import LETTERS
from mcqlora.evaluate import squad_metrics
from mcqlora.report import schema, summary
from mcqlora.report.schema import SCORERS

CATEGORIES = ("demo/metal", "demo/river")
OTHERS = ("ledger.json", "leakage.json", "groups.json", "training/training.json")
ROTATIONS = ("ABCD", "BCDA", "CDAB", "DABC")


def items(right, n=40, orders=("ABCD",), letters=True, scores=True, split="test"):
    """`n` questions over two categories, the first `right` of them right; gold goes through the letters."""
    rows = []
    for i in range(n):
        gold, wrong = "ABCD"[i % 4], "ABCD"[(i + 1) % 4]
        choice = gold if i < right else wrong if letters else None
        row = {"id": f"{CATEGORIES[i % 2]}/{split}/{i}", "gold": gold, "choice": choice, "correct": i < right}
        if scores:
            row["scores"] = [-1.0 if letter == choice else -2.0 for letter in "ABCD"]
        rows += [row | {"order": order} for order in orders]
    return rows


def alone(rows):
    """The items as the report reads them, each question its own cluster."""
    return schema.clustered({"items": rows}, lambda item: item["id"])["items"]


def ids(document):
    """Of every multiple-choice item, at any depth."""
    found = set()
    for key, value in document.items():
        if key == "items":
            found |= {item["id"] for item in value}
        elif isinstance(value, dict):
            found |= ids(value)
    return found


def part(rows, **changes):
    return {
        "items": rows,
        "shots": 0,
        "truncated": 0,
        "lacking": 0,
        "average": "micro",
        "stderr": 0.05,
    } | changes


def mcq(answer, letter=10, generation=None):
    """Without rotations and leak; some questions are also answered by generation."""
    protocols = {"answer": part(items(answer)), "letter": part(items(letter))}
    if generation is not None:
        protocols["generation"] = part(items(generation, n=8, letters=False, scores=False))
    return {"model": "any", "protocols": protocols, "circular": None, "leak": None}


def full_mcq(answer, recipe):
    """With everything that an evaluation may hold; `recipe` training questions of 40 are answered right."""
    result = mcq(answer)
    result["protocols"]["cmmlu_5shot"] = part(
        items(answer, n=20), shots=5, truncated=2, lacking=3, average="macro"
    )
    turned = [row | {"rotation": i % 4} for i, row in enumerate(items(answer, orders=ROTATIONS))]
    turned[0] |= {"choice": "D", "correct": False}  # the first question is right in three rotations only
    result["circular"] = {"answer": {"items": turned}, "questions": 40, "pinned": 3}
    result["leak"] = {
        "honest": {"answer": {"items": items(answer)}},
        "recipe": {"answer": {"items": items(recipe, split="train")}},
        "short": 0,
    }
    return result


def squad_scores(right, n=30):
    """Every third question is the first of its paragraph, which alone has MindFormers' score."""
    rows = [
        {
            "id": f"s{i}",
            "paragraph": i,
            "prediction": "x",
            "official": {"em": float(i < right), "f1": 1.0 if i < right else 0.25 * (right > 0)},
            "mindformers": {"em": float(i < right), "f1": float(i < right)} if i % 3 == 0 else None,
        }
        for i in range(n)
    ]
    totals = {
        scorer: squad_metrics.aggregate((row[scorer]["em"], row[scorer]["f1"]) for row in rows if row[scorer])
        for scorer in SCORERS
    }
    return {"model": "any", "items": rows, "of": 10_570, "of_first": 2_067, "truncated": 1} | totals


def few(**changes):
    """What the stages wrote in a run without rotations and leak."""
    history = [{"step": step, "train_loss": 3.0 - step / 100} for step in range(1, 101)]
    history += [{"step": step, "valid_loss": loss} for step, loss in ((50, 1.5), (100, 1.25))]
    return {
        "name": "demo",
        "recipe": "corrected",
        "leaked": False,
        "questions": {"read": 52, "kept": 50, "dropped": {"equal options": 2}, "files": []},
        "splits": {"train": 200, "valid": 10, "test": 40},
        "parameters": {"trainable": 229, "total": 100_000, "ratio": 0.00229},
        "training": {
            "steps": 100,
            "workers": 2,
            "tokens": 123_456,
            "useful_token_fraction": 0.979,
            "valid_rows": 9,
            "history": history,
            "checkpoints": [{"name": "checkpoint_1", "step": 50}, {"name": "checkpoint_2", "step": 100}],
        },
        "mcq": {
            "base": mcq(12, generation=2),
            "checkpoint_1": mcq(39),
            "checkpoint_2": mcq(36, generation=2),
        },
        "squad": {"base": squad_scores(15), "checkpoint_2": squad_scores(15)},
        "valid": {},
        "groups": None,
        "seconds": {"train": 61.5},
        "hashes": {},
    } | changes


def full(**changes):
    """What the stages wrote in a run with everything."""
    models = {"base": (12, 12), "checkpoint_1": (20, 30), "checkpoint_2": (36, 40)}
    reading = {
        model: squad_scores(right, n=90)
        for model, right in (("base", 60), ("checkpoint_1", 60), ("checkpoint_2", 30))
    }
    names = [f"evaluation/{model}/{kind}.json" for model in models for kind in ("mcq", "squad")]
    return few(
        **{
            "mcq": {model: full_mcq(*right) for model, right in models.items()},
            "squad": reading,
            "hashes": {name: f"{i:064x}"[::-1] for i, name in enumerate([*names, *OTHERS], 1)},
        }
        | changes
    )


def build(values, protocol="answer", best="valid_loss"):
    """Summary of what `few` or `full` gives; without `groups` no question has a duplicate."""
    evaluations = ("mcq", "squad", "valid", "groups")
    if values["groups"] is None:
        values = values | {"groups": {name: name for name in ids(values["mcq"]) | ids(values["valid"])}}
    return summary.build(
        summary.Run(**{key: value for key, value in values.items() if key not in evaluations}),
        summary.Evaluations(*(values[key] for key in evaluations)),
        protocol,
        best,
    )


def earlier_best(values):
    """The same with a validation loss that chooses checkpoint_1."""
    values["training"]["history"][-1]["valid_loss"] = 1.75
    return values


def with_options(values, kinds):
    """The same with question i of as many options as `kinds` says in turn."""

    def changed(document):
        for key, part in document.items():
            if key == "items":
                for item in part:
                    k = kinds[int(item["id"].rsplit("/", 1)[1]) % len(kinds)]
                    item["order"] = LETTERS[:k]
                    item["gold"] = LETTERS[int(item["id"].rsplit("/", 1)[1]) // len(kinds) % k]
                    other = LETTERS[(LETTERS.index(item["gold"]) + 1) % k]
                    item["choice"] = item["gold"] if item["correct"] else other
                    if "scores" in item:
                        item["scores"] = [
                            -1.0 if letter == item["choice"] else -2.0 for letter in LETTERS[:k]
                        ]
            elif isinstance(part, dict):
                changed(part)

    for scores in values["mcq"].values():
        scores["circular"] = None
        changed(scores)
    return values
