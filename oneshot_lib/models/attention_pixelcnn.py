r"""Attention PixelCNN: at every pixel, the support is looked at anew.

References:
    Reed et al. 2018, Few-shot Autoregressive Density Estimation.
    Vaswani et al. 2017, Attention Is All You Need, eq. 1 (scaled products of keys and queries).

    k_m, u_m = key and value of support position m, one each for all the N H W of them: convolutions over the image and
               two channels of positions in [-1, 1]
    q_i      = query of target pixel i, of what was written before it and of its own place
    a_im     = exp(q_i . k_m / sqrt d) / sum_m' exp(q_i . k_m' / sqrt d)                     sums to one over m
    h_i'     = h_i + R sum_m a_im u_m

The read joins the horizontal stack between two gated layers, so that the next layer's gates are given R f_i(s). It must
not join the vertical one: the next layers read that from both sides in the same row, and the query of a pixel knows its
own row.

Where the slides are silent: scaled products score the keys, not a network of the sum; one read in the middle of the
stack, so that the query knows the neighbourhood and half of the layers can use the answer; the query's network has
the target's own positions too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .few_shot import FewShotConfig, FewShotPixelCNN, check_size, check_support
from .pixelcnn import GatedPixelCNN, PixelCNNConfig, check_images
from .sampling_caches import Diagonals, Line, Rows, as_matrix, by_lines
from .set_encoders import channels_last, single


@dataclass(frozen=True)
class AttentionConfig(FewShotConfig):
    """`reads` are the gated layers, counted from 1, after which the support is read; `heads` looks are taken at once.

    `key` is the length of keys, queries and values of a head; `encoder_channels` and `encoder_layers` are those of the
    network that makes keys and values.
    """

    reads: tuple[int, ...] = (4,)
    heads: int = 1
    key: int = 32
    encoder_channels: int = 32
    encoder_layers: int = 3

    def __post_init__(self):
        super().__post_init__()
        if isinstance(self.reads, list):
            object.__setattr__(self, "reads", tuple(self.reads))
        for name in ("heads", "key", "encoder_channels", "encoder_layers"):
            check_size(name, getattr(self, name))
        reads = self.reads if isinstance(self.reads, tuple) else ()
        if not reads or len(set(reads)) < len(reads) or any(read not in range(1, self.layers) for read in reads):
            raise ValueError(f"reads is {self.reads}; expected different gated layers from 1 to {self.layers - 1}")


class Memory(NamedTuple):
    """Keys and values of all support positions: (G, heads, N H W, key) each, element by element in reading order."""

    keys: Tensor
    values: Tensor


def positions(size: tuple[int, int], like: Tensor) -> Tensor:
    """Row and column of every pixel in [-1, 1]: (1, 2, H, W).

    >>> positions((2, 3), torch.zeros(()))[0, 1].tolist()
    [[-1.0, 0.0, 1.0], [-1.0, 0.0, 1.0]]
    """
    rows, columns = (torch.linspace(-1, 1, side, dtype=like.dtype, device=like.device) if side > 1
                     else like.new_zeros(1) for side in size)
    return torch.stack(torch.meshgrid(rows, columns, indexing="ij"))[None]


def placed(images: Tensor) -> Tensor:
    """Images (B, C, H, W) with their positions as two more channels: (B, C + 2, H, W)."""
    where = positions(tuple(images.shape[-2:]), images).expand(len(images), -1, -1, -1)
    return channels_last(torch.cat([images, where], 1))


class SupportMemory(nn.Module):
    """Keys and values of a support set: convolutions over each image and its positions, the same for every element."""

    def __init__(self, config: AttentionConfig):
        super().__init__()
        width, self.heads = config.encoder_channels, config.heads
        layers = []
        for i in range(config.encoder_layers):
            layers += [nn.Conv2d(3 if i == 0 else width, width, 3, padding=1), nn.ReLU()]
        self.convolutions = nn.Sequential(*layers)
        self.keys, self.values = (nn.Conv2d(width + 2, config.heads * config.key, 1) for _ in range(2))

    def forward(self, support: Tensor) -> Memory:
        """support (G, N, 1, H, W), in [0, 1] -> keys and values of its N H W positions."""
        features = placed(self.convolutions(placed(support.flatten(0, 1))))  # (G N, F + 2, H, W)
        return Memory(*(self._by_position(layer(features), len(support)) for layer in (self.keys, self.values)))

    def _by_position(self, maps: Tensor, sets: int) -> Tensor:
        """(G N, heads d, H, W) -> (G, heads, N H W, d)."""
        parts = maps.unflatten(1, (self.heads, -1)).unflatten(0, (sets, -1))  # (G, N, heads, d, H, W)
        return parts.permute(0, 2, 1, 4, 5, 3).flatten(2, 4)


class AttentionCache:
    """A read of the support: its keys, scaled, and what the positions add to the queries, (H W, 1, 2C) by lines."""

    @staticmethod
    def lead(layer: nn.Module, lead: int) -> int:
        return lead

    def __init__(self, layer: nn.Module, order: Diagonals | Rows, lead: int, noise: Tensor, y: Memory):
        self.order, self.n, self.heads, c = order, len(noise), layer.heads, layer.out.out_channels
        self.keys, self.values = (part.to(noise) for part in y)
        hidden, query, out = (as_matrix(part.weight) for part in (layer.hidden, layer.query, layer.out))
        self.hidden, self.query, self.out = hidden[:c], query, out
        self.bias_q, self.bias = layer.query.bias, layer.out.bias
        where = positions((order.rows, order.columns), noise)
        self.placed = by_lines(F.conv2d(where, layer.hidden.weight[:, c:], layer.hidden.bias), order)

    def step(self, t: int, v: Tensor | None, h: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        here = self.order.horizontal(t)
        return v, None if here is None else self._read(here, h)

    def _read(self, line: Line, h: Tensor) -> Tensor:
        hidden = (h @ self.hidden).view(line.count, self.n, -1)
        hidden = hidden.add_(self.placed[line.start:line.stop]).relu_().flatten(0, 1)
        q = torch.addmm(self.bias_q, hidden, self.query)
        q = q.view(line.count, len(self.keys), -1, self.heads, q.shape[-1] // self.heads)  # (m, G, r, heads, d)
        q = q.permute(1, 3, 0, 2, 4)
        answer = F.scaled_dot_product_attention(q.flatten(2, 3), self.keys, self.values)  # (G, heads, m r, d)
        answer = answer.unflatten(2, (line.count, -1)).permute(2, 0, 3, 1, 4).reshape(len(h), -1)
        return torch.add(h, self.bias).addmm_(answer, self.out)


class AttentionLayer(nn.Module):
    """A read between two gated layers: the horizontal stack's state asks, the support answers."""

    cache = AttentionCache

    def __init__(self, config: AttentionConfig):
        super().__init__()
        c, self.heads = config.channels, config.heads
        self.hidden = nn.Conv2d(c + 2, 2 * c, 1)
        self.query = nn.Conv2d(2 * c, config.heads * config.key, 1)
        self.out = nn.Conv2d(config.heads * config.key, c, 1)

    def queries(self, h: Tensor, memory: Memory) -> Tensor:
        """h (G r, C, H, W) -> (G, heads, r H W, key)."""
        q = self.query(self.hidden(placed(h)).relu())
        parts = q.unflatten(1, (self.heads, -1)).unflatten(0, (len(memory.keys), -1))  # (G, r, heads, d, H, W)
        return parts.permute(0, 2, 1, 4, 5, 3).flatten(2, 4)

    def weights(self, h: Tensor, memory: Memory) -> Tensor:
        """a, which sums to one over the last dimension: (G, heads, r H W, N H W)."""
        q = self.queries(h, memory)
        return (q @ memory.keys.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1)

    def forward(self, v: Tensor | None, h: Tensor, memory: Memory) -> tuple[Tensor | None, Tensor]:
        q = self.queries(h, memory)
        answer = F.scaled_dot_product_attention(q, memory.keys, memory.values)  # (G, heads, r H W, d)
        answer = answer.unflatten(2, (-1, *h.shape[2:])).permute(0, 2, 1, 5, 3, 4)  # (G, r, heads, d, H, W)
        return v, h + self.out(channels_last(answer.flatten(0, 1).flatten(1, 2)))


