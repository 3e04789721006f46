r"""How good drawings are: diversity and recognizability, and the controls that say what the two mean.

Reference: Boutin, Singhal, Thomas and Serre 2022, Diversity vs. Recognizability: Human-like Generalization in One-shot
Generative Models. Somebody is shown one exemplar of a character and draws it 20 times. With $e_{kn}$ the embedding of
drawing n of class k by `models.critics.ContrastiveCritic`,

$$\text{diversity} = \frac1K \sum_k \frac1{256} \sum_d \operatorname{std}_n e_{knd},$$

the standard deviation with n - 1 below it, and recognizability is how often `models.critics.PrototypicalCritic`, which
has seen one exemplar of each of 20 classes and the drawing's own among them, names the right one. People's 20 drawings
of a class include the exemplar, as in the published code.

An exact copy is perfectly recognizable and not diverse at all; noise is diverse and not recognizable. A model is good
where people are. Everything is looked at as the published critics do: 50x50 pixels, bilinear, each drawing's grey
levels stretched to [0, 1] and cut at one half.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..models.critics import SIDE, ContrastiveCritic, PrototypicalCritic, squared_distances
from .bounds import Estimate

WAYS = 20
TESTS = 500  # of each class
DRAWINGS = 20  # of each class
LEVEL = 1e-4  # a page whose grey levels lie closer together than this is blank: what resizing rounds is no drawing


class Point(NamedTuple):
    """Where somebody's drawings lie in the plane: two estimates, each a mean over classes with its standard error, and
    its parts, one number a class."""

    diversity: Estimate
    recognizability: Estimate
    diversity_of: Tensor
    recognizability_of: Tensor


def as_seen(drawings: Tensor) -> Tensor:
    """Drawings (..., S, S) in [0, 1], ink one -> what the critics look at, (..., 50, 50) of zeros and ones.

    Raises ValueError on drawings that are not floating, not square or not within [0, 1].
    """
    if drawings.dim() < 2 or drawings.shape[-1] != drawings.shape[-2] or not drawings.is_floating_point():
        raise ValueError(f"drawings is {tuple(drawings.shape)} of {drawings.dtype}; expected (..., S, S), floating")
    low, high = (float(level) for level in drawings.aminmax()) if drawings.numel() else (0.0, 0.0)
    if not 0 <= low <= high <= 1:
        raise ValueError(f"drawings has levels of {low:g} to {high:g}; expected 0 to 1")
    flat = drawings.reshape(-1, 1, *drawings.shape[-2:])
    if flat.shape[-1] != SIDE:
        flat = torch.nn.functional.interpolate(flat, (SIDE, SIDE), mode="bilinear", antialias=True)
    low, high = flat.amin((2, 3), keepdim=True), flat.amax((2, 3), keepdim=True)
    seen = (flat - low > 0.5 * (high - low)) & (high - low > LEVEL)
    return seen.to(drawings.dtype).view(*drawings.shape[:-2], SIDE, SIDE)


# --- the two axes -----------------------------------------------------------------------------------------------------


@torch.no_grad()
def embedded(network, seen: Tensor, batch: int = 16) -> Tensor:
    """`network` over drawings (..., 50, 50), some at a time -> (..., its numbers)."""
    flat = seen.reshape(-1, 1, SIDE, SIDE)
    return torch.cat([network(part) for part in flat.split(batch)]).unflatten(0, seen.shape[:-2])


def diversity(critic: ContrastiveCritic, drawings: Tensor) -> Tensor:
    """`drawings` (K, N, S, S) of K classes, in [0, 1] -> (K,). Raises ValueError on fewer than two of a class."""
    _check_trained(critic)
    if drawings.dim() != 4 or drawings.shape[1] < 2:
        raise ValueError(f"drawings has shape {tuple(drawings.shape)}; expected (K, N, S, S) with N of at least 2")
    return embedded(critic.embed, as_seen(drawings)).std(1).mean(1)


def recognizability(critic: PrototypicalCritic, drawings: Tensor, own: Tensor, exemplars: Tensor, *, tests: int = TESTS,
                    ways: int = WAYS, generator: torch.Generator) -> Tensor:
    """The share of tests in which a drawing is given its class: `drawings` (K, N, S, S) -> (K,), 0 to 1.

    `exemplars` (C, S', S') are one drawing of each class that may stand in a test, `own` (K,) which of them are those
    of the drawings' classes. A test of class k shows one of its N drawings, in turns, beside its own exemplar
    and those of ways - 1 others of the C classes, drawn without replacement; a tie is a mistake. Raises ValueError
    where C is below `ways`, and on shapes and classes that do not fit.
    """
    _check_trained(critic)
    if drawings.dim() != 4 or not drawings.shape[1]:
        raise ValueError(f"drawings has shape {tuple(drawings.shape)}; expected (K, N, S, S)")
    if tests < 1:
        raise ValueError(f"tests is {tests}; expected at least 1")
    classes, count = len(exemplars), drawings.shape[1]
    if not 2 <= ways <= classes:
        raise ValueError(f"ways is {ways}; expected 2 to {classes}, the number of exemplars")
    if len(own) != len(drawings):
        raise ValueError(f"own has {len(own)} classes; expected one for each of the {len(drawings)} in drawings")
    if len(own) and not 0 <= int(own.min()) <= int(own.max()) < classes:
        raise ValueError(f"own has {int(own.min())} to {int(own.max())}; expected 0 to {classes - 1}")
    known = embedded(critic.features, as_seen(exemplars))
    shown = embedded(critic.features, as_seen(drawings))  # (K, N, E)
    found = []
    for features, k in zip(shown, own.tolist(), strict=True):
        distance = squared_distances(features, known)  # (N, C)
        which = torch.arange(tests, device=known.device) % count
        order = torch.rand(tests, classes, generator=generator, device=generator.device).to(known.device)
        order[:, k] = 2.0
        others = order.argsort(1)[:, : ways - 1]
        nearest = distance[which].gather(1, others).amin(1)
        found.append((distance[which, k] < nearest).double().mean())
    return torch.stack(found)


def judge(contrastive: ContrastiveCritic, prototypical: PrototypicalCritic, drawings: Tensor, own: Tensor,
          exemplars: Tensor, *, tests: int = TESTS, ways: int = WAYS, generator: torch.Generator) -> Point:
    """Both axes for drawings (K, N, S, S) of the classes `own` (K,) of `exemplars` (C, S', S').

    The errors are standard errors of the mean over the K classes; recognizability is in %.
    """
    spread = diversity(contrastive, drawings).double()
    known = 100 * recognizability(prototypical, drawings, own, exemplars, tests=tests, ways=ways, generator=generator)
    return Point(mean_over_classes(spread), mean_over_classes(known), spread, known)


def _check_trained(critic) -> None:
    if critic.training:
        raise ValueError("critic is in training mode; expected eval(), in which a drawing is judged by itself")


def mean_over_classes(values: Tensor) -> Estimate:
    """The mean of one number a class, with its standard error: nan of a single class."""
    values = values.double()
    error = float(values.std() / len(values) ** 0.5) if len(values) > 1 else float("nan")
    return Estimate(float(values.mean()), error, len(values))


# --- the controls -----------------------------------------------------------------------------------------------------


def copies(exemplars: Tensor, count: int = DRAWINGS) -> Tensor:
    """The exemplar itself, so many times: (K, S, S) -> (K, count, S, S)."""
    return exemplars[:, None].expand(-1, count, -1, -1).clone()


def shifted(exemplars: Tensor, pixels: int = 4, count: int = DRAWINGS, *, generator: torch.Generator) -> Tensor:
    """Copies moved by up to so many pixels on either axis, what leaves the page lost: (K, S, S) -> (K, count, S, S)."""
    drawings, side = copies(exemplars, count), exemplars.shape[-1]
    if not 0 <= pixels < side:
        raise ValueError(f"pixels is {pixels}; expected 0 to {side - 1}")
    moves = torch.randint(-pixels, pixels + 1, (*drawings.shape[:2], 2), generator=generator, device=generator.device)
    wide = torch.nn.functional.pad(drawings, (pixels,) * 4)
    for k, n in np.ndindex(*drawings.shape[:2]):
        dy, dx = (pixels - moves[k, n]).tolist()
        drawings[k, n] = wide[k, n, dy : dy + side, dx : dx + side]
    return drawings


def flipped(exemplars: Tensor, share: float = 0.05, count: int = DRAWINGS, *, generator: torch.Generator) -> Tensor:
    """Copies with each pixel turned over, ink to paper or back, with probability `share`: (K, count, S, S)."""
    if not 0 <= share <= 1:
        raise ValueError(f"share is {share}; expected 0 to 1")
    drawings = copies(exemplars, count)
    turned = torch.rand(drawings.shape, generator=generator, device=generator.device) < share
    return (drawings - turned.to(drawings)).abs()
