r"""PixelCNN: an image written pixel by pixel, each from those above it and to its left.

References:
    van den Oord, Kalchbrenner, Kavukcuoglu 2016, Pixel Recurrent Neural Networks (masks A and B).
    van den Oord et al. 2016, Conditional Image Generation with PixelCNN Decoders (two stacks, gates, conditions).
    Hewitt et al. 2018, supplement 6.4.3 (the decoder and the prior of the homoencoder).

    log p(x | y) = sum_i log p(x_i | x_1, ..., x_{i-1}, y)          pixels i in reading order, in nats

A masked convolution sees the pixels before i, but stacking them leaves a blind spot: what lies above and to the right
is never reached (`PixelCNN`). Two stacks have none (`GatedPixelCNN`). The vertical one sees the rows above, whole; the
horizontal one sees its own row to the left, and takes from the vertical stack what that knows of the rows above. Here
no weight is masked in the two stacks: kernels have the shape of what may be seen, and the image is padded where they
begin.

    v' = gate(W_v * v + V_v y)                     W_v spans the rows above, whole
    h' = h + U gate(W_h * h + W_vh v + V_h y)      W_h spans the own row to the left; no residual in the first layer
    gate(f, g) = tanh(f) sigmoid(g)

Where the texts are silent: W_vh v is a 1x1 convolution of W_v * v, before condition and gate, so that in the first
layer both stacks depend on the image alone until y is added. In the first layer, which sees one channel, and in the
last, whose v' nobody reads, W_vh is a convolution of its own over the rows above: there a 1x1 after it would be a
product of two linear maps, and cost more than all the rest of the layer. The supplement's "2x1x1 convolution and a
softmax" is `levels` channels here, 2 for binary images. The first PixelCNN's residual blocks are here one masked
convolution each, h + W * relu(h), as wide as the rest.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .cached_sampling import sample_cached
from .sampling_caches import GatedCache, MaskedCache


@dataclass(frozen=True)
class PixelCNNConfig:
    """Widths of a PixelCNN; the defaults are the homoencoder's decoder (supplement 6.4.3).

    `levels` 2 for binary images, 256 for grey ones; `kernel` and `first_kernel` (odd) are the sides of the squares that
    the masks cut; `condition_channels` 0 for an unconditional model. Raises ValueError on sizes that can't be.
    """

    levels: int = 2
    channels: int = 64
    layers: int = 2
    kernel: int = 3
    first_kernel: int = 3
    condition_channels: int = 0

    def __post_init__(self):
        for name, least in (("levels", 2), ("channels", 1), ("layers", 1), ("kernel", 3), ("first_kernel", 3),
                            ("condition_channels", 0)):
            value = getattr(self, name)
            if not isinstance(value, int) or value < least:
                raise ValueError(f"{name} is {value!r}; expected a whole number of at least {least}")
        for name in ("kernel", "first_kernel"):
            if getattr(self, name) % 2 == 0:
                raise ValueError(f"{name} is {getattr(self, name)}; expected an odd number")


class MaskedConv2d(nn.Conv2d):
    """A convolution that sees the pixels before its own, and its own with mask "B" (van den Oord et al. 2016, fig. 4).

    The mask is over positions only: every channel of a pixel that may be seen is seen. It multiplies the weight in the
    graph, so the weight itself is never edited. `padding` keeps the size. Raises ValueError for another mask.
    """

    cache = MaskedCache

    def __init__(self, mask: str, in_channels: int, out_channels: int, kernel: int):
        if mask not in ("A", "B"):
            raise ValueError(f"mask is {mask!r}; expected 'A' (without the pixel itself) or 'B' (with it)")
        super().__init__(in_channels, out_channels, kernel, padding=kernel // 2)
        self.own = mask == "B"
        before = torch.arange(kernel * kernel) < kernel * kernel // 2 + self.own
        self.register_buffer("mask", before.float().view(1, 1, kernel, kernel), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight * self.mask, self.bias, padding=self.padding)


class PixelCNN(nn.Module):
    """p(x) by one stack of masked convolutions, with the blind spot that comes of stacking them (van den Oord,
    Kalchbrenner, Kavukcuoglu 2016): mask A once, then mask B with residuals. It has no condition.

    >>> PixelCNN(PixelCNNConfig(channels=4)).log_prob(torch.zeros(3, 1, 8, 8)).shape
    torch.Size([3])
    """

    def __init__(self, config: PixelCNNConfig | None = None):
        super().__init__()
        self.config = config = config or PixelCNNConfig()
        if config.condition_channels:
            raise ValueError(f"condition_channels is {config.condition_channels}; expected 0 without gates")
        self.first = MaskedConv2d("A", 1, config.channels, config.first_kernel)
        self.layers = nn.ModuleList(MaskedConv2d("B", config.channels, config.channels, config.kernel)
                                    for _ in range(config.layers - 1))
        self.output = nn.Conv2d(config.channels, config.levels, 1)

    @property
    def sampled(self) -> list[nn.Module]:
        """The layers in the order in which a pixel passes through them."""
        return [self.first, *self.layers]

    def logits(self, x: Tensor) -> Tensor:
        """x (B, 1, H, W) in 0 .. levels - 1 -> (B, levels, H, W). Pixel i depends on some of the pixels before it: the
        blind spot is not among them. Raises ValueError on another shape."""
        check_images(x)
        h = self.first(x / (self.config.levels - 1))
        for layer in self.layers:
            h = h + layer(h.relu())
        return self.output(h.relu())

    def log_prob(self, x: Tensor) -> Tensor:
        """log p(x), exact: (B,), nats."""
        return pixel_log_prob(self.logits(x), x)

    @torch.no_grad()
    def sample(self, size: tuple[int, int], n: int | None = None, generator: torch.Generator | None = None,
               noise: Tensor | None = None) -> Tensor:
        """n draws of `size` (H, W), as `GatedPixelCNN.sample`: (n, 1, H, W), 0. .. levels - 1."""
        return sample_cached(self, _uniform(self.output.weight, size, n, generator, noise))


def gate(features: Tensor) -> Tensor:
    """tanh(f) sigmoid(g), the halves of the channels (B, 2C, ...) -> (B, C, ...) (van den Oord 2016, eq. 2)."""
    return _Gate.apply(features)


class _Gate(torch.autograd.Function):
    """The gate with its gradient written out: both halves of it go into one tensor that is there, laid out as what
    comes in. Left to autograd they are made apart and put side by side, and a gradient of the homoencoder's decoder in
    float32 takes a seventh longer. A second derivative there is as well, of what came in."""

    @staticmethod
    def forward(ctx, features: Tensor) -> Tensor:
        f, g = features.chunk(2, 1)
        f, g = (2 * f).sigmoid_().mul_(2).sub_(1), g.sigmoid()  # tanh by way of a sigmoid, which is faster
        ctx.save_for_backward(features, f, g)
        return f * g

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        features, f, g = ctx.saved_tensors
        by_f, by_g = torch.ops.aten.tanh_backward, torch.ops.aten.sigmoid_backward
        if torch.is_grad_enabled():
            f, g = features.chunk(2, 1)
            f, g = f.tanh(), g.sigmoid()
            return torch.cat([by_f(grad * g, f), by_g(grad * f, g)], 1)
        last = grad.dim() == 4 and grad.is_contiguous(memory_format=torch.channels_last)
        both = torch.empty((len(grad), 2 * grad.shape[1], *grad.shape[2:]), dtype=grad.dtype, device=grad.device,
                           memory_format=torch.channels_last if last else torch.contiguous_format)
        into_f, into_g = both.chunk(2, 1)
        by_f.grad_input(grad * g, f, grad_input=into_f)
        by_g.grad_input(grad * f, g, grad_input=into_g)
        return both


class GatedLayer(nn.Module):
    """One layer of both stacks. The first sees the image, without the pixel itself; the others see both stacks."""

    cache = GatedCache

    def __init__(self, config: PixelCNNConfig, index: int):
        super().__init__()
        c, k, given = config.channels, config.first_kernel if index == 0 else config.kernel, config.condition_channels
        self.first, self.last, self.reach = index == 0, index == config.layers - 1, k // 2
        seen, own = (1, 0) if self.first else (c, 1)  # own: a state of this row or pixel knows only what came before
        rows = (self.reach + own, k)
        self.vertical = None if self.last else nn.Conv2d(seen, 2 * c, rows)
        self.across = nn.Conv2d(seen, 2 * c, rows) if self.first or self.last else nn.Conv2d(2 * c, 2 * c, 1)
        self.horizontal = nn.Conv2d(seen, 2 * c, (1, self.reach + own))
        self.out = nn.Conv2d(c, c, 1)
        self.condition_v = nn.Conv2d(given, 2 * c, 1) if given and not self.last else None
        self.condition_h = nn.Conv2d(given, 2 * c, 1) if given else None

    def features(self, v: Tensor, h: Tensor) -> tuple[Tensor | None, Tensor]:
        """Both stacks before condition and gate, (B, 2C, H, W) each: rows < i, and those with the columns < j of row i.

        In the first layer they depend on the image alone. The last has no vertical one.
        """
        if self.first:  # the pixel's own row and column are not to be seen: the image moves one down, one right
            v, h = v[:, :, :-1], h[..., :-1]
        r = self.reach
        rows = F.pad(v, (r, r, r, 0))
        above = None if self.vertical is None else self.vertical(rows)
        before = self.horizontal(F.pad(h, (r, 0)))
        # In this order, since a sum is laid out in memory as its first term: one channel through a kernel of one pixel
        # does not come out with its channels side by side, and all that follows would not either.
        return above, self.across(rows if self.first or self.last else above) + before

    def condition(self, y: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        """What y (B, Cy, H, W) adds to both, None where there is nothing to add."""
        return (None if layer is None else layer(y) for layer in (self.condition_v, self.condition_h))

    def finish(self, above: Tensor | None, before: Tensor, h: Tensor) -> tuple[Tensor | None, Tensor]:
        """Gates and residual, once the condition is added: the next layer's (v, h)."""
        out = self.out(gate(before))
        return None if above is None else gate(above), out if self.first else h + out

    def forward(self, v: Tensor, h: Tensor, y: Tensor | None) -> tuple[Tensor | None, Tensor]:
        above, before = self.features(v, h)
        for_v, for_h = self.condition(y)
        return self.finish(above if for_v is None else above + for_v, before if for_h is None else before + for_h, h)


