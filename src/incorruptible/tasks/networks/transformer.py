"""A small decoder-only transformer that predicts the next symbol of a sequence.

Keeps: every weight that multiplies activations belongs to a Linear, so that it becomes an array;
attention is written out in plain operations, so that it can be differentiated twice.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ...errors import UserError


class Attention(nn.Module):
    """Causal self-attention [b, t, width] -> [b, t, width]: position i sees the positions up to i.

    softmax(Q K^T / sqrt(width / heads)) V as in Vaswani et al. 2017 (arXiv 1706.03762, eq. 1),
    written out in plain operations so that it can be differentiated twice. The projections are two
    Linear layers: `in_proj` (queries, keys, values) and `out_proj`.
    """

    hidden: Tensor

    def __init__(self, width: int, heads: int, length: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj, self.out_proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        later = torch.ones(length, length, dtype=torch.bool).triu(1)
        self.register_buffer("hidden", later, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Returns what each position takes from the positions before it and from itself."""
        b, t, width = x.shape
        queries, keys, values = self.in_proj(x).view(b, t, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        nearness = queries @ keys.transpose(-2, -1) / math.sqrt(width // self.heads)
        shares = nearness.masked_fill(self.hidden[:t, :t], -math.inf).softmax(-1)
        taken: Tensor = self.out_proj((shares @ values).transpose(1, 2).reshape(b, t, width))
        return taken


class TransformerBlock(nn.Module):
    """Attention, then a perceptron of four times the width (GELU). Each works on a normalised copy
    of the stream, and its result is added to the stream.
    """

    def __init__(self, width: int, heads: int, length: int) -> None:
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(width), Attention(width, heads, length)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Returns the stream after this block, [b, t, width]."""
        x = x + self.attention(self.norm1(x))
        stream: Tensor = x + self.mlp(self.norm2(x))
        return stream


class Transformer(nn.Module):
    """Takes symbols [b, t] to logits [b, t, symbols] of the next symbol, for t up to `length`.

    Norms come first, positions are learned, and there is no dropout. The head is a Linear of its
    own, not shared with the embedding. Embeddings and norms stay digital; `in_proj`, `out_proj`,
    both layers of each perceptron, and the head are arrays.
    """

    def __init__(self, symbols: int, length: int, width: int, heads: int, blocks: int) -> None:
        super().__init__()
        self.length = length
        self.symbols, self.positions = nn.Embedding(symbols, width), nn.Embedding(length, width)
        for embedding in (self.symbols, self.positions):
            nn.init.normal_(embedding.weight, std=0.1)
        self.blocks = nn.Sequential(
            *(TransformerBlock(width, heads, length) for _ in range(blocks))
        )
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, symbols, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Returns the logits of the next symbol after each position. Raises `UserError` for
        sequences longer than `length`.
        """
        if x.shape[1] > self.length:
            raise UserError(
                f"sequences of {x.shape[1]} symbols: this transformer has positions for "
                f"{self.length}."
            )
        stream = self.symbols(x) + self.positions.weight[: x.shape[1]]
        logits: Tensor = self.head(self.norm(self.blocks(stream)))
        return logits


def transformer(length: int = 64, blocks: int = 2) -> Transformer:
    """A decoder-only transformer on bytes: 2 blocks of width 64 with 4 heads.

    Norms come first, and the head is not shared with the embedding.

    >>> sum(p.numel() for p in transformer().parameters())
    136960
    """
    return Transformer(256, length, width=64, heads=4, blocks=blocks)


def deep_transformer(length: int = 64) -> Transformer:
    """The same transformer with 6 blocks."""
    return transformer(length, blocks=6)
