"""One real JupyterLab for all: cells run in it, every kind of widget is alive, and nothing leaves the machine.

Chapters are opened in turn, in one window. Which ones, and how far they run, follows from the widgets that their
stored outputs show: the front page runs whole, and a later page as far as the last widget of a kind that no earlier
page shows. The other cells are nbval's to run, in the same kernel.
"""

import os
import re
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

RUN_SECONDS = 240
LOOK = re.compile(r'<div class="oneshot oneshot-player ([^"]+)" data-oneshot=')
STATE = """() => {
  const panel = window.jupyterapp.shell.currentWidget;
  const kernel = panel?.sessionContext?.session?.kernel?.status;
  const cells = panel?.content?.model?.toJSON().cells.filter(c => c.cell_type === 'code' && c.source.length);
  return { kernel, left: cells?.filter(c => !c.execution_count).length, cells: cells?.length,
    errors: cells?.flatMap(c => c.outputs).filter(o => o.output_type === 'error').map(o => o.evalue) };
}"""


def shown(cell) -> list[str]:
    """The kinds of widget in a cell's stored outputs, by their look."""
    html = [output.get("data", {}).get("text/html", "") for output in cell.get("outputs", [])]
    return [look for text in html for look in LOOK.findall(text)]


def first_shown(notebooks: dict[str, list]) -> dict[str, tuple[list[str], int]]:
    """Of each notebook that shows the first widget of some kind: these kinds, and how many of its cells are to run."""
    found, known = {}, set()
    for name, cells in notebooks.items():
        new = [(look, number) for number, cell in enumerate(cells, 1) for look in shown(cell) if look not in known]
        if new:
            found[name] = list(dict(new)), (new[-1][1] if found else len(cells))
            known |= set(found[name][0])
    return found


def pages_with_notebooks() -> dict[str, list]:
    files = {name: pairs.notebook_of(name) for name in pairs.pages()}
    return {name: pairs.read_notebook(file).cells for name, file in files.items() if file.exists()}


FIRST = first_shown(pages_with_notebooks())


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """JupyterLab on an empty folder of its own, with settings of its own, asking nobody for news."""
    port, token, tmp_path = free_port(), secrets.token_hex(16), tmp_path_factory.mktemp("lab")
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


@pytest.fixture(scope="module")
def window(lab, visit_for_all):
    """The one window: a tab with JupyterLab in it, and the folder that it shows."""
    folder, address, token = lab
    tab = visit_for_all(origin=address, size=(1400, 1400))
    tab.page.goto(f"{address}/lab?token={token}")
    tab.page.wait_for_function("() => window.jupyterapp?.commands.hasCommand('docmanager:open')", timeout=60_000)
    tab.page.evaluate("() => window.jupyterapp.restored")
    return tab, folder


def without_outputs(name, cells, target):
    """A copy of a chapter's first cells in which nothing has run: what is seen afterwards came from the kernel."""
    notebook = pairs.read_notebook(pairs.notebook_of(name))
    notebook.cells = notebook.cells[:cells]
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    nbformat.write(notebook, target)


def run_all(page, file):
    """Open a notebook, run every cell by the menu's own command, and wait until the kernel has been through them."""
    page.evaluate("path => { window.jupyterapp.commands.execute('docmanager:open', { path }); }", file)
    for ready in (f"context?.path === '{file}'", "content?.model?.cells?.length > 0",
                  "sessionContext?.session?.kernel?.status === 'idle'"):  # fmt: skip
        page.wait_for_function(f"() => window.jupyterapp.shell.currentWidget?.{ready}", timeout=60_000)
    page.evaluate("() => { window.jupyterapp.commands.execute('runmenu:run-all'); }")
    end = time.monotonic() + RUN_SECONDS
    while time.monotonic() < end:
        state = page.evaluate(STATE)
        if state["errors"] or (state["kernel"] == "idle" and state["left"] == 0):
            return state
        page.wait_for_timeout(250)
    raise AssertionError(f"after {RUN_SECONDS} s: {state}")


CLOSE = """async () => {
  const panel = window.jupyterapp.shell.currentWidget;
  await panel.sessionContext.shutdown();
  panel.dispose();
}"""


@pytest.mark.xdist_group("JupyterLab")
@pytest.mark.parametrize("name", FIRST)
def test_cells_run_in_jupyterlab_and_each_kind_of_widget_is_alive(name, window):
    (tab, folder), (looks, cells) = window, FIRST[name]
    file = pairs.notebook_of(name).name
    without_outputs(name, cells, folder / file)
    state = run_all(tab.page, file)
    assert state["errors"] == [] and state["cells"] > 0
    for look in looks:
        kind = "".join(f".{part}" for part in look.split())
        alive = tab.page.locator(f".jp-NotebookPanel:visible .jp-OutputArea {kind}[role=group]").first
        alive.wait_for(state="attached", timeout=30_000)
        before = players.visible(alive)
        players.turn(tab.page, alive)
        assert players.visible(alive) != before, "the picture on the screen does not change"
        players.ask_the_kernel(tab.page, alive)
    tab.page.evaluate(CLOSE)
    assert tab.attempts == []


def test_a_kind_of_widget_is_tried_where_it_is_first_shown():
    def cells(*looks):
        made = [nbformat.v4.new_code_cell() for _ in looks]
        for cell, look in zip(made, looks, strict=True):
            html = f'<div class="oneshot oneshot-player {look}" data-oneshot="1">'
            cell.outputs = [nbformat.v4.new_output("display_data", {"text/html": html})] if look else []
        return made

    book = {"front": cells("a", ""), "again": cells("a"), "more": cells("", "b", "a", "c d", "b", "")}
    assert first_shown(book) == {"front": (["a"], 2), "more": (["b", "c d"], 5)}
    assert {look for looks, _ in FIRST.values() for look in looks} == {
        look for found in pages_with_notebooks().values() for cell in found for look in shown(cell)
    }
