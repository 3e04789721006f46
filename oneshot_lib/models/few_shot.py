r"""Few-shot density estimation: the distribution of a new drawing, given a support set of a few.

References:
    Reed et al. 2018, Few-shot Autoregressive Density Estimation.
    van den Oord et al. 2016, Conditional Image Generation with PixelCNN Decoders, eq. 4 and 5.

    log p(x | s) = sum_i log p(x_i | x_<i, f_i(s))          exact, in nats; over 676 pixels of 26x26, nats/dim

The models differ in what they make of the support set s = {s_1, ..., s_N}:

    unconditional   nothing: the mark that the others must beat
    conditional     f(s), of the mean of the elements' features: one code for all the support and all the pixels, in
                    every gate
    attention       f_i(s) read from the support by attention, anew at every pixel (`attention_pixelcnn`)
    meta            nothing, but the weights have made a gradient step on s (`meta_pixelcnn`)

Each has `logits(x, support)`, `log_prob(x, support)`, `draw_like(support, n)`, `class_log_scores(support, query)`.

Where the slides are silent: f is the homoencoder's five pooled convolutions and two linear layers after the mean. With
`code_map` the code is mapped onto the page first, each place having its own linear map of it: eq. 5 of van den Oord,
instead of eq. 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn

from .pixelcnn import GatedPixelCNN, PixelCNNConfig, pair_log_likelihood, pixel_log_prob
from .set_encoders import PooledConvolutions, channels_last, single


@dataclass(frozen=True)
class FewShotConfig:
    """What all the models share, the gated PixelCNN under them. Raises ValueError on sizes that can't be."""

    image_size: int = 26
    levels: int = 2
    channels: int = 32
    layers: int = 8
    kernel: int = 3
    first_kernel: int = 7

    def __post_init__(self):
        check_size("image_size", self.image_size)
        self.pixelcnn()

    def pixelcnn(self, condition_channels: int = 0) -> PixelCNNConfig:
        """The configuration of the network under the model."""
        shared = {f.name: getattr(self, f.name) for f in fields(PixelCNNConfig) if hasattr(self, f.name)}
        return PixelCNNConfig(**shared | {"condition_channels": condition_channels})


@dataclass(frozen=True)
class ConditionalConfig(FewShotConfig):
    """`code` numbers say all that is known of the support; `encoder_channels` is the width of the network f.

    `code_map` 0 shows the same code to every pixel; above 0 the code is mapped onto so many channels of a page.
    """

    code: int = 64
    encoder_channels: int = 64
    code_map: int = 0

    def __post_init__(self):
        super().__post_init__()
        check_size("code", self.code)
        check_size("encoder_channels", self.encoder_channels)
        check_size("code_map", self.code_map, 0)


