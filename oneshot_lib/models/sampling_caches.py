r"""What each kind of layer remembers while an image is written, and in which order its pixels are written.

A layer's cache has one method, which is the layer's own `forward` for a few pixels at a time:

    v, h = cache.step(t, v, h)      h of the pixels written in step t, v of those that the vertical stack has come to

and one number before it exists: `lead(layer, lead)`, how many columns to the right of pixel (i, j) the rows above must
be known where the layer's own output is needed `lead` columns to the right. Layers are kept as they are: a cache reads
the weights and rearranges them. Which cache is a layer's, its class says (`cache`): nothing here knows a model.

What comes in is stored on a `Page`, with a margin of zeros, which is the padding of the convolutions. The
neighbourhoods of pixels that lie in one `Line` are then a strided view of the page; copied out, they are the rows of a
matrix, and the convolution is one product with it.

The gate is tanh(f) sigmoid(g) = -(sigmoid(g) - 2 sigmoid(2f) sigmoid(g)): one sigmoid over both halves and one
operation after it; the 2 is put into the weights before, the minus into those after.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Line(NamedTuple):
    """Pixels taken together: `count` of them from (row, column) on, each `down` rows lower and `right` columns to the
    right of the one before it. On a page whose pixels are sorted by lines they are start .. stop - 1."""

    row: int
    column: int
    count: int
    down: int
    right: int
    start: int

    @property
    def stop(self) -> int:
        return self.start + self.count


class Diagonals:
    """All pixels with j + slope i = t are written in step t; the vertical stack is on diagonal t + lead.

    `horizontal(t)` and `vertical(t, lead)` are the lines of step t, None where there is none in it.
    """

    def __init__(self, rows: int, columns: int, slope: int, lead: int = 0):
        self.rows, self.columns, self.lines, start = rows, columns, {}, 0
        last = columns + slope * (rows - 1)
        self.steps = range(-lead, last)
        for t in range(last):
            first, end = max(0, -((columns - 1 - t) // slope)), min(rows, t // slope + 1)
            if first < end:
                self.lines[t] = Line(first, t - slope * first, end - first, 1, -slope, start)
                start += end - first
        i, j = torch.arange(rows, device="cpu")[:, None], torch.arange(columns, device="cpu")
        self.order = (rows * (j + slope * i) + i).flatten().argsort()  # pixels in reading order, sorted by lines

    def horizontal(self, t: int) -> Line | None:
        return self.lines.get(t)

    def vertical(self, t: int, lead: int) -> Line | None:
        return self.lines.get(t + lead)


class Rows:
    """Pixel by pixel in reading order; the vertical stack takes a row at once, whatever its lead."""

    def __init__(self, rows: int, columns: int):
        self.rows, self.columns, self.steps = rows, columns, range(rows * columns)
        self.order = torch.arange(rows * columns, device="cpu")
        self.lines = [Line(*divmod(t, columns), 1, 0, 0, t) for t in self.steps]

    def horizontal(self, t: int) -> Line | None:
        return self.lines[t]

    def vertical(self, t: int, lead: int) -> Line | None:
        return Line(t // self.columns, 0, self.columns, 0, 1, t) if t % self.columns == 0 else None


class Page:
    """Activations (H, n, W, C) of n images with `above` rows and `left` and `right` columns of zeros around them. With
    `one_row`, of the row alone that is being written."""

    def __init__(self, noise: Tensor, channels: int, above: int, left: int, right: int, one_row: bool = False):
        n, rows, columns = noise.shape
        self.above, self.left, self.one_row = above, left, one_row
        self.cells = noise.new_zeros(above + (1 if one_row else rows), n, left + columns + right, channels)

    def around(self, line: Line, top: int = 0, left: int = 0, height: int = 1, width: int = 1) -> Tensor:
        """Neighbourhoods of `height` x `width` beginning `top` rows and `left` columns before each pixel of the line,
        a view: (count, n, height, width C)."""
        down, across, right, _ = self.cells.stride()
        row = (0 if self.one_row else line.row) + self.above - top
        along = line.down * down + line.right * right if line.count > 1 else 0
        return self.cells.as_strided((line.count, self.cells.shape[1], height, width * right),
                                     (along, across, down, 1), row * down + (line.column + self.left - left) * right)

    def store(self, line: Line, values: Tensor) -> None:
        """values (count n, C), pixel by pixel."""
        cells = self.around(line)
        cells.copy_(values.view(cells.shape))


class Product:
    """x (count n, K) -> x W + b, W (K, N).

    A large one in float32 is a convolution with a kernel of one pixel over n images of `count`, so that it is computed
    by the same library, oneDNN, as a pass is. MKL's matrix products are half as fast on processors of other makers
    (measured on an AMD EPYC: 105 and 215 Gflop/s); small ones are not worth a convolution's way there.
    """

    def __init__(self, matrix: Tensor, bias: Tensor | None = None, n: int = 1):
        self.matrix, self.bias, self.n = matrix, bias, n
        self.kernel = matrix.T[:, :, None, None].contiguous(memory_format=torch.channels_last)

    def __call__(self, x: Tensor) -> Tensor:
        if worth_convolving(x, self.matrix, self.n):
            return self._convolved(x, self.bias)
        return x @ self.matrix if self.bias is None else torch.addmm(self.bias, x, self.matrix)

    def add_to(self, sums: Tensor, x: Tensor) -> Tensor:
        """sums (count n, N) and x W, in place."""
        if worth_convolving(x, self.matrix, self.n):
            return sums.add_(self._convolved(x))
        return sums.addmm_(x, self.matrix)

    def _convolved(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        images = x.view(self.n, -1, 1, x.shape[1]).permute(0, 3, 1, 2)  # (n, K, 1, count), whichever pixels are whose
        return F.conv2d(images, self.kernel, bias).permute(0, 2, 3, 1).reshape(len(x), -1)


def worth_convolving(x: Tensor, matrix: Tensor, n: int) -> bool:
    """Whether x (count n, K) times (K, N) is large enough, and oneDNN would take it: it takes 16 images or more."""
    return x.dtype == torch.float32 and n >= 16 and len(x) * matrix.numel() > 2**22 and x.device.type == "cpu" \
        and torch.backends.mkldnn.is_available()


class GatedCache:
    """Both stacks of a gated layer: pages of what they read, and `sums`, the horizontal stack before the gate, as far
    as the vertical stack and the condition decide it: row by row, the row's (W, n, 2C), of diagonals each line's, from
    when the vertical stack comes to it until its pixels are written."""

    @staticmethod
    def lead(layer: nn.Module, lead: int) -> int:
        return lead + layer.reach

    def __init__(self, layer: nn.Module, order: Diagonals | Rows, lead: int, noise: Tensor, y: Tensor | None):
        n, columns, c, r = len(noise), order.columns, layer.out.in_channels, layer.reach
        seen, own, self.by_rows = layer.horizontal.in_channels, 0 if layer.first else 1, isinstance(order, Rows)
        self.order, self.ahead, self.came, self.first = order, lead, lead + r, layer.first
        self.v = Page(noise, seen, r, r, r)
        self.h = self.v if layer.first and not self.by_rows else Page(noise, seen, 0, r, 0, self.by_rows)
        self.rows_seen, self.columns_seen = (r, r, r + own, 2 * r + 1), (0, r, 1, r + own)
        self._weights(layer, noise.new_tensor([2.0, 1.0]).repeat_interleave(c), n)
        for_v, for_h = layer.condition(y.to(noise)) if layer.condition_h is not None else (None, None)
        self.for_v = None if for_v is None else by_lines(for_v, order) * self.twice
        self.for_h = None if for_h is None else by_lines(for_h, order) * self.twice + self.constant
        if self.for_h is None:
            self.across.bias = self.constant
        self.row = noise.new_empty(columns, n, 2 * c) if self.by_rows else None
        self.sums: dict[int, Tensor] = {}  # by where their lines start
        self.places: dict[int, tuple] = {}
        self.following: GatedCache | None = None

    def _weights(self, layer: nn.Module, twice: Tensor, n: int) -> None:
        """As matrices, `twice` what leads to f; what a gate hands on to the next layer's v or to `out` is negative."""
        self.twice, sign = twice, 1 if layer.first else -1
        self.by_above = not (layer.first or layer.last)  # W_vh v is a 1x1 of W_v * v, and no convolution by itself
        self.left = Product(as_matrix(layer.horizontal.weight) * twice, None, n)
        self.above = None if layer.vertical is None else \
            Product(sign * as_matrix(layer.vertical.weight) * twice, layer.vertical.bias * twice, n)
        across = as_matrix(layer.across.weight) * twice
        self.across = Product(across / twice[:, None] if self.by_above else sign * across, None, n)
        self.constant = (layer.horizontal.bias + layer.across.bias) * twice
        self.back, self.bias = -as_matrix(layer.out.weight), layer.out.bias

    def step(self, t: int, v: Tensor | None, h: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        here, ahead = self.order.horizontal(t), self.order.vertical(t, self.ahead)
        place = self._place(here) if here else None
        if self.first:
            if h is not None:
                self._store_image(t, h)
        else:
            if v is not None:
                self.v.store(self.order.vertical(t, self.came), v)
            if h is not None and h is not place[0]:
                place[0].copy_(h.view(place[0].shape))
        return self._vertical(ahead) if ahead else None, self._horizontal(here, place, h) if here else None

    def _store_image(self, t: int, drawn: Tensor) -> None:
        """The pixels of the step before; row by row, the vertical stack gets them when the row is complete."""
        before = self.order.horizontal(t - 1)
        self.h.store(before, drawn)
        if self.by_rows and before.row != t // self.order.columns:
            row = self.h.cells[0, :, self.h.left:].transpose(0, 1)  # (W, n, 1)
            self.v.store(self.order.vertical(t - self.order.columns, 0), row.flatten(0, 1))

    def _place(self, line: Line) -> tuple[Tensor, ...]:
        """Views: where h is stored, what the horizontal convolution reads around; row by row, where those of a column
        are made once, also the `sums` and both halves of them."""
        place = self.places.get(line.column) if self.by_rows else None
        if place is None:
            place = self.h.around(line), self.h.around(line, *self.columns_seen)
            if self.by_rows:
                sums = self.row[line.column]
                place = place[0][0, :, 0], place[1].flatten(0, 2), sums, *sums.chunk(2, 1)
                self.places[line.column] = place
        return place

    def _vertical(self, line: Line) -> Tensor | None:
        here = slice(line.start, line.stop)
        seen = self.v.around(line, *self.rows_seen).flatten(0, 1).flatten(1)  # (count n, rows columns C)
        above = None if self.above is None else self.above(seen)  # (count n, 2C)
        sums = self.across(above if self.by_above else seen)
        if self.for_h is not None:
            sums += self.for_h[here].flatten(0, 1)
        if self.by_rows:
            self.row.copy_(sums.view(self.row.shape))
        else:
            self.sums[line.start] = sums
        if above is None:
            return None
        if self.for_v is not None:
            above += self.for_v[here].flatten(0, 1)
        f, g = above.sigmoid_().chunk(2, 1)
        return torch.addcmul(g, f, g, value=-2)

    def _horizontal(self, here: Line, place: tuple, h: Tensor | None) -> Tensor:
        if self.by_rows:
            _, near, sums, f, g = place
            sums.addmm_(near, self.left.matrix).sigmoid_()
        else:
            sums = self.sums.pop(here.start)
            f, g = self.left.add_to(sums, place[1].reshape(len(sums), -1)).sigmoid_().chunk(2, 1)
        state = torch.addcmul(g, f, g, value=-2)
        target = self.following.place_of_h(here) if self.by_rows and self.following else None
        if self.first:
            return torch.addmm(self.bias, state, self.back, out=target)
        return torch.add(h, self.bias, out=target).addmm_(state, self.back)

    def place_of_h(self, line: Line) -> Tensor:
        """Row by row, where the layer before may leave its h, so that it need not be copied."""
        return self._place(line)[0]


class MaskedCache:
    """A masked convolution of the PixelCNN with the blind spot: one page, and no vertical stack."""

    @staticmethod
    def lead(layer: nn.Module, lead: int) -> int:
        return max(lead, layer.kernel_size[0] // 2)  # pixels of this step are all that later layers add

    def __init__(self, layer: nn.Module, order: Diagonals | Rows, lead: int, noise: Tensor, y: None):
        r = layer.kernel_size[0] // 2
        self.order, self.first, self.seen = order, not layer.own, (r, r, r + 1, 2 * r + 1)
        self.page = Page(noise, layer.in_channels, r, r, r)
        self.weight, self.bias = as_matrix((layer.weight * layer.mask)[:, :, :r + 1]), layer.bias

    def step(self, t: int, v: None, h: Tensor | None) -> tuple[None, Tensor | None]:
        here = self.order.horizontal(t)
        if h is not None:
            self.page.store(self.order.horizontal(t - 1) if self.first else here, h if self.first else h.relu())
        if here is None:
            return None, None
        seen = self.page.around(here, *self.seen).flatten(0, 1).flatten(1)  # (count n, (r + 1) k C)
        if self.first:
            return None, torch.addmm(self.bias, seen, self.weight)
        return None, torch.add(h, self.bias).addmm_(seen, self.weight)


def cache_of(layer: nn.Module) -> type:
    """The class that keeps what a layer has computed: the layer's own `cache`. Raises TypeError for one without."""
    cache = getattr(type(layer), "cache", None)
    if cache is None:
        raise TypeError(f"layer is a {type(layer).__name__}, which names no `cache`; expected one that can be sampled")
    return cache


def as_matrix(weight: Tensor) -> Tensor:
    """A convolution's weight (out, C, rows, columns) for neighbourhoods, channels last: (rows columns C, out)."""
    return weight.permute(2, 3, 1, 0).flatten(0, 2)


def by_lines(maps: Tensor, order: Diagonals | Rows) -> Tensor:
    """Maps (n, C, H, W), or (n, C, 1, 1) for the same everywhere, by lines: (H W, n, C)."""
    rows = maps.permute(2, 3, 0, 1).flatten(0, 1)
    return rows.expand(len(order.order), -1, -1) if len(rows) == 1 else rows[order.order.to(rows.device)]
