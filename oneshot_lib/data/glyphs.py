"""Glyphs: alphabets rendered from the fonts that matplotlib ships, with Omniglot's structure.

Unicode's scripts are the alphabets and its letters the characters; `alphabets.json` lists them. Each is
drawn by 20 writers. A writer has a pen of his own, a slant, a size and a first choice of font; each drawing
adds a small affine and an elastic deformation. What is drawn is the centreline of the glyph, so that the
strokes are as thick as Omniglot's (4 to 6 of 105 pixels). The same bits on every machine: see `pen`.
"""

import hashlib
import importlib.resources
import json
import logging
from pathlib import Path

import numpy as np

from oneshot_lib.data import pen
from oneshot_lib.data.cache import DataError, cached
from oneshot_lib.data.omniglot import pixel_hash

SIZE = 105
DRAWINGS = 20
SEED = 2718
RASTER = 64  # the raster in which a glyph is thinned; it fills at most 58 of it
VERSION = 1  # of the drawing; raise it when the same table gives other pixels
FONTS = (
    "DejaVuSans",
    "DejaVuSerif",
    "DejaVuSansMono",
    "STIXGeneral",
    "DejaVuSans-Oblique",
    "DejaVuSerif-Italic",
    "STIXGeneralItalic",
    "DejaVuSans-Bold",
    "DejaVuSerif-Bold",
)


class Font:
    """A TrueType file that matplotlib ships: its character map and its outlines, exact integers."""

    def __init__(self, name: str):
        import matplotlib
        from fontTools.ttLib import TTFont

        path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{name}.ttf"
        if not path.is_file():
            raise DataError(f"{path.name}: expected this font among those that matplotlib ships, found none")
        self._font = TTFont(path, lazy=True)
        self.name = name
        self.map = self._font.getBestCmap()
        log = logging.getLogger("fontTools.ttLib.tables._h_e_a_d")  # it remarks on STIX's year of creation
        was, log.disabled = log.disabled, True
        self.em = self._font["head"].unitsPerEm
        log.disabled = was
        self._outlines = self._font["glyf"]

    def segments(self, character: str) -> np.ndarray:
        """The outline as line segments (S, 4), in the raster's pixels, centred, y down."""
        coordinates, ends, flags = self._outlines[self.map[ord(character)]].getCoordinates(self._outlines)
        line = pen.flatten(list(coordinates), ends, flags)
        if not len(line):
            return line
        low, high = line.reshape(-1, 2).min(0), line.reshape(-1, 2).max(0)
        scale = (RASTER - 6) / max(*(high - low), 0.45 * self.em)  # a full stop stays smaller than a letter
        x0, y0, x1, y1 = (((line - np.tile((low + high) / 2, 2)) * scale) * [1, -1, 1, -1] + RASTER / 2).T
        return np.stack([x0, y0, x1, y1], 1)


def alphabets() -> dict[str, str]:
    """The characters of each alphabet, by its name."""
    return json.loads(
        importlib.resources.files("oneshot_lib.data").joinpath("alphabets.json").read_text("utf-8")
    )


def centrelines(characters: list[str], fonts: tuple[str, ...]) -> list[list[np.ndarray]]:
    """For each character, its centreline (P, 2) in each of the fonts that have it, in their order."""
    rasters, owner = [], []
    for name in fonts:
        font = Font(name)
        for index, character in enumerate(characters):
            if ord(character) in font.map:
                rasters.append(pen.fill(font.segments(character), RASTER))
                owner.append(index)
    lines = [[] for _ in characters]
    for index, skeleton in zip(owner, pen.thin(np.array(rasters)), strict=True):
        if skeleton.any():
            lines[index].append(pen.centreline(skeleton))
    return lines


def load() -> tuple[np.ndarray, dict]:
    """All drawings, (N, 105, 105) memory-mapped with 1 = ink, and {classes, hash}; made on the first call."""
    table = alphabets()
    count = DRAWINGS * sum(len(letters) for letters in table.values())
    return cached(characters_key(), (count, SIZE, SIZE), lambda: _draw_all(table))


def characters_key() -> str:
    """The name of the drawings in the cache."""
    return _key("glyphs", alphabets())


def digits_key() -> str:
    """The name of the digits in the cache."""
    return _key("glyph-digits")


def _key(name: str, *content) -> str:
    text = json.dumps([VERSION, SEED, FONTS, *content])
    return f"{name}-{hashlib.blake2b(text.encode(), digest_size=8).hexdigest()}"


def _draw_all(table: dict[str, str]) -> tuple[np.ndarray, dict]:
    classes = [f"{name}/character{k + 1:02}" for name, letters in table.items() for k in range(len(letters))]
    letters = [letter for name in table for letter in table[name]]
    lines = centrelines(letters, FONTS)
    images = np.empty((len(letters) * DRAWINGS, SIZE, SIZE), np.uint8)
    for start in range(0, len(letters), 50):
        rows = slice(start * DRAWINGS, (start + 50) * DRAWINGS)
        images[rows] = draw(lines[start : start + 50], first=start) >= 128
    return images, {"classes": classes, "hash": pixel_hash(images, classes)}


