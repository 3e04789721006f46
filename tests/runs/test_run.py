"""A run as its notebook sees it."""

import hashlib

import pytest
from made import LETTERS

from oneshot_lib import experiments
from oneshot_lib.evaluation import Estimate
from oneshot_lib.runs import records
from oneshot_lib.runs.experiment import Experiment


@pytest.fixture
def begin(tmp_path, monkeypatch):
    """`begin(**parameters)` starts a run of three steps on four grey squares, and gives it with a model to train."""
    import torch

    from oneshot_lib.runs import run as notebook_side

    class Slope(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.slope = torch.nn.Parameter(torch.zeros(1))

    def objective(model, step, generator):
        return torch.randn(4, generator=generator) - (model.slope - 1).square()

    def run(**parameters):
        overrides = {"rows": ["st-additive-t20"], "training_steps": 3, "checkpoint_every": 1}
        found = experiments.start("rezende-table3", out=str(tmp_path / "run"), **{"overrides": overrides} | parameters)
        return found, found.rows[0], Slope(), parameters.get("objective", objective)

    monkeypatch.setattr(Experiment, "open_data", lambda self: LETTERS)
    yield run
    for stack in notebook_side._held.values():
        stack.close()
    notebook_side._held.clear()


def test_a_record_says_everything_about_its_number(begin, tmp_path):
    run, row, model, objective = begin(seed=5)
    report = run.train(row, model, objective)
    record = run.record(row, "test NLL", Estimate(value=-90.0, error=0.5, n=24_000))
    assert (record.value, record.error, record.n, record.kind) == (90.0, 0.5, 24_000, "bound")  # an NLL, positive
    assert (record.paper, record.item, record.paper_value, record.seed) == ("rezende", "table3", 96.5, 5)
    assert record.data == {"name": "letters", "preprocessing": "28-area", "split": "random-drawings", "hash": "1234"}
    assert record.floor == pytest.approx(28 * 28 * 0.6931, rel=1e-3)  # grey squares: every pixel is a fair coin
    assert record.weights == hashlib.sha256(report.weights.read_bytes()).hexdigest()
    weighted = run.record(row, "test NLL", Estimate(value=-88.0, error=0.5, n=100, k=50))
    assert (weighted.kind, weighted.k, weighted.paper_value) == ("iw", 50, None)
    kl = run.record_value(row, "KL of all steps", "mean", 20.0, item="figure4", series=(12.0, 8.0))
    assert (kl.item, kl.floor, kl.value) == ("figure4", None, 20.0)
    assert len(records.read_run(tmp_path / "run/records.json")) == 3
    words = record.command.split()
    assert words[:5] == ["oneshot", "run", "rezende-table3", "--preset", "quick"]
    asked = dict(w.split("=") for w in words if "=" in w)
    assert experiments.experiment("rezende-table3").settings("quick", asked) == run.settings  # it makes the run again


def test_a_spent_budget_stops_a_run_and_the_same_call_goes_on(begin):
    from oneshot_lib.runs.run import TimeSpent

    run, row, model, objective = begin(minutes=1e-9)
    with pytest.raises(TimeSpent, match="the same command goes on"):
        run.train(row, model, objective)
    with pytest.raises(TimeSpent, match="before the evaluation"):
        run.check_time("the evaluation")
    run, row, model, objective = begin()
    assert run.train(row, model, objective).finished
    assert run.minutes_left is None


def test_a_run_that_diverges_leaves_a_record_of_it(begin, tmp_path):
    from oneshot_lib.training import Diverged

    run, row, model, _ = begin(overrides={"rows": ["st-additive-t20"], "training_steps": 200, "checkpoint_every": 50})
    with pytest.raises(Diverged):
        run.train(row, model, lambda model, step, generator: model.slope.expand(2) * float("nan"))
    (record,) = records.read_run(tmp_path / "run/records.json")
    assert record.value is None and record.notes.startswith("failed:") and record.shown() == "failed"


def test_without_a_folder_a_run_is_temporary(begin, tmp_path, monkeypatch):
    from oneshot_lib.runs.run import sweep_temporary
    from oneshot_lib.training import run_lock

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    first, second = experiments.start("rezende-table3"), experiments.start("rezende-table3")
    assert first.out != second.out and first.out.is_dir() and second.out.parent == tmp_path
    for name in ("oneshot-run-dead", "oneshot-run-alive", "else"):
        (tmp_path / name).mkdir()
    with run_lock(tmp_path / "oneshot-run-alive"):
        sweep_temporary(age=-1)
    left = {p.name for p in tmp_path.iterdir()}
    assert left == {first.out.name, second.out.name, "oneshot-run-alive", "else"}
