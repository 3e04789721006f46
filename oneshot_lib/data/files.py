"""Where the files are, and the cache that every decoded array goes through.

A data set is looked for in `$ONESHOT_DATA/FOLDER`, then in the download folder of the cache. What is decoded
from it is kept as a memory-mapped `.npy`, whose name holds a fingerprint of the bytes that it came from:
another file, or the same file spoiled, is another name. An array is written under a temporary name, synced
and renamed, so that a reader sees all of it or nothing, whoever else is writing.
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
    folder = Path(value).expanduser()
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
    _say_once(f"{why}: the {kind} folder is {folder}; {variable} chooses another")
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


@cache
def _say_once(line: str) -> None:
    say(line)


def find(folder: str, names: list[str] | dict[str, list[str]]) -> dict[str, Path] | None:
    """The files `names` of the data set `folder`, from `$ONESHOT_DATA`, else from the downloads; None if
    absent.

    `names` may map a file to its other spellings (`{"a.gz": ["a"]}`). Raises DataError where the folder is
    there and a file is not.
    """
    spellings = names if isinstance(names, dict) else {name: [] for name in names}
    chosen = data_directory()
    for root in ([chosen / folder] if chosen else []) + [cache_directory() / "downloads" / folder]:
        if not root.is_dir():
            continue
        found = {}
        for name, others in spellings.items():
            path = next((root / n for n in (name, *others) if (root / n).is_file()), None)
            if path is None:
                state = "an empty folder" if not any(root.iterdir()) else "no such file"
                raise DataError(f"{shorten(root / name)}: expected the published file, found {state}")
            found[name] = path
        return found
    return None


def say(line: str) -> None:
    """Tell whoever sits there, on standard error, what is done differently from what they may expect."""
    print(f"oneshot: {line}", file=sys.stderr)


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


def fingerprint(*paths: Path) -> str:
    """Sixteen hexadecimal digits that change with any byte of the files (14 MB take about 20 ms)."""
    digest = hashlib.blake2b(digest_size=8)
    for path in paths:
        try:
            with open(path, "rb") as stream:
                digest.update(hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=32)).digest())
        except OSError as error:
            raise DataError(
                f"{shorten(path)}: expected a readable file, but {error.strerror or error}"
            ) from error
    return digest.hexdigest()


def cached(
    key: str, shape: tuple | None, make: Callable[[], tuple[np.ndarray, dict]]
) -> tuple[np.ndarray, dict]:
    """The read-only array `KEY.npy` of the cache and its description `KEY.json`, made on the first call.

    `make` returns both. `shape` is what the array must have, or None. A cached file that is damaged is made
    anew.
    """
    folder = cache_directory() / "arrays"
    array, about = folder / f"{key}-f{FORMAT}.npy", folder / f"{key}-f{FORMAT}.json"
    for attempt in (0, 1):
        with contextlib.suppress(OSError, ValueError, EOFError):
            values = np.load(array, mmap_mode="r", allow_pickle=False)
            if shape is None or values.shape == shape:
                return values, json.loads(about.read_text())
        if attempt == 0:
            made, description = make()
            try:
                folder.mkdir(parents=True, exist_ok=True)
                sweep(folder)
                write_whole(about, json.dumps(description, separators=(",", ":")).encode())
                write_whole(array, np.ascontiguousarray(made))
            except OSError as error:
                raise DataError(
                    f"{shorten(array)}: expected room for {made.nbytes / 1e6:.0f} MB in the cache, but "
                    f"{error.strerror or error}; XDG_CACHE_HOME chooses another"
                ) from error
            del made
    raise DataError(
        f"{shorten(array)}: expected the array that was just written, found something else; delete it"
    )


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator:
    """A file that appears at `path` complete or not at all: temporary name, fsync, rename."""
    handle, name = tempfile.mkstemp(prefix=_PARTIAL, dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
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
