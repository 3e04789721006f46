"""The cache that every decoded array goes through.

What is decoded is kept as a memory-mapped `.npy`, whose name holds a fingerprint of what it came from:
another file, or the same file spoiled, is another name. An array is written under a temporary name, synced
and renamed, so that a reader sees all of it or nothing, whoever else is writing.

Beside each array stands what it must be. When a process opens it for the first time, and again whenever its
size or a time of change is another, the whole file is added up, 64 KiB at a time, in 64-bit words (30 ms for
Omniglot's 358 MB once they are in memory): what was overwritten, by a program or beneath it by a failing disk, is
found unless all sums of its words are as before. `oneshot data` compares the SHA-256 of every
array (`spoiled_arrays`).
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np

from oneshot_lib.files import cache_directory, say_once, shorten, sweep, whole_file, write_whole

FORMAT = 1  # of the cached arrays; raise it when the decoding of the same bytes changes
_BLOCK = 1 << 16  # bytes that are added up to one sum
_CHECK = "file"  # the entry of a description that says what the array's file must be
_seen_whole: dict[Path, tuple] = {}  # array files that this process has added up, and their status then


class DataError(ValueError):
    """A data file that cannot be used: one line with the file's name and what was expected of it."""


def data_directory() -> Path | None:
    """The folder that `$ONESHOT_DATA` points at, or None where it is not set.

    Raises DataError where it is set to something that is not a folder, or to an empty one: whoever sets it
    means to use what is there.
    """
    value = os.environ.get("ONESHOT_DATA", "")
    if not value:
        return None
    try:
        folder = Path(value).expanduser()
    except RuntimeError as error:  # no HOME, and no entry in passwd
        raise DataError(f"ONESHOT_DATA={value}: expected a folder, and there is no home for ~") from error
    if not folder.is_dir():
        raise DataError(
            f"ONESHOT_DATA={shorten(folder, variable=False)}: expected a folder of data sets, found none"
        )
    if not any(folder.iterdir()):
        raise DataError(
            f"ONESHOT_DATA={shorten(folder, variable=False)}: expected a folder of data sets "
            "(omniglot/images_background.zip, ...), found it empty"
        )
    return folder


def fingerprint(*paths: Path) -> str:
    """Sixteen hexadecimal digits that change with any byte of the files (14 MB take about 20 ms).

    Of a folder: with the name, the size or a time of change of any PNG file two levels below it, alphabets and
    characters (0.2 s for Omniglot's 32,460 files; reading them all takes 0.6 s where they are in memory and
    minutes where they are on a slow disk). A byte that changes without the file system's knowledge is not seen.
    """
    digest = hashlib.blake2b(digest_size=8)
    for path in paths:
        try:
            digest.update(_states(path) if path.is_dir() else _bytes_digest(path))
        except OSError as error:
            raise DataError(
                f"{shorten(path)}: expected a readable file, but {error.strerror or error}"
            ) from error
    return digest.hexdigest()


def _bytes_digest(path: Path) -> bytes:
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=32)).digest()


def _states(folder: Path, depth: int = 2) -> bytes:
    lines = []
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda e: e.name):
            if entry.name.startswith((".", "__")):
                continue
            if depth and entry.is_dir():
                lines.append(entry.name.encode() + b"/" + _states(Path(entry.path), depth - 1))
            elif not depth and entry.name.endswith(".png"):
                state = entry.stat()
                lines.append(f"{entry.name} {state.st_size} {state.st_mtime_ns} {state.st_ctime_ns}".encode())
    return hashlib.blake2b(b"\n".join(lines), digest_size=32).digest()


