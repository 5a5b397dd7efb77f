"""A DiT in PyTorch of the same shape and features: the peer of tools/bench/train.py.

It runs under torch.compile in bfloat16 (autocast), with the fused AdamW and an EMA of the weights.
Attention is over clips of any length packed into rows (torch.nn.attention.varlen, only on CUDA), or
over rows of one padded clip each. It costs a little less than videodit's DiT, because it lacks the
level embedding, the caption pool and the last modulation, and a little more, because its modulation
is a matmul with a one-hot (about 5 % of a block's FLOPs; the transpose of a lookup would be a slow
scatter).
"""

import gc
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from videodit.data.packing import PackedBatch
from videodit.nn.block import StackShape

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
EMA_DECAY = 0.999

Starts = tuple[Tensor, int]  # where segments start, with the end of the last; the longest one
Lengths = tuple[Starts, Starts] | None  # of queries and keys; None: a row is one segment


def attend(q: Tensor, k: Tensor, v: Tensor, lengths: Lengths) -> Tensor:
    """Attention of q B L N H to k, v B S N H, within segments: B L N H.

    `lengths` are those of the segments of all rows, one row after the other.
    """
    if lengths is None:
        q, k, v = (x.transpose(1, 2) for x in (q, k, v))
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2)
    flat = [x.flatten(0, 1) for x in (q, k, v)]
    if DEVICE == "cuda":
        from torch.nn.attention.varlen import varlen_attn

        (starts, longest), (key_starts, longest_key) = lengths
        y = varlen_attn(*flat, starts, key_starts, longest, longest_key)
    else:
        sizes, key_sizes = (starts.diff().tolist() for starts, _ in lengths)
        parts = zip(flat[0].split(sizes), flat[1].split(key_sizes), flat[2].split(key_sizes))
        heads = ([x.transpose(0, 1)[None] for x in part] for part in parts)
        y = torch.cat([F.scaled_dot_product_attention(*x)[0].transpose(0, 1) for x in heads])
    return y.view_as(q)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """x B L N H, turned by angles whose cos and sin are B L H/2."""
    first, second = x.chunk(2, dim=-1)
    cos, sin = cos[:, :, None], sin[:, :, None]
    return torch.cat([first * cos - second * sin, second * cos + first * sin], -1).type_as(x)


class Attention(nn.Module):
    """Self-attention or cross-attention with QK-norm."""

    def __init__(self, width: int, heads: int, head_size: int, keys_width: int) -> None:
        super().__init__()
        inner = heads * head_size
        self.heads = heads
        self.query = nn.Linear(width, inner, bias=False)
        self.key_value = nn.Linear(keys_width, 2 * inner, bias=False)
        self.out = nn.Linear(inner, width, bias=False)
        self.query_norm, self.key_norm = nn.RMSNorm(head_size), nn.RMSNorm(head_size)

    def forward(
        self,
        x: Tensor,
        source: Tensor,
        lengths: Lengths,
        angles: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """Attention of x B L D to the source B S E: B L D."""
        split = lambda y: y.unflatten(-1, (self.heads, -1))
        q, (k, v) = split(self.query(x)), map(split, self.key_value(source).chunk(2, -1))
        q, k = self.query_norm(q), self.key_norm(k)
        if angles is not None:
            q, k = rotate(q, *angles), rotate(k, *angles)
        return self.out(attend(q.type_as(v), k.type_as(v), v, lengths).flatten(2))


class Block(nn.Module):
    """A block with modulation, self-attention, cross-attention to the text, and an MLP."""

    def __init__(self, shape: StackShape, text_width: int) -> None:
        super().__init__()
        width = shape.width
        self.norm = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.table = nn.Linear(width, 6 * width)
        self.attention = Attention(width, shape.heads, shape.head_size, width)
        self.cross = Attention(width, shape.heads, shape.head_size, text_width)
        self.up = nn.Linear(width, shape.mlp, bias=False)
        self.down = nn.Linear(shape.mlp, width, bias=False)

    def forward(
        self,
        x: Tensor,
        slots: Tensor,
        one_hot: Tensor,
        angles: tuple[Tensor, Tensor],
        text: Tensor,
        lengths: Lengths,
        text_lengths: Lengths,
    ) -> Tensor:
        """x: B L D, slots: B K D, one_hot: B L K, text: B S E. Returns B L D."""
        tables = torch.bmm(one_hot, self.table(F.silu(slots)).type_as(one_hot))
        shift1, scale1, gate1, shift2, scale2, gate2 = tables.chunk(6, -1)
        h = self.norm(x) * (1 + scale1) + shift1
        x = x + gate1 * self.attention(h, h, lengths, angles)
        x = x + self.cross(self.norm(x), text, text_lengths)
        h = self.norm(x) * (1 + scale2) + shift2
        return x + gate2 * self.down(F.gelu(self.up(h), approximate="tanh"))


class DiT(nn.Module):
    """Embedding, blocks and head."""

    def __init__(self, shape: StackShape, channels: int, text_width: int) -> None:
        super().__init__()
        self.embed = nn.Linear(channels, shape.width)
        self.blocks = nn.ModuleList(Block(shape, text_width) for _ in range(shape.depth))
        self.norm = nn.LayerNorm(shape.width, elementwise_affine=False, eps=1e-6)
        self.head = nn.Linear(shape.width, channels)

    def forward(self, x: Tensor, *conditions: Any) -> Tensor:
        """x: B L C; conditions: the other arguments of `Block.forward`. Returns B L C."""
        x = self.embed(x)
        for block in self.blocks:
            x = block(x, *conditions)
        return self.head(self.norm(x))


def make_step(
    batches: Sequence[PackedBatch],
    shape: StackShape,
    channels: int,
    text_width: int,
    segments: int,
    packed: bool,
) -> Callable[[], float]:
    """Makes `step()`, one update with the gradients of all batches.

    `packed`: attention is within the segments of a row, of which there are `segments` at most;
    otherwise a row is one clip. `step` returns the perf_counter at which the device had its work.
    """
    torch.manual_seed(0)
    torch.set_float32_matmul_precision("high")
    if DEVICE == "cuda":
        torch.cuda.reset_peak_memory_stats()
    model = DiT(shape, channels, text_width).to(DEVICE)
    average = [p.detach().clone() for p in model.parameters()]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=DEVICE == "cuda")
    compiled = torch.compile(model, dynamic=False) if DEVICE == "cuda" else model
    inputs = [_inputs(batch, shape, text_width, segments, packed) for batch in batches]
    total = sum(int((batch.segment_ids > 0).sum()) for batch in batches)

    def step() -> float:
        for x, real, *conditions in inputs:
            with torch.autocast(DEVICE, torch.bfloat16):
                y = compiled(x, *conditions)
            (((y.float() - x) ** 2).mean(-1) * real / total).sum().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0, foreach=True)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        with torch.no_grad():
            torch._foreach_lerp_(average, list(model.parameters()), 1 - EMA_DECAY)
        called = time.perf_counter()
        if DEVICE == "cuda":
            torch.cuda.synchronize()
        return called

    return step


