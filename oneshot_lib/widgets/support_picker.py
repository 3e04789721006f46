r"""The support picker: choose one to five drawings of a character; the class latent and new drawings follow.

The model is the PixelCNN homoencoder (Hewitt et al. 2018, supplement 6.4.3). For every choice $D$ of a character's
drawings the figure shows

    the mean of q(c | D), channel by channel;  KL(q(c | D) || p(c)) in nats;  x ~ p(x | c, z) with c ~ q(c | D)

All the choices are computed beforehand (five drawings have 31), so that the static copy is as alive as the one with a
kernel. The noise behind c, z and the pixels is the same for each of them: what differs between two choices is due to
the drawings chosen. The mean of q(c | D) is the average of what its drawings give alone, so only these are kept.
"""

from __future__ import annotations

import numpy as np
import torch
import traitlets

from .frames import as_array, packed, png, strip, unpacked
from .shell import KernelWidget

MOST = 5  # drawings of a character: 2^5 - 1 choices


def choices(drawings: int) -> list[list[int]]:
    """All subsets of so many drawings but the empty one; number k - 1 holds drawing j where bit j of k is set.

    >>> choices(2)
    [[0], [1], [0, 1]]
    """
    return [[j for j in range(drawings) if k >> j & 1] for k in range(1, 2**drawings)]


class SupportPicker(KernelWidget):
    """New drawings of a character from any choice of its drawings.

    `support` (K, N, 1, S, S) holds N drawings, up to five, of K characters, ones where there is ink; `samples` are
    drawn from each choice. `chosen` are the drawings (from 0) of the character number `character`; both can be set, and
    read again where the reader left them. `names` is what the characters are called, `about` `description` and `label`,
    as for every widget. With a kernel (`live`), other drawings can be asked for. Raises ValueError on shapes that
    do not fit, and on choices that there are not.
    """

    look = "oneshot-picker"

    scene = traitlets.Dict(help="everything that there is to be seen").tag(sync=True)
    fresh = traitlets.Dict(help="drawings asked for: character, choice, made").tag(sync=True, static={})
    character = traitlets.Int(0).tag(sync=True)
    chosen = traitlets.List(traitlets.Int(), [0]).tag(sync=True)

    def __init__(self, model, support: torch.Tensor, samples: int = 6, chosen: list[int] | None = None,
                 character: int = 0, generator: torch.Generator | None = None, names: list[str] | None = None,
                 **about):
        if support.dim() != 5 or support.shape[2] != 1 or 0 in support.shape or support.shape[1] > MOST:
            raise ValueError(f"support has shape {tuple(support.shape)}; expected (K, N, 1, S, S), N at most {MOST}")
        if samples < 1:
            raise ValueError(f"samples is {samples!r}; expected at least 1")
        names = [f"character {k + 1}" for k in range(len(support))] if names is None else list(names)
        if len(names) != len(support):
            raise ValueError(f"names has {len(names)} entries; expected {len(support)}, one a character")
        self._model, self._support = model, support
        self._generator = generator if generator is not None else torch.Generator().manual_seed(0)
        super().__init__(scene=self._explore(samples, names), character=character,
                         chosen=[0] if chosen is None else sorted(chosen), **about)

    def alternative_text(self) -> str:
        """What there is to choose from, and what follows."""
        return (f"{self.scene['drawings']} drawings of a character to choose from, the class latent of the chosen ones "
                f"channel by channel, and {self.scene['samples']} new drawings made from it.")

    @traitlets.validate("chosen")
    def _is_a_choice(self, proposal):
        held = range(self._support.shape[1])
        if not proposal.value or len(set(proposal.value)) < len(proposal.value) or not set(proposal.value) <= set(held):
            raise ValueError(f"chosen is {proposal.value}; expected different numbers from 0 to {len(held) - 1}, "
                             "one at least")
        return proposal.value

    @traitlets.validate("character")
    def _is_a_character(self, proposal):
        if not 0 <= proposal.value < len(self._support):
            raise ValueError(f"character is {proposal.value}; expected a number from 0 to {len(self._support) - 1}")
        return proposal.value

    # --- what a choice leads to ---

    @torch.no_grad()
    def _explore(self, samples: int, names: list[str]) -> dict:
        """Every choice of every character: latents, prices, and drawings from one and the same noise."""
        model, (characters, drawings) = self._model, self._support.shape[:2]
        alone = model.posterior(self._support.flatten(0, 1)[:, None]).mean  # (K N, Dc), |D| = 1
        latents = model.template(alone).unflatten(0, (characters, drawings))
        largest = latents.abs().amax((1, 2, 3, 4), keepdim=True).clamp_min(1e-9)  # of each character
        levels = (127 * latents / largest).round().to(torch.int8)
        of_noise, prices, made = self._noise(samples), [], []
        for chosen in choices(drawings):
            q = model.posterior(self._support[:, chosen])
            prices.append(model.class_kl(q, q.sample(of_noise[0][:1].expand_as(q.mean))))
            made.append(self._draw(q, of_noise))
        return {
            "size": list(self._support.shape[-2:]),
            "characters": characters,
            "drawings": drawings,
            "samples": samples,
            "names": names,
            "support": packed(self._support),
            "channels": latents.shape[2],
            "latents": as_array(levels).tobytes(),  # (K, N, C, S, S)
            "prices": torch.stack(prices, 1).double().round(decimals=1).tolist(),  # (K, choices)
            "made": packed(torch.stack(made, 1)),  # (K, choices, samples, 1, S, S)
        }

    def _noise(self, samples: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """For c and z standard normal, for the pixels uniform: of `samples` drawings."""
        model, size = self._model, tuple(self._support.shape[-2:])
        normal = [torch.randn(samples, n, generator=self._generator) for n in (model.class_size, model.element_size)]
        return *normal, torch.rand(samples, *size, generator=self._generator)

    def _draw(self, q, noise: tuple[torch.Tensor, torch.Tensor, torch.Tensor]) -> torch.Tensor:
        """q over (K, Dc) -> a drawing for each class and noise, (K, samples, 1, S, S)."""
        of_c, of_z, of_pixels = (part.expand(len(q.mean), *part.shape).flatten(0, 1) for part in noise)
        samples = len(noise[0])
        wide = type(q)(*(part.repeat_interleave(samples, 0) for part in (q.mean, q.log_sigma)))
        c = wide.sample(of_c)
        z = self._model.element_prior(c).sample(of_z) if self._model.element_size else None
        made = self._model.pixelcnn.sample(of_pixels.shape[1:], y=self._model.features(c, z), noise=of_pixels)
        return made.unflatten(0, (-1, samples))

    @torch.no_grad()
    def draw_another(self) -> None:
        """Other drawings from the drawings that are chosen now, of noise not used before."""
        q = self._model.posterior(self._support[[self.character]][:, self.chosen])
        made = self._draw(q, self._noise(self.scene["samples"]))
        number = sum(1 << j for j in self.chosen) - 1
        self.fresh = {"character": self.character, "choice": number, "made": packed(made)}

    def still(self) -> bytes:
        """The chosen drawings, then what was made from them."""
        number = self.character * len(self.scene["prices"][0]) + sum(1 << j for j in self.chosen) - 1
        drawn = unpacked(self.scene["made"], self.scene["size"])
        made = drawn[number * self.scene["samples"] :][: self.scene["samples"]]
        support = as_array(self._support[self.character, self.chosen, 0]).astype(np.uint8)
        pictures = 255 * np.concatenate([support, made])
        return png(strip(pictures, panels=len(pictures)))