def cached(
    key: str, shape: tuple | None, make: Callable[[], tuple[np.ndarray, dict]]
) -> tuple[np.ndarray, dict]:
    """The read-only array `KEY.npy` of the cache and its description `KEY.json`, made on the first call.

    `make` returns both. `shape` is what the array must have, or None. A cached file that is damaged is made
    anew, and a line on standard error says so; see the module on what is found when.
    """
    folder = cache_directory() / "arrays"
    array, about = folder / f"{key}-f{FORMAT}.npy", folder / f"{key}-f{FORMAT}.json"
    for attempt in (0, 1):
        with contextlib.suppress(OSError, ValueError, EOFError, AttributeError, KeyError, TypeError):
            description = json.loads(about.read_text(encoding="utf-8"))
            expected = description.pop(_CHECK, None)  # None: of an earlier version
            if expected and _is_whole(array, expected):
                values = np.load(array, mmap_mode="r", allow_pickle=False)
                if shape is None or values.shape == shape:
                    return values, description
            elif expected:
                say_once(f"{shorten(array)} was damaged, and is made anew")
        if attempt == 0:
            made, description = make()
            try:
                folder.mkdir(parents=True, exist_ok=True)
                sweep(folder)
                with whole_file(array) as stream:
                    np.save(stream, np.ascontiguousarray(made), allow_pickle=False)
                    check = {"sums": _sums(stream), "sha256": _sha256(stream)}
                write_whole(about, json.dumps({**description, _CHECK: check}, separators=(",", ":")))
            except OSError as error:
                raise DataError(
                    f"{shorten(array)}: expected room for {made.nbytes / 1e6:.0f} MB in the cache, but "
                    f"{error.strerror or error}; XDG_CACHE_HOME chooses another"
                ) from error
            del made
    raise DataError(
        f"{shorten(array)}: expected the array that was just written, found something else; delete it"
    )


def remember(key: str, fact: str) -> None:
    """Keep a line of the cache's own under `KEY.txt`; where it can't be written, nothing is kept."""
    with contextlib.suppress(OSError):
        write_whole(cache_directory() / "arrays" / f"{key}-f{FORMAT}.txt", fact)


def recall(key: str) -> str | None:
    """The line that was kept under `key`, or None."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        return (cache_directory() / "arrays" / f"{key}-f{FORMAT}.txt").read_text("utf-8") or None
    return None


def spoiled_arrays() -> list[Path]:
    """The cached arrays whose bytes are not those that were written, by SHA-256 (0.3 s for 358 MB).

    They are removed: whoever needs one makes it anew.
    """
    spoiled = []
    for about in sorted((cache_directory() / "arrays").glob(f"*-f{FORMAT}.json")):
        array = about.with_suffix(".npy")
        with contextlib.suppress(OSError, ValueError, AttributeError, KeyError, TypeError):
            expected = json.loads(about.read_text(encoding="utf-8")).get(_CHECK)
            with open(array, "rb") as stream:
                if expected and _sha256(stream) != expected["sha256"]:
                    spoiled.append(array)
    for array in spoiled:
        with contextlib.suppress(OSError):
            array.unlink()
    return spoiled


def _is_whole(array: Path, expected: dict) -> bool:
    """Whether the file is what was written, by the sums of its blocks. One that has not changed since this process
    added it up is not added up again.
    """
    with open(array, "rb") as stream:
        state = os.fstat(stream.fileno())
        mark = (expected["sums"], state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns)
        if _seen_whole.get(array) != mark:
            if _sums(stream) != expected["sums"]:
                return False
            _seen_whole[array] = mark
    return True


def _sums(stream: BinaryIO) -> str:
    """A digest of the file's size and of the sums, modulo 2^64, of the 64-bit words of each of its blocks."""
    digest = hashlib.blake2b(digest_size=16)
    buffer = np.zeros((16, _BLOCK // 8), np.uint64)
    size = 0
    stream.seek(0)
    while count := stream.readinto(buffer):
        size += count
        buffer.reshape(-1).view(np.uint8)[count:] = 0
        digest.update(buffer.sum(1).tobytes())
    digest.update(str(size).encode())
    return digest.hexdigest()


def _sha256(stream: BinaryIO) -> str:
    stream.seek(0)
    return hashlib.file_digest(stream, "sha256").hexdigest()
