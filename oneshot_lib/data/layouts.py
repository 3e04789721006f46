"""Where a data set's files are: as published, extracted, from torchvision or from a git clone.

`$ONESHOT_DATA` is the folder above the data sets (`omniglot/`, `mnist/`). Looked into are, in this order:

- below it, a folder whose name begins with the data set's, in any case, the shortest first (`omniglot`,
  `Omniglot`, `omniglot-py`, `omniglot-master`), and in it `python/` (Omniglot's repository) or `raw/`
  (torchvision's MNIST);
- the folder itself, which is then the data set's own;
- where its name says that it is a data set's own, or a part of one, the folders above it, three at most;
- the folders in it (`$ONESHOT_DATA` is too high by one), 256 at most.

The first that has all files is taken. A disk is never walked: these are some hundred listings at most. What
makes it certain that the right data was found is what is in the files, which their readers compare with a hash.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from oneshot_lib.data.cache import DataError, data_directory
from oneshot_lib.files import cache_directory, say_once, shorten

INNER = {"omniglot": "python", "mnist": "raw"}  # where in its folder a data set may lie, besides directly
PARTS = ("images_background", "images_evaluation", *INNER.values())  # folders inside a data set's own
FOLDERS = 256
TITLES = {"omniglot": "Omniglot", "mnist": "MNIST"}


class AbsentData(DataError):
    """A data set that was asked for and is not here."""


def find(name: str, files: list[str] | dict[str, list[str]]) -> dict[str, Path] | None:
    """The files of the data set `name`, from `$ONESHOT_DATA`, else from the downloads; None if absent.

    `files` may map a file to its other spellings, paths below the same folder (`{"a.gz": ["a"]}`); one that
    ends in "/" is a folder. Raises DataError where a part of the files is there, or the folder `name` and
    none of them.
    """
    spellings = files if isinstance(files, dict) else {file: [] for file in files}
    chosen, downloads = data_directory(), cache_directory() / "downloads"
    looked = [(chosen, places_below(chosen, name))] if chosen else []
    for root, places in [*looked, (downloads, [downloads / name])]:
        missing = []
        for place in places:
            found = {file: _first(place, (file, *others)) for file, others in spellings.items()}
            if all(found.values()):
                return found
            if any(found.values()):
                missing.append(place / next(file for file in found if found[file] is None))
        own = [folder for folder in _named(root, name) if folder.name.casefold() == name]
        for path in missing or [folder / next(iter(spellings)) for folder in own]:
            state = "no such file" if any(path.parent.iterdir()) else "an empty folder"
            raise DataError(f"{shorten(path)}: expected the published file, found {state}")
    return None


def places_below(root: Path, name: str) -> Iterator[Path]:
    """The folders in which the data set `name` may lie where `$ONESHOT_DATA` is `root`, the likeliest first."""
    inner = ("", INNER[name])
    yield from (folder / i for folder in _named(root, name) for i in inner)
    yield from (root / i for i in inner)
    at = root.absolute()
    for _ in range(3):
        if not at.name.casefold().startswith((*INNER, *PARTS)):
            break
        at = at.parent
        yield from (folder / i for folder in _named(at, name) for i in inner)
        yield from (at / i for i in inner)
    for folder in _folders(root)[:FOLDERS]:
        yield from (named / i for named in _named(folder, name) for i in inner)


def absence(name: str, files: dict[str, list[str]]) -> str:
    """One line on the data set `name`, whose `files` were not found: where they were looked for, and how to have
    them."""
    chosen = data_directory()
    first = next(iter(files))
    get = f"`oneshot data --download {name}` fetches it"
    if chosen is None:
        return f"{name}/{first}: expected it under $ONESHOT_DATA or downloaded, found neither; {get}"
    folder = "".join(f" or {each}" for each in files[first][-1:] if each.endswith("/"))
    return (
        f"ONESHOT_DATA={shorten(chosen, variable=False)}: expected {TITLES[name]} there, found none; {first}{folder} "
        f"was looked for in {name}*/, {name}*/{INNER[name]}/, in the folder itself and in those in it; {get}"
    )


def warn_of_absence(name: str, files: dict[str, list[str]], instead: str) -> None:
    """Where `$ONESHOT_DATA` is set, say `absence` on standard error, once a process, and what is shown `instead`."""
    if data_directory():
        say_once(f"{absence(name, files)}; {instead}")


def _first(place: Path, spellings: tuple[str, ...]) -> Path | None:
    for spelling in spellings:
        path = place / spelling
        if path.is_dir() if spelling.endswith("/") else path.is_file():
            return path
    return None


def _named(root: Path, name: str) -> list[Path]:
    """The folders in `root` whose name begins with `name`, in any case."""
    matching = [folder for folder in _folders(root) if folder.name.casefold().startswith(name)]
    return sorted(matching, key=lambda folder: (len(folder.name), folder.name != folder.name.lower(), folder.name))


def _folders(root: Path) -> list[Path]:
    """The folders in `root` by name, without hidden ones and `__MACOSX`; none where it can't be listed."""
    with contextlib.suppress(OSError), os.scandir(root) as entries:
        names = sorted(e.name for e in entries if not e.name.startswith((".", "__")) and e.is_dir())
        return [root / each for each in names]
    return []
