r"""The pixel player: an image written pixel by pixel, and beside it where each pixel looks in the support.

The model is the attention PixelCNN (Reed et al. 2018). Pixel i asks, and the weights $a_{im}$ over the positions m of
all the support drawings, which sum to one, say where the answer comes from (`AttentionPixelCNN.read`). The figure
shows, for i = 1, 2, ...: the pixels before i, the pixel i with its p(ink), and the weights $a_i$ over the drawings,
with their mean place in each drawing.

Everything is computed beforehand, so that the static copy is as alive as the one with a kernel. A map of weights is
kept as its heaviest places, at most `MOST` of them where the pixel is in doubt and `FEW` where it is not, a byte for
each weight; the means and shares are those of the whole map, and how much of it is shown is said in the figure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import traitlets

from .frames import as_array, ink, packed, png, strip, unpacked
from .shell import TwoLayerWidget

MOST, FEW = 255, 24  # places of a pixel's attention that are kept, where it is in doubt and elsewhere
DOUBT = 0.05  # p(ink) from here to one minus this
ENOUGH = 0.98  # of the weight: what is beyond is left out


class Writing(NamedTuple):
    """An image and where each of its pixels looked: `x` (H, W) and `support` (N, H, W) of zeros and ones; `weights`
    (H, W, N, H, W), summing to one over the last three; `ink` (H, W), the probability of ink before the pixel was
    written; `name`, what it is called."""

    x: torch.Tensor
    support: torch.Tensor
    weights: torch.Tensor
    ink: torch.Tensor
    name: str = ""


def writing(model, x: torch.Tensor, support: torch.Tensor, name: str = "", head: int | None = None) -> Writing:
    """What `model.read` (an `AttentionPixelCNN`'s) says of one image x (1, H, W) and its support (N, 1, H, W).

    The weights are the average over reads and heads, which sums to one like each of them; or those of one `head`, reads
    and heads counted in one row from 0. Raises ValueError on shapes, and for a head that there is not.
    """
    if x.dim() != 3 or support.dim() != 4:
        raise ValueError(f"x has shape {tuple(x.shape)} and support {tuple(support.shape)}; expected (1, H, W) and "
                         "(N, 1, H, W)")
    reading = model.read(x[None], support[None])
    heads = reading.weights[0].flatten(0, 1)  # (reads heads, H, W, N, H, W)
    if head is not None and head not in range(len(heads)):
        raise ValueError(f"head is {head!r}; expected a number from 0 to {len(heads) - 1}")
    return Writing(x[0], support[:, 0], heads.mean(0) if head is None else heads[head], reading.ink[0], name)


class Places(NamedTuple):
    """Maps of weights as bytes, pixel by pixel: `counts` (uint8), how many places of each map are kept; `where`
    (uint16, little-endian) and `weight` (uint8, the heaviest of a pixel is 255), one after the other; `shown` (uint8,
    255 for all), the share of the map that these are."""

    counts: bytes
    where: bytes
    weight: bytes
    shown: bytes


def heaviest(weights: np.ndarray, most: np.ndarray | int = MOST) -> Places:
    """The heaviest places of each map, (pixels, places) -> at most `most` (one for all, or one each), heaviest first.

    Places lighter than half a 255th of the heaviest would be seen as nothing and are left out, and so is what comes
    after `ENOUGH` of the weight.

    >>> kept = heaviest(np.array([[0.0, 0.75, 0.25], [1.0, 0.0, 0.0]]))
    >>> list(kept.counts), np.frombuffer(kept.where, "<u2").tolist(), list(kept.weight)
    ([2, 1], [1, 2, 0], [255, 85, 255])
    """
    order = np.argsort(-weights, axis=1, kind="stable")[:, :MOST]
    sorted_weights = np.take_along_axis(weights, order, 1)
    level = np.rint(255 * sorted_weights / sorted_weights[:, :1]).astype(np.uint8)
    before = np.cumsum(sorted_weights, 1) - sorted_weights
    few = np.arange(order.shape[1]) < np.broadcast_to(most, len(order))[:, None]
    kept = (level > 0) & (before < ENOUGH) & few  # a beginning of each row, since it falls
    shown = np.rint(255 * np.minimum((sorted_weights * kept).sum(1), 1)).astype(np.uint8)
    counts = kept.sum(1).astype(np.uint8)
    return Places(counts.tobytes(), order[kept].astype("<u2").tobytes(), level[kept].tobytes(), shown.tobytes())


def means(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Share of each drawing, and mean row and column in it: (P, N, H, W) -> (P, N) and (P, N, 2), in pixels from 0."""
    share = weights.sum((2, 3))
    rows, columns = np.arange(weights.shape[2]), np.arange(weights.shape[3])
    place = np.stack([(weights.sum(3) * rows).sum(2), (weights.sum(2) * columns).sum(2)], 2)
    return share, place / np.maximum(share, 1e-12)[..., None]


def scene_of(one: Writing) -> dict:
    """One writing as the JSON and bytes that are shown. Raises ValueError on shapes that do not fit, numbers that are
    no probabilities, weights that do not sum to one."""
    x, support, weights, p = (as_array(part) for part in one[:4])
    if x.ndim != 2 or support.ndim != 3 or support.shape[1:] != x.shape or not len(support):
        raise ValueError(f"x has shape {x.shape} and support {support.shape}; expected (H, W) and (N, H, W)")
    if weights.shape != (*x.shape, *support.shape) or p.shape != x.shape:
        raise ValueError(f"weights has shape {weights.shape} and ink {p.shape}; expected {(*x.shape, *support.shape)} "
                         f"and {x.shape}")
    flat = weights.reshape(x.size, -1).astype(np.float64)
    sums = flat.sum(1)
    if flat.shape[1] > 2**16 or not (np.abs(sums - 1) < 1e-3).all() or flat.min() < 0:
        raise ValueError(f"weights sum to {sums.min():.4g} .. {sums.max():.4g} over {flat.shape[1]} places; expected "
                         "to one, none below zero, over at most 65536")
    share, place = means(flat.reshape(x.size, *support.shape))
    scale = 255 / (np.array(x.shape) - 1).clip(1)
    return {
        "name": one.name,
        "size": list(x.shape),
        "drawings": len(support),
        "x": packed(x[None]),
        "support": packed(support),
        "ink": ink(p, "ink").tobytes(),
        "share": np.rint(255 * share.clip(0, 1)).astype(np.uint8).tobytes(),  # (P, N)
        "place": np.rint(place * scale).clip(0, 255).astype(np.uint8).tobytes(),  # (P, N, 2)
        **{f"map_{name}": part for name, part in heaviest(flat, np.where(in_doubt(p), MOST, FEW))._asdict().items()},
    }


def in_doubt(p: np.ndarray) -> np.ndarray:
    """Whether a pixel's p(ink) leaves it open what will be written: (H, W) -> (H W,)."""
    return (np.minimum(p, 1 - p) > DOUBT).reshape(-1)


class PixelPlayer(TwoLayerWidget):
    """Images written pixel by pixel, each pixel with its attention over the support drawings.

    `writings` are `Writing`s, among which the reader chooses. At `step` t the first t pixels in reading order are
    written, and the next one asks; `example` is the number of the writing, from 0. Both can be set, and read again
    where the reader left them. `about` is `description` and `label`, as for every widget. Raises ValueError where
    there is nothing to show, on what `scene_of` refuses, on a step or an example that there is not.
    """

    look = "oneshot-pixels"

    scenes = traitlets.List(traitlets.Dict(), help="everything that there is to be seen").tag(sync=True)
    example = traitlets.Int(0).tag(sync=True)
    step = traitlets.Int(0).tag(sync=True)

    def __init__(self, writings: Sequence[Writing], example: int = 0, step: int = 0, **about):
        scenes = [scene_of(one) for one in writings]
        if not scenes:
            raise ValueError("writings is empty; expected at least one")
        for k, scene in enumerate(scenes):
            scene["name"] = scene["name"] or f"example {k + 1}"
        super().__init__(scenes=scenes, **about)
        self.example, self.step = example, step

    def alternative_text(self) -> str:
        """What is written, and what is beside it."""
        return ("An image is written pixel by pixel; beside it each drawing of its support, with the places that the "
                "pixel looks at.")

    @traitlets.validate("example")
    def _is_an_example(self, proposal):
        if not 0 <= proposal.value < len(self.scenes):
            raise ValueError(f"example is {proposal.value}; expected a number from 0 to {len(self.scenes) - 1}")
        return proposal.value

    @traitlets.validate("step")
    def _is_a_step(self, proposal):
        pixels = max(int(np.prod(scene["size"])) for scene in self.scenes)
        if not 0 <= proposal.value <= pixels:
            raise ValueError(f"step is {proposal.value}; expected a number from 0 to {pixels}")
        return proposal.value

    def still(self) -> bytes:
        """What is written at this step, then each support drawing, pale, with the places that are looked at."""
        scene = self.scenes[self.example]
        size, pixels = scene["size"], int(np.prod(scene["size"]))
        x, support = (unpacked(scene[name], size).reshape(-1, pixels) for name in ("x", "support"))
        step = min(self.step, pixels)
        pictures = np.concatenate([255 * x * (np.arange(pixels) < step), 70 * support]).astype(np.uint8)
        if step < pixels:
            where, weight = self.places(step)
            seen = pictures[1:].reshape(-1)
            seen[where] = np.maximum(seen[where], weight)
            pictures[0, step] = 140
        return png(strip(pictures.reshape(-1, *size), panels=len(pictures)))

    def places(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Places (in the support, drawing by drawing) and weights (the heaviest is 255) of pixel `step`, from 0."""
        scene = self.scenes[self.example]
        counts = np.frombuffer(scene["map_counts"], np.uint8).astype(int)
        part = slice(counts[:step].sum(), counts[: step + 1].sum())
        return np.frombuffer(scene["map_where"], "<u2")[part], np.frombuffer(scene["map_weight"], np.uint8)[part]
