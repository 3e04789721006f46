r"""The Variational Homoencoder: one latent c for all the drawings of a character.

Reference: Hewitt, Nye, Gane, Jaakkola, Tenenbaum 2018, The Variational Homoencoder, and its supplement, 6.4; the
deconvolutional network is that of Edwards and Storkey 2016, appendix B.2. Equation numbers are Hewitt's.

    c ~ p(c)                        once a class
    z ~ p(z | c),  x ~ p(x | c, z)  once an element                                    (7)
    q(c | D), q(z | c, x)           inferred from a few elements D, and from x itself  (16)

Every model here has the same methods, and so have the one-dimensional families of `families_1d`:
`posterior(support)`, `class_prior(c)`, `class_kl(q, c)`, `terms(x, support, set_size)`, `element_log_weights(x, c, k)`,
`sample_class(n)`, `sample_from(c)`, and those of every model (`oneshot_lib.models`). c is flat, (B, Dc).

Where the supplement is silent:
- q(z | c, x) of the PixelCNN network looks at x only (its Q(T; X)); its element latent is called z here, t there.
- "PixelCNN is gated by y": the gates of `oneshot_lib.models.pixelcnn`, conditioned on y in both stacks.
- A ReLU stands behind each of the prior's two masked convolutions; the first has mask A, the second mask B.
- The deconvolutional network's 4x4 maps double to 8x8 and lose their last row and column, which gives 7, 14 and 28.
- Variances are kept between e^-10 and e^10.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..distributions import Bernoulli, DiagonalGaussian
from ..objectives import SetBound, set_bound
from .pixelcnn import GatedPixelCNN, MaskedConv2d, PixelCNNConfig, pair_log_likelihood
from .set_encoders import (
    PooledConvolutions,
    ResidualBlock,
    SharedEncoder,
    SpatialTransformer,
    StatisticNetwork,
    TemplateEncoder,
    channels_last,
    convolution,
    single,
)


@dataclass(frozen=True)
class PixelCNNHomoencoderConfig:
    """Supplement 6.4.3: c is 8x28x28, the element latent has 16 dimensions. Raises ValueError on sizes below 1.

    `element_latent` 0 leaves out the affine map of every drawing, and q(z | x) with it: not the paper's network.
    """

    image_size: int = 28
    class_channels: int = 8
    element_latent: int = 16
    channels: int = 64
    decoder_layers: int = 5
    pixelcnn_layers: int = 2

    def __post_init__(self):
        for name in ("image_size", "class_channels", "channels", "decoder_layers", "pixelcnn_layers"):
            _check_size(name, getattr(self, name), 1)
        _check_size("element_latent", self.element_latent, 0)


@dataclass(frozen=True)
class DeconvolutionalConfig:
    """Edwards and Storkey 2016, appendix B.2: c has 512 dimensions, z 16. Raises ValueError on sizes below 1."""

    class_latent: int = 512
    element_latent: int = 16
    width: int = 256

    def __post_init__(self):
        for name in ("class_latent", "element_latent", "width"):
            _check_size(name, getattr(self, name), 1)

    @property
    def image_size(self) -> int:
        return 28


class ClassPrior(nn.Module):
    r"""p(c), a PixelCNN over the places of c: all channels of a place at once, given the places before it
    (supplement 6.4.3).

    $$p(c) = \prod_i \mathcal{N}(c_i \mid \mu(c_{<i}), \sigma^2(c_{<i})),\quad c_i \in \mathbb{R}^8$$

    Two masked 64x3x3 convolutions, ReLU, and 1x1 convolutions to mean and log-variance.
    """

    def __init__(self, latent: int, channels: int = 64):
        super().__init__()
        self.first, self.second = MaskedConv2d("A", latent, channels, 3), MaskedConv2d("B", channels, channels, 3)
        self.output = nn.Conv2d(channels, 2 * latent, 1)

    def forward(self, c: Tensor) -> DiagonalGaussian:
        """c (B, latent, S, S) -> each place's Gaussian given the places before it, flat: (B, latent * S * S)."""
        mean, log_var = single(self.output(self.second(self.first(c).relu()).relu())).chunk(2, 1)
        return gaussian(mean.flatten(1), log_var.flatten(1))

    @torch.no_grad()
    def sample(self, noise: Tensor) -> Tensor:
        """c from standard normal noise (B, latent, S, S), place by place: the first layer's maps are kept, so that a
        place costs two products of its neighbourhood."""
        c, (rows, columns) = F.pad(torch.zeros_like(noise), (1, 1, 1, 1)), noise.shape[2:]
        hidden = F.pad(noise.new_zeros(len(noise), self.first.out_channels, rows, columns), (1, 1, 1, 1))
        one, two = ((layer.weight * layer.mask).flatten(1).T for layer in (self.first, self.second))
        last = self.output.weight.flatten(1).T
        for i in range(rows):
            for j in range(columns):
                near = c[:, :, i:i + 3, j:j + 3].flatten(1)
                hidden[:, :, i + 1, j + 1] = (near @ one + self.first.bias).relu()
                near = hidden[:, :, i:i + 3, j:j + 3].flatten(1)
                mean, log_var = ((near @ two + self.second.bias).relu() @ last + self.output.bias).chunk(2, 1)
                c[:, :, i + 1, j + 1] = gaussian(mean, log_var).sample(noise[:, :, i, j])
        return c[:, :, 1:-1, 1:-1]


