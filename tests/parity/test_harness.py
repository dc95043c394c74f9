"""lm-evaluation-harness itself, on a Hugging Face LLaMA, against our `harness` protocol on the same weights.

The network is random: prompts, likelihoods, choices and accuracy are compared, item by item.
The harness' own templates are used as they stand in the package; only the data set is a local file.
"""

import json
import os
from itertools import groupby
from pathlib import Path

import pytest

from tests.parity.conftest import other_python

pytestmark = pytest.mark.parity

SIZES = {"hidden_size": 48, "num_layers": 2, "num_heads": 4, "intermediate_size": 96, "rms_norm_eps": 1e-6}
NAMES = {  # Hugging Face's name: MindFormers'
    "model.embed_tokens.weight": "model.tok_embeddings.embedding_weight",
    "model.norm.weight": "model.norm_out.weight",
    "self_attn.q_proj": "attention.wq",
    "self_attn.k_proj": "attention.wk",
    "self_attn.v_proj": "attention.wv",
    "self_attn.o_proj": "attention.wo",
    "mlp.gate_proj": "feed_forward.w1",
    "mlp.down_proj": "feed_forward.w2",
    "mlp.up_proj": "feed_forward.w3",
    "input_layernorm": "attention_norm",
    "post_attention_layernorm": "ffn_norm",
}


def ours(step: str, folder: Path) -> None:
    other_python("-m", "tests.parity.ours", step, folder)


def renamed(name: str) -> str:
    for old, new in NAMES.items():
        name = name.replace(old, new)
    return name


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Questions, a tokenizer, and one random network in both formats."""
    import torch
    from safetensors.torch import save_file
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("harness")
    ours("prepare", folder)
    vocabulary = json.loads((folder / "pieces.json").read_text())
    torch.manual_seed(0)
    network = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=SIZES["hidden_size"],
            num_hidden_layers=SIZES["num_layers"],
            num_attention_heads=SIZES["num_heads"],
            intermediate_size=SIZES["intermediate_size"],
            rms_norm_eps=SIZES["rms_norm_eps"],
            attention_bias=True,
            max_position_embeddings=512,
            tie_word_embeddings=False,
        )
    ).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(0, 0.6)
    save_file(
        {renamed(k): v.contiguous() for k, v in network.state_dict().items()}, folder / "model.safetensors"
    )
    sizes = SIZES | {"vocab_size": vocabulary, "n_kv_heads": None, "theta": 1e4}
    (folder / "network.json").write_text(json.dumps(sizes | {"has_bias": True, "init_std": 0.6}))
    ours("score", folder)
    return folder, network


@pytest.fixture(scope="module")
def theirs(folder):
    """The harness' samples by (language, worked examples)."""
    os.environ["HF_DATASETS_OFFLINE"] = os.environ["HF_HUB_OFFLINE"] = "1"
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    place, network = folder
    asked = json.loads((place / "questions.json").read_text())
    for language in ("en", "zh"):
        write_task(place / "tasks", f"local_{language}", [q for q in asked if q["language"] == language])
    model = HFLM(pretrained=network, tokenizer=tokenizer(place), batch_size=4, max_length=512, device="cpu")
    manager = TaskManager(include_path=str(place / "tasks"), include_defaults=False)
    found = {}
    for shots in (0, 3):
        result = simple_evaluate(
            model=model,
            tasks=["local_en", "local_zh"],
            num_fewshot=shots,
            task_manager=manager,
            log_samples=True,
            bootstrap_iters=100,
            random_seed=0,
        )
        for language in ("en", "zh"):
            found[language, shots] = (
                result["samples"][f"local_{language}"],
                result["results"][f"local_{language}"],
            )
    return found


def tokenizer(folder: Path):
    """The SentencePiece model in Hugging Face's clothes, with <s> in front as LLaMA's has it."""
    from transformers import LlamaTokenizer

    return LlamaTokenizer.from_pretrained(str(folder), add_bos_token=True, add_prefix_space=False)


