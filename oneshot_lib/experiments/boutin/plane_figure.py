"""The plane of diversity and recognizability as a picture: one panel for each set of characters."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from oneshot_lib import plotting
from oneshot_lib.experiments.boutin import tables
from oneshot_lib.experiments.boutin.plane import Placed, as_people_are, beside

CONTROL_MARKS = {"copies": "s", "shifted": "^", "flipped": "X"}
THROUGH_MARKS = {"28-area": "h", "28-threshold": "p", "28-nearest": "d", "26-nearest": "v"}
MODEL_MARKS = "oDsP^v<>"


def plane(sets: dict[str, list[Placed]], title: str = "") -> Figure:
    """The points of `plane.placed`, with two standard errors; a model is tied to the people beside it, who drew the
    same characters and are seen through the same pixels. Panels are not to be compared; one without a model is left
    out where others have one."""
    sets = {name: points for name, points in sets.items() if any(point.row.model for point in points)} or sets
    heights = [max(3.1, 0.36 * len(points)) for points in sets.values()]  # inches: a legend has a line or two for each
    figure, axes = plt.subplots(len(sets), 1, figsize=(8.2, sum(heights) + 0.4), height_ratios=heights, squeeze=False,
                                layout="constrained")
    for panel, (characters, points) in zip(axes[:, 0], sets.items(), strict=True):
        _panel(panel, points)
        panel.set_title(f"{characters}", loc="left")
        panel.set(xlabel="diversity (standard deviation of the embedding)", ylabel="recognizability, %", ylim=(-4, 106))
        panel.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=8, handlelength=1.2, labelspacing=0.6)
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=11, weight="bold")
    return figure


def _panel(axes: Axes, points: list[Placed]) -> None:
    models = [point for point in points if point.row.model]
    for point in points:
        if point.row.model:
            continue
        through = point.row.preprocessing
        if point.row.key == "people":
            style = dict(fmt="*", color=plotting.STYLE["text.color"], markersize=14)
        elif through is not None:
            style = dict(fmt=THROUGH_MARKS.get(through, "d"), color=plotting.STYLE["text.color"], markersize=7,
                         markerfacecolor="#c9cdd5" if point.row.binary else "white")
        else:
            style = dict(fmt=CONTROL_MARKS[point.row.drawn_by], color="#8a91a0", markersize=6)
        _mark(axes, point, **style)
    for i, point in enumerate(models):
        mark, color = beside(point, points), plotting.COLOURS[i % len(plotting.COLOURS)]
        if mark is not None:
            axes.plot([mark.diversity.value, point.diversity.value],
                      [mark.recognizability.value, point.recognizability.value], color=color, linewidth=0.7, alpha=0.5)
        _mark(axes, point, fmt=MODEL_MARKS[i % len(MODEL_MARKS)], color=color, markersize=6)


def _mark(axes: Axes, point: Placed, fmt: str, color: str, **style) -> None:
    x, y = point.diversity, point.recognizability
    axes.errorbar(x.value, y.value, yerr=2 * (y.error or 0), xerr=2 * (x.error or 0), fmt="none", ecolor=color,
                  elinewidth=0.9, capsize=2)
    axes.plot(x.value, y.value, marker=fmt, color=color, linestyle="none", label=label(point.row), **style)


def strips(rows: list[tables.PlaneRow], drawings: Sequence[Tensor], title: str = "") -> Axes:
    """A strip of `drawings` (n, S, S) for each of the rows, with its name beside it."""
    across, side = drawings[0].shape[:2]
    width = 0.5 * across
    axes = plt.subplots(figsize=(width + 2.9, 0.52 * len(rows) + 0.4), layout="constrained")[1]
    plotting.image_grid(torch.cat(list(drawings)), columns=across, axes=axes, title=title)
    for k, row in enumerate(rows):
        axes.text(-0.15 * side, (side + 2) * (k + 0.5), label(row), ha="right", va="center", fontsize=7.5)
    return axes


def label(row: tables.PlaneRow) -> str:
    """The row's name, in lines that fit beside a panel."""
    words, lines = row.name.split(), [""]
    for word in words:
        if len(lines[-1]) + len(word) > 30:
            lines.append("")
        lines[-1] += f" {word}" if lines[-1] else word
    return "\n".join(lines)


def claim(sets: dict[str, list[Placed]]) -> str:
    """What the figure says: how many models draw as people do, on their own characters and pixels."""
    pairs = [(point, beside(point, points)) for points in sets.values() for point in points if point.row.model]
    near = [point.row.name for point, mark in pairs if mark is not None and as_people_are(point, mark)]
    if not pairs:
        return "People and the controls"
    return f"Where people stand, within two standard errors: {', '.join(near)}" if near else \
        f"None of {len(pairs)} stands where people stand"
