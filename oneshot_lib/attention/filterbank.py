r"""DRAW's attention: a grid of Gaussian filters (Gregor et al. 2015, section 3.2).

N filters an axis stand $\delta$ pixels apart around the centre g, each a Gaussian of the same variance, made to sum to
one over the pixels a:

$$\mu_i = g + \left(i - \tfrac{N - 1}2\right) \delta, \qquad
  F_{ia} = \frac1{Z_i} \exp\left(-\frac{(a - \mu_i)^2}{2 \sigma^2}\right), \qquad i, a = 0, 1, \ldots$$

$$\text{read}(x) = \gamma\, F_Y\, x\, F_X^\top, \qquad \text{write}(r) = \frac1{\hat\gamma}\, F_Y^\top\, r\, F_X .$$

So a write is the adjoint of a read with the same centre, stride and variance and the inverse intensity. Where a tent
of the spatial transformer is zero beyond its width, a Gaussian is small but never zero: a gradient reaches it from any
distance that the precision of a number reaches.

DRAW asks for the stride in units that make 1 the whole image. Here a stride is asked for as a window's half-width s in
image coordinates, $\delta = s \cdot \text{pixels} / N$, so that a filterbank and a spatial transformer of the same
numbers look at the same place.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .windows import pixel_centres

SMALLEST = 1e-8  # Z_i is at least this, as in DRAW: filters far outside the image fade instead of dividing by zero


def filterbank(centre: Tensor, scale: Tensor, variance: Tensor, points: int, pixels: int) -> Tensor:
    """F of one axis: `centre`, `scale` (...) in image coordinates, `variance` (...) in pixels squared, positive
    -> (..., points, pixels), rows that sum to one where the filter lies within the image."""
    position = (centre[..., None] + scale[..., None] * pixel_centres(points, like=centre) + 1) * (pixels / 2) - 0.5
    grid = torch.arange(pixels, dtype=centre.dtype, device=centre.device)
    weights = torch.exp(-(grid - position[..., None]).square() / (2 * variance[..., None, None]))
    return weights / weights.sum(-1, keepdim=True).clamp_min(SMALLEST)


def filterbanks(centre: Tensor, scale: Tensor, variance: Tensor, size: tuple[int, int],
                image_size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Both axes: `centre` (..., 2) as (x, y), `scale` (...) and `variance` (...) -> F_Y (..., h, H), F_X (..., w, W).

    One half-width and one variance serve both axes, as in DRAW; with a square patch of a square image so does one
    stride, and both axes are computed at once.
    """
    if size[0] == size[1] and image_size[0] == image_size[1]:
        x, y = filterbank(centre, scale[..., None], variance[..., None], size[0], image_size[0]).unbind(-3)
        return y, x
    y = filterbank(centre[..., 1], scale, variance, size[0], image_size[0])
    x = filterbank(centre[..., 0], scale, variance, size[1], image_size[1])
    return y, x
