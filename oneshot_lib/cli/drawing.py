"""`oneshot draw`: a shipped model's drawings as one picture, or step by step as a moving one."""

import io
import math
from pathlib import Path

import numpy as np

from oneshot_lib.data.files import write_whole
from oneshot_lib.experiments.presets import check

PAPER, INK = np.array([255, 255, 255]), np.array([16, 24, 43])
LARGEST = 1024  # drawings in one picture


def draw_file(model: str, n: int, seed: int, out: Path) -> dict:
    """Write `n` drawings by a shipped model to `out`, whole or not at all; returns what was done.

    Raises ValueError on an unknown model, a number below 1 or another suffix than .png and .gif.
    """
    from oneshot_lib import weights

    check(model, weights.names(), "model")
    if not 1 <= n <= LARGEST:
        raise ValueError(f"n is {n}; expected 1 to {LARGEST} drawings")
    if out.suffix.lower() not in (".png", ".gif"):
        raise ValueError(f"out is {out.name!r}; expected a name ending in .png or .gif")
    if not out.resolve().parent.is_dir():
        raise ValueError(f"out is {out.name!r} in a folder that does not exist; expected one that does")
    steps = steps_of(weights.load(model), n, seed)
    moving = out.suffix.lower() == ".gif"
    frames = [picture(step) for step in (steps if moving else steps[-1:])]
    content = gif(frames) if moving else encoded(frames[0], "PNG")
    write_whole(out, content)
    out.chmod(0o644)
    return {"file": out.name, "model": model, "n": n, "seed": seed, "frames": len(frames)}


def steps_of(model, n: int, seed: int) -> np.ndarray:
    """How n drawings come about, (T+1, n, 1, H, W): by the model's strokes; a model over sets invents n classes, and of
    each shows one drawing, row after row as it is written."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        if hasattr(model, "draw"):
            return model.draw(n, generator=generator).probabilities.transpose(0, 1).numpy()
        drawn = model.sample(model.sample_class(n, generator), generator).numpy()
    written = np.arange(drawn.shape[-2]) < np.arange(drawn.shape[-2] + 1)[:, None]  # (T+1, H)
    return drawn * written[:, None, None, :, None]


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
