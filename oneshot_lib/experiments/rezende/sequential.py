"""Sequential models, trained and measured as Rezende 2016, section 4, has it: what tables 1 and 3 are made of."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from oneshot_lib import data
from oneshot_lib.evaluation import Estimate, bound_estimate, importance_weighted_estimate, with_replacement
from oneshot_lib.experiments.rezende import tables
from oneshot_lib.models.sequential import SequentialConfig, SequentialModel
from oneshot_lib.runs.records import Record
from oneshot_lib.runs.run import Run


def network(run: Run, row: tables.SequentialRow) -> SequentialModel:
    """The row's model, untrained."""
    torch.manual_seed(run.seed)
    return SequentialModel(SequentialConfig(canvas=row.canvas, steps=row.steps, attention=row.attention))


def objective(run: Run) -> Callable:
    """The free-energy bound of a batch that is drawn and binarised anew: (model, step, generator) -> (B,), nats."""
    draw = with_replacement(run.train_images, data.binarise, run.device)

    def bound(model: nn.Module, step: int, generator: torch.Generator) -> Tensor:
        return model.terms(draw(run.settings.batch_size, generator), generator).bound

    return bound


def trained(run: Run, row: tables.SequentialRow) -> SequentialModel:
    """The row's model, trained, and the record of its training bound: the mean of the last 1,000 updates. Raises
    `TimeSpent` and `Diverged` as `run.train` does."""
    model = network(run, row)
    report = run.train(row, model, objective(run))
    run.record_value(row, "train NLL", "running bound", -report.train_bound, report.train_bound_error,
                     n=min(1000, report.steps))
    return model


def bound(run: Run, model: nn.Module) -> Estimate:
    """The test bound over `test_draws` images drawn with replacement, nats; its price by step is with it."""
    draw = with_replacement(run.test_images, data.binarise, run.device)
    return bound_estimate(model, draw, run.settings.test_draws, generator=_generator(run))


def record_bound(run: Run, row: tables.SequentialRow, model: nn.Module) -> Record:
    """Measure the test bound, or take what this folder has of it, and write its record."""

    def test_nll() -> Estimate:
        found = bound(run, model)
        return Estimate(-found.value, found.error, found.n)

    return run.measured(row, "test NLL", "bound", test_nll)


def record_all(run: Run, row: tables.SequentialRow, model: nn.Module) -> Estimate:
    """Measure the test bound, the importance-weighted estimate and each step's divergence, and write their records;
    returns the bound."""
    run.check_time(f"the evaluation of {row.name}")
    generator, draw = _generator(run), with_replacement(run.test_images, data.binarise, run.device)
    found = bound_estimate(model, draw, run.settings.test_draws, generator=generator)
    weighted = importance_weighted_estimate(model, draw, run.settings.iw_images, run.settings.iw_samples,
                                            generator=generator)
    run.record(row, "test NLL", found)
    run.record(row, "test NLL", weighted)
    run.record_value(row, "KL of all steps", "mean", sum(found.kl_per_step), n=found.n, item="figure4",
                     series=found.kl_per_step, title="KL of each step")
    return found


def _generator(run: Run) -> torch.Generator:
    return torch.Generator(run.device).manual_seed(run.seed)
