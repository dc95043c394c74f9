"""The network, a decoder as LLaMA's, in cells that run on both an Ascend NPU and a CPU.

Importing this module registers `InternLMConfig` and `InternLMForCausalLM`, for use by name in a MindFormers
YAML; they are called after the first network that was declared (InternLM-7B v1). Projections, norms and the
loss are MindFormers' own: LoRA, fused kernels and parallel layouts come with them. So do the names of cells.
"""

from __future__ import annotations

import math

import mindspore as ms
import numpy as np
from mindformers.core.loss.loss import CrossEntropyLoss, _NLLLoss
from mindformers.models.llama import LlamaConfig
from mindformers.models.llama.llama_layer import LlamaEmbedding, LlamaRMSNorm, LlamaSiLU
from mindformers.models.modeling_utils import PreTrainedModel
from mindformers.modules.flash_attention import FlashAttention
from mindformers.modules.layers import FreqsMgr, Linear
from mindformers.parallel_core.training_graph.transformer.utils import LayerSetting
from mindformers.tools.register import MindFormerModuleType, MindFormerRegister
from mindspore import Tensor, nn, ops
from mindspore.common import dtype as mstype
from mindspore.ops import constexpr
from mindspore.ops import operations as P

from mcqlora.model.flash import discarded
from mcqlora.model.rotary import tables

MASKED = -10000.0  # what MindFormers adds to a masked attention score; finite in float16


@MindFormerRegister.register(MindFormerModuleType.CONFIG)
class InternLMConfig(LlamaConfig):
    """`LlamaConfig` with what other families add; `has_bias` is that of q, k, v and o."""

    model_type = "internlm"

    def __init__(
        self,
        has_bias: bool = True,
        head_dim: int | None = None,
        qk_norm: bool = False,
        rope_scaling: dict | None = None,
        **kwargs,
    ):
        kwargs.setdefault("qkv_has_bias", has_bias)
        kwargs.setdefault("attn_proj_has_bias", has_bias)
        super().__init__(**kwargs)
        self.has_bias, self.qk_norm, self.rope_scaling = has_bias, qk_norm, rope_scaling
        self.head_dim = head_dim or self.hidden_size // self.num_heads
        self.kv_heads = self.n_kv_heads or self.num_heads


def spread(x, shape):
    """`x` in the whole `shape`, for an operator that would broadcast it, where that costs memory: on a CPU.

    Its kernels for that keep two int64 indices of every element of their result as long as the graph lives,
    once for each layer: most of what a network of 30 layers took (tests/integration/test_memory.py measures).
    """
    return ops.broadcast_to(x, shape) if on_cpu() else x


@constexpr
def on_cpu() -> bool:
    return ms.get_context("device_target") == "CPU"


class BiasAdd(nn.Cell):
    """A bias added to [N, outputs]."""

    def construct(self, x, bias):
        return ops.add(x, spread(bias, x.shape))


class Norm(LlamaRMSNorm):
    """RMSNorm (Zhang and Sennrich 2019, arXiv 1910.07467) over the last axis."""

    def __init__(self, config: InternLMConfig, width: int):
        kind, fused = config.layernorm_compute_type, config.fused_rms_norm
        super().__init__(width, config.rms_norm_eps, compute_type=kind, fused_kernel=fused)

    def _self_norm(self, x):
        h = self.cast(x, self.compute_type)
        factor = self.rsqrt(self.add(self.mean(self.square(h), -1), self.eps))
        scaled = self.cast(self.mul(h, spread(factor, h.shape)), x.dtype)
        return self.mul2(scaled, spread(self.cast(self.weight, x.dtype), x.shape))


def linear(config: InternLMConfig, inputs: int, outputs: int, bias: bool = False, activation=None) -> Linear:
    """A projection, [outputs, inputs], as a cell that MindFormers' LoRA finds."""
    made = Linear(
        inputs,
        outputs,
        init_method_std=config.init_method_std,
        has_bias=bias,
        activation=activation,
        compute_dtype=config.compute_dtype,
        param_init_type=config.param_init_type,
    )
    if bias and on_cpu():
        made.bias_add = BiasAdd()
    return made


