"""Omniglot (Lake, Salakhutdinov & Tenenbaum 2015), read from its two published zips.

1,623 characters of 50 alphabets, drawn once each by 20 people, as 105x105 one-bit PNG files: 964 characters
of 30 alphabets in `images_background.zip`, 659 of 20 in `images_evaluation.zip`. The rows here are in that
order, by name within each file: background first, alphabets and characters sorted, drawings 01 to 20.
"""

import contextlib
import hashlib
import io
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from oneshot_lib.data.files import DataError, cached, find, fingerprint, shorten

FOLDER = "omniglot"
SIZE = 105
DRAWINGS = 20
# name: (alphabets, characters, pixel_hash). The zips may be packed anew; the pixels may not change.
PARTS = {
    "images_background.zip": (30, 964, "684d7b8061ca5245dc00a46696bd5d59b05747b27c4a8e7e3fc173d2f30e8d7c"),
    "images_evaluation.zip": (20, 659, "f099a070e2fc4af8cbb481ee1e7f6cddb7b6f54a10b8e36776e3b40650e2a1fc"),
}
_MEMBER = re.compile(r"images_(?:background|evaluation)/([^/]+/character\d+)/\d+_(\d\d)\.png")
_SPOILED = (
    *(OSError, EOFError, ValueError, RuntimeError, NotImplementedError, SyntaxError, KeyError, OverflowError),
    *(zlib.error, zipfile.BadZipFile, struct.error, Image.DecompressionBombError),
)


def pixel_hash(images: np.ndarray, classes: list[str]) -> str:
    """SHA-256 of the class names and of the packed bits of their drawings, (N, H, W) with 1 = ink."""
    digest = hashlib.sha256(("\n".join(classes) + f"\n{images.shape}\n").encode())
    for start in range(0, len(images), 4096):
        digest.update(np.packbits(images[start : start + 4096].reshape(-1)).tobytes())
    return digest.hexdigest()


def read_zip(path: Path) -> tuple[np.ndarray, list[str]]:
    """The drawings of one zip, (N, 105, 105) uint8 with 1 = ink, and its classes, 20 drawings each, by name.

    Raises DataError, naming the file, where it is not a whole zip of 105x105 one-bit PNG files in Omniglot's
    layout.
    """
    with _opened(path) as archive:
        members, classes = _members(archive, path)
        images = np.empty((len(members), SIZE, SIZE), np.uint8)
        for row, member in enumerate(members):
            images[row] = _ink(archive.read(member), member, path)
    return images, classes


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except DataError:
        raise
    except _SPOILED as error:
        raise DataError(
            f"{shorten(path)}: expected a whole zip of PNG files, but {_reason(error)}"
        ) from error


def _members(archive: zipfile.ZipFile, path: Path) -> tuple[list[str], list[str]]:
    """The PNG files in order, and the classes, of which each has 20."""
    members = {}
    for name in archive.namelist():
        if match := _MEMBER.fullmatch(name):
            members[match[1], int(match[2]) - 1] = name
    classes = sorted({character for character, _ in members})
    wanted = [(character, drawing) for character in classes for drawing in range(DRAWINGS)]
    if not classes or sorted(members) != wanted:
        raise DataError(
            f"{shorten(path)}: expected images_*/ALPHABET/characterNN/*_01.png to *_20.png, found "
            f"{len(members)} such drawings of {len(classes)} characters"
        )
    return [members[key] for key in wanted], classes


def _ink(content: bytes, member: str, path: Path) -> np.ndarray:
    with Image.open(io.BytesIO(content)) as image:
        if image.size != (SIZE, SIZE) or image.mode != "1":
            raise DataError(
                f"{shorten(path)}: expected {SIZE}x{SIZE} images of mode 1, but {member} is "
                f"{image.size[0]}x{image.size[1]} of mode {image.mode}"
            )
        return ~np.asarray(image)


def _reason(error: Exception) -> str:
    text = str(getattr(error, "strerror", None) or error or type(error).__name__)
    return " ".join(text.split())[:120]


def load() -> tuple[np.ndarray, dict] | None:
    """All drawings, (32460, 105, 105) memory-mapped, and {classes, hash, background}; None where no file is
    found.

    Raises DataError where the files are not what they should be.
    """
    paths = find(FOLDER, list(PARTS))
    if paths is None:
        return None
    count = DRAWINGS * sum(characters for _, characters, _ in PARTS.values())
    return cached(f"omniglot-{fingerprint(*paths.values())}", (count, SIZE, SIZE), lambda: _decode(paths))


def _decode(paths: dict[str, Path]) -> tuple[np.ndarray, dict]:
    parts, classes, hashes = [], [], []
    for path in paths.values():  # a cut zip is noticed before seconds are spent on the other one
        with _opened(path) as archive:
            _members(archive, path)
    for name, (alphabets, characters, expected) in PARTS.items():
        images, names = read_zip(paths[name])
        found = len({c.split("/")[0] for c in names}), len(names)
        if found != (alphabets, characters):
            raise DataError(
                f"{shorten(paths[name])}: expected {characters} characters of {alphabets} alphabets, found "
                f"{found[1]} of {found[0]}"
            )
        hashes.append(pixel_hash(images, names))
        if expected and hashes[-1] != expected:
            raise DataError(
                f"{shorten(paths[name])}: expected the published drawings (SHA-256 of the pixels "
                f"{expected[:12]}...), found others ({hashes[-1][:12]}...)"
            )
        parts.append(images)
        classes += names
    whole = hashlib.sha256("".join(hashes).encode()).hexdigest()
    background = sum(characters for _, characters, _ in list(PARTS.values())[:1])
    return np.concatenate(parts), {
        "classes": classes,
        "hash": whole,
        "parts": hashes,
        "background": background,
    }
