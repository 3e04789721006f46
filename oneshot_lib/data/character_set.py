"""One interface for the characters of Omniglot and of Glyphs: alphabets, characters, 20 drawings of each."""

from dataclasses import dataclass, field

import numpy as np

from oneshot_lib.data import omniglot
from oneshot_lib.data.cache import cached
from oneshot_lib.data.layouts import AbsentData, absence, warn_of_absence
from oneshot_lib.data.preprocessing import PREPROCESSINGS, preprocess, static_binarise
from oneshot_lib.data.splits import Split, read_split

SOURCES = ("omniglot", "glyphs")
LABELS = {"omniglot": "Omniglot (Lake et al. 2015)", "glyphs": "Glyphs (rendered from matplotlib's fonts)"}


@dataclass(frozen=True, eq=False)
class CharacterSet:
    """Drawings of characters. Row n is a drawing of `classes[class_index[n]]` by the person `drawing[n]`.

    `images` is memory-mapped, (N, 105, 105) uint8 with 1 = ink; `classes` are "Alphabet/character01";
    `hash` is of the decoded pixels and class names.
    """

    name: str
    images: np.ndarray = field(repr=False)
    classes: list[str] = field(repr=False)
    hash: str
    class_index: np.ndarray = field(repr=False)
    drawing: np.ndarray = field(repr=False)
    alphabets: list[str] = field(repr=False)
    alphabet_index: np.ndarray = field(repr=False)

    def __len__(self) -> int:
        return len(self.images)

    @property
    def label(self) -> str:
        """What a figure says about its data."""
        return LABELS[self.name]

    def grey(self, name: str) -> np.ndarray:
        """The drawings under one of `PREPROCESSINGS`: (N, S, S) uint8, ink = 255, memory-mapped."""
        if name not in PREPROCESSINGS:
            raise ValueError(f"name: expected one of {', '.join(PREPROCESSINGS)}, found {name!r}")
        size = int(name.split("-")[0])
        key = f"{self.name}-{self.hash[:16]}-{name}"
        return cached(key, (len(self), size, size), lambda: (preprocess(self.images, name), {}))[0]

    def binary(self, name: str) -> np.ndarray:
        """`grey(name)` under static binarisation: (N, S, S) uint8 of 0 and 1, memory-mapped."""
        grey = self.grey(name)
        key = f"{self.name}-{self.hash[:16]}-{name}-static"
        return cached(key, grey.shape, lambda: (static_binarise(grey), {}))[0]

    def split(self, name: str) -> Split:
        """The rows of one of the committed splits, `oneshot_lib.data.splits.NAMES`."""
        return read_split(self, name)


def characters(source: str | None = None) -> CharacterSet:
    """The characters of `source`, "omniglot" or "glyphs"; by default Omniglot if its files are found, else
    Glyphs.

    Reads local files only. Where `$ONESHOT_DATA` is set and has no Omniglot, a line on standard error says so.
    Raises DataError where the files are there and spoiled, or (AbsentData) where Omniglot is asked for and not found.
    """
    if source not in (None, *SOURCES):
        raise ValueError(f"source: expected one of {', '.join(SOURCES)} or None, found {source!r}")
    found = omniglot.load() if source != "glyphs" else None
    if found is not None:
        return _character_set("omniglot", *found)
    if source == "omniglot":
        raise AbsentData(absence(omniglot.FOLDER, omniglot.spellings()))
    if source is None:
        warn_of_absence(omniglot.FOLDER, omniglot.spellings(), f"the data are {LABELS['glyphs']}")
    from oneshot_lib.data import glyphs

    return _character_set("glyphs", *glyphs.load())


def _character_set(name: str, images: np.ndarray, about: dict) -> CharacterSet:
    classes = about["classes"]
    drawings = len(images) // len(classes)
    owner = [c.split("/")[0] for c in classes]
    alphabets = list(dict.fromkeys(owner))
    number = {a: i for i, a in enumerate(alphabets)}
    return CharacterSet(
        name=name,
        images=images,
        classes=classes,
        hash=about["hash"],
        class_index=np.repeat(np.arange(len(classes)), drawings),
        drawing=np.tile(np.arange(drawings), len(classes)),
        alphabets=alphabets,
        alphabet_index=np.repeat([number[a] for a in owner], drawings),
    )
