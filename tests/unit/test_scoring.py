import functools
import itertools
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcqlora.evaluate import engine, generation, scoring
from mcqlora.evaluate.answers import Cache, Share
from mcqlora.evaluate.engine import Engine
from mcqlora.evaluate.forward import load
from mcqlora.evaluate.memory import room
from mcqlora.evaluate.trees import Rows, Scored, Tree, fit, to_row
from tests.helpers.networks import TINY, random_weights

VOCABULARY = 7
STOP = {0, 6}
IDS = st.lists(st.integers(1, 5), min_size=1, max_size=12)
TREES = st.builds(Tree, IDS, st.lists(IDS, min_size=1, max_size=4))


@functools.cache
def next_logprobs(context):
    """Log-probabilities of the token after `context` (bytes of int32): a random table over contexts."""
    logits = np.random.default_rng(zlib.crc32(context)).normal(size=VOCABULARY)
    return (logits - np.log(np.exp(logits).sum())).astype(np.float32)


def after(ids):
    return next_logprobs(np.asarray(ids, np.int32).tobytes())


def seen(rows, row, position):
    """The text that the id at `position` sees, itself included; its places must count from 0."""
    branches = rows.branches[row]
    visible = [i for i in range(position + 1) if branches[i] in (0, branches[position])]
    assert rows.places[row, visible].tolist() == list(range(len(visible)))
    return rows.ids[row, visible].tolist()


class Forward:
    """A network in which every token depends on all that it sees; remembers the batches and their shapes."""

    def __init__(self, next_token=None):
        self.shapes, self.fed = [], []
        self.next_token = next_token

    def __call__(self, rows):
        assert isinstance(rows, Rows) and all(array.dtype == np.int32 for array in rows)
        assert rows.ids.shape == rows.branches.shape == rows.places.shape
        assert rows.positions.shape == rows.targets.shape and len(rows.ids) == len(rows.positions)
        self.shapes.append((rows.ids.shape, rows.positions.shape))
        self.fed.append(b"".join(array.tobytes() for array in rows))
        logprobs = np.zeros(rows.positions.shape, np.float32)
        choices = np.zeros(rows.positions.shape, np.int32)
        for row, column in np.ndindex(*rows.positions.shape):
            text = seen(rows, row, rows.positions[row, column])
            if self.next_token:
                choices[row, column] = self.next_token(text)
            else:
                logprobs[row, column] = after(text)[rows.targets[row, column]]
                choices[row, column] = after(text).argmax()
        return logprobs, choices


class Killed(Exception):
    pass


def dying(forward, calls):
    """`forward`, until it has been called so often."""

    def fed(rows):
        if len(forward.shapes) == calls:
            raise Killed
        return forward(rows)

    return fed


def score_alone(tree, limit):
    """Each continuation after its prompt, token by token."""
    branches = [branch[:limit] for branch in tree.branches]
    start = tree.prompt[-(limit + 1 - max(map(len, branches))) :]
    found = []
    for branch in branches:
        text, logprobs, choices = list(start), [], []
        for token in branch:
            logprobs.append(after(text)[token])
            choices.append(after(text).argmax())
            text.append(token)
        found.append(Scored(np.array(logprobs, np.float32), np.array(choices, np.int32)))
    return found


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
    for left, right in zip(ours, theirs, strict=True):
        assert len(left) == len(right)
        for a, b in zip(left, right, strict=True):
            np.testing.assert_array_equal(a.logprobs, b.logprobs)
            np.testing.assert_array_equal(a.choices, b.choices)


@settings(max_examples=60, deadline=None)
@given(trees=st.lists(TREES, max_size=7), batch_size=st.integers(1, 4))
def test_every_continuation_scores_as_if_it_stood_alone(trees, batch_size):
    same(scoring.score(Engine(Forward(), batch_size, 128), trees), [score_alone(tree, 128) for tree in trees])


@settings(max_examples=40, deadline=None)
@given(trees=st.lists(TREES, min_size=1, max_size=5), limit=st.integers(3, 20))
def test_long_prompts_lose_their_start_and_long_continuations_their_end(trees, limit):
    same(scoring.score(Engine(Forward(), 2, limit), trees), [score_alone(tree, limit) for tree in trees])


def test_fit_says_whether_the_prompt_was_cut():
    assert fit(Tree([1, 2, 3], [[4, 5], [6]]), 4) == (Tree([1, 2, 3], [[4, 5], [6]]), False)
    assert fit(Tree([1, 2, 3], [[4, 5], [6]]), 3) == (Tree([2, 3], [[4, 5], [6]]), True)
    assert fit(Tree([1, 2], [[4] * 9, [6]]), 3) == (Tree([2], [[4] * 3, [6]]), True)


