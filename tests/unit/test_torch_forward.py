"""Rows for a network that sees a text at a time; the parity suite feeds a real one."""

import numpy as np

from mcqlora.evaluate.engine import padded_rows
from mcqlora.evaluate.torch_forward import sequences
from mcqlora.evaluate.trees import Tree, to_row


def test_every_target_is_asked_once_after_what_stands_before_it():
    trees = [Tree([1, 2, 3], [[4, 5, 6], [4, 7], [4, 8, 9, 10]]), Tree([1, 2], [[3], [4]])]
    rows = [to_row(tree) for tree in trees]
    batch = padded_rows(rows, 4, 16, 12)
    asked: dict[int, list[tuple[list[int], int]]] = {0: [], 1: []}
    slots: dict[int, list[int]] = {0: [], 1: []}
    for one in sequences(batch):
        for slot, place in zip(one.slots.tolist(), one.places.tolist(), strict=True):
            if slot < len(rows[one.row].targets):
                slots[one.row].append(slot)
                asked[one.row].append((one.ids[: place + 1].tolist(), int(batch.targets[one.row, slot])))
    wanted = [([1, 2, 3], 4), ([1, 2, 3, 4], 5), ([1, 2, 3, 4, 5], 6), ([1, 2, 3, 4], 7), ([1, 2, 3, 4], 8)]
    wanted += [([1, 2, 3, 4, 8], 9), ([1, 2, 3, 4, 8, 9], 10)]
    assert sorted(asked[0]) == sorted(wanted)
    assert sorted(asked[1]) == [([1, 2], 3), ([1, 2], 4)]
    assert [sorted(slots[i]) for i in (0, 1)] == [list(range(len(row.targets))) for row in rows]


def test_a_row_of_padding_is_not_fed():
    batch = padded_rows([to_row(Tree([1, 2], [[3], [4]]))], 8, 4, 4)
    assert [one.row for one in sequences(batch)] == [0]
    assert all(one.ids.dtype == np.int32 for one in sequences(batch))
