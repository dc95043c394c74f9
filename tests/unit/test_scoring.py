import functools
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcqlora import prompt, scoring, shuffle
from mcqlora.scoring import Choice, Continuation, Scored

VOCABULARY = 7
STOP = {0, 6}
IDS = st.lists(st.integers(1, 5), min_size=1, max_size=12)


@functools.cache
def next_logprobs(context):
    """Log-probabilities of the token after `context` (bytes of int32): a random table over contexts."""
    logits = np.random.default_rng(zlib.crc32(context)).normal(size=VOCABULARY)
    return (logits - np.log(np.exp(logits).sum())).astype(np.float32)


def after(ids):
    return next_logprobs(np.asarray(ids, np.int32).tobytes())


class Forward:
    """A network in which every token depends on all that stand before it; remembers the shapes it was fed."""

    def __init__(self):
        self.shapes = []

    def __call__(self, ids, positions, targets):
        assert ids.dtype == positions.dtype == targets.dtype == np.int32
        assert positions.shape == targets.shape and len(ids) == len(positions)
        self.shapes.append((ids.shape, positions.shape))
        logprobs = np.zeros(positions.shape, np.float32)
        choices = np.zeros(positions.shape, np.int32)
        for row, column in np.ndindex(*positions.shape):
            found = after(ids[row, : positions[row, column] + 1])
            logprobs[row, column] = found[targets[row, column]]
            choices[row, column] = found.argmax()
        return logprobs, choices


def score_alone(item, limit):
    """One continuation, token by token."""
    target = item.target[: limit - 1]
    text = list(item.prompt[-(limit - len(target)) :])
    logprobs, choices = [], []
    for token in target:
        logprobs.append(after(text)[token])
        choices.append(after(text).argmax())
        text.append(token)
    return Scored(np.array(logprobs, np.float32), np.array(choices, np.int32))


def generate_alone(ids, max_new_tokens, stop, limit):
    found = []
    while len(found) < max_new_tokens:
        token = int(after((ids + found)[-limit:]).argmax())
        if token in stop:
            break
        found.append(token)
    return found


def same(ours, theirs):
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a.logprobs, b.logprobs)
        np.testing.assert_array_equal(a.choices, b.choices)


@settings(max_examples=40, deadline=None)
@given(items=st.lists(st.builds(Continuation, IDS, IDS), max_size=7), batch_size=st.integers(1, 4))
def test_batches_and_padding_change_no_score(items, batch_size):
    same(scoring.score(Forward(), items, batch_size, 128), [score_alone(item, 128) for item in items])


@settings(max_examples=25, deadline=None)
@given(items=st.lists(st.builds(Continuation, IDS, IDS), min_size=1, max_size=5), limit=st.integers(8, 20))
def test_long_prompts_lose_their_start_and_long_targets_their_end(items, limit):
    same(scoring.score(Forward(), items, 2, limit), [score_alone(item, limit) for item in items])


def test_a_target_longer_than_the_limit():
    item = Continuation([1, 2, 3], [4] * 40)
    (found,) = scoring.score(Forward(), [item], 1, 16)
    assert len(found.logprobs) == 15
    same([found], [score_alone(item, 16)])


def test_every_batch_of_a_length_has_one_shape():
    items = [Continuation([1] * n, [2] * (1 + n % 3)) for n in range(1, 120)]
    forward = Forward()
    scoring.score(forward, items, 8, 128)
    assert {shape[0][0] for shape in forward.shapes} == {8}
    assert {shape[0][1] for shape in forward.shapes} <= {64, 96, 128}
    assert {shape[1] for shape in forward.shapes} == {(8, 16)}


def test_one_long_target_does_not_widen_the_batches_of_the_short():
    items = [Continuation([1] * 5, [2] * n) for n in (3, 3, 40, 3, 3)]
    forward = Forward()
    same(scoring.score(forward, items, 2, 128), [score_alone(item, 128) for item in items])
    assert [shape[1] for shape in forward.shapes] == [(2, 16), (2, 16), (2, 64)]


