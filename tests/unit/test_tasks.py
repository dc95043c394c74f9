from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from mcqlora import files
from mcqlora.data import alpaca, squad
from mcqlora.data.questions import Question
from mcqlora.evaluate import forward, mcq, model, reading, sampling, tasks
from mcqlora.evaluate.asking import GenerationSettings, Model
from mcqlora.evaluate.engine import Engine
from mcqlora.evaluate.mcq import McqSettings
from mcqlora.evaluate.model import ModelSpec
from mcqlora.evaluate.protocols import Tokenization
from mcqlora.model import weights
from mcqlora.model.architecture import write_architecture
from mcqlora.model.weights import save
from mcqlora.provenance import fingerprint
from mcqlora.tokens import prompt, segments, tokenizer
from tests.helpers.networks import TINY
from tests.helpers.templates import internlm

TEMPLATE = internlm(bos=1, eos=2, eoh=3, eoa=4, newline=5, pad=0)
READING = GenerationSettings(items=99, max_new_tokens=40)


def characters(text):
    """A tokenizer with a token a character."""
    return [TEMPLATE.line_ends[0] if character == "\n" else 100 + ord(character) for character in text]


class Processor:
    def decode(self, ids):
        return "".join("\n" if i == TEMPLATE.line_ends[0] else chr(i - 100) for i in ids)


def recite(answers):
    """A network that knows by heart what follows each prompt of `answers`, [(prompt ids, answer text)]."""

    def forward(rows):
        choices = np.full(rows.positions.shape, TEMPLATE.eos, np.int32)
        for row, column in np.ndindex(*rows.positions.shape):
            position, branches = rows.positions[row, column], rows.branches[row]
            sees = [i for i in range(position + 1) if branches[i] in (0, branches[position])]
            text = rows.ids[row, sees].tolist()
            for start, answer in answers:
                written = text[len(start) :]
                whole = [*characters(answer), TEMPLATE.eos]
                if text[: len(start)] == start and whole[: len(written)] == written and written != whole:
                    choices[row, column] = whole[len(written)]
        return np.where(rows.targets == choices, -0.1, -5).astype(np.float32), choices

    return forward


def ready(network, limit=384):
    """A model that is asked two rows per pass."""
    return Model("base", Engine(network, 2, limit), Tokenization(Processor(), characters, TEMPLATE))


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
    files.write_json(path, {"version": "1.1", "data": [{"title": "t", "paragraphs": paragraphs}]})
    return path


def read(squad_file, said, settings=READING, seed=0):
    questions = {question.id: question for question in squad.read(squad_file)}
    answers = [
        (
            [*TEMPLATE.start, *characters(squad.prompt(questions[key].context, questions[key].question))],
            text,
        )
        for key, text in said.items()
    ]
    return reading.read(ready(recite(answers)), str(squad_file), settings, seed)


def test_drawn_is_a_function_of_seed_and_keys():
    keys = [f"k{i}" for i in range(50)]
    strata = ["few" if i < 10 else "many" for i in range(50)]
    indices = sampling.drawn(keys, strata, 10, 0)
    assert len(indices) == 10 and indices == sorted(indices)
    turned = sampling.drawn(keys[::-1], strata[::-1], 10, 0)
    assert {keys[::-1][i] for i in turned} == {keys[i] for i in indices}
    assert sampling.drawn(keys, strata, 10, 1) != indices
    assert set(indices) <= set(sampling.drawn(keys, strata, 20, 0))
    assert sampling.drawn(keys, strata, 99, 0) == list(range(50))


@given(
    sizes=st.lists(st.integers(1, 30), min_size=1, max_size=8),
    count=st.integers(0, 99),
    seed=st.integers(0, 99),
)
def test_a_sample_has_of_every_stratum_its_share(sizes, count, seed):
    strata = [name for name, size in enumerate(sizes) for _ in range(size)]
    keys = [f"k{i}" for i in range(len(strata))]
    sample = sampling.drawn(keys, strata, count, seed)
    assert len(sample) == min(count, len(keys))
    for name, size in enumerate(sizes):
        share = len(sample) * size / len(keys)
        assert abs(sum(strata[i] == name for i in sample) - share) < 2


