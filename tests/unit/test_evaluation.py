import numpy as np
import pytest

from mcqlora import adapters, alpaca, evaluation, io, prompt, scoring, squad

TEMPLATE = prompt.Template(bos=1, eos=2, eoh=3, eoa=4, newline=5, pad=0)
READING = {"items": 99, "max_new_tokens": 40}


def characters(text):
    """A tokenizer with a token a character."""
    return [TEMPLATE.newline if character == "\n" else 100 + ord(character) for character in text]


class Processor:
    def decode(self, ids):
        return "".join("\n" if i == TEMPLATE.newline else chr(i - 100) for i in ids)


def recite(answers):
    """A network that knows by heart what follows each prompt of `answers`, [(prompt ids, answer text)]."""

    def forward(ids, positions, targets):
        choices = np.full(positions.shape, TEMPLATE.eos, np.int32)
        for row, column in np.ndindex(*positions.shape):
            text = ids[row, : positions[row, column] + 1].tolist()
            for start, answer in answers:
                written = text[len(start) :]
                whole = [*characters(answer), TEMPLATE.eos]
                if text[: len(start)] == start and whole[: len(written)] == written and written != whole:
                    choices[row, column] = whole[len(written)]
        return np.where(targets == choices, -0.1, -5).astype(np.float32), choices

    return forward


def paragraph(number, questions):
    return {
        "context": f"Passage {number} tells of the old mill.",
        "qas": [
            {
                "id": f"{number}-{index}",
                "question": question,
                "answers": [{"text": text, "answer_start": 0} for text in texts],
            }
            for index, (question, texts) in enumerate(questions)
        ],
    }


@pytest.fixture
def squad_file(tmp_path):
    path = tmp_path / "squad.json"
    paragraphs = [
        paragraph(0, [("What stands there?", ["old mill", "the mill"]), ("How old is it?", ["old"])]),
        paragraph(1, [("Which passage?", ["1"])]),
    ]
    io.write_json(path, {"version": "1.1", "data": [{"title": "t", "paragraphs": paragraphs}]})
    return path


def read(squad_file, said, reading=READING, seed=0):
    questions = {question["id"]: question for question in squad.read(squad_file)}
    answers = [
        (
            [TEMPLATE.bos, *characters(squad.prompt(questions[key]["context"], questions[key]["question"]))],
            text,
        )
        for key, text in said.items()
    ]
    return evaluation.read(
        "base", recite(answers), str(squad_file), Processor(), characters, TEMPLATE, reading, 2, 384, seed
    )


def test_drawn_is_a_function_of_seed_and_keys():
    keys = [f"k{i}" for i in range(50)]
    indices = evaluation.drawn(keys, 10, 0)
    assert len(indices) == 10 and indices == sorted(indices)
    turned = evaluation.drawn(keys[::-1], 10, 0)
    assert {keys[::-1][i] for i in turned} == {keys[i] for i in indices}
    assert evaluation.drawn(keys, 10, 1) != indices
    assert set(indices) <= set(evaluation.drawn(keys, 20, 0))
    assert evaluation.drawn(keys, 99, 0) == list(range(50))


def test_reading_is_scored_by_both_scorers(squad_file):
    found = read(squad_file, {"0-0": " the mill", "0-1": "very old", "1-0": "no idea"})
    items = {item["id"]: item for item in found["items"]}
    assert items["0-0"]["prediction"] == "the mill"
    assert items["0-0"]["official"] == {"em": 1, "f1": 1.0}
    assert items["0-0"]["mindformers"]["em"] == 0  # its gold is the first answer, "old mill"
    assert items["0-1"]["official"]["em"] == 0 and items["0-1"]["official"]["f1"] == pytest.approx(2 / 3)
    assert [item["paragraph"] for item in found["items"]] == [0, 0, 1]
    assert found["official"]["n"] == 3
    assert found["official"]["em"] == pytest.approx(100 / 3)
    assert found["mindformers"]["em"] == 0


def test_mindformers_counts_the_first_question_of_a_paragraph_alone(squad_file):
    found = read(squad_file, {"0-0": "old mill", "0-1": "old", "1-0": "1"})
    assert [item["mindformers"] is not None for item in found["items"]] == [True, False, True]
    assert found["mindformers"]["n"] == 2
    assert found["mindformers"]["em"] == 100


def test_an_answer_ends_with_its_line(squad_file):
    found = read(squad_file, {"0-0": "old mill\nand then some"})
    assert found["items"][0]["prediction"] == "old mill"


def test_an_answer_has_at_most_so_many_tokens(squad_file):
    found = read(squad_file, {"0-0": "x" * 50}, {"items": 99, "max_new_tokens": 7})
    assert found["items"][0]["prediction"] == "x" * 7


def test_reading_takes_a_sample(squad_file):
    found = read(squad_file, {}, {"items": 2, "max_new_tokens": 7})
    assert len(found["items"]) == found["official"]["n"] == 2