def test_nothing_to_score():
    assert scoring.score(Forward(), [], 4, 128) == []


def test_scores_show_progress():
    seen = []
    items = [Continuation([1], [2])] * 5
    scoring.score(Forward(), items, 2, 64, lambda chunks: seen.append(len(chunks)) or chunks)
    assert seen == [3]


@settings(max_examples=40, deadline=None)
@given(
    prompts=st.lists(IDS, max_size=7),
    batch_size=st.integers(1, 4),
    most=st.integers(1, 9),
    limit=st.sampled_from([8, 64]),
)
def test_generation_is_what_each_prompt_alone_gives(prompts, batch_size, most, limit):
    found = scoring.generate(Forward(), prompts, most, STOP, batch_size, limit)
    assert found == [generate_alone(ids, most, STOP, limit) for ids in prompts]
    assert all(len(ids) <= most and not STOP & set(ids) for ids in found)


def test_generation_stops_at_each_stop_token():
    """The network counts down."""

    def forward(ids, positions, targets):
        last = ids[np.arange(len(ids)), positions[:, 0]]
        return None, np.maximum(last - 1, 0)[:, None].astype(np.int32)

    assert scoring.generate(forward, [[5], [3], [9]], 10, {2}, 2, 64) == [[4, 3], [], [8, 7, 6, 5, 4, 3]]
    assert scoring.generate(forward, [[5], [3], [9]], 3, {2}, 2, 64) == [[4, 3], [], [8, 7, 6]]
    assert scoring.generate(forward, [[5], [9]], 10, {7, 4}, 2, 64) == [[], [8]]


def test_ended_rows_make_room():
    """One long row and nine short ones, two a batch: the short ones don't wait for the long one."""

    def forward(ids, positions, targets):
        calls.append(1)
        last = ids[np.arange(len(ids)), positions[:, 0]]
        return None, np.maximum(last - 1, 0)[:, None].astype(np.int32)

    calls = []
    scoring.generate(forward, [[9]] + [[2]] * 9, 50, {0}, 2, 64)
    assert len(calls) <= 18  # 9 + 9 * 2 calls when a batch waits for its longest row five times


def test_prompts_are_left_alone():
    prompts = [[1, 2], [3]]
    scoring.generate(Forward(), prompts, 4, STOP, 2, 64)
    assert prompts == [[1, 2], [3]]


def item(prompt_ids, candidates, gold="A", n_letter=1, name="b/s/test/0"):
    return Choice(name, "BADC", gold, prompt_ids, candidates, n_letter)


def scored_with(values):
    return [Scored(np.array(row, np.float32), np.zeros(len(row), np.int32)) for row in values]


def test_choose_by_the_whole_answer_and_by_its_letter():
    # Candidate C has the best letter; B's text makes up for its letter.
    scored = scored_with([[-2, -9], [-3, -1], [-1, -8], [-4, -7]])
    protocols = scoring.choose([item([1], [[2, 3]] * 4, gold="B")], scored)
    (answer,), (letter,) = protocols["answer"], protocols["letter"]
    assert answer == {
        "id": "b/s/test/0",
        "order": "BADC",
        "gold": "B",
        "choice": "B",
        "correct": True,
        "scores": [-11.0, -4.0, -9.0, -11.0],
    }
    assert (letter["choice"], letter["correct"]) == ("C", False)
    assert letter["scores"] == [-2.0, -3.0, -1.0, -4.0]


def test_choose_counts_all_up_to_the_letter():
    scored = scored_with([[-1, -5, -1], [-2, -1, -9], [-3, -3], [-4, -4]])
    protocols = scoring.choose([item([1], [[2, 3]] * 4, n_letter=2)], scored)
    assert protocols["letter"][0]["scores"] == [-6.0, -3.0, -6.0, -8.0]
    assert protocols["letter"][0]["choice"] == "B"


def test_the_first_of_equals_wins():
    protocols = scoring.choose([item([1], [[2]] * 4)], scored_with([[-3], [-1], [-1], [-1]]))
    assert protocols["answer"][0]["choice"] == "B"


