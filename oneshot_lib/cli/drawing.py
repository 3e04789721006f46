"""`oneshot draw`: a shipped model's drawings as one picture, or step by step as a moving one."""

import io
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np

from oneshot_lib.choices import check
from oneshot_lib.cli.classify import MIRROR
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
    kinds = {name: entry.get("model", "") for name, entry in weights.manifest().items()}
    if kinds[model].endswith("Critic"):
        drawing = ", ".join(name for name, kind in kinds.items() if not kind.endswith("Critic"))
        raise ValueError(f"model is {model!r}, which judges drawings and makes none; expected one of {drawing}")
    if not 1 <= n <= LARGEST:
        raise ValueError(f"n is {n}; expected 1 to {LARGEST} drawings")
    if out.suffix.lower() not in (".png", ".gif"):
        raise ValueError(f"out is {out.name!r}; expected a name ending in .png or .gif")
    if not out.resolve().parent.is_dir():
        raise ValueError(f"out is {out.name!r} in a folder that does not exist; expected one that does")
    check_file(out, "draw")
    loaded, shown = weights.load(model), None
    if few_shot(loaded):
        entry = weights.manifest()[model]
        preprocessing, split = entry["data"].replace(",", "").split()[1:3]  # "omniglot 26-nearest, 45-5"
        if entry["model"] != "UnconditionalPixelCNN":
            shown = characters_of(preprocessing, split, n, 1 if MIRROR in model else SHOTS, seed)
        steps = written(few_shot_drawings(loaded, n, None if shown is None else shown.support, seed))
    else:
        steps = steps_of(loaded, n, seed)
    moving = out.suffix.lower() == ".gif"
    frames = [picture(step) for step in (steps if moving else steps[-1:])]
    content = gif(frames) if moving else encoded(frames[0], "PNG")
    write_picture(out, content, "draw")
    return {"file": out.name, "model": model, "n": n, "seed": seed, "frames": len(frames),
            "data": None if shown is None else shown.data, "shown": None if shown is None else shown.characters}


def steps_of(model, n: int, seed: int) -> np.ndarray:
    """How n drawings come about, (T+1, n, 1, H, W): by the model's strokes; a model over sets invents n classes, and of
    each shows one drawing, row after row as it is written."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        if hasattr(model, "draw"):
            return model.draw(n, generator=generator).probabilities.transpose(0, 1).numpy()
        drawn = model.sample(model.sample_class(n, generator), generator).numpy()
    return cut(drawn, np.arange(drawn.shape[-2] + 1))


# --- few-shot models --------------------------------------------------------------------------------------------------


def few_shot(model) -> bool:
    """Whether a model draws what a support set shows, pixel by pixel; the unconditional one is of their kind."""
    from oneshot_lib.models.few_shot import FewShotPixelCNN

    return isinstance(model, FewShotPixelCNN)


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


def few_shot_drawings(model, n: int, support: np.ndarray | None, seed: int) -> np.ndarray:
    """A new drawing for each of the n support sets (n, N, S, S), or n drawings for none: (n, 1, S, S) of 0 and 1."""
    import torch

    generator, side = torch.Generator().manual_seed(seed), model.image_size
    given = torch.zeros(n, 1, side, side) if support is None else torch.from_numpy(support).float()
    with torch.no_grad():
        return torch.cat([model.sample(sets[:, :, None], generator=generator) for sets in given.split(BATCH)]).numpy()


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
