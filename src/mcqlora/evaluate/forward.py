"""The network on MindSpore as a function that scores rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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

    import mcqlora.model.decoder  # noqa: F401  (registers the network)
    from mcqlora.model.weights import load_into

    ms.set_context(mode=ms.GRAPH_MODE, device_target=device)
    config = {"model_config": model_config, "arch": {"type": "InternLMForCausalLM"}}
    with no_init_parameters():  # random numbers that nobody would see
        network = build_network(MindFormerConfig(model=config).model)
    load_into(network, weights, name)

    class Score(nn.Cell):
        def __init__(self, decoder: Any, head: Any) -> None:
            super().__init__(auto_prefix=False)
            self.decoder, self.head = decoder, head

        def construct(self, ids: Any, branches: Any, places: Any, positions: Any, targets: Any) -> Any:
            batch, length = ids.shape
            keys = branches.reshape(batch, 1, length)
            seen = ops.logical_or(ops.equal(keys, 0), ops.equal(keys, branches.reshape(batch, length, 1)))
            order = ops.arange(0, length, 1)
            seen = ops.logical_and(seen, ops.less_equal(order.reshape(1, 1, -1), order.reshape(1, -1, 1)))
            mask, rotary = self.decoder.mask(seen), self.decoder.at(places)
            hidden = self.decoder.embedded(ids)
            for layer in self.decoder.layers:
                hidden = layer(hidden, rotary, mask)
            hidden = self.decoder.norm_out(hidden).reshape(batch * length, -1)
            rows = positions + ops.arange(0, batch * length, length).reshape(batch, 1)
            logits = ops.cast(self.head(ops.gather(hidden, rows.reshape(-1), 0)), ms.float32)
            logprobs = ops.gather_elements(ops.log_softmax(logits, -1), 1, targets.reshape(-1, 1))
            _, first = ops.max(logits, -1)  # an NPU has no fast kernel for argmax alone
            return logprobs.reshape(targets.shape), first.reshape(targets.shape)

    cell: Any = Score(network.model, network.lm_head)
    cell.set_train(False)

    def forward(rows: Rows) -> tuple[np.ndarray, np.ndarray]:
        logprobs, choices = cell(*(Tensor(array, ms.int32) for array in rows))
        return logprobs.asnumpy(), choices.asnumpy().astype(np.int32)

    return forward
