"""Files that are whole or not there, this user's own folders, and what is said of both on standard error."""

import contextlib
import errno
import os
import secrets
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import platformdirs

try:
    import fcntl
except ImportError:  # not on this platform: partial files are then swept by age alone
    fcntl = None

FULL = (errno.ENOSPC, errno.EDQUOT)  # of an OSError
_PARTIAL = ".partial-"
_STALE_SECONDS = 60


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


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator:
    """A file that appears at `path` complete or not at all: temporary name, fsync, rename."""
    name = path.with_name(f"{_PARTIAL}{os.getpid()}-{secrets.token_hex(8)}")
    try:
        with open(name, "x+b") as stream:  # whose it may be read by is the user's umask
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


def write_whole(path: Path, content: bytes | str) -> None:
    """Write bytes, or text as UTF-8, through `whole_file`. On any failure the old file is as it was."""
    with whole_file(path) as stream:
        stream.write(content.encode() if isinstance(content, str) else content)


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
