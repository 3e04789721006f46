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
- Reading and writing are by one variety of `oneshot_lib.attention.VARIETIES`, `attention="axis-aligned"` where nothing
  else is said; its numbers are a linear layer of h_{t-1} where it reads and of h_t where it writes.
- A place that is drawn, not asked for (`"random"`, `"error-large"`, `"error-printed"`), is told to q. One drawn at
  random is told to the LSTM as well, beside z_t, since the patch is written there; it is independent of everything,
  so its price is nothing. One drawn by the error is noise of q's own: averaged over it the free energy is a bound as
  before. Its gradient leaves out how the parameters move the places: nothing is learned about where to look.
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
from .canvas import ConvolutionalGRU, output_network

CANVASES = ("additive", "cgru")


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
    windows: int = 2  # of attention "multiple"
    canvas_size: int | None = None  # None: that of the image

    def __post_init__(self):
        if self.canvas not in CANVASES:
            raise ValueError(f"canvas is {self.canvas!r}; expected one of {', '.join(CANVASES)}")
        if self.attention not in attention.VARIETIES:
            raise ValueError(f"attention is {self.attention!r}; expected one of {', '.join(attention.VARIETIES)}")
        for name in ("image_size", "steps", "hidden", "latent", "canvas_channels", "patch", "posterior_hidden",
                     "canvas_pixels", "windows"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} is {value!r}; expected a whole number of at least 1")

    @property
    def canvas_pixels(self) -> int:
        """The side of the canvas: `canvas_size`, or that of the image."""
        return self.image_size if self.canvas_size is None else self.canvas_size


class States(NamedTuple):
    """What the loop over h leaves: `h` (B, T, hidden) and `z` (B, T, latent), and for a posterior also each step's
    Gaussian (B, T, latent) and the window it read through (B, T, 2, 3). `places` (B, T, 2) are those drawn for writing,
    of an attention that does not ask for them. Of several windows a step, (B, T, K, 2, 3)."""

    h: Tensor
    z: Tensor
    posterior: DiagonalGaussian | None = None
    read_window: Tensor | None = None
    places: Tensor | None = None


class Drawing(NamedTuple):
    """Everything that a picture of the drawing process needs.

    `probabilities` (B, T+1, 1, H, W): f_o(c_t) through a sigmoid after t = 0, ..., T steps. `write_window` and
    `read_window` (B, T, 2, 3): patch to image coordinates, `oneshot_lib.attention`; (B, T, K, 2, 3) where a step has
    several windows. `kl` (B, T): nats.
    `z` (B, T, latent). Drawn from the prior there is no image to read and nothing to pay: `read_window`
    and `kl` are None.
    """

    probabilities: Tensor
    write_window: Tensor
    read_window: Tensor | None
    kl: Tensor | None
    z: Tensor


def asking(variety: attention.Attention, hidden: int) -> nn.Linear | None:
    """The layer that asks for a variety's numbers, or None where there is nothing to ask."""
    return nn.Linear(hidden, variety.numbers) if variety.asked and variety.numbers else None


def _windows(variety: attention.Attention, numbers: Tensor, size: tuple, image_size: tuple) -> Tensor:
    window = variety.windows(numbers, size, image_size)
    return window[..., 0, :, :] if variety.windows_a_step == 1 else window


