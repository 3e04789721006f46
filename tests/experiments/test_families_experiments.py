"""Figures 3 and 9 of Hewitt 2018: numbers, sizes of the support, the best of several trainings, records of curves."""

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from oneshot_lib import experiments
from oneshot_lib.experiments.hewitt import families, numbers, sweep
from oneshot_lib.models.families_1d import FAMILIES, FamilyConfig, FamilyHomoencoder
from oneshot_lib.runs import launch
from oneshot_lib.runs.experiment import Experiment
from oneshot_lib.runs.records import read_run
from oneshot_lib.training import Diverged

NAME = "hewitt-figure3"
TINY = {"rows": "gaussian-vhe", "support_sizes": "1,3", "epochs": 4, "annealing_epochs": 1, "batch_size": 1_000,
        "supports": 2, "draws": 20}  # fmt: skip


def settings(**overrides):
    return experiments.experiment(NAME).settings("quick", overrides)


def row(key="gaussian-vhe"):
    return next(row for row in families.ROWS if row.key == key)


# --- settings -------------------------------------------------------------------------------------------------


def test_full_is_the_papers_250_epochs_and_the_best_of_three():
    full = experiments.experiment(NAME).settings("full")
    assert (full.steps(row()), full.in_steps(full.annealing_epochs), full.runs) == (25_000, 5_000, 3)
    assert len(full.rows) == 20 and full.draws == 200
    laptop = experiments.experiment(NAME).settings("laptop")
    assert laptop.rows == full.rows and set(laptop.support_sizes) <= set(full.support_sizes)
    assert laptop.annealing_epochs / laptop.epochs == full.annealing_epochs / full.epochs


def test_sizes_come_from_a_command_line_as_numbers():
    assert settings(support_sizes="1,20").support_sizes == settings(support_sizes=[1, 20]).support_sizes == (1, 20)


@pytest.mark.parametrize("wrong", [
    {"support_sizes": "0"}, {"support_sizes": "1,100"}, {"support_sizes": "2,2"}, {"support_sizes": 5},
    {"support_sizes": "one"}, {"support_sizes": []}, {"runs": 0}, {"epochs": 0}, {"annealing_epochs": -1},
    {"annealed_runs": -1},
])  # fmt: skip
def test_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} is .*expected"):
        settings(**wrong)


# --- the numbers ----------------------------------------------------------------------------------------------


def test_the_numbers_are_the_same_every_time_and_the_test_classes_are_others():
    one, two = numbers.FamilyClasses(100, 100), numbers.FamilyClasses(100, 100)
    assert one.hash == two.hash and len(one.hash) == 64
    for name in FAMILIES:
        assert one.train[name].shape == one.test[name].shape == (100, 100)
        assert torch.equal(one.train[name], two.train[name]) and not torch.equal(one.train[name], one.test[name])


def test_another_number_is_another_hash(monkeypatch):
    before = numbers.FamilyClasses(100, 100).hash
    gamma = FAMILIES["gamma"]
    other = replace(gamma, draw=lambda p, generator: gamma.draw(p, generator) + 1e-3)
    monkeypatch.setitem(FAMILIES, "gamma", other)
    assert numbers.FamilyClasses(100, 100).hash != before


def test_numbers_need_no_pictures_to_start_a_run(tmp_path, monkeypatch):
    monkeypatch.setattr(launch, "_execute", lambda *_: (0, {"error": None, "message": ""}, None))
    assert launch.launch(experiments.experiment(NAME), "quick", out=tmp_path / "run").status == "done"
    pictures = [e.name for e in experiments.EXPERIMENTS.values() if e.pictures]
    assert NAME not in pictures and len(pictures) == len(experiments.EXPERIMENTS) - 1


# --- training -------------------------------------------------------------------------------------------------


