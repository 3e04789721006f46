r"""Drawing from a PixelCNN without computing anything twice, a diagonal of pixels at a time.

`sample_naive` runs the whole network once a pixel and reads one column of what comes out. Causality makes that
needless: what a layer has computed at a pixel stays as it is, whatever is written after it. `sample_cached` keeps it,
layer by layer (`sampling_caches`), and computes at every pixel what that pixel adds.

Nor must the pixels wait for one another in reading order. Pixel (i, j) looks up and to the right only as far as the
reaches of all the vertical convolutions together, R columns; beyond column j + R, the row above may still be empty. So
while row i is at column j, row i - 1 is at column j + R + 1, row i - 2 as far ahead again:

    . . . . . . . . 9 .        the step in which a pixel is written, t = j + (R + 1) i, is the same all along a
    . . . . . 9 . . . .        diagonal, and its pixels need nothing of each other: W + (R + 1)(H - 1) steps for
    . . 9 . . . . . . .        H W pixels, each with a few large products instead of many small ones

What the rows above say to layer l at pixel (i, j) must be known as far to the right as the layers after it will ask
for: so the vertical stack runs ahead in the same row, by fewer columns from layer to layer. Where R is a large part of
the page's width there is little to be had, and the pixels are taken one by one, the vertical stack row by row.

A uniform number u becomes a level by the inverse of the distribution function, here and there; so with the same noise
both draw the same image.

    x = #{k < levels - 1 : p(0) + ... + p(k) <= u};     of two levels: x = 1 where l_1 - l_0 >= -logit(u)
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from .sampling_caches import Diagonals, GatedCache, Rows, cache_of

Given = Tensor | tuple | None

# Threads share out the images, not the products: so they need not meet at every one of them, which would cost what it
# saves, and far more where other programs want the cores. A share has as many multiplications in an average step's
# largest product as this, or more: less would only queue for the interpreter.
_SHARE = 2**22


@torch.no_grad()
def sample_naive(model: nn.Module, noise: Tensor, y: Given = None) -> Tensor:
    """An image for each of the uniform numbers (n, H, W): H * W passes of the whole network; (n, 1, H, W)."""
    x, given = torch.zeros_like(noise)[:, None], () if y is None else (y,)
    with torch.autocast(noise.device.type, enabled=False):
        for i in range(noise.shape[1]):
            for j in range(noise.shape[2]):
                x[:, 0, i, j] = inverse_cdf(model.logits(x, *given)[:, :, i, j], noise[:, i, j])
    return x


def inverse_cdf(logits: Tensor, u: Tensor) -> Tensor:
    """The level into whose share of [0, 1) u falls: logits (n, levels), u (n,) -> (n,), 0. .. levels - 1.

    >>> inverse_cdf(torch.zeros(3, 4), torch.tensor([0.1, 0.5, 0.9]))
    tensor([0., 2., 3.])
    """
    return (logits.softmax(1).cumsum(1)[:, :-1] <= u[:, None]).sum(1).to(logits.dtype)


def sample_cached(model: nn.Module, noise: Tensor, y: Given = None) -> Tensor:
    """The same images as `sample_naive`, sooner: uniform noise (n, H, W) -> (n, 1, H, W).

    `model` is a PixelCNN that names the layers of a pixel's way, `sampled`, each with its `cache`. y is what it is
    given: None, maps (n, Cy, H, W) or (n, Cy, 1, 1), or a named tuple of tensors (G, ...) of G support sets, each for
    n / G images. On a CPU the images are shared out to torch's threads where there are enough.
    """
    layers = model.sampled
    leads = vertical_leads(layers)
    order = pixel_order(tuple(noise.shape[1:]), leads)
    with _one_thread() as threads:
        parts = shares(noise, y, min(threads, _largest_product(model, order, len(noise)) // _SHARE))
        if len(parts) == 1:
            return _sample(model, layers, leads, order, *parts[0])
        with ThreadPoolExecutor(len(parts)) as pool:
            return torch.cat(list(pool.map(lambda part: _sample(model, layers, leads, order, *part), parts)))


def shares(noise: Tensor, y: Given, count: int) -> list[tuple[Tensor, Given]]:
    """Noise and y of at most `count` nearly equal parts of the images; a support set is not divided."""
    sets = len(y[0]) if isinstance(y, tuple) else len(noise)
    count = min(count, sets) if noise.device.type == "cpu" else 1
    if count < 2:
        return [(noise, y)]
    per_set = noise.unflatten(0, (sets, -1)).tensor_split(count)
    if y is None:
        given = [None] * count
    elif isinstance(y, tuple):
        given = map(type(y)._make, zip(*(part.tensor_split(count) for part in y), strict=True))
    else:
        given = y.tensor_split(count)
    return [(part.flatten(0, 1), of_part) for part, of_part in zip(per_set, given, strict=True)]


@torch.no_grad()
def _sample(model: nn.Module, layers: list[nn.Module], leads: list[int], order: Diagonals | Rows,
            noise: Tensor, y: Given) -> Tensor:
    with torch.autocast(noise.device.type, enabled=False):
        stack = [cache_of(layer)(layer, order, lead, noise, y)
                 for layer, lead in zip(layers, leads[1:], strict=True)]
        for cache, following in zip(stack, stack[1:], strict=False):
            if isinstance(cache, GatedCache) and isinstance(following, GatedCache):
                cache.following = following
        pixels, drawn = Pixels(model, order, noise), None
        for t in order.steps:
            v = h = drawn
            for cache in stack:
                v, h = cache.step(t, v, h)
            drawn = pixels.draw(t, h)
    return pixels.images()


def vertical_leads(layers: list[nn.Module]) -> list[int]:
    """How many columns the vertical stack is ahead of the pixel before and after each layer; R, .., 0."""
    leads = [0]
    for layer in reversed(layers):
        leads.insert(0, cache_of(layer).lead(layer, leads[0]))
    return leads


def pixel_order(size: tuple[int, int], leads: list[int]) -> Diagonals | Rows:
    """Diagonals, unless they save no steps worth the vertical stack's part in each of them."""
    rows, columns = size
    diagonals = Diagonals(rows, columns, leads[0] + 1, leads[1])
    return diagonals if 3 * len(diagonals.steps) <= rows * columns + 2 * columns else Rows(rows, columns)


