"""Pictures: dark ink on white paper, whatever the page around them looks like.

Every figure is a white card, so that it reads the same in light and in dark mode. Nothing here is global: a
chapter asks for the look with `set_style()`.
"""

import math
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap

INK = LinearSegmentedColormap.from_list("ink", ["#ffffff", "#5b6577", "#10182b"])
BLUE, ORANGE, GREEN, PURPLE, PAPER = (
    "#0072b2",
    "#d55e00",
    "#007a5a",
    "#8e5a9e",
    "#5f6673",
)  # told apart by everyone
COLOURS = (BLUE, ORANGE, GREEN, PURPLE)
STYLE = {
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "axes.facecolor": "white",
    "figure.dpi": 110,
    "savefig.dpi": 160,
    "figure.constrained_layout.use": True,
    "font.size": 10,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "text.color": "#1b1f27",
    "axes.labelcolor": "#1b1f27",
    "axes.edgecolor": "#7a808c",
    "xtick.color": "#3c424e",
    "ytick.color": "#3c424e",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e8ec",
    "grid.linewidth": 0.8,
    "axes.axisbelow": True,
    "axes.prop_cycle": plt.cycler(color=COLOURS),
    "legend.frameon": False,
    "image.cmap": "gray_r",
}


def set_style() -> None:
    """The look of the book, for every figure made after the call."""
    plt.rcParams.update(STYLE)


def as_images(images) -> np.ndarray:
    """Tensor or array (N, H, W) or (N, 1, H, W), ink from 0 to 1 (uint8: to 255) -> float array (N, H, W)."""
    array = np.asarray(images.detach().cpu() if hasattr(images, "detach") else images)
    if array.ndim == 4 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 3:
        raise ValueError(f"images has shape {array.shape}; expected (N, H, W) or (N, 1, H, W)")
    return array.astype(np.float32) / (255 if array.dtype == np.uint8 else 1)


