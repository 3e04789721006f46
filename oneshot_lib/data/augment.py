"""More classes and more instances out of the same drawings, as the Homoencoder was trained on Omniglot.

Hewitt et al. 2018, section 4.1: "augmented by 8 rotations/reflections to produce new classes" and "20 small
random affine transformations to create new instances within each class". An element of the extended data set
is (drawing, g, m): g one of the 8 symmetries of the square, m one of the affine maps. Its class is
(character, g). The paper gives no ranges; those of the maps here are `ROTATION` to `SHIFT`.

An affine map and the reduction from 105x105 are one resampling of the original, so that a mapped drawing is
as sharp as a plain one; the symmetry is then exact, a permutation of pixels.
"""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from oneshot_lib.data.episodes import ClassRows
from oneshot_lib.data.preprocessing import PREPROCESSINGS, binarise

if TYPE_CHECKING:
    import torch

SEED = 20180806  # of the affine maps: the same instances everywhere
ROTATION = 10.0  # degrees, either way
SCALE = 0.1  # each axis is stretched by 1 - SCALE to 1 + SCALE
SHEAR = 0.1  # x moves by at most SHEAR y
SHIFT = 1.5 / 28  # of the frame's side, along each axis, either way
ORIGINAL = 105
GRID = 4  # an area is the mean of GRID x GRID points of an output pixel
_BINARY = ("nearest", "threshold", "maxpool", "105")


class AugmentedBatch(NamedTuple):
    """Images x, each with a support D of its class.

    x (B r, 1, S, S) and support (B, N, 1, S, S), float32 of 0 and 1; class_index (B,); set_size (B,) = |X|.
    Support k serves the r elements x[k r : (k + 1) r]; in algorithm 1 r is 1.
    """

    x: "torch.Tensor"
    support: "torch.Tensor"
    class_index: "torch.Tensor"
    set_size: "torch.Tensor"


def symmetry(g: int, images: np.ndarray) -> np.ndarray:
    """Images (..., S, S) under symmetry g of the square: g % 4 quarter turns, after a mirroring if g >= 4.

    >>> symmetry(1, np.array([[1, 2], [3, 4]])).tolist()
    [[2, 4], [1, 3]]
    """
    if g not in range(8):
        raise ValueError(f"g: expected 0 to 7, found {g}")
    return np.rot90(images[..., ::-1] if g >= 4 else images, g % 4, axes=(-2, -1))


def affine_maps(count: int, seed: int = SEED) -> np.ndarray:
    """`count` small maps (count, 2, 3) of the square [-1/2, 1/2]^2, [A | b]: p -> A p + b; the first is the
    identity.

        A = R(angle) [[1, shear], [0, 1]] diag(s_x, s_y)

    with everything uniform in the module's ranges. The first maps are the same whatever `count` is.
    """
    if count < 1:
        raise ValueError(f"count: expected 1 or more, found {count}")
    draw = 2 * np.random.Generator(np.random.PCG64(seed)).random((count - 1, 6)) - 1
    angle, shear = np.deg2rad(ROTATION * draw[:, 0]), SHEAR * draw[:, 1]
    scale, shift = 1 + SCALE * draw[:, 2:4], SHIFT * draw[:, 4:6]
    cos, sin = np.cos(angle), np.sin(angle)
    turned = np.stack([cos, cos * shear - sin, sin, sin * shear + cos], 1).reshape(-1, 2, 2)  # (M-1, 2, 2)
    maps = np.concatenate([turned * scale[:, None], shift[:, :, None]], 2)
    return np.concatenate([np.eye(2, 3)[None], maps.round(6)])  # rounded: alike whatever the machine's cosine


