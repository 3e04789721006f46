"""Whole files, and the cache that every decoded array goes through.

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
import errno
import hashlib
import json
import os
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import BinaryIO

import numpy as np
import platformdirs

try:
    import fcntl
except ImportError:  # not on this platform: partial files are then swept by age alone
    fcntl = None

FORMAT = 1  # of the cached arrays; raise it when the decoding of the same bytes changes
_PARTIAL = ".partial-"
_STALE_SECONDS = 60
FULL = (errno.ENOSPC, errno.EDQUOT)  # of an OSError
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


def cache_directory() -> Path:
    """`$XDG_CACHE_HOME/oneshot`, or what the platform has in its place; see `own_directory`."""
    return own_directory("cache")


def own_directory(kind: str) -> Path:
    """Where this user's files of a kind are, "cache" or "data", as the platform has it or XDG_..._HOME says.

    A user without a home, or with one where nothing can be made (containers give such to users of any number), has a
    temporary folder instead, and is told once.
    """
    variable = f"XDG_{kind.upper()}_HOME"
    try:
        folder = Path(getattr(platformdirs, f"user_{kind}_dir")("oneshot"))
        if folder.is_absolute() and (os.environ.get(variable) or folder.is_dir() or _can_be_made(folder)):
            return folder
        why = f"{shorten(folder)} cannot be made"
    except (RuntimeError, KeyError):  # no HOME, and no entry in passwd
        why = "there is no home folder"
    folder = _temporary_home() / (".cache" if kind == "cache" else ".local/share") / "oneshot"
    say_once(f"{why}: the {kind} folder is {folder}; {variable} chooses another")
    return folder


def home_variables() -> dict[str, str]:
    """What the environment of another process needs beside this one's: nothing where the user's home can be used, else
    a temporary one with the same cache."""
    with contextlib.suppress(RuntimeError, KeyError):
        if _can_be_made(Path.home()):
            return {}
    return {"HOME": str(_temporary_home()), "XDG_CACHE_HOME": str(cache_directory().parent)}


def _can_be_made(folder: Path) -> bool:
    """Whether files can be made in a folder that is there, or in one that can be made."""
    try:
        there = next(part for part in (folder, *folder.parents) if part.exists())
    except OSError:
        return False
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK)


@cache
def _temporary_home() -> Path:
    """A folder below the temporary one, the same for every process of this user, and nobody else's."""
    user = os.getuid() if hasattr(os, "getuid") else "user"
    folder = Path(tempfile.gettempdir()) / f"oneshot-{user}"
    with contextlib.suppress(OSError):
        folder.mkdir(mode=0o700, exist_ok=True)
        about = folder.lstat()
        if stat.S_ISDIR(about.st_mode) and user in (about.st_uid, "user"):
            return folder
    return Path(tempfile.mkdtemp(prefix="oneshot-"))


def say(line: str) -> None:
    """Tell whoever sits there, on standard error, what is done differently from what they may expect."""
    print(f"oneshot: {line}", file=sys.stderr, flush=True)


def explain(error: OSError) -> str:
    """An OSError as a sentence: the file as its user knows it, and what was wrong; a full disk by its folder."""
    if error.errno in FULL:
        folder = Path(error.filename).parent if error.filename else Path.cwd()
        return f"no space left in {shorten(folder)}; make room, and give the same command again"
    if error.strerror is None:
        return str(error)
    return error.strerror.lower() if error.filename is None else f"{shorten(error.filename)}: {error.strerror.lower()}"


def shorten(path: Path | str, variable: bool = True) -> str:
    """A path as a person would write it: below `$ONESHOT_DATA`, below `~`, or its last three parts."""
    path = Path(path)
    with contextlib.suppress(ValueError, RuntimeError):
        value = os.environ.get("ONESHOT_DATA", "")
        if variable and value:
            return str(Path("$ONESHOT_DATA") / path.relative_to(Path(value).expanduser()))
    with contextlib.suppress(ValueError, RuntimeError):
        return str(Path("~") / path.relative_to(Path.home()))
    return str(path) if len(path.parts) <= 4 else str(Path("...", *path.parts[-3:]))


@cache
def say_once(line: str) -> None:
    """`say`, once a process."""
    say(line)


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
                write_whole(about, json.dumps({**description, _CHECK: check}, separators=(",", ":")).encode())
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
        write_whole(cache_directory() / "arrays" / f"{key}-f{FORMAT}.txt", fact.encode())


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


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator:
    """A file that appears at `path` complete or not at all: temporary name, fsync, rename."""
    handle, name = tempfile.mkstemp(prefix=_PARTIAL, dir=path.parent)
    try:
        with os.fdopen(handle, "w+b") as stream:
            if fcntl:
                fcntl.flock(stream, fcntl.LOCK_EX)
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
            os.replace(name, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.unlink(name)
        if isinstance(error, OSError) and error.errno:  # what could not be written, not under which name
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def write_whole(path: Path, content: bytes | np.ndarray) -> None:
    """Write bytes, or an array as `.npy`, through `whole_file`."""
    with whole_file(path) as stream:
        if isinstance(content, bytes):
            stream.write(content)
        else:
            np.save(stream, content, allow_pickle=False)


def sweep(folder: Path) -> None:
    """Remove partial files whose writer was killed: a minute old, and nobody holds their lock."""
    for path in folder.glob(_PARTIAL + "*"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime < _STALE_SECONDS:
                continue
            if path.is_dir():  # of a download: nobody's, when it has not changed for an hour
                if time.time() - max(p.stat().st_mtime for p in (path, *path.iterdir())) > 3600:
                    shutil.rmtree(path)
                continue
            with open(path, "rb") as stream:
                if fcntl:
                    fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