def memory() -> dict[str, float]:
    """Peak GiB of the device, where it is known."""
    if DEVICE != "cuda":
        return {}
    return {"memory_gib": torch.cuda.max_memory_allocated() / 2**30}


def release() -> None:
    """Frees the memory of steps that are no longer used."""
    torch._dynamo.reset()
    gc.collect()
    if DEVICE == "cuda":
        torch.cuda.empty_cache()


def _inputs(
    batch: PackedBatch, shape: StackShape, text_width: int, segments: int, packed: bool
) -> tuple[Any, ...]:
    """The arguments of DiT.forward; after the first one, a mask B L of the real tokens."""
    put = lambda x, dtype=torch.float32: torch.as_tensor(x, dtype=dtype, device=DEVICE)
    rows, slots = len(batch.tokens), 2 * segments if packed else 2
    one_hot = batch.noise_slot_ids[..., None] == np.arange(slots)
    angles = np.tile(batch.positions, (1, 1, shape.head_size))[..., : shape.head_size // 2]
    lengths: Lengths = None
    text_lengths: Lengths = None
    if packed:
        sizes, key_sizes = zip(*map(_sizes, batch.segment_ids, batch.text_segment_ids))
        queries, keys = np.concatenate(sizes), np.concatenate(key_sizes)
        lengths = (_starts(queries), _starts(queries))
        text_lengths = (_starts(queries), _starts(keys))
    return (
        put(batch.tokens),
        put(batch.segment_ids > 0),
        torch.randn(rows, slots, shape.width, device=DEVICE),
        put(one_hot, torch.bfloat16),
        (put(np.cos(angles)), put(np.sin(angles))),
        torch.randn(rows, batch.text_segment_ids.shape[1], text_width, device=DEVICE),
        lengths,
        text_lengths,
    )


def _sizes(ids: np.ndarray, text_ids: np.ndarray) -> list[np.ndarray]:
    """Tokens and text tokens of the segments of a row; padding counts as a last segment."""
    counts = [np.bincount(x, minlength=ids.max() + 1) for x in (ids, text_ids)]
    return [np.append(count[1:], count[0]) for count in counts]


def _starts(sizes: np.ndarray) -> Starts:
    """Where segments start, with the end of the last, int32; and the size of the longest."""
    starts = torch.as_tensor(np.append(0, np.cumsum(sizes)), dtype=torch.int32, device=DEVICE)
    return starts, int(sizes.max())
