"""Every command that the README, how-to-use.md and the help print is run as it is printed, in an empty folder.

What an example reads (symbol.png, letters/) is drawn there first. Two things are not done: the notebook of an
experiment is not executed (`test_cli` does that, with the quick preset and without --out), and nothing is downloaded.
"""

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image, ImageDraw

import oneshot_lib as oneshot
from oneshot_lib.cli import main
from oneshot_lib.cli.commands import app
from oneshot_lib.runs import launch, places
from oneshot_lib.runs.experiment import Experiment

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", "book/how-to-use.md", "CONTRIBUTING.md")
SHAPES = {"symbol": (8, 8, 20, 8, 20, 20), "letter": (6, 6, 14, 22, 22, 6), "other": (8, 20, 20, 20)}
DRAWN = {"symbol.png": "symbol", "letter.png": "letter", "query.png": "symbol", "unknown.png": "letter",
         "unknown1.png": "symbol", "unknown2.png": "other"}  # fmt: skip
FOLDERS = ("symbols", "letters")
ELSEWHERE = ("git clone", "export ", "pip install", "conda env create", "python book/build.py")  # no command of ours


def printed(text: str) -> list[str]:
    """The commands of a page: the lines of its shell blocks without their comments, and what stands in backticks."""
    blocks = re.findall(r"^```(?:console|bash|sh)\n(.*?)^```", text, re.M | re.S)
    lines = [line.split("#")[0].strip().removeprefix("$ ") for block in blocks for line in block.splitlines()]
    inline = re.findall(r"`((?:oneshot|make) [^`]+)`", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S))
    return [part.strip() for line in [*lines, *inline] for part in line.split("&&") if part.strip()]


def help_examples() -> list[str]:
    epilogs = [app.info.epilog, *(command.epilog for command in app.registered_commands)]
    return [epilog.split(": ", 1)[1] for epilog in epilogs]


EXAMPLES = sorted({*help_examples(), *(line for page in PAGES for line in printed((ROOT / page).read_text("utf-8")))})
OURS = [line for line in EXAMPLES if line.startswith("oneshot ")]
TARGETS = [line for line in EXAMPLES if line.startswith("make ")]


@pytest.fixture
def empty(tmp_path, monkeypatch):
    """An empty folder to work in, with the pictures that the examples name; no data, and nothing of the user's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path.parent / "store"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path.parent / "cache"))
    monkeypatch.setenv("ONESHOT_DATA", "")
    for folder in FOLDERS:
        Path(folder).mkdir()
        for name in SHAPES:
            draw(f"{folder}/{name}.png", name)
    for path, name in DRAWN.items():
        draw(path, name)
    return tmp_path


def draw(path: str, shape: str) -> None:
    picture = Image.new("L", (112, 112), 255)
    ImageDraw.Draw(picture).line([4 * k for k in SHAPES[shape]], fill=0, width=9)
    picture.save(path)


def test_the_pages_have_examples():
    assert len(OURS) > 15 and {"oneshot list", "oneshot data"} <= set(OURS)
    assert printed("```bash\n$ oneshot a  # b\ncd x && oneshot c\n```\n`oneshot d e` `oneshot`") == [
        "oneshot a", "cd x", "oneshot c", "oneshot d e"]  # fmt: skip
    rest = [line for line in EXAMPLES if line not in OURS + TARGETS and not line.startswith((*ELSEWHERE, "cd "))]
    assert rest == [], "an example that nothing runs"


@pytest.mark.parametrize("line", OURS)
def test_an_example_runs_as_printed(line, empty, monkeypatch, capsys):
    from oneshot_lib import benchmarks, data

    letters = SimpleNamespace(name="omniglot", hash="1", grey=lambda name: np.zeros((2, 28, 28), np.uint8))
    monkeypatch.setattr(data, "exemplars", lambda images: np.arange(150))
    monkeypatch.setattr(Experiment, "open_data", lambda self, source=None: letters)
    monkeypatch.setattr(launch, "_execute", lambda *_: (0, {"error": None}, None))
    monkeypatch.setattr(places, "store", lambda: empty / "store")
    monkeypatch.setattr(data, "download", lambda name: data.published.PUBLISHED[name])
    monkeypatch.setattr(benchmarks, "run", lambda name=None: [])  # timing is for `oneshot bench`
    words = shlex.split(line)
    before = {path.name for path in empty.iterdir()}
    code = main(words[1:])
    out, err = capsys.readouterr()
    assert code == 0 and out, err
    made = {path.name for path in empty.iterdir()} - before
    asked = {words[i + 1].split("/")[0] for i, word in enumerate(words) if word in ("-o", "--out", "--each")}
    assert made == (asked or ({"runs"} if words[1] == "run" else set())), "it writes what it says, and nothing else"
    if words[1] == "run":
        default = f"{words[2]}-{words[words.index('--preset') + 1] if '--preset' in words else 'quick'}-seed0"
        folder = Path(words[words.index("--out") + 1]) if "--out" in words else Path("runs", default)
        assert (folder / "DONE").is_file() and [path.name for path in Path("runs").iterdir()] == [folder.name]


@pytest.mark.parametrize("page", PAGES[:2])
def test_the_lines_of_python_run_as_printed(page, empty):
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text("utf-8"), re.M | re.S)
    code = "\n".join(blocks)
    assert code.startswith("import oneshot_lib as oneshot\n") and len(code.splitlines()) >= 8
    names = {}
    exec(compile(code.replace("steps=2_000", "steps=2"), page, "exec"), names)
    assert names["invented"].shape == (16, 1, 28, 28) and names["siblings"].shape == (20, 28, 28)
    assert names["terms"].bound.isfinite().all() and set(names["siblings"].unique().tolist()) == {0.0, 1.0}
    made = {path.name for path in empty.iterdir()} - {*DRAWN, *FOLDERS}
    if page == "README.md":
        assert names["answer"].name in SHAPES and made == set()
    else:
        assert made == {"siblings.png", "runs"} and Path("runs/symbols/weights.safetensors").is_file()
        assert len(oneshot.classify(names["network"], names["symbols"], ["query.png", "other.png"][:1])) == 1


@pytest.mark.parametrize("user", [0, 1000])
def test_jupyterlab_starts_for_root_too(tmp_path, user):
    if shutil.which("make") is None:
        pytest.skip("make is not here")
    (tmp_path / "id").write_text(f"#!/bin/sh\necho {user}\n")
    (tmp_path / "id").chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    shown = subprocess.run(["make", "-n", "lab"], cwd=ROOT, capture_output=True, text=True, check=False,
                           env=os.environ | {"PATH": path})  # fmt: skip
    assert "jupyter lab " in shown.stdout and ("--allow-root" in shown.stdout) == (user == 0)


@pytest.mark.parametrize("line", TARGETS)
def test_a_target_of_the_pages_is_the_makefiles(line):
    if shutil.which("make") is None:
        pytest.skip("make is not here")
    shown = subprocess.run(["make", "-n", *shlex.split(line)[1:]], cwd=ROOT, capture_output=True, text=True,
                           check=False)  # fmt: skip
    assert shown.returncode == 0 and shown.stdout, shown.stderr
