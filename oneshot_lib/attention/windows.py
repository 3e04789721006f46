r"""Reading and writing through a window: one linear map and its transpose.

A window is an affine map $A$ `(..., 2, 3)` from patch coordinates to image coordinates, both in $[-1, 1]$, x to the
right and y downwards, the centre of pixel $i$ of $N$ at $(2i + 1)/N - 1$. The patch point $p$ looks at the image point
$A (p_x, p_y, 1)^\top$, and sees the pixels around it through a tent,

$$\kappa(d) = \frac1w \max\left(0, 1 - \frac{|d|}{w}\right), \qquad w = \max(1, s),$$

where $d$ is the distance in pixels and $s$ the spacing, in pixels, of the patch points in the image. A window that
zooms in ($s < 1$) interpolates bilinearly, as in Jaderberg et al. 2015. A window that zooms out would skip pixels
if it did the same, so there its tents are widened until they touch; Rezende 2016, section 2, leaves the kernels open:

$$\mathrm{ST}(x, \lambda) = [\kappa_h(\lambda) \otimes \kappa_w(\lambda)] * x.$$

With $W_\lambda$ the matrix of these weights, reading is $r = W_\lambda x$ and writing is $W_\lambda^\top r$: written
with the window it was read with, a patch lands where it came from. Where the window is axis-aligned, $W_\lambda$ is
a Kronecker product and both directions are two small matrix products a channel (the separable path). The general path
costs (patch pixels) x (image pixels) multiplications and holds for every affine map; it gives the same numbers.
"""

from __future__ import annotations

import torch
from torch import Tensor


def pixel_centres(n: int, like: Tensor | None = None) -> Tensor:
    """The n pixel centres on [-1, 1]: `(2i + 1)/n - 1`, (n,)."""
    return (2 * torch.arange(n, dtype=like.dtype if like is not None else None,
                             device=like.device if like is not None else None) + 1) / n - 1


def axis_aligned(centre: Tensor, scale: Tensor) -> Tensor:
    """The window without rotation: `centre` (..., 2) as (x, y), `scale` (..., 2) half-widths -> A (..., 2, 3)."""
    zero = torch.zeros_like(scale[..., 0])
    rows = [torch.stack([scale[..., 0], zero, centre[..., 0]], -1),
            torch.stack([zero, scale[..., 1], centre[..., 1]], -1)]
    return torch.stack(rows, -2)


def rotated(centre: Tensor, scale: Tensor, angle: Tensor) -> Tensor:
    """Translation, scale and rotation: as `axis_aligned`, turned by `angle` (...) radians, from x towards y."""
    cos, sin = angle.cos(), angle.sin()
    rows = [torch.stack([scale[..., 0] * cos, -scale[..., 1] * sin, centre[..., 0]], -1),
            torch.stack([scale[..., 0] * sin, scale[..., 1] * cos, centre[..., 1]], -1)]
    return torch.stack(rows, -2)


def corners(window: Tensor) -> Tensor:
    """The window's four corners in image coordinates, in drawing order: A (..., 2, 3) -> (..., 4, 2)."""
    square = torch.tensor([[-1, -1, 1], [1, -1, 1], [1, 1, 1], [-1, 1, 1]], dtype=window.dtype, device=window.device)
    return torch.einsum("...ij,kj->...ki", window, square)


def tents(position: Tensor, width: Tensor, pixels: int) -> Tensor:
    r"""The kernel above at every pixel n, $\mathrm{relu}(b - |b^2 p - b^2 n|)$ with $b = 1/w$: four passes over the
    result.

    `position` p in pixels (..., points) and `width` w >= 1 (...) -> (..., points, pixels).
    """
    b = width.reciprocal()[..., None, None]
    slope = b.square()
    grid = torch.arange(pixels, dtype=position.dtype, device=position.device)
    return (b - torch.addcmul(slope * position[..., None], slope, grid, value=-1).abs()).relu()


def axis_kernel(centre: Tensor, scale: Tensor, points: int, pixels: int) -> Tensor:
    """One axis of a separable window: the weights of `pixels` image pixels in `points` patch points.

    `centre`, `scale` (...) in image coordinates -> (..., points, pixels). A row whose tent lies inside
    the image sums to one where w is a whole number of pixels, and to within a tenth of one elsewhere.
    """
    patch = pixel_centres(points, like=centre)
    position = (centre[..., None] + scale[..., None] * patch + 1) * (pixels / 2) - 0.5  # (..., points), in pixels
    return tents(position, (scale.abs() * (pixels / points)).clamp_min(1), pixels)


