"""Any picture of a drawn character, a scan or a photograph among them, as a model of Omniglot sees one.

What a model knows is Omniglot's page: 105x105, strokes about 4.4 pixels thick, the drawing about 66 pixels long and
near the middle. Every picture takes one path there, whatever its size: `ink` finds the ink, `placing` puts it there and
gives it that thickness, and `preprocess` reduces the page. So one drawing that comes as a page of the data set, as a
crop of it, enlarged, or photographed, becomes one input, or nearly. scikit-image and SciPy are imported with the first
picture.
"""

import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from oneshot_lib.data.cache import DataError
from oneshot_lib.data.preprocessing import PREPROCESSINGS, preprocess
from oneshot_lib.files import shorten

SMALLEST, MOST_PIXELS = 8, 100_000_000  # the longer side, and a picture, of those that are read
_PAGES = ("TIFF", "GIF", "WEBP", "PNG", "AVIF")  # formats that hold several pictures
_CLEAR = 64  # levels between ink and paper that need no better sheet, or colour, to be seen on


@dataclass(frozen=True, eq=False)
class Prepared:
    """A picture made ready, and what was found on the way.

    `image` (S, S) uint8, 0 or 255 = ink; `grey` (S, S) uint8, the same before it was cut at one half, as `28-area` has
    it; `polarity`, "dark" or "light" ink; `ink` (H, W) bool, in the picture itself, reduced if it was a large
    photograph; `page` (105, 105) uint8 of 0 and 1; `stroke`, the mean width of the strokes that were found, in pixels
    of the page.
    """

    image: np.ndarray = field(repr=False)
    grey: np.ndarray = field(repr=False)
    polarity: str
    ink: np.ndarray = field(repr=False)
    page: np.ndarray = field(repr=False)
    stroke: float


def read_picture(path: str | os.PathLike) -> np.ndarray:
    """The grey levels (H, W) uint8 of a picture file, 0 = black, of any mode, turned as its EXIF data say.

    Transparent parts are white paper, or black where that shows more of what is drawn on it. More than eight bits and
    floating levels are scaled so that the darkest becomes 0 and the lightest 255. Colours that differ in brightness by
    too little to be told apart are projected on the direction in which they differ most.

    Raises DataError, a ValueError that names the file, where it cannot be read, has a longer side of less than 8 pixels
    or more than 100 million pixels, holds several pages, or is all of one colour.
    """
    path = Path(path)
    try:
        with Image.open(path) as picture:
            width, height = picture.size
            if max(width, height) < SMALLEST or width * height > MOST_PIXELS:
                raise DataError(
                    f"{shorten(path)}: expected a picture with a side of {SMALLEST} pixels or more and at most "
                    f"{MOST_PIXELS // 10**6} million pixels, found {width}x{height}"
                )
            pages = _pages(picture)
            if pages > 1:
                raise DataError(f"{shorten(path)}: expected one picture, found {pages} pages in the file; save the one "
                                "that is meant as a file of its own")
            grey = _grey(ImageOps.exif_transpose(picture), path)
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


def _pages(picture: Image.Image) -> int:
    """How many pictures a file holds, a TIFF's previews and masks not counted."""
    count = getattr(picture, "n_frames", 1) if picture.format in _PAGES else 1
    if count > 1 and picture.format == "TIFF":
        kinds = []
        for page in range(count):
            picture.seek(page)
            kinds.append(picture.tag_v2.get(254, 0) & 5)  # NewSubfileType: reduced, mask
        picture.seek(kinds.index(0) if 0 in kinds else 0)
        count = max(kinds.count(0), 1)
    return count


def _grey(picture: Image.Image, path: Path) -> np.ndarray:
    if picture.mode.startswith(("I", "F")):  # 16 or 32 bits
        level = np.asarray(picture, np.float64)
        if not np.isfinite(level).all():
            raise DataError(f"{shorten(path)}: expected finite levels, found some that are not")
        return _scaled(level)
    if not picture.has_transparency_data:
        return _clearest(picture)
    colour = picture.convert("RGBA")
    sheets = [Image.alpha_composite(Image.new("RGBA", colour.size, paper), colour) for paper in ("white", "black")]
    white, black = (_clearest(sheet.convert("RGB")) for sheet in sheets)
    return black if int(np.ptp(white)) < min(_CLEAR, int(np.ptp(black))) else white


