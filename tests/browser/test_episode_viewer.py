"""The episode viewer in a real browser: each query has its scores, its winner, and its verdict in words."""


import numpy as np
import player as players
import pytest
import stage as stages
import torch

from oneshot_lib.widgets.episode_viewer import EpisodeViewer

CLASSES, QUERIES, SAMPLES, SIZE = 4, 8, 3, 12
ALPHA = """canvas => [...canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data]
  .filter((_, i) => i % 4 === 3)"""


def make_viewer(shots=1, **arguments):
    generator = torch.Generator().manual_seed(0)

    def drawings(*shape):
        return (torch.rand(*shape, 1, SIZE, SIZE, generator=generator) > 0.5).float()

    scores = -80 * torch.rand(QUERIES, CLASSES, generator=generator, dtype=torch.float64) - 200
    truth = torch.arange(QUERIES) % CLASSES
    scores[torch.arange(0, QUERIES, 2), truth[::2]] = -150  # every other one is right
    scores[1, truth[1]] = scores[1].max() - 3
    scores[1, (truth[1] + 1) % CLASSES] = scores[1].max() + 4
    return EpisodeViewer(drawings(CLASSES, shots), drawings(QUERIES), scores, drawings(CLASSES, SAMPLES), truth,
                         **arguments)


@pytest.fixture
def show(visit, tmp_path):
    def opened(viewer, **page):
        return stages.static(visit, tmp_path, viewer, **{"width": 760, "height": 900, **page})

    return opened


def unpacked(content):
    return np.unpackbits(np.frombuffer(content, np.uint8).reshape(-1, SIZE * SIZE // 8), axis=1)


def painted(page, where):
    canvases = page.locator(f"{where} canvas")
    return np.stack([np.array(canvases.nth(k).evaluate(ALPHA)) // 255 for k in range(canvases.count())])


def turn_to(page, query):
    page.locator("input").focus()
    page.keyboard.press("Home")
    for _ in range(query):
        page.keyboard.press("ArrowRight")


@pytest.mark.parametrize("shots", [1, 2])
def test_every_query_shows_its_scores_winner_and_drawings(shots, show):
    viewer = make_viewer(shots)
    page, scene = show(viewer).page, viewer.scene
    made, query = unpacked(scene["made"]).reshape(CLASSES, SAMPLES, -1), unpacked(scene["query"])
    assert np.array_equal(painted(page, "[data-part=classes]"), unpacked(scene["support"]))
    for q in range(QUERIES):
        turn_to(page, q)
        winner, truth = scene["winner"][q], scene["truth"][q]
        assert np.array_equal(painted(page, "[data-part=asked]")[0], query[q])
        expected = made[[winner]] if winner == truth else made[[winner, truth]]
        assert np.array_equal(painted(page, "[data-part=drawn]"), expected.reshape(-1, SIZE * SIZE))
        said = page.locator("[data-part=says]").inner_text()
        assert ("✓ right" in said) is (winner == truth) and ("✗ wrong" in said) is (winner != truth)
        assert scene["names"][winner] in said and scene["names"][truth] in said
        cells = page.locator("[data-part=classes] > div")
        assert cells.evaluate_all("all => all.findIndex(one => one.hasAttribute('data-winner'))") == winner
        shown = page.locator(".oneshot-nats").all_inner_texts()
        for k, below in enumerate(scene["below"][q]):
            assert shown[k] == "best" if k == winner else abs(float(shown[k].replace("−", "")) - below) <= 0.51
    assert {w == t for w, t in zip(scene["winner"], scene["truth"], strict=True)} == {True, False}  # both were seen


def test_a_bar_is_shorter_the_further_a_class_lies_behind(show):
    viewer = make_viewer()
    page = show(viewer).page
    turn_to(page, 1)
    widths = page.locator(".oneshot-bar i").evaluate_all("all => all.map(one => one.offsetWidth)")
    below = np.array(viewer.scene["below"][1])
    order = below.argsort()
    assert widths[order[0]] == max(widths) > 0
    assert all(widths[a] >= widths[b] for a, b in zip(order, order[1:], strict=False))
    assert widths[order[1]] < widths[order[0]]


def test_wrong_ones_are_marked_by_a_sign_and_can_be_clicked(show):
    viewer = make_viewer()
    page, scene = show(viewer).page, viewer.scene
    signs = "".join(page.locator("[data-part=marks] span").all_inner_texts())
    right = [w == t for w, t in zip(scene["winner"], scene["truth"], strict=True)]
    assert signs == "".join("✓" if one else "✗" for one in right)
    assert f"{sum(right)} of {QUERIES} right" in page.locator("[data-part=tally]").inner_text()
    page.locator("[data-part=marks] span").nth(3).click()
    assert page.locator("[data-part=which]").inner_text() == f"query 4 of {QUERIES}"
    assert page.locator("input").input_value() == "4"
    mark, track = (page.locator(one).bounding_box() for one in ("[data-part=marks] span >> nth=3", "input"))
    thumb = track["x"] + 8 + (track["width"] - 16) * 3 / (QUERIES - 1)
    assert abs(mark["x"] + mark["width"] / 2 - thumb) < 1.5


@pytest.mark.parametrize("position", [0, 1])
def test_it_is_like_the_others(position, visit, tmp_path):
    players.is_like_the_others(visit, tmp_path, make_viewer(position=position))


def test_everything_has_a_name(show):
    page = show(make_viewer()).page
    assert page.get_by_role("slider", name="query").count() == 1
    assert page.get_by_role("img", name="the query").count() == 1
    names = page.locator("[data-part=classes] > div").evaluate_all("all => all.map(c => c.getAttribute('aria-label'))")
    assert len(names) == CLASSES and all("best" in name or "nats below" in name for name in names)


def test_five_drawings_of_a_class_fit_a_small_screen(show):
    page = show(make_viewer(shots=5), width=340).page
    assert page.evaluate("document.documentElement.scrollWidth") <= 340


# --- the live layer: the page plays the kernel ---

def test_python_turns_the_figure_and_hears_where_it_was_turned(visit, tmp_path):
    viewer = make_viewer()
    page = stages.live(visit, tmp_path, viewer).page
    page.evaluate("tell('position', 3)")
    assert np.array_equal(painted(page, "[data-part=asked]")[0], unpacked(viewer.scene["query"])[3])
    page.locator("input").focus()
    page.keyboard.press("ArrowRight")
    assert page.evaluate("[state.position, saved]") == [4, 1]
