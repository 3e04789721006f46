"""The set bound in a real browser: its sliders move the levels to where Python says they are."""

import re

import player as players
import pytest
import stage as stages

from oneshot_lib.widgets.set_bound import SetBoundExplorer

both_modes = pytest.mark.parametrize("scheme", ["light", "dark"])
SLIDERS = ("support_size", "set_size")


@pytest.fixture
def show(visit, tmp_path):
    def opened(explorer, **page):
        return stages.static(visit, tmp_path, explorer, **page)

    return opened


def read(page, name):
    return float(page.locator(f"[data-part={name}]").inner_text().replace("−", "-"))


def matches(page, explorer):
    """Whether the page shows the numbers that Python computes for the sizes that the page shows."""
    levels = explorer.levels(*(int(read(page, f"{name}-now")) for name in SLIDERS))
    shown = {name: read(page, name) for name in levels._fields if name != "four"}
    four = page.locator("[data-part=four]").get_attribute("aria-label")
    shown |= {name: float(re.search(rf"\b{name} (-?[\d.]+)", four)[1]) for name in levels.four}
    return all(abs(shown[name] - value) < 0.006 for name, value in {**levels._asdict(), **levels.four}.items()
               if name != "four")


@both_modes
def test_the_numbers_are_pythons_wherever_the_sliders_are(scheme, show):
    explorer = SetBoundExplorer(noise=0.7)
    tab = show(explorer, scheme=scheme)
    assert matches(tab.page, explorer) and read(tab.page, "set_size-now") == 20
    for name, keys in (("support_size", "ArrowRight End Home"), ("set_size", "ArrowLeft End Home ArrowRight")):
        slider = tab.page.locator(f"input[data-part={name}]")
        slider.focus()
        for key in keys.split():
            tab.page.keyboard.press(key)
            assert matches(tab.page, explorer), (name, key)
        gap = read(tab.page, "gap")
        assert re.search(rf"gap {gap:.2f} nats", slider.get_attribute("aria-valuetext"))
    assert (tab.attempts, tab.complaints) == ([], [])


def test_it_is_like_the_others(visit, tmp_path):
    players.is_like_the_others(visit, tmp_path, SetBoundExplorer())


def test_looking_at_the_whole_class_closes_the_gap_and_a_smaller_class_takes_the_support_along(show):
    tab = show(SetBoundExplorer())
    assert read(tab.page, "gap") > 0.1
    tab.page.locator("input[data-part=support_size]").focus()
    tab.page.keyboard.press("End")
    assert read(tab.page, "support_size-now") == 20 and read(tab.page, "gap") == 0
    tab.page.locator("input[data-part=set_size]").focus()
    tab.page.keyboard.press("ArrowLeft")
    assert [read(tab.page, f"{name}-now") for name in SLIDERS] == [19, 19]


def test_the_picture_follows_the_colours_and_the_width_of_the_page(show):
    tab = show(SetBoundExplorer())
    figure = tab.page.locator(".oneshot-player")
    light = figure.evaluate(players.PICTURE)
    tab.page.evaluate("document.documentElement.dataset.theme = 'dark'")
    dark = players.at_rest(tab.page, figure)
    assert dark != light
    tab.page.set_viewport_size({"width": 380, "height": 900})
    assert players.at_rest(tab.page, figure) != dark


# --- the live layer: the page plays the kernel, and as in a kernel a change is heard by whoever made it ---

@pytest.fixture
def stage(visit, tmp_path):
    return stages.live(visit, tmp_path, SetBoundExplorer()).page


def test_what_python_sets_is_shown_and_where_the_reader_stops_is_told(stage):
    stage.evaluate("tell('support_size', 5)")
    assert read(stage, "support_size-now") == 5 and read(stage, "set_size-now") == 20
    stage.locator("input[data-part=set_size]").focus()
    stage.keyboard.press("Home")
    assert stage.evaluate("[state.support_size, state.set_size, saved]") == [1, 1, 1]
