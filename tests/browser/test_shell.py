"""shell.js in a real browser: a module as it stands, and enough for a widget of ten lines to be like the others."""

import base64
from pathlib import Path

import player as players
import pytest
import traitlets

from oneshot_lib.widgets import shell

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