class Trainings:
    """A run whose trainings end in the bounds given by `bounds[size]`, None for one that diverges."""

    device, seed = "cpu", 3

    def __init__(self, bounds):
        self.bounds, self.notes, self.reports, self.seen = bounds, {}, {}, []
        self.settings = settings(support_sizes=list(bounds), runs=3)
        self.dataset = SimpleNamespace(train={"gaussian": torch.zeros(4, 60)})

    def train(self, row, model, objective, *, attempt, metric):
        size = int(row.key.removeprefix("gaussian-vhe/support"))
        bound = self.bounds[size][attempt]
        self.seen.append((size, attempt, model.decoder.weight.detach().clone()))
        if bound is None:
            raise Diverged("step 3")
        model.encoder.bias.data.fill_(100 * size + attempt)
        return sweep_report(train_bound=bound, seconds=10.0)


def sweep_report(**values):
    from oneshot_lib.training import TrainingReport

    known = dict(finished=True, step=1, steps=1, train_bound_error=0.1, skipped=0, returned=0, weights=None)
    return TrainingReport(**{**known, **values})


def test_of_several_trainings_the_best_objective_counts_and_one_that_diverged_does_not():
    run = Trainings({1: (-3.0, -1.0, -2.0), 5: (None, -9.0, -7.0)})
    models = sweep.trained(run, row())
    assert [models[size].encoder.bias[0].item() for size in (1, 5)] == [101, 502]
    assert run.reports["gaussian-vhe"].train_bound == -1.0  # that of the first size, whose value a record has
    assert run.reports["gaussian-vhe"].seconds == 50  # and the time of everything in its series
    assert any("training 1 with a support of 5 diverged" in note for note in run.notes["gaussian-vhe"])
    starts = [w for _, _, w in run.seen]
    assert not torch.equal(starts[0], starts[1])  # every training starts elsewhere,
    assert torch.equal(starts[0], starts[3])  # and those of another size from the same places


def test_the_first_trainings_are_annealed_and_the_others_are_not(monkeypatch):
    seen = []
    monkeypatch.setattr(sweep, "set_objective", lambda *_, anneal, **__: seen.append(anneal))
    run = Trainings({1: (-3.0, -1.0, -2.0)})
    run.settings = replace(run.settings, annealed_runs=2, annealing_epochs=5, batch_size=100)
    sweep.trained(run, row())
    assert seen == [500, 500, 0]


def test_where_every_training_diverged_there_is_no_model():
    run = Trainings({1: (None, None, None), 5: (-9.0, -8.0, -7.0)})
    models = sweep.trained(run, row())
    assert models[1] is None and models[5] is not None and "gaussian-vhe" not in run.reports


def test_another_device_is_refused():
    run = Trainings({1: (0.0, 0.0, 0.0)})
    run.device = "cuda"
    with pytest.raises(ValueError, match="device is 'cuda'; expected cpu"):
        sweep.trained(run, row())


# --- measuring ------------------------------------------------------------------------------------------------


def measured(model, family, size=1, **overrides):
    run = SimpleNamespace(seed=0, settings=settings(**overrides), dataset=numbers.FamilyClasses(100, 100))
    return sweep.measure(run, row(f"{family}-vhe"), model, size), run


def test_a_silent_latent_is_chance_and_its_losses_are_those_of_one_distribution():
    model = FamilyHomoencoder(FamilyConfig("gaussian"))
    for parameter in model.parameters():
        parameter.data.zero_()
    (kl, nll, error, joint), run = measured(model, "gaussian")
    x = run.dataset.test["gaussian"]
    one = -FAMILIES["gaussian"].log_prob(x, torch.zeros(2)).mean().item()
    assert kl.value == 0 and error.value == 50 and error.error == 0
    assert joint.value == pytest.approx(one, abs=1e-4) and nll.value == pytest.approx(one, abs=0.01)
    classes = -FAMILIES["gaussian"].log_prob(x, torch.zeros(2)).mean(1)
    assert joint.error == pytest.approx((classes.std() / 10).item(), rel=0.6)  # of classes, not of draws: far above 0
    assert joint.value > sweep.truth(run, "gaussian") + 0.1