def draw(lines: list[list[np.ndarray]], first: int = 0) -> np.ndarray:
    """Every writer's drawing of characters number `first` onwards: (20 len(lines), 105, 105) grey levels."""
    person = pen.Uniform(SEED, 0)
    hand = {
        "radius": 2.25 + 0.6 * person(DRAWINGS),
        "slant": 0.22 * person.symmetric(DRAWINGS),
        "size": 1.22 + 0.3 * person.symmetric(DRAWINGS),
        "aspect": 1 + 0.22 * person.symmetric(DRAWINGS),
        "font": person(DRAWINGS),
    }
    points, image, radius = [], [], []
    for index, choices in enumerate(lines):
        draws = pen.Uniform(SEED, 1, first + index)
        sheets = [Sheet(line) for line in choices]
        for writer in range(DRAWINGS):
            own = draws.symmetric(64)
            font = int((hand["font"][writer] + 0.5 * own[0] + 1) * len(choices)) % len(choices)
            size, aspect = hand["size"][writer] * (1 + 0.2 * own[1]), hand["aspect"][writer]
            matrix = (
                size * aspect * (1 + 0.15 * own[2]),
                -hand["slant"][writer] + 0.2 * own[3],
                0.16 * own[4],
                size / aspect * (1 + 0.15 * own[5]),
            )
            moved = sheets[font].deform(matrix, own[6:8] * 12, own[8:58] * 6.5)
            points.append(_on_page(moved))
            image.append(np.full(len(moved), index * DRAWINGS + writer))
            radius.append(np.full(len(moved), hand["radius"][writer] * (1 + 0.1 * own[58])))
    count = len(lines) * DRAWINGS
    return pen.stamp(np.concatenate(points), np.concatenate(image), np.concatenate(radius), count, SIZE)


class Sheet:
    """A centreline on rubber: a quadratic B-spline with 5x5 control points over the raster moves it."""

    def __init__(self, line: np.ndarray):
        self.x, self.y = line[:, 0] - RASTER / 2, line[:, 1] - RASTER / 2
        place = line / RASTER * 2.999  # 5 control points span 3 cells
        cell = np.floor(place).astype(int)
        t = place - cell
        basis = [0.5 * (1 - t) * (1 - t), 0.5 + t * (1 - t), 0.5 * t * t]
        self.terms = [
            ((cell[:, 1] + j) * 5 + cell[:, 0] + i, basis[i][:, 0] * basis[j][:, 1])
            for i in range(3)
            for j in range(3)
        ]

    def deform(self, matrix: tuple, shift: np.ndarray, field: np.ndarray) -> np.ndarray:
        """The points (P, 2) after the displacements `field` (50,), an affine map and a shift, on the page."""
        x, y = self.x, self.y
        for index, weight in self.terms:
            x, y = x + weight * field[index], y + weight * field[index + 25]
        a, b, c, d = matrix
        middle = (SIZE - 1) / 2
        return np.stack([middle + shift[0] + (a * x + b * y), middle + shift[1] + (c * x + d * y)], 1)


def _on_page(points: np.ndarray, margin: int = 4) -> np.ndarray:
    """A drawing moved, and if need be shrunk, to keep the pen on the page."""
    low, high = points.min(0), points.max(0)
    room = SIZE - 1 - 2 * margin
    points = (points - low) * np.minimum(1.0, room / np.maximum(high - low, 1.0))
    return points + np.minimum(np.maximum(low, margin), SIZE - 1 - margin - points.max(0))


def load_digits() -> tuple[np.ndarray, dict]:
    """Digits in MNIST's format, (12000, 28, 28) uint8 memory-mapped, and {labels, hash, train_rows}."""
    return cached(digits_key(), (12000, 28, 28), _draw_digits)


def _draw_digits(count: int = 12000, train_rows: int = 10000, size: int = 28) -> tuple[np.ndarray, dict]:
    """As MNIST: the digit in the middle, in a box of 20x20 pixels, with strokes of 2 to 4."""
    sheets = [[Sheet(line) for line in lines] for lines in centrelines(list("0123456789"), FONTS)]
    draws = pen.Uniform(SEED, 2)
    labels = (draws(count) * 10).astype(np.uint8)
    points, image, radius = [], [], []
    for row, digit in enumerate(labels):
        own, pick = draws.symmetric(60), draws(2)
        sheet = sheets[digit][int(pick[0] * len(sheets[digit]))]
        moved = sheet.deform(
            (1 + 0.3 * own[0], 0.5 * own[1], 0.25 * own[2], 1.3), own[4:6] * 0, own[6:56] * 7
        )
        low, high = moved.min(0), moved.max(0)
        moved = (moved - (low + high) / 2) * (17 / max(*(high - low), 1)) + (size - 1) / 2
        points.append(moved)
        image.append(np.full(len(moved), row))
        radius.append(np.full(len(moved), 1.0 + 0.9 * pick[1]))
    images = pen.stamp(np.concatenate(points), np.concatenate(image), np.concatenate(radius), count, size)
    digest = hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()
    return images, {"labels": labels.tobytes().hex(), "hash": digest, "train_rows": train_rows}
