"""Where the ink is in a picture of a drawn character, and whether it is dark on light paper or light on dark.

A pen's stroke is thin, and as thick at one end as at the other; paper is neither. Which of a picture's two levels is
ink is decided by that, since a crop to the ink has ink on its whole border. In a picture that is clean (drawn by a
program, or cut into black and white before) ink is what is nearer to the ink's level than to the paper's, up to the
border. In a photograph, paper is what a closing wider than any stroke makes of it: edges of shadows stay edges, and a
fall of light goes on beyond the border; then lines that rule the whole sheet, and dark edges around it, are taken away.
"""

from typing import NamedTuple

import numpy as np
from PIL import Image
from scipy import ndimage
from skimage.filters import threshold_otsu
from skimage.measure import label

CONTRAST = 0.04  # ink in a photograph is darker than its paper by at least this share of the paper's brightness
_PENS = 3  # the side of the square, in widths of the pen, once that is known
_LARGE = 250_000  # pixels: a larger photograph is reduced
_SMALL = 150  # a longer side below which nothing is taken for a photograph
_STEEPEST, _SLOPES = 0.05, 33  # of the lines that rule a sheet: 2.9 degrees either way
_RULED = 0.85  # the share of a sheet's width along which a ruled line is seen


class Ink(NamedTuple):
    """`cover` (H, W) float32, how much of each pixel is ink, from 0 to 1; `mask` (H, W) bool, the pixels that are;
    `polarity`, "dark" or "light"; `clean`, whether the picture was taken as one that has two levels and no light."""

    cover: np.ndarray
    mask: np.ndarray
    polarity: str
    clean: bool


def find_ink(grey: np.ndarray) -> Ink:
    """The ink in the grey levels (H, W) uint8 of a picture, which a large photograph has fewer of.

    Raises ValueError where no ink stands out from the paper.
    """
    if is_clean(grey):
        level = _stretched(grey)
        side = _thin_side(level < 0.5)
        cover = 1 - level if side == "dark" else level
        cover = _local(cover)
        return Ink(*_without_specks(cover, cover >= 0.5), side, True)
    grey = _reduced(grey, _LARGE)
    side = _side_in_photograph(grey)
    try:
        cover, mask = _in_photograph(grey if side == "dark" else 255 - grey)
    except ValueError:  # nothing but paper between faint lines: then it is they
        side = "light" if side == "dark" else "dark"
        cover, mask = _in_photograph(grey if side == "dark" else 255 - grey)
    return Ink(*_without_specks(cover, mask), side, False)