def test_reading_is_scored_by_both_scorers(squad_file):
    found = read(squad_file, {"0-0": " the mill", "0-1": "very old", "1-0": "no idea"})
    items = {item["id"]: item for item in found["items"]}
    assert items["0-0"]["prediction"] == "the mill"
    assert items["0-0"]["official"] == {"em": 1, "f1": 1.0}
    assert items["0-0"]["mindformers"]["em"] == 0  # its gold is the first answer, "old mill"
    assert items["0-1"]["official"]["em"] == 0 and items["0-1"]["official"]["f1"] == pytest.approx(2 / 3)
    assert [item["paragraph"] for item in found["items"]] == [0, 0, 1]
    assert [item["article"] for item in found["items"]] == [0, 0, 0]
    assert (found["of"], found["of_first"], found["truncated"]) == (3, 2, 0)
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
    found = read(squad_file, {"0-0": "x" * 50}, GenerationSettings(99, 7))
    assert found["items"][0]["prediction"] == "x" * 7


def test_a_prompt_that_lost_its_start_is_counted(squad_file):
    questions = list(squad.read(squad_file))
    lengths = [1 + len(squad.prompt(q.context, q.question)) for q in questions]
    found = reading.read(ready(recite([]), lengths[1]), str(squad_file), READING, 0)
    assert found["truncated"] == sum(length > lengths[1] for length in lengths) == 1


def test_reading_takes_a_sample(squad_file):
    found = read(squad_file, {}, GenerationSettings(2, 7))
    assert len(found["items"]) == found["official"]["n"] == 2


QUESTIONS = [
    Question(
        id=f"toy/birds/test/{number}",
        benchmark="toy",
        subject="birds",
        split="test",
        row=number,
        language="en",
        question=f"Which bird is number {number}?",
        options=["owl", "wren", "gull", "lark"],
        answer="B",
    )
    for number in range(3)
]
TRAINED = [
    replace(
        question, id=f"toy/fish/test/{number}", subject="fish", question=f"Which fish is number {number}?"
    )
    for number, question in enumerate([*QUESTIONS, *QUESTIONS[:2]])
]
EXAMPLE = replace(QUESTIONS[0], id="toy/birds/dev/0", split="dev", question="Which bird is WREN?")
ARCHITECTURE = replace(
    TINY, vocab_size=9, hidden_size=4, num_layers=1, num_heads=1, intermediate_size=4, init_std=0.01
)
WEIGHT = "model.layers.0.attention.wq.weight"


WREN = "The right option is C.wren"
CHOOSING = McqSettings(
    protocols=["answer", "letter", "generation"],
    shots=[0],
    rotations=False,
    option_references={},
    leak_items=0,
    generation=GenerationSettings(items=99, max_new_tokens=60),
)


def spec(folder, **changes):
    """The base in `folder`, with changes."""
    made = ModelSpec(
        name="base",
        base=str(folder / "base"),
        adapter=None,
        tokenizer="t",
        runs=str(folder / "runs"),
        architecture=ARCHITECTURE,
        scaling=3.0,
        device="CPU",
        seq_length=384,
        batch_size=4,
        template=None,
    )
    return replace(made, **changes)


@pytest.fixture
def run(tmp_path, squad_file, monkeypatch):
    """A function that evaluates a reciting network; returns mcq.json, squad.json and the weights it has."""
    records = [alpaca.shuffled_record(question, "DCBA") for question in QUESTIONS]  # the wren is C now
    trained = [alpaca.shuffled_record(question, order) for order in ("ABCD", "BACD") for question in TRAINED]
    copy = [alpaca.shuffled_record(question, "DCBA") for question in (*QUESTIONS, *TRAINED)]
    files.write_json_array(tmp_path / "test.json", records)
    files.write_json_array(tmp_path / "train.json", trained)
    files.write_json_array(tmp_path / "epoch_3.json", copy)
    files.write_jsonl(tmp_path / "questions.jsonl", [*QUESTIONS, *TRAINED, EXAMPLE])
    save({WEIGHT: np.zeros((4, 4), np.float32)}, tmp_path / "base" / "model.safetensors")
    write_architecture(tmp_path / "base", ARCHITECTURE)
    lora = {"lora_a": np.ones((2, 4), np.float32), "lora_b": np.ones((4, 2), np.float32)}
    named = {WEIGHT.replace("weight", f"mindpet_delta_{name}"): value for name, value in lora.items()}
    save(named, tmp_path / "adapter.safetensors")
    monkeypatch.setattr(tokenizer, "load", lambda path: Processor())
    monkeypatch.setattr(segments, "SegmentEncoder", lambda processor: characters)
    monkeypatch.setattr(prompt, "template", lambda processor, name: TEMPLATE)
    loaded = {}

    def evaluate(
        said, adapter=None, knows=(), validate=False, groups=None, seed=0, reading=READING, **choosing
    ):
        """`said` after the test questions' prompts; `knows`, copy records, as they stand."""
        pairs = [*zip(records, said, strict=True), *((record, record["output"]) for record in knows)]
        answers = [
            (prompt.prompt_ids(characters, TEMPLATE, record["instruction"], record["input"]), text)
            for record, text in pairs
        ]

        def load(model_config, device, weights, name):
            loaded.update(weights)
            network = recite(answers)

            def counted(rows):
                loaded["calls"] = loaded.get("calls", 0) + 1
                return network(rows)

            return counted

        monkeypatch.setattr(forward, "load", load)
        loaded.clear()
        asked = spec(tmp_path, adapter=adapter and str(tmp_path / adapter))
        paths = {"questions": str(tmp_path / "questions.jsonl")}
        files.write_json(tmp_path / "groups.json", {"groups": groups or {}})
        if validate:
            task = tasks.Validation(model=asked, valid=str(tmp_path / "test.json"), **paths)
            (found,) = tasks.ask(task, 1, tmp_path / "none")
            return found
        task = tasks.Evaluation(
            model=asked,
            groups=str(tmp_path / "groups.json"),
            test=str(tmp_path / "test.json"),
            train=str(tmp_path / "train.json"),
            last_copy=str(tmp_path / "epoch_3.json"),
            squad=str(squad_file),
            multiple_choice=replace(CHOOSING, **choosing),
            reading=reading,
            seed=seed,
            **paths,
        )
        return *tasks.ask(task, 1, tmp_path / "none"), dict(loaded)

    return evaluate


