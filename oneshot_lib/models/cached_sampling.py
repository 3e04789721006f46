r"""Drawing from a gated PixelCNN pixel by pixel, without computing anything twice.

`sample_naive` runs the whole network once a pixel and reads one column of what comes out. Causality makes that
needless: what a layer has computed at a pixel stays as it is, whatever is written after it. `sample_cached` keeps the
activations of every layer in buffers with a margin of zeros, which is the padding of the convolutions:

    once     what the condition y adds, everywhere
    a row    the vertical stack, all columns at once: it reads the rows above, which are complete
    a pixel  the horizontal stack, one column: a product of (n, reach C) with (reach C, 2C), the gate, a product back to
             C. Channels come last, so the pixel and those to its left lie side by side in one matrix

The gate is tanh(f) sigmoid(g) = 2 sigmoid(2f) sigmoid(g) - sigmoid(g): one sigmoid over both halves and one product of
them, with the factors 2 and -1 in the weights on either side.

A uniform number u becomes a level by the inverse of the distribution function, here and there; so with the same noise
both draw the same image.

    x = #{k < levels - 1 : p(0) + ... + p(k) <= u};     of two levels: x = 1 where l_1 - l_0 >= -logit(u)
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from .pixelcnn import GatedLayer, GatedPixelCNN, gate

# Work of fewer multiplications than this is done by one thread: what a second one saves, it costs in meeting the first
# so often, and far more where other programs want the cores.
_SMALL_PIXEL, _SMALL_ROW = 2**22, 2**25


@torch.no_grad()
def sample_naive(model: GatedPixelCNN, noise: Tensor, y: Tensor | None = None) -> Tensor:
    """An image for each of the uniform numbers (n, H, W): H * W passes of the whole network; (n, 1, H, W)."""
    x = torch.zeros_like(noise)[:, None]
    with torch.autocast(noise.device.type, enabled=False):
        for i in range(noise.shape[1]):
            for j in range(noise.shape[2]):
                x[:, 0, i, j] = inverse_cdf(model.logits(x, y)[:, :, i, j], noise[:, i, j])
    return x


def inverse_cdf(logits: Tensor, u: Tensor) -> Tensor:
    """The level into whose share of [0, 1) u falls: logits (n, levels), u (n,) -> (n,), 0. .. levels - 1.

    >>> inverse_cdf(torch.zeros(3, 4), torch.tensor([0.1, 0.5, 0.9]))
    tensor([0., 2., 3.])
    """
    return (logits.softmax(1).cumsum(1)[:, :-1] <= u[:, None]).sum(1).to(logits.dtype)


@torch.no_grad()
def sample_cached(model: GatedPixelCNN, noise: Tensor, y: Tensor | None = None) -> Tensor:
    """The same images as `sample_naive`, sooner: uniform noise (n, H, W), y (n, Cy, H, W) or None -> (n, 1, H, W)."""
    n, rows, columns = noise.shape
    x = torch.empty_like(noise)
    with torch.autocast(noise.device.type, enabled=False):
        stack = [LayerCache(layer, noise, y) for layer in model.layers]
        pixels = Pixels(model, noise, stack[0])
        for cache, following in zip(stack, [*stack[1:], pixels], strict=True):
            cache.connect(following)
        of_a_pixel, of_a_row = (n * max(size) for size in zip(*(cache.multiplications for cache in stack), strict=True))
        with _one_thread(of_a_row < _SMALL_ROW):
            for i in range(rows):
                for cache in stack:
                    cache.row(i)
                pixels.row(i)
                with _one_thread(of_a_pixel < _SMALL_PIXEL):
                    for j in range(columns):
                        for cache in stack:
                            cache.pixel(j)
                        pixels.pixel(j)
                x[:, i] = stack[0].image_row()
                if i + 1 < rows:
                    stack[0].store(i, stack[0].image_row().T.reshape(-1, 1))
    return (x * (model.config.levels - 1)).round()[:, None]


class LayerCache:
    """What a layer reads: `v` (margin + H, margin + W + margin, n, C), the whole image; `h` (n, margin + W, C), a row.

    `sums` (W, n, 2C) is the horizontal stack before the gate, as far as the rows above and the condition decide it.
    Views of every column are made once, and so are the weights as matrices.
    """

    def __init__(self, layer: GatedLayer, noise: Tensor, y: Tensor | None):
        (n, rows, columns), width = noise.shape, layer.out.in_channels
        seen, own = layer.horizontal.in_channels, 0 if layer.first else 1
        self.layer, self.width, self.margin, self.reach = layer, columns, layer.reach, layer.reach + own
        self.v = noise.new_zeros(self.margin + rows, columns + 2 * self.margin, n, seen)
        self.h = noise.new_zeros(n, self.margin + columns, seen)
        self.sums = noise.new_empty(columns, n, 2 * width)
        twice = noise.new_tensor([2.0, 1.0]).repeat_interleave(width)  # of the horizontal stack's f and g
        self.left = _matrix(layer.horizontal.weight) * twice
        self.across = _matrix(layer.across.weight) * twice
        self.above = None if layer.vertical is None else _matrix(layer.vertical.weight)
        back = _matrix(layer.out.weight)
        self.back, self.bias = torch.cat([2 * back, -back]), layer.out.bias
        self.for_v, for_h = layer.condition(y) if y is not None else (None, None)
        self.constant = ((layer.horizontal.bias + layer.across.bias) * twice).expand(rows, 1, -1)
        if for_h is not None:
            self.constant = self.constant + _rows(for_h) * twice
        if self.for_v is not None:
            self.for_v = _rows(self.for_v)
        self.multiplications = self.left.numel(), self.across.numel() * columns  # of a pixel and of a row
        self.columns = [(self.sums[j], self.sums[j, :, :width], self.sums[j, :, width:],
                         self.h[:, j:j + self.reach].view(n, -1), self.h[:, j + self.margin]) for j in range(columns)]

    def connect(self, following: LayerCache | Pixels) -> None:
        """Where this layer's output goes: the next layer's buffers, or the pixels'."""
        self.following = following
        self.targets = [column[-1] for column in following.columns]

    def store(self, i: int, row: Tensor) -> None:
        """Row i of what this layer's vertical stack reads: (W n, C)."""
        self.v[i + self.margin, self.margin:self.margin + self.width] = row.unflatten(0, (self.width, -1))

    def image_row(self) -> Tensor:
        """The row of the image that was drawn last, as the first layer reads it: (n, W)."""
        return self.h[:, self.margin:, 0]

    def row(self, i: int) -> None:
        """The vertical stack at row i, all columns."""
        seen = self.v[i:i + self.reach].unfold(1, 2 * self.margin + 1, 1)  # (reach, W, n, C, k)
        seen = seen.permute(1, 2, 0, 4, 3).flatten(2).flatten(0, 1)  # (W n, reach k C)
        if self.above is not None:
            above = torch.addmm(self.layer.vertical.bias, seen, self.above)  # (W n, 2C)
            state = gate(above if self.for_v is None else above + self.for_v[i])
            self.following.store(i, state)
            if not self.layer.first:
                seen = above
        torch.addmm(self.constant[i], seen, self.across, out=self.sums.flatten(0, 1))

    def pixel(self, j: int) -> None:
        """The horizontal stack at column j of the row."""
        sums, f, g, near, own = self.columns[j]
        sums.addmm_(near, self.left).sigmoid_()
        f.mul_(g)
        if self.layer.first:
            torch.addmm(self.bias, sums, self.back, out=self.targets[j])
        else:
            torch.add(own, self.bias, out=self.targets[j]).addmm_(sums, self.back)


