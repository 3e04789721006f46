"""The bound explorer in a real browser: its sliders move the levels to where Python says they are."""

import re

import player as players
import pytest
import stage as stages

from oneshot_lib.widgets.bound_explorer import BoundExplorer

both_modes = pytest.mark.parametrize("scheme", ["light", "dark"])


@pytest.fixture
def show(visit, tmp_path):
    def opened(explorer, **page):
        return stages.static(visit, tmp_path, explorer, **{"width": 720, "height": 700, **page})

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
    tab = show(explorer, scheme=scheme)
    assert matches(tab.page, explorer) and read(tab.page, "mean-now") == 0.3
    for name, keys in (("mean", "ArrowRight ArrowRight End Home PageUp"), ("log_sigma", "ArrowLeft Home End")):
        slider = tab.page.locator(f"input[data-part={name}]")
        slider.focus()
        for key in keys.split():
            tab.page.keyboard.press(key)
            assert matches(tab.page, explorer), (name, key)
        gap = read(tab.page, "gap")
        assert re.search(rf"gap {gap:.2f} nats", slider.get_attribute("aria-valuetext"))


def test_it_is_like_the_others(visit, tmp_path):
    players.is_like_the_others(visit, tmp_path, BoundExplorer())


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


# --- the live layer: the page plays the kernel, and as in a kernel a change is heard by whoever made it ---

@pytest.fixture
def stage(visit, tmp_path):
    explorer = BoundExplorer(mean=0.3, log_sigma=-0.2)
    return stages.live(visit, tmp_path, explorer).page


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