def test_multiple_choice_by_three_protocols(run):
    mcq, reading, _ = run([WREN, "The right option is B", "I can't say"])
    assert mcq["model"] == reading["model"] == "base"
    assert list(mcq["protocols"]) == ["answer", "answer_norm", "letter", "generation"]
    assert mcq["circular"] is None and mcq["leak"] is None
    for protocol in mcq["protocols"].values():
        assert [item["id"] for item in protocol["items"]] == [question.id for question in QUESTIONS]
        assert all(item["gold"] == "C" and item["order"] == "DCBA" for item in protocol["items"])
        assert (protocol["shots"], protocol["truncated"], protocol["average"]) == (0, 0, "micro")
    generated = mcq["protocols"]["generation"]["items"]
    assert [item["text"] for item in generated] == [WREN, "The right option is B", "I can't say"]
    found = [(item["choice"], item["correct"]) for item in generated]
    assert found == [("C", True), ("B", False), (None, False)]
    assert mcq["protocols"]["generation"]["stderr"] == pytest.approx(1 / 3)
    assert mcq["protocols"]["answer"]["items"][0]["correct"] is True
    letters = mcq["protocols"]["letter"]["items"]
    assert [item["choice"] for item in letters[:2]] == ["C", "B"]


def test_validation_is_the_full_answer_to_every_question(run):
    said = [WREN, "The right option is B", "I can't say"]
    found = run(said, validate=True)
    assert (found["model"], found["protocol"]) == ("base", "answer")
    assert found["items"] == run(said)[0]["protocols"]["answer"]["items"]
    assert found["items"][0]["correct"] is True


def test_only_the_chosen_protocols_are_asked(run):
    mcq, _, _ = run(["", "", ""], protocols=["harness", "cmmlu"], shots=[0, 2], rotations=True, leak_items=5)
    assert list(mcq["protocols"]) == ["harness", "harness_2shot"]  # no question in Chinese
    assert mcq["circular"] is None and mcq["leak"] is None
    assert mcq["protocols"]["harness_2shot"]["shots"] == 2
    assert all(item["order"] == "ABCD" for item in mcq["protocols"]["harness"]["items"])


def test_examples_that_lack_are_counted(run):
    asked = {"protocols": ["harness"], "shots": [0, 1, 2]}
    pair = dict.fromkeys(["toy/birds/dev/0", "toy/birds/test/1"], "toy/birds/dev/0")
    for groups, lacking in ((None, [0, 0, 3]), (pair, [0, 1, 3])):
        mcq, _, _ = run(["", "", ""], groups=groups, **asked)
        assert [part["lacking"] for part in mcq["protocols"].values()] == lacking
        assert not any(part["truncated"] for part in mcq["protocols"].values())


def test_generation_does_not_depend_on_what_else_is_asked(run):
    said = [WREN, "The right option is B", "I can't say"]
    texts = [
        [item["text"] for item in run(said, protocols=chosen)[0]["protocols"]["generation"]["items"]]
        for chosen in (["generation"], ["letter", "generation"], ["answer", "generation"])
    ]
    # Where a scored continuation is what is written, all after it is cut, and the letter stands in it.
    assert texts[2] == said and texts[0] == texts[1] == ["The right option is C", *said[1:]]


