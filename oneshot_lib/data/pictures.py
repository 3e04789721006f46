"""Any picture of a drawn character, a scan or a photograph among them, as a model of Omniglot sees one.

What a model knows is Omniglot's page: 105x105, strokes about 4.4 pixels thick, the drawing about 66 pixels
long and near the middle. `prepare` finds the ink, puts it there and gives it that thickness, and leaves the
reduction to `preprocess`. Position, size and thickness are part of what a model gives a likelihood to; so a
picture that is a page already, or already as small as the model's images, is not moved.
"""

import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter, ImageOps

from oneshot_lib.data import pen
from oneshot_lib.data.files import DataError, shorten
from oneshot_lib.data.preprocessing import PREPROCESSINGS, preprocess

PAGE = 105
# Of 2,000 of Omniglot's drawings: the mean of the longer side, the mean middle (x, y), and the median width.
LENGTH, MIDDLE, WIDTH = 66.5, (51.1, 50.7), 4.4
SMALLEST, MOST_PIXELS = 8, 100_000_000  # a side, and a picture, of those that are read
_LONGEST = 1024  # a larger picture is reduced before anything else
_FINE = 3  # strokes are thinned and thickened on a page this many times as fine
_CONTRAST = 0.08  # ink is darker than its paper by at least this share of the paper's brightness


@dataclass(frozen=True, eq=False)
class Prepared:
    """A picture made ready, and what was found on the way.

    `image` (S, S) uint8, 0 or 255 = ink; `grey` (S, S) uint8, the same before it was cut at one half, as
    `28-area` has it; `polarity`, "dark" or "light" ink; `ink` (H, W) bool, in the picture itself, reduced if
    it was large; `page` (105, 105) uint8 of 0 and 1, or None where the picture was as small as the image;
    `kept` whether the drawing stayed where and as it was; `stroke` its mean width as found, in pixels of the
    page.
    """

    image: np.ndarray = field(repr=False)
    grey: np.ndarray = field(repr=False)
    polarity: str
    ink: np.ndarray = field(repr=False)
    page: np.ndarray | None = field(repr=False)
    kept: bool
    stroke: float


def read_picture(path: str | os.PathLike) -> np.ndarray:
    """The grey levels (H, W) uint8 of a picture file, 0 = black, of any mode, turned as its EXIF data say.

    Transparent parts are white paper, or black where white would leave nothing to see; sixteen bits and
    floating levels are scaled. Raises DataError, a ValueError that names the file, where it cannot be read,
    is smaller than 8x8 or larger than 100 million pixels, or is all of one colour.
    """
    path = Path(path)
    try:
        with Image.open(path) as picture:
            width, height = picture.size
            if min(width, height) < SMALLEST or width * height > MOST_PIXELS:
                raise DataError(
                    f"{shorten(path)}: expected a picture of {SMALLEST}x{SMALLEST} to {MOST_PIXELS // 10**6} "
                    f"million pixels, found {width}x{height}"
                )
            grey = _grey(ImageOps.exif_transpose(picture))
    except DataError:
        raise
    except FileNotFoundError as error:
        raise DataError(f"{shorten(path)}: expected a picture file, found no such file") from error
    except Image.DecompressionBombError as error:
        raise DataError(f"{shorten(path)}: expected at most {MOST_PIXELS // 10**6} million pixels") from error
    except (OSError, ValueError, SyntaxError, EOFError, OverflowError, RuntimeError, MemoryError) as error:
        reason = " ".join(str(getattr(error, "strerror", None) or "it cannot be decoded").split())
        raise DataError(f"{shorten(path)}: expected a whole picture file (PNG, JPEG, ...), but {reason}") from error
    if grey.min() == grey.max():
        raise DataError(f"{shorten(path)}: expected a drawing, found a picture of one colour")
    return grey


def _grey(picture: Image.Image) -> np.ndarray:
    if picture.mode.startswith(("I", "F")):  # 16 or 32 bits
        level = np.asarray(picture, np.float64)
        if not np.isfinite(level).all():
            raise ValueError("levels that are not finite")
        top = next((top for top in (1 if picture.mode == "F" else 255, 255, 65535) if level.max() <= top), level.max())
        return np.rint(255 * np.clip(level / top, 0, 1)).astype(np.uint8)
    if not picture.has_transparency_data:
        return np.array(picture.convert("L"))
    colour = picture.convert("RGBA")
    for paper in ("white", "black"):
        sheet = Image.new("RGBA", colour.size, paper)
        grey = np.array(Image.alpha_composite(sheet, colour).convert("L"))
        if grey.min() < grey.max():
            break
    return grey


