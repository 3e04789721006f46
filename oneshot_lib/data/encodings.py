"""One drawing, met in many ways: cropped, enlarged, inverted, under another pen, photographed.

What a model makes of a picture should depend on the drawing, not on the file that it came in. `ENCODINGS` are ways
in which one and the same drawing of Omniglot arrives; each returns what `pictures.read_picture` would return of such a
file. The photographs are made up: a sheet of 640 to 960 pixels, slightly blurred, lit from a corner, with the noise of
a sensor and a JPEG's blocks.
"""

import io
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageFilter

from oneshot_lib.data import pen

PAGE = 105


def encode(drawing: np.ndarray, name: str, generator: np.random.Generator) -> np.ndarray:
    """The grey levels (H, W) uint8, 0 = black, of a drawing (105, 105) of 0 and 1 (ink) in one of `ENCODINGS`.

    The same generator state gives the same picture. Raises ValueError for an unknown name, and for a drawing of
    another shape or type, or without ink.

    >>> ring = np.zeros((105, 105), np.uint8)
    >>> ring[30:70, 40:80] = 1
    >>> ring[34:66, 44:76] = 0
    >>> [encode(ring, name, np.random.default_rng(0)).shape for name in ("page", "tight", "margin 8", "28x28")]
    [(105, 105), (40, 40), (56, 56), (28, 28)]
    """
    if name not in ENCODINGS:
        raise ValueError(f"name: expected one of {', '.join(ENCODINGS)}, found {name!r}")
    drawing = np.asarray(drawing)
    if drawing.shape != (PAGE, PAGE) or drawing.dtype not in (np.uint8, np.bool_):
        raise ValueError(f"drawing: expected (105, 105) uint8 or bool, found {drawing.shape} {drawing.dtype}")
    if not drawing.any() or drawing.max() > 1:
        raise ValueError(f"drawing: expected 0 and 1, some of it ink, found {drawing.min()} to {drawing.max()}")
    return ENCODINGS[name](drawing.astype(np.uint8), generator)


def _on_white(drawing: np.ndarray) -> np.ndarray:
    return np.uint8(255) - np.uint8(255) * drawing


def _cut(drawing: np.ndarray) -> np.ndarray:
    """The smallest rectangle that holds all ink."""
    y, x = np.nonzero(drawing)
    return drawing[y.min() : y.max() + 1, x.min() : x.max() + 1]


