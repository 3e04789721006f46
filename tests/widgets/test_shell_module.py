"""What the widgets share in Python: their modules put together, their state and label, their place in the package."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import traitlets

from oneshot_lib import widgets
from oneshot_lib.widgets import BoundExplorer, frames, shell

FOLDER = Path(shell.__file__).parent
SCRIPTS = [FOLDER / f"{home}.js" for name, home in widgets._homes().items() if name != "Beside"]
SHELL = """const inner = 1; // concerns nobody
export const one = () => inner;
export function two() {
  return 2;
}
"""


@pytest.fixture
def script(tmp_path):
    """Writes a script beside a shell.js of two functions, and puts them together."""

    def joined(text):
        (tmp_path / "shell.js").write_text(SHELL, "utf-8")
        (tmp_path / "thing.js").write_text(text, "utf-8")
        return shell.module(tmp_path / "thing.js")

    return joined


def test_a_module_holds_what_it_imports_and_nothing_else_comes_out(script):
    text = script('import { one, two as pair } from "./shell.js";\nconst inner = pair();\nexport default { inner };\n')
    assert text.startswith("const { one, two: pair } = (() => {\n") and "return { one, two };\n})();\n" in text
    assert text.endswith("const inner = pair();\nexport default { inner };\n")
    assert "import" not in text and text.count("export") == 1


def test_an_import_may_stand_in_several_lines(script):
    text = script('import {\n  one,\n  two,\n} from "./shell.js";\nexport default { one };\n')
    assert text.startswith("const { one, two } = (() => {\n")


@pytest.mark.parametrize("text, match", [
    ('import { three } from "./shell.js";\n', "imports .'three'. of shell.js"),
    ('import { inner } from "./shell.js";\n', "imports .'inner'. of shell.js"),
    ('import { d3 } from "https://example.org/d3.js";\n', "example.org"),
    ('import shell from "./shell.js";\n', "import shell"),
    ('const a = await import("./shell.js");\n', "import\\("),
])
def test_what_cannot_be_put_together_is_named(script, text, match):
    with pytest.raises(ValueError, match=match):
        script(text)


@pytest.mark.parametrize("file", SCRIPTS, ids=lambda file: file.stem)
def test_every_script_takes_from_the_shell_what_it_has_no_reason_to_write_again(file):
    text = file.read_text("utf-8")
    assert re.search(r'^import \{[^}]*\bmount\b[^}]*\} from "./shell.js";$', text, re.M)
    assert text.rstrip().endswith("export default { render };")
    own = ("MutationObserver", "ResizeObserver", "data-lm-suppress-shortcuts", "--done", "createImageData")
    assert [word for word in own if word in text] == []
    names = re.search(r"import \{([^}]*)\}", text)[1].replace(",", " ").split()
    assert [name for name in names if len(re.findall(rf"(?<![\w\")\]]\.)\b{name}\b", text)) < 2] == []  # none idle


def test_the_widgets_are_found_without_importing_any():
    code = "import sys, oneshot_lib.widgets as w; print(*w.__all__, 'torch' in sys.modules, 'anywidget' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert found[-2:] == ["False", "False"] and {"Beside", "BoundExplorer", "CanvasPlayer"} <= set(found)
    scripts = {file.stem for file in FOLDER.glob("*.js")} - {"shell", "static_html"}
    assert {file.stem for file in SCRIPTS} == scripts and len(found) - 2 == len(scripts) + 1
    assert all(isinstance(getattr(widgets, name), type) for name in found[:-2])
    with pytest.raises(AttributeError, match="Nothing"):
        widgets.Nothing  # noqa: B018


class Thing(shell.KernelWidget):
    _esm = "export default { render() {} };"
    step = traitlets.Int(3).tag(sync=True)
    fresh = traitlets.Dict().tag(sync=True, static={})
    hidden = traitlets.Int(5)

    def alternative_text(self):
        return f"A thing that stands at {self.step} of many."

    def draw_another(self):
        if self.step > 3:
            raise OverflowError("no more things")
        self.step += 1


def test_state_and_label_come_from_the_traits():
    thing = Thing(step=2, label="A heading", fresh={"made": 1})
    assert thing.static_state() == {"description": "A thing that stands at 2 of many.", "error": "", "fresh": {},
                                    "label": "A heading", "live": False, "step": 2}
    assert thing.live and thing.fresh  # in the kernel
    assert Thing(description="Something else altogether.").description == "Something else altogether."
    with pytest.raises(TypeError, match=r"Thing got stop; expected description, label, or one of .*\bstep\b"):
        Thing(stop=1)


def test_a_request_is_answered_and_what_went_wrong_is_said():
    thing, sent = Thing(), []
    thing.send = lambda content, buffers=None: sent.append(content)
    for number in (1, 2):
        thing._handle_custom_msg({"another": True, "request": number}, [])
    assert thing.step == 4 and thing.error == "OverflowError: no more things"
    assert sent == [{"answered": 1}, {"answered": 2}]


def test_a_widget_has_the_script_and_the_styles_that_lie_beside_it():
    assert BoundExplorer._esm == shell.module(FOLDER / "bound_explorer.js")
    css = widgets.SetBoundExplorer._css
    assert css.index(".oneshot .oneshot-label") < css.index(".oneshot-bound {") < css.index(".oneshot-set .")


def test_packed_drawings_come_back():
    drawings = np.random.default_rng(0).integers(0, 2, (3, 2, 5, 7))
    assert np.array_equal(frames.unpacked(frames.packed(drawings), (5, 7)), drawings.reshape(6, 5, 7))


def test_a_window_is_seen_on_the_frame_of_its_step_and_on_no_other():
    blank, corners = np.zeros((3, 10, 10), np.uint8), [[-0.5, -0.5, 0.5, -0.5, 0.5, 0.5, -0.5, 0.5], [9] * 8]
    seen = frames.strip(blank, magnify=4, outlines=corners)
    panels = [seen[:, 48 * k : 48 * k + 40] for k in range(3)]
    rows, columns = np.nonzero(panels[1] == frames.OUTLINE)
    assert (panels[0] == 255).all() and (panels[2] == 255).all()  # no window yet; a window beyond the paper
    for places in (rows, columns):
        assert abs(places.min() - 9.5) <= 1 and abs(places.max() - 29.5) <= 1
    assert panels[1][20, 20] == 255  # the paper inside is left alone


def test_no_script_spells_a_picture_that_nobody_describes():
    """Whoever looks for pictures without a description in a page's text finds those in its scripts, too."""
    for script in Path(shell.__file__).parent.glob("*.js"):
        assert "<img" not in script.read_text(encoding="utf-8"), script.name
