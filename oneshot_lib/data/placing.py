"""Ink put where Omniglot has its drawings, as long and as thick: on a page of 105x105.

What becomes of a drawing depends on its ink alone: neither on where it lay, nor on how large or how bold it was.
"""

import numpy as np
from PIL import Image
from scipy import ndimage
from skimage.morphology import remove_small_holes, skeletonize

from oneshot_lib.data.ink import stroke_width

PAGE = 105
# Of 2,000 of Omniglot's drawings: the mean of the longer side, the mean middle (x, y), and the median width.
LENGTH, MIDDLE, WIDTH = 66.5, (51.1, 50.7), 4.4
_FINE = 3  # strokes are thinned and thickened on a page this many times as fine
_LONGEST = 1000  # pixels of the ink's longer side, before it is put on the page
_HOLE = 40  # pixels of the fine page: smaller holes are flaws of a stroke
_POINT = 0.66  # the largest disc inside a single point, as a share of its length


def placed(cover: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, float]:
    """The drawing on Omniglot's page, (105, 105) uint8 of 0 and 1, and the width that its strokes had there.

    `cover` (H, W) float in [0, 1] says how much of a pixel is ink, `mask` (H, W) bool where ink is. The longer side of
    the strokes' centreline becomes what it is of Omniglot's mean drawing, its middle Omniglot's. Strokes thicker than
    a quarter above 4.4 pixels or thinner than a twentieth below are drawn anew along their centreline: nearest
    neighbour skips strokes below 3.75.
    """
    y, x = np.nonzero(mask)
    low, high = np.array([x.min(), y.min()]), np.array([x.max(), y.max()]) + 1
    low, high = np.maximum(low - 2, 0), np.minimum(high + 2, mask.shape[::-1])
    cover = cover[low[1] : high[1], low[0] : high[0]]
    cover = _thickened(cover, mask[low[1] : high[1], low[0] : high[0]])
    large = max(cover.shape) / _LONGEST
    if large > 1:  # the page of a strip of 30,000 pixels has a thousand million
        cover = np.asarray(Image.fromarray(cover.astype(np.float32)).resize(
            [max(1, round(side / large)) for side in cover.shape[::-1]], Image.Resampling.BOX))
    # Roughly, to see what it is on the fine page, then as that says.
    scale = (LENGTH - 2) / max(cover.shape)
    middle = np.array(cover.shape[::-1]) / 2
    for _ in range(2):
        drawn = _on_fine_page(cover, scale, middle)
        if not drawn.any():
            raise ValueError("grey: expected a drawing, found strokes too thin for their length to be seen on a page")
        y, x = np.nonzero(drawn)
        first, last = np.array([x.min(), y.min()]) / _FINE, (np.array([x.max(), y.max()]) + 1) / _FINE
        width, length = stroke_width(drawn) / _FINE, float((last - first).max())
        point = 2 * ndimage.distance_transform_edt(np.pad(drawn, 1)).max() / _FINE > _POINT * length
        middle = middle + ((first + last) / 2 - MIDDLE) / scale
        factor = WIDTH / length if point else (LENGTH - WIDTH) / max(length - width, 1)
        scale *= factor
    drawn = _on_fine_page(cover, scale, middle)
    drawn = remove_small_holes(drawn, max_size=_HOLE)
    found = stroke_width(drawn) / _FINE
    if not point and not WIDTH * 0.95 <= found <= WIDTH * 1.25:
        drawn = _redrawn(skeletonize(drawn))
    page = drawn.reshape(PAGE, _FINE, PAGE, _FINE).mean((1, 3)) >= 0.5
    return page.astype(np.uint8), float(stroke_width(mask) * scale / max(large, 1))


def _thickened(cover: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Cover of strokes that a reduction to the fine page would lose, made as wide as a pixel of that page."""
    step = max(cover.shape) / (LENGTH * _FINE)  # pixels of the picture for one of the fine page
    width = stroke_width(mask)
    if width >= 1.5 * step:
        return cover
    wider = int(np.ceil((1.5 * step - width) / 2))
    return ndimage.grey_dilation(np.pad(np.maximum(cover, mask), wider), size=2 * wider + 1)


def _on_fine_page(cover: np.ndarray, scale: float, middle: np.ndarray) -> np.ndarray:
    """Ink (315, 315) bool where `scale` pixels of the page stand for one of the picture and `middle` (x, y) of the
    picture lies at the page's `MIDDLE`."""
    first = middle - np.array(MIDDLE) / scale
    corner = np.floor(first).astype(int) - 2
    side = int(np.ceil(PAGE / scale)) + 6
    sheet = Image.new("F", (side, side))
    sheet.paste(Image.fromarray(cover.astype(np.float32)), tuple(int(c) for c in -corner))
    x0, y0 = first - corner
    kind = Image.Resampling.BOX if scale * _FINE < 1 else Image.Resampling.BICUBIC
    fine = sheet.resize((PAGE * _FINE,) * 2, kind, box=(x0, y0, x0 + PAGE / scale, y0 + PAGE / scale))
    level = np.asarray(fine)
    if scale * _FINE > 1:
        level = ndimage.gaussian_filter(level, scale * _FINE / 3)
    return level >= 0.5


def _redrawn(line: np.ndarray) -> np.ndarray:
    """A line on the fine page under the round pen that makes it as thick as Omniglot's."""
    away = ndimage.distance_transform_edt(~line)
    pens = [away <= radius for radius in np.arange(4, 9.1, 0.25)]
    return min(pens, key=lambda drawn: abs(stroke_width(drawn) - WIDTH * _FINE))