def test_letters_cost_no_more_than_their_prompt():
    row = to_row(Tree([1, 2, 3], [[4], [5], [6]]))
    assert row.ids == [1, 2, 3] and row.positions == [2, 2, 2] and row.targets == [4, 5, 6]


def test_what_continuations_share_is_fed_once():
    row = to_row(Tree([1, 2], [[3, 4, 5, 9], [3, 4, 6, 9]]))
    assert row.ids == [1, 2, 3, 4, 5, 6]
    assert row.branches == [0, 0, 0, 0, 1, 2]
    assert row.places == [0, 1, 2, 3, 4, 4]


def test_every_batch_of_a_length_has_one_shape():
    trees = [Tree([k] * n, [[2] * (1 + n % 3)]) for n in range(1, 128) for k in range(1, 6)]
    forward = Forward()
    scoring.score(Engine(forward, 2, 250), trees)
    assert set(forward.shapes) == {((2, size), (2, 16)) for size in (64, 96, 128)}


def test_a_few_of_one_length_are_no_reason_to_compile():
    forward = Forward()
    scoring.score(Engine(forward, 2, 128), [Tree([1] * n, [[2]]) for n in (*range(1, 5), *range(100, 128))])
    assert {shape[0] for shape in forward.shapes} == {(2, 128)}


