"""The network, a decoder as LLaMA's, in cells that run on both an Ascend NPU and a CPU.

Importing this module registers `InternLMConfig` and `InternLMForCausalLM`, for use by name in a MindFormers
YAML; they are called after the first network that was declared (InternLM-7B v1). Projections, norms and the
loss are MindFormers' own: LoRA and fused kernels come with them. So do the names of cells.

Where a network is divided among devices, `divide` of each cell tells MindSpore's semi-automatic mode how: it
gives each operator the number of parts of each axis of its inputs. `rows` are the groups of devices that
share the rows of a batch, `parts` the devices of a group, among which heads and the feed-forward's inner
width are divided (Megatron-LM, arXiv 1909.08053): q, k, v, w1 and w3 by their outputs, o and w2 by their
inputs, whose sums are the only thing that a layer sends. An operator without its own parts would be computed
in parts of its first axis, and its inputs and results sent around: so each is a `Primitive` with a name.
"""

from __future__ import annotations

import copy
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
from mindspore.parallel._utils import _get_parallel_mode

from mcqlora.model.flash import Discarded
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
    Tile keeps none; neither does BroadcastTo, which is several times as slow.
    """
    return P.Tile()(x, _times(x.shape, shape)) if on_cpu() else x


@constexpr
def _times(shape, whole):
    """How often each axis of `whole` repeats `shape`."""
    return tuple(
        size // own for size, own in zip(whole, (1,) * (len(whole) - len(shape)) + shape, strict=True)
    )


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


def by_outputs(projection: Linear, rows: int, parts: int) -> None:
    """Divide a projection by its outputs: each device has all inputs, and computes some of the outputs."""
    projection.shard(((rows, 1), (parts, 1)), ((rows, parts), (parts,)), ((rows, parts),))


def by_inputs(projection: Linear, rows: int, parts: int) -> None:
    """Divide a projection by its inputs: each device has some, and the outputs are the sum over devices."""
    projection.shard(((rows, parts), (1, parts)), ((rows, 1), (1,)))


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
        self.half, self.negative, self.swapped = P.StridedSlice(), P.Neg(), P.Concat(-1)
        self.cosine, self.sine, self.turned = P.Mul(), P.Mul(), P.Add()
        self.scale = Tensor(1.0 / math.sqrt(width), dtype=config.compute_dtype)
        self.scaled, self.masked = P.Mul(), P.Add()
        self.softmax, self.tile = P.Softmax(), P.Tile()
        # A CPU's transposition keeps memory as well, see `spread`; heads one by one cost none.
        self.on_cpu, self.transpose, self.merge = on_cpu(), P.Transpose(), P.Transpose()
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
            scores = self.scaled(self.scores(query, self._repeated(key)), self.scale)
            scores = ops.cast(self.masked(mask, scores), self.softmax_dtype)
            seen = self.weighted(ops.cast(self.softmax(scores), self.dtype), self._repeated(value))
        seen = self.stack_merged(self.part_merged(seen)) if self.on_cpu else self.merge(seen, (0, 2, 1, 3))
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
            batch, heads, length, width = x.shape
            first = self.half(wide, (0, 0, 0, 0), (batch, heads, length, half), (1, 1, 1, 1))
            second = self.half(wide, (0, 0, 0, half), (batch, heads, length, width), (1, 1, 1, 1))
            swapped = self.swapped((self.negative(second), first))
        else:
            swapped = ops.matmul(wide, swap)
        return ops.cast(self.turned(self.cosine(wide, cos), self.sine(swapped, sin)), x.dtype)

    def _repeated(self, x):
        """Keys or values [B, kv_heads, S, width] for each query head."""
        times = self.heads // self.kv_heads
        if times == 1:
            return x
        batch, heads, length, width = x.shape
        tiled = self.tile(ops.reshape(x, (batch, heads, 1, length * width)), (1, 1, times, 1))
        return ops.reshape(tiled, (batch, heads * times, length, width))

    def divide(self, rows: int, parts: int) -> None:
        heads, table = (rows, parts, 1, 1), (rows, 1, 1, 1)  # of queries, keys, values; of rotary's tables
        for projection in (self.wq, self.wk, self.wv):
            by_outputs(projection, rows, parts)
        by_inputs(self.wo, rows, parts)
        self.transpose.shard(((rows, 1, parts, 1),))
        if self.qk_norm:
            self.q_norm.shard(heads)
            self.k_norm.shard(heads)
        for operator in (self.half, self.negative, self.merge, self.softmax, self.tile):
            operator.shard((heads,))
        for operator in (self.swapped, self.turned, self.scores, self.weighted):
            operator.shard((heads, heads))
        self.cosine.shard((heads, table))
        self.sine.shard((heads, table))
        self.scaled.shard((heads, ()))
        self.masked.shard((table, heads))
        if self.flash:
            self.fused.flash_attention.shard((heads, heads, heads, table))


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

    def divide(self, rows: int, parts: int) -> None:
        by_outputs(self.w1, rows, parts)
        self.w1.activation.shard(((rows, parts),))
        by_outputs(self.w3, rows, parts)
        self.mul.shard(((rows, 1, parts), (rows, 1, parts)))
        by_inputs(self.w2, rows, parts)


class DecoderLayer(nn.Cell):
    """Attention and feed-forward, each after a norm and beside a residual."""

    def __init__(self, config: InternLMConfig):
        super().__init__()
        self.ffn_norm = Norm(config, config.hidden_size)
        self.attention_norm = Norm(config, config.hidden_size)
        self.attention = Attention(config)
        self.feed_forward = FeedForward(config)
        self.add = P.Add()

    def construct(self, x, rotary, mask):
        x = self.add(x, self.attention(self.attention_norm(x), rotary, mask))
        return self.add(x, self.feed_forward(self.ffn_norm(x)))

    def divide(self, rows: int, parts: int) -> None:
        whole = (rows, 1, 1)
        self.attention_norm.shard(whole)
        self.ffn_norm.shard(whole)
        self.add.shard((whole, whole))
        self.attention.divide(rows, parts)
        self.feed_forward.divide(rows, parts)


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
        self.length, self.causal = length, Tensor(np.tril(np.ones((length, length), np.float32)))
        self.ones, self.column, self.row, self.same, self.counts = (
            P.OnesLike(),
            P.ExpandDims(),
            P.ExpandDims(),
            P.Equal(),
            P.Greater(),
        )
        self.both, self.before, self.earlier = P.LogicalAnd(), P.Greater(), P.LogicalAnd()
        self.left_out, self.lowered, self.of_heads = P.Sub(), P.Mul(), P.ExpandDims()
        self.many, self.less, self.least, self.gather = P.ReduceSum(), P.Sub(), P.Maximum(), P.Gather()
        self.discarded, self.divided = Discarded(), False
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
        hidden, rotary, mask = self.begun(tokens, document_ids)
        for layer in self.layers:
            hidden = layer(hidden, rotary, mask)
        return self.norm_out(hidden)

    def begun(self, tokens, document_ids=None):
        """What the first layer is given: hidden states, rotary's tables, the mask."""
        batch, length = tokens.shape
        packed = document_ids is not None
        if not packed:
            document_ids = self.ones(tokens)
        keys = self.row(document_ids, 1)
        same = self.both(self.same(self.column(document_ids, 2), keys), self.counts(keys, 0))
        causal = self.causal if length == self.length else self.causal[:length, :length]
        seen = ops.cast(self.earlier(same, self.before(causal, 0)), mstype.float32)
        rotary = self.restarted(seen) if packed or self.divided else self.first(batch, length)
        return self.embedded(tokens), rotary, self.mask(seen)

    def embedded(self, tokens):
        batch, length = tokens.shape
        hidden = ops.cast(self.tok_embeddings(tokens), self.dtype)
        return ops.reshape(hidden, (batch, length, self.hidden_size))

    def mask(self, seen):
        """What attention is given, [B, 1, S, S], of `seen` [B, S, S], 1 where a token attends.

        It is added to scores, or is the fused kernel's (see `flash.Discarded`).
        """
        if self.flash:
            return self.discarded(seen)
        batch, length, _ = seen.shape
        mask = self.of_heads(self.lowered(self.left_out(1.0, ops.cast(seen, self.dtype)), MASKED), 1)
        return spread(mask, (batch, self.heads, length, length))

    def first(self, batch, length):
        """Rotary's tables of rows that are one document."""
        return self._tables(batch, self.cos[:length], self.sin[:length], (1, 1, length, -1))

    def restarted(self, seen):
        """Rotary's tables at each token's place in its document, from `seen`.

        Rotary attention depends on differences of positions alone (RoFormer, arXiv 2104.09864, eq. 16), but
        its angles are float32: at position 2,000 they are off by 1e-4, and a document that starts there too.
        """
        earlier = ops.cast(self.less(self.many(seen, -1), 1.0), mstype.int32)
        return self.at(self.least(earlier, 0))  # padding attends to nothing

    def at(self, places):
        """Rotary's tables at `places` int32 [B, S]."""
        batch, length = places.shape
        flat = ops.reshape(places, (-1,))
        cos, sin = self.gather(self.cos, flat, 0), self.gather(self.sin, flat, 0)
        return self._tables(batch, cos, sin, (batch, 1, length, -1))

    def _tables(self, batch, cos, sin, shape):
        """(cos, sin) for queries, the same for keys, and the matrix that swaps a head's halves."""
        cos, sin = ops.reshape(cos, shape), ops.reshape(sin, shape)
        _, _, length, width = cos.shape
        query, key = (batch, self.heads, length, width), (batch, self.kv_heads, length, width)
        return (spread(cos, query), spread(sin, query)), (spread(cos, key), spread(sin, key)), self.swap

    def divide(self, rows: int, parts: int) -> None:
        two, three = (rows, 1), (rows, 1, 1)
        self.divided = True
        self.discarded.divide(rows)
        self.tok_embeddings.gather.shard(((1, 1), two))
        self.ones.shard((two,))
        for operator in (self.column, self.row):
            operator.shard((two,))
        for operator in (self.same, self.both):
            operator.shard((three, three))
        self.counts.shard((three, ()))
        self.before.shard(((1, 1), ()))
        self.earlier.shard((three, (1, 1)))
        self.left_out.shard(((), three))
        self.lowered.shard((three, ()))
        for operator in (self.of_heads, self.many):
            operator.shard((three,))
        for operator in (self.less, self.least):
            operator.shard((two, ()))
        self.gather.shard(((1, 1), (rows,)))
        self.norm_out.shard(three)
        for layer in self.layers:
            layer.divide(rows, parts)


