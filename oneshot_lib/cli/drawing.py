"""`oneshot draw`: a shipped model's drawings as one picture, or step by step as a moving one."""

import io
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np

from oneshot_lib.choices import check
from oneshot_lib.data.outputs import check_file, write_picture

PAPER, INK = np.array([255, 255, 255]), np.array([16, 24, 43])
LARGEST = 1024  # drawings in one picture
SHOTS = 4  # drawings of a character that a few-shot model is shown; one where its task was to mirror it
MOMENTS = 13  # of a few-shot model's writing, a few rows apart
BATCH = 64  # drawings that are made together


class Shown(NamedTuple):
    """What few-shot models are shown: `characters`, n names out of the data set `data`, and `support` (n, N, S, S)
    uint8 of 0 and 1."""

    data: str
    characters: list[str]
    support: np.ndarray


def draw_file(model: str, n: int, seed: int, out: Path) -> dict:
    """Write `n` drawings by a shipped model to `out`, whole or not at all; returns what was done.

    Raises ValueError on an unknown model, a number below 1, another suffix than .png and .gif, or a file that is there
    and that `oneshot draw` did not write.
    """
    from oneshot_lib import weights

    check(model, weights.names(), "model")
    if "judge" in weights.abilities(model):
        drawing = ", ".join(name for name in weights.names() if "judge" not in weights.abilities(name))
        raise ValueError(f"model is {model!r}, which judges drawings and makes none; expected one of {drawing}")
    if not 1 <= n <= LARGEST:
        raise ValueError(f"n is {n}; expected 1 to {LARGEST} drawings")
    if out.suffix.lower() not in (".png", ".gif"):
        raise ValueError(f"out is {out.name!r}; expected a name ending in .png or .gif")
    if not out.resolve().parent.is_dir():
        raise ValueError(f"out is {out.name!r} in a folder that does not exist; expected one that does")
    check_file(out, "draw")
    loaded, shown = weights.load(model), None
    able, about = weights.abilities(model), weights.manifest()[model]["data"]
    if "sample" not in able:
        shots = 1 if weights.mirrors(model) else SHOTS
        shown = characters_of(about["reduction"], about["split"], n, shots, seed)
        steps = written(drawn_like(loaded, shown.support, seed))
    elif "strokes" in able:
        steps = strokes(loaded, n, seed)
    elif "draw_like" in able:
        steps = every_row(invented(loaded, n, seed))
    else:
        steps = written(invented(loaded, n, seed))
    moving = out.suffix.lower() == ".gif"
    frames = [picture(step) for step in (steps if moving else steps[-1:])]
    content = gif(frames) if moving else encoded(frames[0], "PNG")
    write_picture(out, content, "draw")
    return {"file": out.name, "model": model, "n": n, "seed": seed, "frames": len(frames),
            "data": None if shown is None else shown.data, "shown": None if shown is None else shown.characters}


def strokes(model, n: int, seed: int) -> np.ndarray:
    """How n drawings come about, stroke by stroke, (T+1, n, 1, H, W): the probability of ink after each."""
    import torch

    with torch.no_grad():
        drawing = model.draw(n, generator=torch.Generator().manual_seed(seed))
    return drawing.probabilities.transpose(0, 1).numpy()


def invented(model, n: int, seed: int) -> np.ndarray:
    """n drawings of nothing in particular, (n, 1, H, W) of 0 and 1; of a model over sets each of a class of its own."""
    import torch

    with torch.no_grad():
        return model.sample(n, generator=torch.Generator().manual_seed(seed)).numpy()


def characters_of(preprocessing: str, split: str, n: int, shots: int, seed: int) -> Shown:
    """`shots` drawings each of n test characters of a split, of the data at hand: all characters in an order that
    `seed` decides, and again from the first where n is more; of each, drawings without replacement."""
    from oneshot_lib import data
    from oneshot_lib.data.preprocessing import preprocess

    characters, random = data.characters(), np.random.default_rng(seed)
    test = characters.split(split).test
    numbers = np.resize(random.permutation(np.unique(characters.class_index[test])), n)
    rows = np.stack([random.choice(test[characters.class_index[test] == number], shots, replace=False)
                     for number in numbers])
    grey = preprocess(characters.images[rows.ravel()], preprocessing)
    support = (grey >= 128).astype(np.uint8).reshape(*rows.shape, *grey.shape[1:])
    return Shown(characters.name, [characters.classes[number] for number in numbers], support)


def drawn_like(model, support: np.ndarray, seed: int) -> np.ndarray:
    """A new drawing for each of the n support sets (n, N, S, S): (n, 1, S, S) of 0 and 1."""
    import torch

    generator, given = torch.Generator().manual_seed(seed), torch.from_numpy(support).float()[:, :, None]
    with torch.no_grad():
        return torch.cat([model.draw_like(sets, 1, generator=generator)[:, 0] for sets in given.split(BATCH)]).numpy()


def every_row(drawn: np.ndarray) -> np.ndarray:
    """Drawings (n, 1, H, W) row after row as they are written, (H+1, n, 1, H, W)."""
    return cut(drawn, np.arange(drawn.shape[-2] + 1))


def written(drawn: np.ndarray) -> np.ndarray:
    """Drawings (n, 1, H, W) as they are written, (T+1, n, 1, H, W): from the first row with ink to the last."""
    rows = np.nonzero(drawn.any((0, 1, 3)))[0]
    first, last = (rows[0], rows[-1] + 1) if len(rows) else (0, drawn.shape[-2])
    moments = min(MOMENTS, last - first)
    return cut(drawn, np.linspace(first, last, moments + 1).round().astype(int))


def cut(drawn: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Drawings (n, 1, H, W) as far as each of the rows `ends` (T+1,), exclusive: (T+1, n, 1, H, W)."""
    done = np.arange(drawn.shape[-2]) < ends[:, None]  # (T+1, H)
    return drawn * done[:, None, None, :, None]


# --- pictures ---------------------------------------------------------------------------------------------------------


def picture(images: np.ndarray):
    """One step of n drawings (n, 1, H, W), the probability of ink -> a picture of the grid."""
    from PIL import Image

    from oneshot_lib.plotting import mosaic

    n, width = len(images), images.shape[-1]
    columns = math.ceil(math.sqrt(n))
    scale = max(1, min(4, 1200 // (columns * width)))
    large = images.repeat(scale, axis=2).repeat(scale, axis=3)
    sheet = mosaic(large, columns, gap=2 * scale, frame=0.1)[..., None]
    return Image.fromarray((PAPER + sheet * (INK - PAPER)).round().astype(np.uint8))


def encoded(image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def gif(frames: list, milliseconds: int = 160, rest: int = 1600) -> bytes:
    """The frames as a GIF that repeats and rests on the finished drawing; one palette of 64 inks for all."""
    from PIL import Image

    ramp = PAPER + np.linspace(0, 1, 64)[:, None] * (INK - PAPER)
    palette = Image.new("P", (1, 1))
    palette.putpalette(ramp.round().astype(np.uint8).tobytes() + bytes(3 * 192))
    flat = [f.quantize(palette=palette, dither=Image.Dither.NONE) for f in frames]
    durations = [milliseconds] * (len(flat) - 1) + [rest]
    return encoded(flat[0], "GIF", save_all=True, append_images=flat[1:], duration=durations, loop=0, optimize=False)
