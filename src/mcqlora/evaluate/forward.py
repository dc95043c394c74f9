"""The network on MindSpore as a function that scores rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from mcqlora.files import Json


class Rows(NamedTuple):
    """What one forward pass is fed; all int32, padding at the end of a row.

    An id attends to the earlier ones of the prompt and of its own branch.
    """

    ids: np.ndarray  # [B, S]
    branches: np.ndarray  # [B, S], 0 in the prompt, 1, 2, ... in its continuations, -1 in padding
    places: np.ndarray  # [B, S], where each id stands in its text
    positions: np.ndarray  # [B, P], places in the row after which the targets are scored
    targets: np.ndarray  # [B, P], the next ids that are scored there


Forward = Callable[[Rows], tuple[np.ndarray, np.ndarray]]


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
    from mcqlora.model.weights import load_into

    ms.set_context(mode=ms.GRAPH_MODE, device_target=device)
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
        score = Score(taking_turns(Layers(decoder.layers[:1]), decoder.layers)).construct
    else:
        score = Score(Layers(decoder.layers))

    def forward(rows: Rows) -> tuple[np.ndarray, np.ndarray]:
        logprobs, choices = score(*(Tensor(array, ms.int32) for array in rows))
        return logprobs.asnumpy(), choices.asnumpy().astype(np.int32)

    return forward


def taking_turns(cell: Any, layers: Sequence[Any]) -> Callable[..., Any]:
    """All `layers` in turn through `cell`, which holds the first one and is given each one's weights."""
    from mindspore import Tensor

    slots = list(layers[0].get_parameters())
    held = [[Tensor(slot.asnumpy()) for slot in slots]]
    held += [list(layer.get_parameters()) for layer in layers[1:]]

    def work(hidden: Any, *others: Any) -> Any:
        for weights in held:
            for slot, weight in zip(slots, weights, strict=True):
                slot.assign_value(weight)
            hidden = cell(hidden, *others)
        return hidden

    return work
