r"""Meta PixelCNN: a gradient step on the support carries it into the weights, and nothing else does.

References:
    Reed et al. 2018, Few-shot Autoregressive Density Estimation.
    Finn, Abbeel, Levine 2017, Model-Agnostic Meta-Learning (the gradient through the step).

    L(s; theta) = mean_n g(q(s_n; theta))            the learned inner loss, a number
    theta'      = theta - alpha grad_theta L(s; theta)
    log p(x | s) = log p(x; theta')                  the outer objective, whose gradient goes through the step

q are the features of the unconditional gated PixelCNN when it reads a support image, g is a small convolutional
network. g sees whole neighbourhoods, also pixels after the one in the middle: a support image is known. The step is
not obliged to raise log p(s): g is trained for what the step does to the target, and for nothing else.

Where the slides are silent: q is the horizontal stack's last state; g has two 3x3 convolutions with smooth units (a
second derivative is taken), summed over places and divided by their number's square root; alpha is one learned number,
kept positive, trained with the rest; the output layer, which q does not pass, stays as it is.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call

from .few_shot import FewShotConfig, FewShotPixelCNN, check_size, check_support
from .pixelcnn import GatedPixelCNN, pixel_log_prob
from .set_encoders import channels_last, single


@dataclass(frozen=True)
class MetaConfig(FewShotConfig):
    """`inner_channels` is the width of g, `inner_rate` where alpha starts, `inner_steps` how many steps are made."""

    inner_channels: int = 32
    inner_rate: float = 0.1
    inner_steps: int = 1

    def __post_init__(self):
        super().__post_init__()
        check_size("inner_channels", self.inner_channels)
        check_size("inner_steps", self.inner_steps)
        if not (isinstance(self.inner_rate, (int, float)) and self.inner_rate > 0 and math.isfinite(self.inner_rate)):
            raise ValueError(f"inner_rate is {self.inner_rate!r}; expected a positive number")


class InnerLoss(nn.Sequential):
    """g: features (N, C, H, W) of N support images -> a number, the mean over the images."""

    def __init__(self, channels: int, width: int):
        super().__init__(nn.Conv2d(channels, width, 3, padding=1), nn.SiLU(), nn.Conv2d(width, width, 3, padding=1),
                         nn.SiLU(), nn.Conv2d(width, 1, 1))

    def forward(self, features: Tensor) -> Tensor:
        maps = single(super().forward(features))  # (N, 1, H, W)
        return maps.mean(0).sum() / (maps.shape[-2] * maps.shape[-1]) ** 0.5


class MetaPixelCNN(FewShotPixelCNN):
    """p(x | s) by weights that have made a step on the learned inner loss of s (Reed 2018).

    >>> model = MetaPixelCNN(MetaConfig(channels=4, layers=2)).eval()
    >>> model.log_prob(torch.zeros(6, 1, 26, 26), torch.zeros(2, 5, 1, 26, 26)).shape
    torch.Size([6])
    """

    def __init__(self, config: MetaConfig | None = None):
        super().__init__()
        self.config = config = config or MetaConfig()
        self.pixelcnn = GatedPixelCNN(config.pixelcnn())
        self.inner = InnerLoss(config.channels, config.inner_channels)
        self.log_rate = nn.Parameter(torch.tensor(math.log(config.inner_rate)))
        self.to(memory_format=torch.channels_last)

    @property
    def inner_rate(self) -> Tensor:
        """alpha."""
        return self.log_rate.exp()

    def inner_loss(self, support: Tensor, weights: dict[str, Tensor] | None = None) -> Tensor:
        """L(s; theta) = mean_n g(q(s_n; theta)), a number: support (N, 1, H, W), theta the `weights` by name, the
        PixelCNN's own if None."""
        q = functional_call(self.pixelcnn, weights or {}, (channels_last(support),), {"output": False})
        return self.inner(q.relu())

    def adapted(self, support: Tensor, rate: Tensor | float | None = None, steps: int | None = None,
                create_graph: bool = True) -> dict[str, Tensor]:
        """theta' after `steps` steps theta <- theta - alpha grad L(s; theta) on one support (N, 1, H, W), by name.

        `rate` replaces alpha: 0 leaves the weights as they are. With `create_graph` theta' is differentiable in theta,
        g and alpha, which training needs. Raises ValueError on another shape and fewer than 0 steps.
        """
        if support.dim() != 4 or not len(support) or support.shape[1] != 1:
            raise ValueError(f"support has shape {tuple(support.shape)}; expected (N, 1, H, W), N at least 1")
        steps = self.config.inner_steps if steps is None else steps
        check_size("steps", steps, 0)
        rate = self.inner_rate if rate is None else rate
        weights = dict(self.pixelcnn.named_parameters())
        create_graph = create_graph and torch.is_grad_enabled()
        if not create_graph:
            weights = {name: value.detach() for name, value in weights.items()}
        for _ in range(steps):
            with torch.enable_grad():
                at = weights if create_graph else {n: w.requires_grad_() for n, w in weights.items()}
                loss = self.inner_loss(support, at)
                slopes = torch.autograd.grad(loss, list(at.values()), create_graph=create_graph, allow_unused=True)
            weights = {name: value if slope is None else value - rate * slope
                       for (name, value), slope in zip(weights.items(), slopes, strict=True)}
            if not create_graph:
                weights = {name: value.detach() for name, value in weights.items()}
        return weights

    def logits(self, x: Tensor, support: Tensor) -> Tensor:
        """(G r, levels, H, W), each set's r images under its own theta'."""
        check_support(x, support)
        graph = torch.is_grad_enabled()
        return torch.cat([functional_call(self.pixelcnn, self.adapted(each, create_graph=graph), (part,))
                          for each, part in zip(support, x.split(len(x) // len(support)), strict=True)])

    @torch.no_grad()
    def _drawn(self, support: Tensor, each: int, generator: torch.Generator | None, noise: Tensor | None,
               rate: float | None = None, steps: int | None = None) -> Tensor:
        """`rate` and `steps` replace those of the inner loop."""
        sets = []
        for k, elements in enumerate(support):
            network = self.network(elements, rate, steps)
            u = None if noise is None else noise[k * each:(k + 1) * each]
            sets.append(network.sample(tuple(support.shape[-2:]), each, generator=generator, noise=u))
        return torch.cat(sets)

    def network(self, support: Tensor, rate: float | None = None, steps: int | None = None) -> GatedPixelCNN:
        """The adapted PixelCNN by itself, a copy: what one support (N, 1, H, W) makes of the weights."""
        network = copy.deepcopy(self.pixelcnn)
        network.load_state_dict(self.adapted(support, rate, steps, create_graph=False))
        return network.eval().requires_grad_(False)

    @torch.no_grad()
    def class_log_scores(self, support: Tensor, query: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """log p(x_q | D_k): (Q, K), nats."""
        check_support(query, support, pairs=True)
        query = channels_last(query)
        return torch.stack([pixel_log_prob(self.network(elements).logits(query), query) for elements in support], 1)
