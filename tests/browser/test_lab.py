"""A chapter in the real JupyterLab: it runs, its player is alive, and nothing leaves the machine."""

import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import nbformat
import pairs
import player as players
import pytest

CHAPTERS = ["book/hidden-canvas", "book/vhe-bound", "book/pixelcnn-homoencoder",
            "book/attention-pixelcnn", "book/meta-pixelcnn", "book/attention-varieties",
            "book/how-good-is-a-drawing"]  # each needs a player
RUN_SECONDS = 240
STATE = """() => {
  const panel = window.jupyterapp.shell.currentWidget;
  const kernel = panel?.sessionContext?.session?.kernel?.status;
  const cells = panel?.content?.model?.toJSON().cells.filter(c => c.cell_type === 'code' && c.source.length);
  return { kernel, left: cells?.filter(c => !c.execution_count).length, cells: cells?.length,
    errors: cells?.flatMap(c => c.outputs).filter(o => o.output_type === 'error').map(o => o.evalue) };
}"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def lab(tmp_path):
    """JupyterLab on an empty folder of its own, with settings of its own, asking nobody for news."""
    port, token = free_port(), secrets.token_hex(16)
    folder, settings = tmp_path / "book", tmp_path / "settings/@jupyterlab/apputils-extension"
    folder.mkdir()
    settings.mkdir(parents=True)
    (settings / "notification.jupyterlab-settings").write_text('{"fetchNews": "false", "checkForUpdates": false}')
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--expose-app-in-browser"]
    command += [f"--ServerApp.port={port}", "--ServerApp.port_retries=0", f"--IdentityProvider.token={token}"]
    command += [f"--ServerApp.root_dir={folder}", f"--LabApp.workspaces_dir={tmp_path / 'workspaces'}"]
    command += [f"--LabApp.user_settings_dir={tmp_path / 'settings'}"]
    command += ["--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]
    own = ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
    environment = os.environ | {name: str(tmp_path / name.lower()) for name in own}
    environment |= {"OMP_NUM_THREADS": "1"}  # browser, server and kernel share the cores
    environment |= {"JUPYTER_PATH": str(Path(sys.prefix) / "share/jupyter")}  # no other environment's python3
    address, log = f"http://127.0.0.1:{port}", tmp_path / "lab.log"
    with log.open("w") as out:
        server = subprocess.Popen(command, env=environment, stdout=out, stderr=subprocess.STDOUT, cwd=folder)
    try:
        wait_for(f"{address}/api?token={token}", server, log)
        yield folder, address, token
    finally:
        server.terminate()  # ends its kernels, too
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()


def wait_for(address, server, log, seconds=60):
    for _ in range(seconds * 4):
        assert server.poll() is None, log.read_text()[-2000:]
        try:
            return urllib.request.urlopen(address, timeout=5).read()
        except OSError:
            time.sleep(0.25)
    raise AssertionError(f"JupyterLab did not answer within {seconds} s: {log.read_text()[-2000:]}")


def without_outputs(name, target):
    """A copy of a chapter in which nothing has run: what is seen afterwards came from the kernel."""
    notebook = pairs.read_notebook(pairs.notebook_of(name))
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    nbformat.write(notebook, target)


def run_all(page):
    """Run every cell by the menu's own command, and wait until the kernel has been through all of them."""
    for ready in ("content?.model?.cells?.length > 0", "sessionContext.session?.kernel?.status === 'idle'"):
        page.wait_for_function(f"() => window.jupyterapp?.shell.currentWidget?.{ready}", timeout=60_000)
    page.evaluate("() => { window.jupyterapp.commands.execute('runmenu:run-all'); }")
    end = time.monotonic() + RUN_SECONDS
    while time.monotonic() < end:
        state = page.evaluate(STATE)
        if state["errors"] or (state["kernel"] == "idle" and state["left"] == 0):
            return state
        page.wait_for_timeout(500)
    raise AssertionError(f"after {RUN_SECONDS} s: {state}")


@pytest.mark.parametrize("name", CHAPTERS)
def test_a_chapter_runs_in_jupyterlab_and_its_player_follows_the_keyboard(name, lab, visit, tmp_path):
    if not pairs.notebook_of(name).exists():
        pytest.skip(f"{name}.ipynb is not written yet")
    folder, address, token = lab
    file = pairs.notebook_of(name).name
    without_outputs(name, folder / file)
    tab = visit(origin=address, size=(1400, 1400))
    tab.page.goto(f"{address}/lab/tree/{file}?token={token}")
    state = run_all(tab.page)
    assert state["errors"] == [] and state["cells"] > 0
    alive = tab.page.locator(".jp-OutputArea .oneshot-player:has(input[type=range])")
    alive.first.wait_for(state="attached", timeout=30_000)
    assert alive.count() >= 1
    for number in range(alive.count()):
        player = alive.nth(number)
        before = players.visible(player)
        players.move_and_compare(tab.page, player)
        assert players.visible(player) != before, "the picture on the screen does not change"
        players.ask_the_kernel(tab.page, player)
    assert tab.attempts == []
