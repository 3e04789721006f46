"""What can be run, how a run's folder is kept, and how a notebook is executed, watched, stopped and believed.

The notebooks here are tiny ones that need no torch: what is tested is the machinery around them.
"""

import hashlib
import math
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace

import nbformat
import numpy as np
import psutil
import pytest

from oneshot_lib import experiments, weights
from oneshot_lib.cli import doctor
from oneshot_lib.data.files import explain
from oneshot_lib.evaluation import Estimate
from oneshot_lib.experiments import EXPERIMENTS, MORE, experiment
from oneshot_lib.experiments.rezende.tables import TABLE3, SequentialSettings
from oneshot_lib.runs import folder, launch, places, records
from oneshot_lib.runs.experiment import PRESETS, Experiment
from oneshot_lib.runs.folder import claim, configuration, differences

ROOT = Path(__file__).parents[2]
LETTERS = SimpleNamespace(
    name="letters", hash="1234", grey=lambda name: np.full((4, 28, 28), 128, np.uint8),
    split=lambda name: SimpleNamespace(train=np.array([0, 1, 2]), test=np.array([3])))  # fmt: skip


# --- presets ------------------------------------------------------------------------------------------------


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


def test_every_variety_of_attention_is_a_row():
    from oneshot_lib.attention import VARIETIES

    rows = {row.attention: row.key for row in EXPERIMENTS["rezende-attention"].rows if row.share == 1}
    assert list(rows) == list(rows.values()) == list(VARIETIES)


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


def test_how_long_a_laptop_run_takes_is_said_as_it_is():
    longest = max(e.minutes["laptop"] for e in EXPERIMENTS.values())
    assert 120 < longest <= 150
    for text in (ROOT / "README.md", ROOT / "book/how-to-use.md", experiments.__file__, doctor.__file__):
        assert "up to two and a half hours" in " ".join(Path(text).read_text(encoding="utf-8").split())


def test_the_readme_knows_what_is_here():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    papers = text.split("## Papers")[1]
    for e in EXPERIMENTS.values():
        if e.paper != "pictures":  # the book's own question
            assert f". {e.paper.capitalize()}" in papers, "a paper whose tables can be run"
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


def test_a_folder_of_before_is_this_configuration_still():
    known = """rows learning_rate schedule warmup checkpoint_every threads products training_steps batch_size
    train_images test_images test_draws iw_images iw_samples gated_share""".split()
    settings = wanted()["settings"]
    before = wanted() | {"settings": {key: settings[key] for key in known}}
    assert set(settings) - set(known) == {"data"}
    assert differences(before, wanted()) == []
    assert differences(before, wanted(overrides={"data": "glyphs"})) == ["settings.data None, not glyphs"]


# --- the folder ---------------------------------------------------------------------------------------------


def wanted(**changes) -> dict:
    chosen = experiments.experiment("rezende-table3")
    settings = chosen.settings("quick", changes.pop("overrides", {}))
    values = dict(preset="quick", seed=0, device="cpu") | changes
    return configuration(chosen, values["preset"], values["seed"], settings, values["device"], LETTERS)


def test_the_same_command_goes_on_in_its_folder(tmp_path):
    claim(tmp_path / "new/run", wanted(), TABLE3)
    before = (tmp_path / "new/run/run.json").read_bytes()
    claim(tmp_path / "new/run", wanted(), TABLE3)
    assert (tmp_path / "new/run/run.json").read_bytes() == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 3}, "seed 0, not 3"),
        ({"preset": "laptop"}, "preset quick, not laptop"),
        ({"overrides": {"batch_size": "48"}}, "settings.batch_size 8, not 48"),
        ({"device": "cuda"}, "device cpu, not cuda"),
    ],
)
def test_another_configuration_is_refused_by_its_difference(tmp_path, changes, message):
    claim(tmp_path, wanted(), TABLE3)
    before = (tmp_path / "run.json").read_bytes()
    with pytest.raises(ValueError) as error:
        claim(tmp_path, wanted(**changes), TABLE3)
    assert message in str(error.value) and (tmp_path / "run.json").read_bytes() == before


def test_other_data_is_another_run(tmp_path):
    claim(tmp_path, wanted(), TABLE3)
    other = wanted()
    other["data"]["hash"] = "5678"
    with pytest.raises(ValueError, match="data.hash 1234, not 5678"):
        claim(tmp_path, other, TABLE3)


