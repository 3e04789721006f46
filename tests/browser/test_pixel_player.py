"""The pixel player in a real browser: what is written, where it looks, by slider, mouse and keyboard."""

import re

import numpy as np
import player as players
import pytest
import stage as stages

from oneshot_lib.widgets.pixel_player import PixelPlayer, Writing

H, W, T, SCALE = 6, 8, 48, 10
# The colour in the middle of each of the picture's squares, row by row.
SQUARES = """(canvas, size) => {
  const context = canvas.getContext('2d'), found = [];
  for (let i = 0; i < size[0] * size[1]; i++) {
    const at = [10 * (i % size[1]) + 5, 10 * Math.floor(i / size[1]) + 5];
    found.push([...context.getImageData(...at, 1, 1).data]);
  }
  return found;
}"""


def mirrored(seed=0, drawings=1):
    """A head that looks at the mirrored place: pixel (i, j) at (i, W - 1 - j), of the last drawing alone."""
    noise = np.random.default_rng(seed)
    support = (noise.random((drawings, H, W)) > 0.6).astype(float)
    weights = np.zeros((H, W, drawings, H, W))
    for i in range(H):
        for j in range(W):
            weights[i, j, -1, i, W - 1 - j] = 1
    x = support[-1][:, ::-1].copy()
    return Writing(x, support, weights, 0.3 + 0.6 * x, f"letter {seed}")


@pytest.fixture(scope="module")
def player():
    return PixelPlayer([mirrored(), mirrored(1, drawings=2)], step=11, label="A letter & its mirror image")


@pytest.fixture
def show(visit, tmp_path):
    def opened(player, **page):
        return stages.static(visit, tmp_path, player, **page)

    return opened


def squares(page, name="x", number=0):
    """The colours of a picture's squares, (pixels, 4)."""
    canvas = page.locator(f"canvas[data-part={name}], [data-part={name}] canvas").nth(number)
    return np.array(canvas.evaluate(SQUARES, [H, W]))


def is_ink(colours):
    return (colours[:, 3] > 250) & (colours[:, :3].max(1) < 60)


def is_orange(colours):
    return (colours[:, 0] > 150) & (colours[:, 2] < 60) & (colours[:, 3] > 60)


def test_it_shows_what_is_written_and_nothing_of_what_is_to_come(player, show):
    page = show(player).page
    x = mirrored().x.reshape(-1)
    for step in (11, 12, 40):
        while int(players.slider_of(page).input_value()) < step:
            page.get_by_role("button", name="one pixel forward").click()
        colours = squares(page)
        assert np.array_equal(is_ink(colours)[:step], x[:step] > 0)
        assert not is_ink(colours)[step:].any() and len(np.unique(colours[step + 1:], axis=0)) == 1
        assert is_orange(colours).tolist() == (np.arange(T) == step).tolist()
    page.get_by_role("slider").press("End")
    assert np.array_equal(is_ink(squares(page)), x > 0)


def test_the_attention_lies_where_the_pixel_looks(player, show):
    page = show(player).page
    slider = page.get_by_role("slider")
    for key, step in (("ArrowRight", 12), ("ArrowRight", 13), ("ArrowDown", 21), ("ArrowUp", 13), ("ArrowLeft", 12)):
        slider.press(key)
        assert int(slider.input_value()) == step
        seen = is_orange(squares(page, "support"))
        row, column = divmod(step, W)
        assert seen.nonzero()[0].tolist() == [row * W + W - 1 - column]
        words = page.locator("[data-part=looks]").inner_text()
        assert f"row {row + 1}.0, column {W - column}.0" in words
        asked = page.locator("[data-part=asks]").inner_text()
        assert f"row {row + 1}, column {column + 1}" in asked and re.search(r"p\(ink\) = 0\.[39]0", asked)
        assert f"column {column + 1}" in slider.get_attribute("aria-valuetext")


def test_a_click_goes_to_the_pixel(player, show):
    page = show(player).page
    box = page.locator("[data-part=x]").bounding_box()
    page.mouse.click(box["x"] + box["width"] * 2.5 / W, box["y"] + box["height"] * 4.5 / H)
    assert int(players.slider_of(page).input_value()) == 4 * W + 2


def test_another_example_has_its_own_drawings_and_says_how_the_attention_is_shared(player, show):
    page = show(player).page
    page.get_by_role("combobox", name="which image").select_option(label="letter 1")
    canvases = page.locator("[data-part=support] canvas")
    assert canvases.count() == 2
    assert page.locator(".oneshot-share").all_inner_texts() == ["0\u00a0%", "100\u00a0%"]
    assert not is_orange(squares(page, "support", 0)).any() and is_orange(squares(page, "support", 1)).sum() == 1
    assert np.array_equal(is_ink(squares(page))[:11], mirrored(1, 2).x.reshape(-1)[:11] > 0)
    page.get_by_role("combobox", name="which image").select_option(label="letter 0")
    assert canvases.count() == 1


def test_it_plays_to_the_end_by_itself_and_stops_when_asked(player, show):
    page = show(player).page
    page.clock.install()
    page.get_by_role("button", name="play", exact=True).click()
    page.clock.run_for(2_000)
    page.get_by_role("button", name="pause").click()
    half = int(players.slider_of(page).input_value())
    page.clock.run_for(2_000)
    assert 11 < half < T and int(players.slider_of(page).input_value()) == half
    page.get_by_role("button", name="play", exact=True).click()
    page.clock.run_for(25_000)
    assert int(players.slider_of(page).input_value()) == T
    page.get_by_role("button", name="write again").click()
    page.clock.run_for(500)
    assert int(players.slider_of(page).input_value()) < 11


def test_it_is_like_the_others(visit, tmp_path, player):
    players.is_like_the_others(visit, tmp_path, player)


def test_the_keyboard_alone_is_enough(player, show):
    page = show(player, before=stages.NOTEBOOK).page
    page.locator("input[type=range]").focus()
    for key, step in (("ArrowRight", 12), ("ArrowDown", 20), ("Home", 0), ("ArrowUp", 0), ("End", T)):
        page.keyboard.press(key)
        assert int(players.slider_of(page).input_value()) == step


def test_everything_has_a_name(player, show):
    page = show(player).page
    assert page.get_by_role("slider", name="pixels written").count() == 1
    assert page.get_by_role("img", name="written pixel by pixel").count() == 1
    assert page.get_by_role("img", name="support drawing 1").count() == 1
    assert page.locator("[data-part=label]").inner_text() == "A letter & its mirror image"


# --- the live layer: the page plays the kernel ---

@pytest.fixture
def stage(player, visit, tmp_path):
    return stages.live(visit, tmp_path, player).page


def test_what_python_sets_is_shown_and_where_the_reader_stops_is_told(stage):
    stage.evaluate("tell('step', 30)")
    assert int(players.slider_of(stage).input_value()) == 30
    stage.evaluate("tell('example', 1)")
    assert stage.locator("[data-part=support] canvas").count() == 2
    stage.get_by_role("slider").press("ArrowLeft")
    stage.get_by_role("combobox").select_option(label="letter 0")
    assert stage.evaluate("[state.step, state.example, saved]") == [29, 0, 2]
