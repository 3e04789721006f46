"""How a notebook is executed, watched, stopped and believed, and on which data.

The notebooks here are tiny ones that need no torch: what is tested is the machinery around them.
"""

import os
import signal
import subprocess
import sys
import threading
import time

import nbformat
import numpy as np
import psutil
import pytest
from made import LETTERS

from oneshot_lib import experiments
from oneshot_lib.experiments import experiment
from oneshot_lib.experiments.rezende.tables import TABLE3
from oneshot_lib.files import explain
from oneshot_lib.runs import folder, launch, places, records
from oneshot_lib.runs.experiment import PRESETS, Experiment
from oneshot_lib.runs.folder import claim, configuration

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


@pytest.mark.slow
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


@pytest.mark.slow
def test_an_error_in_the_notebook_is_one_line_and_exit_code_1(go):
    outcome = go("raise KeyError('two\\nlines')")
    assert (outcome.status, outcome.code) == ("failed", 1) and outcome.message.startswith("KeyError: ")
    assert "\n" not in outcome.message and not (go.out / "DONE").exists()


def test_a_spent_budget_is_success_without_done(tmp_path):
    said = {"error": "TimeSpent", "message": "at step 3; the same command goes on"}
    outcome = launch._finish(tmp_path, "quick", 1, said, None)
    assert (outcome.status, outcome.code, outcome.message) == ("stopped", 0, said["message"])
    assert not (tmp_path / "DONE").exists()


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_hung_run_is_stopped(go, monkeypatch):
    monkeypatch.setattr(launch, "limit_seconds", lambda *_: 4.0)
    with pytest.raises(OSError, match="time limit"):
        go(ENDLESS)
    assert not (go.out / "DONE").exists()


@pytest.mark.slow
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
    claim(go.out, configuration(TABLE3, "quick", 0, TABLE3.settings("quick"), "cpu", LETTERS), TABLE3)
    with launch._sole(go.out), pytest.raises(OSError, match="another `oneshot run` is at work"):
        go(SUCCESS)
    with launch._sole(go.out):
        pass  # the lock is free again


@pytest.mark.slow
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
    from oneshot_lib import files
    from oneshot_lib.data import glyphs

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
        assert chosen.dataset(preset, chosen.settings(preset, {"data": "glyphs"})).name == KINDS[name]
    assert capsys.readouterr().err == ""  # whoever asks for them need not be warned
    assert chosen.dataset("quick", chosen.settings("quick")).name == KINDS[name]
    said = capsys.readouterr().err
    assert (said.count("\n"), "there, found none" in said) == ((1, True) if nowhere else (0, False))
    with pytest.raises(ValueError, match="expected"):
        chosen.dataset("quick", chosen.settings("quick", {"data": "published"}))
    with pytest.raises(ValueError, match="unknown kind of data 'glyph'; did you mean 'glyphs'"):
        chosen.settings("quick", {"data": "glyph"})


def test_an_experiment_without_pictures_has_no_choice_of_data():
    chosen = experiments.experiment("hewitt-figure3")
    assert chosen.dataset("laptop", chosen.settings("laptop")).name
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
