r"""The canvas player: a symbol drawn stroke by stroke, with the windows it is read and written through.

The figure shows a drawing process of `models.sequential` (Rezende et al. 2016): the canvas $f_o(c_t)$ after
$t = 0, \dots, T$ steps, the write window of step t on it, the read window of step t on the image it is
after, and the price of each step, $\mathrm{KL}(q(z_t \mid z_{<t}, x) \,\|\, p(z_t))$ in nats, as bars. With
a model behind it, z can be moved and other drawings asked for.
"""

from __future__ import annotations

import numpy as np
import torch
import traitlets

from .frames import as_array, frames, ink, png, strip
from .shell import KernelWidget


def window_corners(window) -> list[list[float]]:
    """Windows (T, 2, 3) -> the four corners of each in image coordinates, (T, 8): x, y, x, y, ..."""
    square = np.array([[-1, -1, 1], [1, -1, 1], [1, 1, 1], [-1, 1, 1]], dtype=float)
    corners = np.einsum("tij,kj->tki", as_array(window).astype(float), square)
    return np.round(corners.reshape(len(corners), 8), 3).tolist()


def scene_of(drawing, index: int = 0, target: np.ndarray | None = None, by_hand: bool = False) -> dict:
    """One drawing of a batch and the image (H, W) uint8 it is after, as the JSON and bytes that are shown.

    `by_hand` marks a drawing whose z was set by the reader. Raises ValueError on shapes that do not fit.
    """
    canvas = frames(drawing, index)
    steps = len(canvas) - 1
    if target is not None and target.shape != canvas.shape[1:]:
        raise ValueError(f"image has shape {target.shape}; expected {canvas.shape[1:]}, that of the canvas")
    shapes = {"write_window": (2, 3), "read_window": (2, 3), "kl": (), "z": drawing.z.shape[2:]}
    for name, rest in shapes.items():
        shape = None if getattr(drawing, name) is None else tuple(getattr(drawing, name).shape[1:])
        if shape not in (None, (steps, *rest)):
            raise ValueError(f"drawing.{name} holds {shape} a drawing; expected {(steps, *rest)}")
    read, kl = drawing.read_window, drawing.kl
    return {
        "size": list(canvas.shape[1:]),
        "steps": steps,
        "frames": canvas.tobytes(),
        "target": None if target is None else target.tobytes(),
        "write": window_corners(drawing.write_window[index]),
        "read": None if read is None else window_corners(read[index]),
        "kl": None if kl is None else np.round(as_array(kl[index]).astype(float), 3).tolist(),
        "z": np.round(as_array(drawing.z[index]).astype(float), 3).tolist(),
        "by_hand": by_hand,
    }


class CanvasPlayer(KernelWidget):
    """A drawing process, step by step.

    `drawing` is a `models.sequential.Drawing`, or anything with its five fields, of which the one at `index`
    is shown; `image` the picture it is after: numbers in [0, 1], (H, W), (1, H, W) or, with one image a
    drawing, (B, 1, H, W). `about` is `description` and `label`, as for every widget.

    With a `model` (`draw(n, generator=, z=)`, `reconstruct(x, generator=)`) and a kernel, the figure also
    has sliders over z and a button for another drawing: of `image` where one is given, else from the prior.
    `generator` is what these draw their noise from (seed 0 unless told). A page without a kernel lacks both,
    and nothing else. `step` is where the reader last stopped; set it to turn the figure there.

    Raises ValueError on numbers outside [0, 1], shapes that do not fit, a description that describes nothing.
    """

    look = "oneshot-drawing"

    scene = traitlets.Dict(help="what is shown now, see `scene_of`").tag(sync=True)
    step = traitlets.Int(0).tag(sync=True)

    def __init__(self, drawing, image=None, index: int = 0, model=None,
                 generator: torch.Generator | None = None, **about):
        self._image = None if image is None else _one_image(image, index)
        self._target = None if image is None else ink(self._image, "image")
        first = scene_of(drawing, index, self._target)
        super().__init__(scene=first, live=model is not None, **about)
        self._model = model
        self._generator = generator if generator is not None else torch.Generator().manual_seed(0)
        self._unmoved = first, torch.as_tensor(drawing.z[index]).detach()[None]
        self._z = self._unmoved[1]

    def alternative_text(self) -> str:
        """What is drawn, and how."""
        what = "an image is drawn again" if self.scene["target"] is not None else "a symbol is drawn from nothing"
        return f"Stroke by stroke, in {self.scene['steps']} steps, {what} on a hidden canvas."

    # --- requests from the figure ---

    @torch.no_grad()
    def answer(self, request: dict) -> None:
        """`{"another": true}`, `{"restore": true}` or `{"latents": [[step, component, value], ...]}`."""
        if request.get("another"):
            self.draw_another()
        elif request.get("restore"):
            self.scene, self._z = self._unmoved
        elif "latents" in request:
            self.move_latents(request["latents"])

    def draw_another(self) -> None:
        """Another drawing of the same image, from the posterior; without an image, one from the prior."""
        if self._image is None:
            drawing = self._model.draw(1, generator=self._generator)
        else:
            x = torch.as_tensor(self._image)[None, None]  # (1, 1, H, W)
            drawing = self._model.reconstruct(x, generator=self._generator)
        self._unmoved = scene_of(drawing, 0, self._target), drawing.z
        self.scene, self._z = self._unmoved

    def move_latents(self, changes: list[tuple[int, int, float]]) -> None:
        """Draw again with some components of z replaced: (step from 0, component, value)."""
        z = self._z.clone()
        for step, component, value in changes:
            z[0, step, component] = value
        drawing = self._model.draw(z=z)
        self.scene, self._z = scene_of(drawing, 0, self._target, by_hand=True), z

    # --- the static copy ---

    def static_state(self) -> dict:
        """All but z, which only a kernel can move."""
        return {**super().static_state(), "scene": {**self.scene, "z": None}}

    def still(self) -> bytes:
        """Six moments of the drawing, from the blank canvas to the last, each with the window just written through."""
        shown = np.frombuffer(self.scene["frames"], np.uint8).reshape(-1, *self.scene["size"])
        return png(strip(shown, outlines=self.scene["write"]))


def _one_image(image, index: int) -> np.ndarray:
    """(H, W), (1, H, W) or the one at `index` of (B, 1, H, W) -> (H, W) float32."""
    pixels = as_array(image)
    shape = pixels.shape
    if pixels.ndim == 4:
        pixels = pixels[index] if -len(pixels) <= index < len(pixels) else pixels[:0]
    if pixels.ndim == 3 and len(pixels) == 1:
        pixels = pixels[0]
    if pixels.ndim != 2:
        raise ValueError(f"image has shape {shape}; expected (H, W), (1, H, W) or (B, 1, H, W), B > {index}")
    return pixels.astype(np.float32)
