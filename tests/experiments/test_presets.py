"""What can be run, and how much of it at every preset."""

import math
import re
import shlex
from dataclasses import fields
from pathlib import Path

import pytest

from oneshot_lib import experiments, weights
from oneshot_lib.experiments import EXPERIMENTS, MORE
from oneshot_lib.experiments.rezende.tables import SequentialSettings
from oneshot_lib.runs import places, records
from oneshot_lib.runs.experiment import PRESETS

ROOT = Path(__file__).parents[2]


def test_every_experiment_has_every_preset_and_a_notebook():
    for e in EXPERIMENTS.values():
        assert set(e.presets) == set(e.minutes) == set(PRESETS)
        assert e.name == f"{e.paper}-{e.item}"
        assert places.notebook(e.name).stem == e.name
        for preset in PRESETS:
            assert [row.key for row in e.chosen(e.presets[preset])] == list(e.presets[preset].rows)
        longer = {"hewitt-table1": 90, "hewitt-table2": 120,  # eight models; one trained as long as one may wait
                  "reed-omniglot": 140, "reed-classification": 90,  # four models and three
                  "rezende-table1": 70, "rezende-attention": 100}  # two models; every variety of attention
        assert e.minutes["laptop"] <= longer.get(e.name, 60)


def test_a_variety_of_attention_that_has_a_row_exists():
    from oneshot_lib.attention import VARIETIES

    rows = {row.attention: row.key for row in EXPERIMENTS["rezende-attention"].rows if row.share == 1}
    assert list(rows) == list(rows.values()) and len(rows) >= 12 and rows.keys() <= VARIETIES.keys()


@pytest.mark.parametrize("preset", ["laptop", "full"])
def test_the_papers_protocol_is_kept_where_numbers_count(preset):
    for e in EXPERIMENTS.values():
        s = e.presets[preset]
        if e.paper == "rezende":
            assert s.test_draws == 24_000 and s.train_images is None and s.test_images is None
        elif e.paper not in ("boutin", "pictures") and hasattr(s, "ways"):
            assert s.ways == 20 and (preset == "laptop" or s.episodes == 200)
            if e.paper == "hewitt" and preset == "full":
                assert (s.outer, s.inner) == (20, 10)


def amount(value) -> float:
    """How much of a setting there is: None is all, of several things their number."""
    return math.inf if value is None else len(value) if isinstance(value, tuple) else float(value)


def test_a_smaller_preset_has_less_of_everything_but_what_is_named():
    more = set()
    for e in EXPERIMENTS.values():
        full = vars(e.presets["full"])
        for preset in ("quick", "laptop"):
            settings = vars(e.presets[preset])
            more |= {key for key, value in settings.items()
                     if key != "data" and not isinstance(value, (str, bool))
                     and amount(value) > amount(full[key])}  # fmt: skip
    assert more == MORE


def test_every_setting_is_explained_and_no_result_is_typed_into_the_library():
    plain = {"learning_rate", "schedule", "warmup", "checkpoint_every", "batch_size"}  # those of training
    for e in EXPERIMENTS.values():
        kind = type(e.presets["full"])
        said = " ".join(cls.__doc__ for cls in kind.__mro__[:-1])
        unsaid = {f.name for f in fields(kind) if f"`{f.name}`" not in said and not f.name.endswith("_steps")} - plain
        assert not unsaid, e.name
    for path in (ROOT / "oneshot_lib").rglob("*.py"):  # the fault: a number that no record holds
        assert not re.search(r"\d\.\d+ nats", path.read_text(encoding="utf-8")), path.name


def test_how_long_a_preset_takes_is_said_in_one_place():
    """`Experiment.minutes`, and what `oneshot list` and `oneshot doctor` make of it."""
    longest = max(e.minutes["laptop"] for e in EXPERIMENTS.values())
    assert 120 < longest <= 150
    pages = [ROOT / "README.md", *(ROOT / "book").rglob("*.md"), *(ROOT / "oneshot_lib").rglob("*.py")]
    for path in pages:  # the fault: an hour here, one or two there, two and a half on a third page
        said = [line for line in path.read_text(encoding="utf-8").splitlines()
                if re.search(r"\b(laptop|full)\b.*\b(hours?|days?|night|minutes (on|of))\b", line)]
        assert not said, f"{path.name}: {said}"


