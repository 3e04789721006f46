r"""The plane of drawings: how far apart somebody's drawings lie, and how often they are recognized, with the drawings.

Boutin et al. 2022 put whoever draws from one exemplar into a plane: diversity to the right, recognizability upwards
(`oneshot_lib.evaluation.judging`). Here each of them can be chosen, by its point or from a slider, and twenty of its
drawings are shown beside the exemplar. What is done to an exemplar by degrees, shifting it further and further or
turning over more and more of its pixels, is a source of several stops: a curve in the plane, along which a second
slider walks.

All drawings are in the figure, so that the static copy is as alive as the one with a kernel. Twenty copies of one
drawing are cheap to keep: a source is held as `changes` of the exemplars wherever that is shorter than its pixels.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import traitlets

from .frames import as_array, packed, unpacked
from .shell import TwoLayerWidget, plotted

GROUPS = ("people", "controls", "models")
BEFORE = 0xFFFF  # in `changes`: made from the drawing of the stop before


class Stop(NamedTuple):
    """A place in the plane and the drawings shown of it: `drawings` (C, N, S, S) of zeros and ones and `parts` (C, 2),
    the diversity and recognizability (%) of each of the C characters; `label` says what the slider stands at."""

    diversity: float
    diversity_error: float
    recognizability: float
    recognizability_error: float
    drawings: np.ndarray
    parts: np.ndarray
    label: str = ""


class Source(NamedTuple):
    """Who drew: `group` is one of `GROUPS`, and more stops than one are a curve."""

    name: str
    group: str
    stops: list[Stop]


def stop(point, drawings, shown, label: str = "") -> Stop:
    """The stop of a `judging.Point` from the drawings (K, N, S, S) that were judged: `shown` are the classes to see."""
    shown = list(shown)
    parts = np.stack([as_array(part)[shown] for part in (point.diversity_of, point.recognizability_of)], 1)
    return Stop(point.diversity.value, point.diversity.error, point.recognizability.value, point.recognizability.error,
                as_array(drawings)[shown], parts, label)


# --- drawings as changes of another -----------------------------------------------------------------------------------


def moved(drawing: np.ndarray, down: int, right: int) -> np.ndarray:
    """A drawing (S, S) moved over the page, what leaves it lost."""
    size, there = len(drawing), np.zeros_like(drawing)
    rows, columns = (slice(max(0, by), size + min(0, by)) for by in (down, right))
    from_rows, from_columns = (slice(max(0, -by), size + min(0, -by)) for by in (down, right))
    there[rows, columns] = drawing[from_rows, from_columns]
    return there


def best_move(drawing: np.ndarray, exemplar: np.ndarray) -> tuple[int, int]:
    """How far down and to the right the exemplar must go to share the most ink with a drawing, (S, S) each."""
    wide = (2 * len(drawing),) * 2
    shared = np.fft.irfft2(np.fft.rfft2(drawing, wide) * np.fft.rfft2(exemplar, wide).conj(), wide).round(3)
    found = np.unravel_index(shared.argmax(), wide)
    return tuple(int(by) if by < len(drawing) else int(by) - wide[0] for by in found)


def changes(drawings: np.ndarray, exemplars: np.ndarray) -> bytes:
    """Drawings (M, C, N, S, S) of M stops, as changes of the exemplars (C, S, S) or of the stop before.

    For every character, drawing and stop, in this order, little-endian 16-bit numbers: what it is made from (`BEFORE`,
    or (down + S) * 2S + right + S of the exemplar moved), how many pixels differ from that, and which. Nothing is lost.
    """
    size, words = drawings.shape[-1], []
    for c, n in np.ndindex(*drawings.shape[1:3]):
        before = None
        for drawing in drawings[:, c, n]:
            by = best_move(drawing, exemplars[c])
            tag, base = (by[0] + size) * 2 * size + by[1] + size, moved(exemplars[c], *by)
            if before is not None and (before != drawing).sum() < (base != drawing).sum():
                tag, base = BEFORE, before
            places = np.flatnonzero(base != drawing)
            words.append(np.concatenate([[tag, len(places)], places]))
            before = drawing
    return np.concatenate(words).astype("<u2").tobytes()


def drawn(held: dict, exemplars: np.ndarray) -> np.ndarray:
    """The drawings (M, C, N, S, S) of a source as the scene holds it: of its pixels, or of `changes`."""
    stops, count, size = len(held["stops"]), held["count"], held["size"]
    shape = (stops, len(exemplars), count, size, size)
    if "bits" in held:
        return unpacked(held["bits"], (size, size)).reshape(shape)
    words, at, made = np.frombuffer(held["changes"], "<u2"), 0, np.zeros(shape, np.uint8)
    for c, n, m in np.ndindex(len(exemplars), count, stops):
        tag, differ = (int(word) for word in words[at : at + 2])
        down, right = tag // (2 * size) - size, tag % (2 * size) - size
        base = made[m - 1, c, n] if tag == BEFORE else moved(exemplars[c], down, right)
        made[m, c, n] = base
        made[m, c, n].reshape(-1)[words[at + 2 : at + 2 + differ]] ^= 1
        at += 2 + differ
    return made


def _as_bits(drawings, name: str) -> np.ndarray:
    pixels = as_array(drawings)
    if not np.isin(pixels, (0, 1)).all():
        raise ValueError(f"{name} hold numbers up to {pixels.max():.4g}; expected zeros and ones only")
    return pixels.astype(np.uint8)


class PlaneExplorer(TwoLayerWidget):
    """People, controls and models in the plane, with their drawings.

    `sources` come in the order of the slider; the first of the group "people" is the mark that the others are held
    against. `exemplars` (C, S, S) are what all of them were shown, `names` what the C characters are called. `chosen`
    is the source, `step` its stop and `character` the character shown, all from 0; set them, or read where the reader
    left them. `about` is `description` and `label`, as for every widget. Raises ValueError on shapes that do not fit,
    numbers that are none, and choices that there are not.
    """

    look = "oneshot-plane"

    scene = traitlets.Dict(help="everything that there is to be seen").tag(sync=True)
    chosen = traitlets.Int(0).tag(sync=True)
    step = traitlets.Int(0).tag(sync=True)
    character = traitlets.Int(0).tag(sync=True)

    def __init__(self, sources: list[Source], exemplars, names: list[str] | None = None,
                 chosen: int = 0, step: int = 0, character: int = 0, **about):
        exemplars = _as_bits(exemplars, "exemplars")
        if exemplars.ndim != 3 or 0 in exemplars.shape or exemplars.shape[1] != exemplars.shape[2]:
            raise ValueError(f"exemplars has shape {exemplars.shape}; expected (C, S, S)")
        names = [f"character {k + 1}" for k in range(len(exemplars))] if names is None else list(names)
        if len(names) != len(exemplars):
            raise ValueError(f"names has {len(names)} entries; expected {len(exemplars)}, one a character")
        held = [self._held(one, exemplars) for one in sources]
        if not any(one.group == "people" for one in sources):
            raise ValueError("sources holds nobody of the group 'people'; expected the mark among them")
        super().__init__(chosen=chosen, step=step, character=character, **about, scene={
            "size": exemplars.shape[-1],
            "names": names,
            "exemplars": packed(exemplars),
            "sources": held,
        })

    def alternative_text(self) -> str:
        """Who is in the plane."""
        return (f"A plane with diversity to the right and recognizability upwards, in it {len(self.scene['sources'])} "
                "who drew from one exemplar, people marked by a cross, and beside it the chosen one's drawings.")

    @staticmethod
    def _held(one: Source, exemplars: np.ndarray) -> dict:
        """A source as the figure has it: its numbers, and its drawings in whichever form is the shorter."""
        if one.group not in GROUPS:
            raise ValueError(f"group of {one.name!r} is {one.group!r}; expected one of {', '.join(GROUPS)}")
        if not one.stops:
            raise ValueError(f"stops of {one.name!r} are none; expected at least one")
        drawings = [_as_bits(where.drawings, f"drawings of {one.name!r}") for where in one.stops]
        shape = drawings[0].shape
        if len(shape) != 4 or shape[0] != len(exemplars) or shape[2] != shape[3] or 0 in shape:
            raise ValueError(f"drawings of {one.name!r} have shape {shape}; expected ({len(exemplars)}, N, S, S)")
        numbers = [np.array([where[:4] for where in one.stops], float)]
        numbers.append(np.array([as_array(where.parts) for where in one.stops], float))
        if any(other.shape != shape for other in drawings) or numbers[1].shape[1:] != (len(exemplars), 2):
            raise ValueError(f"stops of {one.name!r} differ in shape; expected drawings {shape} and parts "
                             f"({len(exemplars)}, 2) of each")
        if not all(np.isfinite(part).all() for part in numbers):
            raise ValueError(f"numbers of {one.name!r} are {numbers[0].tolist()}; expected finite ones")
        stops = [{"at": at, "parts": parts, "label": where.label}
                 for where, at, parts in zip(one.stops, numbers[0].round(4).tolist(), numbers[1].round(3).tolist(),
                                             strict=True)]
        held = {"name": one.name, "group": one.group, "stops": stops, "count": shape[1], "size": shape[-1]}
        every = np.stack(drawings)
        bits = packed(every)
        if shape[-1] == exemplars.shape[-1] <= 127:
            short = changes(every, exemplars)
            if len(short) < len(bits):
                return {**held, "changes": short}
        return {**held, "bits": bits}

    @traitlets.validate("chosen", "character")
    def _is_there(self, proposal):
        name = proposal.trait.name
        held = self.scene.get("sources" if name == "chosen" else "names")
        if held is not None and not 0 <= proposal.value < len(held):
            raise ValueError(f"{name} is {proposal.value}; expected a number from 0 to {len(held) - 1}")
        return proposal.value

    @traitlets.validate("step")
    def _is_a_stop(self, proposal):
        most = max((len(one["stops"]) for one in self.scene.get("sources", ())), default=None)
        if most is not None and not 0 <= proposal.value < most:
            raise ValueError(f"step is {proposal.value}; expected a number from 0 to {most - 1}")
        return proposal.value

    def still(self) -> bytes:
        """The plane with everybody's name in it."""
        return plotted(self._plot, (6, 3.8))

    def _plot(self, figure) -> None:
        axes = figure.subplots()
        for one in self.scene["sources"]:
            at = np.array([where["at"] for where in one["stops"]])
            look = {"people": ("D", "black"), "controls": ("o", "0.5"), "models": ("o", "#c2410c")}[one["group"]]
            axes.errorbar(at[:, 0], at[:, 2], 2 * at[:, 3], 2 * at[:, 1], fmt=look[0] + "-", color=look[1],
                          markersize=4, linewidth=1)
            axes.annotate(one["name"], at[-1, [0, 2]], xytext=(5, 5), textcoords="offset points", fontsize=8)
        mark = next(one for one in self.scene["sources"] if one["group"] == "people")["stops"][0]["at"]
        axes.axvline(mark[0], color="0.8", zorder=0)
        axes.axhline(mark[2], color="0.8", zorder=0)
        axes.set(xlabel="diversity", ylabel="recognizability, %", xlim=(0, None), ylim=(-3, 108))
