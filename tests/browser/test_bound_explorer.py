"""The bound explorer in a real browser: its sliders move the levels to where Python says they are."""

import json
import re

import player as players
import pytest

from oneshot_lib.widgets.bound_explorer import BoundExplorer
from oneshot_lib.widgets.static_html import state_json

both_modes = pytest.mark.parametrize("scheme", ["light", "dark"])


@pytest.fixture
def show(visit, tmp_path):
    def opened(explorer, scheme="light", width=720):
        tab = visit(scheme, size=(width, 700))
        file = tmp_path / "page.html"
        head = '<!doctype html><html data-theme="auto"><meta charset="utf-8">'
        file.write_text(f"{head}<body>{explorer.static_html()}</body></html>", "utf-8")
        tab.page.goto(file.as_uri())
        tab.page.locator(".oneshot-tuning").wait_for()
        return tab

    return opened


def read(page, name):
    return float(page.locator(f"[data-part={name}]").inner_text().replace("−", "-"))


def matches(page, explorer):
    """Whether the page shows the levels that Python computes for the q that the page shows."""
    here = BoundExplorer(x=explorer.x, a=explorer.a, s=explorer.s, mean=read(page, "mean-now"),
                         log_sigma=read(page, "log_sigma-now"))
    return all(abs(read(page, name) - value) < 0.006 for name, value in here.levels()._asdict().items())


@both_modes
def test_the_numbers_are_pythons_wherever_the_sliders_are(scheme, show):
    explorer = BoundExplorer(x=1.5, mean=0.3, log_sigma=-0.2)
    tab = show(explorer, scheme)
    assert matches(tab.page, explorer) and read(tab.page, "mean-now") == 0.3
    for name, keys in (("mean", "ArrowRight ArrowRight End Home PageUp"), ("log_sigma", "ArrowLeft Home End")):
        slider = tab.page.locator(f"input[data-part={name}]")
        slider.focus()
        for key in keys.split():
            tab.page.keyboard.press(key)
            assert matches(tab.page, explorer), (name, key)
        gap = read(tab.page, "gap")
        assert re.search(rf"gap {gap:.2f} nats", slider.get_attribute("aria-valuetext"))
    assert (tab.attempts, tab.complaints) == ([], [])


@both_modes
def test_it_is_a_player_like_the_others(scheme, show):
    tab = show(BoundExplorer(), scheme)
    figure = tab.page.locator(".oneshot-player")
    players.move_and_compare(tab.page, figure)
    contrast, text = figure.evaluate(players.CONTRAST)
    assert contrast >= 4.5, text


def test_climbing_closes_the_gap_and_a_slider_stops_it(show):
    tab = show(BoundExplorer(mean=-2.0, log_sigma=1.0))
    button = tab.page.locator("button")
    before = read(tab.page, "gap")
    button.click()
    tab.page.wait_for_function("document.querySelector('[data-part=gap]').textContent === '0.00'")
    tab.page.wait_for_function("document.querySelector('button').textContent === 'climb'")
    assert before > 1
    tab.page.locator("input").first.focus()
    tab.page.keyboard.press("Home")
    button.click()
    tab.page.wait_for_timeout(100)
    tab.page.locator("input").first.focus()
    tab.page.keyboard.press("ArrowLeft")
    resting = players.at_rest(tab.page, tab.page.locator(".oneshot-player"))
    assert resting and read(tab.page, "gap") > 1 and button.inner_text() == "climb"


def test_the_picture_follows_the_colours_and_the_width_of_the_page(show):
    tab = show(BoundExplorer())
    figure = tab.page.locator(".oneshot-player")
    light = figure.evaluate(players.PICTURE)
    tab.page.evaluate("document.documentElement.dataset.theme = 'dark'")
    dark = players.at_rest(tab.page, figure)
    assert dark != light
    tab.page.set_viewport_size({"width": 380, "height": 700})
    assert players.at_rest(tab.page, figure) != dark
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= 380


# --- the live layer: the page plays the kernel, and as in a kernel a change is heard by whoever made it ---

STAGE = """<style>%s</style><div id="here"></div><script type="module">%s
const state = JSON.parse(%s), heard = {};
window.state = state;
window.tell = (name, value) => {
  state[name] = value;
  (heard["change:" + name] || []).forEach((act) => act());
};
window.saved = 0;
window.close = render({ el: document.getElementById("here"), model: {
  get: (name) => state[name],
  set: (name, value) => state[name] !== value && tell(name, value),
  save_changes: () => window.saved++,
  on: (name, act) => (heard[name] ||= []).push(act),
  off: (name, act) => heard[name].splice(heard[name].indexOf(act), 1),
} });
window.listeners = () => Object.values(heard).flat().length;
</script>"""


@pytest.fixture
def stage(visit, tmp_path):
    explorer = BoundExplorer(mean=0.3, log_sigma=-0.2)
    state = state_json({**explorer.static_state(), "description": explorer.description})
    file = tmp_path / "live.html"
    stage = STAGE % (explorer._css, explorer._esm, json.dumps(state))
    file.write_text(f'<!doctype html><html><meta charset="utf-8"><body>{stage}</body></html>', "utf-8")
    tab = visit()
    tab.page.goto(file.as_uri())
    return tab.page


def test_what_python_sets_is_shown_and_where_the_reader_stops_is_told(stage):
    stage.evaluate("tell('mean', -1)")
    assert read(stage, "mean-now") == -1 and read(stage, "log_sigma-now") == -0.2
    stage.locator("input").nth(1).focus()
    stage.keyboard.press("End")
    assert stage.evaluate("[state.mean, state.log_sigma, saved]") == [-1, 1, 1]


def test_climbing_ends_where_the_posterior_is_in_both_numbers(stage):
    stage.locator("button").click()
    stage.wait_for_function("document.querySelector('[data-part=gap]').textContent === '0.00' && saved")
    mean, sigma = BoundExplorer().posterior()
    found = stage.evaluate("[state.mean, Math.exp(state.log_sigma)]")
    assert found == pytest.approx([mean, sigma], abs=0.01)
    assert read(stage, "mean-now") == pytest.approx(mean, abs=0.01) and read(stage, "gap") == 0


def test_a_closed_figure_listens_to_nothing(stage):
    assert stage.evaluate("listeners()") == 4
    stage.evaluate("close()")
    assert stage.evaluate("listeners()") == 0
