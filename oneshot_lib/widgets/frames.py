"""From drawings to pictures and bytes: probabilities become 8-bit ink, 0 for bare paper, 255 for full ink."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageDraw

OUTLINE = 119  # the grey of a window: seen on paper and on ink, and one of the 16 levels of `png`


def as_array(values) -> np.ndarray:
    """A tensor on any device, or anything numpy takes, as a numpy array."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
    return np.asarray(values)


def ink(values, name: str = "values") -> np.ndarray:
    """Numbers in [0, 1] of any shape -> uint8 of the same shape. Raises ValueError on any other number."""
    values = as_array(values).astype(np.float64)
    if not (values.size and values.min() >= 0 and values.max() <= 1):  # NaN compares false
        span = f"[{values.min():.4g}, {values.max():.4g}]" if values.size else "nothing"
        raise ValueError(f"{name} holds {span}; expected numbers in [0, 1]")
    return np.rint(255 * values).astype(np.uint8)


def frames(drawing, index: int = 0) -> np.ndarray:
    """The canvas after 0, ..., T steps, ink = 255: `drawing.probabilities` (B, T+1, 1, H, W) -> (T+1, H, W).

    >>> from types import SimpleNamespace
    >>> frames(SimpleNamespace(probabilities=np.zeros((2, 21, 1, 28, 28)))).shape
    (21, 28, 28)
    """
    shape = tuple(drawing.probabilities.shape)
    if len(shape) != 5 or shape[1] < 2 or shape[2] != 1:
        raise ValueError(f"drawing.probabilities has shape {shape}; expected (B, T+1, 1, H, W), T at least 1")
    if not -shape[0] <= index < shape[0]:
        raise ValueError(f"index is {index}; the drawing holds {shape[0]}")
    return ink(drawing.probabilities[index, :, 0], "drawing.probabilities")


def packed(drawings) -> bytes:
    r"""Drawings of zeros and ones (..., H, W), eight pixels a byte, each drawing begun on a byte of its own.

    Raises ValueError on other numbers.

    >>> packed(np.array([[[1, 0], [0, 0]], [[0, 1], [0, 0]]]))
    b'\x80@'
    """
    pixels = as_array(drawings)
    if not np.isin(pixels, (0, 1)).all():
        raise ValueError(f"drawings hold numbers up to {pixels.max():.4g}; expected zeros and ones only")
    return np.packbits(pixels.astype(np.uint8).reshape(-1, pixels.shape[-1] * pixels.shape[-2]), axis=1).tobytes()


def unpacked(rows: bytes, size) -> np.ndarray:
    r"""The drawings that were `packed`, `size` = (H, W) each: (drawings, H, W) of zeros and ones, uint8.

    >>> unpacked(b"\x80@", (2, 2)).tolist()
    [[[1, 0], [0, 0]], [[0, 1], [0, 0]]]
    """
    pixels = int(np.prod(size))
    held = np.frombuffer(rows, np.uint8).reshape(-1, -(-pixels // 8))
    return np.unpackbits(held, axis=1, count=pixels).reshape(-1, *size)


def strip(frames: np.ndarray, panels: int = 6, magnify: int = 3, outlines=None) -> np.ndarray:
    """A few frames side by side, first and last included: (T+1, H, W) ink -> (h, w), dark on light.

    `outlines` (T, 8) are windows, four corners in image coordinates each: that of step t is drawn on frame t.
    """
    steps = np.linspace(0, len(frames) - 1, min(panels, len(frames))).round().astype(int)
    pictures = []
    for t in steps:
        picture = np.kron(255 - frames[t], np.ones((magnify, magnify), np.uint8))
        if outlines is not None and t > 0:
            height, width = picture.shape
            corners = (np.reshape(outlines[t - 1], (4, 2)) + 1) / 2 * (width, height) - 0.5
            drawn = Image.fromarray(picture)
            ImageDraw.Draw(drawn).polygon([tuple(corner) for corner in corners.tolist()], outline=OUTLINE)
            picture = np.array(drawn)
        pictures.append(picture)
    gap = np.full((pictures[0].shape[0], 2 * magnify), 200, np.uint8)
    return np.hstack([piece for picture in pictures for piece in (gap, picture)][1:])


def png(grey: np.ndarray) -> bytes:
    """A grey picture (h, w) uint8 as a PNG of 16 levels: small enough to stand inside a page."""
    levels = Image.fromarray(np.rint(grey / 17).astype(np.uint8))
    levels.putpalette([17 * level for level in range(16) for _ in range(3)])
    buffer = io.BytesIO()
    levels.save(buffer, "PNG", optimize=True, bits=4)
    return buffer.getvalue()
