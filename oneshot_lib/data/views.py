"""Random views of a drawing: what a contrastive critic is trained on.

A view is the drawing through one of three distortions, drawn with equal probability (Boutin et al. 2022, the strength
that their code calls normal):

- a crop of 75 to 100% of the area, with sides in a ratio of 0.8 to 1.2, made as large as the page;
- an affine map: a turn of up to 15 degrees, a shear of up to 10, a scale of 0.75 to 1.33, a shift of up to a tenth of
  the drawing on either axis;
- one time in two a perspective, each corner moved inwards by up to a quarter of the page; else nothing.

All three are homographies, so a batch is one sampling of the drawings on a grid.
"""

import math

import torch
from torch import Tensor

CROPPED, RATIO = (0.75, 1.0), (0.8, 1.2)
TURN, SHEAR, SCALE, SHIFT = 15, 10, (0.75, 1.33), 0.1
DISTORTION, SOMETIMES = 0.5, 0.5


def views(drawings: Tensor, generator: torch.Generator) -> Tensor:
    """One random view of each of `drawings` (B, 1, S, S), zeros and ones, which what is returned is again. Beyond
    the page is blank. Raises ValueError on another shape."""
    if drawings.dim() != 4 or drawings.shape[1] != 1:
        raise ValueError(f"drawings has shape {tuple(drawings.shape)}; expected (B, 1, S, S)")
    n, _, height, width = drawings.shape
    maps = torch.stack([crops(n, generator), affine_maps(n, generator), perspectives(n, generator)])  # (3, B, 3, 3)
    maps = maps[torch.randint(3, (n,), generator=generator), torch.arange(n)]
    x, y = ((2 * torch.arange(size) + 1) / size - 1 for size in (width, height))
    page = torch.stack([*torch.meshgrid(x, y, indexing="xy"), torch.ones(height, width)], -1)  # (H, W, 3)
    source = torch.einsum("bij,hwj->bhwi", maps, page)
    grid = (source[..., :2] / source[..., 2:]).to(drawings)
    return (torch.nn.functional.grid_sample(drawings, grid, align_corners=False) > 0.5).to(drawings.dtype)


def _between(low: float, high: float, n: int, generator: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(n, generator=generator)


def _maps(rows: list[list]) -> Tensor:
    """Nine entries, numbers or (B,), row by row -> (B, 3, 3)."""
    n = next(len(entry) for row in rows for entry in row if isinstance(entry, Tensor))
    return torch.stack([torch.stack([torch.as_tensor(entry, dtype=torch.float32).expand(n) for entry in row], -1)
                        for row in rows], -2)


def crops(n: int, generator: torch.Generator) -> Tensor:
    """n maps (n, 3, 3) from the page, in [-1, 1], to the part of it that is kept."""
    area = _between(*CROPPED, n, generator)
    ratio = _between(math.log(RATIO[0]), math.log(RATIO[1]), n, generator).exp()
    w, h = (area * ratio).sqrt().clamp_max(1), (area / ratio).sqrt().clamp_max(1)
    dx, dy = (_between(-1, 1, n, generator) * (1 - side) for side in (w, h))
    return _maps([[w, 0, dx], [0, h, dy], [0, 0, 1]])


def affine_maps(n: int, generator: torch.Generator) -> Tensor:
    """n maps (n, 3, 3) from the page to the drawing turned, sheared, scaled and shifted."""
    turn, shear = (_between(-math.radians(most), math.radians(most), n, generator) for most in (TURN, SHEAR))
    scale = _between(*SCALE, n, generator)
    dx, dy = (_between(-2 * SHIFT, 2 * SHIFT, n, generator) for _ in "xy")
    cos, sin, skew = turn.cos() / scale, turn.sin() / scale, shear.tan()
    return _maps([[cos, skew * cos + sin, dx], [-sin, cos - skew * sin, dy], [0, 0, 1]])


def perspectives(n: int, generator: torch.Generator) -> Tensor:
    """n maps (n, 3, 3): the homography that takes the page's corners to points further in, or the identity.

    Each corner moves inwards by up to `DISTORTION` of half the page on either axis.
    """
    corners = torch.tensor([[-1.0, -1], [1, -1], [1, 1], [-1, 1]])
    inwards = DISTORTION * torch.rand(n, 4, 2, generator=generator) * (torch.rand(n, generator=generator)
                                                                       < SOMETIMES)[:, None, None]
    target = corners * (1 - inwards)
    return homography(target, corners.expand(n, 4, 2))


def homography(source: Tensor, target: Tensor) -> Tensor:
    """The maps (B, 3, 3) that take four points (B, 4, 2) to four others (B, 4, 2), their last entry one.

    >>> square = torch.tensor([[[-1.0, -1], [1, -1], [1, 1], [-1, 1]]])
    >>> homography(square, square / 2)[0].abs().round(decimals=4)
    tensor([[0.5000, 0.0000, 0.0000],
            [0.0000, 0.5000, 0.0000],
            [0.0000, 0.0000, 1.0000]])
    """
    x, y = source.double().unbind(-1)
    u, v = target.double().unbind(-1)
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    rows = torch.cat([torch.stack([x, y, one, zero, zero, zero, -u * x, -u * y], -1),
                      torch.stack([zero, zero, zero, x, y, one, -v * x, -v * y], -1)], 1)  # (B, 8, 8)
    entries = torch.linalg.solve(rows, torch.cat([u, v], 1))
    return torch.cat([entries, torch.ones_like(entries[:, :1])], 1).view(-1, 3, 3).float()
