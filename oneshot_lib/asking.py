"""What a program asks of a model in one line: to draw like some pictures, to tell classes apart, to be trained.

`import oneshot_lib as oneshot` has these as `oneshot.draw_like`, `oneshot.classify` and `oneshot.train`; the command
line prints what they return.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from oneshot_lib import weights
from oneshot_lib.choices import check
from oneshot_lib.data.folder import PictureFolder, every_picture, folder
from oneshot_lib.evaluation.classification import KEEP, log_scores
from oneshot_lib.precision import faster_products
from oneshot_lib.training import TrainingConfig, TrainingReport
from oneshot_lib.training import train as train_in

MODEL = "omniglot28-vhe-pixelcnn-longer"  # what is asked where nobody says another
MOST = 5  # classes that are sampled of those within reach, so that an answer takes seconds
TOGETHER = 64  # drawings that are made at a time


class Answer(NamedTuple):
    """`name` of the class under which a picture is most probable, and `scores`, log E p(x | c) by class, nats."""

    name: str
    scores: dict[str, float]


def draw_like(model: str | nn.Module, pictures, n: int = 20, seed: int = 0) -> Tensor:
    """n new drawings of the character that `pictures` show, by a shipped model or one of your own: (n, S, S), zeros and
    ones.

    `pictures` is a picture, several of one character, or a folder of them: files, PIL images, grey levels (H, W) uint8,
    or (S, S) of zeros and ones. Raises ValueError on a model that can't be shown any, and what `data.folder` does.
    """
    if not isinstance(n, int) or n < 1:
        raise ValueError(f"n is {n!r}; expected a whole number of at least 1")
    asked, reduction = opened(model, "draw_like")
    support = np.stack(every_picture(pictures, reduction))
    return drawn_like(asked, [support], n, seed)[0]


@torch.no_grad()
def drawn_like(model: nn.Module, supports: Sequence[np.ndarray], n: int, seed: int = 0) -> Tensor:
    """n new drawings like each D (N, S, S) of 0 and 1: (G, n, S, S), zeros and ones."""
    given = [torch.from_numpy(np.asarray(support))[:, None].float() for support in supports]
    return model.draw_like(given, n, generator=torch.Generator().manual_seed(seed), batch=TOGETHER)[:, :, 0]


def classify(model: str | nn.Module, classes, queries, samples: int = 4, seed: int = 0) -> list[Answer]:
    """Which class each of `queries` belongs to, decided by how probable every class makes it: an `Answer` each.

    `classes` is a folder (`data.folder`, or its path: a picture or a sub-folder a class) or a dict of pictures by name;
    `queries` are pictures, or a folder of them. `samples` of c, and half as many of z for each; 20 is the protocol of
    Hewitt 2018, supplement 6.4.1. Raises ValueError on a model that compares nothing with its support, and what
    `data.folder` does.
    """
    if not isinstance(samples, int) or samples < 1:
        raise ValueError(f"samples is {samples!r}; expected a whole number of at least 1")
    asked, reduction = opened(model, "classify")
    if isinstance(classes, (str, os.PathLike)):
        classes = folder(classes, reduction)
    if isinstance(classes, PictureFolder):
        if classes.reduction != reduction and isinstance(model, str):
            raise ValueError(f"classes were reduced by {classes.reduction}; expected {reduction}, as {model} was "
                             f"trained: data.folder(path, {reduction!r})")
        classes = dict(zip(classes.names, classes.classes, strict=True))
    elif isinstance(classes, Mapping):
        classes = {name: np.stack(every_picture(pictures, reduction)) for name, pictures in classes.items()}
    else:
        raise ValueError(f"classes is a {type(classes).__name__}; expected a folder, its path, or a dict of pictures")
    if len(classes) < 2:
        raise ValueError(f"classes has {len(classes)}; expected two at least")
    return answers(asked, list(classes), list(classes.values()), every_picture(queries, reduction), samples, seed)


def answers(model: nn.Module, names: Sequence[str], classes: Sequence[np.ndarray], queries: Sequence[np.ndarray],
            samples: int = 4, seed: int = 0) -> list[Answer]:
    """The same from pictures that are ready: `classes` (N, S, S) for each name, `queries` (S, S), of 0 and 1."""
    support = [torch.from_numpy(np.stack(list(drawings)))[:, None].float() for drawings in classes]
    query = torch.from_numpy(np.stack(list(queries)))[:, None].float()
    found = log_scores(model, support, query, outer=samples, inner=max(1, samples // 2), keep=KEEP, most=MOST,
                       screening_dtype=faster_products(), generator=torch.Generator().manual_seed(seed))
    return [Answer(names[choice], dict(zip(names, scores, strict=True)))
            for choice, scores in zip(found.choice.tolist(), found.log_scores.tolist(), strict=True)]


def opened(model: str | nn.Module, ability: str) -> tuple[nn.Module, str]:
    """A model by its name or itself, and what its pictures are reduced by: that of its training, or nearest pixels of
    its size. Raises ValueError where it is not shipped, or does not do what is asked of it."""
    if isinstance(model, str):
        check(model, weights.that(ability), f"model for {ability}")
        return weights.load(model), weights.manifest()[model]["data"]["reduction"]
    if not isinstance(model, nn.Module):
        raise ValueError(f"model is a {type(model).__name__}; expected the name of a shipped model, or a torch module")
    return model.eval(), f"{model.image_size}-nearest"


def train(model: nn.Module, objective: Callable[[nn.Module, int, torch.Generator], Tensor],
          out: str | os.PathLike, minutes: float | None = None, device: str = "cpu", **settings) -> TrainingReport:
    """Maximise the mean of `objective(model, step, generator)` -> (B,) nats: `oneshot_lib.training.train`, whose
    `TrainingConfig` is made of the `settings` (steps, learning_rate, seed, ...).

    `out` is the run's folder: the same call in it goes on where it was stopped, or loads what is finished. Raises
    ValueError on an unknown setting, and what the loop does.
    """
    known = [f.name for f in fields(TrainingConfig)]
    for name in settings:
        check(name, known, "setting")
    return train_in(model, objective, TrainingConfig(**settings), Path(out), minutes=minutes, device=device)