class Attention(nn.Cell):
    """Grouped-query attention (Ainslie et al. 2023, arXiv 2305.13245) with rotated queries and keys."""

    def __init__(self, config: InternLMConfig):
        super().__init__()
        hidden, width = config.hidden_size, config.head_dim
        self.heads, self.kv_heads, self.width = config.num_heads, config.kv_heads, width
        self.dtype, self.softmax_dtype = config.compute_dtype, config.softmax_compute_type
        self.wq = linear(config, hidden, self.heads * width, config.qkv_has_bias)
        self.wk = linear(config, hidden, self.kv_heads * width, config.qkv_has_bias)
        self.wv = linear(config, hidden, self.kv_heads * width, config.qkv_has_bias)
        self.wo = linear(config, self.heads * width, hidden, config.attn_proj_has_bias)
        self.qk_norm = config.qk_norm
        if self.qk_norm:  # of each head (Qwen3 report, arXiv 2505.09388)
            self.q_norm, self.k_norm = Norm(config, width), Norm(config, width)
        self.rotary_dtype, self.sliced = config.rotary_dtype, config.use_rope_slice
        self.scale = Tensor(1.0 / math.sqrt(width), dtype=config.compute_dtype)
        self.softmax, self.tile = P.Softmax(), P.Tile()
        # A CPU's transposition keeps memory as well, see `spread`; heads one by one cost none.
        self.on_cpu, self.transpose = on_cpu(), P.Transpose()
        self.part, self.part_kv, self.stack = P.Split(2, self.heads), P.Split(2, self.kv_heads), P.Concat(1)
        self.part_merged, self.stack_merged = P.Split(1, self.heads), P.Concat(3)
        self.scores, self.weighted = P.BatchMatMul(transpose_b=True), P.BatchMatMul()
        self.flash = config.use_flash_attention
        if self.flash:  # a mask for each row, and nothing beyond the diagonal
            self.fused = FlashAttention(
                head_num=self.heads,
                scale_value=1.0 / math.sqrt(width),
                next_tokens=0,
                input_layout="BNSD",
                use_attention_mask=True,
            )

    def construct(self, x, rotary, mask):
        """[B, S, hidden] of `x`; `rotary` and `mask` are those of `Decoder`."""
        batch, length, _ = x.shape
        query = self._split(ops.cast(self.wq(x), self.dtype), self.heads)
        key = self._split(ops.cast(self.wk(x), self.dtype), self.kv_heads)
        value = self._split(ops.cast(self.wv(x), self.dtype), self.kv_heads)
        if self.qk_norm:
            query, key = self.q_norm(query), self.k_norm(key)
        (cos, sin), (key_cos, key_sin), swap = rotary
        query, key = self._rotated(query, cos, sin, swap), self._rotated(key, key_cos, key_sin, swap)
        if self.flash:
            seen = self.fused(query, key, value, mask)
        else:
            scores = ops.mul(self.scores(query, self._repeated(key)), self.scale)
            scores = ops.cast(ops.add(mask, scores), self.softmax_dtype)
            seen = self.weighted(ops.cast(self.softmax(scores), self.dtype), self._repeated(value))
        if self.on_cpu:
            seen = self.stack_merged(self.part_merged(seen))
        else:
            seen = self.transpose(seen, (0, 2, 1, 3))
        merged = ops.reshape(seen, (batch, length, self.heads * self.width))
        return ops.cast(self.wo(merged), x.dtype)

    def _split(self, x, heads):
        """[B, S, heads * width] as [B, heads, S, width]."""
        batch, length, _ = x.shape
        x = ops.reshape(x, (batch, length, heads, self.width))
        if self.on_cpu:
            parts = self.part(x) if heads == self.heads else self.part_kv(x)
            return ops.reshape(self.stack(parts), (batch, heads, length, self.width))
        return self.transpose(x, (0, 2, 1, 3))

    def _rotated(self, x, cos, sin, swap):
        """`x` [B, heads, S, width] turned: x cos + (-second half, first half) sin."""
        wide, half = ops.cast(x, self.rotary_dtype), self.width // 2
        if self.sliced:
            swapped = ops.concat((ops.neg(wide[:, :, :, half:]), wide[:, :, :, :half]), -1)
        else:
            swapped = ops.matmul(wide, swap)
        return ops.cast(ops.add(ops.mul(wide, cos), ops.mul(swapped, sin)), x.dtype)

    def _repeated(self, x):
        """Keys or values [B, kv_heads, S, width] for each query head."""
        times = self.heads // self.kv_heads
        if times == 1:
            return x
        batch, heads, length, width = x.shape
        tiled = self.tile(ops.reshape(x, (batch, heads, 1, length * width)), (1, 1, times, 1))
        return ops.reshape(tiled, (batch, heads * times, length, width))