class Pixels:
    """The output layer and the draw: it reads what the last layer leaves in `state`, and writes into the first's row.

    Two levels need no distribution function: the difference of the logits is compared with a threshold.
    """

    def __init__(self, model: GatedPixelCNN, noise: Tensor, first: LayerCache):
        n, _, columns = noise.shape
        weight, bias, self.levels = model.output.weight.flatten(1).T, model.output.bias, model.config.levels
        self.noise = noise.permute(1, 2, 0)[..., None].contiguous()  # (H, W, n, 1)
        self.state = noise.new_empty(n, model.config.channels)
        self.columns = [(self.state,)] * columns
        self.drawn = [first.h[:, first.margin + j] for j in range(columns)]  # (n, 1) each
        if self.levels == 2:
            self.noise = -torch.special.logit(self.noise) - (bias[1] - bias[0])
            self.weight, self.logits = weight[:, 1:] - weight[:, :1], noise.new_empty(n, 1)
        else:
            self.weight, self.bias, self.logits = weight, bias, noise.new_empty(n, self.levels)

    def row(self, i: int) -> None:
        self.u = self.noise[i].unbind()

    def pixel(self, j: int) -> None:
        state = self.state.relu_()
        if self.levels == 2:
            torch.mm(state, self.weight, out=self.logits)
            torch.ge(self.logits, self.u[j], out=self.drawn[j])
        else:
            logits = torch.addmm(self.bias, state, self.weight, out=self.logits)
            torch.div(inverse_cdf(logits, self.u[j][:, 0])[:, None], self.levels - 1, out=self.drawn[j])


def _matrix(weight: Tensor) -> Tensor:
    """A convolution's weight (out, C, rows, columns) for neighbourhoods, channels last: (rows columns C, out)."""
    return weight.permute(2, 3, 1, 0).flatten(0, 2)


def _rows(maps: Tensor) -> Tensor:
    """(n, C, H, W) -> (H, W n, C)."""
    return maps.permute(2, 3, 0, 1).flatten(1, 2)


@contextmanager
def _one_thread(wanted: bool) -> Iterator[None]:
    """Within, one thread where `wanted`; the number that it was, after."""
    threads = torch.get_num_threads()
    if not wanted or threads == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