QUESTIONS = [
    {
        "id": f"toy/birds/test/{number}",
        "benchmark": "toy",
        "subject": "birds",
        "split": "test",
        "row": number,
        "language": "en",
        "question": f"Which bird is number {number}?",
        "options": ["owl", "wren", "gull", "lark"],
        "answer": "B",
    }
    for number in range(3)
]
NETWORK = {"hidden_size": 4, "num_layers": 1, "num_heads": 1, "n_kv_heads": None, "intermediate_size": 4}
NETWORK |= {"vocab_size": 9, "rms_norm_eps": 1e-6, "theta": 1e4, "has_bias": True, "init_std": 0.01}
WEIGHT = "model.layers.0.attention.wq.weight"


@pytest.fixture
def run(tmp_path, squad_file, monkeypatch):
    """A function that evaluates a reciting network; returns mcq.json, squad.json and the weights it has."""
    records = [alpaca.shuffled_record(question, "DCBA") for question in QUESTIONS]  # the wren is C now
    io.write_json_array(tmp_path / "test.json", records)
    io.write_jsonl(tmp_path / "questions.jsonl", QUESTIONS)
    adapters.save({WEIGHT: np.zeros((4, 4), np.float32)}, tmp_path / "base" / "model.safetensors")
    io.write_json(tmp_path / "base" / "config.json", NETWORK)
    lora = {"lora_a": np.ones((2, 4), np.float32), "lora_b": np.ones((4, 2), np.float32)}
    named = {WEIGHT.replace("weight", f"mindpet_delta_{name}"): value for name, value in lora.items()}
    adapters.save(named, tmp_path / "adapter.safetensors")
    monkeypatch.setattr(evaluation.tokenizer, "load", lambda path: Processor())
    monkeypatch.setattr(evaluation.encode, "SegmentEncoder", lambda processor: characters)
    monkeypatch.setattr(evaluation.prompt, "from_tokenizer", lambda processor: TEMPLATE)
    monkeypatch.setattr(evaluation.prompt, "reference", lambda processor: TEMPLATE)
    loaded = {}

    def evaluate(said, adapter=None, items=99):
        answers = [
            (prompt.prompt_ids(characters, TEMPLATE, record["instruction"], record["input"]), text)
            for record, text in zip(records, said, strict=True)
        ]

        def load(model_config, device, weights, name):
            loaded.update(weights)
            return recite(answers)

        monkeypatch.setattr(scoring, "load", load)
        return (
            *evaluation.evaluate(
                model="base",
                base=tmp_path / "base",
                adapter=adapter and str(tmp_path / adapter),
                tokenizer_path="t",
                test=str(tmp_path / "test.json"),
                questions=str(tmp_path / "questions.jsonl"),
                squad_path=str(squad_file),
                network=NETWORK,
                lora={"rank": 2, "alpha": 6},
                device="CPU",
                seq_length=384,
                batch_size=4,
                generation={"items": items, "max_new_tokens": 60},
                reading=READING,
                seed=0,
                reference_template=False,
            ),
            loaded,
        )

    return evaluate


def test_multiple_choice_by_three_protocols(run):
    mcq, reading, _ = run(["The right option is C.wren", "The right option is B", "I can't say"])
    assert mcq["model"] == reading["model"] == "base"
    assert set(mcq["protocols"]) == {"answer", "letter", "generation"}
    for protocol in mcq["protocols"].values():
        assert [item["id"] for item in protocol["items"]] == [question["id"] for question in QUESTIONS]
        assert all(item["gold"] == "C" and item["order"] == "DCBA" for item in protocol["items"])
    generated = mcq["protocols"]["generation"]["items"]
    assert [item["text"] for item in generated] == [
        "The right option is C.wren",
        "The right option is B",
        "I can't say",
    ]
    assert [(item["choice"], item["correct"]) for item in generated] == [
        ("C", True),
        ("B", False),
        (None, False),
    ]
    assert mcq["protocols"]["answer"]["items"][0]["correct"] is True
    letters = mcq["protocols"]["letter"]["items"]
    assert [item["choice"] for item in letters[:2]] == ["C", "B"]


def test_generation_takes_a_sample(run):
    mcq, _, _ = run(["The right option is C.wren"] * 3, items=2)
    assert len(mcq["protocols"]["generation"]["items"]) == 2
    assert len(mcq["protocols"]["answer"]["items"]) == 3


def test_the_adapter_is_folded_in_by_alpha_over_rank(run):
    _, _, weights = run(["", "", ""], adapter="adapter.safetensors")
    np.testing.assert_array_equal(weights[WEIGHT], np.full((4, 4), 6 / 2 * 2))  # (alpha / rank) B A


def test_without_an_adapter_the_base_is_as_it_is(run):
    _, _, weights = run(["", "", ""])
    np.testing.assert_array_equal(weights[WEIGHT], np.zeros((4, 4)))
