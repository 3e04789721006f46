"""Models of five families of numbers, trained at every |D|: what figures 3 and 9 of Hewitt 2018 are made of."""

import math
from dataclasses import replace

import torch

from oneshot_lib.evaluation import Estimate
from oneshot_lib.experiments.hewitt.families import CLASSES, ELEMENTS, JOINT, KL, METRICS, FamilyRow
from oneshot_lib.models.families_1d import FAMILIES, FamilyConfig, FamilyHomoencoder, scores, set_objective
from oneshot_lib.runs.records import Record
from oneshot_lib.runs.run import Run
from oneshot_lib.streams import stream
from oneshot_lib.training import Diverged

BLOCKS = 10  # of classes: the standard errors are those of a mean over blocks


def trained(run: Run, row: FamilyRow) -> dict[int, FamilyHomoencoder | None]:
    """|D| -> the model trained with it, the best of the settings' `runs` by training objective.

    None where each of them diverged. Raises `TimeSpent` where the budget is spent first, and ValueError on another
    device than a CPU.
    """
    if run.device != "cpu":
        raise ValueError(f"device is {run.device!r}; expected cpu: these models have a dozen weights")
    settings, x = run.settings, run.dataset.train[row.family]
    models, reports, notes = {}, {}, []
    for size in settings.support_sizes:
        here, found = replace(row, key=f"{row.key}/support{size}"), []
        for attempt in range(settings.runs):
            epochs = settings.annealing_epochs if attempt < settings.annealed_runs else 0
            maximised = set_objective(x, size, row.objective, batch_size=settings.batch_size,
                                      anneal=settings.in_steps(epochs))
            model = FamilyHomoencoder(FamilyConfig(row.family), stream(run.seed, "weights", attempt))
            try:
                metric = (KL.format(settings.support_sizes[0]), "mean")
                report = run.train(here, model, maximised, attempt=attempt, metric=metric)
                found.append((report, model))
            except Diverged:
                notes.append(f"training {attempt + 1} with a support of {size} diverged")
        best, models[size] = max(found, key=lambda pair: pair[0].train_bound, default=(None, None))
        reports |= {size: (best, sum(report.seconds for report, _ in found))} if found else {}
    run.notes[row.key] = [f"the best of {settings.runs} trainings by training objective"] * (settings.runs > 1) + notes
    if settings.support_sizes[0] in reports:
        best = reports[settings.support_sizes[0]][0]
        run.reports[row.key] = replace(best, seconds=sum(seconds for _, seconds in reports.values()))
    return models


def measure(run: Run, row: FamilyRow, model: FamilyHomoencoder, support_size: int) -> list[Estimate]:
    """The four rows of the figures on new classes, in the order of `METRICS`: nats, nats, %, nats.

    Every model is given the same D, rivals and draws. The errors are those over blocks of classes.
    """
    settings, generator = run.settings, stream(run.seed, "scores")
    found = torch.tensor([
        [scores(model, block, support_size, generator, draws=settings.draws) for _ in range(settings.supports)]
        for block in run.dataset.test[row.family].chunk(BLOCKS)
    ], dtype=torch.float64).mean(1)  # (blocks, 4)
    found[:, 2] *= 100
    return [Estimate(x.mean().item(), (x.std() / BLOCKS**0.5).item(), CLASSES) for x in found.T]


def record(run: Run, row: FamilyRow, models: dict[int, FamilyHomoencoder | None]) -> list[Record]:
    """Measure a row's models and write its four records: the value at the first |D|, a series over all."""
    run.check_time(f"the scores of {row.name}")
    first, settings = run.settings.support_sizes[0], run.settings
    found = {size: measure(run, row, model, size) for size, model in models.items() if model is not None}
    found = {size: each for size, each in found.items() if all(math.isfinite(e.value) for e in each)}
    records = []
    for k, metric in enumerate(METRICS):
        series = [[size, round(estimates[k].value, 5)] for size, estimates in found.items()]
        at = found[first][k] if first in found else Estimate(None, None, None)
        kind = {"kind": "iw", "k": settings.draws} if metric == JOINT else {"kind": "mean"}
        records.append(run.record_value(
            row, metric.format(first), value=at.value, error=at.error, n=at.n, unit="%" if k == 2 else "nats",
            series=series, notes="" if first in found else "failed: no training ended in finite scores", **kind))
    return records


def truth(run: Run, family: str, points: int = 501) -> float:
    """The NLL of the test classes under the prior that they come from, nats an element: no model gets below on
    average."""
    return -FAMILIES[family].log_marginal(run.dataset.test[family], points).mean().item() / ELEMENTS
