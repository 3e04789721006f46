"""What there is, where it was found, and how to get what is missing."""

import contextlib
import os
import tempfile
from pathlib import Path

from oneshot_lib.data import digits, glyphs, omniglot
from oneshot_lib.data.cache import DataError, data_directory, spoiled_arrays
from oneshot_lib.data.character_set import characters
from oneshot_lib.data.layouts import absence, find
from oneshot_lib.files import cache_directory, say_once, shorten, sweep

# folder: (where its files are published, {file: MD5 of the published file})
PUBLISHED = {
    omniglot.FOLDER: (
        "https://raw.githubusercontent.com/brendenlake/omniglot/master/python/",
        {
            "images_background.zip": "68d2efa1b9178cc56df9314c21c6e718",
            "images_evaluation.zip": "6b91aef0f799c5bb55b94e3f2daec811",
        },
    ),
    digits.FOLDER: (
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        {
            "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
            "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
            "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
        },
    ),
}
CONNECT_SECONDS, READ_SECONDS = 5, 30


def download(name: str) -> Path:
    """Fetch the published files of "omniglot" or "mnist" into the cache, check their MD5, and return the
    folder.

    All of them arrive or none. Raises ValueError for another name, and DataError where a file cannot be had
    (a connection is waited for 5 s) or is not the published one.
    """
    if name not in PUBLISHED:
        raise ValueError(f"name: expected one of {', '.join(PUBLISHED)}, found {name!r}")
    import pooch
    import requests

    address, files = PUBLISHED[name]
    root = cache_directory() / "downloads"
    root.mkdir(parents=True, exist_ok=True)
    sweep(root)
    with tempfile.TemporaryDirectory(prefix=".partial-", dir=root) as partial:
        for file, md5 in files.items():
            fetch = pooch.HTTPDownloader(timeout=(CONNECT_SECONDS, READ_SECONDS), progressbar=True)
            try:
                pooch.retrieve(address + file, f"md5:{md5}", fname=file, path=partial, downloader=fetch)
            except requests.RequestException as error:
                raise DataError(f"{file}: expected it at {address + file}, but {_reason(error)}") from error
            except ValueError as error:
                raise DataError(
                    f"{file}: expected the published file (MD5 {md5}), {address} sent another"
                ) from error
            except OSError as error:
                raise DataError(
                    f"{file}: expected room for it in {shorten(root)}, but {_reason(error)}"
                ) from error
        folder = root / name
        folder.mkdir(exist_ok=True)
        for file in files:
            os.replace(Path(partial) / file, folder / file)
    return folder


def _reason(error: Exception) -> str:
    import requests

    if isinstance(error, requests.Timeout):
        return f"no answer within {CONNECT_SECONDS} s"
    if isinstance(error, requests.ConnectionError):
        return "no connection"
    return " ".join(str(getattr(error, "strerror", None) or error).split())[:120]


def verify() -> list[Path]:
    """The arrays of the cache that are not as they were written, by SHA-256: seconds for two GB.

    They are removed, and made anew where they are needed; a line on standard error names each.
    """
    spoiled = spoiled_arrays()
    for array in spoiled:
        say_once(f"{shorten(array)} was damaged, and was removed; it is made anew where it is needed")
    return spoiled


def describe(check: bool = True) -> list[dict]:
    """One dict for each data set: name, found, where, files, hash, problem, get. Never raises for spoiled
    files.

    `hash` is of the decoded pixels (None where nothing was decoded yet), `problem` the one line of a
    DataError or that `$ONESHOT_DATA` is set and has no such data, and `get` what to do to have the data set.
    A line on standard error says too what is not where `$ONESHOT_DATA` points. With `check=False` no file is
    read, only looked for: `found` then says that it is there, not that it is whole (the first reading of
    Omniglot takes seconds).
    """
    entries = []
    for name, open_set, files in (
        ("omniglot", characters, omniglot.spellings()),
        ("mnist", digits.mnist, digits.spellings()),
    ):
        entry = {
            "name": name,
            "found": False,
            "where": None,
            "files": list(files),
            "hash": None,
            "problem": None,
        }
        try:
            paths = find(name, files)
            if paths:
                entry["where"] = shorten(next(iter(paths.values())).parent)
                entry["files"] = [path.name for path in paths.values()]
                entry["hash"] = open_set(name).hash if check else None
                entry["found"] = True
            elif data_directory():
                entry["problem"] = absence(name, files)
                say_once(entry["problem"])
        except DataError as error:
            entry["problem"] = str(error)
        entry["get"] = (
            None
            if entry["found"]
            else f"oneshot data --download {name}, or point ONESHOT_DATA at {name}/{next(iter(files))}"
        )
        entries.append(entry)
    for name, open_set, key in (
        ("glyphs", glyphs.load, glyphs.characters_key),
        ("glyph-digits", glyphs.load_digits, glyphs.digits_key),
    ):
        array = None
        with contextlib.suppress(OSError):
            array = next((cache_directory() / "arrays").glob(f"{key()}-*.npy"), None)
        entries.append(
            {
                "name": name,
                "found": True,
                "where": shorten(array) if array else "rendered on first use, in about ten seconds",
                "files": [f"{font}.ttf" for font in glyphs.FONTS],
                "hash": open_set()[1]["hash"] if array else None,
                "problem": None,
                "get": None,
            }
        )
    return entries