class _Difference(nn.Cell):
    """[N, ids] minus [N, 1]."""

    def construct(self, x, of_row):
        return ops.sub(x, spread(of_row, x.shape))


class _NegativeLogLikelihood(_NLLLoss):
    """MindFormers' with `spread`."""

    def bprop(self, logprobs, one_hot, _, dout):
        gradient = ops.sub(ops.exp(logprobs), one_hot)
        return ops.mul(gradient, spread(ops.expand_dims(dout, -1), gradient.shape)), ops.zeros_like(one_hot)


def cross_entropy(parallel, divided: bool) -> CrossEntropyLoss:
    """MindFormers' loss, on one CPU without what its broadcasts of [N, ids] would keep, see `spread`."""
    loss = CrossEntropyLoss(parallel_config=parallel)
    if on_cpu() and not divided:
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
        self.first, self.shifted, self.counts = P.StridedSlice(), P.Concat(1), P.NotEqual()
        self.labelled, self.many = P.Mul(), P.ReduceSum()
        parallel = copy.deepcopy(config.parallel_config)  # copy.copy would share the numbers of parts
        divided = _get_parallel_mode() == ms.ParallelMode.SEMI_AUTO_PARALLEL
        if divided:
            if config.tie_word_embeddings or config.vocab_size % parallel.model_parallel:
                parallel.model_parallel = 1  # the head is whole everywhere
            self.divide(
                parallel.data_parallel, config.parallel_config.model_parallel, parallel.model_parallel
            )
        self.loss = cross_entropy(parallel, divided)
        self.load_checkpoint(config)

    def construct(self, input_ids, labels, document_ids=None):
        """Mean loss of int32 [B, S] rows; outside training (mean loss, number of tokens it is the mean of).

        In training rows have seq_length + 1 ids and the last one is only a label; in evaluation they have
        seq_length. `labels` has the index of its input, -100 where no loss is wanted.
        """
        tokens, targets, document_ids = self.columns(input_ids, labels, document_ids)
        loss, mask = self.of_hidden(self.model(tokens, document_ids), targets)
        return loss if self.training else (loss, self.many(mask))

    def columns(self, input_ids, labels, document_ids=None):
        """(tokens, the label of each, documents), int32 [B, S] each."""
        batch, length = input_ids.shape
        if self.training:
            if document_ids is not None:
                document_ids = self._columns(document_ids, 0, length - 1)
            return self._columns(input_ids, 0, length - 1), self._columns(labels, 1, length), document_ids
        none = ops.full((batch, 1), self.ignore_token_id, dtype=mstype.int32)
        return input_ids, self.shifted((self._columns(labels, 1, length), none)), document_ids

    def of_hidden(self, hidden, targets):
        """(mean loss, which of `targets` it is the mean of) of what the decoder says."""
        logits = ops.cast(self.lm_head(hidden), mstype.float32)
        mask = ops.cast(self.counts(targets, self.ignore_token_id), mstype.float32)
        targets = ops.cast(self.labelled(targets, ops.cast(mask, mstype.int32)), mstype.int32)
        flat = ops.reshape(logits, (-1, self.vocab_size))
        return self.loss(flat, ops.reshape(targets, (-1,)), ops.reshape(mask, (-1,))), mask

    def _columns(self, x, start, end):
        """Those from `start` to before `end` of [B, S]."""
        return self.first(x, (0, start), (x.shape[0], end), (1, 1))

    def divide(self, rows: int, parts: int, head: int) -> None:
        """The network in `parts`, its head in `head`: of tied embeddings, which are whole, in 1."""
        self.model.divide(rows, parts)
        by_outputs(self.lm_head, rows, head)
        for operator in (self.first, self.many):
            operator.shard(((rows, 1),))
        for operator in (self.shifted, self.labelled):
            operator.shard(((rows, 1), (rows, 1)))
        self.counts.shard(((rows, 1), ()))