def test_the_readme_is_short_and_names_the_papers_whose_tables_can_be_run():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.encode()) <= 6_000
    papers = text.split("## Papers")[1]
    assert all(e.paper.capitalize() in papers for e in EXPERIMENTS.values() if e.paper != "pictures")  # the book's own
    assert not re.search(r"come next|will come|coming soon|not yet here", text)


def test_a_manifest_counts_every_update_of_its_weights():
    manifest, kept = weights.manifest(), {r.id: r for r in records.read_records(ROOT / "results")}
    for name, entry in manifest.items():
        record = kept[entry["record"]]
        words = shlex.split(record.command)
        e = EXPERIMENTS[words[2]]
        settings = e.settings(record.preset, dict(word.split("=") for word in words if "=" in word))
        (row,) = [row for row in e.rows if row.name == record.row]
        own = settings.steps(row) * (settings.rounds(row) if hasattr(settings, "rounds") else 1)
        before = entry.get("started_from", {"steps_trained": 0})
        assert entry["steps_trained"] == before["steps_trained"] + own, name
        if before["steps_trained"]:
            known = manifest[before["model"]]
            assert (before["data"], before["steps_trained"]) == (known["data"], known["steps_trained"])
        # the fault: the record says that the row went on from another, and the manifest has its own updates only
        assert ("started_from" in entry) == ("trained on from" in record.notes), name


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ({"batchsize": 3}, "unknown setting 'batchsize'; did you mean 'batch_size'?"),
        ({"batch_size": "many"}, "batch_size is 'many'; expected a whole number"),
        ({"learning_rate": "fast"}, "learning_rate is 'fast'; expected a number"),
        ({"rows": "st-aditive-t20"}, "unknown row 'st-aditive-t20'; did you mean 'st-additive-t20'?"),
    ],
)
def test_a_wrong_setting_is_refused_with_the_nearest(override, message):
    with pytest.raises(ValueError) as error:
        experiments.experiment("rezende-table3").settings("quick", override)
    assert message in str(error.value)


def test_a_wrong_name_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'rezende-table3'"):
        experiments.experiment("rezende-tabel3")
    with pytest.raises(ValueError, match="unknown preset 'quik'; did you mean 'quick'"):
        experiments.experiment("rezende-table3").settings("quik")
    with pytest.raises(ValueError, match="expected one of a, b"):
        experiments.check("zzz", ["b", "a"], "letter")


def test_settings_from_a_command_line_have_their_types():
    chosen = experiments.experiment("rezende-table3")
    text = {"training_steps": "2_000", "learning_rate": "1e-4", "train_images": "none", "rows": "st-cgru-t20"}
    s = chosen.settings("quick", text)
    assert (s.training_steps, s.learning_rate, s.train_images, s.rows) == (2000, 1e-4, None, ("st-cgru-t20",))
    same = {"training_steps": 2_000, "learning_rate": 1e-4, "train_images": None, "rows": ["st-cgru-t20"]}
    assert chosen.settings("quick", same) == s
    assert {f.name for f in fields(SequentialSettings)} == set(vars(s))


def test_the_settings_of_an_experiment_are_its_own():
    settings = experiments.experiment("hewitt-table2").settings
    s = settings("quick", {"start_from": "none", "smallest_support": "2", "sample_dropout": "0.5", "sets": "all"})
    assert (s.start_from, s.smallest_support, s.sample_dropout, s.sets) == (None, 2, 0.5, "all")
    with pytest.raises(ValueError, match="unknown setting 'gated_share'"):
        settings("quick", {"gated_share": 0.5})
    for wrong in ({"smallest_support": 6}, {"sample_dropout": "1"}, {"ways": 21}, {"products": "int8"}):
        with pytest.raises(ValueError, match="expected"):
            settings("quick", wrong)
