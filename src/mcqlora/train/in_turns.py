"""A training step of a CPU that computes layer by layer, for a deep network (`train.recompute`).

    forward   begin -> layer 0 -> ... -> layer n -> end: the loss, and its gradient of the last hidden states
    backward          layer 0 <- ... <- layer n <- that gradient

The inputs of the layers are all that is kept; in the backward pass each layer is computed once more (gradient
checkpointing, Chen et al. 2016, arXiv 1604.06174). The head is computed only where a label is: answers have
few ids, so that is a small part of the rows (with some processors a product of fewer rows has other last
bits). Only one layer is compiled, see `model.turns`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from mindpet.delta.lora import LoRADense
from mindspore import Parameter, ParameterTuple, Tensor, nn, ops

from mcqlora.model.decoder import InternLMForCausalLM, on_cpu
from mcqlora.model.turns import Turns
from mcqlora.train.division import divided
from mcqlora.train.dropout import VECTORS, StepDropout, vector

FEWEST = 16  # places that the head is computed at


class _Begin(nn.Cell):
    def __init__(self, network: nn.Cell):
        super().__init__(auto_prefix=False)
        self.network = network

    def construct(self, *rows):
        """What the layers are given, and the labels."""
        tokens, targets, documents = self.network.columns(*rows)
        hidden, ((cos, sin), (key_cos, key_sin), _), mask = self.network.model.begun(tokens, documents)
        return hidden, (cos, sin, key_cos, key_sin, mask), targets


class _Layer(nn.Cell):
    def __init__(self, layer: nn.Cell, swap: Tensor):
        super().__init__(auto_prefix=False)
        self.layer, self.swap = layer, swap

    def construct(self, hidden, cos, sin, key_cos, key_sin, mask):
        return self.layer(hidden, ((cos, sin), (key_cos, key_sin), self.swap), mask)


class _LayerBack(nn.Cell):
    def __init__(self, layer: nn.Cell, weights: ParameterTuple):
        super().__init__(auto_prefix=False)
        self.layer, self.weights = layer, weights
        self.gradient = ops.GradOperation(get_all=True, get_by_list=True, sens_param=True)

    def construct(self, hidden, cos, sin, key_cos, key_sin, mask, of_output):
        """The gradient of `hidden`, and those of the weights."""
        inputs = (hidden, cos, sin, key_cos, key_sin, mask)
        of_inputs, of_weights = self.gradient(self.layer, self.weights)(*inputs, of_output)
        return of_inputs[0], of_weights


class _End(nn.Cell):
    def __init__(self, network: nn.Cell):
        super().__init__(auto_prefix=False)
        self.network = network

    def construct(self, hidden, targets, places):
        """The loss at `places` int32 [K] of the rows and, outside training, the number of its tokens."""
        rows = ops.gather(ops.reshape(hidden, (-1, hidden.shape[-1])), places, 0)
        hidden = ops.expand_dims(rows, 0)  # [1, K, hidden]: of [K, hidden] the norm has other last bits
        targets = ops.gather(ops.reshape(targets, (-1,)), places, 0)
        loss, mask = self.network.of_hidden(self.network.model.norm_out(hidden), targets)
        return loss if self.training else (loss, self.network.many(mask))


class _EndBack(nn.Cell):
    def __init__(self, end: nn.Cell):
        super().__init__(auto_prefix=False)
        self.end, self.gradient = end, ops.GradOperation(sens_param=True)

    def construct(self, hidden, targets, places, scale):
        """The loss, and its gradient of `hidden` times `scale`."""
        loss = self.end(hidden, targets, places)
        of_loss = ops.ones_like(loss) * ops.cast(scale, loss.dtype)
        return loss, self.gradient(self.end)(hidden, targets, places, of_loss)


class InTurns:
    """`network`, whose trained `weights` all stand in its layers."""

    def __init__(self, network: InternLMForCausalLM, weights: Sequence[Parameter]):
        self.layers, self.swap = network.model.layers, network.model.swap
        place = {id(weight): number for number, weight in enumerate(weights)}
        self.numbers = [[place[id(weight)] for weight in layer.trainable_params()] for layer in self.layers]
        self.ignored = network.ignore_token_id
        self.begin, self.end = _Begin(network), _End(network)
        self.end_back = _EndBack(self.end)
        self.given = False
        self.training: bool | None = None

    @cached_property
    def turns(self) -> Turns:
        """Of the first step on: weights that were copied before they are drawn would come out otherwise."""
        return Turns(self.layers)

    @cached_property
    def layer(self) -> nn.Cell:
        return _Layer(self.turns.layer, self.swap)

    @cached_property
    def back(self) -> nn.Cell:
        return _LayerBack(self.layer, ParameterTuple(self.turns.layer.trainable_params()))

    def loss(self, *rows: Tensor):
        """What the network returns."""
        self._set_train(False)
        hidden, others, targets = self.begin(*rows)
        for _ in self.turns:
            hidden = self.layer(hidden, *others)
        return self.end(hidden, targets, self._places(targets))

    def gradients(self, scale: Tensor, *rows: Tensor):
        """(loss, the gradients of `weights` times `scale`)."""
        self._set_train(True)
        hidden, others, targets = self.begin(*rows)
        if not self.given:
            self._give_dropouts(hidden.shape[0] * hidden.shape[1])
            self.given = True
        inputs = []
        for _ in self.turns:
            inputs.append(hidden)
            hidden = self.layer(hidden, *others)
        loss, of_hidden = self.end_back(hidden, targets, self._places(targets), scale)
        gradients: dict[int, Tensor] = {}
        for number in reversed(range(len(inputs))):
            self.turns.at(number)
            of_hidden, of_weights = self.back(inputs.pop(), *others, of_hidden)
            gradients |= zip(self.numbers[number], of_weights, strict=True)
        return loss, [gradients[place] for place in sorted(gradients)]

    def _places(self, targets: Tensor) -> Tensor:
        """Where labels stand, see `labelled_places`."""
        return Tensor(labelled_places(targets.asnumpy(), self.ignored))

    def _give_dropouts(self, rows: int) -> None:
        """Give the one layer the vectors of every layer's dropouts, for `rows` ids of a batch."""
        cells, size = _dropouts(self.turns.layer), len(VECTORS)
        made = [
            [
                Tensor(vector((rows, width), number, cell.key))
                for cell, width in _dropouts(layer)
                for number in range(size)
            ]
            for layer in self.layers
        ]
        slots = [Parameter(value, f"dropout{n}", requires_grad=False) for n, value in enumerate(made[0])]
        for site, (cell, _) in enumerate(cells):
            cell.given = ParameterTuple(slots[site * size :][:size])
        self.turns.give(slots, made)

    def _set_train(self, training: bool) -> None:
        if training is not self.training:
            self.training = training
            for cell in (self.begin, self.back, self.end_back, self.layer, self.end):  # each its own graph
                cell.set_train(training)