class GatedPixelCNN(nn.Module):
    """p(x | y), an image of `levels` grey levels given feature maps y of its size (van den Oord et al. 2016).

    >>> model = GatedPixelCNN(PixelCNNConfig(channels=4))
    >>> model.log_prob(torch.zeros(3, 1, 8, 8)).shape
    torch.Size([3])
    """

    def __init__(self, config: PixelCNNConfig | None = None):
        super().__init__()
        self.config = config = config or PixelCNNConfig()
        self.layers = nn.ModuleList(GatedLayer(config, i) for i in range(config.layers))
        self.output = nn.Conv2d(config.channels, config.levels, 1)

    @property
    def sampled(self) -> list[nn.Module]:
        """The layers in the order in which a pixel passes through them."""
        return list(self.layers)

    def scale(self, x: Tensor) -> Tensor:
        """Levels 0 .. levels - 1 -> [0, 1]: what the first layer reads."""
        return x / (self.config.levels - 1)

    def features(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """The horizontal stack's last state, of which the logits are a linear map after a ReLU: (B, C, H, W)."""
        self._check(x, y)
        v = h = self.scale(x)
        for layer in self.layers:
            v, h = layer(v, h, y)
        return h

    def forward(self, x: Tensor, y: Tensor | None = None, output: bool = True) -> Tensor:
        """`logits(x, y)`, or `features(x, y)` without `output`: what `torch.func.functional_call` needs."""
        return self.logits(x, y) if output else self.features(x, y)

    def logits(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """The logits of every pixel's distribution: x (B, 1, H, W) in 0 .. levels - 1 and y (B, Cy, H, W), or
        (B, Cy, 1, 1) for the same everywhere -> (B, levels, H, W). The column at pixel i depends on the pixels before i
        only. Raises ValueError on shapes."""
        return self.output(self.features(x, y).relu())

    def log_prob(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """log p(x | y), exact: (B,), nats."""
        return pixel_log_prob(self.logits(x, y), x)

    @torch.no_grad()
    def sample(self, size: tuple[int, int], n: int | None = None, y: Tensor | None = None,
               generator: torch.Generator | None = None, noise: Tensor | None = None) -> Tensor:
        """Draws of `size` (H, W), n of them or one for each y (n, Cy, H, W): (n, 1, H, W), 0. .. levels - 1.

        The uniform `noise` (n, H, W) is turned into levels by the inverse of each pixel's distribution function, and
        taken from `generator` unless given. Every activation is computed once (`cached_sampling`), in the parameters'
        precision. Raises ValueError where n and shapes do not fit.
        """
        if n is None and noise is None and y is not None:
            n = len(y[0] if isinstance(y, tuple) else y)
        noise = _uniform(self.output.weight, size, n, generator, noise)
        self._check(noise[:, None], y)
        return sample_cached(self, noise, y)

    def _check(self, x: Tensor, y: Tensor | None) -> None:
        check_images(x)
        channels = self.config.condition_channels
        if channels == 0 and y is not None:
            raise ValueError("y was given to a model without a condition; expected None")
        fitting = (len(x), channels, *x.shape[2:]), (len(x), channels, 1, 1)
        if channels and (y is None or y.shape not in fitting):
            found = None if y is None else tuple(y.shape)
            raise ValueError(f"y has shape {found}; expected {fitting[0]}, or {fitting[1]} for the same everywhere")


def _uniform(weight: Tensor, size: tuple[int, int], n: int | None, generator: torch.Generator | None,
             noise: Tensor | None) -> Tensor:
    """The uniform numbers (n, H, W) of a draw, as `weight` is: `noise`, or what the generator gives. Raises ValueError
    where n, size and noise do not fit."""
    if n is None:
        if noise is None:
            raise ValueError("n is None; expected the number of images where there is neither y nor noise")
        n = len(noise)
    shape = (n, *size)
    if len(shape) != 3 or any(not isinstance(side, int) or side < 1 for side in shape):
        raise ValueError(f"n is {n!r} and size {size!r}; expected whole numbers of at least 1, n and (H, W)")
    if noise is None:
        device = generator.device if generator is not None else weight.device
        noise = torch.rand(shape, generator=generator, device=device, dtype=weight.dtype)
    elif noise.shape != shape:
        raise ValueError(f"noise has shape {tuple(noise.shape)}; expected {shape}")
    return noise.to(weight)


def check_images(x: Tensor) -> None:
    """Raises ValueError unless x is (B, 1, H, W)."""
    if x.dim() != 4 or x.shape[1] != 1:
        raise ValueError(f"x has shape {tuple(x.shape)}; expected (B, 1, H, W)")


def pixel_log_prob(logits: Tensor, x: Tensor) -> Tensor:
    """sum_i log p(x_i): logits (B, levels, H, W), x (B, 1, H, W) in 0 .. levels - 1 -> (B,), nats.

    Two levels are the common case, and log softmax of two is a softplus of their difference.
    """
    if logits.shape[1] == 2:
        ahead = (logits[:, 1:] - logits[:, :1]).float() if logits.dtype == torch.bfloat16 \
            else logits[:, 1:] - logits[:, :1]
        return -F.softplus(torch.where(x > 0, -ahead, ahead)).flatten(1).sum(1)
    return -F.cross_entropy(logits, x[:, 0].long(), reduction="none").flatten(1).sum(1)


def pair_log_likelihood(pixelcnn: GatedPixelCNN, x: Tensor, y: Tensor, *, batch: int = 64) -> Tensor:
    """log p(x_q | y_p) of every pair, x (Q, 1, H, W), y (P, Cy, H, W) -> (Q, P), nats.

    What `pixelcnn.log_prob` gives pair by pair. The first layer's convolutions see the images alone, and every layer's
    condition sees y alone: they are computed once an image and once a y.
    """
    first, *others = pixelcnn.layers
    image = pixelcnn.scale(x)
    seen = first.features(image, image)
    rows = []
    for part in y.split(batch):
        given, *given_others = (tuple(layer.condition(part)) for layer in pixelcnn.layers)
        blocks = []
        for at in torch.arange(len(x), device=x.device).split(max(1, batch // len(part))):
            pairs = [None if f is None else (f[at, None] + g).flatten(0, 1) for f, g in zip(seen, given, strict=True)]
            v, h = first.finish(*pairs, None)
            for layer, conditions in zip(others, given_others, strict=True):
                pairs = [None if f is None else (f.unflatten(0, (len(at), -1)) + g).flatten(0, 1)
                         for f, g in zip(layer.features(v, h), conditions, strict=True)]
                v, h = layer.finish(*pairs, h)
            logits = pixelcnn.output(h.relu())
            blocks.append(pixel_log_prob(logits, x[at].repeat_interleave(len(part), 0)).view(len(at), -1))
        rows.append(torch.cat(blocks))
    return torch.cat(rows, 1)