class Homoencoder(nn.Module):
    """What both networks share: the order in which the terms of eq. 16 are computed, and who draws what.

    `product_dtype` is what convolutions and products of training run in; parameters, draws and terms are float32.
    """

    tractable = False  # p(x | D) is an expectation over c
    class_size: int  # numbers in c
    element_size: int  # numbers in z, 0 where there is none

    def __init__(self):
        super().__init__()
        self.product_dtype = torch.float32

    def terms(self, x: Tensor, support: Tensor, set_size: Tensor, generator: torch.Generator | None = None,
              rescale: bool = True) -> SetBound:
        """The terms of eq. 16 at one draw of c and z: (G r,) each, nats.

        x (G r, 1, S, S), support (G, N, 1, S, S), set_size (G,) = |X|: support k serves the r elements
        x[k r : (k + 1) r], which share one draw of c; in algorithm 1 r is 1. With `rescale=False` the price of c is
        divided by |D| = N. Raises ValueError on shapes that do not fit.
        """
        if support.dim() != 5 or len(x) % len(support) or support.shape[2:] != x.shape[1:]:
            raise ValueError(f"support has shape {tuple(support.shape)} and x {tuple(x.shape)}; "
                             "expected (G, N, 1, S, S) and (G r, 1, S, S)")
        each = len(x) // len(support)
        with self._products(x):
            q = self.posterior(support)
            c = q.sample(self._noise(len(support), self.class_size, x, generator))
            kl_class = self.class_kl(q, c)
            log_likelihood, kl_element = self.element_terms(x, c.repeat_interleave(each, 0), generator)
        kl_class, set_size = (term.to(x.device).repeat_interleave(each) for term in (kl_class, set_size))
        return set_bound(log_likelihood, kl_class, set_size, support.shape[1], kl_element=kl_element, rescale=rescale)

    def element_terms(self, x: Tensor, c: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """log p(x | c, z) at one draw of z, and KL(q(z | c, x) || p(z | c)): (B,) each, nats."""
        if not self.element_size:
            return self.log_likelihood(x, c, None), torch.zeros(len(x), device=x.device)
        q = self.element_posterior(x, c)
        z = q.sample(self._noise(len(x), self.element_size, x, generator))
        return self.log_likelihood(x, c, z), q.kl(self.element_prior(c))

    @torch.no_grad()
    def element_log_weights(self, x: Tensor, c: Tensor, k: int = 10,
                            generator: torch.Generator | None = None) -> Tensor:
        """log p(x, z | c) - log q(z | c, x) for k draws of z: (k, B), nats. Without z one row, log p(x | c) itself.

        `importance_weighted_bound` of it estimates log p(x | c), the inner integral of supplement 6.4.1.
        """
        with self._products(x):
            if not self.element_size:
                return self.log_likelihood(x, c, None)[None]
            q, p, rows = self.element_posterior(x, c), self.element_prior(c), []
            for _ in range(k):
                z = q.sample(self._noise(len(x), self.element_size, x, generator))
                rows.append(self.log_likelihood(x, c, z) + p.log_prob(z) - q.log_prob(z))
        return torch.stack(rows)

    def element_prior(self, c: Tensor) -> DiagonalGaussian:
        """p(z | c): standard normal, unless the network has another."""
        zero = c.new_zeros(len(c), self.element_size)
        return DiagonalGaussian(zero, zero)

    def class_prior(self, c: Tensor) -> DiagonalGaussian:
        """p(c), each part of c (B, Dc) given the parts before it: standard normal, unless the network has another."""
        return DiagonalGaussian(torch.zeros_like(c), torch.zeros_like(c))

    @torch.no_grad()
    def pair_log_likelihood(self, x: Tensor, c: Tensor, batch: int = 64) -> Tensor:
        """log p(x_q | c_s) of every pair, where an element has no z: x (Q, 1, S, S), c (S, Dc) -> (Q, S), nats."""
        pairs = torch.cartesian_prod(*(torch.arange(len(part), device=x.device) for part in (x, c)))
        terms = [self.log_likelihood(x[q], c[s], None) for q, s in (part.T for part in pairs.split(batch))]
        return torch.cat(terms).view(len(x), len(c))

    @torch.no_grad()
    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """An element of each of n new classes: zeros and ones, (n, 1, S, S)."""
        return self.sample_from(self.sample_class(n, generator), generator)

    @torch.no_grad()
    def draw_like(self, support: Tensor | Sequence[Tensor], n: int, generator: torch.Generator | None = None,
                  batch: int | None = None) -> Tensor:
        """n new elements of the class of each support D, n times c ~ q(c | D) and x ~ p(x | c): (G, n, 1, S, S).

        support (G, N, 1, S, S), or a sequence of (N, 1, S, S) of unlike sizes. `batch` elements are drawn at a time, or
        all at once.
        """
        if isinstance(support, Tensor):
            q = self.posterior(support)
            q = DiagonalGaussian(q.mean.repeat_interleave(n, 0), q.log_sigma.repeat_interleave(n, 0))
            c = q.sample(self._noise(*q.mean.shape, q.mean, generator))
        else:
            each = [self.posterior(elements[None]) for elements in support]
            c = torch.cat([q.sample(self._noise(n, q.mean.shape[1], q.mean, generator)) for q in each])
        drawn = torch.cat([self.sample_from(part, generator) for part in c.split(batch or len(c))])
        return drawn.unflatten(0, (len(support), n))

    @torch.no_grad()
    def sample_from(self, c: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """A new element of each class c (B, Dc): zeros and ones, (B, 1, S, S)."""
        z = None
        if self.element_size:
            z = self.element_prior(c).sample(self._noise(len(c), self.element_size, c, generator))
        return self.sample_element(c, z, generator)

    def _products(self, x: Tensor):
        return torch.autocast(x.device.type, self.product_dtype, enabled=self.product_dtype != torch.float32)

    def _noise(self, n: int, size: int, like: Tensor, generator: torch.Generator | None) -> Tensor:
        device = generator.device if generator is not None else like.device
        dtype = torch.float64 if like.dtype == torch.float64 else torch.float32
        return torch.randn(n, size, generator=generator, device=device, dtype=dtype).to(like.device)


class PixelCNNHomoencoder(Homoencoder):
    """The hierarchical PixelCNN of supplement 6.4.3: a template c, an affine map of it for every drawing, a PixelCNN.

    >>> model = PixelCNNHomoencoder(PixelCNNHomoencoderConfig(channels=4))
    >>> x, support = torch.zeros(2, 1, 28, 28), torch.zeros(2, 3, 1, 28, 28)
    >>> model.terms(x, support, torch.tensor([20, 20])).bound.shape
    torch.Size([2])
    """

    def __init__(self, config: PixelCNNHomoencoderConfig | None = None):
        super().__init__()
        self.config = config = config or PixelCNNHomoencoderConfig()
        self.image_size = size = config.image_size
        self.class_size, self.element_size = config.class_channels * size**2, config.element_latent
        # inference: q(c | D) and q(z | x)
        self.encoder = TemplateEncoder(config.class_channels, size)
        if config.element_latent:
            self.look = PooledConvolutions(32)
            self.element = nn.Linear(self.look.features(size), 2 * config.element_latent)
            self.place = SpatialTransformer(config.element_latent)
        # generation: p(c) and p(x | c, z)
        self.prior = ClassPrior(config.class_channels, config.channels)
        layers: list[nn.Module] = []
        for i in range(config.decoder_layers):
            layers += [nn.Conv2d(config.class_channels if i == 0 else config.channels, config.channels, 3, padding=1),
                       nn.ReLU(), nn.BatchNorm2d(config.channels)]
        self.decoder = nn.Sequential(*layers)
        self.pixelcnn = GatedPixelCNN(PixelCNNConfig(channels=config.channels, layers=config.pixelcnn_layers,
                                                     condition_channels=config.channels))
        self.to(memory_format=torch.channels_last)

    def template(self, c: Tensor) -> Tensor:
        """c (B, Dc) as the image that it is: (B, class_channels, S, S)."""
        return c.unflatten(1, (self.config.class_channels, self.image_size, self.image_size))

    def posterior(self, support: Tensor) -> DiagonalGaussian:
        """q(c | D): support (B, N, 1, S, S) -> Gaussian over (B, Dc)."""
        q = self.encoder(support)
        return gaussian(q.mean, 2 * q.log_sigma)

    def class_prior(self, c: Tensor) -> DiagonalGaussian:
        """p(c), each place given the places before it: over (B, Dc)."""
        return self.prior(self.template(c))

    def class_kl(self, q: DiagonalGaussian, c: Tensor) -> Tensor:
        """KL(q(c | D) || p(c)) at one draw c of q: (B,), nats. Each place's divergence is taken in closed form, given
        the draws at the places before it, so the estimate is unbiased."""
        return q.kl(self.prior(channels_last(self.template(c))))

    def element_features(self, x: Tensor) -> Tensor:
        """What q(z | x) sees of x, whatever the class: (B, features)."""
        return self.look(x)

    def element_posterior(self, x: Tensor, c: Tensor | None = None, seen: Tensor | None = None) -> DiagonalGaussian:
        """q(z | x): (B, element_latent); `seen` is `element_features(x)` where that is known."""
        seen = self.element_features(x) if seen is None else seen
        return gaussian(*single(self.element(seen)).chunk(2, 1))

    def features(self, c: Tensor, z: Tensor | None) -> Tensor:
        """y, what the PixelCNN is conditioned on: c (B, Dc), z (B, element_latent) or None -> (B, channels, S, S)."""
        template = self.template(c)
        if z is not None:
            template = self.place(template, z)
        return self.decoder(channels_last(template))

    def log_likelihood(self, x: Tensor, c: Tensor, z: Tensor | None) -> Tensor:
        """log p(x | c, z): (B,), nats."""
        return self.pixelcnn.log_prob(x, self.features(c, z))

    @torch.no_grad()
    def pair_log_likelihood(self, x: Tensor, c: Tensor, batch: int = 64) -> Tensor:
        """As `Homoencoder.pair_log_likelihood`: what the image and what the class decide is computed once for each."""
        return pair_log_likelihood(self.pixelcnn, x, self.features(c, None), batch=batch)

    def sample_class(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """n class latents from p(c): (n, Dc)."""
        noise = self._noise(n, self.class_size, self.prior.output.weight, generator)
        return self.prior.sample(self.template(noise)).flatten(1)

    def sample_element(self, c: Tensor, z: Tensor | None, generator: torch.Generator | None = None) -> Tensor:
        """x given c and z, pixel by pixel: zeros and ones, (B, 1, S, S)."""
        return self.pixelcnn.sample((self.image_size, self.image_size), y=self.features(c, z), generator=generator)


class DeconvolutionalHomoencoder(Homoencoder):
    """The deconvolutional network: Edwards and Storkey's, with any of the four objectives.

    >>> model = DeconvolutionalHomoencoder(DeconvolutionalConfig(class_latent=8, width=16))
    >>> model.sample(2).shape
    torch.Size([2, 1, 28, 28])
    """

    image_size = 28

    def __init__(self, config: DeconvolutionalConfig | None = None):
        super().__init__()
        self.config = config = config or DeconvolutionalConfig()
        self.class_size, self.element_size, width = config.class_latent, config.element_latent, config.width
        maps = 256 * 4 * 4
        # inference
        self.shared = SharedEncoder()
        self.statistic = StatisticNetwork(maps, config.class_latent, width)
        self.element_h, self.element_c = nn.Linear(maps, width), nn.Linear(config.class_latent, width)
        self.element_block = ResidualBlock(width)
        self.element_output = nn.Linear(width, 2 * config.element_latent)
        # generation
        self.prior_c, self.prior_block = nn.Linear(config.class_latent, width), ResidualBlock(width)
        self.prior_output = nn.Linear(width, 2 * config.element_latent)
        self.decode_c = nn.Linear(config.class_latent, width)
        self.decode_z = nn.Linear(config.element_latent, width)
        self.decode_block = ResidualBlock(width)
        self.decode_maps = nn.Sequential(nn.Linear(width, maps), nn.ELU(), nn.Unflatten(1, (256, 4, 4)))
        self.decoder = nn.ModuleList(self._upwards(before, channels) for before, channels in
                                     ((256, 256), (256, 128), (128, 64)))
        self.output = nn.Conv2d(64, 1, 1)
        nn.init.constant_(self.output.bias, -2.5)  # blank paper: one pixel in thirteen inked
        for layer in (self.element_output, self.prior_output):
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)
        self.to(memory_format=torch.channels_last)

    @staticmethod
    def _upwards(before: int, channels: int) -> nn.Sequential:
        """Two convolutions and a transposed one that doubles the size: the encoder's stage, mirrored."""
        return nn.Sequential(convolution(before, channels), convolution(channels, channels),
                             nn.ConvTranspose2d(channels, channels, 2, 2), nn.BatchNorm2d(channels), nn.ELU())

    def posterior(self, support: Tensor) -> DiagonalGaussian:
        """q(c | D): support (B, N, 1, 28, 28) -> Gaussian over (B, class_latent)."""
        h = self.shared(channels_last(support.flatten(0, 1))).unflatten(0, support.shape[:2])
        q = self.statistic(h)
        return gaussian(q.mean, 2 * q.log_sigma)

    def class_kl(self, q: DiagonalGaussian, c: Tensor) -> Tensor:
        """KL(q(c | D) || N(0, I)): (B,), nats, in closed form."""
        return q.kl()

    def element_features(self, x: Tensor) -> Tensor:
        """What q(z | c, x) sees of x, whatever the class: (B, width)."""
        return self.element_h(self.shared(channels_last(x)))

    def element_posterior(self, x: Tensor, c: Tensor, seen: Tensor | None = None) -> DiagonalGaussian:
        """q(z | c, x): (B, element_latent); `seen` is `element_features(x)` where that is known."""
        hidden = F.elu((self.element_features(x) if seen is None else seen) + self.element_c(c))
        return gaussian(*single(self.element_output(self.element_block(hidden))).chunk(2, 1))

    def element_prior(self, c: Tensor) -> DiagonalGaussian:
        """p(z | c): (B, element_latent)."""
        return gaussian(*single(self.prior_output(self.prior_block(F.elu(self.prior_c(c))))).chunk(2, 1))

    def likelihood(self, c: Tensor, z: Tensor) -> Bernoulli:
        """p(x | c, z), independent pixels: Bernoulli over (B, 1, 28, 28)."""
        maps = self.decode_maps(self.decode_block(F.elu(self.decode_c(c) + self.decode_z(z))))  # (B, 256, 4, 4)
        for i, stage in enumerate(self.decoder):
            maps = stage(channels_last(maps))
            if i == 0:
                maps = maps[..., :7, :7]
        return Bernoulli(single(self.output(maps)))

    def log_likelihood(self, x: Tensor, c: Tensor, z: Tensor) -> Tensor:
        """log p(x | c, z): (B,), nats."""
        return self.likelihood(c, z).log_prob(x)

    def sample_class(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """n class latents from p(c): (n, class_latent)."""
        return self._noise(n, self.class_size, self.output.weight, generator)

    def sample_element(self, c: Tensor, z: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """x given c and z: zeros and ones, (B, 1, 28, 28)."""
        return self.likelihood(c, z).sample(generator)


def gaussian(mean: Tensor, log_var: Tensor) -> DiagonalGaussian:
    """A Gaussian by mean and log-variance, the latter kept within [-10, 10]."""
    return DiagonalGaussian(mean, 0.5 * log_var.clamp(-10, 10))


def _check_size(name: str, value, least: int) -> None:
    if not isinstance(value, int) or value < least:
        raise ValueError(f"{name} is {value!r}; expected a whole number of at least {least}")
