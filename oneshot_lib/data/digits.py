"""MNIST (LeCun et al.) from its four IDX files, and digits rendered from fonts where they are not found."""

import gzip
import hashlib
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from oneshot_lib.data.cache import DataError, cached, fingerprint
from oneshot_lib.data.layouts import AbsentData, absence, find, warn_of_absence
from oneshot_lib.data.preprocessing import static_binarise
from oneshot_lib.data.splits import Split
from oneshot_lib.files import shorten

FOLDER = "mnist"
# name: (shape, SHA-256 of the uncompressed file)
FILES = {
    "train-images-idx3-ubyte.gz": (
        (60000, 28, 28),
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    ),
    "train-labels-idx1-ubyte.gz": (
        (60000,),
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    ),
    "t10k-images-idx3-ubyte.gz": (
        (10000, 28, 28),
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    ),
    "t10k-labels-idx1-ubyte.gz": (
        (10000,),
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
}
LABELS = {"mnist": "MNIST (LeCun et al.)", "glyph-digits": "Glyph digits (rendered from matplotlib's fonts)"}


@dataclass(frozen=True, eq=False)
class DigitSet:
    """Handwritten digits, or rendered ones: training rows first. `hash` is of the pixels and labels."""

    name: str
    images: np.ndarray = field(repr=False)
    labels: np.ndarray = field(repr=False)
    hash: str
    train_rows: int

    def __len__(self) -> int:
        return len(self.images)

    @property
    def label(self) -> str:
        """What a figure says about its data."""
        return LABELS[self.name]

    def grey(self, name: str = "28") -> np.ndarray:
        """The images as published, "28": (N, 28, 28) uint8, ink = 255, memory-mapped."""
        if name != "28":
            raise ValueError(f"name: expected '28', found {name!r}")
        return self.images

    def binary(self, name: str = "28") -> np.ndarray:
        """`grey(name)` under static binarisation: (N, 28, 28) uint8 of 0 and 1, memory-mapped."""
        grey = self.grey(name)
        return cached(
            f"{self.name}-{self.hash[:16]}-static", grey.shape, lambda: (static_binarise(grey), {})
        )[0]

    def split(self, name: str = "standard") -> Split:
        """The published split, "standard": the first rows train, the others test."""
        if name != "standard":
            raise ValueError(f"name: expected 'standard', found {name!r}")
        rows = np.arange(len(self))
        return Split(name, rows[: self.train_rows], rows[self.train_rows :], rows[:0])


def spellings() -> dict[str, list[str]]:
    """The published names of the files, and the others under which they are found unpacked, alone or in folders."""
    found = {}
    for name in FILES:
        plain = (name[:-3], name[:-3].replace("-idx", ".idx"))
        found[name] = [*plain, *(f"{folder}/{file}" for folder in plain for file in plain)]
    return found


def read_idx(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """The bytes of an IDX file (gzipped or not) as a uint8 array of the shape that is expected of it.

    Raises DataError, naming the file, for another magic number, shape or length, or a spoiled gzip stream.
    """
    return _parse_idx(_uncompressed(path), path, shape)


def _uncompressed(path: Path) -> bytes:
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if path.suffix == ".gz" else content
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{shorten(path)}: expected a whole gzip file, but {error}") from error


def _parse_idx(content: bytes, path: Path, shape: tuple[int, ...]) -> np.ndarray:
    magic = bytes([0, 0, 8, len(shape)])  # two zeros, unsigned bytes, number of dimensions
    if content[:4] != magic:
        raise DataError(
            f"{shorten(path)}: expected an IDX file (magic {magic.hex()}), found "
            f"{content[:4].hex() or 'nothing'}"
        )
    start = 4 + 4 * len(shape)
    found = tuple(int.from_bytes(content[k : k + 4]) for k in range(4, start, 4))
    if found != shape:
        raise DataError(f"{shorten(path)}: expected the shape {shape}, found {found}")
    if len(content) - start != int(np.prod(shape)):
        raise DataError(
            f"{shorten(path)}: expected {np.prod(shape):,} bytes of data, found {len(content) - start:,}"
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def mnist(source: str | None = None) -> DigitSet:
    """Digits of `source`, "mnist" or "glyph-digits"; by default MNIST if its files are found, else glyph
    digits.

    Reads local files only. Where `$ONESHOT_DATA` is set and has no MNIST, a line on standard error says so.
    Raises DataError where the files are there and spoiled, or where MNIST is asked for and not found.
    """
    if source not in (None, *LABELS):
        raise ValueError(f"source: expected one of {', '.join(LABELS)} or None, found {source!r}")
    paths = find(FOLDER, spellings()) if source != "glyph-digits" else None
    if paths is not None:
        (train, *size), (test, *_) = (FILES[name][0] for name in FILES if "images" in name)
        key = f"mnist-{fingerprint(*paths.values())}"
        images, about = cached(key, (train + test, *size), lambda: _decode(paths))
        labels = np.frombuffer(bytes.fromhex(about["labels"]), np.uint8)
        return DigitSet("mnist", images, labels, about["hash"], train)
    if source == "mnist":
        raise AbsentData(absence(FOLDER, spellings()))
    if source is None:
        warn_of_absence(FOLDER, spellings(), f"the data are {LABELS['glyph-digits']}")
    from oneshot_lib.data import glyphs

    images, about = glyphs.load_digits()
    labels = np.frombuffer(bytes.fromhex(about["labels"]), np.uint8)
    return DigitSet("glyph-digits", images, labels, about["hash"], about["train_rows"])


def _decode(paths: dict[str, Path]) -> tuple[np.ndarray, dict]:
    arrays, digests = [], []
    for name, (shape, expected) in FILES.items():
        content = _uncompressed(paths[name])
        arrays.append(_parse_idx(content, paths[name], shape))
        digests.append(hashlib.sha256(content).hexdigest())
        if expected and digests[-1] != expected:
            raise DataError(
                f"{shorten(paths[name])}: expected the published file (SHA-256 unpacked {expected[:12]}...), "
                f"found another ({digests[-1][:12]}...)"
            )
    whole = hashlib.sha256("".join(digests).encode()).hexdigest()
    labels = np.concatenate([arrays[1], arrays[3]])
    return np.concatenate([arrays[0], arrays[2]]), {
        "hash": whole,
        "labels": labels.tobytes().hex(),
        "parts": digests,
    }
