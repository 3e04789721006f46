r"""A class of numbers that share one Gaussian latent: the case in which everything about a set objective is known.

$$p(X) = \int p(c) \prod_{x \in X} p(x \mid c)\, dc, \qquad c \sim \mathcal{N}(0, 1),\; x \mid c \sim
        \mathcal{N}(a c, s^2)$$

$\log p(X)$, the posterior, Hewitt's four objectives and their gaps are formulas, averaged exactly over c, over x and
over all supports D of a size. Nothing here is estimated.

References:
    Hewitt et al. 2018, The Variational Homoencoder; the version submitted to ICLR 2018 for the gap (its eq. 16).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from oneshot_lib.distributions import DiagonalGaussian
from oneshot_lib.objectives import SET_OBJECTIVES, SetBound, SetObjective, set_bound

LOG_2PI = math.log(2 * math.pi)


def named_objective(name: str) -> SetObjective:
    """The objective of that name; ValueError where there is none."""
    if name not in SET_OBJECTIVES:
        raise ValueError(f"objective is {name!r}; expected one of {', '.join(SET_OBJECTIVES)}")
    return SET_OBJECTIVES[name]


class SetMoments(NamedTuple):
    r"""What a Gaussian model needs to know of a set of `size` numbers, or of many, on average.

    `mean` $\mathbb{E}\,\bar x$ and `square` $\mathbb{E}\,\bar x^2$, of the set's mean; `spread`, the variance within
    the set (divided by `size`). All (B,) tensors. Every result below is linear in these three, so that moments
    averaged over sets give the results' average.
    """

    mean: Tensor
    square: Tensor
    spread: Tensor
    size: int

    @classmethod
    def of(cls, elements: Tensor) -> SetMoments:
        """Those of given sets, `elements` (B, n)."""
        if elements.dim() != 2 or elements.shape[1] == 0:
            raise ValueError(f"elements has shape {tuple(elements.shape)}; expected (B, n) with n >= 1")
        mean = elements.mean(1)
        return cls(mean, mean.square(), elements.var(1, correction=0), elements.shape[1])

    def wander(self, support_size: int) -> Tensor:
        r"""The variance of the mean of $D \subseteq X$, drawn without replacement: $\frac{s_X^2}{|D|}
        \frac{|X| - |D|}{|X| - 1}$."""
        if not 1 <= support_size <= self.size:
            raise ValueError(f"support_size is {support_size!r}; expected 1 to {self.size}, the size of the set")
        return self.spread * ((self.size - support_size) / (support_size * max(self.size - 1, 1)))

    def support(self, support_size: int) -> SetMoments:
        """Those of D, averaged over all D of that size."""
        wander = self.wander(support_size)
        return SetMoments(self.mean, self.square + wander, self.spread - wander, support_size)


class LinearPosterior(NamedTuple):
    r"""$q(c; D) = \mathcal{N}(\text{weight} \cdot \bar D + \text{bias},\, e^{2 \text{log\_sigma}})$."""

    weight: float
    bias: float
    log_sigma: float

    def __call__(self, support: Tensor) -> DiagonalGaussian:
        """`support` (B, N) -> over c, (B, 1)."""
        mean = self.weight * support.mean(1, keepdim=True) + self.bias
        return DiagonalGaussian(mean, torch.full_like(mean, self.log_sigma))


@dataclass(frozen=True)
class ConjugateGaussian:
    r"""$c \sim \mathcal{N}(0, 1)$, $x \mid c \sim \mathcal{N}(a c, s^2)$: `slope` a and `noise` s > 0.

    Sets are given as `elements` (B, n), B classes of n numbers, or as `SetMoments`; results are (B,), nats. In every
    method `q` is a `LinearPosterior`, by default the exact posterior $p(c \mid D)$ of the support.

    >>> model, x = ConjugateGaussian(), torch.tensor([[0.3, 0.9, 0.6]], dtype=torch.float64)
    >>> bound, gap = model.objective(x, 2), model.gap(x, 2)
    >>> torch.allclose(bound + gap, model.log_marginal(x) / 3)
    True
    """

    slope: float = 1.0
    noise: float = 0.5

    def __post_init__(self):
        if not (math.isfinite(self.slope) and 0 < self.noise < math.inf):
            raise ValueError(f"slope, noise are {self.slope}, {self.noise}; expected finite numbers, noise above 0")

    @property
    def ratio(self) -> float:
        """What one element adds to the precision of c, $a^2 / s^2$."""
        return (self.slope / self.noise) ** 2

    def sample(self, classes: int, size: int, generator: torch.Generator | None = None, dtype=None) -> Tensor:
        """`classes` sets of `size` numbers, (classes, size), on the generator's device."""
        where = {"dtype": dtype, "device": None if generator is None else generator.device}
        c = torch.randn(classes, 1, generator=generator, **where)
        return self.slope * c + self.noise * torch.randn(classes, size, generator=generator, **where)

    def moments(self, size: int) -> SetMoments:
        """Of the model's own sets of `size` elements, averaged over all of them: tensors (1,), float64, CPU."""
        square = self.slope**2 + self.noise**2 / size
        moments = torch.tensor([[0.0], [square], [self.noise**2 * (1 - 1 / size)]], device="cpu")
        return SetMoments(*moments.double(), size)

    def log_marginal(self, elements: Tensor | SetMoments) -> Tensor:
        r"""$\log p(X) = -\frac n2 \log 2\pi s^2 - \frac12 \log(1 + n a^2/s^2) - \frac1{2 s^2} \big[\sum_x x^2 -
        \frac{(a^2/s^2)\,(n \bar x)^2}{1 + n a^2/s^2}\big]$, exact."""
        m = _moments(elements)
        grown = 1 + m.size * self.ratio
        error = m.size * (m.spread + m.square) - self.ratio * m.size**2 / grown * m.square
        return -0.5 * (m.size * (LOG_2PI + 2 * math.log(self.noise)) + math.log(grown) + error / self.noise**2)

    def encoder(self, size: int) -> LinearPosterior:
        """The exact posterior of c given a set of `size` elements, which is linear in their mean."""
        grown = 1 + size * self.ratio
        return LinearPosterior(size * self.slope / self.noise**2 / grown, 0.0, -0.5 * math.log(grown))

    def posterior(self, elements: Tensor) -> DiagonalGaussian:
        """p(c | X), exact, (B, 1)."""
        return self.encoder(SetMoments.of(elements).size)(elements)

    def best_encoder(self, elements: Tensor | SetMoments, support_size: int, objective: str = "vhe") -> LinearPosterior:
        r"""The one q, among all linear ones, that maximises an objective's mean over the sets given.

        With $k$ what the price is divided by and $\bar t$ the mean of those that x is drawn from, $\mathbb{E}_q c$ is
        the regression of $\frac{k a}{s^2 + k a^2} \bar t$ on $\bar D$, and its variance $1 / (1 + k a^2/s^2)$. For the
        VHE that is the width of $p(c \mid X)$, not of $p(c \mid D)$.
        """
        switches, m = named_objective(objective), _moments(elements)
        own = self.encoder(m.size if switches.rescale else support_size)
        mean, between = m.mean.mean().item(), m.square.mean().item()
        variance = m.support(support_size).square.mean().item() - mean**2  # of the support's mean, over all D and sets
        slope = (between - mean**2) / variance if switches.resample and variance > 0 else 1.0
        return own._replace(weight=own.weight * slope, bias=own.weight * mean * (1 - slope))

    def terms(self, elements: Tensor | SetMoments, support_size: int, objective: str = "vhe",
              q: LinearPosterior | None = None) -> SetBound:
        """An objective's terms, averaged exactly over c ~ q(c; D), over D and over x."""
        switches, m = named_objective(objective), _moments(elements)
        q, wander = q or self.encoder(support_size), m.wander(support_size)
        variance, left = math.exp(2 * q.log_sigma), 1 - self.slope * q.weight
        # E (mean of the x's - a E_q c)^2: of X, whose mean stays where it is, or of D, whose mean wanders with q's
        offset = left**2 * m.square - 2 * left * self.slope * q.bias * m.mean + (self.slope * q.bias) ** 2
        if switches.resample:
            error = m.spread + offset + (self.slope * q.weight) ** 2 * wander
        else:
            error = m.spread - wander + offset + left**2 * wander
        error = (error + self.slope**2 * variance) / self.noise**2
        moved = q.weight**2 * (m.square + wander) + 2 * q.weight * q.bias * m.mean + q.bias**2
        kl = 0.5 * (variance + moved - 1) - q.log_sigma
        size = torch.full_like(kl, m.size)
        return set_bound(-0.5 * (LOG_2PI + 2 * math.log(self.noise) + error), kl, size, support_size,
                         rescale=switches.rescale)

    def objective(self, elements: Tensor | SetMoments, support_size: int, objective: str = "vhe",
                  q: LinearPosterior | None = None) -> Tensor:
        """The value of one of `SET_OBJECTIVES`, nats an element."""
        return self.terms(elements, support_size, objective, q).bound

    def gap(self, elements: Tensor | SetMoments, support_size: int, q: LinearPosterior | None = None) -> Tensor:
        r"""$\frac1{|X|} \mathbb{E}_D \mathrm{KL}(q(c; D) \,\|\, p(c \mid X))$, from the two Gaussians: how far the VHE
        lies below $\log p(X) / |X|$ (Hewitt 2018, ICLR version, eq. 16)."""
        m = _moments(elements)
        q, exact = q or self.encoder(support_size), self.encoder(m.size)
        apart = q.weight - exact.weight
        shift = apart**2 * m.square + 2 * apart * q.bias * m.mean + q.bias**2 + q.weight**2 * m.wander(support_size)
        narrower = exact.log_sigma - q.log_sigma
        return (0.5 * (math.exp(-2 * narrower) + shift * math.exp(-2 * exact.log_sigma) - 1) + narrower) / m.size

    def ceiling(self, elements: Tensor | SetMoments, support_size: int, objective: str = "vhe") -> Tensor:
        r"""What an objective cannot pass, whatever q: $\log p(X) / |X|$ where x is any element of X,
        $\mathbb{E}_D \log p(D) / |D|$ for the Neural Statistician. `nan` for "rescale", which nothing stops."""
        switches, m = named_objective(objective), _moments(elements)
        if switches.resample:
            return self.log_marginal(m) / m.size
        if switches.rescale:
            return torch.full_like(m.mean, math.nan)
        return self.log_marginal(m.support(support_size)) / support_size


def _moments(elements: Tensor | SetMoments) -> SetMoments:
    return elements if isinstance(elements, SetMoments) else SetMoments.of(elements)