class FeedForward(nn.Cell):
    """SwiGLU (Shazeer 2020, arXiv 2002.05202): w2(silu(w1 x) * w3 x)."""

    def __init__(self, config: InternLMConfig):
        super().__init__()
        hidden, inner = config.hidden_size, config.intermediate_size
        self.dtype = config.compute_dtype
        self.w1 = linear(config, hidden, inner, activation=LlamaSiLU)
        self.w2 = linear(config, inner, hidden)
        self.w3 = linear(config, hidden, inner)
        self.mul = P.Mul()

    def construct(self, x):
        x = ops.cast(x, self.dtype)
        gate, up = self.w1(x), self.w3(x)
        return self.w2(self.mul(up, gate))


class DecoderLayer(nn.Cell):
    """Attention and feed-forward, each after a norm and beside a residual."""

    def __init__(self, config: InternLMConfig):
        super().__init__()
        self.ffn_norm = Norm(config, config.hidden_size)
        self.attention_norm = Norm(config, config.hidden_size)
        self.attention = Attention(config)
        self.feed_forward = FeedForward(config)

    def construct(self, x, rotary, mask):
        x = ops.add(x, self.attention(self.attention_norm(x), rotary, mask))
        return ops.add(x, self.feed_forward(self.ffn_norm(x)))


class Decoder(nn.Cell):
    """Embeddings, layers under a mask that knows documents, and the last norm."""

    def __init__(self, config: InternLMConfig):
        super().__init__()
        self.dtype, self.hidden_size = config.compute_dtype, config.hidden_size
        self.heads, self.kv_heads = config.num_heads, config.kv_heads
        self.flash = config.use_flash_attention
        length, width = config.seq_length, config.head_dim
        cos, sin = tables(width, length, config.theta, config.rope_scaling)
        self.cos, self.sin = Tensor(cos, config.rotary_dtype), Tensor(sin, config.rotary_dtype)
        self.swap = Tensor(FreqsMgr.get_swap_mask(width), config.rotary_dtype)
        self.causal = Tensor(np.tril(np.ones((length, length), np.float32)))
        parallel = config.parallel_config
        self.tok_embeddings = LlamaEmbedding(
            config.vocab_size,
            config.hidden_size,
            init_method_std=config.init_method_std,
            param_init_type=config.embedding_init_type,
            parallel_optimizer=config.parallel_optimizer,
        )
        self.layers = nn.CellList()
        place = LayerSetting(config.num_layers, config.offset, parallel)  # recomputation, fused gradients
        for number in range(config.num_layers):
            layer = DecoderLayer(config)
            place(layer, number)
            self.layers.append(layer)
        self.norm_out = Norm(config, config.hidden_size)
        for cell in (self.tok_embeddings, self.norm_out):
            cell.set_comm_fusion(parallel.gradient_aggregation_group)

    def construct(self, tokens, document_ids=None):
        """Hidden states float [B, S, hidden] of `tokens` int32 [B, S].

        `document_ids` int32 [B, S] is 1, 2, ... inside a row's documents and 0 on padding; a token attends to
        the earlier tokens of its own document, and its position counts from that document's start. Without it
        a row is one document: its padding stands at the end, where no token before it looks. (No id says that
        it is padding: SmolLM2 pads with the mark that ends its turns.)
        """
        batch, length = tokens.shape
        packed = document_ids is not None
        if not packed:
            document_ids = ops.ones_like(tokens)
        keys = ops.expand_dims(document_ids, 1)
        same = ops.logical_and(ops.equal(ops.expand_dims(document_ids, 2), keys), ops.greater(keys, 0))
        causal = ops.greater(self.causal[:length, :length], 0)
        seen = ops.cast(ops.logical_and(same, causal), mstype.float32)
        rotary = self.restarted(seen) if packed else self.first(batch, length)
        hidden = self.embedded(tokens)
        mask = self.mask(seen)
        for layer in self.layers:
            hidden = layer(hidden, rotary, mask)
        return self.norm_out(hidden)

    def embedded(self, tokens):
        batch, length = tokens.shape
        hidden = ops.cast(self.tok_embeddings(tokens), self.dtype)
        return ops.reshape(hidden, (batch, length, self.hidden_size))

    def mask(self, seen):
        """What attention is given, [B, 1, S, S], of `seen` [B, S, S], 1 where a token attends.

        It is added to scores, or is the fused kernel's (see `flash.discarded`).
        """
        if self.flash:
            return discarded(seen)
        batch, length, _ = seen.shape
        mask = ops.expand_dims(ops.mul(ops.sub(1.0, ops.cast(seen, self.dtype)), MASKED), 1)
        return spread(mask, (batch, self.heads, length, length))

    def first(self, batch, length):
        """Rotary's tables of rows that are one document."""
        return self._tables(batch, self.cos[:length], self.sin[:length], (1, 1, length, -1))

    def restarted(self, seen):
        """Rotary's tables at each token's place in its document, from `seen`.

        Rotary attention depends on differences of positions alone (RoFormer, arXiv 2104.09864, eq. 16), but
        its angles are float32: at position 2,000 they are off by 1e-4, and a document that starts there too.
        """
        earlier = ops.cast(seen.sum(-1) - 1.0, mstype.int32)
        return self.at(ops.maximum(earlier, 0))  # padding attends to nothing

    def at(self, places):
        """Rotary's tables at `places` int32 [B, S]."""
        batch, length = places.shape
        flat = ops.reshape(places, (-1,))
        cos, sin = ops.gather(self.cos, flat, 0), ops.gather(self.sin, flat, 0)
        return self._tables(batch, cos, sin, (batch, 1, length, -1))

    def _tables(self, batch, cos, sin, shape):
        """(cos, sin) for queries, the same for keys, and the matrix that swaps a head's halves."""
        cos, sin = ops.reshape(cos, shape), ops.reshape(sin, shape)
        _, _, length, width = cos.shape
        query, key = (batch, self.heads, length, width), (batch, self.kv_heads, length, width)
        return (spread(cos, query), spread(sin, query)), (spread(cos, key), spread(sin, key)), self.swap


