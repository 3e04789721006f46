r"""Networks that read images, one by one or as sets: what q(c | D) and q(z | c, x) are made of.

A set encoder is a mean over the elements of D between two networks, so that q(c | D) does not change when D is
permuted, and |D| may be any number, one included.

References:
    Hewitt et al. 2018, supplement 6.4.3 (`PooledConvolutions`, `SpatialTransformer`, `TemplateEncoder`).
    Edwards and Storkey 2016, appendix B (`SharedEncoder`, `StatisticNetwork`, `ResidualBlock`).
    Jaderberg et al. 2015, Spatial Transformer Networks.

Where the texts are silent: the supplement's feature maps of 28, 15, 8, 4, 2 and 1 pixels need a padding of 2 in the
first convolution and of 1 in the others, and pooling that keeps what is left over at the edge; Edwards and Storkey
leave open where batch normalisation stands, here before the exponential linear unit.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..distributions import DiagonalGaussian


def channels_last(x: Tensor) -> Tensor:
    """The same images with the channels of a pixel side by side in memory, as convolutions like them best."""
    return x.contiguous(memory_format=torch.channels_last)


def single(x: Tensor) -> Tensor:
    """x in float32 where it came out of a half-precision product: what follows is added up or exponentiated."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


class PooledConvolutions(nn.Sequential):
    """Five blocks of 3x3 convolution, 2x2 max-pooling, ReLU and batch norm (supplement 6.4.3), then flat.

    (B, 1, 28, 28) -> (B, channels). Other sizes end in more than one pixel: `features(size)` says how many numbers.
    """

    def __init__(self, channels: int):
        blocks: list[nn.Module] = []
        for i in range(5):
            blocks += [nn.Conv2d(1 if i == 0 else channels, channels, 3, padding=2 if i == 0 else 1),
                       nn.MaxPool2d(2, ceil_mode=True), nn.ReLU(), nn.BatchNorm2d(channels)]
        super().__init__(*blocks, nn.Flatten())
        self.channels = channels

    def features(self, size: int) -> int:
        """The numbers that come out for a square image of `size` pixels."""
        side = size + 2
        for _ in range(5):
            side = -(-side // 2)
        return self.channels * side**2


class SpatialTransformer(nn.Module):
    """Any image through an affine map of six numbers, bilinearly (Jaderberg et al. 2015).

    `matrix` maps coordinates of the result to those of the image, both in [-1, 1]; its six numbers come from a linear
    layer, whose bias starts at the identity and whose weights start small. What lies outside the image is zero.
    """

    def __init__(self, inputs: int):
        super().__init__()
        self.affine = nn.Linear(inputs, 6)
        nn.init.normal_(self.affine.weight, std=0.01)
        self.affine.bias.data.copy_(torch.tensor([1.0, 0, 0, 0, 1, 0]))

    def matrix(self, features: Tensor) -> Tensor:
        """(B, inputs) -> (B, 2, 3)."""
        return self.affine(features).unflatten(-1, (2, 3))

    def forward(self, image: Tensor, features: Tensor) -> Tensor:
        """`image` (B, C, H, W) seen through the map that `features` (B, inputs) give -> (B, C, H, W)."""
        grid = F.affine_grid(self.matrix(features), list(image.shape), align_corners=False)
        return F.grid_sample(image, grid, align_corners=False)


class TemplateEncoder(nn.Module):
    r"""q(c | D) of the PixelCNN homoencoder: c is an image of `latent` channels (supplement 6.4.3).

    $$\mu, \log \sigma^2 = W * \frac{1}{|D|} \sum_{d \in D} \mathrm{STN}_q(d)$$

    Each drawing is brought into place by its own affine map, the drawings are averaged, and one convolution with a
    kernel as large as the image gives both parameters: (B, N, 1, S, S) -> Gaussian over (B, latent * S * S).

    The kernel starts as a point (each channel a multiple of the average drawing) beside its usual small random
    numbers, with sigma about a third: started all random, c is noise for a long time.
    """

    def __init__(self, latent: int, size: int):
        super().__init__()
        self.latent, self.size = latent, size
        self.look = PooledConvolutions(16)
        self.place = SpatialTransformer(self.look.features(size))
        self.convolution = nn.Conv2d(1, 2 * latent, size)
        centre = (size - 1) // 2
        with torch.no_grad():
            self.convolution.weight[:latent, 0, centre, centre] += torch.linspace(-2, 2, latent)
            self.convolution.bias[latent:] = -2.0

    def average(self, support: Tensor) -> Tensor:
        """The mean of the placed drawings: (B, N, 1, S, S) -> (B, 1, S, S)."""
        drawings = support.flatten(0, 1)
        placed = self.place(drawings, self.look(drawings))
        return single(placed).unflatten(0, support.shape[:2]).mean(1)

    def forward(self, support: Tensor) -> DiagonalGaussian:
        parameters = same_convolution(self.average(support), self.convolution.weight)
        parameters = parameters + self.convolution.bias[:, None, None]
        mean, log_var = parameters.flatten(2).chunk(2, 1)  # (B, latent, S * S) each
        return DiagonalGaussian(mean.flatten(1), 0.5 * log_var.flatten(1))


def same_convolution(image: Tensor, kernel: Tensor) -> Tensor:
    """`image` (B, 1, S, S) convolved with `kernel` (C, 1, K, K) -> (B, C, S, S), zeros beyond the edge.

    The kernel's centre is its element (K - 1) // 2. By Fourier transform: for kernels as large as the image that is
    twenty times faster than a convolution's backward pass, and the same to the last digits.
    """
    size, k = image.shape[-1], kernel.shape[-1]
    low = (k - 1) // 2
    n = size + k - 1
    product = torch.fft.rfft2(image, (n, n)) * torch.fft.rfft2(kernel[:, 0], (n, n)).conj()  # a correlation, as torch's
    wide = torch.fft.irfft2(product, (n, n))  # element p of it belongs to the kernel's corner at p
    return wide.roll((low, low), (-2, -1))[..., :size, :size]


class ResidualBlock(nn.Module):
    """x + f(x), f three fully connected layers of `width` with an exponential linear unit each: (B, width)."""

    def __init__(self, width: int = 256, layers: int = 3):
        super().__init__()
        self.layers = nn.Sequential(*[m for _ in range(layers) for m in (nn.Linear(width, width), nn.ELU())])

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


def convolution(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """3x3 convolution, batch norm, exponential linear unit."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, padding=1), nn.BatchNorm2d(outputs), nn.ELU())


class SharedEncoder(nn.Sequential):
    """h(x), which q(c | D) and q(z | c, x) share (Edwards and Storkey 2016, appendix B.2, Omniglot).

    3x3 convolutions of 64, 64, 64/2, 128, 128, 128/2, 256, 256, 256/2 channels: (B, 1, 28, 28) -> (B, 256, 4, 4), flat.
    """

    def __init__(self, widths: tuple[int, ...] = (64, 128, 256)):
        layers, before = [], 1
        for width in widths:
            layers += [convolution(before, width), convolution(width, width), convolution(width, width, stride=2)]
            before = width
        super().__init__(*layers, nn.Flatten())


class StatisticNetwork(nn.Module):
    """q(c | D) from the elements' h: 256 units, the mean over D, 256, 256, and the parameters of a Gaussian.

    h (B, N, features) -> Gaussian over (B, latent) (Edwards and Storkey 2016, appendix B.2).
    """

    def __init__(self, features: int, latent: int = 512, width: int = 256):
        super().__init__()
        self.before = nn.Sequential(nn.Linear(features, width), nn.ELU())
        self.after = nn.Sequential(nn.Linear(width, width), nn.ELU(), nn.Linear(width, width), nn.ELU())
        self.output = nn.Linear(width, 2 * latent)

    def forward(self, h: Tensor) -> DiagonalGaussian:
        mean, log_var = single(self.output(self.after(self.before(h).mean(1)))).chunk(2, -1)
        return DiagonalGaussian(mean, 0.5 * log_var)
