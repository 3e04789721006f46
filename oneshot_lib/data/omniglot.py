"""Omniglot (Lake, Salakhutdinov & Tenenbaum 2015), read from its two published zips or from what is in them.

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
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from oneshot_lib.data.cache import DataError, cached, fingerprint, recall, remember
from oneshot_lib.data.layouts import find
from oneshot_lib.files import shorten

FOLDER = "omniglot"
SIZE = 105
DRAWINGS = 20
# name: (alphabets, characters, pixel_hash). The zips may be packed anew; the pixels may not change.
PARTS = {
    "images_background.zip": (30, 964, "684d7b8061ca5245dc00a46696bd5d59b05747b27c4a8e7e3fc173d2f30e8d7c"),
    "images_evaluation.zip": (20, 659, "f099a070e2fc4af8cbb481ee1e7f6cddb7b6f54a10b8e36776e3b40650e2a1fc"),
}
_MEMBER = re.compile(
    r"(?!__MACOSX/)(?:(?:[^/]+/)*images_(?:background|evaluation)/)?([^/]+/character\d+)/\d+_(\d\d)\.png"
)
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


def spellings() -> dict[str, list[str]]:
    """The published names of the files, and the folders in which they are found extracted."""
    return {name: [f"{name[:-4]}/{name[:-4]}/", f"{name[:-4]}/"] for name in PARTS}


def read_part(path: Path) -> tuple[np.ndarray, list[str]]:
    """The drawings of one zip or extracted folder, (N, 105, 105) uint8 with 1 = ink, and its classes by name, 20
    drawings each.

    Raises DataError, naming the file, where it has not all of its 105x105 one-bit PNG files in Omniglot's layout.
    """
    with _opened(path) as (members, classes, read):
        images = np.empty((len(members), SIZE, SIZE), np.uint8)
        for row, member in enumerate(members):
            images[row] = _ink(read(member), member, path)
    return images, classes


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple[list[str], list[str], Callable[[str], bytes]]]:
    """The PNG files of a zip or a folder in order, the classes, of which each has 20, and how to read one."""
    try:
        if path.is_dir():
            yield *_members([str(p.relative_to(path).as_posix()) for p in path.glob("*/*/*.png")], path), (
                lambda member: (path / member).read_bytes()
            )
        else:
            with zipfile.ZipFile(path) as archive:
                yield *_members(archive.namelist(), path), archive.read
    except DataError:
        raise
    except _SPOILED as error:
        what = "a folder" if path.is_dir() else "a whole zip"
        raise DataError(f"{shorten(path)}: expected {what} of PNG files, but {_reason(error)}") from error


def _members(names: list[str], path: Path) -> tuple[list[str], list[str]]:
    members = {}
    for name in names:
        if match := _MEMBER.fullmatch(name):
            members[match[1], int(match[2]) - 1] = name
    classes = sorted({character for character, _ in members})
    wanted = [(character, drawing) for character in classes for drawing in range(DRAWINGS)]
    if not classes or sorted(members) != wanted:
        lacking = f", without {'/'.join(map(str, _lacking(members, wanted)))}" if classes else ""
        raise DataError(
            f"{shorten(path)}: expected images_*/ALPHABET/characterNN/*_01.png to *_20.png, found "
            f"{len(members)} such drawings of {len(classes)} characters{lacking}"
        )
    return [members[key] for key in wanted], classes


def _lacking(members: dict, wanted: list) -> tuple[str, str]:
    """The first drawing that is not there, as its folder and file, or the first that is too many."""
    known = set(wanted)
    character, drawing = next(key for key in [*wanted, *members] if (key in members) != (key in known))
    return character, f"*_{drawing + 1:02}.png"


def _ink(content: bytes, member: str, path: Path) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(content)) as image:
            if image.size != (SIZE, SIZE) or image.mode != "1":
                raise DataError(
                    f"{shorten(path)}: expected {SIZE}x{SIZE} images of mode 1, but {member} is "
                    f"{image.size[0]}x{image.size[1]} of mode {image.mode}"
                )
            return ~np.asarray(image)
    except DataError:
        raise
    except _SPOILED as error:
        raise DataError(f"{shorten(path)}: expected whole PNG files, but {member}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    text = str(getattr(error, "strerror", None) or error or type(error).__name__)
    return " ".join(text.split())[:120]


def load() -> tuple[np.ndarray, dict] | None:
    """All drawings, (32460, 105, 105) memory-mapped, and {classes, hash, background}; None where no file is
    found.

    One array is kept for all layouts and packings: beside it, which files were seen to have these pixels. Raises
    DataError where the files are not what they should be.
    """
    paths = find(FOLDER, spellings())
    if paths is None:
        return None
    count = DRAWINGS * sum(characters for _, characters, _ in PARTS.values())
    seen = f"omniglot-seen-{fingerprint(*paths.values())}"
    pixels, made = recall(seen), None
    if pixels is None:
        made = _decode(paths)
        pixels = made[1]["hash"]
    found = cached(f"omniglot-{pixels[:16]}", (count, SIZE, SIZE), lambda: made or _decode(paths))
    if made:
        remember(seen, pixels)
    return found


def _decode(paths: dict[str, Path]) -> tuple[np.ndarray, dict]:
    parts, classes, hashes = [], [], []
    for path in paths.values():  # a cut zip is noticed before seconds are spent on the other one
        with _opened(path):
            pass
    for name, (alphabets, characters, expected) in PARTS.items():
        images, names = read_part(paths[name])
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
