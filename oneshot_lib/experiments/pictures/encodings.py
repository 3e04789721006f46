"""`oneshot_lib.data.encodings`, measured: what a model is left with of each encoding of a drawing.

The episodes are of characters
that the model was trained on, so the accuracies are not those of table 2, and no choice is made on test characters.
"""

import numpy as np
import torch
from torch import Tensor

from oneshot_lib import data, weights
from oneshot_lib.data.encodings import encode
from oneshot_lib.evaluation import Estimate
from oneshot_lib.evaluation.classification import log_scores
from oneshot_lib.evaluation.judging import mean_over_classes
from oneshot_lib.experiments.pictures import tables
from oneshot_lib.precision import faster_products
from oneshot_lib.runs.records import Record
from oneshot_lib.runs.run import Run
from oneshot_lib.streams import stream


class Episodes:
    """The first episodes of a run: `support` and `query` (E, K), rows of its data set, and the `model` that is asked.

    `images(encoding)` has every drawing of them once, as the model sees it: row -> (S, S) uint8 of 0 and 1.
    """

    def __init__(self, run: Run):
        self.run, self.model = run, weights.load(run.settings.model)
        found = data.evaluation_episodes(run.dataset, split=run.experiment.split, half="train")
        self.support, self.query = (part[: run.settings.episodes, : run.settings.ways]
                                    for part in (found.support[:, :, 0], found.query))
        self._images: dict[str, dict[int, np.ndarray]] = {}

    def images(self, encoding: str) -> dict[int, np.ndarray]:
        if encoding not in self._images:
            rows = np.unique([self.support, self.query]).tolist()
            self._images[encoding] = {row: prepared(self.run, encoding, row) for row in rows}
        return self._images[encoding]

    def tensor(self, rows: np.ndarray, encoding: str) -> Tensor:
        """The drawings `rows` (K,) in an encoding: (K, 1, S, S) of 0 and 1."""
        images = self.images(encoding)
        return torch.from_numpy(np.stack([images[row] for row in rows.tolist()]))[:, None].float()


def prepared(run: Run, encoding: str, row: int) -> np.ndarray:
    """A drawing of the run's data, as a file in `encoding` has it and `data.prepare` leaves it: (S, S) of 0 and 1.

    The same drawing has the same file in every call. What can't be prepared is a blank page.
    """
    drawing, reduction = run.dataset.images[row], run.experiment.preprocessing
    if encoding == tables.KEPT:
        return data.preprocess(drawing[None], reduction)[0] // 255
    grey = encode(drawing, encoding, np.random.default_rng([run.seed, row]))
    size = int(reduction.split("-")[0])
    try:
        return data.prepare(grey, size, reduction).image // 255
    except ValueError:
        return np.zeros((size, size), np.uint8)


def accuracy(by: Episodes, support: str, query: str) -> Estimate:
    """The share of queries given their class, %, where `support` and `query` name their encodings; its error is over
    episodes."""
    s, found = by.run.settings, []
    generator = stream(by.run.seed, "noise")
    for classes, asked in zip(by.support, by.query, strict=True):
        scores = log_scores(by.model, by.tensor(classes, support)[:, None], by.tensor(asked, query), outer=s.outer,
                            inner=s.inner, keep=s.keep, most=s.most, screening_dtype=faster_products(),
                            generator=generator)
        found.append(100 * (scores.choice == torch.arange(len(classes))).double().mean())
    return mean_over_classes(torch.stack(found))


def moved(by: Episodes, encoding: str) -> Estimate:
    """How many pixels of a prepared drawing differ from those of the prepared page, a mean over drawings."""
    page = by.images("page")
    return mean_over_classes(torch.tensor([float((image != page[row]).sum())
                                           for row, image in by.images(encoding).items()]))


def record(run: Run, row: tables.EncodingRow, by: Episodes) -> list[Record]:
    """Measure what is left of a row's encoding, or take what this folder has of it, and write its records."""
    s, encoding = run.settings, row.encoding
    asked = [(tables.ALIKE, "%", lambda: accuracy(by, encoding, encoding))]
    if encoding not in ("page", tables.KEPT):
        asked.append((tables.ON_PAGES, "%", lambda: accuracy(by, "page", encoding)))
    if encoding != "page":
        asked.append((tables.MOVED, "", lambda: moved(by, encoding)))
    notes = (f"{s.ways} characters that {s.model} was trained on, {s.episodes} episodes; {s.outer} draws of c and "
             f"{s.inner} of z for at most {s.most} classes within {s.keep:g} nats of the best")
    model = weights.manifest()[s.model]["sha256"]
    return [run.measured(row, metric, "trained on", measure, unit=unit, notes=notes, weights=model)
            for metric, unit, measure in asked]