def axis_kernels(window: Tensor, size: tuple[int, int], image_size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Both axes of an axis-aligned window: A (..., 2, 3) -> kernels (..., h, H) of y and (..., w, W) of x.

    The off-diagonal entries of A are ignored: ask `is_axis_aligned` first.
    """
    y = axis_kernel(window[..., 1, 2], window[..., 1, 1], size[0], image_size[0])
    x = axis_kernel(window[..., 0, 2], window[..., 0, 0], size[1], image_size[1])
    return y, x


def is_axis_aligned(window: Tensor) -> bool:
    """Whether every window of A (..., 2, 3) has zeros off the diagonal, so that the separable path is exact."""
    return bool((window[..., 0, 1] == 0).all() and (window[..., 1, 0] == 0).all())


def general_kernels(window: Tensor, size: tuple[int, int], image_size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """The tents of any affine window: A (..., 2, 3) -> (..., h*w, H) of y and (..., h*w, W) of x.

    The weight of pixel (i, j) in patch point p is the product of the two. The tents stay aligned with the image's
    axes; along each axis they are as wide as the spacing of neighbouring patch points measured on that axis.
    """
    (h, w), (height, width) = size, image_size
    py, px = torch.meshgrid(pixel_centres(h, like=window), pixel_centres(w, like=window), indexing="ij")
    points = torch.stack([px.flatten(), py.flatten(), torch.ones_like(px.flatten())], -1)  # (h*w, 3)
    at = torch.einsum("...ij,pj->...pi", window, points)  # (..., h*w, 2)
    spacing = torch.stack([window[..., 0] / w, window[..., 1] / h], -1).square().sum(-1)  # (..., 2): x, y, squared
    kernels = []
    for axis, pixels in ((1, height), (0, width)):
        position = (at[..., axis] + 1) * (pixels / 2) - 0.5
        kernels.append(tents(position, (spacing[..., axis] * pixels**2).clamp_min(1).sqrt(), pixels))
    return kernels[0], kernels[1]


def read(image: Tensor, window: Tensor, size: tuple[int, int], separable: bool | None = None) -> Tensor:
    """r = W x: `image` (B, C, H, W) seen through `window` (B, 2, 3) -> patch (B, C, h, w).

    `separable` None chooses by looking at the window. Raises ValueError on shapes that do not fit.
    """
    _check(image, window, "image")
    if is_axis_aligned(window) if separable is None else separable:
        y, x = axis_kernels(window, size, image.shape[-2:])
        return y[:, None] @ image @ x[:, None].transpose(-1, -2)  # (B, 1, h, H) (B, C, H, W) (B, 1, W, w)
    y, x = general_kernels(window, size, image.shape[-2:])
    patch = (y[:, None] @ image * x[:, None]).sum(-1)  # (B, 1, h*w, H) (B, C, H, W), times (B, 1, h*w, W)
    return patch.unflatten(-1, size)  # (B, C, h*w) -> (B, C, h, w)


def write(patch: Tensor, window: Tensor, image_size: tuple[int, int], separable: bool | None = None) -> Tensor:
    """W^T r, the adjoint of `read`: `patch` (B, C, h, w) put through `window` (B, 2, 3) -> image (B, C, H, W).

    For all x and r: `(read(x, A) * r).sum() == (x * write(r, A)).sum()`.
    """
    _check(patch, window, "patch")
    if is_axis_aligned(window) if separable is None else separable:
        y, x = axis_kernels(window, patch.shape[-2:], image_size)
        return y[:, None].transpose(-1, -2) @ patch @ x[:, None]
    y, x = general_kernels(window, patch.shape[-2:], image_size)
    rows = patch.flatten(2).transpose(1, 2)[..., None] * x[:, :, None]  # (B, h*w, C, W): the channels in one product
    return (y.transpose(1, 2) @ rows.flatten(2)).unflatten(-1, rows.shape[2:]).transpose(1, 2)


def _check(picture: Tensor, window: Tensor, name: str) -> None:
    if picture.dim() != 4:
        raise ValueError(f"{name} has shape {tuple(picture.shape)}; expected (B, C, H, W)")
    if window.shape != (len(picture), 2, 3):
        raise ValueError(f"window has shape {tuple(window.shape)}; expected ({len(picture)}, 2, 3), one map an image")
