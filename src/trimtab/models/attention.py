"""Attention for rows on a CPU: two plain matrix products.

PyTorch's fused CPU kernel takes a fifth of a training step at the lengths of short rows, most of it in its backward
pass; plain products of the same numbers take a fraction of that. Memory is quadratic in the row's length, so longer
rows go to the fused kernel.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import eager_mask

ROW_ATTENTION = "trimtab_rows"
LONGEST_ROW = 512


def row_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor,
    *,
    scaling: float,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attention as transformers calls it: `query` `[B, H, L, d]`, `key` and `value` `[B, K, M, d]`, H a multiple of K.

    `attention_mask` `[B, 1, L, M]` is added to the scores: 0 where a token sees another, a large negative number
    elsewhere. Returns `[B, L, H, d]`.
    """
    return attend(query * scaling, key, value, attention_mask).transpose(1, 2), None


def attend(query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
    """softmax(query key' + bias) value: `[B, H, L, d]`. Shapes as above, queries already multiplied by their scale.

    Heads that share keys are rows of one product; keys are never expanded.
    """
    batch, heads, length, width = query.shape
    if length > LONGEST_ROW:
        return scaled_dot_product_attention(
            query, key, value, attn_mask=bias, scale=1.0, enable_gqa=heads != key.shape[1]
        )
    groups = heads // key.shape[1]
    grouped = query.reshape(batch, key.shape[1], groups * length, width)
    scores = (grouped @ key.transpose(2, 3)).view(batch, -1, groups, length, key.shape[2])
    weights = (scores + bias[:, :, None]).softmax(-1)  # float32 inside, whatever the dtype
    attended = weights.view(batch, -1, groups * length, key.shape[2]) @ value
    return attended.view(batch, heads, length, width)


AttentionInterface.register(ROW_ATTENTION, row_attention)
AttentionMaskInterface.register(ROW_ATTENTION, eager_mask)  # for plain forwards, which bring no mask of rows
