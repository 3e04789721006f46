"""`oneshot vary`: new exemplars of the character in a picture, or of the one that a folder's pictures share."""

import contextlib
import math
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from oneshot_lib.cli.classify import preprocessing_of
from oneshot_lib.cli.drawing import INK, PAPER, encoded
from oneshot_lib.data.listing import class_name
from oneshot_lib.data.outputs import DRAWING, check_file, check_folder, marked, write_picture
from oneshot_lib.files import shorten

LARGEST = 1024  # drawings of one character
ENLARGED = 4  # the side of a pixel in the files of --each
GIVEN, DRAWN = (0, 114, 178), (226, 229, 234)  # the lines around what was given, and around what is new


class Source(NamedTuple):
    """A picture or a folder: its path, its `name` in the folder of --each, and D, (N, S, S) uint8 with ink 1."""

    path: Path
    name: str
    support: np.ndarray


def vary_files(images: Sequence[Path], n: int, out: Path, each: Path | None, seed: int, model: str) -> dict:
    """Draw n new exemplars for each of `images` and write them, all or nothing; returns what was done.

    `out` is one PNG, a band for each of `images`: what the model was given, framed, and its drawings. `each` is a
    folder for EACH/STEM/000.png and on. What an earlier run wrote is replaced, and nothing else
    (`oneshot_lib.data.outputs`). Raises ValueError on an unknown model, on numbers, names and folders that can't be, on
    outputs that are not its own or are inputs, and what `data.folder` says.
    """
    from oneshot_lib import asking, weights
    from oneshot_lib.data.folder import pictures_in, prepared_files

    preprocessing = preprocessing_of(model)
    if not 1 <= n <= LARGEST:
        raise ValueError(f"n is {n}; expected 1 to {LARGEST} drawings")
    if out.suffix.lower() != ".png" or out.is_dir():
        raise ValueError(f"out is {out.name!r}; expected a file's name ending in .png")
    if not out.resolve().parent.is_dir():
        raise ValueError(f"out is {out.name!r} in a folder that does not exist; expected one that does")
    files, skipped = zip(*(pictures_in(path, "IMAGE") for path in images), strict=True)
    names = [path.resolve().name if path.is_dir() else class_name(path) for path in images]
    given = sum(files, [])
    check_file(out, "vary", given)
    if each is not None:
        check_folders(each, names, [*images, *given], out)
    sources = [Source(path, name, np.stack(prepared_files(found, preprocessing)))
               for path, name, found in zip(images, names, files, strict=True)]
    drawn = asking.drawn_like(weights.load(model), [source.support for source in sources], n, seed)
    drawn = list(drawn.round().byte().numpy())
    with staged(each, {s.name: d for s, d in zip(sources, drawn, strict=True)}):
        write_picture(out, encoded(picture([s.support for s in sources], drawn), "PNG"), "vary", given)
    return {"file": str(out), "model": model, "n": n, "seed": seed,
            "skipped": list(dict.fromkeys(str(other) for other in sum(skipped, []))),
            "images": [{"image": str(s.path), "given": len(s.support),
                        "drawings": None if each is None else str(each / s.name)} for s in sources]}


# --- one file a drawing -----------------------------------------------------------------------------------------------


def check_folders(each: Path, names: list[str], inputs: Sequence[Path], out: Path) -> None:
    """Raises ValueError where an EACH/STEM can't be made, or would take the place of something that is not an earlier
    run's drawings."""
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"IMAGE: two are called {twice!r}; expected names that differ, as folders of --each")
    if not all(names):
        raise ValueError("IMAGE: expected a folder with a name, as a folder of --each")
    if not each.resolve().parent.is_dir() or (each.exists() and not each.is_dir()):
        raise ValueError(f"each is {each.name!r}; expected a folder, or a name for one in a folder that exists")
    if out.resolve() == each.resolve():
        raise ValueError(f"out and each are both {each.name!r}; expected two names")
    for name in names:
        check_folder(each / name, "vary", inputs, out)


