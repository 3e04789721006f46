r"""Sequential generative models with attention.

Reference: Rezende, Mohamed, Danihelka, Gregor, Wierstra 2016, One-Shot Generalization in Deep Generative Models,
sections 3.2.1 to 3.2.4 and appendix C; equation numbers below are that paper's.

A symbol is drawn in T steps by an LSTM that never looks at its own drawing:

    z_t ~ N(0, I)                          what is decided at step t                          (3)
    h_t = LSTM(h_{t-1}, z_t)               the memory, the only recurrence                    (5)
    c_t = c_{t-1} + f_w(h_t)               additive canvas: a patch, put through a window     (9)
    c_t = CGRU(c_{t-1} + f_w(h_t))         gated canvas                                       (10, 13)
    x   ~ Bernoulli(f_o(c_T))              the image                                          (7)

and the posterior shares that LSTM, with one glance at the image a step:

    r_t = f_r(x, h_{t-1})                  the sprite: a patch read through a window          (11)
    z_t ~ N(mu(r_t, h_{t-1}), sigma(r_t, h_{t-1}))                                            (12)

Since h never sees c, every write can wait until the loop over h is done: `canvas` is one batched operation, and the
additive canvas one matrix product an image.

Where the paper is silent or torn, this file decides:
- Sprites are 12x12 for reading and writing (section 4 says "12 x 12 kernels", section 3.2.3 "10 x 10 image");
  a written patch has as many channels as the canvas.
- mu and sigma come from one hidden layer of 256 rectified units over (r_t, h_{t-1}): the "further non-linear function".
- Windows are axis-aligned (`attention="axis-aligned"`: centre and log scale, four numbers) or general affine
  (`"affine"`: six). The kernels are those of `oneshot_lib.attention`.
- h_0, the LSTM's first cell state and c_0 are zero.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .. import attention
from ..distributions import Bernoulli, DiagonalGaussian
from ..objectives import FreeEnergy, free_energy
from .attentive_scan import attentive_scan

CANVASES = ("additive", "cgru")
WINDOWS = {"axis-aligned": 4, "affine": 6}  # numbers a window takes


@dataclass(frozen=True)
class SequentialConfig:
    """The widths of the paper's section 4. Raises ValueError on an unknown canvas or attention, or a size below 1."""

    image_size: int = 28
    steps: int = 20
    hidden: int = 400
    latent: int = 4
    canvas: str = "additive"
    canvas_channels: int = 4
    patch: int = 12
    posterior_hidden: int = 256
    attention: str = "axis-aligned"
    canvas_size: int | None = None  # None: that of the image

    def __post_init__(self):
        if self.canvas not in CANVASES:
            raise ValueError(f"canvas is {self.canvas!r}; expected one of {', '.join(CANVASES)}")
        if self.attention not in WINDOWS:
            raise ValueError(f"attention is {self.attention!r}; expected one of {', '.join(WINDOWS)}")
        for name in ("image_size", "steps", "hidden", "latent", "canvas_channels", "patch", "posterior_hidden",
                     "canvas_pixels"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} is {value!r}; expected a whole number of at least 1")

    @property
    def canvas_pixels(self) -> int:
        """The side of the canvas: `canvas_size`, or that of the image."""
        return self.image_size if self.canvas_size is None else self.canvas_size


class States(NamedTuple):
    """What the loop over h leaves: `h` (B, T, hidden) and `z` (B, T, latent), and for a posterior also each step's
    Gaussian (B, T, latent) and the window it read through (B, T, 2, 3)."""

    h: Tensor
    z: Tensor
    posterior: DiagonalGaussian | None = None
    read_window: Tensor | None = None


class Drawing(NamedTuple):
    """Everything that a picture of the drawing process needs.

    `probabilities` (B, T+1, 1, H, W): f_o(c_t) through a sigmoid after t = 0, ..., T steps. `write_window` and
    `read_window` (B, T, 2, 3): patch to image coordinates, `oneshot_lib.attention`. `kl` (B, T): nats.
    `z` (B, T, latent). Drawn from the prior there is no image to read and nothing to pay: `read_window`
    and `kl` are None.
    """

    probabilities: Tensor
    write_window: Tensor
    read_window: Tensor | None
    kl: Tensor | None
    z: Tensor


