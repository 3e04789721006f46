"""Anyone's pictures: a folder of them by class, and single ones, made ready for a model.

>>> letters = folder("letters")                        # doctest: +SKIP
>>> letters.names, letters.classes[0].shape            # doctest: +SKIP
(['a', 'b'], (5, 28, 28))
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from oneshot_lib.data.augment import AugmentedBatch
from oneshot_lib.data.episodes import ClassRows
from oneshot_lib.data.listing import Skipped, class_name, listing
from oneshot_lib.data.pictures import prepare, prepared_file
from oneshot_lib.files import shorten
from oneshot_lib.machine import cores

REDUCTION = "28-nearest"  # of the shipped homoencoders


class ClassFiles(NamedTuple):
    """`names` of K classes, the picture files of each, and what else lies in the folder."""

    names: list[str]
    files: list[list[Path]]
    skipped: list[Skipped]


@dataclass(frozen=True, eq=False)
class PictureFolder:
    """Pictures by class: `names` of K classes, and of each its drawings `classes[k]` (N_k, S, S), uint8 of 0 and 1.

    `reduction` is what they were reduced by; `skipped` what lies in the folder and is no picture.
    """

    names: list[str]
    classes: list[np.ndarray] = field(repr=False)
    reduction: str
    skipped: list[Skipped] = field(default_factory=list, repr=False)

    def __len__(self) -> int:
        return len(self.names)

    def supports(self) -> list:
        """Every class as a support set: (N_k, 1, S, S), float32 tensors of zeros and ones."""
        import torch

        return [torch.from_numpy(drawings)[:, None].float() for drawings in self.classes]

    @cached_property
    def _rows(self) -> ClassRows:
        return ClassRows(np.repeat(np.arange(len(self)), [len(drawings) for drawings in self.classes]))

    def minibatch(self, batch_size: int, support_size: int, generator, x_from: str = "class",
                  elements: int = 1) -> AugmentedBatch:
        """Draw x and D of algorithm 1 (Hewitt 2018): x (B r, 1, S, S), D (B, N, 1, S, S), zeros and ones.

        See `ClassRows.minibatch`; N is at most the number of drawings of the smallest class. Raises ValueError as that
        does.
        """
        import torch

        drawn, every = self._rows.minibatch(batch_size, support_size, generator, x_from, elements), self.supports()
        images = torch.cat(every)
        return AugmentedBatch(images[drawn.x], images[drawn.support], drawn.class_index, drawn.set_size)


def folder(path: str | os.PathLike, reduction: str = REDUCTION) -> PictureFolder:
    """The pictures of a folder, ready for a model: a sub-folder of pictures is a class, and so is a single picture,
    called by its stem.

    Each is prepared as `prepare` does it and reduced by `reduction`, one of `PREPROCESSINGS`. Raises ValueError where
    there are fewer than two classes, where two share a name, on a sub-folder without a picture, and DataError, which
    names the file, on a picture that can't be read.
    """
    found = classes_in(Path(path))
    ready = iter(prepared_files(sum(found.files, []), reduction))
    classes = [np.stack(list(islice(ready, len(files)))) for files in found.files]
    return PictureFolder(found.names, classes, reduction, found.skipped)


def classes_in(path: Path, what: str = "path") -> ClassFiles:
    """The classes of a folder and their files, none of them read yet; `what` is how errors call the folder."""
    if not path.is_dir():
        raise ValueError(f"{what} is {shorten(path)}; expected a folder with a picture, or a sub-folder, a class")
    there = listing(path)
    inside = sorted(there.pictures + there.folders)
    names = [class_name(each) for each in inside]
    if len(inside) < 2:
        number = "one class" if inside else "nothing"
        raise ValueError(f"{shorten(path)}: expected two classes or more, a picture or a sub-folder of pictures "
                         f"each, found {number}")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"{shorten(path)}: expected one picture or sub-folder a class, found two called {twice!r}")
    files, skipped = zip(*(pictures_in(each, what) for each in inside), strict=True)
    return ClassFiles(names, list(files), sum(skipped, there.skipped))


def pictures_in(path: Path, what: str = "path") -> tuple[list[Path], list[Skipped]]:
    """A file itself, or the pictures in a folder and what is left out of it. Raises ValueError where there is none, and
    what `listing` says."""
    if not path.is_dir():
        if not path.exists():
            raise ValueError(f"{what}: {shorten(path)}: no such file or folder")
        return [path], []
    found = listing(path)
    if not found.pictures:
        raise ValueError(f"{what}: {shorten(path)}: expected a folder with pictures, found none in it")
    return found.pictures, found.skipped + [Skipped(each, "a folder in a folder") for each in found.folders]


def prepared_files(files: Sequence[Path], reduction: str) -> list[np.ndarray]:
    """`prepared_file` of each, several at a time: (S, S) uint8 of 0 and 1 each, in their order."""
    with ThreadPoolExecutor(cores()) as pool:
        return list(pool.map(lambda file: prepared_file(file, reduction), files))


def ready(picture, reduction: str = REDUCTION) -> np.ndarray:
    """A picture as a model's input, (S, S) uint8 of 0 and 1: from a file's path or a PIL image, from grey levels (H, W)
    uint8, 0 = black, or as it is where it is (S, S) already, zeros and ones, ink one, of floats or bools.

    Raises ValueError on anything else, and DataError, which names the file, where one can't be read or holds no ink.
    """
    from PIL import Image

    size = int(reduction.split("-")[0])
    if isinstance(picture, (str, os.PathLike)):
        return prepared_file(Path(picture), reduction)
    if isinstance(picture, Image.Image):
        picture = np.asarray(picture.convert("L"))
    array = np.asarray(picture.detach().cpu() if type(picture).__module__.startswith("torch") else picture)
    array = array[0] if array.ndim == 3 and len(array) == 1 else array
    if array.dtype == np.uint8 and array.ndim == 2:
        return prepare(array, size, reduction).image // 255
    if array.shape != (size, size) or array.dtype.kind not in "fb" or not np.isin(array, (0, 1)).all():
        raise ValueError(f"picture is {array.dtype} {array.shape}; expected a file, a PIL image, grey levels (H, W) "
                         f"uint8, or ({size}, {size}) of 0. and 1.")
    if not array.any():
        raise ValueError("picture is blank; expected a drawing, with ink one")
    return array.astype(np.uint8)


def every_picture(pictures, reduction: str = REDUCTION) -> list[np.ndarray]:
    """`ready` of one picture, of each of several, or of every picture in a folder. Raises ValueError where there is
    none."""
    if isinstance(pictures, (str, os.PathLike)):
        return prepared_files(pictures_in(Path(pictures), "pictures")[0], reduction)
    several = isinstance(pictures, (list, tuple)) or getattr(pictures, "ndim", 2) > 2
    found = [ready(picture, reduction) for picture in (pictures if several else [pictures])]
    if not found:
        raise ValueError("pictures is empty; expected one at least")
    return found