def test_a_latent_that_knows_its_class_is_nearly_the_truth():
    model = FamilyHomoencoder(FamilyConfig("gaussian"))
    model.decoder.weight.data, model.decoder.bias.data = torch.tensor([[1.0], [0.0]]), torch.zeros(2)
    model.encoder.weight.data = torch.tensor([[0.99], [0.0]])
    model.encoder.bias.data = torch.tensor([0.0, math.log(0.1)])
    (kl, _, error, joint), run = measured(model, "gaussian", size=50, draws=200)
    assert kl.value > 1 and error.value < 35
    truth = sweep.truth(run, "gaussian")
    assert truth - 1e-3 < joint.value < truth + 0.01


def test_every_model_is_shown_the_same_supports():
    model = FamilyHomoencoder(FamilyConfig("gamma"), torch.Generator().manual_seed(1))
    assert measured(model, "gamma")[0] == measured(model, "gamma")[0]
    assert measured(model, "gamma", size=3)[0][0] != measured(model, "gamma")[0][0]


# --- records --------------------------------------------------------------------------------------------------


def test_a_row_leaves_four_records_with_a_value_at_the_first_size_and_a_series_over_all(tmp_path, monkeypatch):
    out = str(tmp_path / "run")
    run = experiments.start(NAME, out=out, overrides=TINY)
    records = sweep.record(run, run.rows[0], sweep.trained(run, run.rows[0]))
    assert {r.id for r in records} == {r.id for r in read_run(tmp_path / "run/records.json")}
    assert [r.metric for r in records] == [metric.format(1) for metric in families.METRICS]
    assert [(r.unit, r.kind, r.k) for r in records] == [("nats", "mean", None), ("nats", "mean", None),
                                                        ("%", "mean", None), ("nats", "iw", 20)]  # fmt: skip
    for r in records:
        assert [size for size, _ in r.series] == [1, 3] and r.series[0][1] == r.value and r.error > 0 and r.n == 100
        assert (r.paper_value, r.floor, r.row, r.item) == (None, None, "Gaussian, VHE", "figure3")
        assert r.data["name"] == "families-1d" and r.data["preprocessing"] == "none" and len(r.data["hash"]) == 64
        assert len(r.weights) == 64 and not r.metric.startswith("test")  # the front page's table is for those
    assert "-p support_sizes=1,3" in records[0].command
    options = dict(o.split("=") for o in records[0].command.split() if "=" in o)
    assert experiments.experiment(NAME).settings("quick", options) == run.settings

    def never(*_, **__):
        raise AssertionError("trained again")

    monkeypatch.setattr(sweep, "set_objective", lambda *_, **__: never)
    again = experiments.start(NAME, out=out, overrides=TINY)
    same = sweep.record(again, again.rows[0], sweep.trained(again, again.rows[0]))
    assert [(r.id, r.value, r.series, r.weights) for r in same] == [(r.id, r.value, r.series, r.weights)
                                                                  for r in records]  # fmt: skip


def test_a_size_without_a_model_is_left_out_and_a_first_size_without_one_has_failed(tmp_path):
    run = experiments.start(NAME, out=str(tmp_path / "run"), overrides=TINY)
    model = FamilyHomoencoder(FamilyConfig("gaussian"))
    for record in sweep.record(run, run.rows[0], {1: model, 3: None}):
        assert record.value is not None and [size for size, _ in record.series] == [1]
    broken = FamilyHomoencoder(FamilyConfig("gaussian"))
    broken.decoder.weight.data.fill_(math.nan)
    for absent in (None, broken):
        for record in sweep.record(run, run.rows[0], {1: absent, 3: model}):
            assert record.value is None and [size for size, _ in record.series] == [3]
            assert "no training ended in finite scores" in record.notes and record.shown() == "failed"


def test_the_machinery_of_pictures_is_as_it_was():
    assert all(isinstance(e, Experiment) and e.pictures == (e.data in ("characters", "digits"))
               for e in experiments.EXPERIMENTS.values())  # fmt: skip
