"""The machinery behind `make book`: what runs again, what counts as a failure, and what a wheel carries."""

import json
import re
import tomllib
import zipfile

import build
import depends
import nbformat
import pairs
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = tomllib.loads((pairs.ROOT / "pyproject.toml").read_text())["project"]
LOCK = (pairs.ROOT / "requirements.lock").read_text()


@pytest.fixture
def library(tmp_path, monkeypatch):
    """A small library and a notebook that rests on half of it; the "python3" that Jupyter finds is another one's."""
    kernel = tmp_path / "jupyter/kernels/python3/kernel.json"
    kernel.parent.mkdir(parents=True)
    kernel.write_text(json.dumps({"argv": ["/bin/false"], "display_name": "Python 3", "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    for module in (pairs, depends, build):
        monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(depends, "LIBRARY", tmp_path / "oneshot_lib")
    monkeypatch.setattr(depends, "data_at_hand", lambda: "glyphs")
    monkeypatch.setattr(build, "BUILD", tmp_path / "_build")
    files = {
        "__init__.py": "",
        "pen.py": "from . import ink\n",
        "ink.py": "def draw():\n    from oneshot_lib.weights import load\n",
        "unused.py": "",
        "weights/__init__.py": "",
        "weights/model.safetensors": "weights",
    }
    for name, text in files.items():
        path = tmp_path / "oneshot_lib" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for name in ("requirements.lock", "book/pairs.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    return tmp_path


def page(folder, *sources):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    pairs.write_notebook(notebook, folder / "book/page.ipynb")
    return "book/page"


def state(name):
    depends.digest.cache_clear()
    return depends.state(name)


@pytest.mark.parametrize("file", ["pen.py", "ink.py", "weights/__init__.py", "weights/model.safetensors"])
def test_a_change_in_what_a_notebook_rests_on_changes_its_state(library, file):
    name = page(library, "from oneshot_lib.pen import stroke")
    before = state(name)
    (library / "oneshot_lib" / file).write_text("changed = 1\n")
    assert state(name) != before


def test_a_change_elsewhere_does_not(library):
    name = page(library, "%matplotlib inline\nfrom oneshot_lib.pen import stroke")
    before = state(name)
    (library / "oneshot_lib/unused.py").write_text("changed = 1\n")
    assert state(name) == before


@pytest.mark.parametrize("source", ["import oneshot_lib as o", "from importlib import import_module", "for x in"])
def test_a_notebook_whose_imports_cannot_be_told_rests_on_everything(library, source):
    assert library / "oneshot_lib/unused.py" in depends.modules(source)


def test_a_package_that_waits_for_names_is_rested_on_as_far_as_it_is_asked(library):
    models = library / "oneshot_lib/models"
    models.mkdir()
    waits = "import importlib\ndef __getattr__(name):\n    return importlib.import_module(f'.{name}', __name__)\n"
    for name, text in {"__init__": waits, "a": "from oneshot_lib import pen", "b": "", "c/__init__": ""}.items():
        (models / name).parent.mkdir(exist_ok=True)
        (models / f"{name}.py").write_text(text)
    (library / "oneshot_lib/__init__.py").write_text(waits)
    below = {models / f"{name}.py" for name in ("__init__", "a", "b", "c/__init__")}
    for source in ("from oneshot_lib.models import Model", "from oneshot_lib import models"):
        assert depends.modules(source) >= below and library / "oneshot_lib/unused.py" not in depends.modules(source)
    found = depends.modules("from oneshot_lib.models.a import Model")
    assert found & below == {models / "__init__.py", models / "a.py"} and library / "oneshot_lib/ink.py" in found
    assert library / "oneshot_lib/unused.py" in depends.modules("from oneshot_lib import load")


def test_records_count_where_they_are_read(library):
    for file in ("oneshot_lib/runs/__init__.py", f"oneshot_lib/{depends.READS_RECORDS}", "results/table/quick.json"):
        (library / file).parent.mkdir(parents=True, exist_ok=True)
        (library / file).write_text("")
    record = library / "results/table/quick.json"
    assert record in depends.files("from oneshot_lib.runs import results")
    assert record not in depends.files("from oneshot_lib import pen")


def test_records_are_read_where_it_is_said():
    assert "book_results()" in (depends.LIBRARY / depends.READS_RECORDS).read_text()


def test_outputs_of_a_notebook_do_not_change_its_state_and_its_cells_do(library):
    name = page(library, "1 + 1")
    before = state(name)
    notebook = pairs.read_notebook(pairs.notebook_of(name))
    notebook.cells[0].outputs = [nbformat.v4.new_output("stream", text="2")]
    pairs.write_notebook(notebook, pairs.notebook_of(name))
    assert state(name) == before
    assert state(page(library, "1 + 2")) != before


def executed(folder, *sources):
    one = build.Execution(page(folder, *sources), "state")
    return one, build.execute([one], 1)


def test_an_executed_notebook_leaves_its_source_alone_and_counts_as_fresh(library):
    name = page(library, "print(6 * 7)")
    before = pairs.notebook_of(name).read_text()
    one = build.Execution(name, "state")
    assert build.execute([one], 1) == [] and one.is_fresh()
    assert pairs.notebook_of(name).read_text() == before
    assert pairs.read_notebook(one.executed).cells[0].outputs[0].text == "42\n"
    assert set(json.loads(one.stamp.read_text())) == {"state", "seconds"}
    assert not build.Execution(name, "another state").is_fresh()


@pytest.mark.parametrize(
    "source, told",
    [
        ("1 / 0", "ZeroDivisionError"),
        ("import os; os._exit(0)", "DeadKernelError"),
        ("print('/' + 'home/somebody/x')", "paths of this machine"),
    ],
)
def test_what_goes_wrong_in_a_notebook_is_a_failure_that_says_what(library, source, told):
    one, failures = executed(library, source)
    assert len(failures) == 1 and told in failures[0]
    assert not one.is_fresh()


def test_a_notebook_that_takes_too_long_is_stopped_with_its_kernel(library, monkeypatch):
    monkeypatch.setattr(build, "SECONDS_A_CHAPTER", 0)
    one, failures = executed(library, "while True: pass")
    assert "was stopped" in failures[0] and one.process.poll() is not None and not one.is_fresh()


@pytest.fixture
def site_of(library, monkeypatch):
    """A book of one page, which is a notebook that was executed with other outputs than it holds."""
    for name in ("conf.py", "references.bib"):
        (library / name).write_text("")
    (library / "_toc.yml").write_text("root: book/page\n")
    name = page(library, "print(6 * 7)")
    notebook = pairs.read_notebook(pairs.notebook_of(name))
    notebook.cells[0].outputs = [nbformat.v4.new_output("stream", text="as stored")]
    pairs.write_notebook(notebook, pairs.notebook_of(name))
    monkeypatch.setattr(build, "STORED", library / "_build/stored")
    monkeypatch.setattr(build, "execute_book", lambda *_: pytest.fail("something was executed"))
    monkeypatch.setattr(build.subprocess, "run", lambda command, **_: build.Path(command[-1]).mkdir(parents=True)
                        or build.subprocess.CompletedProcess(command, 0))  # fmt: skip
    return library / "_build/stored"


def test_a_site_of_the_stored_outputs_executes_nothing_and_lies_apart(site_of, capsys):
    build.main(["--stored"])
    assert "as stored" in (site_of / "source/book/page.ipynb").read_text()
    assert (site_of / "html").is_dir() and not (site_of.parent / "html").exists()
    build.main(["--stored"])
    assert "site: unchanged" in capsys.readouterr().out


# ---------------------------------------------------------------- the package


def test_the_lock_pins_every_package_and_names_no_place_to_take_it_from():
    pins = [line for line in LOCK.splitlines() if not line.startswith("#")]
    assert [line for line in pins if not re.fullmatch(r"[A-Za-z0-9_.-]+==[0-9a-z.]+", line)] == []
    assert "torch==2.13.0" in pins and not any(line.startswith(("nvidia", "triton")) for line in pins)


def test_the_lock_satisfies_what_the_package_asks_for():
    pins = dict(line.split("==") for line in LOCK.splitlines() if "==" in line)
    pins = {canonicalize_name(name): version for name, version in pins.items()}
    extras = PROJECT["optional-dependencies"]
    for text in [*PROJECT["dependencies"], *extras["test"], *extras["site"]]:
        wanted = Requirement(text)
        assert wanted.specifier.contains(pins[canonicalize_name(wanted.name)]), text


def test_the_wheel_carries_all_that_the_library_reads(tmp_path):
    from hatchling.builders.wheel import WheelBuilder

    wheel = next(WheelBuilder(str(pairs.ROOT)).build(directory=str(tmp_path), versions=["standard"]))
    inside = set(zipfile.ZipFile(wheel).namelist())
    library = pairs.ROOT / "oneshot_lib"
    wanted = {f"oneshot_lib/{p.relative_to(library).as_posix()}" for p in library.rglob("*")
              if p.is_file() and "__pycache__" not in p.parts}  # fmt: skip
    wanted |= {f"oneshot_lib/_experiments/{p.name}" for p in (pairs.ROOT / "book/experiments").glob("*.ipynb")}
    results = pairs.ROOT / "results"
    wanted |= {f"oneshot_lib/_results/{p.relative_to(results).as_posix()}" for p in results.rglob("*.json")}
    assert wanted <= inside
    assert any(name.endswith("licenses/LICENSE") for name in inside)