class ConvolutionalGRU(nn.Module):
    r"""The gate of eq. 13 (Kaiser and Sutskever 2015): one step of a canvas (B, C, H, W) -> (B, C, H, W).

    $$\mathrm{CGRU}(c) = u \odot c + (1 - u) \odot \tanh(U * (r \odot c) + B),\quad
      u = \sigma(U' * c + B'),\quad r = \sigma(U'' * c + B'')$$

    with 3x3 convolutions that keep the size. The biases of u start at one, so that the canvas first remembers.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.gates = nn.Conv2d(channels, 2 * channels, 3, padding=1)  # U' and U'' side by side
        self.candidate = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.constant_(self.gates.bias[:channels], 1.0)

    def forward(self, c: Tensor) -> Tensor:
        u, r = self.gates(c).sigmoid().chunk(2, 1)
        return torch.lerp(self.candidate(r * c).tanh(), c, u)  # (1 - u) tanh(...) + u c


def output_network(config: SequentialConfig) -> nn.Module:
    """f_o of eq. 7, canvas (B, C, size, size) -> logits (B, 1, image_size, image_size).

    A 1x1 convolution where the sizes agree (section 3.2.3). Where they differ the paper has "a convolutional network"
    and says no more: here two 3x3 convolutions with 32 channels between them, and bilinear resizing in the middle.
    """
    if config.canvas_pixels == config.image_size:
        return nn.Conv2d(config.canvas_channels, 1, 1)
    return nn.Sequential(
        nn.Conv2d(config.canvas_channels, 32, 3, padding=1), nn.ReLU(),
        nn.Upsample((config.image_size,) * 2, mode="bilinear", align_corners=False), nn.Conv2d(32, 1, 3, padding=1))


class SequentialModel(nn.Module):
    """Rezende et al. 2016, eqs. 3 to 13, without the context x' of eq. 4.

    >>> model = SequentialModel(SequentialConfig(steps=3, hidden=8, posterior_hidden=8))
    >>> model.sample(2, generator=torch.Generator().manual_seed(0)).shape
    torch.Size([2, 1, 28, 28])
    """

    def __init__(self, config: SequentialConfig | None = None):
        super().__init__()
        self.config = config = config or SequentialConfig()
        window = WINDOWS[config.attention]
        # generation: theta
        self.lstm = nn.LSTMCell(config.latent, config.hidden)
        self.write_patch = nn.Linear(config.hidden, config.patch * config.canvas_channels * config.patch)
        self.write_window = nn.Linear(config.hidden, window)
        self.cgru = ConvolutionalGRU(config.canvas_channels) if config.canvas == "cgru" else None
        self.output = output_network(config)
        # inference: phi
        self.read_window = nn.Linear(config.hidden, window)
        self.posterior_hidden = nn.Linear(config.patch**2 + config.hidden, config.posterior_hidden)
        self.posterior_output = nn.Linear(config.posterior_hidden, 2 * config.latent)
        self.product_dtype = torch.float32  # of the large products: see `attentive_scan.faster_dtype`
        self._start_gently()

    def _start_gently(self) -> None:
        """Paper starts blank (one pixel in thirteen inked), windows at half the image and already wandering with h,
        forget gates open, q near the prior.
        """
        last = self.output if isinstance(self.output, nn.Conv2d) else self.output[-1]
        nn.init.constant_(last.bias, -2.5)
        nn.init.constant_(self.lstm.bias_ih[self.config.hidden : 2 * self.config.hidden], 1.0)
        nn.init.normal_(self.posterior_output.weight, std=0.01)
        nn.init.zeros_(self.posterior_output.bias)
        half = math.log(0.5)
        start = [0.0, 0.0, half, half] if self.config.attention == "axis-aligned" else [0.5, 0, 0, 0, 0.5, 0]
        for layer in (self.write_window, self.read_window):
            nn.init.normal_(layer.weight, std=0.05)
            layer.bias.data.copy_(torch.tensor(start))

    # --- the loop over h -------------------------------------------------------------------------------------------

    def window(self, raw: Tensor) -> Tensor:
        """The numbers that a linear layer gave (..., 4 or 6) -> window (..., 2, 3).

        Axis-aligned: (x, y, log half-width, log half-height). Affine: the matrix, row by row.
        """
        if self.config.attention == "affine":
            return raw.unflatten(-1, (2, 3))
        return attention.axis_aligned(raw[..., :2], raw[..., 2:].exp())

    def prior_states(self, z: Tensor) -> States:
        """h_1, ..., h_T for given latents (B, T, latent): the generative recurrence, no inference network in sight."""
        state, h = self._start(z), []
        for z_t in z.unbind(1):
            state = self.lstm(z_t, state)
            h.append(state[0])
        return States(torch.stack(h, 1), z)

    def posterior_step(self, x: Tensor, h: Tensor) -> tuple[DiagonalGaussian, Tensor]:
        """q(z_t | z_<t, x), eqs. 11 and 12: `x` (B, 1, H, W), `h` (B, hidden) -> its Gaussian (B, latent), window."""
        window = self.window(self.read_window(h))  # (B, 2, 3)
        sprite = attention.read(x, window, (self.config.patch,) * 2, self.config.attention == "axis-aligned")
        hidden = self.posterior_hidden(torch.cat([sprite.flatten(1), h], 1)).relu()
        mean, log_sigma = self.posterior_output(hidden).chunk(2, 1)
        return DiagonalGaussian(mean, log_sigma), window

    def posterior_states(self, x: Tensor, noise: Tensor) -> States:
        """The posterior's loop, written as the equations are: `x` (B, 1, H, W), `noise` (B, T, latent)."""
        state, steps = self._start(noise), []
        for noise_t in noise.unbind(1):
            q, window = self.posterior_step(x, state[0])
            z_t = q.sample(noise_t)
            state = self.lstm(z_t, state)
            steps.append((state[0], z_t, q.mean, q.log_sigma, window))
        h, z, mean, log_sigma, window = (torch.stack(terms, 1) for terms in zip(*steps, strict=True))
        return States(h, z, DiagonalGaussian(mean, log_sigma), window)

    def posterior(self, x: Tensor, generator: torch.Generator | None = None, noise: Tensor | None = None,
                  fused: bool | None = None) -> States:
        """One draw of z_1, ..., z_T from q(z | x), with every step's Gaussian.

        `fused` takes `attentive_scan`, the same loop with its gradient written out by hand (axis-aligned windows and
        a single backward pass); None takes it where it holds. Raises ValueError on an image of another size.
        """
        size = self.config.image_size
        if x.dim() != 4 or x.shape[1:] != (1, size, size):
            raise ValueError(f"x has shape {tuple(x.shape)}; expected (B, 1, {size}, {size})")
        if noise is None:
            noise = self._noise(len(x), x, generator)
        if fused is None:
            fused = self.config.attention == "axis-aligned"
        if not fused:
            return self.posterior_states(x, noise)
        h, mean, log_sigma, raw = attentive_scan(
            x[:, 0], noise, self.lstm.weight_hh, self.lstm.weight_ih, self.lstm.bias_hh + self.lstm.bias_ih,
            self.read_window.weight, self.read_window.bias, self.posterior_hidden.weight, self.posterior_hidden.bias,
            self.posterior_output.weight, self.posterior_output.bias, self.config.patch, self.product_dtype)
        q = DiagonalGaussian(mean, log_sigma)
        return States(h, q.sample(noise), q, self.window(raw))

    # --- the canvas ------------------------------------------------------------------------------------------------

    def patches(self, h: Tensor) -> Tensor:
        """What is written, before its window: h (..., hidden) -> (..., patch, channels, patch), rows outermost."""
        with torch.autocast(h.device.type, self.product_dtype, enabled=self.product_dtype != torch.float32):
            patch = self.write_patch(h).to(h.dtype)
        return patch.unflatten(-1, (self.config.patch, self.config.canvas_channels, self.config.patch))

    def writes(self, h: Tensor) -> Tensor:
        """f_w(h_t) of every step at once: h (B, T, hidden) -> (B, T, C, H, W)."""
        window, patch = self.window(self.write_window(h)), self.patches(h).transpose(-2, -3)
        full = attention.write(patch.flatten(0, 1), window.flatten(0, 1), (self.config.canvas_pixels,) * 2,
                               self.config.attention == "axis-aligned")
        return full.unflatten(0, h.shape[:2])

    def gated(self, h: Tensor) -> list[Tensor]:
        """c_1, ..., c_T of the gated canvas, each (B, C, H, W). Pixels lie in memory with their channels side by side,
        which a convolution of so few channels runs through in a third of the time."""
        writes = self.writes(h.transpose(0, 1)).flatten(0, 1).contiguous(memory_format=torch.channels_last)
        canvases, canvas = [], 0
        for write in writes.chunk(h.shape[1]):
            canvas = self.cgru(canvas + write)
            canvases.append(canvas)
        return canvases

    def canvases(self, h: Tensor) -> Tensor:
        """c_0, ..., c_T for h (B, T, hidden) -> (B, T+1, C, H, W)."""
        after = self.writes(h).cumsum(1) if self.cgru is None else torch.stack(self.gated(h), 1)
        return torch.cat([torch.zeros_like(after[:, :1]), after], 1)

    def canvas(self, h: Tensor) -> Tensor:
        """c_T alone, (B, C, H, W). The additive canvas over axis-aligned windows is one matrix product an image:
        the sum over steps is the sum of the product's inner dimension."""
        if self.cgru is not None:
            return self.gated(h)[-1]
        if self.config.attention != "axis-aligned":
            return self.writes(h).sum(1)
        c = self.config
        y, x = attention.axis_kernels(self.window(self.write_window(h)), (c.patch,) * 2, (c.canvas_pixels,) * 2)
        rows = self.patches(h).flatten(-3, -2) @ x  # (B, T, patch * C, patch) (B, T, patch, W)
        rows = rows.reshape(len(h), -1, c.canvas_channels * c.canvas_pixels)  # (B, T * patch, C * W)
        canvas = y.flatten(1, 2).transpose(1, 2) @ rows  # (B, H, T * patch) (B, T * patch, C * W)
        return canvas.unflatten(-1, (c.canvas_channels, c.canvas_pixels)).transpose(1, 2)

    def likelihood(self, canvas: Tensor) -> Bernoulli:
        """p(x | f_o(c)), eq. 7: canvas (B, C, H, W) -> Bernoulli over (B, 1, H, W)."""
        return Bernoulli(self.output(canvas))

    # --- what a model is asked for ---------------------------------------------------------------------------------

    def log_prob(self, x: Tensor, generator: torch.Generator | None = None, noise: Tensor | None = None,
                 fused: bool | None = None) -> FreeEnergy:
        """The terms of the free-energy bound (eq. 8) at one draw of z: `x` (B, 1, H, W) -> (B,) and (B, T), nats."""
        states = self.posterior(x, generator, noise, fused)
        return free_energy(self.likelihood(self.canvas(states.h)).log_prob(x), states.posterior.kl())

    def log_weights(self, x: Tensor, k: int, generator: torch.Generator | None = None) -> Tensor:
        """log w = log p(x, z) - log q(z | x) for k draws of z an image, for `importance_weighted_bound`: (k, B), nats.

        Here the log-ratio is taken at the draw, not in closed form: with the exact posterior every log w is log p(x).
        """
        rows = []
        for _ in range(k):
            s = self.posterior(x, generator)
            prior = DiagonalGaussian(torch.zeros_like(s.z), torch.zeros_like(s.z))
            log_ratio = (prior.log_prob(s.z) - s.posterior.log_prob(s.z)).sum(1)
            rows.append(self.likelihood(self.canvas(s.h)).log_prob(x) + log_ratio)
        return torch.stack(rows)

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """n images from the model, zeros and ones, (n, 1, H, W)."""
        h = self.prior_states(self._noise(n, self.lstm.weight_hh, generator)).h
        return self.likelihood(self.canvas(h)).sample(generator)

    def draw(self, n: int = 1, generator: torch.Generator | None = None, z: Tensor | None = None) -> Drawing:
        """A drawing process from the prior, or the one that the latents `z` (B, T, latent) spell out."""
        if z is None:
            z = self._noise(n, self.lstm.weight_hh, generator)
        if z.dim() != 3 or z.shape[1:] != (self.config.steps, self.config.latent):
            raise ValueError(f"z has shape {tuple(z.shape)}; expected (B, {self.config.steps}, {self.config.latent})")
        return self._drawing(self.prior_states(z))

    def reconstruct(self, x: Tensor, generator: torch.Generator | None = None) -> Drawing:
        """A drawing process from the posterior, given the image `x` (B, 1, H, W) that it is after."""
        return self._drawing(self.posterior(x, generator))

    def _drawing(self, states: States) -> Drawing:
        canvases = self.canvases(states.h)  # (B, T+1, C, H, W)
        probabilities = self.likelihood(canvases.flatten(0, 1)).mean.unflatten(0, canvases.shape[:2])
        kl = None if states.posterior is None else states.posterior.kl()
        return Drawing(probabilities, self.window(self.write_window(states.h)), states.read_window, kl, states.z)

    def _noise(self, n: int, like: Tensor, generator: torch.Generator | None) -> Tensor:
        device = generator.device if generator is not None else like.device
        shape = (n, self.config.steps, self.config.latent)
        return torch.randn(shape, generator=generator, device=device, dtype=like.dtype).to(like.device)

    def _start(self, like: Tensor) -> tuple[Tensor, Tensor]:
        zero = like.new_zeros(len(like), self.config.hidden)
        return zero, zero