def write_task(folder: Path, name: str, questions: list[dict]) -> None:
    """A task of the harness over questions of one category: its own template, our data."""
    import lm_eval

    tasks = Path(lm_eval.__file__).parent / "tasks"
    language, subject = questions[0]["language"], questions[0]["subject"].replace("_", " ")
    template = {"en": "mmlu/default", "zh": "cmmlu"}[language]
    files = {split: folder / f"{name}_{split}.json" for split in ("dev", "test")}
    folder.mkdir(exist_ok=True)
    for split, path in files.items():
        rows = [
            row(question, language)
            for question in questions
            if (question["split"] == "dev") == (split == "dev")
        ]
        path.write_text("\n".join(json.dumps(r, ensure_ascii=False) for r in rows), encoding="utf-8")
    description = {
        "en": f"The following are multiple choice questions (with answers) about {subject}.\\n\\n",
        "zh": f"以下是关于{subject}的单项选择题，请直接给出正确答案的选项。\\n\\n",
    }[language]
    lines = [
        f"include: {tasks / template / '_default_template_yaml'}",
        f"task: {name}",
        "dataset_path: json",
        "dataset_kwargs:",
        "  data_files:",
        *(f"    {split}: {path}" for split, path in files.items()),
        f'description: "{description}"',
    ]
    (folder / f"{name}.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")


def zero_shot(place: Path, pretrained: Path, questions: list[dict], **options) -> dict[str, dict]:
    """The harness' samples by the question's id: a folder's network on questions, in order of category."""
    os.environ["HF_DATASETS_OFFLINE"] = os.environ["HF_HUB_OFFLINE"] = "1"
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    names = []
    for _, group in groupby(questions, key=lambda question: (question["benchmark"], question["subject"])):
        names.append(f"local_{len(names)}")
        asked = [question | {"split": "test"} for question in group]
        write_task(place, names[-1], [asked[0] | {"split": "dev"}, *asked])  # an empty file is refused
    result = simple_evaluate(
        model=HFLM(pretrained=str(pretrained), dtype="float32", batch_size=8, device="cpu", **options),
        tasks=names,
        num_fewshot=0,
        task_manager=TaskManager(include_path=str(place), include_defaults=False),
        log_samples=True,
        bootstrap_iters=0,
    )
    return {sample["doc"]["id"]: sample for name in names for sample in result["samples"][name]}


def row(question: dict, language: str) -> dict:
    """A row as the data set behind the template has it."""
    letters = dict(zip("ABCD", question["options"], strict=True))
    if language == "zh":
        return {
            "id": question["id"],
            "Question": question["question"],
            **letters,
            "Answer": question["answer"],
        }
    return {
        "id": question["id"],
        "question": question["question"],
        "choices": question["options"],
        "answer": "ABCD".index(question["answer"]),
    }


@pytest.mark.parametrize("shots", [0, 3])
@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_harness_agrees_item_by_item(folder, theirs, language, shots):
    place, _ = folder
    mine = {row["id"]: row for row in json.loads((place / "ours.json").read_text())[str(shots)]}
    samples, results = theirs[language, shots]
    assert len(samples) == 20
    correct = []
    for sample in samples:
        row = mine[sample["doc"]["id"]]
        assert not row["truncated"]
        assert sample["arguments"][0][0] == row["prompt"]
        likelihoods = [float(pair[0][0]) for pair in sample["resps"]]
        assert row["scores"] == pytest.approx(likelihoods, abs=2e-4)
        assert "ABCD".index(row["choice"]) == max(range(4), key=likelihoods.__getitem__)
        assert row["correct"] == (sample["acc"] == 1.0)
        correct.append(row["correct"])
    assert results["acc,none"] == pytest.approx(sum(correct) / len(correct))
    spread = (sum((c - results["acc,none"]) ** 2 for c in correct) / (len(correct) - 1)) ** 0.5
    assert results["acc_stderr,none"] == pytest.approx(spread / len(correct) ** 0.5)
    assert len({row["choice"] for row in mine.values()}) > 1