def test_letters_alone_are_the_letters_of_the_answers(run):
    said = [WREN, "The right option is B", "I can't say"]
    both, alone = (
        run(said, protocols=chosen)[0]["protocols"]["letter"] for chosen in (["answer", "letter"], ["letter"])
    )
    assert both == alone


def test_generation_takes_a_sample(run):
    mcq, _, _ = run([WREN] * 3, generation=GenerationSettings(2, 60))
    assert len(mcq["protocols"]["generation"]["items"]) == 2
    assert len(mcq["protocols"]["answer"]["items"]) == 3


def test_a_generated_answer_has_at_most_so_many_tokens(run):
    said = [WREN, "The right option is B", "I can't say"]
    mcq, _, _ = run(said, generation=GenerationSettings(99, 7))
    assert [item["text"] for item in mcq["protocols"]["generation"]["items"]] == [text[:7] for text in said]


def test_the_seed_draws_every_sample(run):
    """Two of three questions to generate and to read, and three of five training questions."""
    few = {"generation": GenerationSettings(2, 4), "reading": GenerationSettings(2, 4), "leak_items": 3}
    drawn = {"generation": set(), "leak": set(), "reading": set()}
    for seed in range(6):
        mcq, reading, _ = run(["", "", ""], seed=seed, **few)
        for name, items in {
            "generation": mcq["protocols"]["generation"]["items"],
            "leak": mcq["leak"]["recipe"]["answer"]["items"],
            "reading": reading["items"],
        }.items():
            drawn[name].add(tuple(sorted(item["id"] for item in items)))
    assert all(len(samples) > 1 for samples in drawn.values())


def test_rotations_are_kept_with_their_order(run):
    mcq, _, _ = run([WREN] * 3, rotations=True)
    circular = mcq["circular"]
    assert (circular["questions"], circular["pinned"]) == (3, 0)
    items = circular["answer"]["items"]
    assert [item["order"] for item in items[:4]] == ["DCBA", "CBAD", "BADC", "ADCB"]
    assert [item["gold"] for item in items[:4]] == ["C", "B", "A", "D"]
    assert [item["rotation"] for item in items] == [0, 1, 2, 3] * 3
    plain = mcq["protocols"]["answer"]["items"]
    assert [item | {"rotation": 0} for item in plain] == items[::4]
    # It knows the sentence of one order by heart, and that helps in no other.
    assert [item["correct"] for item in items[:4]] != [True] * 4
    assert len(circular["letter"]["items"]) == 12


def test_the_leak_asks_training_questions_in_an_order_that_is_not_in_training(run):
    known = [alpaca.shuffled_record(question, "DCBA") for question in TRAINED]
    mcq, _, _ = run(["", "", ""], knows=known, leak_items=3)
    leak = mcq["leak"]
    assert leak["honest"]["answer"]["items"] == mcq["protocols"]["answer"]["items"]
    items = leak["recipe"]["answer"]["items"]
    assert len(items) == 3 and leak["short"] == 0
    assert {item["id"] for item in items} <= {question.id for question in TRAINED}
    assert all(item["order"] == "DCBA" and item["correct"] for item in items)
    more, _, _ = run(["", "", ""], knows=known, leak_items=9)
    assert len(more["leak"]["recipe"]["letter"]["items"]) == 5 and more["leak"]["short"] == 4


def test_no_leak_item_was_too_long_or_shown_already_in_training(tmp_path):
    questions = {question.id: question for question in TRAINED}
    train = [alpaca.shuffled_record(question, "ABCD") for question in TRAINED]
    train.append(alpaca.shuffled_record(TRAINED[0], "DCBA"))
    files.write_json_array(tmp_path / "train", train)
    files.write_json_array(tmp_path / "copy", [alpaca.shuffled_record(q, "DCBA") for q in TRAINED])

    def ids(model):
        return {r["id"] for r in mcq.trained(model, tmp_path / "train", tmp_path / "copy", questions, 9, 0)}

    assert ids(ready(None)) == {question.id for question in TRAINED[1:]}
    assert ids(ready(None, limit=200)) == set()


