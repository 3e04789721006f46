"""The pictures in a folder, and what else lies there: nothing is left out without a word.

A file is a picture by its suffix or, where that tells nothing, by what it holds. What looks like a picture and can't
be read as one is an error, since a class would be missing. What file managers leave behind is passed over.
"""

import os
import re
from pathlib import Path
from typing import NamedTuple

from oneshot_lib.data.cache import DataError
from oneshot_lib.data.outputs import CLUTTER, SHEET, mark_of
from oneshot_lib.files import say, shorten

# Pictures that Pillow may not know; where it does, they are read
UNREAD = set(".heic .heif .hif .avif .jxl .svg .svgz .pdf .raw .dng .cr2 .cr3 .nef .arw .orf .rw2 .raf .pef .xcf .kra "
             ".ai .djvu .exr .psd .webp .tif .tiff .jp2 .eps".split())
SPARE = re.compile(r".*(~|\.(bak|old|orig|tmp|temp|part|partial|crdownload|swp|lock))", re.IGNORECASE)
_STARTS = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"II*\0", b"MM\0*", b"%PDF", b"\xff\x0a", b"\0\0\0\x0cJXL ", b"8BPS",
           b"\0\0\0\x0cjP  ", b"AT&TFORM")
_BRANDS = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1", b"avif", b"avis", b"crx ")


class Skipped(NamedTuple):
    """Something that was left out, and why."""

    path: Path
    why: str

    def __str__(self) -> str:
        return f"{shorten(self.path)}: left out, {self.why}"


class Listing(NamedTuple):
    """What lies in a folder, each part sorted: files that are pictures, folders, and what is neither."""

    pictures: list[Path]
    folders: list[Path]
    skipped: list[Skipped]


def listing(folder: Path) -> Listing:
    """The contents of a folder. Hidden names and what file managers write are not in it. A picture under another
    format's suffix is read as what it is, and that is said.

    Sheets of many drawings, which `oneshot vary` and `oneshot draw` make for people, count among what is skipped.
    Raises DataError, which names the file, for one that looks like a picture and can't be read as one: a dead link,
    another format, no permission.
    """
    found = Listing([], [], [])
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or CLUTTER.fullmatch(path.name):
            continue
        if path.is_dir():
            found.folders.append(path)
        elif why := reason_to_skip(path):
            found.skipped.append(Skipped(path, why))
        else:
            found.pictures.append(path)
    return found


def reason_to_skip(path: Path) -> str | None:
    """Why a file is no picture of a drawing, or None where it is one. Raises DataError as `listing` does."""
    if not path.exists():
        raise DataError(f"{shorten(path)}: expected a picture file, found a link to a file that is not there; "
                        "mend or remove it")
    if not path.is_file():
        return "not a file"
    if SPARE.fullmatch(path.name):
        return "a spare copy by its name"
    kind = None if has_picture_suffix(path) else format_of(path)
    if kind or has_picture_suffix(path):
        check_readable(path)
        if kind and path.suffix.lower() in UNREAD:
            say(f"{shorten(path)}: read as the {kind} file that it is")
        mark = mark_of(path)
        return f"a sheet of drawings that `oneshot {mark.command}` made" if mark and mark.what == SHEET else None
    if path.suffix.lower() in UNREAD or looks_like_a_picture(path):
        raise DataError(f"{shorten(path)}: expected a picture that can be read (PNG, JPEG, ...), found "
                        f"{path.suffix.lower() if path.suffix.lower() in UNREAD else 'another format'}; "
                        "convert or remove it")
    return "not a picture"


def class_name(path: Path) -> str:
    """What a picture or folder is called as a class: without the suffix of a picture."""
    of_picture = has_picture_suffix(path) or path.suffix.lower() in UNREAD
    return path.stem if of_picture and not path.is_dir() else path.name


def has_picture_suffix(path: Path) -> bool:
    """Whether a name ends as those of pictures do that can be read here."""
    from PIL import Image

    return Image.registered_extensions().get(path.suffix.lower()) in Image.OPEN


def format_of(path: Path) -> str | None:
    """The format of a file without the suffix of a picture, if it is one by what it holds: "PNG"."""
    from PIL import Image

    try:
        with Image.open(path) as picture:
            return picture.format
    except PermissionError:
        if path.suffix and path.suffix.lower() not in UNREAD:
            return None
        raise _unreadable(path, "no permission to read it") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None


def check_readable(path: Path) -> None:
    """Raises DataError for a picture that there is no permission to read."""
    if not os.access(path, os.R_OK):
        raise _unreadable(path, "no permission to read it")


def _unreadable(path: Path, why: str) -> DataError:
    return DataError(f"{shorten(path)}: expected a picture that can be read, but {why}")


def looks_like_a_picture(path: Path) -> bool:
    """Whether a file begins as pictures do, be it broken or of a format that is not read here."""
    try:
        with open(path, "rb") as stream:
            start = stream.read(512)
    except OSError:
        return False
    drawn = start.lstrip().startswith((b"<svg", b"<?xml")) and b"<svg" in start
    return drawn or start.startswith(_STARTS) or (start[4:8] == b"ftyp" and start[8:12] in _BRANDS)