def prepare(grey: np.ndarray, size: int = 28, preprocessing: str = "28-nearest") -> Prepared:
    """A model's input from the grey levels (H, W) of a picture, as `read_picture` returns them.

    1. Levels: the ink's polarity; the paper's brightness, by a closing wider than any stroke, divided out;
       a median against noise; Otsu's threshold, and at least four deviations of the paper; specks smaller
       than a point of this pen, and edges of the sheet, removed.
    2. Place: the drawing's longer side becomes 66.5 of 105 pixels under a pen of 4.4, its middle
       (51.1, 50.7), the means of Omniglot's drawings; a single point is a point of that pen.
    3. Strokes: thicker than a quarter above 4.4 pixels, their centreline is drawn anew; thinner than a
       twentieth below, they are widened: nearest neighbour skips strokes below 3.75.
    4. `preprocess(page, preprocessing)`.

    A picture of 105x105 or of `size` x `size` in black and white (or nearly: JPEG, smoothed edges) is a page
    already: only its polarity is looked at. Raises ValueError for another type, for a `size` that is not
    that of the preprocessing, and where no ink stands out from the paper.
    """
    grey = np.asarray(grey)
    if grey.dtype != np.uint8 or grey.ndim != 2 or min(grey.shape) < SMALLEST:
        raise ValueError(
            f"grey: expected (H, W) uint8 of {SMALLEST}x{SMALLEST} or more, found {grey.shape} {grey.dtype}"
        )
    if preprocessing not in PREPROCESSINGS:
        raise ValueError(f"preprocessing: expected one of {', '.join(PREPROCESSINGS)}, found {preprocessing!r}")
    if size != int(preprocessing.split("-")[0]):
        raise ValueError(f"size: expected that of {preprocessing}, found {size}")
    if grey.min() == grey.max():
        raise ValueError("grey: expected a drawing, found a picture of one colour")
    side = polarity(grey)
    if grey.shape in ((PAGE, PAGE), (size, size)) and _two_levels(grey):
        low, high = int(grey.min()), int(grey.max())
        level = np.rint((grey.astype(float) - low) * 255 / (high - low)).astype(np.uint8)
        level = 255 - level if side == "dark" else level
        ink, kept = level >= 128, True
        page, stroke = ink.astype(np.uint8) if grey.shape == (PAGE, PAGE) else None, stroke_width(ink)
    else:
        level = _shrunk(grey)
        ink, kept = _clean(_ink(level if side == "dark" else 255 - level)), False
        page, stroke = _placed(ink)
    if page is not None:
        level = preprocess(page[None], preprocessing)[0]
    else:
        stroke *= PAGE / size
    image = np.where(level >= 128, np.uint8(255), np.uint8(0))
    return Prepared(image, level, side, ink, page, kept, stroke)


def polarity(grey: np.ndarray) -> str:
    """Whether the ink of a picture (H, W) uint8 is "dark" on light paper or "light" on dark.

    Without the slow changes of illumination (a box of half the shorter side), the levels fall into two by
    Otsu's threshold. The paper is what the border shows, where at least nine tenths of the border agree, and
    otherwise what there is more of.

    >>> picture = np.full((40, 40), 230, np.uint8)
    >>> picture[10:30, 18:21] = 40
    >>> polarity(picture), polarity(255 - picture)
    ('dark', 'light')
    """
    grey = _shrunk(np.asarray(grey), 256)
    slow = Image.fromarray(grey).filter(ImageFilter.BoxBlur(min(grey.shape) / 4))
    level = grey.astype(np.float64) - (0 if _two_levels(grey) else np.asarray(slow))
    dark = level <= otsu(level)
    border = np.concatenate([dark[0], dark[-1], dark[1:-1, 0], dark[1:-1, -1]]).mean()
    share = border if not 0.1 < border < 0.9 else dark.mean()
    return "dark" if share <= 0.5 else "light"