class Pixels:
    """The output layer and the draw. Two levels need no distribution function: the difference of the logits is compared
    with a threshold."""

    def __init__(self, model: nn.Module, order: Diagonals | Rows, noise: Tensor):
        weight, self.bias, self.levels = model.output.weight.flatten(1).T, model.output.bias, model.config.levels
        self.order, self.shape = order, noise.shape
        self.place = order.order.to(noise.device)
        self.u = noise.flatten(1).T[self.place]  # (H W, n), by lines
        self.weight, self.drawn = weight, torch.empty_like(self.u)
        if self.levels == 2:
            self.u = -torch.special.logit(self.u) - (self.bias[1] - self.bias[0])
            self.weight = (weight[:, 1:] - weight[:, :1]).contiguous()

    def draw(self, t: int, h: Tensor | None) -> Tensor | None:
        """Step t's pixels, given the last layer's (count n, C): (count n, 1), as the first layer reads them."""
        line = self.order.horizontal(t)
        if line is None:
            return None
        u, drawn = self.u[line.start:line.stop].view(-1, 1), self.drawn[line.start:line.stop].view(-1, 1)
        if self.levels == 2:
            return torch.ge(h.relu() @ self.weight, u, out=drawn)
        logits = torch.addmm(self.bias, h.relu(), self.weight)
        return torch.div(inverse_cdf(logits, u[:, 0])[:, None], self.levels - 1, out=drawn)

    def images(self) -> Tensor:
        """All that was drawn: (n, 1, H, W), 0. .. levels - 1."""
        pages = torch.empty_like(self.drawn)
        pages[self.place] = (self.drawn * (self.levels - 1)).round()
        return pages.T.reshape(len(pages.T), 1, *self.shape[1:])


def _largest_product(model: nn.Module, order: Diagonals | Rows, n: int) -> int:
    """Multiplications of the largest product of an average step."""
    return n * order.rows * order.columns // len(order.steps) * max(p.numel() for p in model.parameters())


@contextmanager
def _one_thread() -> Iterator[int]:
    """Within, torch computes with one thread; gives the number that it was before and is after."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield threads
    finally:
        torch.set_num_threads(threads)
