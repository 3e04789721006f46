"""From original pixels to the grey levels a model is trained on, and from grey levels to bits.

How an image becomes 28x28 decides what a likelihood means. A grey pixel g that is binarised anew each time
it is drawn has the entropy h(g) = -g log g - (1 - g) log(1 - g), and no model can be better than its sum:
the floor.
"""

import functools
from collections.abc import Callable

import numpy as np
from PIL import Image

STATIC_SEED = 20160526  # of static binarisation: the same bits everywhere, for ever

_FILTERS = {
    "area": Image.Resampling.BOX,
    "nearest": Image.Resampling.NEAREST,
    "antialias": Image.Resampling.BILINEAR,
    "lanczos": Image.Resampling.LANCZOS,
}


def _resize(images: np.ndarray, size: int, method: str) -> np.ndarray:
    """Pillow's resize of black and white images; its filters widen with the scale (antialiasing)."""
    grey = np.empty((len(images), size, size), np.uint8)
    for row, image in enumerate(images):
        grey[row] = Image.fromarray(image * np.uint8(255)).resize((size, size), _FILTERS[method])
    return grey


def _bilinear(images: np.ndarray, size: int) -> np.ndarray:
    """Bilinear between the four nearest pixels, whatever the scale: most pixels are never read."""
    matrix = np.zeros((size, images.shape[1]), np.float32)
    centre = (np.arange(size) + 0.5) * images.shape[1] / size - 0.5
    low = np.clip(np.floor(centre).astype(int), 0, images.shape[1] - 2)
    weight = np.clip(centre - low, 0, 1)
    np.add.at(matrix, (np.arange(size), low), 1 - weight)
    np.add.at(matrix, (np.arange(size), low + 1), weight)
    grey = matrix @ images.astype(np.float32) @ matrix.T
    return np.rint(255 * grey).astype(np.uint8)


def _maxpool(images: np.ndarray, size: int) -> np.ndarray:
    """2x2 max-pooling: of 105 rows the last is left out (Rezende et al. 2016, section 4.3)."""
    cut = images[:, : 2 * size, : 2 * size].reshape(-1, size, 2, size, 2)
    return cut.max((2, 4)) * np.uint8(255)


def _threshold(images: np.ndarray, size: int) -> np.ndarray:
    """Box-filtered and cut at one half: black and white again."""
    return np.where(_resize(images, size, "area") >= 128, np.uint8(255), np.uint8(0))


def _original(images: np.ndarray, size: int) -> np.ndarray:
    return images * np.uint8(255)


_METHODS: dict[str, tuple[Callable[[np.ndarray, int], np.ndarray], int]] = {
    **{
        f"{size}-{method}": (functools.partial(_resize, method=method), size)
        for size in (26, 28, 50, 52)
        for method in _FILTERS
    },
    **{f"{size}-bilinear": (_bilinear, size) for size in (26, 28, 50, 52)},
    "28-threshold": (_threshold, 28),
    "50-threshold": (_threshold, 50),
    "52-maxpool": (_maxpool, 52),
    "105": (_original, 105),
}
PREPROCESSINGS: tuple[str, ...] = tuple(sorted(_METHODS))


def preprocess(images: np.ndarray, name: str) -> np.ndarray:
    """Grey images of a named preprocessing, (N, S, S) uint8 with ink = 255, from black and white originals.

    The originals are (N, 105, 105), bool or uint8, with 1 = ink; S is the number in the name. `area` is a box
    filter, `nearest`, `lanczos` and `antialias` (bilinear) are Pillow's, `bilinear` is torch's
    `interpolate(..., antialias=False)`, `threshold` is `area` cut at one half, `maxpool` takes each 2x2
    square's maximum.

    >>> ring = np.zeros((1, 105, 105), np.uint8)
    >>> ring[0, 40:65, 40:65] = 1
    >>> preprocess(ring, "28-nearest").shape
    (1, 28, 28)

    Raises ValueError for a name not in `PREPROCESSINGS` and for images of another shape, type or range.
    """
    if name not in _METHODS:
        raise ValueError(f"name: expected one of {', '.join(PREPROCESSINGS)}, found {name!r}")
    images = np.asarray(images)
    if images.ndim != 3 or images.shape[1:] != (105, 105) or images.dtype not in (np.uint8, np.bool_):
        raise ValueError(f"images: expected (N, 105, 105) uint8 or bool, found {images.shape} {images.dtype}")
    method, size = _METHODS[name]
    grey = np.empty((len(images), size, size), np.uint8)
    for start in range(0, len(images), 2048):
        part = images[start : start + 2048].astype(np.uint8)
        if part.size and part.max() > 1:
            raise ValueError(f"images: expected 0 and 1 (1 = ink), found {part.max()}")
        grey[start : start + 2048] = method(part, size)
    return grey


def binarisation_floor(grey: np.ndarray) -> float:
    """The floor under the NLL of dynamically binarised images, in nats an image: the mean summed entropy.

        floor = mean_n sum_ij h(g_nij / 255),  h(p) = -p log p - (1 - p) log(1 - p)

    `grey` is (N, H, W) uint8; black and white images have the floor 0. Raises ValueError for anything else.
    """
    grey = np.asarray(grey)
    if grey.dtype != np.uint8 or grey.ndim != 3 or not len(grey):
        raise ValueError(f"grey: expected (N, H, W) uint8 with N > 0, found {grey.shape} {grey.dtype}")
    levels = np.zeros(256, np.int64)
    for start in range(0, len(grey), 4096):
        levels += np.bincount(grey[start : start + 4096].reshape(-1), minlength=256)
    p = np.arange(1, 255) / 255
    entropy = -p * np.log(p) - (1 - p) * np.log1p(-p)
    return float(levels[1:255] @ entropy / len(grey))


def binarise(grey, generator):
    """Dynamic binarisation: each pixel is ink with the probability of its grey level; float32 of 0 and 1.

    `grey` is a NumPy array or torch tensor, uint8 (255 = ink) or floating in [0, 1]; the result is a torch
    tensor of its shape on the generator's device. Raises ValueError for another type or range.
    """
    import torch

    grey = torch.as_tensor(np.array(grey) if isinstance(grey, np.ndarray) else grey).to(generator.device)
    if grey.dtype == torch.uint8:
        probability = grey.float() / 255
    elif grey.is_floating_point():
        probability = grey.float()
        if not bool(((probability >= 0) & (probability <= 1)).all()):
            raise ValueError("grey: expected floating levels in [0, 1], found levels outside")
    else:
        raise ValueError(f"grey: expected uint8 or floating, found {grey.dtype}")
    noise = torch.rand(probability.shape, generator=generator, device=generator.device)
    return (noise < probability).float()


def static_binarise(grey: np.ndarray) -> np.ndarray:
    """Static binarisation: every pixel drawn once and for all (seed `STATIC_SEED`); (N, H, W) uint8 of 0
    and 1.

    The draws depend on an image's row, so binarise the whole data set and index afterwards.
    """
    grey = np.asarray(grey)
    if grey.dtype != np.uint8:
        raise ValueError(f"grey: expected uint8, found {grey.dtype}")
    generator = np.random.Generator(np.random.PCG64(STATIC_SEED))
    bits = np.empty(grey.shape, np.uint8)
    for row, image in enumerate(grey):
        bits[row] = generator.integers(0, 255, image.shape, np.uint8) < image  # P(ink) = level / 255
    return bits