def _page(drawing: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """As it is in the data set: black on white, 105x105."""
    return _on_white(drawing)


def _tight(drawing: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Cropped to its ink, which then touches all four borders."""
    return _on_white(_cut(drawing))


def _margin(drawing: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Cropped to its ink, with 8 pixels of paper around it."""
    return _on_white(np.pad(_cut(drawing), 8))


def _wide_margin(drawing: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Somewhere on a sheet four to six times as long as the drawing."""
    cut = _cut(drawing)
    sides = (max(cut.shape) * generator.uniform(4, 6, 2)).astype(int)
    sheet = np.zeros(sides, np.uint8)
    top, left = (int(generator.integers(0, side - part + 1)) for side, part in zip(sides, cut.shape, strict=True))
    sheet[top : top + cut.shape[0], left : left + cut.shape[1]] = cut
    return _on_white(sheet)


def _resized(side: int) -> Callable[[np.ndarray, np.random.Generator], np.ndarray]:
    def encoding(drawing: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        return np.array(Image.fromarray(_on_white(drawing)).resize((side, side), Image.Resampling.BICUBIC))

    encoding.__doc__ = f"The page at {side}x{side}, grey at the edges: Pillow's bicubic filter."
    return encoding


def _light_on_dark(drawing: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """The page inverted: white on black."""
    return np.uint8(255) * drawing


def _thin_pen(drawing: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """The page with each stroke's centreline drawn by a pen of one or two pixels."""
    return _on_white(_line(drawing, int(generator.integers(1, 3))))


def _line(drawing: np.ndarray, width: int) -> np.ndarray:
    line = np.pad(pen.thin(drawing[None] > 0)[0], ((1, 0), (1, 0)))
    if width == 2:
        line[:-1] |= line[1:]
        line[:, :-1] |= line[:, 1:]
    return line[1:, 1:].astype(np.uint8) if width == 1 else line[:-1, :-1].astype(np.uint8)


def _sheet(drawing: np.ndarray, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ink's cover (H, W) in [0, 1] of a drawing somewhere on a sheet, and the coordinates y and x, each in [-1, 1]."""
    width = int(generator.integers(640, 961))
    height = width * 3 // 4
    cut = Image.fromarray(np.uint8(255) * _cut(drawing))
    scale = height * generator.uniform(0.45, 0.7) / max(cut.size)
    cut = cut.resize([max(1, round(side * scale)) for side in cut.size], Image.Resampling.BICUBIC)
    space = [int(side * 0.08) for side in (width, height)]
    place = [int(generator.integers(least, side - part - least + 1))
             for least, side, part in zip(space, (width, height), cut.size, strict=True)]
    sheet = Image.new("L", (width, height))
    sheet.paste(cut, tuple(place))
    cover = np.asarray(sheet.filter(ImageFilter.GaussianBlur(scale / 3)), float) / 255
    y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    return cover, y, x


def _photograph(cover: np.ndarray, light: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """What a camera makes of `light` (H, W), in [0, 1], on a sheet whose ink keeps back two thirds of it."""
    level = 235 * light * (1 - 0.65 * cover) + generator.normal(0, 3, cover.shape)
    picture = Image.fromarray(np.clip(level, 0, 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(0.7))
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=85)
    return np.array(Image.open(file))


def _side(y: np.ndarray, x: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """The distance (H, W) from a line at random through the sheet's middle, in half widths of the sheet."""
    angle, away = generator.uniform(0, 2 * np.pi), generator.uniform(-0.3, 0.3)
    return x * np.cos(angle) + y * np.sin(angle) - away


def _shadow(drawing: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """A photograph with the edge of a shadow across it, 45 to 65 percent as light as the rest."""
    cover, y, x = _sheet(drawing, generator)
    dark = 1 / (1 + np.exp(-np.clip(_side(y, x, generator) / 0.006, -50, 50)))
    light = (0.95 + 0.05 * x) * (1 - (1 - generator.uniform(0.45, 0.65)) * dark)
    return _photograph(cover, light, generator)


def _vignette(drawing: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """A photograph that is lit at its middle and falls off to a third in the corners."""
    cover, y, x = _sheet(drawing, generator)
    return _photograph(cover, 1 - generator.uniform(0.5, 0.67) * (x**2 + y**2) / 2, generator)


def _ruled(drawing: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """A photograph of ruled paper, its lines a tenth to a quarter darker than the paper and turned by at most a
    degree."""
    cover, y, x = _sheet(drawing, generator)
    height, width = cover.shape
    step, thick = height / generator.uniform(10, 18), generator.uniform(1.0, 2.5)
    tilt = np.tan(np.deg2rad(generator.uniform(-1, 1)))
    row = (y + 1) / 2 * height + tilt * (x + 1) / 2 * width
    away = np.abs((row + step * generator.uniform() + step / 2) % step - step / 2)
    lines = np.clip(thick / 2 + 0.5 - away, 0, 1)
    light = (0.95 + 0.05 * y) * (1 - generator.uniform(0.1, 0.25) * lines)
    return _photograph(cover, light, generator)


ENCODINGS: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    "page": _page,
    "tight": _tight,
    "margin 8": _margin,
    "wide margin": _wide_margin,
    "4x": _resized(4 * PAGE),
    "32 wide": _resized(32),
    "28x28": _resized(28),
    "light on dark": _light_on_dark,
    "thin pen": _thin_pen,
    "shadow": _shadow,
    "vignette": _vignette,
    "ruled": _ruled,
}
