r"""The bound explorer: two sliders tune q, the free energy rises to log p(x), and the gap between them is a KL.

The model is the one whose sum can be taken, $z \sim \mathcal{N}(0, 1)$ and $x \mid z \sim \mathcal{N}(a z, s^2)$:

$$\mathcal{F}(q) = \mathbb{E}_q[\log p(x \mid z)] - \mathrm{KL}(q \,\|\, p(z)) = \log p(x) - \mathrm{KL}(q \,\|\,
        p(z \mid x))$$

Everything is a formula, evaluated where the figure is, so the static copy is as alive as the one with a kernel.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import traitlets

from .shell import TwoLayerWidget, plotted

MEAN, LOG_SIGMA = (-3.0, 3.0), (-2.0, 1.0)  # where the sliders go


class Levels(NamedTuple):
    """The levels of the figure, in nats: `log_px`, the `bound` under it, and what the bound is made of."""

    log_px: float
    bound: float
    log_likelihood: float  # E_q[log p(x | z)]
    price: float  # KL(q || p(z))
    gap: float  # KL(q || p(z | x))


def gaussian_kl(mean: float, sigma: float, to_mean: float, to_sigma: float) -> float:
    """KL(N(mean, sigma^2) || N(to_mean, to_sigma^2)), nats."""
    ratio = (sigma / to_sigma) ** 2
    return 0.5 * (ratio + ((mean - to_mean) / to_sigma) ** 2 - 1 - math.log(ratio))


class BoundExplorer(TwoLayerWidget):
    """A Gaussian q against the posterior of a linear-Gaussian model, and the bound that it earns.

    `x` is what was observed, `a` and `s` > 0 are the model's slope and noise; q starts at `mean` and
    `log_sigma`, and both can be read again where the reader left the sliders. `about` is `description` and
    `label`, as for every widget. Raises ValueError on numbers that make no model, or that
    the sliders (mean from -3 to 3, log sigma from -2 to 1) do not reach.
    """

    look = "oneshot-bound"

    x = traitlets.Float().tag(sync=True)
    a = traitlets.Float().tag(sync=True)
    s = traitlets.Float().tag(sync=True)
    mean = traitlets.Float().tag(sync=True)
    log_sigma = traitlets.Float().tag(sync=True)

    def __init__(self, x: float = 1.5, a: float = 1.0, s: float = 0.5, mean: float = 0.0, log_sigma: float = 0.0,
                 **about):
        x, a, s, mean, log_sigma = (float(number) for number in (x, a, s, mean, log_sigma))
        if not (math.isfinite(x) and math.isfinite(a) and 0 < s < math.inf):
            raise ValueError(f"x, a and s are {x}, {a} and {s}; expected finite numbers, s above 0")
        for name, value, (low, high) in (("mean", mean, MEAN), ("log_sigma", log_sigma, LOG_SIGMA)):
            if not low <= value <= high:
                raise ValueError(f"{name} is {value}; expected a number from {low:g} to {high:g}")
        super().__init__(x=x, a=a, s=s, mean=mean, log_sigma=log_sigma, **about)

    def alternative_text(self) -> str:
        """What the two panels show."""
        return ("Three densities over z: the prior, the posterior and a Gaussian q that two sliders move. "
                "Beside them the free energy of q under the level of log p(x), and the gap between the two.")

    def posterior(self) -> tuple[float, float]:
        """Mean and standard deviation of p(z | x)."""
        variance = self.a**2 + self.s**2
        return self.a * self.x / variance, self.s / math.sqrt(variance)

    def levels(self) -> Levels:
        """What the figure shows for q as it stands, each term from its own formula."""
        sigma, total = math.exp(self.log_sigma), self.a**2 + self.s**2
        log_px = -0.5 * (self.x**2 / total + math.log(2 * math.pi * total))
        error = (self.x - self.a * self.mean) ** 2 + (self.a * sigma) ** 2
        log_likelihood = -0.5 * (error / self.s**2 + math.log(2 * math.pi * self.s**2))
        price = gaussian_kl(self.mean, sigma, 0, 1)
        return Levels(log_px, log_likelihood - price, log_likelihood, price,
                      gaussian_kl(self.mean, sigma, *self.posterior()))

    def still(self) -> bytes:
        """The two panels, without what moves them."""
        return plotted(self._plot, (6, 2.4))

    def _plot(self, figure) -> None:
        import numpy as np

        left, right = figure.subplots(1, 2, width_ratios=(2, 1))
        z = np.linspace(-3.5, 3.5, 400)
        curves = (("p(z)", 0, 1, "0.5", "--"), ("p(z | x)", *self.posterior(), "#c2410c", "-"),
                  ("q(z)", self.mean, math.exp(self.log_sigma), "#1668a8", "-"))
        for name, mean, sigma, colour, line in curves:
            density = np.exp(-0.5 * ((z - mean) / sigma) ** 2) / (sigma * math.sqrt(2 * math.pi))
            left.plot(z, density, line, color=colour, label=name)
        left.set(xlabel="z", yticks=[], ylim=(0, None))
        left.legend(frameon=False, fontsize=9)
        levels = self.levels()
        right.bar(["F"], [levels.bound - levels.log_px + 6], bottom=levels.log_px - 6, color="#1668a8", width=0.5)
        right.axhline(levels.log_px, color="black")
        right.set(ylabel="nats", ylim=(levels.log_px - 6, levels.log_px + 0.8),
                  title=f"log p(x) − F = {levels.gap:.2f}")
