r"""The window explorer: drag a window over a drawing, see what it reads, what it writes back, and what pulls it.

The window reads a patch $r = W_\lambda x$ and writes it back, $W_\lambda^\top r$ (`oneshot_lib.attention`). What it is
asked to find is ink,

$$E(\lambda) = \tfrac12 \lVert W_\lambda x \rVert^2 = \tfrac12 \langle x, W_\lambda^\top W_\lambda x \rangle ,$$

and the figure shows the gradient of E in every number of the window: an arrow for the centre, and the number itself
for each slider. Where a window of tents touches no ink, all of them are zero, exactly. Everything is computed where the
figure is, so the static copy is as alive as the one with a kernel.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import traitlets
from torch import Tensor

from oneshot_lib import attention

from .frames import ink, png
from .shell import TwoLayerWidget

PATCH = 12  # pixels a side, as in Rezende 2016
NUMBERS = {  # what of the window each variety asks for, in the order of the library's numbers
    "translation": ("x", "y"),
    "translation-scale": ("x", "y", "half_width"),
    "axis-aligned": ("x", "y", "half_width", "half_height"),
    "similarity": ("x", "y", "half_width", "angle"),
    "rotated": ("x", "y", "half_width", "half_height", "angle"),
    "affine": ("x", "y", "half_width", "half_height", "angle", "shear"),
    "gaussian": ("x", "y", "half_width", "variance"),
}
BY_LOGARITHM = ("half_width", "half_height", "variance")  # asked for, and pulled, by their logarithms


class Glance(NamedTuple):
    """What a window sees: the `patch` (12, 12), what of it is `written` (S, S), the `ink` E it sees, and the `pull`:
    the gradient of E in every number, in the logarithm of those in `BY_LOGARITHM`."""

    patch: Tensor
    written: Tensor
    ink: float
    pull: dict[str, float]


class WindowExplorer(TwoLayerWidget):
    """A window of any of seven varieties over drawings (K, S, S), ink from 0 to 1.

    The window has its centre at `x`, `y` and reaches `half_width` and `half_height` to its sides, in image coordinates
    from -1 to 1; it is turned by `angle` radians, sheared by `shear` (affine only), and its Gaussians have `variance`
    pixels squared. A variety that has no use for a number leaves it alone. Where the reader left it all can be read
    again; beside it, `description` and `label` as for every widget. `names` is what the drawings are called. Raises
    ValueError on drawings of another form and on numbers that make no window.

    >>> explorer = WindowExplorer(torch.zeros(1, 28, 28), variety="translation")
    >>> explorer.glance().pull  # on bare paper
    {'x': 0.0, 'y': 0.0}
    """

    look = "oneshot-window"

    scene = traitlets.Dict(help="the drawings, and what they are called").tag(sync=True)
    drawing = traitlets.Int(0).tag(sync=True)
    variety = traitlets.Unicode("axis-aligned").tag(sync=True)
    x = traitlets.Float(0.0).tag(sync=True)
    y = traitlets.Float(0.0).tag(sync=True)
    half_width = traitlets.Float(0.4).tag(sync=True)
    half_height = traitlets.Float(0.4).tag(sync=True)
    angle = traitlets.Float(0.0, help="radians, from x towards y").tag(sync=True)
    shear = traitlets.Float(0.0).tag(sync=True)
    variance = traitlets.Float(1.0, help="of a Gaussian filter, in pixels squared").tag(sync=True)

    def __init__(self, drawings: Tensor, names: list[str] | None = None, **where):
        levels = ink(drawings, "drawings")
        if levels.ndim == 4 and levels.shape[1] == 1:
            levels = levels[:, 0]
        if levels.ndim != 3 or levels.shape[1] != levels.shape[2]:
            raise ValueError(f"drawings has shape {levels.shape}; expected (K, S, S) or (K, 1, S, S)")
        names = [f"drawing {k + 1}" for k in range(len(levels))] if names is None else list(names)
        if len(names) != len(levels):
            raise ValueError(f"names has {len(names)} entries; expected {len(levels)}, one a drawing")
        self._levels = levels
        scene = {"size": levels.shape[1], "names": names, "ink": levels.tobytes(),
                 "numbers": {name: list(asked) for name, asked in NUMBERS.items()}}
        super().__init__(scene=scene, **where)

    def alternative_text(self) -> str:
        """What the three pictures show."""
        return ("A drawing with a window on it, the 12 by 12 patch that the window reads, and the patch written back "
                "through the window. An arrow at the window's centre shows which way more ink would be seen; on bare "
                "paper a window of tents has none.")

    @traitlets.validate("variety", "drawing")
    def _is_there(self, proposal):
        offered = list(NUMBERS) if proposal.trait.name == "variety" else list(range(len(self._levels)))
        if proposal.value not in offered:
            raise ValueError(f"{proposal.trait.name} is {proposal.value!r}; expected one of {offered}")
        return proposal.value

    @traitlets.validate("x", "y", "half_width", "half_height", "angle", "shear", "variance")
    def _makes_a_window(self, proposal):
        name, value = proposal.trait.name, proposal.value
        if not np.isfinite(value) or (name in BY_LOGARITHM and value <= 0):
            raise ValueError(f"{name} is {value}; expected a{' positive' if name in BY_LOGARITHM else ''} number")
        return value

    # --- what the figure computes, by the library ---

    def numbers(self) -> Tensor:
        """The library's numbers of the window as it stands: (n,), for `attention.named(self.variety)`."""
        return self._numbers(self._asked()).detach()

    def glance(self) -> Glance:
        """What is seen through the window as it stands."""
        image = torch.from_numpy(self._levels[self.drawing] / 255)[None, None]
        asked, variety = self._asked(), attention.named(self.variety)
        with torch.enable_grad():
            numbers = self._numbers(asked)[None]
            patch = variety.read(image, numbers, (PATCH, PATCH))
            seen = patch.square().sum() / 2
            pull = torch.autograd.grad(seen, list(asked.values()))
        written = variety.write(patch.detach(), numbers.detach(), image.shape[-2:])
        slopes = {name: slope.item() for name, slope in zip(asked, pull, strict=True)}
        return Glance(patch[0, 0].detach(), written[0, 0], seen.item(), slopes)

    def _asked(self) -> dict[str, Tensor]:
        values = {name: torch.tensor(getattr(self, name), dtype=torch.float64) for name in NUMBERS[self.variety]}
        return {name: (value.log() if name in BY_LOGARITHM else value).requires_grad_()
                for name, value in values.items()}

    def _numbers(self, asked: dict[str, Tensor]) -> Tensor:
        if self.variety == "affine":
            x, y, width, height, angle, shear = asked.values()
            cos, sin, width, height = angle.cos(), angle.sin(), width.exp(), height.exp()
            across, down = height * (shear * cos - sin), height * (shear * sin + cos)
            return torch.stack([width * cos, across, x, width * sin, down, y])
        numbers = list(asked.values())
        if self.variety == "gaussian":
            numbers.append(torch.zeros_like(numbers[0]))  # the intensity is 1
        return torch.stack(numbers)

    def still(self) -> bytes:
        """The drawing, the patch, and what is written back."""
        glance, side = self.glance(), 12 * self._levels.shape[1]
        pictures = []
        for values in (self._levels[self.drawing] / 255, glance.patch.numpy(), glance.written.numpy()):
            magnified = np.kron(values / max(values.max(), 1e-9), np.ones((side // len(values),) * 2))
            pictures.append((255 * (1 - magnified)).astype(np.uint8))
        gap = np.full((side, 24), 200, np.uint8)
        return png(np.hstack([pictures[0], gap, pictures[1], gap, pictures[2]])[::4, ::4])