@contextlib.contextmanager
def staged(each: Path | None, drawn: dict[str, np.ndarray]) -> Iterator[None]:
    """Within, the drawings lie there under temporary names; they get their own at the end, or vanish on an error."""
    if each is None:
        yield
        return
    existed, parts = each.is_dir(), {name: each / f".partial-{os.getpid()}-{name}" for name in drawn}
    before = {name: each / f".partial-{os.getpid()}-before-{name}" for name in drawn}
    try:
        for name, images in drawn.items():
            parts[name].mkdir(parents=True)
            for i, image in enumerate(images):
                (parts[name] / f"{i:03d}.png").write_bytes(marked(enlarged(image), "vary", DRAWING))
        yield
        for name, part in parts.items():
            check_folder(each / name, "vary")  # once more: drawing takes a while
            if (each / name).exists():
                (each / name).rename(before[name])
            part.rename(each / name)
    finally:
        for name, part in parts.items():
            if before[name].exists() and not (each / name).exists():
                before[name].rename(each / name)
            for folder in (part, before[name]):
                shutil.rmtree(folder, ignore_errors=True)
        if not existed:
            with contextlib.suppress(OSError):
                each.rmdir()  # where nothing came of it


def enlarged(image: np.ndarray) -> bytes:
    """A drawing (S, S) of 0 and 1 as a PNG, black on white, every pixel a square of `ENLARGED`."""
    from PIL import Image

    return encoded(Image.fromarray(255 * (1 - large(image, ENLARGED))), "PNG", optimize=False)


def large(images: np.ndarray, scale: int) -> np.ndarray:
    return images.repeat(scale, axis=-2).repeat(scale, axis=-1)


# --- the picture ------------------------------------------------------------------------------------------------------


def picture(supports: Sequence[np.ndarray], drawn: Sequence[np.ndarray]):
    """A band for each D (N, S, S), framed, with its drawings (n, S, S) on the right, in lines of ten or more."""
    from PIL import Image

    n, size = drawn[0].shape[:2]
    columns = min(n, max(10, math.ceil(math.sqrt(2 * n))))
    lines = math.ceil(n / columns)
    given = max(math.ceil(len(support) / lines) for support in supports)
    scale = max(1, min(4, 1600 // ((columns + given) * size)))
    space, line = 7 * scale, max(1, scale // 2)
    bands = [(block(large(s, scale), min(given, len(s)), line, GIVEN), block(large(d, scale), columns, line, DRAWN))
             for s, d in zip(supports, drawn, strict=True)]
    left = max(s.shape[1] for s, _ in bands)
    width = left + bands[0][1].shape[1] + 3 * space
    sheet = np.full((space + sum(max(len(s), len(d)) + space for s, d in bands), width, 3), 255, np.uint8)
    top = space
    for s, d in bands:
        sheet[top : top + len(s), space + left - s.shape[1] : space + left] = s
        sheet[top : top + len(d), left + 2 * space : left + 2 * space + d.shape[1]] = d
        top += max(len(s), len(d)) + space
    return Image.fromarray(sheet)


def block(images: np.ndarray, columns: int, line: int, colour: tuple[int, int, int]) -> np.ndarray:
    """Images (n, s, s) of 0 and 1, with lines around them: (height, width, 3) uint8; unused places stay white."""
    n, size = images.shape[:2]
    step = size + line
    sheet = np.full((math.ceil(n / columns) * step + line, columns * step + line, 3), 255, np.uint8)
    places = [(k // columns * step, k % columns * step) for k in range(n)]
    for y, x in places:
        sheet[y : y + step + line, x : x + step + line] = colour
    for (y, x), image in zip(places, images, strict=True):
        sheet[y + line : y + step, x + line : x + step] = np.where(image[..., None] > 0, INK, PAPER)
    return sheet


def done_text(report: dict, out: Path, each: Path | None) -> str:
    """What was made, in one line."""
    sources, n = report["images"], report["n"]
    first = sources[0]
    of = f"of {shorten(first['image'])}" if len(sources) == 1 else f"of each of {len(sources)} characters"
    folder = "" if each is None else shorten(first["drawings"] if len(sources) == 1 else each)
    files = f"; one file each in {folder}" if folder else ""
    return f"{shorten(out)}: {n} new drawing{'s' * (n > 1)} {of} by {report['model']}{files}"
