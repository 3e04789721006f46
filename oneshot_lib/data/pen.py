"""From the outline of a glyph to the line a pen would follow, and from the line to ink.

Everything here is exact on every machine: outlines are the integers of the font file, positions are
computed by elementwise IEEE arithmetic and rounded to 1/64 pixel before anything is compared, random
numbers are the raw output of PCG64. No font rasteriser, no BLAS, no transcendental function.
"""

import numpy as np

SUBPIXEL = 64


def flatten(coordinates, ends, flags, steps: int = 6) -> np.ndarray:
    """The line segments (S, 4), x0 y0 x1 y1, of a TrueType outline: quadratic curves in `steps` pieces each.

    `coordinates` (P, 2), `ends` and `flags` are the glyf table's: the last point of each contour, and bit 0
    for a point on the curve.
    """
    pieces, start, t = [], 0, np.arange(1, steps + 1)[:, None] / steps
    for end in ends:
        points = [np.asarray(p, float) for p in coordinates[start : end + 1]]
        on = [f & 1 for f in flags[start : end + 1]]
        start = end + 1
        if len(points) < 3:
            continue
        full, full_on = [], []
        for k, point in enumerate(points):  # between two control points lies one on the curve
            if not on[k] and not on[k - 1]:
                full.append((points[k - 1] + point) / 2)
                full_on.append(1)
            full.append(point)
            full_on.append(on[k])
        first = full_on.index(1)
        full, full_on = full[first:] + full[:first] + [full[first]], full_on[first:] + full_on[:first] + [1]
        line, k = [full[0]], 1
        while k < len(full):
            if full_on[k]:
                line.append(full[k])
                k += 1
            else:
                a, b, c = line[-1], full[k], full[k + 1]
                line += list(a * ((1 - t) * (1 - t)) + b * (2 * t * (1 - t)) + c * (t * t))
                k += 2
        line = np.array(line)
        pieces.append(np.concatenate([line[:-1], line[1:]], 1))
    return np.concatenate(pieces) if pieces else np.zeros((0, 4))


def fill(segments: np.ndarray, size: int) -> np.ndarray:
    """The inside (winding number not zero) of closed contours, at pixel centres: (size, size) bool."""
    rows = np.arange(size) + 0.5
    x0, y0, x1, y1 = (segments[:, k, None] for k in range(4))
    up, down = (y0 <= rows) & (rows < y1), (y1 <= rows) & (rows < y0)
    which, row = np.nonzero(up | down)
    height = y1[which, 0] - y0[which, 0]
    x = x0[which, 0] + (rows[row] - y0[which, 0]) * (x1[which, 0] - x0[which, 0]) / height
    column = np.clip(np.ceil(np.rint(x * SUBPIXEL) / SUBPIXEL - 0.5), 0, size).astype(int)
    crossing = np.zeros((size, size + 1), int)
    np.add.at(crossing, (row, column), np.where(up[which, row], 1, -1))
    return crossing.cumsum(1)[:, :size] != 0


def thin(images: np.ndarray, chunk: int = 256) -> np.ndarray:
    """The skeletons of many binary images (N, H, W), by Guo and Hall (1989, algorithm A1), 64 images to a
    word.

    A pixel goes when its neighbours form one run of two or three sides and the test of the pass allows it;
    the two passes alternate until nothing changes. (Zhang and Suen's rules, the better known ones, delete
    diagonal lines.)
    """
    result = np.empty(images.shape, bool)
    for start in range(0, len(images), chunk):
        part = np.zeros((chunk, *images.shape[1:]), bool)
        part[: len(images) - start] = images[start : start + chunk]
        padded = np.pad(part, ((0, 0), (1, 1), (1, 1))).transpose(1, 2, 0)
        words = np.ascontiguousarray(np.packbits(padded, axis=-1)).view(np.uint64)
        while _peel(words, 0) | _peel(words, 1):
            pass
        bits = np.unpackbits(words[1:-1, 1:-1].copy().view(np.uint8), axis=-1).transpose(2, 0, 1)
        result[start : start + chunk] = bits[: len(images) - start].astype(bool)
    return result


