"""What a command may write over: what the same command wrote before, which its mark tells. Nothing else is touched.

A picture carries its mark in itself, as a PNG's text or a GIF's comment: the command, what the picture is, and a
digest of all its other bytes, so that a picture which somebody has worked on since is somebody's. A folder of
drawings may be replaced where every file in it has the mark. The folder of a run is marked by its run.json
(`oneshot_lib.runs.folder`), a record by its id, and the generated tables by the line or the comments that say
so (`oneshot_lib.runs.records`). Links are never written over, and an input is never an output.
"""

import hashlib
import os
import re
import struct
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from oneshot_lib.files import shorten, write_whole

SHEET, DRAWING = "sheet", "drawing"  # many drawings in one picture, for people; one drawing, which may be an input
_PNG, _GIF = b"\x89PNG\r\n\x1a\n", b"GIF8"
_END = {_PNG: struct.pack(">I", 0) + b"IEND" + struct.pack(">I", zlib.crc32(b"IEND")), _GIF: b"\x3b"}
_TEXT = rb"oneshot (?P<command>[a-z]+), (?P<what>[a-z]+), (?P<digest>[0-9a-f]{32})"
_MARK = {_PNG: re.compile(rb".{4}tEXtSoftware\0" + _TEXT + rb".{4}\Z", re.DOTALL),
         _GIF: re.compile(rb"\x21\xfe." + _TEXT + rb"\0\Z", re.DOTALL)}
_LONGEST = 200  # bytes, of a mark and the end behind it
CLUTTER = re.compile(r"\.DS_Store|\._.*|__MACOSX|Thumbs\.db|ehthumbs\.db|desktop\.ini|Icon\r|@eaDir", re.IGNORECASE)


class Mark(NamedTuple):
    """Which command wrote a picture, and what it is: a `SHEET` or a `DRAWING`."""

    command: str
    what: str


def marked(content: bytes, command: str, what: str = SHEET) -> bytes:
    """The bytes of a PNG or GIF with the mark of `command` in them."""
    kind = next(kind for kind in _END if content.startswith(kind))
    body = content.removesuffix(_END[kind])
    text = f"oneshot {command}, {what}, {_digest(body)}".encode()
    if kind == _PNG:
        chunk = b"tEXtSoftware\0" + text
        return body + struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) + _END[kind]
    return body + b"\x21\xfe" + bytes([len(text)]) + text + b"\0" + _END[kind]


def mark_of(path: Path) -> Mark | None:
    """The mark of a picture file; None where no command of this program wrote it, or it was changed since."""
    with open(path, "rb") as stream:
        start = stream.read(8)
        kind = next((kind for kind in _END if start.startswith(kind)), None)
        if kind is None:
            return None
        size = stream.seek(0, os.SEEK_END)
        stream.seek(max(0, size - _LONGEST))
        tail = stream.read()
        found = _MARK[kind].search(tail.removesuffix(_END[kind])) if tail.endswith(_END[kind]) else None
        if found is None:
            return None
        stream.seek(0)
        body = stream.read(size - len(tail) + found.start())
    whole = _digest(body) == found["digest"].decode()
    return Mark(found["command"].decode(), found["what"].decode()) if whole else None


def _digest(body: bytes) -> str:
    return hashlib.blake2b(body, digest_size=16).hexdigest()


def check_file(out: Path, command: str, inputs: Iterable[Path] = ()) -> None:
    """Raises ValueError where the picture `out` may not be written by `command`: it is one of the files `inputs`, a
    link, or there already and not the work of that command.
    """
    name = shorten(out)
    if out.is_symlink():
        raise ValueError(f"out is {name}, which is a link; expected the name of a file of its own")
    if not out.exists():
        return
    if any(_same(out, file) for file in inputs):
        raise ValueError(f"out is {name}, which is an input as well; expected another name")
    if not (out.is_file() and mark_of(out) in [(command, SHEET), (command, DRAWING)]):
        raise ValueError(f"out is {name}, which is there and which `oneshot {command}` did not write; "
                         "expected another name, or move that file away")


def check_folder(folder: Path, command: str, inputs: Sequence[Path] = (), out: Path | None = None) -> None:
    """Raises ValueError where `folder` may not be made, or made anew, by `command`: it holds something that is not a
    drawing of that command, or one of `inputs` (files and folders), or it lies in one of the folders; or the other
    output, `out`, is to lie in it.
    """
    name = shorten(folder)
    for path in inputs:
        if _within(path, folder):
            raise ValueError(f"{name}: expected a folder without inputs, and {shorten(path)} is an input; "
                             "give another --each")
        if path.is_dir() and _within(folder, path):
            raise ValueError(f"{name}: expected a folder outside of {shorten(path)}, which is an input; "
                             "give another --each")
    if out is not None and _within(out, folder):
        raise ValueError(f"out is {shorten(out)}; expected a place outside of {name}, which is made anew")
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise ValueError(f"{name}: expected a folder or no such name, found a "
                         f"{'link' if folder.is_symlink() else 'file'}; give another --each")
    for file in foreign(folder):
        if file.is_symlink() or not file.is_file() or mark_of(file) != (command, DRAWING):
            raise ValueError(f"{shorten(file)}: `oneshot {command}` did not write it; expected a folder with that "
                             "command's drawings alone: move this away, or give another --each")


def foreign(folder: Path, own: str = "") -> list[Path]:
    """What lies in a folder, sorted, except what file managers leave there and names that match `own`; nothing where
    there is no folder."""
    if not folder.is_dir():
        return []
    return [path for path in sorted(folder.iterdir())
            if not CLUTTER.fullmatch(path.name) and not (own and re.fullmatch(own, path.name))]


def write_picture(out: Path, content: bytes, command: str, inputs: Iterable[Path] = ()) -> None:
    """Write a picture that carries its mark, whole or not at all, after one more look at what is there."""
    check_file(out, command, inputs)
    write_whole(out, marked(content, command))


def _same(one: Path, other: Path) -> bool:
    """Whether two names are of one file: through links, too, and on disks that take "A" for "a"."""
    return one.exists() and other.exists() and one.samefile(other)


def _within(path: Path, folder: Path) -> bool:
    """Whether a path is a folder, or lies in it, whatever links lead there."""
    resolved, wanted = path.resolve(), folder.resolve()
    return any(part == wanted or _same(part, wanted) for part in (resolved, *resolved.parents))
