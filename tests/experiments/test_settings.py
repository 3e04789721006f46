"""Every number that a user may set has a range, and one outside of it is refused by its name before anything starts."""

from dataclasses import fields
from types import SimpleNamespace

import numpy as np
import pytest

from oneshot_lib import experiments
from oneshot_lib.experiments import EXPERIMENTS

NOT_BELOW_ZERO = {"warmup", "kl_annealing", "sample_dropout", "probes", "annealing_epochs", "annealed_runs", "shares"}


def numeric_settings():
    """(experiment, setting, what kind of number, whether it is a list of them) for all that there are."""
    for e in EXPERIMENTS.values():
        for f in fields(e.presets["quick"]):
            text = getattr(f.type, "__name__", "") if isinstance(f.type, type) else ""
            text = text if text in ("int", "float") else str(f.type)
            kind = "float" if "float" in text else "int" if "int" in text else None
            if kind:
                yield pytest.param(e, f.name, kind, "tuple" in text, id=f"{e.name}-{f.name}")


@pytest.mark.parametrize(("e", "name", "kind", "several"), list(numeric_settings()))
def test_a_number_that_cannot_be_is_refused_by_its_name(e, name, kind, several):
    usual = getattr(e.presets["quick"], name)
    wrong = ["nan", "inf", "-inf", "-1"]
    wrong += ["0"] * (name not in NOT_BELOW_ZERO) + ["1.5"] * (kind == "int")
    for text in wrong:
        as_given = text if not several else ",".join([text, *map(str, usual[1:])])
        as_number = float(text) if kind == "float" or text in ("nan", "inf", "-inf", "1.5") else int(text)
        for value in (as_given, (as_number, *usual[1:]) if several else as_number):
            with pytest.raises(ValueError) as error:
                e.settings("quick", {name: value})
            assert str(error.value).startswith(f"{name} is ") and "expected" in str(error.value), error.value
            assert text.lstrip("-") in str(error.value)
    if name in NOT_BELOW_ZERO and not several:
        assert getattr(e.settings("quick", {name: "0"}), name) == 0


def test_there_are_numeric_settings():
    names = {f"{p.values[0].name}.{p.values[1]}" for p in numeric_settings()}
    assert len(names) > 100 and {"rezende-table3.learning_rate", "hewitt-table2.most", "reed-omniglot.shares",
                                 "rezende-table1.test_images", "boutin-plane.characters"} <= names  # fmt: skip


@pytest.mark.parametrize(
    ("name", "override", "message"),
    [
        ("rezende-table3", {"test_images": "1"}, "test_images is 1; expected at least 24"),
        ("rezende-table3", {"learning_rate": "nan"}, "learning_rate is nan; expected a number above 0"),
        ("rezende-table3", {"iw_samples": "1"}, "iw_samples is 1; expected at least 2"),
        ("rezende-table3", {"schedule": "linear"}, "unknown schedule 'linear'"),
        ("rezende-table3", {"batch_size": "99999999999999999999"}, "expected 1 to 1,000,000,000"),
        ("rezende-table3", {"batch_size": True}, "batch_size is True; expected a whole number"),
        ("hewitt-table2", {"support_size": "21"}, "support_size is 21; expected 1 to 20"),
        ("hewitt-table2", {"sets": "most"}, "unknown kind of sets 'most'"),
        ("hewitt-table1", {"elements": "6"}, "elements is 6; expected 1 to smallest_support, 5"),
        ("reed-omniglot", {"shots": "19,2"}, "shots is (19, 2); expected numbers of at most 12"),
        ("reed-omniglot", {"mirror": "yes"}, "unknown value of mirror 'yes'"),
        ("reed-classification", {"asked": "6"}, "asked is (6,); expected numbers of 1 to 5"),
        ("boutin-critics", {"queries": "20"}, "queries is 20; expected 1 to 19"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(name, override, message):
    with pytest.raises(ValueError) as error:
        experiments.experiment(name).settings("quick", override)
    assert message in str(error.value)


@pytest.mark.parametrize("name", ["boutin-critics", "boutin-plane"])
def test_settings_that_ask_for_more_than_the_data_have_are_refused(name, monkeypatch):
    chosen = experiments.experiment(name)
    images = SimpleNamespace(class_index=np.array([0, 0, 1, 1]), split=lambda name: SimpleNamespace(train=np.arange(4)))
    monkeypatch.setattr("oneshot_lib.data.exemplars", lambda images: np.array([0, 2]))
    chosen.settings("quick", {"ways": 2}).check_run(images, chosen.split)
    with pytest.raises(ValueError, match="ways is 3; expected 2 to 2"):
        chosen.settings("quick", {"ways": 3}).check_run(images, chosen.split)


def test_the_failure_curves_take_a_probe():
    chosen = experiments.experiment("hewitt-table1")
    chosen.settings("quick").check_run(None, chosen.split)
    with pytest.raises(ValueError, match="probes is 0; expected at least 1"):
        chosen.settings("quick", {"probes": "0"}).check_run(None, chosen.split)


@pytest.mark.parametrize("name", ["reed-omniglot", "reed-inversion", "reed-classification"])
def test_batch_norm_takes_two_sets(name):
    chosen = experiments.experiment(name)
    chosen.settings("quick").check_run(None, chosen.split)
    with pytest.raises(ValueError, match="batch_groups is 1; expected at least 2"):
        chosen.settings("quick", {"batch_groups": 1, "meta_elements": 1}).check_run(None, chosen.split)


def test_a_small_share_of_few_steps_is_one_step():
    settings = experiments.experiment("rezende-table3").settings("laptop", {"training_steps": 1})
    assert [settings.steps(row) for row in experiments.experiment("rezende-table3").chosen(settings)] == [1, 1]