def _scaled(level: np.ndarray) -> np.ndarray:
    low, high = level.min(), level.max()
    return np.rint(255 * (level - low) / (high - low if high > low else 1)).astype(np.uint8)


def _clearest(picture: Image.Image) -> np.ndarray:
    """The brightness, or where it tells too little the first principal component of the colours, brighter = more."""
    grey = np.array(picture.convert("L"))
    if picture.mode in ("1", "L", "LA") or np.ptp(grey) >= _CLEAR:
        return grey
    colour = np.asarray(picture.convert("RGB"), np.float32).reshape(-1, 3)
    away = colour - colour.mean(0)
    axis = np.linalg.eigh(away.T @ away)[1][:, -1]
    level = away @ (axis if axis.sum() >= 0 else -axis)
    if np.ptp(level) < 3 * max(1, np.ptp(grey)):
        return grey
    return _scaled(level.reshape(grey.shape))


def prepare(grey: np.ndarray, size: int = 28, preprocessing: str = "28-nearest") -> Prepared:
    """A model's input from the grey levels (H, W) of a picture, as `read_picture` returns them.

    1. Ink: dark or light, whichever is drawn by a pen; in a photograph against the paper's own brightness, and without
       ruled lines and dark edges; without specks smaller than a point of this pen.
    2. Place: the drawing's longer side becomes 66.5 of 105 pixels under a pen of 4.4, its middle (51.1, 50.7), the
       means of Omniglot's drawings; a single point is a point of that pen.
    3. Strokes: 4.4 pixels thick.
    4. `preprocess(page, preprocessing)`.

    A page of the data set takes the same path, and moves. Raises ValueError for another type, for a `size` that is not
    that of the preprocessing, and where no ink stands out from the paper.
    """
    from oneshot_lib.data.ink import find_ink
    from oneshot_lib.data.placing import placed

    grey = np.asarray(grey)
    if grey.dtype != np.uint8 or grey.ndim != 2 or not grey.size or max(grey.shape) < SMALLEST:
        raise ValueError(
            f"grey: expected (H, W) uint8 with a side of {SMALLEST} or more, found {grey.shape} {grey.dtype}"
        )
    if preprocessing not in PREPROCESSINGS:
        raise ValueError(f"preprocessing: expected one of {', '.join(PREPROCESSINGS)}, found {preprocessing!r}")
    if size != int(preprocessing.split("-")[0]):
        raise ValueError(f"size: expected that of {preprocessing}, found {size}")
    if grey.min() == grey.max():
        raise ValueError("grey: expected a drawing, found a picture of one colour")
    found = find_ink(grey)
    page, stroke = placed(found.cover, found.mask)
    level = preprocess(page[None], preprocessing)[0]
    image = np.where(level >= 128, np.uint8(255), np.uint8(0))
    if not image.any():
        raise ValueError(f"grey: expected a drawing that {preprocessing} leaves something of, found an empty input")
    return Prepared(image, level, found.polarity, found.mask, page, stroke)


def prepared_file(file: Path, preprocessing: str) -> np.ndarray:
    """A picture file as a model's input, (S, S) uint8 of 0 and 1. Raises DataError, which names the file."""
    grey = read_picture(file)
    try:
        return prepare(grey, int(preprocessing.split("-")[0]), preprocessing).image // 255
    except ValueError as error:
        raise DataError(f"{shorten(file)}: {str(error).removeprefix('grey: ')}") from error


def polarity(grey: np.ndarray) -> str:
    """Whether the ink of a picture (H, W) uint8 is "dark" on light paper or "light" on dark: `ink.polarity`."""
    from oneshot_lib.data import ink

    return ink.polarity(grey)