def labelled_places(targets: np.ndarray, ignored: int) -> np.ndarray:
    """int32 [K]: the places of the labels in `targets` [B, S], counted from row to row.

    Each K is a graph of its own: so it is a power of two, filled up with a place that has no label.
    """
    flat = targets.reshape(-1)
    found = np.flatnonzero(flat != ignored)
    size = min(max(FEWEST, 1 << (len(found) - 1).bit_length()), len(flat))
    filling = np.flatnonzero(flat == ignored)[:1]
    return np.concatenate([found, filling.repeat(size - len(found))]).astype(np.int32)


def in_turns(outer: nn.Cell, weights: Sequence[Parameter]) -> InTurns | None:
    """For the network in `outer`, if a CPU recomputes it whole, and only its layers are trained."""
    network = next(cell for _, cell in outer.cells_and_names() if isinstance(cell, InternLMForCausalLM))
    in_layers = {id(weight) for layer in network.model.layers for weight in layer.trainable_params()}
    recomputes = network.config.parallel_config.recompute.recompute
    if divided() or not (on_cpu() and recomputes and in_layers >= {id(weight) for weight in weights}):
        return None
    return InTurns(network, weights)


def _dropouts(layer: nn.Cell) -> list[tuple[StepDropout, int]]:
    """Those of a layer, each with the width of its input."""
    return [
        (cell.lora_dropout, cell.in_channels)
        for _, cell in layer.cells_and_names()
        if isinstance(cell, LoRADense) and cell.lora_dropout.dropped
    ]
