"""Our side of test_families, run in MindSpore's venv: `families_compute.py FOLDER`, with a job.json in it.

For each family a Hugging Face folder goes in, and an adapter of random numbers is exported for PEFT and
merged. FAMILY.npz gets the logits of base, tuned and merged, float32 [N, S, ids], and greedy continuations.
"""

import sys
from pathlib import Path

import numpy as np

from mcqlora import files
from mcqlora.evaluate import generation
from mcqlora.evaluate.engine import Engine
from mcqlora.evaluate.forward import load
from mcqlora.interop import export, huggingface, peft
from mcqlora.model import weights
from mcqlora.model.architecture import Lora, read_architecture
from mcqlora.tokens import tokenizer
from tests.helpers.texts import TEXTS
from tests.parity.compute import logits

LORA = Lora(rank=4, alpha=8, dropout=0.0, target_modules=".*wq|.*wk|.*wv|.*wo|.*w1|.*w2|.*w3")
PIECES = 400


def adapter(network, random) -> dict[str, np.ndarray]:
    made = {}
    for name, shape in network.shapes().items():
        if len(shape) == 2 and ".layers." in name:
            stem = name.removesuffix("weight")
            made[f"{stem}{weights.LORA[0]}"] = random.normal(0, 0.1, (LORA.rank, shape[1])).astype("f4")
            made[f"{stem}{weights.LORA[1]}"] = random.normal(0, 0.1, (shape[0], LORA.rank)).astype("f4")
    return made


def compute(folder: Path, family: str, job: dict) -> None:
    given, out, model_file = folder / family, folder / f"{family}-out", folder / "tokenizer.model"
    huggingface.convert(
        folder=given, tokenizer_path=str(model_file), output=out / "base", asked={}, device="CPU"
    )
    base, network = weights.read(out / "base" / "model.safetensors"), read_architecture(out / "base")
    lora = adapter(network, np.random.default_rng(1))
    weights.save(lora, out / "checkpoint_1.safetensors")
    peft.export_adapter(
        adapter=out / "checkpoint_1.safetensors",
        output=out / "peft",
        lora=LORA,
        network=out / "base",
        base=str(given),
    )
    export.export_network(
        base=out / "base",
        adapter=out / "checkpoint_1.safetensors",
        tokenizer_path=str(model_file),
        output=out / "merged",
        scaling=LORA.alpha / LORA.rank,
        seq_length=64,
        template=None,
    )
    merged, ids = weights.merge(base, lora, LORA.alpha / LORA.rank), np.array(job["ids"], np.int32)
    plain, tuned = (network.model_config(64, 1, "CPU", 0, 2, added) for added in (None, LORA))
    found = {
        "base": logits(plain, base, ids, "base"),
        "tuned": logits(tuned, base | lora, ids, "tuned"),
        "merged": logits(plain, merged, ids, "merged"),
    }
    engine = Engine(load(plain, "CPU", merged, "merged"), 10, 64)
    found["written"] = np.array(generation.generate(engine, job["prompts"], job["new_tokens"], set()))
    np.savez(folder / f"{family}.npz", **found)


if __name__ == "__main__":
    place = Path(sys.argv[1])
    tokenizer.train(TEXTS, place / "tokenizer.model", PIECES)
    for name in sys.argv[2:]:
        compute(place, name, files.read_json(place / "job.json"))