def _sources(maps: np.ndarray, size: int, grid: int) -> tuple[np.ndarray, np.ndarray]:
    """Where each output pixel looks: pixels of the flat original (M, grid^2, size^2), and whether they are
    on the page.

    Point (k, l) of the grid in pixel (i, j) is ((j + (l + 1/2)/grid)/size, (i + (k + 1/2)/grid)/size), taken
    back through the map; one point is what Pillow's nearest neighbour looks at.
    """
    at = (np.arange(size)[None] + (np.arange(grid)[:, None] + 0.5) / grid) / size - 0.5  # (grid, size)
    y, x = np.broadcast_arrays(at[:, None, :, None], at[None, :, None, :])  # (grid, grid, size, size)
    point = np.stack([x, y], -1).reshape(-1, 2)
    back = np.linalg.inv(maps[:, :, :2])
    source = (point[None] - maps[:, None, :, 2]) @ back.transpose(0, 2, 1)  # (M, grid^2 size^2, 2)
    pixel = np.floor((source + 0.5) * ORIGINAL + 1e-9).astype(np.int64)
    inside = ((pixel >= 0) & (pixel < ORIGINAL)).all(-1)
    flat = pixel[..., 1] * ORIGINAL + pixel[..., 0]
    shape = len(maps), grid * grid, size * size
    return np.where(inside, flat, 0).reshape(shape), inside.astype(np.uint8).reshape(shape)


