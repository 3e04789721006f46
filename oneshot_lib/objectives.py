"""The objectives: every one a lower bound on a log-probability, in nats, to be maximised.

They are written in log-probabilities and divergences only. No network is known here, so that the same line serves
a linear-Gaussian toy and an eighty-step model, and a reader who holds the equation finds it once.

References:
    Rezende et al. 2016, One-Shot Generalization in Deep Generative Models.
    Burda et al. 2016, Importance Weighted Autoencoders.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor


class FreeEnergy(NamedTuple):
    r"""The terms of the free-energy bound, one row an example, not yet added up (Rezende 2016, eq. 8).

    $$\mathcal{F} = \mathbb{E}_q[\log p(x \mid z_{1:T})] - \sum_{t=1}^{T} \mathrm{KL}(q(z_t \mid z_{<t}, x) \,\|\,
            p(z_t))$$

    `log_likelihood` (B,): the first term, at one sample of z. `kl` (B, T): the price of each step. All in nats.
    """

    log_likelihood: Tensor
    kl: Tensor

    @property
    def bound(self) -> Tensor:
        """F itself, (B,), nats; `bound <= log p(x)` in expectation over the samples."""
        return self.log_likelihood - self.kl.sum(1)


def free_energy(log_likelihood: Tensor, kl: Tensor) -> FreeEnergy:
    """Checks the shapes of the two terms and pairs them: `log_likelihood` (B,), `kl` (B, T).

    Raises ValueError when the shapes do not belong together.

    >>> free_energy(torch.tensor([-10.0]), torch.tensor([[1.0, 2.0]])).bound
    tensor([-13.])
    """
    if log_likelihood.dim() != 1 or kl.dim() != 2 or len(log_likelihood) != len(kl):
        raise ValueError(
            f"log_likelihood has shape {tuple(log_likelihood.shape)} and kl {tuple(kl.shape)}; expected (B,) and (B, T)"
        )
    return FreeEnergy(log_likelihood, kl)


def importance_weighted_bound(log_weights: Tensor) -> Tensor:
    r"""$\mathcal{L}_K = \log \frac1K \sum_{k=1}^{K} w_k$, $w_k = p(x, z_k) / q(z_k \mid x)$ (Burda 2016, eq. 8).

    `log_weights` (K, B), each row from its own draw of z -> (B,), nats. With K = 1 it is a one-sample free energy;
    it grows with K in expectation and never passes log p(x) in expectation. Raises ValueError where K is 0.

    >>> importance_weighted_bound(torch.tensor([[0.0], [0.0]]))
    tensor([0.])
    """
    if log_weights.dim() != 2 or len(log_weights) == 0:
        raise ValueError(f"log_weights has shape {tuple(log_weights.shape)}; expected (K, B) with K >= 1")
    return torch.logsumexp(log_weights, 0) - math.log(len(log_weights))