def otsu(level: np.ndarray, bins: int = 256) -> float:
    """The threshold between two groups of levels with the greatest variance between them (Otsu 1979).

        t = argmax_t w(t) (1 - w(t)) (m_1(t) - m_0(t))^2;  the lower group is level <= t

    Where a whole gap is as good, its middle.
    """
    count, edge = np.histogram(level, bins)
    middle = (edge[:-1] + edge[1:]) / 2
    below, moment = count.cumsum()[:-1], (count * middle).cumsum()[:-1]
    above, rest = level.size - below, (count * middle).sum() - moment
    between = below * above * (moment / np.maximum(below, 1) - rest / np.maximum(above, 1)) ** 2
    best = np.flatnonzero(between >= between.max() * (1 - 1e-12))
    return float((edge[best[0] + 1] + edge[best[-1] + 1]) / 2)


def stroke_width(ink: np.ndarray) -> float:
    """Twice the area by the perimeter, its steps along rows and columns: about the mean width of strokes."""
    ink = np.pad(ink, 1).astype(np.int8)
    perimeter = np.abs(np.diff(ink, axis=0)).sum() + np.abs(np.diff(ink, axis=1)).sum()
    return float(2 * ink.sum() / max(perimeter, 1))


def components(ink: np.ndarray) -> np.ndarray:
    """Labels (H, W), 0 for paper and 1, 2, ... for what hangs together, corners included.

    Runs along the rows are joined to the runs that they touch in the row above, and every run takes the
    smallest number it can reach.
    """
    padded = np.pad(np.asarray(ink, bool), ((0, 0), (1, 1))).astype(np.int8)
    step = np.diff(padded, axis=1)  # (H, W + 1)
    row, start = np.nonzero(step == 1)
    stop = np.nonzero(step == -1)[1]  # one past the run
    if not len(row):
        return np.zeros(np.shape(ink), int)
    wide = padded.shape[1] + 2
    first = np.searchsorted(row * wide + stop, (row - 1) * wide + start)  # above, from the first that ends late
    last = np.searchsorted(row * wide + start, (row - 1) * wide + stop, side="right")
    many = np.maximum(last - first, 0)
    below = np.repeat(np.arange(len(row)), many)
    above = first.repeat(many) + np.arange(many.sum()) - np.repeat(many.cumsum() - many, many)
    label = np.arange(len(row))
    while True:
        low = np.minimum(label[below], label[above])
        new = label.copy()
        for run in (below, above):
            np.minimum.at(new, run, low)
            np.minimum.at(new, label[run], low)
        while not np.array_equal(new, new[new]):
            new = new[new]
        if np.array_equal(new, label):
            break
        label = new
    number = np.unique(label, return_inverse=True)[1] + 1
    change = np.zeros(padded.shape, int)
    change[row, start], change[row, stop] = number, -number
    return change.cumsum(1)[:, :-2]


def _two_levels(grey: np.ndarray) -> bool:
    """Whether four fifths of the pixels are within an eighth of the range of the darkest or the lightest."""
    low, high = int(grey.min()), int(grey.max())
    return bool((np.minimum(grey.astype(int) - low, high - grey.astype(int)) * 8 <= high - low).mean() >= 0.8)


