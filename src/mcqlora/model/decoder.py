"""InternLM on MindFormers, in cells that run on both an Ascend NPU and a CPU.

Importing this module registers `InternLMConfig` and `InternLMForCausalLM`, for use by name in a MindFormers
YAML: LLaMA with a bias on q, k, v and o (InternLM-7B v1), attention kept inside a document when rows are
packed.
"""

from __future__ import annotations

import numpy as np
from mindformers.models.llama import LlamaConfig, LlamaForCausalLM
from mindformers.models.llama.llama import LlamaModel
from mindformers.tools.register import MindFormerModuleType, MindFormerRegister
from mindspore import Tensor, ops
from mindspore.common import dtype as mstype

from mcqlora.model.flash import discarded

MASKED = -10000.0  # what MindFormers adds to a masked attention score; finite in float16


@MindFormerRegister.register(MindFormerModuleType.CONFIG)
class InternLMConfig(LlamaConfig):
    """`LlamaConfig` with a bias on the four attention projections."""

    model_type = "internlm"

    def __init__(self, has_bias: bool = True, **kwargs):
        kwargs.setdefault("qkv_has_bias", has_bias)
        kwargs.setdefault("attn_proj_has_bias", has_bias)
        super().__init__(**kwargs)
        self.has_bias = has_bias


class InternLMModel(LlamaModel):
    """The decoder of `InternLMForCausalLM`: LLaMA's layers under a mask that knows documents."""

    def construct(self, tokens, document_ids=None):
        """Hidden states float [B, S, hidden] of `tokens` int32 [B, S].

        `document_ids` int32 [B, S] is 1, 2, ... inside a row's documents and 0 on padding; a token attends to
        the earlier tokens of its own document, and its position counts from that document's start. Without it
        a row is one document, its padding known by the id.
        """
        batch, length = self.shape(tokens)
        packed = document_ids is not None
        if not packed:
            document_ids = self.cast(ops.not_equal(tokens, self.pad_token_id), mstype.int32)
        keys = ops.expand_dims(document_ids, 1)
        same = ops.logical_and(ops.equal(ops.expand_dims(document_ids, 2), keys), ops.greater(keys, 0))
        causal = ops.greater(self.causal[:length, :length], 0)
        seen = self.cast(ops.logical_and(same, causal), mstype.float32)
        freqs = self._restarted(seen) if packed else self.freqs_mgr(length)
        if self.use_flash_attention:
            mask = discarded(seen)
        else:
            mask = ops.expand_dims(ops.mul(ops.sub(1.0, self.cast(seen, self.dtype)), MASKED), 1)
        hidden = self.cast(self.tok_embeddings(tokens), self.dtype)
        hidden = self.reshape(hidden, (batch, length, self.hidden_size))
        for layer in self.layers:
            hidden = layer(hidden, freqs, mask)
        return self.norm_out(hidden)

    def _restarted(self, seen):
        """Rotary's tables at each token's place in its document, from `seen` [B, S, S], 1 where it attends.

        Rotary attention depends on differences of positions alone (RoFormer, arXiv 2104.09864, eq. 16), but
        its angles are float32: at position 2,000 they are off by 1e-4, and a document that starts there too.
        """
        batch, length, _ = self.shape(seen)
        earlier = self.cast(seen.sum(-1) - 1.0, mstype.int32)
        places = self.reshape(ops.maximum(earlier, 0), (-1,))  # padding attends to nothing
        shape = (batch, 1, length, -1)
        cos = self.reshape(ops.gather(self.freqs_mgr.freqs_cos, places, 0), shape)
        sin = self.reshape(ops.gather(self.freqs_mgr.freqs_sin, places, 0), shape)
        return cos, sin, self.freqs_mgr.swap_mask


@MindFormerRegister.register(MindFormerModuleType.MODELS)
class InternLMForCausalLM(LlamaForCausalLM):
    """InternLM-7B v1 and any LLaMA-architecture network, with isolated documents in plain operators."""

    config_class = InternLMConfig

    def __init__(self, config: InternLMConfig):
        # By its name: MindFormers looks for it there to leave out lazy inlining, which a CPU cannot compile.
        super().__init__(config=config)
        self.model.causal = Tensor(np.tril(np.ones((config.seq_length, config.seq_length), np.float32)))
        # Not a second decoder: at 7 B parameters building LLaMA's and dropping it would double the memory.
        self.model.__class__ = InternLMModel

    def construct(self, input_ids, labels, document_ids=None):
        """Mean loss of int32 [B, S] rows; outside training (mean loss, number of tokens it is the mean of).

        In training rows have seq_length + 1 ids and the last one is only a label; in evaluation they have
        seq_length. `labels` has the index of its input, -100 where no loss is wanted.
        """
        batch, length = self.shape(input_ids)
        if self.training:
            tokens = input_ids[:, : length - 1]
            targets = labels[:, 1:]
            if document_ids is not None:
                document_ids = document_ids[:, : length - 1]
        else:
            tokens = input_ids
            shifted = labels[:, 1:]
            targets = ops.concat((shifted, ops.full((batch, 1), self.ignore_token_id, dtype=mstype.int32)), 1)
        logits = self.cast(self.lm_head(self.model(tokens, document_ids)), mstype.float32)
        mask = self.cast(ops.not_equal(targets, self.ignore_token_id), mstype.float32)
        targets = self.cast(ops.mul(targets, self.cast(mask, mstype.int32)), mstype.int32)
        flat = self.reshape(logits, (-1, self.vocab_size))
        loss = self.loss(flat, self.reshape(targets, (-1,)), self.reshape(mask, (-1,)))
        if self.training:
            return loss
        return loss, mask.sum()
