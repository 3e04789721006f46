"""Bounds and importance-weighted estimates of log p(x): the protocol, once for every model.

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

from ..objectives import importance_weighted_bound

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
        terms = model.terms(draw_batch(size, generator), generator)
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