def test_four_candidates_an_item():
    scored = scored_with([[-1], [-2], [-3], [-4], [-4], [-3], [-2], [-1]])
    items = [item([1], [[2]] * 4, name="first"), item([1], [[2]] * 4, name="second")]
    protocols = scoring.choose(items, scored)
    assert [(row["id"], row["choice"]) for row in protocols["answer"]] == [("first", "A"), ("second", "D")]


@settings(max_examples=60, deadline=None)
@given(
    prompts=st.lists(IDS, min_size=1, max_size=4),
    length=st.integers(1, 6),
    place=st.integers(0, 3),
    wrong=st.integers(0, 5),
)
def test_greedy_matches_are_what_generation_writes(prompts, length, place, wrong):
    """One candidate is greedy generation's own text, or has one id changed; the others begin like it."""
    items = []
    for ids in prompts:
        text = generate_alone(ids, length, set(), 64)
        other = [(token + 1) % VOCABULARY if i == wrong else token for i, token in enumerate(text)]
        candidates = [[*text[:-1], (text[-1] + shift) % VOCABULARY] for shift in (2, 3, 4, 5)]
        candidates[place] = other
        items.append(item(ids, candidates))
    continuations = [Continuation(i.prompt, ids) for i in items for ids in i.candidates]
    matches = scoring.greedy_matches(items, scoring.score(Forward(), continuations, 3, 64))
    for one, match in zip(items, matches, strict=True):
        written = [
            scoring.generate(Forward(), [one.prompt], len(ids), set(), 1, 64)[0] for ids in one.candidates
        ]
        exact = [k for k in range(4) if written[k] == one.candidates[k]]
        assert match == (exact[0] if exact else None)
        assert (match == place) == (wrong >= length)


QUESTION = {
    "id": "toy/rivers/test/0",
    "options": [" the Ob", "the Po ", "", "A."],
    "answer": "B",
}
TEMPLATE = prompt.Template(bos=1, eos=2, eoh=3, eoa=4, newline=5, pad=0)
RECORD = {"id": QUESTION["id"], "order": "CBDA", "instruction": "Say.", "input": "Question: ?", "output": "?"}


def characters(text):
    return [100 + ord(character) for character in text]


def test_choices_are_the_answers_of_the_training_rows():
    (found,) = scoring.choices([RECORD], {QUESTION["id"]: QUESTION}, characters, TEMPLATE)
    options, gold = shuffle.present(QUESTION, "CBDA")
    assert found.gold == gold == "B"
    assert found.prompt == prompt.prompt_ids(characters, TEMPLATE, "Say.", "Question: ?")
    texts = ["The right option is A.", "The right option is B.the Po", "The right option is C.A."]
    assert found.candidates == [*map(characters, texts), characters("The right option is D.the Ob")]
    assert options == ["", "the Po ", "A.", " the Ob"]


def test_the_letters_score_ends_with_the_letter():
    (found,) = scoring.choices([RECORD], {QUESTION["id"]: QUESTION}, characters, TEMPLATE)
    for letter, ids in zip("ABCD", found.candidates, strict=True):
        assert ids[: found.n_letter] == characters(f"The right option is {letter}")


def test_a_letter_that_is_one_token_with_more():
    """A vocabulary may join the letter with its period or with text: the token counts whole."""

    def joined(text):
        for number, piece in enumerate((" A.", " B.the", " C.A.", " D.t")):
            text = text.replace(piece, chr(0x100 + number))
        return characters(text)

    (found,) = scoring.choices([RECORD], {QUESTION["id"]: QUESTION}, joined, TEMPLATE)
    assert [ids[found.n_letter - 1] for ids in found.candidates] == characters("\u0100\u0101\u0102\u0103")


@pytest.mark.parametrize(("length", "sizes", "padded"), [(3, (2, 4, 8), 4), (4, (8, 4), 4), (9, (2, 8), 9)])
def test_padded(length, sizes, padded):
    assert scoring._padded(length, sizes) == padded