@pytest.mark.parametrize("name", ["thesis.tex", ".git", ".bashrc"])
def test_a_folder_that_holds_something_else_is_left_alone(tmp_path, name):
    (tmp_path / name).write_text("x")
    with pytest.raises(ValueError, match=f"holds files that are no run .{name}."):
        claim(tmp_path, wanted(), TABLE3)
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_what_a_file_manager_or_a_killed_run_left_is_nobodys(tmp_path):
    for name in (".DS_Store", ".lock", ".command.lock", ".partial-x"):
        (tmp_path / name).write_text("")
    claim(tmp_path, wanted(), TABLE3)
    with pytest.raises(ValueError, match="a folder whose name is UTF-8"):
        claim(tmp_path / "run-\udcff", wanted(), TABLE3)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"configuration": 3}', "null"])
def test_a_spoiled_description_is_an_error_that_names_it(tmp_path, text):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(ValueError, match=r"run\.json: expected the description of a run"):
        claim(tmp_path, wanted(), TABLE3)


def test_a_folder_that_cannot_be_made_is_an_os_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        claim(tmp_path / "file/run", wanted(), TABLE3)


def test_differences_are_named_one_by_one():
    found, asked = {"a": 1, "b": {"c": 2, "d": [1, 2]}}, {"a": 1, "b": {"c": 3, "d": [1]}}
    assert differences(found, asked) == ["b.c 2, not 3", "b.d 1,2, not 1"]
    assert differences(found, found) == []


def test_every_commit_that_worked_on_a_run_is_noted(tmp_path, monkeypatch):
    monkeypatch.setattr(folder, "revision", lambda experiment: ("aa", False))
    claim(tmp_path, wanted(), TABLE3)
    monkeypatch.setattr(folder, "revision", lambda experiment: ("bb", False))
    assert claim(tmp_path, wanted(), TABLE3)["revisions"] == [["aa", False], ["bb", False]]


# --- a run, as its notebook sees it ---------------------------------------------------------------------------


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


# --- executing ----------------------------------------------------------------------------------------------

SUCCESS = """
import os
from pathlib import Path
Path(out, "made").write_text(f"{preset} {seed} {minutes} {overrides}")
print("step 7", file=open(os.environ["ONESHOT_LIVE"], "a"), flush=True)
"""
ENDLESS = "import os, time\nfrom pathlib import Path\nPath(out, 'pid').write_text(str(os.getpid()))\ntime.sleep(60)"
STAND_IN = """
import sys
from pathlib import Path
from types import SimpleNamespace
import numpy as np
from oneshot_lib.experiments import experiment
from oneshot_lib.runs import launch, places
from oneshot_lib.runs.experiment import Experiment
letters = SimpleNamespace(name="letters", hash="1234", grey=lambda name: np.zeros((2, 28, 28), np.uint8))
Experiment.open_data = lambda self: letters
places.notebook = lambda name: Path(sys.argv[1])
"""


def write_notebook(path, source: str):
    """A notebook of two cells: the parameters of every experiment, and `source`."""
    names = "preset, seed, out, minutes, device, overrides = None, None, None, None, None, None"
    cells = [nbformat.v4.new_code_cell(names, metadata={"tags": ["parameters"]}), nbformat.v4.new_code_cell(source)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": {
        "name": "python3", "display_name": "Python 3", "language": "python"}}), path)  # fmt: skip
    return path


@pytest.fixture
def go(tmp_path, monkeypatch):
    """`go(source)` launches a notebook made of `source` in `go.out`; what the run showed lies in `go.shown`."""
    monkeypatch.setattr(Experiment, "open_data", lambda self: LETTERS)

    def run(source: str, preset="quick", **options):
        path = write_notebook(tmp_path / "tiny.ipynb", source)
        monkeypatch.setattr(places, "notebook", lambda name: path)
        return launch.launch(experiment("rezende-table3"), preset, out=run.out, show=run.shown.append, **options)

    run.out, run.shown = tmp_path / "out", []
    return run


def test_a_run_that_succeeds_is_done_and_is_not_done_again(go):
    outcome = go(SUCCESS, seed=4, minutes=3.0, overrides={"batch_size": "16"})
    assert (outcome.status, outcome.code) == ("done", 0)
    assert (go.out / "made").read_text() == "quick 4 3.0 {'batch_size': '16'}"
    assert "step 7" in "".join(go.shown)  # what is printed while it trains
    assert (go.out / "DONE").is_file() and not (go.out / ".live").exists()
    assert "Parameters" in (go.out / "notebook.ipynb").read_text()
    (go.out / "made").unlink()
    again = go("raise RuntimeError('it ran again')", seed=4, overrides={"batch_size": "16"})
    assert (again.status, again.code) == ("done", 0) and not (go.out / "made").exists()


