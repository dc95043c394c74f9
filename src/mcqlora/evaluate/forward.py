"""The network on MindSpore as a function that scores rows."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from mcqlora.evaluate.trees import Forward, Rows
from mcqlora.files import Json
from mcqlora.model.architecture import DEVICES

NICE = 10  # of the thread that calls a CPU's kernels


def compilation(device: str, layers: int) -> float:
    """`Engine.compilation`: a CPU compiles one layer alone, so the deeper a network, the fewer passes."""
    return 60 / layers if device == "CPU" else 20.0


def load(model_config: Json, device: str, weights: Mapping[str, np.ndarray], name: str) -> Forward:
    """Build the network, put `weights` into it and return its scoring function.

    The function returns the log-probabilities of the targets as next ids, float32 [B, P], and the most
    probable next ids, int32 [B, P]. Only the hidden states at `positions` meet the (large) head.
    `model_config` is that of `Architecture.model_config`; `name` says in errors whose `weights` they are.

    Raises:
        UserError: `weights` lack a tensor of the network, or one has another shape.
    """
    import mindspore as ms
    from mindformers import MindFormerConfig
    from mindformers.models import build_network
    from mindspore import Tensor, nn, ops
    from mindspore.nn.utils import no_init_parameters

    from mcqlora.model import decoder as cells  # registers the network
    from mcqlora.model.turns import Turns
    from mcqlora.model.weights import load_into

    ms.set_context(mode=ms.GRAPH_MODE, device_target=device, **DEVICES[device].context)
    config = {"model_config": model_config, "arch": {"type": "InternLMForCausalLM"}}
    with no_init_parameters():  # random numbers that nobody would see
        network = build_network(MindFormerConfig(model=config).model)
    load_into(network, weights, name)

    decoder = network.model

    class Start(nn.Cell):
        def __init__(self) -> None:
            super().__init__(auto_prefix=False)
            self.decoder = decoder

        def construct(self, ids: Any, branches: Any, places: Any) -> Any:
            batch, length = ids.shape
            keys = branches.reshape(batch, 1, length)
            seen = ops.logical_or(ops.equal(keys, 0), ops.equal(keys, branches.reshape(batch, length, 1)))
            order = ops.arange(0, length, 1)
            seen = ops.logical_and(seen, ops.less_equal(order.reshape(1, 1, -1), order.reshape(1, -1, 1)))
            (cos, sin), (key_cos, key_sin), _ = self.decoder.at(places)
            return self.decoder.embedded(ids), cos, sin, key_cos, key_sin, self.decoder.mask(seen)

    class Layers(nn.Cell):
        def __init__(self, layers: Sequence[Any]) -> None:
            super().__init__(auto_prefix=False)
            self.layers, self.swap = nn.CellList(list(layers), auto_prefix=False), decoder.swap

        def construct(self, hidden: Any, cos: Any, sin: Any, key_cos: Any, key_sin: Any, mask: Any) -> Any:
            rotary = (cos, sin), (key_cos, key_sin), self.swap
            for layer in self.layers:
                hidden = layer(hidden, rotary, mask)
            return hidden

    class End(nn.Cell):
        def __init__(self) -> None:
            super().__init__(auto_prefix=False)
            self.norm, self.head = decoder.norm_out, network.lm_head

        def construct(self, hidden: Any, positions: Any, targets: Any) -> Any:
            batch, length, _ = hidden.shape
            hidden = self.norm(hidden).reshape(batch * length, -1)
            rows = positions + ops.arange(0, batch * length, length).reshape(batch, 1)
            logits = ops.cast(self.head(ops.gather(hidden, rows.reshape(-1), 0)), ms.float32)
            logprobs = ops.gather_elements(ops.log_softmax(logits, -1), 1, targets.reshape(-1, 1))
            _, first = ops.max(logits, -1)  # an NPU has no fast kernel for argmax alone
            return logprobs.reshape(targets.shape), first.reshape(targets.shape)

    class Score(nn.Cell):
        def __init__(self, layers: Any) -> None:
            super().__init__(auto_prefix=False)
            self.start, self.layers, self.end = Start(), layers, End()
            self.set_train(False)

        def construct(self, ids: Any, branches: Any, places: Any, positions: Any, targets: Any) -> Any:
            hidden, cos, sin, key_cos, key_sin, mask = self.start(ids, branches, places)
            hidden = self.layers(hidden, cos, sin, key_cos, key_sin, mask)
            return self.end(hidden, positions, targets)

    score: Any
    if cells.on_cpu():  # compiled in parts, and of the layers one alone: a graph of 30 takes long, and memory
        turns = Turns(decoder.layers)
        one = Layers([turns.layer])

        def in_turn(hidden: Any, *others: Any) -> Any:
            for _ in turns:
                hidden = one(hidden, *others)
            return hidden

        score = Score(in_turn).construct
    else:
        score = Score(Layers(decoder.layers))

    def forward(rows: Rows) -> tuple[np.ndarray, np.ndarray]:
        logprobs, choices = score(*(Tensor(array, ms.int32) for array in rows))
        return logprobs.asnumpy(), choices.asnumpy().astype(np.int32)

    alone = not ms.communication.GlobalComm.INITED  # workers share the cores anyway
    return _giving_way(forward) if cells.on_cpu() and alone else forward


def _giving_way(forward: Forward) -> Forward:
    """`forward`, called by a thread that is less important than those that compute.

    There is one of these per core; meanwhile the thread that calls a kernel of MindSpore's asks in a loop
    whether they are done (sched_yield in `ThreadPool::ParallelLaunch` of 2.9.0). So one of them shares its
    core with that loop, and every kernel is as slow as the slowest. Niceness is a thread's own, and inherited
    (setpriority(2)): hence a first operator, which makes those that compute.
    """
    import mindspore as ms

    ms.ops.add(ms.Tensor(np.zeros(1, np.float32)), 1.0).asnumpy()
    least = max(NICE, os.getpriority(os.PRIO_PROCESS, 0))
    calling = ThreadPoolExecutor(1, initializer=os.setpriority, initargs=(os.PRIO_PROCESS, 0, least))
    return lambda rows: calling.submit(forward, rows).result()