def _in_photograph(grey: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cover and mask of dark ink in a photograph (H, W) uint8. Raises ValueError where there is none."""
    window = _window(grey.shape)
    whole = darkness(grey, window)
    dark = without_rules(whole)
    ruled = dark is not whole
    threshold, level, top = _threshold(dark)
    narrow = _odd(_PENS * _pen(dark > threshold))
    if narrow < 0.7 * window:  # a shadow's corners, cut off by strokes and by the border, are then paper too
        dark = darkness(grey, narrow)
        dark = without_rules(dark) if ruled else dark
        threshold, level, top = _threshold(dark)
    return np.clip((dark - level) / (top - level), 0, 1).astype(np.float32), without_edges(dark > threshold)


def polarity(grey: np.ndarray) -> str:
    """Whether the ink of a picture (H, W) uint8 is "dark" on light paper or "light" on dark.

    >>> picture = np.full((40, 40), 230, np.uint8)
    >>> picture[10:30, 18:21] = 40
    >>> polarity(picture), polarity(255 - picture)
    ('dark', 'light')
    """
    grey = np.asarray(grey)
    return _thin_side(_stretched(grey) < 0.5) if is_clean(grey) else _side_in_photograph(grey)


def stroke_width(ink: np.ndarray) -> float:
    """Twice the area by the perimeter, its steps along rows and columns: about the mean width of strokes."""
    ink = np.pad(ink, 1).astype(np.int8)
    perimeter = np.abs(np.diff(ink, axis=0)).sum() + np.abs(np.diff(ink, axis=1)).sum()
    return float(2 * ink.sum() / max(perimeter, 1))


def is_clean(grey: np.ndarray) -> bool:
    """Whether a picture has two levels and nothing of a photograph: four fifths of the pixels lie within an eighth of
    the range of the darkest or the lightest, and two fifths have the very same level; or it is small."""
    longest = max(grey.shape)
    if longest < _SMALL / 2:
        return True
    low, high = int(grey.min()), int(grey.max())
    near = np.minimum(grey.astype(np.int16) - low, high - grey.astype(np.int16)) * 8 <= high - low
    most = np.bincount(grey.reshape(-1)).max() / grey.size
    return bool(near.mean() >= 0.8 and (longest < _SMALL or most >= 0.4))


# --- light or dark ----------------------------------------------------------------------------------------------------


def _thin_side(dark: np.ndarray) -> str:
    """Which of two classes, `dark` (H, W) bool and the rest, is drawn by a pen.

    A class is looked at as if nothing but the other lay beyond the border. A stroke is as thick at one end as at the
    other, paper between strokes is not: of the logarithms of the ratios of the two classes' unevenness, and of the
    share of the border, a sum is taken (its weights by logistic regression on Omniglot's background drawings, cropped
    in thirteen sizes, pens and margins, and on boxes and bars). A class of less than a fiftieth of the picture, all of
    it in slivers along the border, is what the crop of a bar leaves of its paper, where the picture is a third as wide
    as long or less; and a class that has the whole border is paper unless it is a box, even and thin.
    """
    dark = _medium(dark)
    border = float(_rim(dark).mean())
    for part, name, share in ((dark, "light", border), (~dark, "dark", 1 - border)):
        if part.mean() < 0.02 and share < 0.1 and 3 * min(part.shape) <= max(part.shape):
            piece = label(part, connectivity=2)
            short = int(np.argmin(part.shape))
            across = [at[short].stop - at[short].start for at in ndimage.find_objects(piece)]
            if across and max(across) <= part.shape[short] / 2 and np.isin(piece[part], _rim(piece)).all():
                return name
        if share > 0.98:
            thick = 2 * ndimage.distance_transform_edt(np.pad(part, 1)).max() / max(part.shape)
            if part.mean() > 0.7 or thick > 0.25 or _unevenness(part)[0] > 0.1:
                return name
    return "dark" if _less_of_a_pen(dark, ~dark) < 0 else "light"


def _less_of_a_pen(one: np.ndarray, other: np.ndarray) -> float:
    """Below zero where `one` (H, W) bool looks more like strokes than `other` does, and above where it looks less."""
    (top, axis), (other_top, other_axis) = _unevenness(one), _unevenness(other)
    score = 2.5 * np.log((top + 0.05) / (other_top + 0.05)) + 5.0 * np.log((axis + 0.1) / (other_axis + 0.1))
    return float(score + 0.9 * (_rim(one).mean() - _rim(other).mean()))


def _unevenness(part: np.ndarray) -> tuple[float, float]:
    """The deviation of half the width of `part` (H, W) bool along its middle, as a share of the mean: at the pixels
    that are farthest from the other class of all around them, and along the medial axis.

    The ends of every stroke and each notch in it have an axis too: of the second, 0.2 are common to all drawings and
    taken off, but not so far that it falls below the first.
    """
    away = ndimage.distance_transform_edt(np.pad(part, 1))
    here, axis = away[1:-1, 1:-1], np.zeros(part.shape, bool)
    for dy, dx in ((0, 1), (1, 0), (1, 1), (1, -1)):
        before, after = (away[1 + k * dy : len(away) - 1 + k * dy, 1 + k * dx : away.shape[1] - 1 + k * dx]
                         for k in (-1, 1))
        axis |= (here >= before) & (here >= after) & ((here > before) | (here > after))
    top = here[(here == ndimage.maximum_filter(away, 3)[1:-1, 1:-1]) & (here > 0)]
    axis = here[axis & (here > 0)]
    tops = float(top.std() / top.mean()) if len(top) else 0.0
    return tops, max(tops, float(axis.std() / axis.mean()) - 0.2 if len(axis) else 0.0)


def _side_in_photograph(grey: np.ndarray) -> str:
    """Of what is darker than a closing, and what is lighter than an opening, by a square wider than any stroke: where
    one stands out half as much as the other it is noise; else the one that looks more like strokes and reaches farther,
    since what lies between strokes lies inside of them."""
    level = ndimage.gaussian_filter(_reduced(grey, 100_000).astype(np.float32), 1)
    window = _window(level.shape)
    wide = np.pad(level, window // 2, mode="reflect", reflect_type="odd")
    inside = slice(window // 2, -(window // 2))
    dark = without_rules((ndimage.grey_closing(wide, window)[inside, inside] - level) / 255)
    light = without_rules((level - ndimage.grey_opening(wide, window)[inside, inside]) / 255)
    masks = [away > threshold_otsu(away) if np.ptp(away) else np.zeros(away.shape, bool) for away in (dark, light)]
    contrast = [float(away[mask].mean()) if mask.any() else 0.0
                for away, mask in zip((dark, light), masks, strict=True)]
    if min(contrast) < 0.5 * max(contrast):
        return "dark" if contrast[0] > contrast[1] else "light"
    reach = [np.prod([np.ptp(at) + 1 for at in np.nonzero(mask)]) for mask in masks]
    return "dark" if _less_of_a_pen(*masks) < 5 * np.log(reach[0] / reach[1]) else "light"


# --- photographs ------------------------------------------------------------------------------------------------------


def darkness(grey: np.ndarray, window: int) -> np.ndarray:
    """By what share each pixel (H, W) is darker than its paper, float32, 0 at most pixels of the paper.

    Paper is a closing by a square of `window` pixels, after the picture has been carried on beyond its border by odd
    reflection: it keeps edges that are straight and falls of light that are smooth.
    """
    level = grey.astype(np.float32)
    if max(grey.shape) >= _SMALL:
        level = ndimage.gaussian_filter(level, max(0.8, max(grey.shape) / 700))
    wide = np.pad(level, window // 2, mode="reflect", reflect_type="odd")
    paper = ndimage.grey_closing(wide, window)[window // 2 : -(window // 2), window // 2 : -(window // 2)]
    dark = 1 - level / np.maximum(paper, 1)
    return dark - np.median(dark)


def without_rules(dark: np.ndarray) -> np.ndarray:
    """Darkness (H, W) without the lines that rule a sheet from border to border, along its rows or its columns.

    What a nearly level line across the whole sheet has nowhere less of than in 15 percent of its length is taken off
    along it; where a stroke crosses, it is what the stroke is on both sides of the line.
    """
    for axis in (0, 1):
        turned = dark if axis == 0 else dark.T
        rule = _rules(turned)
        if rule.any():
            tall = min(1 + _longest_run(rule.any(1)), max(2, len(turned) // 50))
            above, below = (np.roll(turned, step, 0) for step in (tall, -tall))
            left = np.maximum(turned - 1.25 * rule, np.minimum(above, below))
            turned = np.where(rule > 0, np.minimum(turned, left), turned)
            dark = turned if axis == 0 else turned.T
    return dark


def _rules(dark: np.ndarray) -> np.ndarray:
    """The darkness of ruled lines at every pixel (H, W), 0 where there are none."""
    height, width = dark.shape
    block = max(1, width // 32)
    parts = width // block
    small = np.ascontiguousarray(dark[:, : parts * block].reshape(height, parts, block).mean(2))
    least = max(0.02, 4 * 1.4826 * float(np.median(np.abs(small))))
    rows, across = np.arange(height)[:, None], (np.arange(parts) - (parts - 1) / 2) * block
    slopes = np.linspace(-_STEEPEST, _STEEPEST, _SLOPES)
    steps = sorted({tuple(np.rint(slope * across).astype(int)) for slope in slopes})
    seen, found = np.pad(small > least, ((height, height), (0, 0)), constant_values=True), np.zeros_like(small)
    for step in steps:
        row = rows + np.array(step)
        covered = sum(seen[height + s : 2 * height + s, k].astype(np.int16) for k, s in enumerate(step))
        y = np.flatnonzero(covered >= _RULED * parts)
        if not len(y):
            continue
        row, inside = row[y], (row[y] >= 0) & (row[y] < height)
        line = np.where(inside, np.take_along_axis(small, np.clip(row, 0, height - 1), 0), np.inf)
        level = np.partition(line, int((1 - _RULED) * parts), 1)[:, int((1 - _RULED) * parts)]
        level = np.minimum(level, np.minimum(line[:, :3].max(1), line[:, -3:].max(1)))
        level = np.where((inside.mean(1) > 0.5) & (level > least) & np.isfinite(level), level, 0)
        i, x = np.nonzero(inside & (level[:, None] > 0))
        np.maximum.at(found, (row[i, x], x), level[i])
    return found[:, np.minimum(np.arange(width) // block, parts - 1)]


def _longest_run(marked: np.ndarray) -> int:
    edges = np.flatnonzero(np.diff(np.pad(marked.astype(np.int8), 1)))
    return int((edges[1::2] - edges[::2]).max(initial=0))


def _threshold(dark: np.ndarray) -> tuple[float, float, float]:
    """Where ink begins in darkness (H, W), what paper has of it, and what ink has. Raises ValueError without ink."""
    threshold = threshold_otsu(np.clip(dark, 0, 1))
    blank = dark[dark <= threshold]
    level = float(np.median(blank))
    deviation = 1.4826 * float(np.median(np.abs(blank - level)))
    top = float(dark[dark > threshold].mean()) if len(blank) < dark.size else level
    if top - level < max(CONTRAST, 6 * deviation):  # noise alone, cut by Otsu, has about 3
        raise ValueError("grey: expected a drawing that stands out from its paper, found none")
    return max(threshold, level + 4 * deviation), level, top


def without_edges(mask: np.ndarray) -> np.ndarray:
    """Ink (H, W) bool of a photograph without what lies along its border: edges of the sheet, corners of a shadow.

    Those are what is half as wide again as the pen and has more of the border than two pens, and parts that have two
    fifths of their outline on the border; where nothing else would be left, all of it stays.
    """
    pen = _pen(mask)
    core = ndimage.distance_transform_edt(mask) > 0.75 * pen
    part = label(core, connectivity=2)
    wide = np.bincount(_rim(part), minlength=part.max() + 1) > pen
    wide[0] = False
    left = mask
    if wide.any():
        left = mask & (ndimage.distance_transform_edt(~wide[part]) > pen)
    part = label(left, connectivity=2)
    area, contact = np.bincount(part.reshape(-1)), np.bincount(_rim(part), minlength=part.max() + 1)
    keep = np.ones(len(area), bool)
    for k in np.flatnonzero(contact[1:] > 0) + 1:
        outline = 2 * area[k] / stroke_width(part == k)
        keep[k] = contact[k] <= 0.4 * outline and not (wide.any() and area[k] < 4 * pen**2)
    left &= keep[part]
    return left if left.sum() >= 0.05 * mask.sum() else mask


# --- both -------------------------------------------------------------------------------------------------------------


def _without_specks(cover: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cover and mask without parts that are smaller than a point of this pen."""
    part = label(mask, connectivity=2)
    area = np.bincount(part.reshape(-1))
    area[0] = 0
    width = stroke_width((area >= max(0.05 * area.max(), 1))[part])
    mask = (area >= max(1, 0.3 * width**2))[part]
    near = ndimage.binary_dilation(mask, np.ones((3, 3), bool), iterations=2)
    return np.where(near, cover, 0).astype(np.float32), mask


def _local(cover: np.ndarray) -> np.ndarray:
    """Cover (H, W) where the darkest pixel near by is whole: a stroke of a pixel's width lies on two, half on each."""
    if max(cover.shape) >= _SMALL:
        return cover
    most = ndimage.maximum_filter(cover, 5)
    return np.minimum(cover / np.maximum(most, 0.3), 1)


def _stretched(grey: np.ndarray) -> np.ndarray:
    low, high = float(grey.min()), float(grey.max())
    return ((grey - low) / (high - low)).astype(np.float32)


def _rim(image: np.ndarray) -> np.ndarray:
    """The pixels on the border."""
    return np.concatenate([image[0], image[-1], image[1:-1, 0], image[1:-1, -1]])


def _window(shape: tuple[int, ...]) -> int:
    """The side of a square that no stroke fills: a quarter of the shorter side."""
    return _odd(min(shape) / 4)


def _odd(length: float) -> int:
    return max(3, int(length) // 2 * 2 + 1)


def _pen(mask: np.ndarray) -> float:
    """The width that four fifths of the strokes in (H, W) bool do not exceed."""
    away = ndimage.distance_transform_edt(mask)
    ridge = away[(away == ndimage.maximum_filter(away, 3)) & mask]
    return 2 * float(np.quantile(ridge, 0.8)) if len(ridge) else 1.0


def _reduced(grey: np.ndarray, most: int) -> np.ndarray:
    """A picture of at most about so many pixels: means over rectangles."""
    if grey.size <= most:
        return grey
    factor = np.sqrt(most / grey.size)
    return np.asarray(Image.fromarray(grey).resize([max(1, round(side * factor)) for side in grey.shape[::-1]],
                                                   Image.Resampling.BOX))


def _medium(ink: np.ndarray) -> np.ndarray:
    """A mask whose longer side is 96 to 256 pixels, or longer where the shorter would be less than 24."""
    longest, shortest = max(ink.shape), min(ink.shape)
    factor = max(1, 96 / longest) if longest <= 256 else min(1, max(256 / longest, 24 / shortest))
    if factor == 1:
        return ink
    sides = [max(1, round(side * factor)) for side in ink.shape[::-1]]
    kind = Image.Resampling.BICUBIC if factor > 1 else Image.Resampling.BOX
    return np.asarray(Image.fromarray(ink.astype(np.uint8) * np.uint8(255)).resize(sides, kind)) >= 128