class FewShotPixelCNN(nn.Module):
    """What the models share. Support k serves the r images x[k r : (k + 1) r]: x (G r, 1, H, W), support
    (G, N, 1, H, W), any N of at least 1.

    `product_dtype` is what convolutions and products of training run in; parameters and terms are float32.
    """

    tractable = True  # log p(x | s) is what `log_prob` gives
    pixelcnn: GatedPixelCNN

    def __init__(self):
        super().__init__()
        self.product_dtype = torch.float32

    @property
    def image_size(self) -> int:
        return self.config.image_size

    def logits(self, x: Tensor, support: Tensor) -> Tensor:
        """The logits of every pixel's levels: (G r, levels, H, W). At pixel i, of the pixels before i only."""
        raise NotImplementedError

    def log_prob(self, x: Tensor, support: Tensor) -> Tensor:
        """log p(x | s), exact: (G r,), nats. Raises ValueError on shapes that do not fit."""
        check_support(x, support)
        x = channels_last(x)
        with torch.autocast(x.device.type, self.product_dtype, enabled=self.product_dtype != torch.float32):
            logits = self.logits(x, support)
        return pixel_log_prob(single(logits), x)

    def draw_like(self, support: Tensor | Sequence[Tensor], n: int = 1, generator: torch.Generator | None = None,
                  noise: Tensor | None = None, batch: int | None = None, **how) -> Tensor:
        """n new drawings for each of the G support sets: (G, n, 1, H, W), 0. .. levels - 1.

        support (G, N, 1, H, W), or a sequence of (N, 1, H, W) of unlike sizes, which are drawn for one after the other,
        `batch` drawings at a time. The uniform `noise` (G n, H, W) is taken from `generator` unless given; `how` goes
        to the model's own drawing. Raises ValueError on shapes.
        """
        if isinstance(support, Tensor):
            check_draws(support, n, noise)
            return self._drawn(support, n, generator, noise, **how).unflatten(0, (len(support), n))
        parts = [self.draw_like(elements[None], min(batch or n, n - start), generator, **how)
                 for elements in support for start in range(0, n, batch or n)]
        return torch.cat(parts, 1).unflatten(1, (len(support), n))[0]

    def _drawn(self, support: Tensor, each: int, generator: torch.Generator | None, noise: Tensor | None) -> Tensor:
        """`each` drawings a set, set by set: (G each, 1, H, W)."""
        raise NotImplementedError

    @torch.no_grad()
    def class_log_scores(self, support: Tensor, query: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """log p(x_q | D_k): support (K, N, 1, H, W), query (Q, 1, H, W) -> (Q, K), nats. Nothing is drawn.

        Raises ValueError on shapes that do not fit.
        """
        check_support(query, support, pairs=True)
        return torch.stack([self.log_prob(query, each[None]) for each in support], 1)


class UnconditionalPixelCNN(FewShotPixelCNN):
    """The gated PixelCNN, whatever the support: p(x | s) = p(x)."""

    def __init__(self, config: FewShotConfig | None = None):
        super().__init__()
        self.config = config = config or FewShotConfig()
        self.pixelcnn = GatedPixelCNN(config.pixelcnn())
        self.to(memory_format=torch.channels_last)

    def logits(self, x: Tensor, support: Tensor | None = None) -> Tensor:
        """(B, levels, H, W); the support is not looked at."""
        return self.pixelcnn.logits(x)

    def sample(self, n: int, generator: torch.Generator | None = None, noise: Tensor | None = None) -> Tensor:
        """n drawings of nothing in particular: (n, 1, H, W), 0. .. levels - 1."""
        return self.pixelcnn.sample((self.image_size,) * 2, n, generator=generator, noise=noise)

    def _drawn(self, support: Tensor, each: int, generator: torch.Generator | None, noise: Tensor | None) -> Tensor:
        """Of the support, only how many sets there are, and how large."""
        return self.pixelcnn.sample(tuple(support.shape[-2:]), len(support) * each, generator=generator, noise=noise)


class ConditionalPixelCNN(FewShotPixelCNN):
    """One code h = f(s) in every gate: y = tanh(W_f * x + V_f h) sigmoid(W_g * x + V_g h) (van den Oord 2016).

    >>> model = ConditionalPixelCNN(ConditionalConfig(channels=4, layers=2)).eval()
    >>> model.log_prob(torch.zeros(6, 1, 26, 26), torch.zeros(2, 5, 1, 26, 26)).shape
    torch.Size([6])
    """

    def __init__(self, config: ConditionalConfig | None = None):
        super().__init__()
        self.config = config = config or ConditionalConfig()
        self.encoder = PooledConvolutions(config.encoder_channels)
        self.code = nn.Sequential(nn.Linear(self.encoder.features(config.image_size), 2 * config.code), nn.ReLU(),
                                  nn.Linear(2 * config.code, config.code))
        self.page = nn.Linear(config.code, config.code_map * config.image_size**2) if config.code_map else None
        self.pixelcnn = GatedPixelCNN(config.pixelcnn(config.code_map or config.code))
        self.to(memory_format=torch.channels_last)

    def support_code(self, support: Tensor) -> Tensor:
        """h = f(s): (G, N, 1, H, W) -> (G, code). It does not change when the support is permuted.
        Raises ValueError on images of a size that leaves another number of features."""
        features = self.encoder(channels_last(support.flatten(0, 1) / (self.config.levels - 1)))  # (G N, F)
        if features.shape[1] != self.code[0].in_features:
            found, side = "x".join(str(size) for size in support.shape[-2:]), self.image_size
            raise ValueError(f"support has images of {found}; expected the model's {side}x{side}")
        return self.code(features.unflatten(0, support.shape[:2]).mean(1))

    def condition(self, support: Tensor) -> Tensor:
        """What every gate is given: (G, code, 1, 1), or mapped onto the page (G, code_map, H, W)."""
        h = self.support_code(support)
        if self.page is None:
            return h[:, :, None, None]
        return channels_last(self.page(h).unflatten(1, (-1, self.image_size, self.image_size)).relu())

    def logits(self, x: Tensor, support: Tensor) -> Tensor:
        """(G r, levels, H, W): at pixel i, of the pixels before i and of the code."""
        return self.pixelcnn.logits(x, self.condition(support).repeat_interleave(len(x) // len(support), 0))

    @torch.no_grad()
    def _drawn(self, support: Tensor, each: int, generator: torch.Generator | None, noise: Tensor | None) -> Tensor:
        y = self.condition(support).repeat_interleave(each, 0)
        return self.pixelcnn.sample(tuple(support.shape[-2:]), y=y, generator=generator, noise=noise)

    @torch.no_grad()
    def class_log_scores(self, support: Tensor, query: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """log p(x_q | D_k): (Q, K), nats; what the images and the codes have apart is computed once for each."""
        check_support(query, support, pairs=True)
        return pair_log_likelihood(self.pixelcnn, query, self.condition(support))


def check_support(x: Tensor, support: Tensor, pairs: bool = False) -> None:
    """Raises ValueError unless x is (G r, 1, H, W) and support (G, N, 1, H, W) with N of at least 1; of `pairs`, x may
    be any number."""
    if support.dim() != 5 or not support.shape[1] or not len(support) or (len(x) % len(support) and not pairs) \
            or support.shape[2] != 1 or support.shape[2:] != x.shape[1:]:
        raise ValueError(f"support has shape {tuple(support.shape)} and x {tuple(x.shape)}; expected (G, N, 1, H, W) "
                         f"with at least one image each, and ({'Q' if pairs else 'G r'}, 1, H, W)")


def check_draws(support: Tensor, each: int, noise: Tensor | None) -> None:
    """Raises ValueError unless support is (G, N, 1, H, W), G and N at least 1, and noise (G each, H, W) if given."""
    check_size("each", each)
    if support.dim() != 5 or not support.shape[:2].numel() or support.shape[2] != 1:
        raise ValueError(f"support has shape {tuple(support.shape)}; expected (G, N, 1, H, W), G and N at least 1")
    expected = (len(support) * each, *support.shape[-2:])
    if noise is not None and noise.shape != expected:
        raise ValueError(f"noise has shape {tuple(noise.shape)}; expected {expected}")


def check_size(name: str, value: int, least: int = 1) -> None:
    """Raises ValueError unless the setting is a whole number of at least `least`."""
    if not isinstance(value, int) or value < least:
        raise ValueError(f"{name} is {value!r}; expected a whole number of at least {least}")
