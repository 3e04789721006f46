"""The protocols by which a model is judged. What a number means is decided here, once, for every model.

Rezende 2016, section 4, judges a model by its bound on 24,000 test images drawn with replacement, and gives the
standard deviation of that mean as the error. Beside the bound stands the importance-weighted estimate, which shows
how much of the number is the bound's own slack.

Signs: bounds and estimates are of log p(x), in nats, so larger is better; a record turns them into NLL.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .distributions import DiagonalGaussian
from .objectives import importance_weighted_bound

DrawBatch = Callable[[int, torch.Generator], Tensor]


@dataclass(frozen=True)
class Estimate:
    """`value` with its standard error, in nats; `n` examples; `k` importance samples (1: the plain bound).

    For a bound, `kl_per_step` (T,) holds the mean price of each step and `log_likelihood` the mean of the other term.
    """

    value: float
    error: float
    n: int
    k: int = 1
    log_likelihood: float | None = None
    kl_per_step: tuple[float, ...] | None = None


@torch.no_grad()
def bound_estimate(model: nn.Module, draw_batch: DrawBatch, n: int = 24_000, *, batch_size: int = 240,
                   generator: torch.Generator) -> Estimate:
    """The mean free energy over n images drawn with replacement, one draw of z for each (Rezende 2016, section 4).

    `draw_batch(size, generator)` returns binary images (size, 1, H, W), freshly binarised. The error is the standard
    deviation of the mean. Raises ValueError for n below 2.
    """
    if n < 2:
        raise ValueError(f"n is {n}; expected at least 2 draws, since an error is asked for")
    model.eval()
    bounds, likelihoods, kl = [], [], 0.0
    for size in _sizes(n, batch_size):
        terms = model.log_prob(draw_batch(size, generator), generator)
        bounds.append(terms.bound.double())
        likelihoods.append(terms.log_likelihood.double())
        kl = kl + terms.kl.double().sum(0)
    bounds = torch.cat(bounds)
    return Estimate(*_mean_and_error(bounds), n, 1, torch.cat(likelihoods).mean().item(), tuple((kl / n).tolist()))


@torch.no_grad()
def importance_weighted_estimate(model: nn.Module, draw_batch: DrawBatch, n: int = 1000, k: int = 50, *,
                                 batch_size: int = 200, generator: torch.Generator) -> Estimate:
    r"""The mean of $\log \frac1K \sum_k w_k$ over n images drawn with replacement (Burda 2016, eq. 8).

    Lies above the plain bound in expectation, grows with K, and never passes log p(x) in expectation.
    Raises ValueError for n below 2 or k below 1.
    """
    if n < 2 or k < 1:
        raise ValueError(f"n is {n} and k is {k}; expected at least 2 images and 1 sample")
    model.eval()
    values = [importance_weighted_bound(model.log_weights(draw_batch(size, generator), k, generator).double())
              for size in _sizes(n, batch_size)]
    return Estimate(*_mean_and_error(torch.cat(values)), n, k)


@torch.no_grad()
def joint_likelihood(model: nn.Module, elements: Tensor, outer: int = 20, inner: int = 10, *,
                     generator: torch.Generator, batch: int = 64) -> float:
    r"""$\frac1n \log p(X)$ of a whole class by importance weighting, nats an element (Hewitt 2018, table 3).

    $$\frac1n \log \frac1K \sum_{k=1}^K \frac{p(c_k)}{q(c_k \mid X)} \prod_{x \in X} \hat p(x \mid c_k),
            \quad c_k \sim q(c \mid X)$$

    `elements` (n, ...) are X, K = `outer`; each $\hat p(x \mid c_k)$ is importance weighted with `inner` draws of z,
    and exact where there is no z. In expectation it never passes the truth, nor falls below the bound with D = X.
    `batch` elements are decoded at once. Raises ValueError for no element and for numbers below 1.
    """
    n = len(elements)
    if n < 1 or outer < 1 or inner < 1:
        raise ValueError(f"there are {n} elements, outer is {outer} and inner is {inner}; expected at least 1 of each")
    model.eval()
    q = model.class_posterior(elements[None])
    shape = outer, q.mean.shape[1]
    noise = torch.randn(shape, generator=generator, device=generator.device, dtype=q.mean.dtype).to(q.mean.device)
    c = q.mean + q.log_sigma.exp() * noise
    prior = class_prior(model, c)
    log_weights = (prior.log_prob(c) - q.log_prob(c)).double()
    for rows in torch.arange(outer, device=c.device).split(max(1, batch // n)):
        x = elements.repeat(len(rows), *[1] * (elements.dim() - 1))
        terms = model.element_log_weights(x, c[rows].repeat_interleave(n, 0), inner, generator).double()
        log_weights[rows] += importance_weighted_bound(terms).view(len(rows), n).sum(1)
    return importance_weighted_bound(log_weights[:, None]).item() / n


def class_prior(model: nn.Module, c: Tensor) -> DiagonalGaussian:
    """p(c), each part given the parts of c before it: `model.class_prior(c)` or the network that `model.prior` is over
    `model.template(c)`; standard normal where the model has neither."""
    if hasattr(model, "class_prior"):
        return model.class_prior(c)
    if hasattr(model, "prior") and hasattr(model, "template"):
        return model.prior(model.template(c))
    return DiagonalGaussian(torch.zeros_like(c), torch.zeros_like(c))


def with_replacement(grey: Tensor, binarise: Callable[[Tensor, torch.Generator], Tensor],
        device: str = "cpu") -> DrawBatch:
    """The sampler of section 4: rows of `grey` (N, H, W) drawn with replacement, then binarised -> (size, 1, H, W)."""
    grey = torch.as_tensor(grey).to(device)

    def draw_batch(size: int, generator: torch.Generator) -> Tensor:
        rows = torch.randint(len(grey), (size,), generator=generator, device=generator.device).to(grey.device)
        return binarise(grey[rows], generator)[:, None]

    return draw_batch


def _sizes(n: int, batch_size: int) -> list[int]:
    """n split into batches, the last one as small as need be: no image is dropped."""
    return [min(batch_size, n - start) for start in range(0, n, batch_size)]


def _mean_and_error(values: Tensor) -> tuple[float, float]:
    return values.mean().item(), (values.std() / len(values) ** 0.5).item()