class _Difference(nn.Cell):
    """[N, ids] minus [N, 1]."""

    def construct(self, x, of_row):
        return ops.sub(x, spread(of_row, x.shape))


class _NegativeLogLikelihood(_NLLLoss):
    """MindFormers' with `spread`."""

    def bprop(self, logprobs, one_hot, _, dout):
        gradient = ops.sub(ops.exp(logprobs), one_hot)
        return ops.mul(gradient, spread(ops.expand_dims(dout, -1), gradient.shape)), ops.zeros_like(one_hot)


def cross_entropy(config: InternLMConfig) -> CrossEntropyLoss:
    """MindFormers' loss, on a CPU without what its broadcasts of [N, ids] would keep, see `spread`."""
    loss = CrossEntropyLoss(parallel_config=config.parallel_config)
    if on_cpu():
        loss._log_softmax.sub, loss._nllloss = _Difference(), _NegativeLogLikelihood()
    return loss


@MindFormerRegister.register(MindFormerModuleType.MODELS)
class InternLMForCausalLM(PreTrainedModel):
    """A decoder with its head, as MindFormers trains it."""

    config_class = InternLMConfig
    base_model_prefix = "llama"
    _support_list: list[str] = []  # noqa: RUF012 (MindFormers' own attribute)

    def __init__(self, config: InternLMConfig):
        super().__init__(config, auto_prefix=True)
        self.ignore_token_id, self.vocab_size = config.ignore_token_id, config.vocab_size
        self.model = Decoder(config)
        self.lm_head = Linear(
            config.hidden_size,
            config.vocab_size,
            has_bias=False,
            compute_dtype=config.compute_dtype,
            param_init_type=config.param_init_type,
        )
        if config.tie_word_embeddings:
            self.lm_head.weight = self.model.tok_embeddings.embedding_weight
        self.loss = cross_entropy(config)
        self.load_checkpoint(config)

    def construct(self, input_ids, labels, document_ids=None):
        """Mean loss of int32 [B, S] rows; outside training (mean loss, number of tokens it is the mean of).

        In training rows have seq_length + 1 ids and the last one is only a label; in evaluation they have
        seq_length. `labels` has the index of its input, -100 where no loss is wanted.
        """
        batch, length = input_ids.shape
        if self.training:
            tokens = input_ids[:, : length - 1]
            targets = labels[:, 1:]
            if document_ids is not None:
                document_ids = document_ids[:, : length - 1]
        else:
            tokens = input_ids
            shifted = labels[:, 1:]
            targets = ops.concat((shifted, ops.full((batch, 1), self.ignore_token_id, dtype=mstype.int32)), 1)
        logits = ops.cast(self.lm_head(self.model(tokens, document_ids)), mstype.float32)
        mask = ops.cast(ops.not_equal(targets, self.ignore_token_id), mstype.float32)
        targets = ops.cast(ops.mul(targets, ops.cast(mask, mstype.int32)), mstype.int32)
        flat = ops.reshape(logits, (-1, self.vocab_size))
        loss = self.loss(flat, ops.reshape(targets, (-1,)), ops.reshape(mask, (-1,)))
        if self.training:
            return loss
        return loss, mask.sum()