class AttentiveStack(GatedPixelCNN):
    """The gated PixelCNN with reads between its layers; what it is given, y, is a `Memory` of the support."""

    def __init__(self, config: PixelCNNConfig, reads: Mapping[int, nn.Module]):
        super().__init__(config)
        layers = []
        for i, layer in enumerate(self.layers, 1):
            layers += [layer, reads[i]] if i in reads else [layer]
        self.layers = nn.ModuleList(layers)

    def _check(self, x: Tensor, y: Memory | None) -> None:
        check_images(x)
        if y is None or len(x) % len(y.keys):
            found = None if y is None else len(y.keys)
            raise ValueError(f"y holds {found} support sets for {len(x)} images; expected a memory of G for G r")


class Reading(NamedTuple):
    """Where a model looked: `weights` (B, reads, heads, H, W, N, H, W), target pixel by support pixel, summing to one
    over the last three; `ink` (B, H, W), the probability of ink (of the highest level) at every pixel."""

    weights: Tensor
    ink: Tensor


class AttentionPixelCNN(FewShotPixelCNN):
    """p(x | s), the support read at every pixel (Reed 2018).

    >>> model = AttentionPixelCNN(AttentionConfig(channels=4, layers=2, reads=(1,), key=4)).eval()
    >>> model.log_prob(torch.zeros(6, 1, 26, 26), torch.zeros(2, 5, 1, 26, 26)).shape
    torch.Size([6])
    """

    def __init__(self, config: AttentionConfig | None = None):
        super().__init__()
        self.config = config = config or AttentionConfig()
        self.support = SupportMemory(config)
        self.pixelcnn = AttentiveStack(config.pixelcnn(), {read: AttentionLayer(config) for read in config.reads})
        self.to(memory_format=torch.channels_last)

    def memory(self, support: Tensor) -> Memory:
        """Keys and values of the support (G, N, 1, H, W)."""
        return self.support(support / (self.config.levels - 1))

    def logits(self, x: Tensor, support: Tensor) -> Tensor:
        """(G r, levels, H, W): at pixel i, of the pixels before i and of what they make it look for."""
        return self.pixelcnn.logits(x, self.memory(support))

    @torch.no_grad()
    def _drawn(self, support: Tensor, each: int, generator: torch.Generator | None, noise: Tensor | None) -> Tensor:
        n = len(support) * each
        return self.pixelcnn.sample(tuple(support.shape[-2:]), n, y=self.memory(support), generator=generator,
                                    noise=noise)

    @torch.no_grad()
    def read(self, x: Tensor, support: Tensor) -> Reading:
        """Where it looks while x (G r, 1, H, W) is written, all pixels at once: causality makes that the same."""
        check_support(x, support)
        memory, size, weights = self.memory(support), tuple(x.shape[-2:]), []
        v = h = self.pixelcnn.scale(channels_last(x))
        for layer in self.pixelcnn.layers:
            if isinstance(layer, AttentionLayer):
                a = layer.weights(h, memory).unflatten(2, (-1, *size)).unflatten(-1, (-1, *size))
                weights.append(a.transpose(1, 2).flatten(0, 1))  # (G r, heads, H, W, N, H, W)
            v, h = layer(v, h, memory)
        ink = single(self.pixelcnn.output(h.relu())).softmax(1)[:, -1]
        return Reading(torch.stack(weights, 1), ink)
