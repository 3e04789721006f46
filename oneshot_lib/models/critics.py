r"""The two critics that judge a drawing: one says how far drawings lie apart, the other which character it sees.

Reference: Boutin, Singhal, Thomas and Serre 2022, Diversity vs. Recognizability: Human-like Generalization in One-shot
Generative Models, sections 2 and 3. Both critics look at black and white drawings of 50x50 pixels through the same
network, four blocks of (3x3 convolution to 64 channels, batch norm, ReLU, 2x2 max-pooling) and one linear layer.

`ContrastiveCritic` (SimCLR, Chen et al. 2020) has seen no class label. Two distorted views $i, j$ of a drawing are to
be found among the views of all others of the batch, by their projections $u$ on the unit sphere,

$$\log p(j \mid i) = \frac{u_i \cdot u_j}{\tau} - \log \sum_{k \ne i} \exp \frac{u_i \cdot u_k}{\tau},
  \qquad \tau = \tfrac12 .$$

Its 256 numbers before the projection are what diversity is measured in.

`PrototypicalCritic` (Snell et al. 2017) compares a drawing with one exemplar $s_k$ of each class,

$$\log p(y = k \mid x) = -\lVert f(x) - f(s_k) \rVert^2 - \log \sum_l \exp(-\lVert f(x) - f(s_l) \rVert^2).$$
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

SIDE = 50  # pixels of a drawing as the critics see it


@dataclass(frozen=True)
class CriticConfig:
    """The widths of Boutin et al. 2022. Raises ValueError on a size below 1, or a temperature that is not positive."""

    channels: int = 64
    blocks: int = 4
    embedding: int = 256
    projection: int = 128
    temperature: float = 0.5

    def __post_init__(self):
        for name in ("channels", "blocks", "embedding", "projection"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} is {value!r}; expected a whole number of at least 1")
        if SIDE >> self.blocks < 1:
            raise ValueError(f"blocks is {self.blocks}; expected at most {SIDE.bit_length() - 1}, each halves {SIDE}")
        if not self.temperature > 0:
            raise ValueError(f"temperature is {self.temperature!r}; expected a positive number")


class Critic(nn.Module):
    """What both share: `embed` (B, 1, 50, 50), zeros and ones -> (B, embedding)."""

    def __init__(self, config: CriticConfig | None = None):
        super().__init__()
        self.config = config = config or CriticConfig()
        layers, channels = [], 1
        for _ in range(config.blocks):
            layers += [nn.Conv2d(channels, config.channels, 3, padding=1), nn.BatchNorm2d(config.channels),
                       nn.ReLU(inplace=True),
                       nn.MaxPool2d(2)]
            channels = config.channels
        self.blocks = nn.Sequential(*layers)
        self.embedding = nn.Linear(config.channels * (SIDE >> config.blocks) ** 2, config.embedding)
        self.product_dtype = torch.float32  # of the convolutions, in training

    def embed(self, x: Tensor) -> Tensor:
        """Drawings (B, 1, 50, 50) -> (B, embedding), float32. Raises ValueError on another shape."""
        if x.dim() != 4 or x.shape[1:] != (1, SIDE, SIDE):
            raise ValueError(f"x has shape {tuple(x.shape)}; expected (B, 1, {SIDE}, {SIDE})")
        with torch.autocast(x.device.type, self.product_dtype, enabled=self.product_dtype != torch.float32):
            features = self.blocks(x.contiguous(memory_format=torch.channels_last)).flatten(1)
        return self.embedding(features.to(self.embedding.weight.dtype))


class ContrastiveCritic(Critic):
    """The embedding that diversity is measured in: SimCLR, trained without labels.

    >>> critic = ContrastiveCritic(CriticConfig(channels=2, embedding=4, projection=3)).eval()
    >>> critic.embed(torch.zeros(5, 1, 50, 50)).shape
    torch.Size([5, 4])
    """

    def __init__(self, config: CriticConfig | None = None):
        super().__init__(config)
        self.project = nn.Linear(self.config.embedding, self.config.projection)

    def log_prob(self, views: Tensor) -> Tensor:
        """`views` (2B, 1, 50, 50), view b of drawing b and view B + b of the same -> log p(its other view) (2B,), nats.

        Raises ValueError on an odd number, or fewer than four: with one drawing there is nothing to choose.
        """
        if len(views) < 4 or len(views) % 2:
            raise ValueError(f"views has {len(views)} drawings; expected an even number of at least 4, two of each")
        u = nn.functional.normalize(self.project(self.embed(views)), dim=1)
        logits = (u @ u.T / self.config.temperature).fill_diagonal_(-math.inf)
        other = torch.arange(len(u), device=u.device).roll(len(u) // 2)
        return logits.log_softmax(1).gather(1, other[:, None])[:, 0]


class PrototypicalCritic(Critic):
    """The classifier that recognizability is measured with: it knows a class by one exemplar."""

    def __init__(self, config: CriticConfig | None = None):
        super().__init__(config)
        self.metric = nn.Linear(self.config.embedding, self.config.projection)

    def features(self, x: Tensor) -> Tensor:
        """f(x): drawings (B, 1, 50, 50) -> (B, projection)."""
        return self.metric(self.embed(x))

    def log_prob(self, exemplars: Tensor, queries: Tensor) -> Tensor:
        """log p(y = k | x) of each query's own class: `exemplars` (K, 1, 50, 50), one a class, `queries`
        (K r, 1, 50, 50), r of the first class, then r of the second ... -> (K r,), nats.

        Raises ValueError where r is not a whole number of at least 1.
        """
        ways = len(exemplars)
        if not len(queries) or len(queries) % ways:
            raise ValueError(f"queries has {len(queries)} drawings; expected a multiple of the {ways} exemplars")
        features = self.features(torch.cat([exemplars, queries]))
        own = torch.arange(ways, device=features.device).repeat_interleave(len(queries) // ways)
        logits = -squared_distances(features[ways:], features[:ways])
        return logits.log_softmax(1).gather(1, own[:, None])[:, 0]


def squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """(N, E) and (M, E) -> (N, M) of squared Euclidean distances, as a difference, not expanded."""
    return (a[:, None] - b[None]).square().sum(-1)