@pytest.mark.parametrize("name", ["rezende-table3", "hewitt-table2", "hewitt-figure3"])
def test_without_out_a_run_lands_under_its_own_name(tmp_path, monkeypatch, name):
    # the fault: a loop over the reductions (two of table 2, none of the families) that takes the name for its own
    path = write_notebook(tmp_path / "tiny.ipynb", SUCCESS)
    monkeypatch.setattr(Experiment, "open_data", lambda self: LETTERS)
    monkeypatch.setattr(places, "notebook", lambda name: path)
    monkeypatch.setattr(launch, "_execute", lambda *_: (0, {"error": None}, None))
    monkeypatch.chdir(tmp_path)
    outcome = launch.launch(experiment(name), "quick", seed=7)
    assert outcome.out == tmp_path / "runs" / f"{name}-quick-seed7" and (outcome.out / "DONE").is_file()
    assert [p.name for p in (tmp_path / "runs").iterdir()] == [outcome.out.name]


def test_an_error_in_the_notebook_is_one_line_and_exit_code_1(go):
    outcome = go("raise KeyError('two\\nlines')")
    assert (outcome.status, outcome.code) == ("failed", 1) and outcome.message.startswith("KeyError: ")
    assert "\n" not in outcome.message and not (go.out / "DONE").exists()


def test_a_spent_budget_is_success_without_done(tmp_path):
    said = {"error": "TimeSpent", "message": "at step 3; the same command goes on"}
    outcome = launch._finish(tmp_path, "quick", 1, said, None)
    assert (outcome.status, outcome.code, outcome.message) == ("stopped", 0, said["message"])
    assert not (tmp_path / "DONE").exists()


def test_a_kernel_that_dies_is_a_failure(go):
    outcome = go("import os\nos._exit(3)")
    assert (outcome.status, outcome.code) == ("failed", 1) and not (go.out / "DONE").exists()


@pytest.mark.parametrize("preset", ["quick", "laptop"])
def test_runs_that_count_leave_their_records_with_the_user(tmp_path, monkeypatch, preset):
    monkeypatch.setattr(places, "store", lambda: tmp_path / "store")
    data = {"name": "letters", "preprocessing": "28", "split": "s", "hash": "h"}
    record = records.Record(
        paper="rezende", item="table3", row="r", metric="test NLL", unit="nats", kind="bound", value=1.0, error=0.1,
        n=2, paper_value=None, preset=preset, minutes=1, device="cpu", seed=0, commit=None, dirty=None, data=data,
        floor=None, weights=None, command="oneshot run rezende-table3")  # fmt: skip
    records.write_records(tmp_path / "run/records.json", [record])
    outcome = launch._finish(tmp_path / "run", preset, 0, {"error": None}, None)
    assert outcome.records == (record,) and (tmp_path / "run/DONE").is_file()
    assert records.read_records(tmp_path / "store") == ([record] if preset == "laptop" else [])


def test_a_hung_run_is_stopped(go, monkeypatch):
    monkeypatch.setattr(launch, "limit_seconds", lambda *_: 4.0)
    with pytest.raises(OSError, match="time limit"):
        go(ENDLESS)
    assert not (go.out / "DONE").exists()


def test_a_signal_reaches_the_notebook_and_is_the_exit_code(go):
    def ask():
        until((go.out / "pid").exists)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=ask)
    thread.start()
    outcome = go(ENDLESS)
    thread.join()
    assert (outcome.status, outcome.code) == ("interrupted", 128 + signal.SIGTERM)
    assert until(lambda: not alive(int((go.out / "pid").read_text())))


def test_a_second_command_in_the_same_folder_is_refused(go):
    claim(go.out, wanted(), TABLE3)
    with launch._sole(go.out), pytest.raises(OSError, match="another `oneshot run` is at work"):
        go(SUCCESS)
    with launch._sole(go.out):
        pass  # the lock is free again


def test_kill_9_leaves_no_kernel_behind(tmp_path):
    notebook = write_notebook(tmp_path / "endless.ipynb", ENDLESS)
    code = STAND_IN + f"launch.launch(experiment('rezende-table3'), 'quick', out=Path({str(tmp_path / 'out')!r}))"
    command = subprocess.Popen([sys.executable, "-c", code, str(notebook)], start_new_session=True)
    try:
        assert until((tmp_path / "out/pid").exists)
        kernel = int((tmp_path / "out/pid").read_text())
        assert alive(kernel)
    finally:
        os.killpg(command.pid, signal.SIGKILL)
        command.wait()
    assert until(lambda: not alive(kernel), seconds=5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"minutes": 0.0}, "minutes is 0; expected a number above 0"),
        ({"minutes": float("inf")}, "minutes is inf; expected a number above 0"),
        ({"overrides": {"learning_rate": "nan"}}, "learning_rate is nan"),
        ({"overrides": {"test_images": "1"}}, "test_images is 1"),
        ({"overrides": {"bathc_size": "1"}}, "did you mean 'batch_size'"),
        ({"device": "gpu"}, "device is 'gpu'; expected cpu"),
    ],
)
def test_what_a_user_gets_wrong_is_said_before_a_kernel_starts(go, options, message):
    with pytest.raises(ValueError) as error:
        go("raise RuntimeError('a kernel started')", **options)
    assert message in str(error.value) and not go.out.exists()