def test_a_second_evaluation_asks_the_network_nothing(run):
    said = [WREN, "The right option is B", "I can't say"]
    choosing = {"rotations": True, "leak_items": 3}
    first_mcq, first_reading, first = run(said, **choosing)
    again_mcq, again_reading, again = run(said, **choosing)
    assert first["calls"] > 3 and "calls" not in again
    assert (first_mcq, first_reading) == (again_mcq, again_reading)
    _, _, other = run(said, adapter="adapter.safetensors", **choosing)
    assert other["calls"] == first["calls"]


def test_the_cache_is_named_by_all_that_decides_a_score(tmp_path):
    weights.save({WEIGHT: np.zeros((4, 4), np.float32)}, tmp_path / "base" / "model.safetensors")
    weights.save({WEIGHT: np.ones((4, 4), np.float32)}, tmp_path / "adapter")
    base = spec(tmp_path)
    tuned = replace(base, adapter=str(tmp_path / "adapter"))
    names = {
        model.kept(base, {"seq_length": 8}),
        model.kept(tuned, {"seq_length": 8}),
        model.kept(replace(tuned, scaling=1.0), {"seq_length": 8}),
        model.kept(tuned, {"seq_length": 9}),
    }
    weights.save({WEIGHT: np.zeros((4, 4), np.float32)}, tmp_path / "adapter")
    names.add(model.kept(tuned, {"seq_length": 8}))
    assert len(names) == 5 and all(name.is_relative_to(tmp_path) for name in names)


def test_the_cache_is_named_by_all_code_that_decides_a_score(tmp_path, monkeypatch):
    """The modules that feed the network, batch its rows and build it are in the key."""
    weights.save({WEIGHT: np.zeros((4, 4), np.float32)}, tmp_path / "base" / "model.safetensors")
    hashed = set()
    monkeypatch.setattr(
        fingerprint, "fingerprint", lambda *paths: hashed.update(fingerprint.closure(*paths)) or "code"
    )
    model.kept(spec(tmp_path), {})
    names = {"evaluate/" + name for name in ("generation", "scoring", "engine", "trees", "forward")}
    names.add("model/decoder")
    found = {path.relative_to(fingerprint.SOURCE / "mcqlora").with_suffix("").as_posix() for path in hashed}
    assert names <= found


def test_a_task_goes_to_the_workers_and_comes_back(tmp_path):
    task = tasks.Evaluation(
        model=spec(tmp_path, adapter="a"),
        questions="q",
        groups="g",
        test="t",
        train="n",
        last_copy="c",
        squad="s",
        multiple_choice=replace(CHOOSING, option_references={"en": {"place": ["^see"]}}),
        reading=READING,
        seed=1,
    )
    valid = tasks.Validation(model=spec(tmp_path), questions="q", valid="v")
    for told in (task, valid):
        files.write_json(tmp_path / "told.json", told)
        assert TypeAdapter(tasks.Task).validate_python(files.read_json(tmp_path / "told.json")) == told


def test_the_adapter_is_folded_in_by_alpha_over_rank(run):
    _, _, weights = run(["", "", ""], adapter="adapter.safetensors")
    np.testing.assert_array_equal(weights[WEIGHT], np.full((4, 4), 6 / 2 * 2))  # (alpha / rank) B A


def test_without_an_adapter_the_base_is_as_it_is(run):
    _, _, weights = run(["", "", ""])
    np.testing.assert_array_equal(weights[WEIGHT], np.zeros((4, 4)))


@pytest.mark.parametrize("works", [True, False])
def test_workers_and_scheduler_meet_before_anything_is_asked(tmp_path, monkeypatch, works):
    """MindSpore's processes find each other by init(), which the scheduler waits in until all have ended.

    A device's memory is limited before that, or not at all.
    """
    (tmp_path / "here").mkdir()
    task = {"model": {"device": "Ascend"}}
    told = {"task": task, "folder": str(tmp_path / "here"), "workers": 2, "meetings": str(tmp_path)}
    files.write_json(tmp_path / "workers.json", told)
    done = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RANK_ID", "1")
    monkeypatch.setattr(tasks, "enter", lambda: works)
    monkeypatch.setattr(tasks, "join", lambda device, **context: done.append((device, context)))
    asked = SimpleNamespace(model="spec", ask=lambda model: done.append(model))
    adapter = SimpleNamespace(validate_python=lambda given: asked)
    monkeypatch.setattr(tasks, "TypeAdapter", lambda kind: adapter)
    monkeypatch.setattr(tasks, "ready", lambda spec, share: (spec, share.rank, share.ranks))
    tasks.run_worker("workers.json")
    joined = ("Ascend", {"jit_config": {"jit_level": "O0"}, "max_device_memory": "58GB"})
    assert done == ([joined, ("spec", 1, 2)] if works else [joined])
