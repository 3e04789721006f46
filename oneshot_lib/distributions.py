"""Likelihoods and diagonal Gaussians, with their closed-form divergences. Every log is natural: nats.

`torch.distributions` takes no generator, so whatever is random here takes its noise, or a generator, from outside.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class DiagonalGaussian:
    r"""A Gaussian with a diagonal covariance, $\mathcal{N}(\mu, \mathrm{diag}(\sigma^2))$.

    `mean` and `log_sigma` broadcast to `(..., D)`; the last dimension is one event.

    >>> q = DiagonalGaussian(torch.zeros(2, 3), torch.zeros(2, 3))
    >>> q.kl()
    tensor([0., 0.])
    """

    mean: Tensor
    log_sigma: Tensor

    def sample(self, noise: Tensor) -> Tensor:
        r"""$z = \mu + \sigma \epsilon$: `noise` (..., D) from a standard normal; gradients reach both parameters."""
        return self.mean + self.log_sigma.exp() * noise

    def log_prob(self, z: Tensor) -> Tensor:
        r"""$\log q(z) = -\sum_d \left[\tfrac12 ((z_d - \mu_d)/\sigma_d)^2 + \log\sigma_d + \tfrac12\log 2\pi\right]$.

        `z` (..., D) -> (...), nats.
        """
        standardised = (z - self.mean) * (-self.log_sigma).exp()
        return -(0.5 * standardised.square() + self.log_sigma + 0.5 * math.log(2 * math.pi)).sum(-1)

    def kl(self, other: DiagonalGaussian | None = None) -> Tensor:
        r"""$\mathrm{KL}(q \,\|\, p)$ in closed form, `p` standard normal unless given; (..., D) -> (...), nats.

        $\sum_d \left[\log\frac{\sigma_p}{\sigma_q} + \frac{\sigma_q^2 + (\mu_q - \mu_p)^2}{2\sigma_p^2} -
        \tfrac12\right]$
        """
        if other is None:
            variance = (2 * self.log_sigma).exp()
            return (0.5 * (variance + self.mean.square() - 1) - self.log_sigma).sum(-1)
        log_ratio = self.log_sigma - other.log_sigma
        distance = (self.mean - other.mean) * (-other.log_sigma).exp()
        return (0.5 * ((2 * log_ratio).exp() + distance.square() - 1) - log_ratio).sum(-1)


@dataclass(frozen=True)
class Bernoulli:
    r"""Independent binary pixels, $p(x) = \prod_i \mathrm{sigmoid}(\ell_i)^{x_i} (1 - \mathrm{sigmoid}(\ell_i))^{1 -
    x_i}$.

    `logits` (B, ...): the first dimension is the batch, all others are one event. Written with logits because
    the logarithm of a saturated sigmoid is minus infinity, and the model would be fined infinitely for a rounding.

    >>> Bernoulli(torch.zeros(1, 2, 2)).log_prob(torch.ones(1, 2, 2))  # four fair coins: -4 log 2
    tensor([-2.7726])
    """

    logits: Tensor

    @property
    def mean(self) -> Tensor:
        """The probability of ink at each pixel, shaped like `logits`."""
        return self.logits.sigmoid()

    def log_prob(self, x: Tensor) -> Tensor:
        """`x` broadcasts with `logits`, values in [0, 1] -> (B,), nats."""
        pixels = -F.binary_cross_entropy_with_logits(*torch.broadcast_tensors(self.logits, x), reduction="none")
        return pixels.flatten(1).sum(1)

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """A binary image (0. and 1.), shaped like `logits`; drawn where the generator is, which may be elsewhere."""
        mean = self.mean if generator is None else self.mean.to(generator.device)
        return torch.bernoulli(mean, generator=generator).to(self.logits.device)
