"""shell.js in a real browser: a module as it stands, and enough for a widget of ten lines to be like the others."""

import base64
from pathlib import Path

import player as players
import pytest
import stage as stages
import torch
import traitlets

from oneshot_lib.widgets import BoundExplorer, EpisodeViewer, SetBoundExplorer, WindowExplorer, shell

SHELL = Path(shell.__file__).with_suffix(".js")
THING = """import { mount, paintPixels, slide } from "./shell.js";
const PARTS = `<canvas data-part="picture" role="img"></canvas>
  <input type="range" min="0" max="7" step="1" data-part="slider" aria-label="how dark">`;
function render(context) {
  const { model, part, hear, tell, follow, close } = mount(context, {
    look: "oneshot-thing", name: "a thing", parts: PARTS, described: "picture",
  });
  let step;
  function show() {
    slide(part("slider"), step, `step ${step}`);
    paintPixels(part("picture"), [4, 4], (k) => [0, 0, 0, k < 2 * step ? 255 : 0]);
  }
  function load() {
    step = model.get("step");
    show();
  }
  part("slider").addEventListener("input", () => {
    step = +part("slider").value;
    show();
    tell({ step });
  });
  load();
  follow(part("picture"), show);
  hear(["step"], load);
  return close;
}
export default { render };
"""
FAULTS = {  # what is to be complained of, and the change that brings it
    "look differs": ('look: "oneshot-thing"', 'look: "oneshot-other"'),
    "alternative text": ("  load();\n  follow", "  load();\n  part('picture').ariaLabel = 'a square';\n  follow"),
    "has no name": (' aria-label="how dark"', ""),
    "the picture does not": ("k < 2 * step", "k < 6"),
    "still listens": ("return close;", "return () => {};"),
}


@pytest.fixture
def make(tmp_path):
    """A widget from a script, beside a copy of shell.js."""

    def made(script):
        folder = tmp_path / "thing"
        folder.mkdir(exist_ok=True)
        (folder / "shell.js").write_text(SHELL.read_text("utf-8"), "utf-8")
        (folder / "thing.js").write_text(script, "utf-8")

        class Thing(shell.TwoLayerWidget):
            look = "oneshot-thing"
            _esm = shell.module(folder / "thing.js")
            _css = shell.source(SHELL.with_suffix(".css"))
            step = traitlets.Int(2).tag(sync=True)

            def alternative_text(self):
                return "A square that grows darker from the top."

            def still(self):
                return b""

        return Thing(label="A thing")

    return made


def test_shell_js_is_a_module_as_it_stands(visit):
    address = "data:text/javascript;base64," + base64.b64encode(SHELL.read_bytes()).decode()
    tab = visit()
    names = tab.page.evaluate("async address => Object.keys(await import(address))", address)
    assert set(names) == set(shell.EXPORT.findall(SHELL.read_text("utf-8"))) and "mount" in names
    assert tab.complaints == []


def test_ten_lines_are_a_widget_like_the_others(make, visit, tmp_path):
    players.is_like_the_others(visit, tmp_path, make(THING))


@pytest.mark.parametrize("complaint", FAULTS)
def test_a_widget_that_is_not_is_caught(complaint, make, visit, tmp_path):
    right, wrong = FAULTS[complaint]
    assert THING.count(right) == 1
    with pytest.raises(AssertionError, match=complaint):
        players.is_like_the_others(visit, tmp_path, make(THING.replace(right, wrong)))


SIZES = """all => all.map(player => [...player.querySelectorAll('*')]
  .map(one => [one.tagName, one.offsetWidth, one.offsetHeight]))"""


def test_widgets_on_one_page_keep_their_own_styles(visit, tmp_path):
    drawings = torch.eye(6).expand(3, 1, 1, 6, 6)
    widgets = [SetBoundExplorer(), BoundExplorer(), WindowExplorer(drawings[:, 0, 0]),
               EpisodeViewer(drawings, drawings[:, 0], torch.eye(3), drawings)]

    def sizes(*shown):
        page = stages.opened(visit, tmp_path, "".join(one.static_html() for one in shown)).page
        page.wait_for_function(f"document.querySelectorAll('.oneshot-player[role=group]').length === {len(shown)}")
        return page.locator(".oneshot-player").evaluate_all(SIZES)

    alone = [sizes(one)[0] for one in widgets]
    assert sizes(*widgets) == alone  # each style sheet after those of the others
    assert sizes(*reversed(widgets)) == alone[::-1]