class SequentialModel(nn.Module):
    """Rezende et al. 2016, eqs. 3 to 13, without the context x' of eq. 4.

    >>> model = SequentialModel(SequentialConfig(steps=3, hidden=8, posterior_hidden=8))
    >>> model.sample(2, generator=torch.Generator().manual_seed(0)).shape
    torch.Size([2, 1, 28, 28])
    """

    def __init__(self, config: SequentialConfig | None = None):
        super().__init__()
        self.config = config = config or SequentialConfig()
        self.reader = attention.named(config.attention, config.windows)
        self.writer = self.reader.writer()
        self.image_area, self.canvas_area = (config.image_size,) * 2, (config.canvas_pixels,) * 2
        self.read_size = self.reader.patch_size(config.patch, self.image_area)
        self.write_size = self.writer.patch_size(config.patch, self.canvas_area)
        sprite = math.prod(self.read_size) * self.reader.windows_a_step
        patch = math.prod(self.write_size) * self.writer.windows_a_step * config.canvas_channels
        # generation: theta
        self.lstm = nn.LSTMCell(config.latent + (0 if self.writer.asked else self.writer.numbers), config.hidden)
        self.write_patch = nn.Linear(config.hidden, patch)
        self.write_window = asking(self.writer, config.hidden)
        self.cgru = ConvolutionalGRU(config.canvas_channels) if config.canvas == "cgru" else None
        self.output = output_network(config.canvas_channels, config.canvas_pixels, config.image_size)
        # inference: phi
        self.read_window = asking(self.reader, config.hidden)
        told = 0 if self.reader.asked else self.reader.numbers
        self.posterior_hidden = nn.Linear(sprite + config.hidden + told, config.posterior_hidden)
        self.posterior_output = nn.Linear(config.posterior_hidden, 2 * config.latent)
        self.product_dtype = torch.float32  # of the large products: see `attentive_scan.faster_products`
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
        for variety, layer in ((self.writer, self.write_window), (self.reader, self.read_window)):
            if layer is not None:
                nn.init.normal_(layer.weight, std=0.05)
                layer.bias.data.copy_(variety.start())

    # --- the loop over h -------------------------------------------------------------------------------------------

    @property
    def image_size(self) -> int:
        return self.config.image_size

    @property
    def separable(self) -> bool:
        """Whether reading and writing are the axis-aligned windows that the fast paths are made for."""
        return self.config.attention == "axis-aligned"

    def window(self, raw: Tensor) -> Tensor:
        """The numbers of a write (..., n) -> its window (..., 2, 3), or (..., K, 2, 3) where a step has several.

        Axis-aligned: (x, y, log half-width, log half-height); the others as `oneshot_lib.attention.varieties` says.
        """
        return _windows(self.writer, raw, self.write_size, self.canvas_area)

    def prior_states(self, noise: Tensor) -> States:
        """h_1, ..., h_T for given latents z (B, T, latent): the generative recurrence, no inference network in sight.

        An attention that draws where it writes takes its noise beside them, (B, T, latent + 2).
        """
        z, places = self._places(noise)
        state, h = self._start(z), []
        for t, z_t in enumerate(z.unbind(1)):
            state = self.lstm(z_t if places is None else torch.cat([z_t, places[:, t]], 1), state)
            h.append(state[0])
        return States(torch.stack(h, 1), z, places=places)

    def posterior_step(self, x: Tensor, h: Tensor, place: Tensor | None = None) -> tuple[DiagonalGaussian, Tensor]:
        """q(z_t | z_<t, x), eqs. 11 and 12: `x` (B, 1, H, W), `h` (B, hidden) -> its Gaussian (B, latent), window.

        `place` (B, 2) is where to look, of an attention that does not ask.
        """
        numbers = place if place is not None else self.read_window(h) if self.reader.numbers else h[:, :0]
        sprite = self.reader.read(x, numbers, self.read_size)
        known = [sprite.flatten(1), h] if place is None else [sprite.flatten(1), h, place]
        hidden = self.posterior_hidden(torch.cat(known, 1)).relu()
        mean, log_sigma = self.posterior_output(hidden).chunk(2, 1)
        return DiagonalGaussian(mean, log_sigma), _windows(self.reader, numbers, self.read_size, self.image_area)

    def posterior_states(self, x: Tensor, noise: Tensor) -> States:
        """The posterior's loop, written as the equations are: `x` (B, 1, H, W), `noise` (B, T, latent), with the noise
        of an attention that draws its places beside it."""
        noise, drawn = noise.split([self.config.latent, noise.shape[2] - self.config.latent], 2)
        state, steps, places, canvas = self._start(noise), [], [], None
        for t, noise_t in enumerate(noise.unbind(1)):
            place = None if self.reader.asked else self._look(drawn[:, t], x, canvas)
            q, window = self.posterior_step(x, state[0], place)
            z_t = q.sample(noise_t)
            state = self.lstm(z_t if self.writer.asked else torch.cat([z_t, place], 1), state)
            steps.append((state[0], z_t, q.mean, q.log_sigma, window))
            places.append(place)
            if isinstance(self.reader, attention.ErrorBased):
                canvas = self._canvas_after(state[0].detach(), canvas)
        h, z, mean, log_sigma, window = (torch.stack(terms, 1) for terms in zip(*steps, strict=True))
        where = None if self.writer.asked else torch.stack(places, 1)
        return States(h, z, DiagonalGaussian(mean, log_sigma), window, where)

    def _look(self, drawn: Tensor, x: Tensor, canvas: Tensor | None) -> Tensor:
        """Where a step looks that does not ask, (B, 2): anywhere, or where the canvas so far errs."""
        if not isinstance(self.reader, attention.ErrorBased):
            return self._anywhere(drawn)
        with torch.no_grad():
            canvas = x.new_zeros(len(x), self.config.canvas_channels, *self.canvas_area) if canvas is None else canvas
            return self.reader.draw(drawn, x, self.likelihood(canvas).mean)

    def _anywhere(self, drawn: Tensor) -> Tensor:
        """Places at random, (..., 2), by the same law in q and in the prior, whatever the size of the canvas."""
        return self.reader.draw(drawn, self.read_size, self.image_area)

    @torch.no_grad()
    def _canvas_after(self, h: Tensor, canvas: Tensor | None) -> Tensor:
        """c_t after one more write, h_t (B, hidden): what error-based attention can't wait for."""
        write = self.writes(h[:, None])[:, 0]
        canvas = write if canvas is None else canvas + write
        return canvas if self.cgru is None else self.cgru(canvas)

    def infer(self, x: Tensor, generator: torch.Generator | None = None, noise: Tensor | None = None,
              fused: bool | None = None) -> States:
        """One draw of z_1, ..., z_T from q(z | x), with every step's Gaussian.

        `fused` takes `attentive_scan`, the same loop with its gradient written out by hand (axis-aligned windows and
        a single backward pass); None takes it where it holds. Raises ValueError on an image of another size.
        """
        size = self.config.image_size
        if x.dim() != 4 or x.shape[1:] != (1, size, size):
            raise ValueError(f"x has shape {tuple(x.shape)}; expected (B, 1, {size}, {size})")
        if noise is None:
            noise = self._noise(len(x), x, generator, self.reader.noise)
        columns = self.config.latent + self.reader.noise
        if noise.dim() != 3 or noise.shape[2] != columns:
            raise ValueError(f"noise has shape {tuple(noise.shape)}; expected ({len(x)}, T, {columns}): latents, and "
                             "what the places are drawn from")
        if fused is None:
            fused = self.separable
        if not fused:
            return self.posterior_states(x, noise)
        h, mean, log_sigma, raw = attentive_scan(
            x[:, 0], noise, self.lstm.weight_hh, self.lstm.weight_ih, self.lstm.bias_hh + self.lstm.bias_ih,
            self.read_window.weight, self.read_window.bias, self.posterior_hidden.weight, self.posterior_hidden.bias,
            self.posterior_output.weight, self.posterior_output.bias, self.config.patch, self.product_dtype)
        q = DiagonalGaussian(mean, log_sigma)
        return States(h, q.sample(noise), q, self.window(raw))

    def posterior(self, x: Tensor, generator: torch.Generator | None = None, noise: Tensor | None = None,
                  fused: bool | None = None) -> DiagonalGaussian:
        """q(z_t | z_<t, x) of every step, over (B, T, latent), at the draw of z that `infer` makes."""
        return self.infer(x, generator, noise, fused).posterior

    # --- the canvas ------------------------------------------------------------------------------------------------

    def patches(self, h: Tensor) -> Tensor:
        """What is written, before its window: h (..., hidden) -> (..., patch, channels, patch), rows outermost, K times
        the canvas's channels where a step has K windows."""
        with torch.autocast(h.device.type, self.product_dtype, enabled=self.product_dtype != torch.float32):
            patch = self.write_patch(h).to(h.dtype)
        return patch.unflatten(-1, (self.write_size[0], -1, self.write_size[1]))

    def write_numbers(self, h: Tensor, places: Tensor | None = None) -> Tensor:
        """The numbers of the writes: asked for by h (..., hidden), or the `places` (..., 2) that were drawn."""
        if places is not None:
            return places
        return self.write_window(h) if self.writer.numbers else h[..., :0]

    def writes(self, h: Tensor, places: Tensor | None = None) -> Tensor:
        """f_w(h_t) of every step at once: h (B, T, hidden), with its `places` where they are drawn -> (B, T, C, H, W).
        """
        if places is None and not self.writer.asked:
            raise ValueError(f"places is None; expected those of `States`: {self.config.attention!r} draws them")
        numbers, patch = self.write_numbers(h, places), self.patches(h).transpose(-2, -3)
        full = self.writer.write(patch.flatten(0, 1), numbers.flatten(0, 1), self.canvas_area)
        return full.unflatten(0, h.shape[:2])

    def gated(self, h: Tensor, places: Tensor | None = None) -> list[Tensor]:
        """c_1, ..., c_T of the gated canvas, each (B, C, H, W). Pixels lie in memory with their channels side by side,
        which a convolution of so few channels runs through in a third of the time."""
        places = None if places is None else places.transpose(0, 1)
        writes = self.writes(h.transpose(0, 1), places).flatten(0, 1).contiguous(memory_format=torch.channels_last)
        canvases, canvas = [], 0
        for write in writes.chunk(h.shape[1]):
            canvas = self.cgru(canvas + write)
            canvases.append(canvas)
        return canvases

    def canvases(self, h: Tensor, places: Tensor | None = None) -> Tensor:
        """c_0, ..., c_T for h (B, T, hidden) -> (B, T+1, C, H, W)."""
        after = self.writes(h, places).cumsum(1) if self.cgru is None else torch.stack(self.gated(h, places), 1)
        return torch.cat([torch.zeros_like(after[:, :1]), after], 1)

    def canvas(self, h: Tensor, places: Tensor | None = None) -> Tensor:
        """c_T alone, (B, C, H, W). The additive canvas over axis-aligned windows is one matrix product an image:
        the sum over steps is the sum of the product's inner dimension."""
        if self.cgru is not None:
            return self.gated(h, places)[-1]
        if not self.separable:
            return self.writes(h, places).sum(1)
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

    def terms(self, x: Tensor, generator: torch.Generator | None = None, noise: Tensor | None = None,
              fused: bool | None = None) -> FreeEnergy:
        """The terms of the free-energy bound (eq. 8) at one draw of z: `x` (B, 1, H, W) -> (B,) and (B, T), nats."""
        states = self.infer(x, generator, noise, fused)
        return free_energy(self.likelihood(self.canvas(states.h, states.places)).log_prob(x), states.posterior.kl())

    def log_weights(self, x: Tensor, k: int, generator: torch.Generator | None = None) -> Tensor:
        """log w = log p(x, z) - log q(z | x) for k draws of z an image, for `importance_weighted_bound`: (k, B), nats.

        Here the log-ratio is taken at the draw, not in closed form: with the exact posterior every log w is log p(x).
        """
        rows = []
        for _ in range(k):
            s = self.infer(x, generator)
            prior = DiagonalGaussian(torch.zeros_like(s.z), torch.zeros_like(s.z))
            log_ratio = (prior.log_prob(s.z) - s.posterior.log_prob(s.z)).sum(1)
            rows.append(self.likelihood(self.canvas(s.h, s.places)).log_prob(x) + log_ratio)
        return torch.stack(rows)

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """n images from the model, zeros and ones, (n, 1, H, W)."""
        states = self.prior_states(self._noise(n, self.lstm.weight_hh, generator, self._places_noise))
        return self.likelihood(self.canvas(states.h, states.places)).sample(generator)

    def draw(self, n: int = 1, generator: torch.Generator | None = None, z: Tensor | None = None) -> Drawing:
        """A drawing process from the prior, or the one that the latents `z` (B, T, latent) spell out. Where the places
        of its writes are drawn, they are drawn anew."""
        if z is None:
            z = self._noise(n, self.lstm.weight_hh, generator)
        if z.dim() != 3 or z.shape[1:] != (self.config.steps, self.config.latent):
            raise ValueError(f"z has shape {tuple(z.shape)}; expected (B, {self.config.steps}, {self.config.latent})")
        if self._places_noise:
            noise = self._noise(len(z), z, generator, self._places_noise)
            z = torch.cat([z, noise[..., self.config.latent :]], -1)
        return self._drawing(self.prior_states(z))

    @torch.no_grad()
    def draw_like(self, support: Tensor, n: int, generator: torch.Generator | None = None, share: float = 1.0,
                  mean: bool = False) -> Tensor:
        """What it makes of the images shown, support (G, N, 1, H, W) -> (G, n, 1, H, W), zeros and ones, or with `mean`
        the pixels' probabilities. A drawing is after one of the N, each in turn.

        There is no class here: z_1, ..., z_m are drawn from q(z | image), m being `share` of the T steps, and the
        others from the prior, so that what starts as a copy ends as it pleases. Where the attention draws its places at
        random, those are drawn anew. Raises ValueError on shapes, and a share that is none.
        """
        size = self.config.image_size
        if support.dim() != 5 or not support.shape[:2].numel() or support.shape[2:] != (1, size, size):
            raise ValueError(f"support has shape {tuple(support.shape)}; expected (G, N, 1, {size}, {size})")
        if not 0 <= share <= 1:
            raise ValueError(f"share is {share}; expected 0 to 1")
        x = support[:, torch.arange(n, device=support.device) % support.shape[1]].flatten(0, 1)
        given, z = round(share * self.config.steps), self.infer(x, generator).z
        prior = torch.randn(z.shape, generator=generator, device=z.device if generator is None else generator.device)
        z = torch.cat([z[:, :given], prior.to(z)[:, given:]], 1)
        pixels = self.draw(z=z, generator=generator).probabilities[:, -1]
        if not mean:
            where = pixels.device if generator is None else generator.device
            noise = torch.rand(pixels.shape, generator=generator, device=where)
            pixels = (noise.to(pixels) < pixels).to(pixels)
        return pixels.unflatten(0, (len(support), n))

    def reconstruct(self, x: Tensor, generator: torch.Generator | None = None) -> Drawing:
        """A drawing process from the posterior, given the image `x` (B, 1, H, W) that it is after."""
        return self._drawing(self.infer(x, generator))

    def _drawing(self, states: States) -> Drawing:
        canvases = self.canvases(states.h, states.places)  # (B, T+1, C, H, W)
        probabilities = self.likelihood(canvases.flatten(0, 1)).mean.unflatten(0, canvases.shape[:2])
        kl = None if states.posterior is None else states.posterior.kl()
        write_window = self.window(self.write_numbers(states.h, states.places))
        return Drawing(probabilities, write_window, states.read_window, kl, states.z)

    @property
    def _places_noise(self) -> int:
        """How many normals a step of the prior takes besides z, to draw where it writes."""
        return 0 if self.writer.asked else self.writer.noise

    def _places(self, noise: Tensor) -> tuple[Tensor, Tensor | None]:
        """z (B, T, latent), and the places (B, T, 2) of an attention that draws where it writes."""
        z, drawn = noise[..., : self.config.latent], noise[..., self.config.latent :]
        if noise.shape[2] != self.config.latent + self._places_noise:
            raise ValueError(f"noise has shape {tuple(noise.shape)}; expected (B, T, {self.config.latent} + "
                             f"{self._places_noise}), latents and what the places are drawn from")
        return z, None if self.writer.asked else self._anywhere(drawn)

    def _noise(self, n: int, like: Tensor, generator: torch.Generator | None, more: int = 0) -> Tensor:
        device = generator.device if generator is not None else like.device
        shape = (n, self.config.steps, self.config.latent + more)
        return torch.randn(shape, generator=generator, device=device, dtype=like.dtype).to(like.device)

    def _start(self, like: Tensor) -> tuple[Tensor, Tensor]:
        zero = like.new_zeros(len(like), self.config.hidden)
        return zero, zero
