"""`oneshot classify`: which of the classes in a folder a picture belongs to, decided by generation."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from oneshot_lib.data.files import DataError, shorten
from oneshot_lib.data.listing import Skipped, class_name, listing
from oneshot_lib.machine import cores

MODEL = "omniglot28-vhe-pixelcnn-longer"
LARGEST = 1000  # draws of c
MOST = 5  # classes that are sampled of those within reach, so that an answer takes seconds
SHOWN = 3  # classes behind the best in the text


class Folder(NamedTuple):
    """`names` of K classes, the picture files of each, and what else lies in the folder."""

    names: list[str]
    files: list[list[Path]]
    skipped: list[Skipped]


def classify_files(support: Path, queries: Sequence[Path], model: str = MODEL, samples: int = 4, seed: int = 0,
                   ) -> list[dict]:
    """`[{query, class, scores, skipped}]`, a dict for every picture of `queries`; `scores` are log E p(x | c) by class,
    in nats, and `skipped` names what was left out of the folders of classes and queries.

    `samples` of c, and half as many of z for each; 20 is the protocol of Hewitt 2018, supplement 6.4.1. The few-shot
    PixelCNNs' log p(x | D) is exact, and nothing is sampled. Raises ValueError on a model that is unknown or compares
    nothing with D, on numbers that can't be, and what `read_folder` and `pictures` say.
    """
    from oneshot_lib import weights

    if not 1 <= samples <= LARGEST:
        raise ValueError(f"samples is {samples}; expected 1 to {LARGEST}")
    preprocessing = preprocessing_of(model)
    if weights.mirrors(model):
        raise ValueError(f"model is {model!r}, which expects a class's drawings in the mirror; expected another model "
                         f"over sets, {MODEL!r} for one")
    folder = read_folder(support)
    found, skipped = [], list(folder.skipped)
    for path in queries:
        files, others = pictures(path, "QUERY")
        found += files
        skipped += [other for other in others if other not in skipped]
    with ThreadPoolExecutor(cores()) as pool:
        ready = pool.map(lambda file: prepared(file, preprocessing), sum(folder.files, []) + found)
        classes, images = [list(islice(ready, len(files))) for files in folder.files], list(ready)
    answers = answer(weights.load(model), folder.names, classes, [str(file) for file in found], images, samples, seed)
    return [one | {"skipped": [str(other) for other in skipped]} for one in answers]


def answer(model, names: list[str], classes: list[list], queries: list[str], images: list, samples: int,
           seed: int) -> list[dict]:
    """The same from pictures that are ready, each (S, S) with ink 1: `classes` a list for each name, `images` one for
    each query."""
    import numpy as np
    import torch

    from oneshot_lib.evaluation.classification import KEEP, log_scores
    from oneshot_lib.precision import faster_products

    support = [torch.from_numpy(np.stack(drawings))[:, None].float() for drawings in classes]
    query = torch.from_numpy(np.stack(images))[:, None].float()
    found = log_scores(model, support, query, outer=samples, inner=max(1, samples // 2), keep=KEEP, most=MOST,
                       screening_dtype=faster_products(), generator=torch.Generator().manual_seed(seed))
    return [{"query": name, "class": names[choice], "scores": dict(zip(names, scores, strict=True))}
            for name, choice, scores in zip(queries, found.choice.tolist(), found.log_scores.tolist(), strict=True)]


def preprocessing_of(model: str) -> str:
    """How the pictures are reduced that a shipped model over sets was trained on: "28-nearest".

    Raises ValueError on an unknown model, and on one that does not look at a support set.
    """
    from oneshot_lib import weights
    from oneshot_lib.choices import check

    fitting = [name for name in weights.names() if "classify" in weights.abilities(name)]
    if model in weights.names() and weights.abilities(model) == ("sample",):
        raise ValueError(f"model is {model!r}, which is unconditional: it looks at no support set, and all characters "
                         f"are one to it; expected a model over sets, one of {', '.join(sorted(fitting))}")
    check(model, fitting, "model over sets")
    return weights.manifest()[model]["data"]["reduction"]


def read_folder(support: Path) -> Folder:
    """The classes of a folder: a picture is a class, called by its stem, and so is a sub-folder of pictures.

    Raises ValueError where there are fewer than two, where two share a name, on a sub-folder without a picture, and
    what `listing` says.
    """
    if not support.is_dir():
        raise ValueError(f"SUPPORT is {shorten(support)}; expected a folder with a picture, or a sub-folder, a class")
    there = listing(support)
    inside = sorted(there.pictures + there.folders)
    names = [class_name(path) for path in inside]
    if len(inside) < 2:
        number = "one class" if inside else "nothing"
        raise ValueError(f"{shorten(support)}: expected two classes or more, a picture or a sub-folder of pictures "
                         f"each, found {number}")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"{shorten(support)}: expected one picture or sub-folder a class, found two called {twice!r}")
    files, skipped = zip(*(pictures(path, "SUPPORT") for path in inside), strict=True)
    return Folder(names, list(files), sum(skipped, there.skipped))


def pictures(path: Path, what: str) -> tuple[list[Path], list[Skipped]]:
    """A file itself, or the pictures in a folder and what is left out of it. Raises ValueError where there is none, and
    what `listing` says."""
    if not path.is_dir():
        if not path.exists():
            raise ValueError(f"{what}: {shorten(path)}: no such file or folder")
        return [path], []
    found = listing(path)
    if not found.pictures:
        raise ValueError(f"{what}: {shorten(path)}: expected a folder with pictures, found none in it")
    return found.pictures, found.skipped + [Skipped(folder, "a folder in a folder") for folder in found.folders]


def prepared(file: Path, preprocessing: str):
    """A picture file as the model's input, (S, S) uint8 of 0 and 1. Raises DataError, which names the file."""
    from oneshot_lib.data.pictures import prepare, read_picture

    grey = read_picture(file)
    try:
        return prepare(grey, int(preprocessing.split("-")[0]), preprocessing).image // 255
    except ValueError as error:
        raise DataError(f"{shorten(file)}: {str(error).removeprefix('grey: ')}") from error


def answer_text(found: list[dict]) -> str:
    """A line for each query: its class, the probability of it, and the classes behind it with their distance."""
    from oneshot_lib.cli.tables import columns

    rows = []
    for one in found:
        best = one["scores"][one["class"]]
        behind = sorted(((score - best, name) for name, score in one["scores"].items() if name != one["class"]),
                        reverse=True)
        rows.append([shorten(one["query"]), one["class"], sure(one),
                     ", ".join(f"{name} {score:.1f}" for score, name in behind[:SHOWN])])
    return (f"{columns(rows, ['query', 'class', 'sure', 'behind, in nats'])}\n\n"
            "sure: the model's own probability of the class, all being equally likely before it looked.")


def sure(one: dict) -> str:
    import math

    best = one["scores"][one["class"]]
    probability = 1 / sum(math.exp(score - best) for score in one["scores"].values())
    return "> 99.9%" if probability > 0.999 else f"{probability:.1%}"