def dearness(groups, batch, compilation, head):
    """In ids of a row, what it costs to feed groups of so many rows of a shape."""
    fed = [(rows if rows < batch else -(-rows // batch) * batch) * (n + head * w) for (n, w), rows in groups]
    return sum(fed) + len(groups) * compilation * batch * (64 + head * 16)


@settings(max_examples=60, deadline=None)
@given(
    shapes=st.lists(st.tuples(st.sampled_from((64, 128, 512)), st.sampled_from((16, 128))), max_size=40),
    batch=st.integers(1, 8),
    compilation=st.sampled_from((0.1, 1.0, 5.0)),
    head=st.sampled_from((0.1, 2.0)),
)
def test_no_other_division_into_groups_is_cheaper(shapes, batch, compilation, head):
    groups = list(scoring._groups(shapes, batch, compilation, head))
    assert sorted(i for _, indices in groups for i in indices) == list(range(len(shapes)))
    for (length, width), indices in groups:
        assert length == max(shapes[i][0] for i in indices) and width == max(shapes[i][1] for i in indices)
    different, possible = sorted(set(shapes)), []
    for cuts in itertools.product((False, True), repeat=max(0, len(different) - 1)):
        ends = [n + 1 for n, cut in enumerate(cuts) if cut]
        parts = [different[a:b] for a, b in itertools.pairwise([0, *ends, len(different)])]
        tops = [(tuple(map(max, zip(*part, strict=True))), part) for part in parts if part]
        possible.append([(top, sum(shape in part for shape in shapes)) for top, part in tops])
    cheapest = min(dearness(one, batch, compilation, head) for one in possible)
    ours = dearness([(shape, len(indices)) for shape, indices in groups], batch, compilation, head)
    assert ours == pytest.approx(cheapest)


@pytest.mark.parametrize(("head", "shapes"), [(0.01, {(2, 128)}), (100.0, {(2, 128), (2, 16)})])
def test_where_the_head_is_dear_wide_rows_stay_alone(head, shapes):
    trees = [Tree([i, k], [[2]]) for i in range(2) for k in range(15)]
    trees += [Tree([i], [[2] * 40, [3] * 40, [4] * 40]) for i in range(3)]
    forward = Forward()
    scoring.score(Engine(forward, 2, 64, head=head), trees)
    assert {(2, shape[1][1]) for shape in forward.shapes} == shapes


def test_a_batch_of_wide_rows_has_fewer_of_them():
    """The head's logits, one row a position, are what fills the memory."""
    forward = Forward()
    trees = [Tree([1], [[2] * 40, [3] * 40, [4] * 40]) for _ in range(4)]
    trees = [Tree([i], branches) for i, (_, branches) in enumerate(trees)]
    scoring.score(Engine(forward, 8, 128), trees)
    assert forward.shapes == [((4, 128), (4, 128))]


def test_a_small_memory_makes_small_batches_and_the_same_scores():
    trees = [Tree([i, k], [[2], [3]]) for i in range(1, 4) for k in range(1, 6)]
    forward, prompts = Forward(), [tree.prompt for tree in trees]
    there = room(TINY, "CPU", 4, False, 2 * (4 * TINY.parameters().total + 500_000))
    small = Engine(forward, 8, 64, room=there)
    same(scoring.score(small, trees), [score_alone(tree, 64) for tree in trees])
    written = generation.generate(small, prompts, 4, STOP)
    assert written == [generate_alone(prompt, 4, STOP, 64) for prompt in prompts]
    assert {shape for shape, _ in forward.shapes} == {(2, 64)}


def test_equal_trees_are_fed_once():
    forward = Forward()
    tree = Tree([1, 2], [[3], [4]])
    same(scoring.score(Engine(forward, 2, 64), [tree] * 9), [score_alone(tree, 64)] * 9)
    assert len(forward.shapes) == 1


def test_nothing_to_score():
    assert scoring.score(Engine(Forward(), 4, 128), []) == []


TOLD = [Tree([i, 2, 3], [[4, 5], [5]]) for i in range(1, 6)] + [Tree([5] * i, [[1]]) for i in range(1, 5)]


def test_a_killed_scoring_goes_on_where_it_was(tmp_path):
    whole = Forward()
    expected = scoring.score(Engine(whole, 2, 64), TOLD)
    first, second = Forward(), Forward()
    with pytest.raises(Killed):
        scoring.score(Engine(dying(first, 3), 2, 64, Cache(tmp_path / "kept")), TOLD)
    with open(tmp_path / "kept", "ab") as file:
        file.write(b'{"cut off')
    same(scoring.score(Engine(second, 2, 64, Cache(tmp_path / "kept")), TOLD), expected)
    assert len(first.shapes) == 3 and len(second.shapes) == len(whole.shapes) - 3
    third = Forward()
    same(scoring.score(Engine(third, 2, 64, Cache(tmp_path / "kept")), TOLD), expected)
    assert third.shapes == []


def test_a_killed_generation_goes_on_where_it_was(tmp_path):
    prompts = [[1 + i % 5, 1 + i // 5] for i in range(12)]
    whole = Forward()
    expected = generation.generate(Engine(whole, 2, 64), prompts, 6, STOP)
    first, second = Forward(), Forward()
    with pytest.raises(Killed):
        generation.generate(Engine(dying(first, 20), 2, 64, Cache(tmp_path / "kept")), prompts, 6, STOP)
    assert generation.generate(Engine(second, 2, 64, Cache(tmp_path / "kept")), prompts, 6, STOP) == expected
    assert len(whole.fed) - 20 <= len(second.fed) < len(whole.fed) / 2  # of two groups the second was lost
    assert second.fed == whole.fed[-len(second.fed) :]  # and made again from the same batches


@pytest.mark.parametrize("ranks", [2, 3])
def test_processes_share_the_very_batches_of_one(tmp_path, ranks):
    """Scores, then texts that go on from them, as an evaluation asks; then a later one finds all there."""
    prompts = [[1 + i % 5, 1 + i // 5] for i in range(25)]
    path = tmp_path / "kept.jsonl"

    def evaluate(forward, cache):
        scored = scoring.score(Engine(forward, 2, 64, cache), TOLD)
        starts = [[int(scored[0][0].choices[0])]] * len(prompts)
        return scored, generation.generate(Engine(forward, 2, 64, cache), prompts, 6, STOP, starts)

    one = Forward()
    expected = evaluate(one, Cache())
    forwards = [Forward() for _ in range(ranks)]
    with ThreadPoolExecutor(ranks) as pool:
        jobs = [
            pool.submit(evaluate, forward, Cache(path, Share(rank, ranks, tmp_path)))
            for rank, forward in enumerate(forwards)
        ]
        for job in jobs:
            same(job.result(60)[0], expected[0])
            assert job.result()[1] == expected[1]
    assert sorted(batch for forward in forwards for batch in forward.fed) == sorted(one.fed)
    assert all(forward.fed for forward in forwards)
    later = Forward()
    same(evaluate(later, Cache(path))[0], expected[0])
    assert later.fed == []


@pytest.mark.parametrize("change", [{"most": 5}, {"stop": {6}}, {"limit": 32}])
def test_the_cache_knows_what_was_asked(tmp_path, change):
    asked = {"most": 6, "stop": STOP, "limit": 64}

    def run(forward, most, stop, limit):
        return generation.generate(Engine(forward, 1, limit, Cache(tmp_path / "kept")), [[1, 2]], most, stop)

    run(Forward(), **asked)
    again, other = Forward(), Forward()
    run(again, **asked)
    run(other, **asked | change)
    assert again.shapes == [] and other.shapes != []


def test_progress_counts_everything_once(tmp_path):
    for _ in range(2):  # the second time all comes from the cache
        told = []

        def progress(total, what, told=told):
            told.append((total, what))
            return told.append

        asked = Engine(Forward(), 2, 64, Cache(tmp_path / "kept"), progress)
        scoring.score(asked, TOLD, "choices")
        generation.generate(asked, [[1], [2], [3]], 4, STOP, what="texts")
        place = told.index((3, "texts"))
        assert told[0] == (9, "choices") and sum(told[1:place]) == 9 and sum(told[place + 1 :]) == 3


@settings(max_examples=60, deadline=None)
@given(
    prompts=st.lists(IDS, max_size=7),
    batch_size=st.integers(1, 4),
    most=st.integers(1, 20),
    limit=st.sampled_from([8, 64]),
)
def test_generation_is_what_each_prompt_alone_gives(prompts, batch_size, most, limit):
    found = generation.generate(Engine(Forward(), batch_size, limit), prompts, most, STOP)
    assert found == [generate_alone(ids, most, STOP, limit) for ids in prompts]
    assert all(len(ids) <= most and not STOP & set(ids) for ids in found)


@settings(max_examples=40, deadline=None)
@given(prompts=st.lists(IDS, min_size=1, max_size=4), known=st.integers(0, 30), most=st.integers(1, 20))
def test_generation_goes_on_from_what_is_known(prompts, known, most):
    """A start may hold the stop token that ends it, and be longer than is asked for."""
    starts = []
    for ids in prompts:
        text = generate_alone(ids, known, STOP, 64)
        ended = len(text) < known
        starts.append([*text, int(after(ids + text).argmax())] if ended else text)
    found = generation.generate(Engine(Forward(), 2, 64), prompts, most, STOP, starts)
    assert found == [generate_alone(ids, most, STOP, 64) for ids in prompts]


def countdown(text):
    return max(text[-1] - 1, 0)


def test_generation_stops_at_each_stop_token():
    asked = Engine(Forward(countdown), 2, 64)
    assert generation.generate(asked, [[5], [3], [9]], 10, {2}) == [[4, 3], [], [8, 7, 6, 5, 4, 3]]
    assert generation.generate(asked, [[5], [3], [9]], 3, {2}) == [[4, 3], [], [8, 7, 6]]
    assert generation.generate(asked, [[5], [9]], 10, {7, 4}) == [[], [8]]


def test_ended_rows_make_room():
    """One long row and nine short ones, two a batch: the short ones don't wait for the long one."""
    forward = Forward(countdown)
    generation.generate(Engine(forward, 2, 64), [[9]] + [[2]] * 9, 50, {0})
    assert len(forward.shapes) <= 18  # 9 + 9 * 2 calls when a batch waits for its longest row five times


def test_a_quotation_takes_few_passes():
    """The network copies what it was shown, to the stop token: guesses hold."""
    shown = [1, 2, 3, 4, 5, 1, 3, 2, 4, 1, 5, 6]
    forward = Forward(lambda text: shown[(len(text) - len(shown) - 2) % len(shown)])
    assert generation.generate(Engine(forward, 1, 64), [[*shown, 1, 2]], 30, {6}) == [shown[:-1]]
    assert len(forward.shapes) < 6


@pytest.mark.parametrize(
    ("text", "most", "guessed"),
    [
        ([1, 2, 3, 4, 9, 1, 2, 3], 2, [4, 9]),  # after the same three
        ([1, 2, 3, 7, 2, 3, 8, 2, 3], 9, [8, 2, 3]),  # the latest of equals, to the end
        ([5, 1, 6, 1], 1, [6]),
        ([1, 2, 3], 4, []),
        ([1, 1], 0, []),
    ],
)
def test_guess(text, most, guessed):
    assert generation.guess(text, most) == guessed


def test_prompts_are_left_alone():
    prompts, starts = [[1, 2], [3]], [[4], []]
    generation.generate(Engine(Forward(), 2, 64), prompts, 4, STOP, starts)
    assert prompts == [[1, 2], [3]] and starts == [[4], []]


@pytest.mark.parametrize(("length", "sizes", "padded"), [(3, (2, 4, 8), 4), (4, (4, 8), 4), (9, (2, 8), 16)])
def test_padded(length, sizes, padded):
    assert engine.padded(length, sizes) == padded


@pytest.mark.integration
def test_the_real_network_scores_a_tree_as_its_continuations_alone():
    """Masks and rotary places on MindSpore, against one continuation a row, read on its own."""
    config = TINY.model_config(32, 4, "CPU", 0, 2)
    forward = load(config, "CPU", random_weights(TINY), "random")
    trees = [Tree([1, 9, 8, 7], [[5, 6, 7, 8], [5, 9], [5, 6, 30]]), Tree([1, 40], [[3], [4]])]
    alone = [Tree(tree.prompt, [branch]) for tree in trees for branch in tree.branches]
    together = [found for tree in scoring.score(Engine(forward, 4, 32), trees) for found in tree]
    for one, (other,) in zip(together, scoring.score(Engine(forward, 4, 32), alone), strict=True):
        np.testing.assert_allclose(one.logprobs, other.logprobs, atol=1e-5)
        np.testing.assert_array_equal(one.choices, other.choices)
    assert np.ptp([found.logprobs[0] for found in together]) > 0.1
