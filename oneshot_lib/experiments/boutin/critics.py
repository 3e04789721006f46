"""The critics of `oneshot_lib.evaluation.judging`, trained and measured."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from oneshot_lib import data
from oneshot_lib.data.augment import symmetry
from oneshot_lib.data.views import views
from oneshot_lib.evaluation import Estimate, judging
from oneshot_lib.evaluation.judging import as_seen, mean_over_classes
from oneshot_lib.experiments.boutin import tables
from oneshot_lib.models.critics import ContrastiveCritic, Critic, CriticConfig, PrototypicalCritic
from oneshot_lib.runs.records import Record
from oneshot_lib.runs.run import Run
from oneshot_lib.streams import stream

CLASSES = {"contrastive": ContrastiveCritic, "prototypical": PrototypicalCritic}


def seen_drawings(characters, preprocessing: str, rows: np.ndarray) -> Tensor:
    """Drawings of a `CharacterSet` as the critics see them: (N, 50, 50), uint8 of zeros and ones."""
    grey = characters.grey(preprocessing)
    parts = [as_seen(torch.from_numpy(grey[part]).float() / 255).byte() for part in np.array_split(rows, 20)]
    return torch.cat(parts)


class Drawings:
    """The training drawings of a split, in batches for either critic."""

    def __init__(self, characters, preprocessing: str, rows: np.ndarray):
        order = np.argsort(characters.class_index[rows], kind="stable")
        self.seen = seen_drawings(characters, preprocessing, rows[order])
        _, first, count = np.unique(characters.class_index[rows[order]], return_index=True, return_counts=True)
        self.first, self.count = torch.from_numpy(first), torch.from_numpy(count)

    def pairs(self, n: int, generator: torch.Generator) -> Tensor:
        """Two views of each of n different drawings: (2n, 1, 50, 50), the first views of all, then the second."""
        chosen = self.seen[torch.randperm(len(self.seen), generator=generator)[:n], None].float()
        return views(torch.cat([chosen, chosen]), generator)

    def episode(self, ways: int, queries: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """`ways` different characters, each read in one of 8 symmetries: an exemplar of each (K, 1, 50, 50) and
        `queries` other drawings of each (K r, 1, 50, 50). Raises ValueError where there are too few of either."""
        if ways > len(self.count) or queries >= int(self.count.min()):
            raise ValueError(f"ways is {ways} and queries {queries}; expected at most {len(self.count)} and "
                             f"{int(self.count.min()) - 1}")
        chosen = torch.randperm(len(self.count), generator=generator)[:ways]
        order = torch.rand(ways, int(self.count.max()), generator=generator)
        order[torch.arange(order.shape[1]) >= self.count[chosen, None]] = 2.0
        rows = self.first[chosen, None] + order.argsort(1)[:, : 1 + queries]
        pictures = self.seen[rows].numpy()  # (K, 1 + r, 50, 50)
        turns = torch.randint(8, (ways,), generator=generator).tolist()
        pictures = torch.from_numpy(np.stack([symmetry(g, part) for g, part in zip(turns, pictures, strict=True)]))
        return pictures[:, :1].float(), pictures[:, 1:].flatten(0, 1)[:, None].float()


def objective(drawings: Drawings, network: str, settings: tables.CriticSettings, device: str = "cpu") -> Callable:
    """What `oneshot_lib.training.train` maximises: (model, step, generator) -> (B,), nats."""

    def maximised(model: nn.Module, step: int, generator: torch.Generator) -> Tensor:
        draw = stream(generator.initial_seed(), "batch")  # on the CPU, as the drawings are
        if network == "contrastive":
            return model.log_prob(drawings.pairs(settings.batch_size, draw).to(device))
        return model.log_prob(*(part.to(device) for part in drawings.episode(settings.ways, settings.queries, draw)))

    return maximised


def trained(run: Run, row: tables.CriticRow) -> Critic:
    """The row's critic, trained, and the record of its objective, nats. Raises `TimeSpent` and `Diverged` as
    `run.train` does."""
    drawings = Drawings(run.dataset, run.experiment.reduction(row), run.split.train)
    torch.manual_seed(run.seed)
    model = CLASSES[row.network](CriticConfig(channels=run.settings.channels))
    model = model.to(memory_format=torch.channels_last)
    report = run.train(row, model, objective(drawings, row.network, run.settings, run.device),
                       metric=("training loss", "running mean"))
    run.record_value(row, "training loss", "running mean", -report.train_bound,
                     report.train_bound_error, n=min(1000, report.steps))
    return model


# --- measuring --------------------------------------------------------------------------------------------------------

DRAWINGS = 20  # of each character that a person each has drawn
QUICK_CHARACTERS, QUICK_TESTS = 10, 20  # enough to see that it runs


def exemplar_rows(characters, number: int = 0) -> np.ndarray:
    """One drawing of each test character of the weak split, as rows (K,): the typical one (`data.exemplars`), or the
    `number`-th after it."""
    rows = data.exemplars(characters)
    return rows - rows % DRAWINGS + (rows + number) % DRAWINGS


def originals(characters, rows: np.ndarray, preprocessing: str = "50-antialias") -> Tensor:
    """Drawings as the critics look at them: (n, 50, 50), zeros and ones."""
    return as_seen(torch.from_numpy(characters.grey(preprocessing)[rows]).float() / 255)


def people(characters, preprocessing: str, classes: np.ndarray, count: int = DRAWINGS,
           generator: torch.Generator | None = None) -> Tensor:
    """What people drew of each of `classes` (K,): (K, count, S, S) in [0, 1], the exemplar among them. `generator`
    binarises their grey pixels. Raises ValueError on more drawings than there are."""
    if not 1 <= count <= DRAWINGS:
        raise ValueError(f"count is {count}; expected 1 to {DRAWINGS}, a character has no more drawings")
    grey = characters.grey(preprocessing)[classes[:, None] * DRAWINGS + np.arange(count)]
    return torch.from_numpy(grey).float() / 255 if generator is None else data.binarise(grey, generator)


def control(drawn_by: str, characters, exemplars: Tensor, classes: np.ndarray, count: int, *,
            generator: torch.Generator) -> Tensor:
    """The drawings of one of `tables.CONTROLS`: people's of `classes` (K,), or what is made of the `exemplars`
    (K, 50, 50) -> (K, count, 50, 50)."""
    if drawn_by == "people":
        return people(characters, "50-antialias", classes, count)
    if drawn_by == "copies":
        return judging.copies(exemplars, count)
    make = {"shifted": judging.shifted, "flipped": judging.flipped}[drawn_by]
    return make(exemplars, count=count, generator=generator)


def record_controls(run: Run, row: tables.CriticRow, critic: Critic) -> list[Record]:
    """What the row's critic says of the controls, each measured or taken from this folder: the contrastive of their
    diversity, the prototypical of their recognizability, and of people's through 28x28 and back besides.

    The quick preset asks about ten characters, twenty tests each.
    """
    critic, characters = critic.cpu().eval(), run.dataset
    rows = exemplar_rows(characters)
    own = np.arange(len(rows))
    if run.preset == "quick":
        own = own[np.linspace(0, len(rows) - 1, QUICK_CHARACTERS).round().astype(int)]
    tests = QUICK_TESTS if run.preset == "quick" else judging.TESTS
    exemplars = originals(characters, rows)
    classes = characters.class_index[rows][own]

    def measure(drawn_by: str) -> Estimate:
        draw, tests_of = stream(run.seed, "drawings"), stream(run.seed, "tests")
        if drawn_by in tables.CONTROLS:
            drawings = control(drawn_by, characters, exemplars[own], classes, DRAWINGS, generator=draw)
        else:
            drawings = people(characters, drawn_by, classes)
        if row.network == "contrastive":
            return mean_over_classes(judging.diversity(critic, drawings))
        return mean_over_classes(100 * judging.recognizability(critic, drawings, torch.from_numpy(own), exemplars,
                                                               tests=tests, generator=tests_of))

    metric, unit = {"contrastive": (tables.DIVERSITY, ""), "prototypical": (tables.RECOGNIZABILITY, "%")}[row.network]
    asked = [*tables.CONTROLS, *(tables.THROUGH if row.network == "prototypical" else ())]
    return [run.measured(row, tables.of(metric, key), f"{len(own)} characters", lambda key=key: measure(key), unit=unit,
                         notes="beside it the published critic's") for key in asked]
