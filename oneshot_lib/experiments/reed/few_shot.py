"""Few-shot models, trained and measured: what the paper's tasks are made of."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from oneshot_lib import data
from oneshot_lib.data import EvaluationEpisodes
from oneshot_lib.data.episodes import ClassRows
from oneshot_lib.evaluation import Estimate
from oneshot_lib.evaluation.classification import episode_accuracy
from oneshot_lib.experiments.hewitt.tables import ACROSS, SHOTS, WITHIN
from oneshot_lib.experiments.reed import tables
from oneshot_lib.models.attention_pixelcnn import AttentionConfig, AttentionPixelCNN
from oneshot_lib.models.few_shot import (
    ConditionalConfig,
    ConditionalPixelCNN,
    FewShotConfig,
    FewShotPixelCNN,
    UnconditionalPixelCNN,
)
from oneshot_lib.models.meta_pixelcnn import MetaConfig, MetaPixelCNN
from oneshot_lib.progress import Progress
from oneshot_lib.runs.records import Record
from oneshot_lib.runs.run import Run
from oneshot_lib.streams import stream


def network(run: Run, row: tables.FewShotRow) -> FewShotPixelCNN:
    """The row's model, untrained, as large as the settings say."""
    size = int(run.experiment.reduction(row).partition("-")[0])
    shared = {"image_size": size, "channels": run.settings.channels, "layers": run.settings.layers}
    if row.network == "unconditional":
        return UnconditionalPixelCNN(FewShotConfig(**shared))
    if row.network == "conditional":
        return ConditionalPixelCNN(ConditionalConfig(**shared, code_map=row.code_map))
    if row.network == "attention":
        return AttentionPixelCNN(AttentionConfig(**shared, reads=(max(1, run.settings.layers // 2),)))
    return MetaPixelCNN(MetaConfig(**shared))


# --- training ---------------------------------------------------------------------------------------------------------


class Tasks:
    """Support sets and targets from the drawings of one half of a split.

    `minibatch(sets, shots, targets, generator)` -> x (G r, 1, S, S), support (G, N, 1, S, S), zeros and ones: r + N
    different drawings of each of G characters, drawn as in algorithm 1 of the Homoencoder. With `mirror` the one target
    of a set is its one support drawing, left and right exchanged.
    """

    def __init__(self, images, preprocessing: str, rows: np.ndarray, mirror: bool = False):
        self.grey = images.grey(preprocessing)
        self.rows, self.mirror = ClassRows(images.class_index, rows), mirror

    def minibatch(self, sets: int, shots: int, targets: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Raises ValueError where a character has fewer drawings than targets and support together."""
        count = 1 if self.mirror else shots + targets
        drawn = self.rows.minibatch(sets, count, generator).support  # (G, N + r), all different
        pictures = self.binary(drawn.flatten(), generator).unflatten(0, drawn.shape)
        if self.mirror:
            return pictures[:, 0].flip(-1), pictures
        return pictures[:, shots:].flatten(0, 1), pictures[:, :shots].contiguous()

    def binary(self, rows: Tensor | np.ndarray, generator: torch.Generator) -> Tensor:
        """Rows of the data set as (n, 1, S, S) of zeros and ones; grey ones are binarised anew."""
        return data.binarise(self.grey[np.asarray(rows)], generator)[:, None]


def objective(tasks: Tasks, settings: tables.FewShotSettings, device: str = "cpu",
              targets: int | None = None) -> Callable:
    """log p(x | s) of a batch, as `oneshot_lib.training.train` maximises it: (model, step, generator) -> (B,), nats.

    A support set serves so many `targets`, or the settings' `elements`.
    """
    shares, targets = torch.tensor(settings.shares), targets or settings.elements
    sets = settings.images_a_step() // targets

    def maximised(model: nn.Module, step: int, generator: torch.Generator) -> Tensor:
        draw = stream(generator.initial_seed(), "batch")  # on the CPU, as the drawings are
        shots = settings.shots[int(torch.multinomial(shares, 1, generator=draw))]
        x, support = tasks.minibatch(sets, shots, targets, draw)
        return model.log_prob(x.to(device), support.to(device))

    return maximised


def trained(run: Run, row: tables.FewShotRow) -> FewShotPixelCNN:
    """The row's model, trained, and the record of its training objective, nats/dim. Raises `TimeSpent` and `Diverged`
    as `run.train` does."""
    tasks = Tasks(run.dataset, run.experiment.reduction(row), run.split.train, run.settings.mirror)
    torch.manual_seed(run.seed)
    model = network(run, row)
    maximised = objective(tasks, run.settings, run.device, run.settings.targets_of(row))
    rounds, seconds = run.settings.rounds(row), 0.0
    for k in range(rounds):
        before = model.state_dict() if k else None
        report = run.train(row, model, maximised, attempt=k if rounds > 1 else None, start_from=before,
                           metric=("train NLL", "running mean"))
        seconds += report.seconds
    run.reports[row.key] = replace(report, seconds=seconds)
    if rounds > 1:
        run.notes[row.key] = [f"{rounds} rounds of {report.steps:,} steps"]
    pixels = model.image_size**2
    run.record_value(row, "train NLL", "running mean", -report.train_bound / pixels,
                     report.train_bound_error / pixels, n=min(1000, report.steps), unit="nats/dim")
    return model


# --- measuring --------------------------------------------------------------------------------------------------------


def test_tasks(run: Run, row: tables.FewShotRow, shots: int,
               classes: int | None = None) -> Iterator[tuple[Tensor, Tensor]]:
    """Targets (k r, 1, S, S) and support (k, N, 1, S, S) of every test character, or of so many evenly spaced: k =
    `supports` random orders of its drawings, of which the first N are the support and the last r = `targets`, or as
    many as are left, the targets. All models of a run see the same, and where r are left, all shots the same targets.
    In the mirror, every drawing is the support of one target. Raises ValueError where nothing is left for a target.
    """
    settings, test = run.settings, run.split.test
    tasks = Tasks(run.dataset, run.experiment.reduction(row), test, settings.mirror)
    index = run.dataset.class_index[test]
    known = np.unique(index)
    limit = min(classes or settings.test_classes or len(known), len(known))
    for k in known[np.linspace(0, len(known) - 1, limit).round().astype(int)]:
        rows = test[index == k]
        draw = torch.Generator().manual_seed((1_000_003 * run.seed + int(k)) % 2**63)
        if settings.mirror:
            pictures = tasks.binary(rows, draw)
            yield pictures.flip(-1), pictures[:, None]
            continue
        if not 1 <= shots < len(rows):
            raise ValueError(f"shots is {shots}; expected 1 to {len(rows) - 1}, a character has {len(rows)} drawings")
        order = torch.stack([torch.randperm(len(rows), generator=draw) for _ in range(settings.supports)])
        left = min(settings.targets, len(rows) - shots)
        x, support = rows[order[:, -left:].numpy()], rows[order[:, :shots].numpy()]  # (k, r), (k, N)
        x = tasks.binary(x.reshape(-1), draw)  # drawn first: the same for any number of shots
        yield x, tasks.binary(support.reshape(-1), draw).unflatten(0, support.shape)


def cues(run: Run, row: tables.FewShotRow, count: int, shots: int = 1) -> tuple[Tensor, Tensor]:
    """One target (count, 1, S, S) and one support set (count, N, 1, S, S) of so many test characters: what samples
    are drawn from. At most as many as there are characters."""
    pairs = [(x[:1], support[:1]) for x, support in test_tasks(run, row, shots, classes=count)]
    return tuple(torch.cat(parts).to(run.device) for parts in zip(*pairs, strict=True))


@torch.no_grad()
def nll(run: Run, row: tables.FewShotRow, model: FewShotPixelCNN, shots: int) -> Estimate:
    """-log p(x | s) of test drawings given so many of the same character, nats/dim; the error is over characters."""
    model.eval()
    found, count, pixels = [], 0, model.image_size**2
    with Progress(f"{row.name}, {shots}-shot", None, "character") as progress:
        for x, support in test_tasks(run, row, shots):
            found.append(-model.log_prob(x.to(run.device), support.to(run.device)).double().mean() / pixels)
            count += len(x)
            progress.reach(len(found), lambda: f"{torch.stack(found).mean():.4f} nats/dim")
    return _mean(torch.stack(found), count)


def record_nll(run: Run, row: tables.FewShotRow, model: FewShotPixelCNN, shots: int) -> Record:
    """Measure it, or take what this folder has of it, and write its record."""
    return run.measured(row, tables.NLL.format(shots), "exact", lambda: nll(run, row, model, shots), unit="nats/dim",
                        notes="the paper's on ImageNet at 48x48" if run.settings.mirror else "")


@torch.no_grad()
def column_correlation(run: Run, row: tables.FewShotRow, model: AttentionPixelCNN) -> Estimate:
    """How the column that is read goes with the column that is written: a mean over one drawing of each of
    `columns` test characters, with its error. -1 is a head that moves right to left while the image is written left to
    right, and nan is what no drawing has ink enough for."""
    model.eval()
    found = []
    for x, support in test_tasks(run, row, 1, classes=run.settings.columns):
        reading = model.read(x[:1].to(run.device), support[:1].to(run.device))
        found.append(correlation_of_columns(reading.weights[0].cpu(), x[0, 0]))
    values = torch.stack([value for value in found if value.isfinite()] or found[:1])
    return _mean(values, int(values.isfinite().sum()))


def columns_read(weights: Tensor) -> Tensor:
    """weights (reads, heads, H, W, N, H, W) of one drawing -> the mean column that the last read looks at while each
    pixel is written, over its heads and all of the support: (H, W), float64, 0 .. W - 1."""
    seen = weights[-1].double().mean(0).sum((2, 3))  # (H, W, W)
    return seen @ torch.arange(seen.shape[-1], dtype=seen.dtype)


def correlation_of_columns(weights: Tensor, x: Tensor) -> Tensor:
    """weights (reads, heads, H, W, N, H, W) of one drawing x (H, W) -> the correlation of the written column and
    `columns_read` over the pixels with ink. 0 where the head stays within a thousandth of a column, whatever its
    rounding does; nan where the ink has fewer than three pixels or keeps to one column."""
    read, ink = columns_read(weights), x > 0
    written = torch.arange(x.shape[-1], dtype=read.dtype).expand_as(read)[ink]
    if ink.sum() < 3 or not written.std() > 0:
        return read.new_tensor(torch.nan)
    return torch.corrcoef(torch.stack([written, read[ink]]))[0, 1] if read[ink].std() > 1e-3 else read.new_zeros(())


def record_columns(run: Run, row: tables.FewShotRow, model: AttentionPixelCNN) -> Record:
    """Measure the correlation, or take what this folder has of it, and write its record."""
    return run.measured(row, tables.COLUMNS, "mean", lambda: column_correlation(run, row, model), unit="")


def accuracy(run: Run, row: tables.FewShotRow, model: FewShotPixelCNN, shots: int, within: bool = False) -> Estimate:
    """The share of queries given their class, %, over the first committed episodes of the run's split."""
    settings = run.settings
    episodes = data.evaluation_episodes(run.dataset, shots, within, split=run.experiment.split)
    episodes = EvaluationEpisodes(*(part[:, : settings.ways] for part in episodes))
    grey, draw = run.dataset.grey(run.experiment.reduction(row)), stream(run.seed, "pixels")
    found = episode_accuracy(model, episodes, lambda number: data.binarise(grey[number][None], draw),
                             limit=settings.episodes, generator=stream(run.seed, "noise", device=run.device),
                             label=f"{row.name}, {shots}-shot")
    return Estimate(100 * found.value, 100 * found.error, found.n)


def record_accuracy(run: Run, row: tables.FewShotRow, model: FewShotPixelCNN, shots: int,
                    within: bool = False) -> Record:
    """Measure the accuracy, or take what this folder has of it, and write its record."""
    return run.measured(row, SHOTS.format(shots, run.settings.ways), WITHIN if within else ACROSS,
                        lambda: accuracy(run, row, model, shots, within), unit="%")


def _mean(values: Tensor, n: int) -> Estimate:
    """Their mean with its error; the error of a single one is not known, nan."""
    error = float(values.std() / len(values) ** 0.5) if len(values) > 1 else float("nan")
    return Estimate(float(values.mean()), error, n)