def test_a_full_disk_is_said_before_a_kernel_starts(go, monkeypatch):
    monkeypatch.setattr(folder.machine, "free_disk", lambda _: 0.0)
    with pytest.raises(OSError) as error:
        go("raise RuntimeError('a kernel started')")
    assert explain(error.value).startswith("no space left in ") and "out" in explain(error.value)
    assert not go.out.exists()


def test_bad_data_is_said_before_a_kernel_starts(go, monkeypatch):
    def spoiled(self):
        raise ValueError("images_evaluation.zip: expected a whole zip, found half of one")

    monkeypatch.setattr(Experiment, "open_data", spoiled)
    with pytest.raises(ValueError, match="images_evaluation.zip"):
        go("raise RuntimeError('a kernel started')")
    assert not go.out.exists()


# --- which data a run is made on ------------------------------------------------------------------------------


@pytest.fixture(params=["set beside the data", "not set"])
def nowhere(request, tmp_path, monkeypatch):
    """No published data anywhere; Glyphs that need no rendering; what ONESHOT_DATA says where it is set, else None."""
    from oneshot_lib.data import files, glyphs

    (tmp_path / "photographs").mkdir()
    beside = request.param != "not set"
    monkeypatch.setenv("ONESHOT_DATA", str(tmp_path) if beside else "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    files.say_once.cache_clear()
    characters = np.zeros((20, 28, 28), np.uint8), {"classes": ["A/character01"], "hash": "h"}
    monkeypatch.setattr(glyphs, "load", lambda: characters)
    monkeypatch.setattr(glyphs, "load_digits", lambda: (characters[0], {"labels": "", "hash": "h", "train_rows": 9}))
    return "ONESHOT_DATA=" if beside else None


KINDS = {"rezende-table3": "glyphs", "hewitt-table2": "glyphs", "rezende-table1": "glyph-digits"}


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("preset", ["laptop", "full"])
def test_no_record_is_made_of_glyphs_by_mistake(nowhere, tmp_path, monkeypatch, name, preset):
    out = tmp_path / "out"
    monkeypatch.setattr(launch, "_execute", None)
    published = "mnist" if KINDS[name] == "glyph-digits" else "omniglot"
    for begin in (lambda name, **more: launch.launch(experiment(name), **more), experiments.start):
        with pytest.raises(ValueError) as error:  # the fault: it trains for an hour, and one column says on what
            begin(name, preset=preset, out=out)
        message = str(error.value)
        assert f"--download {published}" in message and f"-p data=glyphs` makes a {preset} run" in message
        if nowhere:
            assert message.startswith(nowhere) and f"looked for in {published}*/" in message
        assert not out.exists()


@pytest.mark.parametrize("name", KINDS)
def test_glyphs_can_be_asked_for_and_a_quick_run_takes_them(nowhere, tmp_path, capsys, name):
    chosen = experiments.experiment(name)
    for preset in PRESETS:
        assert chosen.images(preset, chosen.settings(preset, {"data": "glyphs"})).name == KINDS[name]
    assert capsys.readouterr().err == ""  # whoever asks for them need not be warned
    assert chosen.images("quick", chosen.settings("quick")).name == KINDS[name]
    said = capsys.readouterr().err
    assert (said.count("\n"), "there, found none" in said) == ((1, True) if nowhere else (0, False))
    with pytest.raises(ValueError, match="expected"):
        chosen.images("quick", chosen.settings("quick", {"data": "published"}))
    with pytest.raises(ValueError, match="unknown kind of data 'glyph'; did you mean 'glyphs'"):
        chosen.settings("quick", {"data": "glyph"})


def test_an_experiment_without_pictures_has_no_choice_of_data():
    chosen = experiments.experiment("hewitt-figure3")
    assert chosen.images("laptop", chosen.settings("laptop")).name
    with pytest.raises(ValueError, match="data is 'glyphs'; expected none: hewitt-figure3 draws its own"):
        chosen.settings("laptop", {"data": "glyphs"})


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def until(condition, seconds: float = 60.0) -> bool:
    """Whether `condition()` came true before so many seconds were over."""
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return bool(condition())