def mosaic(images, columns: int | None = None, gap: int = 2, frame: float = 0.14) -> np.ndarray:
    """One picture of many: images (N, H, W) -> (rows * (H + gap) + gap, columns * (W + gap) + gap).

    The gaps are faint ink (`frame`), so that a blank sheet can be seen to be one; unused places stay white.
    """
    array = as_images(images)
    n, height, width = array.shape
    columns = columns or math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    sheet = np.zeros((rows * (height + gap) + gap, columns * (width + gap) + gap), np.float32)
    for i in range(n):
        top, left = (i // columns) * (height + gap), (i % columns) * (width + gap)
        sheet[top : top + height + 2 * gap, left : left + width + 2 * gap] = frame
    for i, image in enumerate(array):
        top, left = (i // columns) * (height + gap) + gap, (i % columns) * (width + gap) + gap
        sheet[top : top + height, left : left + width] = image
    return sheet


def image_grid(
    images, columns: int | None = None, title: str = "", axes: Axes | None = None, size: float = 0.55
) -> Axes:
    """Images (N, H, W) or (N, 1, H, W), ink in [0, 1], as one grid; `size` is an image's width in inches."""
    sheet = mosaic(images, columns)
    if axes is None:
        shape = as_images(images).shape
        across = columns or math.ceil(math.sqrt(shape[0]))
        width = max(size * across, 2.2)
        height = width * sheet.shape[0] / sheet.shape[1]
        axes = plt.subplots(figsize=(width, height + (0.3 if title else 0)))[1]
    axes.imshow(sheet, cmap=INK, vmin=0, vmax=1, interpolation="nearest")
    axes.set_title(title)
    axes.set_axis_off()
    return axes


def filmstrip(
    frames,
    windows=None,
    steps: Sequence[int] | None = None,
    columns: int = 11,
    title: str = "",
    size: float = 0.62,
):
    """A drawing, step by step: `frames` (T+1, 1, H, W) from the blank canvas on; returns the figure.

    `windows` (T, 2, 3) are the write windows: the frame after step t shows the one it was written through.
    `steps` chooses frames; by default at most `columns` of them, evenly spaced, first and last included.
    """
    array = as_images(frames)
    if steps is None:
        steps = np.unique(np.linspace(0, len(array) - 1, min(columns, len(array))).round().astype(int))
    columns = min(columns, len(steps))
    rows = math.ceil(len(steps) / columns)
    figure, grid = plt.subplots(
        rows, columns, figsize=(size * columns, (size + 0.2) * rows + (0.25 if title else 0)), squeeze=False
    )
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, t in zip(grid.flat, steps, strict=False):
        axes.imshow(array[t], cmap=INK, vmin=0, vmax=1)
        height, width = array[t].shape
        axes.plot(
            [-0.5, width - 0.5, width - 0.5, -0.5, -0.5],
            [-0.5, -0.5, height - 0.5, height - 0.5, -0.5],
            color="#c9cdd5",
            linewidth=0.8,
            clip_on=False,
        )
        axes.set_title(f"{t}", fontsize=8, loc="center", weight="normal", pad=2)
        if windows is not None and t > 0:
            draw_window(axes, windows[t - 1], (height, width))
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=10.5, weight="bold")
    return figure


def draw_window(axes: Axes, window, shape: tuple[int, int], color: str = ORANGE) -> None:
    """The outline of one window A (2, 3) on an image of `shape` (H, W), in pixels."""
    from oneshot_lib.attention import corners

    outline = np.asarray(corners(window.detach().cpu()))[[0, 1, 2, 3, 0]]
    x, y = ((outline[:, i] + 1) * shape[1 - i] / 2 - 0.5 for i in (0, 1))
    axes.set(xlim=(-0.5, shape[1] - 0.5), ylim=(shape[0] - 0.5, -0.5))
    axes.plot(x, y, color=color, linewidth=1.1)


def kl_bars(series: Mapping[str, Sequence[float]], title: str = "", axes: Axes | None = None) -> Axes:
    """The price of every step, in nats, one group of bars a model: {name: (T,)} (Rezende 2016, figure 4)."""
    if axes is None:
        axes = plt.subplots(figsize=(6, 2.8))[1]
    width = 0.8 / len(series)
    for i, (name, kl) in enumerate(series.items()):
        values = np.asarray(kl, float)
        at = np.arange(1, len(values) + 1) + (i - (len(series) - 1) / 2) * width
        axes.bar(at, values, width, label=name, color=COLOURS[i % len(COLOURS)])
    axes.set(xlabel="step t", ylabel="KL of the step, nats", title=title, ylim=(0, None))
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(axis="x", visible=False)
    if len(series) > 1:
        axes.set_ylim(0, (1.08 + 0.12 * len(series)) * axes.dataLim.ymax)  # room for the legend above the bars
        axes.legend(loc="upper right")
    return axes


def paper_line(axes: Axes, value: float, label: str = "paper", vertical: bool = False) -> None:
    """The paper's value as a dashed line with its number."""
    (axes.axvline if vertical else axes.axhline)(value, color=PAPER, linestyle="--", linewidth=1.2)
    if vertical:
        axes.text(
            value,
            1.0,
            f" {label} {value:g}",
            color=PAPER,
            fontsize=8.5,
            va="bottom",
            ha="center",
            transform=axes.get_xaxis_transform(),
        )
    else:
        axes.text(
            1.0,
            value,
            f"{label} {value:g}",
            color=PAPER,
            fontsize=8.5,
            va="bottom",
            ha="right",
            transform=axes.get_yaxis_transform(),
        )


def against_paper(records, title: str = "", unit: str = "nats", axes: Axes | None = None) -> Axes:
    """Values with two standard errors beside the paper's, one line a record; left is better.

    `records` have `row`, `quantity`, `preset`, `value`, `error` and `paper_value`, as those of
    `oneshot_lib.runs.records`.
    """
    records = [r for r in records if r.value is not None]
    if axes is None:
        axes = plt.subplots(figsize=(6, 0.42 * len(records) + 1.1))[1]
    for y, r in enumerate(reversed(records)):
        axes.errorbar(
            r.value,
            y,
            xerr=None if r.error is None else 2 * r.error,
            fmt="o",
            color=BLUE,
            capsize=3,
            label="here (± 2 standard errors)" if y == 0 else None,
        )
        axes.annotate(
            f"{r.value:.1f}",
            (r.value, y),
            xytext=(0, 6),
            textcoords="offset points",
            ha="center",
            fontsize=8.5,
        )
    published = [(r.paper_value, len(records) - 1 - i) for i, r in enumerate(records) if r.paper_value is not None]
    if published:
        axes.plot(
            *zip(*published, strict=True),
            "D",
            color="white",
            markeredgecolor=PAPER,
            markersize=7,
            label="paper",
        )
        for value, y in published:
            axes.annotate(
                f"{value:g}",
                (value, y),
                xytext=(0, -15),
                textcoords="offset points",
                ha="center",
                fontsize=8.5,
                color=PAPER,
            )
    axes.set_yticks(
        range(len(records)), [f"{r.row}\n{r.quantity}, {r.preset}" for r in reversed(records)], fontsize=8.5
    )
    axes.set(xlabel=f"NLL, {unit} (lower is better)", ylim=(-0.6, len(records) - 0.3), title=title)
    axes.margins(x=0.12)
    axes.figure.legend(fontsize=8.5, loc="outside lower center", ncols=2)
    return axes
