"""Tensors of a network that is divided among workers: whole for a checkpoint, and a worker's own part.

MindSpore's compiler says how each parameter is divided (`parameter_layout_dict`), and its own functions for
checkpoints collect and divide by that; a parameter that it says nothing of is whole everywhere.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def divided() -> bool:
    """Whether MindSpore divides the network, in its semi-automatic mode."""
    import mindspore as ms

    return ms.get_auto_parallel_context("parallel_mode") == ms.ParallelMode.SEMI_AUTO_PARALLEL


def whole(cell: Any, parameter: Any) -> np.ndarray:
    """A parameter of the compiled `cell`; every worker must ask for the same ones in the same order."""
    from mindspore import Tensor
    from mindspore.train.serialization import _get_merged_param_data

    layouts = cell.parameter_layout_dict
    if parameter.name not in layouts:
        return parameter.asnumpy()
    mine = Tensor(parameter.asnumpy())
    return _get_merged_param_data(cell, layouts, parameter.name, mine, True).asnumpy()


def part(cell: Any, name: str, value: np.ndarray, worker: int) -> np.ndarray:
    """What `worker` holds of the whole `value` of the parameter `name` of the compiled `cell`."""
    from mindspore import Tensor
    from mindspore.parallel._tensor import _load_tensor_by_layout

    layout = cell.parameter_layout_dict.get(name)
    return value if layout is None else _load_tensor_by_layout(Tensor(value), layout, worker).asnumpy()
