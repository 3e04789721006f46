r"""The inner step: step size and number of steps as sliders, and the same noise drawn before and after.

The model is `MetaPixelCNN` (Reed et al. 2018). For a support D of each character, from the trained weights on,

    theta_0 = theta,   theta_{t+1} = theta_t - m alpha grad L(D; theta_t),   m a multiple of the trained rate

and the figure shows, for every m and t, the change of the learned inner loss L, the mean NLL of drawings of the same
character that are not in D, and x ~ p(x; theta_t). The noise behind the pixels is the same for each m and t: what
differs between two pictures is due to the weights. All of it is computed beforehand, so that the static copy is as
alive as the one with a kernel.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from itertools import repeat

import numpy as np
import torch
import traitlets
from torch import Tensor

from .frames import as_array, packed, png, strip, unpacked
from .shell import KernelWidget

Weights = dict[str, Tensor]


def finite(value: float, digits: int = 3) -> float | None:
    """What a page can read: JSON has no word for what is not a number.

    >>> finite(1.23456), finite(float("inf"))
    (1.235, None)
    """
    return round(value, digits) if math.isfinite(value) else None


class InnerStepExplorer(KernelWidget):
    """What steps on the learned inner loss of a few drawings make of the model.

    `support` (K, N, 1, S, S) holds the N drawings of each of K characters that the model is shown, `held_out`
    (K, M, 1, S, S) others of the same characters. `rates` are the step sizes to choose from, in multiples of the
    trained one, 0 first and rising; up to `most_steps` steps are made, and `samples` drawings after each. `character`,
    `rate` and `steps` are where the figure starts, and where the reader left it. `names` is what the characters are
    called, `about` `description` and `label`, as for every widget. With a kernel (`live`), other drawings can be
    asked for. Raises ValueError on shapes that do not fit, on grey levels, and on settings that there are not.
    """

    look = "oneshot-inner"

    scene = traitlets.Dict(help="everything that there is to be seen").tag(sync=True)
    fresh = traitlets.Dict(help="drawings asked for: character, rate, steps, before, after").tag(sync=True, static={})
    character = traitlets.Int(0).tag(sync=True)
    rate = traitlets.Float(1.0, help="a multiple of the trained rate").tag(sync=True)
    steps = traitlets.Int(1).tag(sync=True)

    def __init__(self, model, support: Tensor, held_out: Tensor, samples: int = 4,
                 rates: Sequence[float] = (0, 0.5, 1, 2, 3, 4), most_steps: int = 5, character: int = 0,
                 rate: float = 1.0, steps: int = 1, generator: torch.Generator | None = None,
                 names: list[str] | None = None, **about):
        _check(model, support, held_out, samples, rates, most_steps)
        names = [f"character {k + 1}" for k in range(len(support))] if names is None else list(names)
        if len(names) != len(support):
            raise ValueError(f"names has {len(names)} entries; expected {len(support)}, one a character")
        self._model, self._support, self._held_out = model, support, held_out
        self._generator = generator if generator is not None else torch.Generator().manual_seed(0)
        self._limits = len(support), [float(one) for one in rates], most_steps
        super().__init__(scene=self._explore(samples, names), character=character, rate=float(rate), steps=steps,
                         **about)

    def alternative_text(self) -> str:
        """What is drawn, and the two curves."""
        return (f"{self.scene['samples']} drawings before and after steps on the learned loss of "
                f"{self.scene['drawings']} shown, from the same noise, and two curves over the step size: the learned "
                "loss, and the NLL of other drawings of the character.")

    @traitlets.validate("character", "rate", "steps")
    def _is_there(self, proposal):
        characters, rates, most = self._limits
        offered = {"character": range(characters), "rate": rates, "steps": range(most + 1)}[proposal.trait.name]
        if proposal.value not in offered:
            raise ValueError(f"{proposal.trait.name} is {proposal.value!r}; expected one of {list(offered)}")
        return proposal.value

    # --- what the steps lead to ---

    def weights(self, character: int, rate: float) -> Iterator[tuple[Weights, float]]:
        """theta_0, theta_1, ... of a character at a multiple of the trained rate, without end: each by name, with
        L(D; theta_t)."""
        weights, support = dict(self._model.pixelcnn.named_parameters()), self._support[character]
        while True:
            at = {name: value.detach().clone().requires_grad_() for name, value in weights.items()}
            with torch.enable_grad():
                loss = self._model.inner_loss(support, at)
            yield {name: value.detach() for name, value in at.items()}, loss.item()
            slopes = torch.autograd.grad(loss, list(at.values()), allow_unused=True)
            length = rate * self._model.inner_rate.detach()
            weights = {name: value if slope is None else value - length * slope
                       for (name, value), slope in zip(at.items(), slopes, strict=True)}

    @torch.no_grad()
    def _explore(self, samples: int, names: list[str]) -> dict:
        """Every character, rate and number of steps: loss, NLL, and drawings from one and the same noise."""
        (characters, rates, most), size = self._limits, tuple(self._support.shape[-2:])
        noise, network = self._noise(samples), copy.deepcopy(self._model.pixelcnn).eval()
        before = self._model.pixelcnn.sample(size, noise=noise)
        made = before.new_empty(characters, len(rates), most + 1, samples, 1, *size)
        losses, nll = (np.empty((characters, len(rates), most + 1)) for _ in range(2))
        for k in range(characters):
            start = -self._model.pixelcnn.log_prob(self._held_out[k]).mean().item()
            for r, rate in enumerate(rates):
                path = self.weights(k, rate) if rate else repeat(next(self.weights(k, 0)))
                for t, (weights, loss) in zip(range(most + 1), path, strict=False):
                    losses[k, r, t], nll[k, r, t], made[k, r, t] = loss, start, before
                    if t == 0 or rate == 0:
                        continue
                    network.load_state_dict(weights)
                    nll[k, r, t] = -network.log_prob(self._held_out[k]).mean().item()
                    made[k, r, t] = network.sample(size, noise=noise)
        change = losses - losses[:, :1, :1]
        return {
            "size": list(size),
            "drawings": self._support.shape[1],
            "samples": samples,
            "names": names,
            "rates": rates,
            "most_steps": most,
            "rate": finite(self._model.inner_rate.item(), 5),
            "support": packed(self._support),
            "before": packed(before),
            "made": packed(made),  # (K, rates, steps, samples, 1, S, S)
            "losses": [[[finite(one) for one in row] for row in rows] for rows in change],  # (K, rates, steps)
            "nll": [[[finite(one) for one in row] for row in rows] for rows in nll],
        }

    def _noise(self, samples: int) -> Tensor:
        return torch.rand(samples, *self._support.shape[-2:], generator=self._generator)

    @torch.no_grad()
    def draw_another(self) -> None:
        """Drawings of noise not used before, before and after the steps that are chosen now."""
        noise, size = self._noise(self.scene["samples"]), tuple(self._support.shape[-2:])
        rate = self.rate * self._model.inner_rate.item()
        network = self._model.network(self._support[self.character], rate, self.steps)
        self.fresh = {"character": self.character, "rate": self.rate, "steps": self.steps,
                      "before": packed(self._model.pixelcnn.sample(size, noise=noise)),
                      "after": packed(network.sample(size, noise=noise))}

    def still(self) -> bytes:
        """What was shown, then what was drawn before and after the steps."""
        scene, samples = self.scene, self.scene["samples"]
        before, made = (unpacked(scene[name], scene["size"]) for name in ("before", "made"))
        at = (self.character * len(scene["rates"]) + scene["rates"].index(self.rate)) * (scene["most_steps"] + 1)
        drawn = np.concatenate([before[:samples], made[(at + self.steps) * samples :][:samples]])
        support = as_array(self._support[self.character, :, 0]).astype(np.uint8)
        pictures = 255 * np.concatenate([support, drawn])
        return png(strip(pictures, panels=len(pictures)))


def _check(model, support: Tensor, held_out: Tensor, samples: int, rates: Sequence[float], most_steps: int) -> None:
    if support.dim() != 5 or support.shape[2] != 1 or 0 in support.shape:
        raise ValueError(f"support has shape {tuple(support.shape)}; expected (K, N, 1, S, S), nothing empty")
    if held_out.dim() != 5 or 0 in held_out.shape or len(held_out) != len(support) \
            or held_out.shape[2:] != support.shape[2:]:
        raise ValueError(f"held_out has shape {tuple(held_out.shape)}; expected drawings like the support's, "
                         f"({len(support)}, M, {', '.join(map(str, support.shape[2:]))})")
    if model.config.levels != 2:
        raise ValueError(f"model has {model.config.levels} levels; expected 2, ink and paper")
    for name, value in (("samples", samples), ("most_steps", most_steps)):
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} is {value!r}; expected at least 1")
    if len(rates) < 2 or rates[0] != 0 or not all(a < b < math.inf for a, b in zip(rates, rates[1:], strict=False)):
        raise ValueError(f"rates is {tuple(rates)}; expected 0 and then numbers that rise")