class AugmentedCharacters:
    """The extended data set of a `CharacterSet`: elements (drawing, g, m), classes (character, g).

    `rows` are the drawings to extend, of a split; None is all of them. `rotations` makes 8 classes of each
    character, the class of (character, g) being 8 character + g; without, the classes are the characters.
    `affine` is the number of maps, the identity among them: |X| = 20 affine. Without either it is the plain
    data set. Images are `characters.grey(preprocessing)`, to the bit, at the identity. At the other maps
    `nearest` looks at one pixel of the original, `area` and `threshold` at a grid of 4x4 in each output
    pixel; beyond the page is blank. Other preprocessings have no affine maps.

    >>> from oneshot_lib import data
    >>> characters = data.characters("glyphs")
    >>> extended = AugmentedCharacters(characters, "28-nearest", characters.split("30-20").train)
    >>> import torch
    >>> batch = extended.minibatch(2, 5, torch.Generator().manual_seed(0))
    >>> batch.x.shape, batch.support.shape, batch.set_size
    (torch.Size([2, 1, 28, 28]), torch.Size([2, 5, 1, 28, 28]), tensor([400, 400]))

    Raises ValueError for an unknown preprocessing, for one without affine maps, for fewer than one map and
    for no rows.
    """

    def __init__(
        self,
        characters,
        preprocessing: str,
        rows: np.ndarray | None = None,
        rotations: bool = True,
        affine: int = 20,
        seed: int = SEED,
    ):
        if preprocessing not in PREPROCESSINGS:
            raise ValueError(f"preprocessing: expected one of {', '.join(PREPROCESSINGS)}, found {preprocessing!r}")
        size, _, method = preprocessing.partition("-")
        if affine > 1 and method not in ("nearest", "area", "threshold"):
            raise ValueError(
                f"preprocessing: expected nearest, area or threshold with affine maps, found {preprocessing!r}"
            )
        self.preprocessing, self.image_size, self._method = preprocessing, int(size), method
        self.symmetries, self.affine = 8 if rotations else 1, affine
        self.maps = affine_maps(affine, seed)
        self.binary = preprocessing.endswith(_BINARY)
        rows = np.arange(len(characters)) if rows is None else np.asarray(rows)
        self.rows, self.class_index = rows, np.asarray(characters.class_index)
        self._drawings = ClassRows(self.class_index, rows)
        self._elements = ClassRows(  # (drawing, m) as drawing * affine + m; all symmetries are as many
            np.repeat(self.class_index, affine),
            (rows[:, None] * affine + np.arange(affine)).reshape(-1),
        )
        pixels = np.arange(self.image_size**2).reshape(self.image_size, self.image_size)
        self._turned = np.stack([symmetry(g, pixels).reshape(-1) for g in range(self.symmetries)])
        self._original = np.asarray(characters.images).reshape(-1)  # still memory-mapped
        if method == "nearest":
            source, inside = _sources(self.maps, self.image_size, 1)
            self._source = source[:, 0][:, self._turned]  # (M, G, S^2)
            self._inside = inside[:, 0][:, self._turned] * np.uint8(255)
        else:
            self._plain = np.asarray(characters.grey(preprocessing)).reshape(len(characters), -1)
            self._source, self._inside = _sources(self.maps, self.image_size, GRID)

    def __len__(self) -> int:
        """The number of elements (drawing, g, m)."""
        return len(self.rows) * self.symmetries * self.affine

    @property
    def class_count(self) -> int:
        """The number of classes (character, g)."""
        return len(self._drawings.classes) * self.symmetries

    def images(self, row, g=0, m=0) -> np.ndarray:
        """Element (row, g, m) in grey levels, (S, S) uint8 with ink = 255; (..., S, S) for arrays.

        `row` is a row of the `CharacterSet`, in `rows` or not. Raises ValueError for an index out of range.
        """
        indices = np.broadcast_arrays(np.asarray(row), np.asarray(g), np.asarray(m))
        limits = {"row": len(self.class_index), "g": self.symmetries, "m": self.affine}
        for (name, limit), index in zip(limits.items(), indices, strict=True):
            if index.dtype.kind not in "iu" or (index.size and not 0 <= index.min() <= index.max() < limit):
                raise ValueError(f"{name}: expected integers from 0 to {limit - 1}, found {index}")
        flat = self._grey(*(index.reshape(-1).astype(np.int64) for index in indices))
        return flat.reshape(*indices[0].shape, self.image_size, self.image_size)

    def minibatch(
        self,
        batch_size: int,
        support_size: int,
        generator: "torch.Generator",
        x_from: str = "class",
        sets: str = "all",
        elements: int = 1,
    ) -> AugmentedBatch:
        """Draw x and D of algorithm 1 (Hewitt 2018) over the extended data set; see `ClassRows.minibatch`.

        With `sets="all"`, X is every instance of a class: |X| = 20 affine. With `sets="drawings"`, X is the
        class's 20 drawings, each under a map drawn for this batch: |X| = 20, D are different drawings, and x
        lies in D with probability |D| / 20, then under the same map. Grey levels are binarised anew at each
        occurrence. Raises ValueError as `ClassRows.minibatch` does, and for another `sets`.
        """
        import torch

        if sets not in ("all", "drawings"):
            raise ValueError(f"sets: expected 'all' or 'drawings', found {sets!r}")
        source = self._elements if sets == "all" else self._drawings
        x, support, character, set_size = source.minibatch(batch_size, support_size, generator, x_from, elements)
        element = torch.cat([x.view(batch_size, elements), support], 1)  # (B, r + N)
        if sets == "all":
            row, m = element // self.affine, element % self.affine
        else:
            row, m = element, torch.randint(self.affine, element.shape, generator=generator)
            same = support[:, None] == element[:, :elements, None]  # (B, r, N), at most one of D an element
            m[:, :elements] = torch.where(same.any(2), (m[:, None, elements:] * same).sum(2), m[:, :elements])
        g = torch.randint(self.symmetries, (batch_size, 1), generator=generator)
        row, g_all, m = (index.reshape(-1).numpy() for index in (row, g.expand_as(element), m))
        grey = torch.from_numpy(self._grey(row, g_all, m))
        bits = (grey > 0).float() if self.binary else binarise(grey, generator)
        image = bits.view(batch_size, elements + support_size, 1, self.image_size, self.image_size)
        x, support = image[:, :elements].flatten(0, 1), image[:, elements:].contiguous()
        return AugmentedBatch(x, support, self.symmetries * character + g[:, 0], set_size)

    def _grey(self, row: np.ndarray, g: np.ndarray, m: np.ndarray) -> np.ndarray:
        """Elements (n,) as grey levels (n, S^2)."""
        if self._method == "nearest":
            return self._original[row[:, None] * ORIGINAL**2 + self._source[m, g]] * self._inside[m, g]
        grey = self._plain[row]
        for k in np.flatnonzero(m):
            page = self._original[row[k] * ORIGINAL**2 : (row[k] + 1) * ORIGINAL**2]
            ink = (page[self._source[m[k]]] * self._inside[m[k]]).sum(0, dtype=np.uint16)  # (S^2,)
            grey[k] = (ink * 255 + GRID**2 // 2) // GRID**2
        if self._method == "threshold":
            grey = np.where(grey >= 128, np.uint8(255), np.uint8(0))
        return np.take_along_axis(grey, self._turned[g], 1)
