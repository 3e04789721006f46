"""The kernel that executes a notebook is of this interpreter, and what stops it is said."""

import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest


@pytest.fixture
def executed(tmp_path):
    """`executed(source)` executes a notebook of one cell as `oneshot run` does, in `tmp_path`: (exit code, outcome).

    Where Jupyter looks for kernels, and where the user has theirs, there is a "python3" of another environment.
    """
    environment = dict(os.environ)
    for name, variable in (("path", "JUPYTER_PATH"), ("own", "JUPYTER_DATA_DIR")):
        kernel = tmp_path / name / "kernels/python3/kernel.json"
        kernel.parent.mkdir(parents=True)
        kernel.write_text(json.dumps({"argv": ["/bin/sh", "-c", f"touch {tmp_path / 'mark'}"], "language": "python",
                                      "display_name": "Python 3"}))  # fmt: skip
        environment[variable] = str(tmp_path / name)

    def run(source):
        cells = [nbformat.v4.new_code_cell("given = None", metadata={"tags": ["parameters"]}),
                 nbformat.v4.new_code_cell(source)]
        nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "source.ipynb")
        task = {"notebook": str(tmp_path / "source.ipynb"), "output": str(tmp_path / "notebook.ipynb"),
                "folder": str(tmp_path), "parameters": {"given": 3}}
        process = subprocess.Popen([sys.executable, "-m", "oneshot_lib.runs.execute", json.dumps(task)],
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
        with process:
            said = process.stdout.readlines()[-1]
        return process.returncode, json.loads(said)

    return run


@pytest.mark.slow
def test_the_kernel_is_this_interpreter_whatever_is_installed_beside_it(executed, tmp_path):
    code, said = executed("import sys\nfrom pathlib import Path\nPath('made').write_text(f'{sys.executable} {given}')")
    assert (code, said) == (0, {"error": None, "message": ""})
    assert (tmp_path / "made").read_text() == f"{sys.executable} 3" and not (tmp_path / "mark").exists()


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here, which stands for a full disk")
def test_a_disk_that_fills_up_is_said(executed, tmp_path):
    (tmp_path / "notebook.ipynb").symlink_to("/dev/full")
    code, said = executed("pass")
    assert code == 1 and said["error"] == "OSError"
    assert said["message"].startswith("no space left in ") and tmp_path.name in said["message"]


def test_progress_keeps_to_the_encoding_of_the_terminal(tmp_path, monkeypatch):
    from tqdm import tqdm

    from oneshot_lib.runs.run import live_progress

    for encoding in ("ascii", "utf-8"):
        live = tmp_path / encoding
        for name, value in (("LIVE", str(live)), ("TERMINAL", "1"), ("ENCODING", encoding)):
            monkeypatch.setenv(f"ONESHOT_{name}", value)
        with live_progress():
            for _ in tqdm(range(3), ncols=60):
                pass
        assert live.read_text().isascii() == (encoding == "ascii")