def _peel(words: np.ndarray, odd: int) -> bool:
    """One pass in place; whether anything changed. Neighbours go clockwise from the one above."""
    h, w = words.shape[0] - 1, words.shape[1] - 1
    offsets = [(-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1)]
    n, ne, e, se, s, sw, west, nw = (words[1 + dy : h + dy, 1 + dx : w + dx] for dy, dx in offsets)
    runs = [~n & (ne | e), ~e & (se | s), ~s & (sw | west), ~west & (nw | n)]
    sides, corners = [nw | n, ne | e, se | s, sw | west], [n | ne, e | se, s | sw, west | nw]
    go = words[1:-1, 1:-1] & _any(runs) & ~_two(runs) & _two(sides) & _two(corners)
    go &= ~(_all(sides) & _all(corners))
    go &= ~((n | ne | ~se) & e) if odd else ~((s | sw | ~nw) & west)
    words[1:-1, 1:-1] &= ~go
    return bool(go.any())


def _any(p: list[np.ndarray]) -> np.ndarray:
    return p[0] | p[1] | p[2] | p[3]


def _all(p: list[np.ndarray]) -> np.ndarray:
    return p[0] & p[1] & p[2] & p[3]


def _two(p: list[np.ndarray]) -> np.ndarray:
    return p[0] & p[1] | p[2] & p[3] | (p[0] | p[1]) & (p[2] | p[3])


def centreline(skeleton: np.ndarray, reach: int = 2) -> np.ndarray:
    """The skeleton's points (P, 2), x y, each at the mean of the skeleton within `reach`: no staircase."""
    y, x = np.nonzero(skeleton)
    padded = np.pad(skeleton, reach).astype(int)
    total, sum_x, sum_y = np.zeros(len(y), int), np.zeros(len(y), int), np.zeros(len(y), int)
    for dy in range(-reach, reach + 1):
        for dx in range(-reach, reach + 1):
            here = padded[y + dy + reach, x + dx + reach]
            total += here
            sum_x += here * (x + dx)
            sum_y += here * (y + dy)
    return np.stack([sum_x / total, sum_y / total], 1)


def stamp(points: np.ndarray, image: np.ndarray, radius: np.ndarray, count: int, size: int) -> np.ndarray:
    """The grey levels of discs at `points` (P, 2), each in the image `image` (P,) with `radius` (P,) pixels.

    A pixel's level falls from 255 to 0 between radius - 1/2 and radius + 1/2 from the nearest point;
    (count, size, size) uint8. Cut at one half (128) the discs are black and white.
    """
    levels = np.zeros((count, size, size), np.uint8)
    flat = levels.reshape(-1)
    fixed = np.rint(points * SUBPIXEL).astype(np.int32)
    pen = np.rint(radius * SUBPIXEL).astype(np.int32)
    corner = fixed // SUBPIXEL
    extent = int(pen.max() + SUBPIXEL // 2) // SUBPIXEL + 1
    for dy in range(-extent, extent + 1):
        for dx in range(-extent, extent + 1):
            x, y = corner[:, 0] + dx, corner[:, 1] + dy
            away_x, away_y = x * SUBPIXEL - fixed[:, 0], y * SUBPIXEL - fixed[:, 1]
            square = away_x * away_x + away_y * away_y
            near = np.flatnonzero(
                (square < (pen + SUBPIXEL // 2) ** 2) & (x >= 0) & (x < size) & (y >= 0) & (y < size)
            )
            edge = pen[near] + SUBPIXEL // 2 - np.floor(np.sqrt(square[near])).astype(np.int32)
            level = np.minimum(edge * 255 // SUBPIXEL, 255).astype(np.uint8)
            where = (image[near] * size + y[near]) * size + x[near]
            np.maximum.at(flat, where, level)
    return levels


class Uniform:
    """Uniform numbers in [0, 1) from the raw words of PCG64, whose stream NumPy guarantees."""

    def __init__(self, *seed: int):
        self.bits = np.random.PCG64(list(seed))

    def __call__(self, *shape: int) -> np.ndarray:
        count = int(np.prod(shape))
        return ((self.bits.random_raw(count) >> np.uint64(11)) * 2.0**-53).reshape(shape)

    def symmetric(self, *shape: int) -> np.ndarray:
        """Bell-shaped numbers in (-1, 1) with standard deviation 1/3: the sum of three uniforms, scaled."""
        a, b, c = self(3, *shape)
        return (a + b + c) * (2 / 3) - 1
