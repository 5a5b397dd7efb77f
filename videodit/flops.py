"""Closed forms of how much arithmetic a model needs: two FLOPs for each multiply-add of a product.

Only matrix products count, and of attention only pairs of tokens of the same clip: what is useful,
not what an implementation spends on padding or masked pairs.
"""

import numpy as np

from videodit.nn.block import StackShape

BACKWARD = 2  # times the forward pass: gradients of the inputs and of the kernels


def stack_flops(
    shape: StackShape, tokens: np.ndarray, text: np.ndarray | None = None, text_width: int = 0
) -> float:
    """FLOPs of a forward pass of a stack over clips of `tokens` (n) and `text` (n) tokens.

    Without `text` the blocks have no cross-attention. Modulation, which is per clip, is left out.
    """
    tokens = np.asarray(tokens, np.float64)
    inner = shape.heads * shape.head_size
    self_attention = 4 * shape.width * inner * tokens + 2 * inner * tokens**2
    mlp = 2 * shape.width * shape.mlp * tokens
    total = (self_attention + mlp).sum()
    if text is not None:
        text = np.asarray(text, np.float64)
        projections = 2 * shape.width * inner * tokens + 2 * text_width * inner * text
        total += (projections + 2 * inner * tokens * text).sum()
    return float(2 * shape.depth * total)
