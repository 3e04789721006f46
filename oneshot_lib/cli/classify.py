"""`oneshot classify`: which of the classes in a folder a picture belongs to, decided by generation."""

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from oneshot_lib.files import shorten

LARGEST = 1000  # draws of c
SHOWN = 3  # classes behind the best in the text


def classify_files(support: Path, queries: Sequence[Path], model: str, samples: int = 4, seed: int = 0) -> list[dict]:
    """`[{query, class, scores, skipped}]`, a dict for every picture of `queries`; `scores` are log E p(x | c) by class,
    in nats, and `skipped` names what was left out of the folders of classes and queries.

    `samples` of c, and half as many of z for each; 20 is the protocol of Hewitt 2018, supplement 6.4.1. The few-shot
    PixelCNNs' log p(x | D) is exact, and nothing is sampled. Raises ValueError on a model that is unknown or compares
    nothing with D, on numbers that can't be, and what `data.folder` says.
    """
    from oneshot_lib import asking, weights
    from oneshot_lib.data.folder import classes_in, pictures_in, prepared_files

    if not 1 <= samples <= LARGEST:
        raise ValueError(f"samples is {samples}; expected 1 to {LARGEST}")
    preprocessing = preprocessing_of(model)
    if weights.mirrors(model):
        raise ValueError(f"model is {model!r}, which expects a class's drawings in the mirror; expected another model "
                         f"over sets, one of {', '.join(askable())}")
    folder = classes_in(support, "SUPPORT")
    found, skipped = [], list(folder.skipped)
    for path in queries:
        files, others = pictures_in(path, "QUERY")
        found += files
        skipped += [other for other in others if other not in skipped]
    ready = iter(prepared_files(sum(folder.files, []) + found, preprocessing))
    classes, images = [list(islice(ready, len(files))) for files in folder.files], list(ready)
    told = asking.answers(weights.load(model), folder.names, classes, images, samples, seed)
    return [{"query": str(file), "class": one.name, "scores": one.scores, "skipped": [str(each) for each in skipped]}
            for file, one in zip(found, told, strict=True)]


def askable() -> list[str]:
    """The shipped models that tell classes apart by what they would draw."""
    from oneshot_lib import weights

    return [name for name in weights.that("classify") if not weights.mirrors(name)]


def preprocessing_of(model: str) -> str:
    """How the pictures are reduced that a shipped model over sets was trained on: "28-nearest".

    Raises ValueError on an unknown model, and on one that does not look at a support set.
    """
    from oneshot_lib import weights
    from oneshot_lib.choices import check

    fitting = weights.that("classify")
    if model in weights.names() and weights.abilities(model) == ("sample",):
        raise ValueError(f"model is {model!r}, which is unconditional: it looks at no support set, and all characters "
                         f"are one to it; expected a model over sets, one of {', '.join(sorted(fitting))}")
    check(model, fitting, "model over sets")
    return weights.manifest()[model]["data"]["reduction"]


def answer_text(found: list[dict]) -> str:
    """A line for each query: its class, the probability of it, and the classes behind it with their distance."""
    from oneshot_lib.text import columns

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