def _shrunk(grey: np.ndarray, longest: int = _LONGEST) -> np.ndarray:
    """The picture, its longer side at most `longest`: means of squares of pixels."""
    factor = -(-max(grey.shape) // longest)
    return grey if factor == 1 else np.asarray(Image.fromarray(grey).reduce(factor))


def _ink(grey: np.ndarray) -> np.ndarray:
    """Dark strokes on light paper: (H, W) bool."""
    picture = Image.fromarray(grey)
    if max(grey.shape) >= 150 and not _two_levels(grey):
        picture = picture.filter(ImageFilter.MedianFilter(3)).filter(ImageFilter.GaussianBlur(max(grey.shape) / 800))
    factor = max(1, max(grey.shape) / 128)
    window = max(3, round(max(grey.shape) / factor / 4) // 2 * 2 + 1)
    small = picture.resize([max(1, round(side / factor)) for side in picture.size], Image.Resampling.BOX)
    paper = small.filter(ImageFilter.MaxFilter(window)).filter(ImageFilter.MinFilter(window))
    paper = paper.filter(ImageFilter.GaussianBlur(window / 6)).resize(picture.size, Image.Resampling.BICUBIC)
    dark = 1 - np.asarray(picture, float) / np.maximum(np.asarray(paper, float), 1)
    threshold = otsu(np.clip(dark, 0, 1))
    blank = dark[dark <= threshold]
    level = np.median(blank)
    deviation = 1.4826 * np.median(np.abs(blank - level))
    contrast = dark[dark > threshold].mean() - level if len(blank) < dark.size else 0.0
    if contrast < max(_CONTRAST, 6 * deviation):  # noise alone, cut by Otsu, has about 3
        raise ValueError("grey: expected a drawing that stands out from its paper, found none")
    return dark > max(threshold, level + 4 * deviation)


def _clean(ink: np.ndarray) -> np.ndarray:
    """Without what is smaller than a point of this pen, and without dark edges around a sheet of paper.

    An edge is a part with two fifths of its outline on the border, where another part stands free of it.
    """
    label = components(ink)
    area = np.bincount(label.reshape(-1))
    rim = np.concatenate([label[0], label[-1], label[1:-1, 0], label[1:-1, -1]])
    contact = np.bincount(rim, minlength=len(area))
    area[0] = contact[0] = 0
    if area[contact == 0].max() >= 0.05 * area.max():  # something stands free of the border
        for k in np.flatnonzero(contact > 0.1 * sum(ink.shape)):
            perimeter = 2 * area[k] / stroke_width(label == k)
            if contact[k] > 0.4 * perimeter:
                area[k] = 0
    pen_width = stroke_width((area >= max(0.05 * area.max(), 1))[label])
    return (area >= max(1, 0.3 * pen_width**2))[label]


def _placed(ink: np.ndarray) -> tuple[np.ndarray, float]:
    """The drawing on Omniglot's page, (105, 105) uint8 of 0 and 1, and the width that its strokes had there."""
    y, x = np.nonzero(ink)
    low, high = np.array([x.min(), y.min()]), np.array([x.max(), y.max()]) + 1
    length, width = (high - low).max(), stroke_width(ink)
    point = length < 3 * width
    # of the centreline, whatever the pen
    scale = float(WIDTH / length if point else (LENGTH - WIDTH) / (length - width))
    picture = Image.fromarray(ink.astype(np.uint8) * np.uint8(255))
    if width * scale * _FINE < 2:  # or the reduction would lose it
        picture = picture.filter(ImageFilter.MaxFilter(round(1 / (scale * _FINE)) * 2 + 1))
    first = (low + high) / 2 - np.array(MIDDLE) / scale  # of the page's corner, in the picture
    corner = np.floor(first).astype(int)
    side = int(np.ceil(PAGE / scale)) + 2
    sheet = Image.new("L", (side, side))
    sheet.paste(picture, tuple(int(c) for c in -corner))
    x0, y0 = first - corner
    smooth = Image.Resampling.BOX if scale * _FINE < 1 else Image.Resampling.BICUBIC
    fine = sheet.resize((PAGE * _FINE,) * 2, smooth, box=(x0, y0, x0 + PAGE / scale, y0 + PAGE / scale))
    if scale * _FINE > 1:
        fine = fine.filter(ImageFilter.GaussianBlur(scale * _FINE / 2))
    drawn = np.asarray(fine) >= 128
    found = stroke_width(drawn) / _FINE
    if not point and not WIDTH * 0.95 <= found <= WIDTH * 1.25:
        drawn = _redrawn(_centreline(drawn) if found > WIDTH else drawn)
    page = drawn.reshape(PAGE, _FINE, PAGE, _FINE).mean((1, 3)) >= 0.5
    return page.astype(np.uint8), width * scale


def _centreline(ink: np.ndarray) -> np.ndarray:
    y, x = np.nonzero(ink)
    part = slice(y.min(), y.max() + 1), slice(x.min(), x.max() + 1)
    line = np.zeros_like(ink)
    line[part] = pen.thin(ink[part][None])[0]
    return line


def _redrawn(line: np.ndarray) -> np.ndarray:
    """A line on the fine page under the round pen that makes it as thick as Omniglot's."""
    pens = [_disc(line, radius) for radius in range(11)]
    return min(pens, key=lambda drawn: abs(stroke_width(drawn) - WIDTH * _FINE))


def _disc(ink: np.ndarray, radius: int) -> np.ndarray:
    """Every pixel within `radius` of ink."""
    size = ink.shape[1]
    sums = np.pad(np.pad(ink, radius).cumsum(1), ((0, 0), (1, 0)))  # (H + 2r, W + 2r + 1)
    near = np.zeros(ink.shape, bool)
    for dy in range(-radius, radius + 1):
        reach = int(np.sqrt((radius + 0.5) ** 2 - dy * dy))
        rows = sums[radius + dy : radius + dy + ink.shape[0]]
        near |= rows[:, radius + reach + 1 :][:, :size] > rows[:, radius - reach :][:, :size]
    return near
