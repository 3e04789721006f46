"""The plane in a real browser: every point has its drawings and its numbers, by mouse and by keyboard."""


import numpy as np
import player as players
import pytest
import stage as stages
import torch

from oneshot_lib.evaluation import judging
from oneshot_lib.widgets.plane_explorer import PlaneExplorer, Source, Stop

CHARACTERS, COUNT, SIZE = 2, 3, 12
ALPHA = """all => all.map(canvas => [...canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data]
  .filter((_, i) => i % 4 === 3))"""
# Where the ring around the chosen point is, in CSS pixels from the corner of the plane: the middle of what is blue.
RING = """plane => {
  const { width, height } = plane, scale = width / plane.clientWidth;
  const data = plane.getContext('2d').getImageData(0, 0, width, height).data;
  const found = [];
  for (let i = 0; i < width * height; i++) {
    const [r, g, b, a] = data.slice(4 * i, 4 * i + 4);
    if (a > 200 && b - r > 90) found.push([i % width, Math.floor(i / width)]);
  }
  const middle = axis => (Math.min(...found.map(p => p[axis])) + Math.max(...found.map(p => p[axis]))) / 2 / scale;
  return [middle(0), middle(1)];
}"""


def seeded():
    return torch.Generator().manual_seed(0)


def make_explorer(**arguments):
    def place(made, diversity, known, label=""):
        parts = np.stack([np.full(CHARACTERS, diversity), known - np.arange(CHARACTERS)], 1)
        return Stop(diversity, 0.05, known, 1.5, made.numpy(), parts, label)

    def anybody(size):
        return (torch.rand(CHARACTERS, COUNT, size, size, generator=seeded()) < 0.3).float()

    exemplars = (torch.rand(CHARACTERS, SIZE, SIZE, generator=seeded()) < 0.2).float()
    shifts = [judging.shifted(exemplars, k, COUNT, generator=seeded()) for k in range(3)]
    flips = [judging.flipped(exemplars, p / 10, COUNT, generator=seeded()) for p in range(5)]
    sources = [Source("people", "people", [place(anybody(SIZE), 1.3, 97.0)]),
               Source("shifted", "controls", [place(made, k / 5, 100.0, f"{k} px") for k, made in enumerate(shifts)]),
               Source("a model", "models", [place(anybody(9), 0.9, 55.5)]),
               Source("flipped", "controls", [place(m, k / 1.5, 100 - 20 * k, f"{k} %") for k, m in enumerate(flips)])]
    return PlaneExplorer(sources, exemplars, names=["one", "two"], **arguments), sources


@pytest.fixture
def show(visit, tmp_path):
    def opened(explorer, **page):
        return stages.static(visit, tmp_path, explorer, **{"width": 800, "height": 800, **page})

    return opened


def shows(page, where, character=0):
    """Whether the page shows this stop: its drawings, its numbers, and those of its character."""
    painted = np.array(page.locator("[data-part=drawings] canvas").evaluate_all(ALPHA)) // 255
    says, own = (page.locator(f"[data-part={name}]").inner_text() for name in ("says", "own"))
    return (np.array_equal(painted, where.drawings[character].reshape(COUNT, -1))
            and f"{where.diversity:.2f} ± {where.diversity_error:.2f}" in says
            and f"{where.recognizability:.1f} ± {where.recognizability_error:.1f}" in says
            and f"{where.parts[character, 1]:.0f}" in own)


def press(page, name, *keys):
    page.locator(f"[data-part={name}]").focus()
    for key in keys:
        page.keyboard.press(key)


def test_every_stop_is_reached_with_the_keyboard(show):
    explorer, sources = make_explorer()
    page = show(explorer, before=stages.NOTEBOOK).page
    for k, given in enumerate(sources):
        press(page, "chosen", "Home", *["ArrowRight"] * k)
        assert page.locator("[data-part=chosen]").get_attribute("aria-valuetext") == given.name
        walk = page.locator("[data-part=step]")
        assert walk.is_enabled() == walk.is_visible() == (len(given.stops) > 1)
        for m, where in enumerate(given.stops):
            if len(given.stops) > 1:
                press(page, "step", "ArrowRight" if m else "Home")
                assert walk.get_attribute("aria-valuetext") == where.label
            assert shows(page, where), (k, m)
    assert not shows(page, sources[3].stops[0])  # the fault: the drawings stay where they were
    page.get_by_label("which character").select_option("two")
    assert shows(page, sources[3].stops[-1], character=1)


def test_a_click_chooses_the_point_under_the_mouse(show):
    explorer, sources = make_explorer()
    page = show(explorer).page
    plane, spots = page.locator("[data-part=plane]"), {}
    for k, keys in ((0, []), (2, []), (3, ["Home"] + 2 * ["ArrowRight"])):
        press(page, "chosen", "Home", *["ArrowRight"] * k)
        if keys:
            press(page, "step", *keys)
        spots[k] = plane.evaluate(RING)
    for k, (x, y) in spots.items():
        plane.click(position={"x": x + 3, "y": y - 3})
        assert shows(page, sources[k].stops[2 if k == 3 else 0])
        assert np.allclose(plane.evaluate(RING), (x, y), atol=1)  # the ring has come there
    assert spots[0][0] > spots[2][0] and spots[0][1] < spots[2][1]  # people: more diverse, better recognized
    plane.click(position={"x": spots[0][0], "y": spots[0][1] + 60})  # where nobody is
    assert shows(page, sources[3].stops[2])


def test_it_is_like_the_others_with_a_name_for_everything(visit, tmp_path):
    explorer = make_explorer(chosen=1, step=1)[0]  # with a path to walk along
    players.is_like_the_others(visit, tmp_path, explorer)
    page = stages.static(visit, tmp_path, explorer).page
    for name in ("whose drawings", "how far along the path"):
        assert page.get_by_role("slider", name=name).count() == 1
    assert page.get_by_role("img", name="drawing").count() >= COUNT


# --- the live layer: the page plays the kernel ---

def test_python_turns_the_figure_and_hears_where_it_was_turned(visit, tmp_path):
    explorer, sources = make_explorer(chosen=1, step=2)
    page = stages.live(visit, tmp_path, explorer).page
    assert shows(page, sources[1].stops[2])
    page.evaluate("tell('step', 1)")
    assert shows(page, sources[1].stops[1])
    page.evaluate("tell('chosen', 0)")  # one stop only: there is no second
    assert shows(page, sources[0].stops[0])
    press(page, "chosen", "End")
    press(page, "step", "End")
    assert shows(page, sources[3].stops[4])
    assert page.evaluate("[state.chosen, state.step, state.character, saved]") == [3, 4, 0, 2]
