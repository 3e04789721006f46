"""The window explorer in a real browser: its own arithmetic is the library's, by mouse, by keys and let go."""


import player as players
import pytest
import stage as stages
import torch

from oneshot_lib.widgets.window_explorer import NUMBERS, WindowExplorer

SIZE, VIEW = 28, 1.25
PLACES = [  # over ink, half outside, nearly everything
    dict(x=0.13, y=-0.21, half_width=0.41, half_height=0.33, angle=0.5, shear=0.3, variance=1.3),
    dict(x=-0.93, y=0.71, half_width=0.22, half_height=0.17, angle=-1.0, shear=-0.4, variance=0.2),
    dict(x=0.52, y=0.38, half_width=1.1, half_height=0.8, angle=2.0, shear=0.1, variance=30.0),
]
GLANCE = """(script, cases) => { const glance = new Function(script + "\\nreturn glance;")();
  return cases.map(([image, size, place, asked]) => {
    const { patch, written, ink, pull } = glance(image, size, place, asked);
    return { patch: [...patch], written: [...written], ink, pull };
  }); }"""


@pytest.fixture(scope="module")
def drawings():
    cross = torch.zeros(2, SIZE, SIZE)
    cross[0, 12:15, 6:24] = cross[0, 5:20, 13:16] = 1
    cross[1, 4:24, 9:11] = 0.6
    return cross


@pytest.fixture
def show(visit, tmp_path):
    def opened(explorer, **page):
        return stages.static(visit, tmp_path, explorer, **{"width": 720, "height": 1000, **page})

    return opened


def number(text):
    """A number as the figure writes it: "−3.2", "1.9·10⁻³⁰", "0, exactly"."""
    text = text.split(",")[0].replace("−", "-").replace("°", "").replace(" px²", "")
    mantissa, _, power = text.partition("·10")
    return float(mantissa) * 10.0 ** int(power.translate(str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")) or 0)


def read(page, name):
    return number(page.locator(f"[data-part={name}]").inner_text())


def matches(page, explorer):
    """Whether the page shows what Python computes for the window that the page shows."""
    for name in NUMBERS[explorer.variety]:
        value = number(page.locator(f"[data-part={name}-now]").inner_text())
        setattr(explorer, name, value * 0.017453292519943295 if name == "angle" else value)
    glance = explorer.glance()
    shown = {name: read(page, f"{name}-pull") for name in glance.pull}
    near = [abs(shown[name] - value) <= 0.06 * abs(value) + 6e-4 for name, value in glance.pull.items()]
    return abs(read(page, "ink") - glance.ink) <= 0.06 * glance.ink + 6e-4 and all(near)


def test_patch_write_and_pull_are_pythons_for_every_variety(drawings, visit):
    explorer, cases, expected = WindowExplorer(drawings), [], []
    for variety, asked in NUMBERS.items():
        for k, place in enumerate(PLACES):
            explorer.variety, explorer.drawing = variety, k % 2
            for name, value in place.items():
                setattr(explorer, name, value)
            cases.append([(explorer._levels[k % 2] / 255).ravel().tolist(), SIZE, place, asked])
            expected.append(explorer.glance())
    script = explorer._esm.rpartition("export default")[0]
    found = visit().page.evaluate(f"([script, cases]) => ({GLANCE})(script, cases)", [script, cases])
    for case, here, glance in zip(cases, found, expected, strict=True):
        torch.testing.assert_close(torch.tensor(here["patch"]).double().view(12, 12), glance.patch, atol=1e-5, rtol=0)
        torch.testing.assert_close(torch.tensor(here["written"]).double().view(SIZE, SIZE), glance.written, atol=1e-5,
                                   rtol=0)
        assert here["ink"] == pytest.approx(glance.ink, abs=1e-9) and set(here["pull"]) == set(case[3])
        assert here["pull"] == pytest.approx(glance.pull, rel=1e-9, abs=1e-9)
    assert max(abs(here["pull"]["x"]) for here in found) > 1  # there is something to compare


def test_it_is_like_the_others_with_a_name_for_everything(drawings, visit, tmp_path):
    explorer = WindowExplorer(drawings, variety="affine", **PLACES[0])
    players.is_like_the_others(visit, tmp_path, explorer)
    page = stages.static(visit, tmp_path, explorer).page
    for name in ("centre x", "centre y", "half-width", "half-height", "angle", "shear"):
        assert page.get_by_role("slider", name=name).count() == 1
    assert page.get_by_role("slider", name="variance").count() == 0  # an affine window has no use for it
    assert page.get_by_role("combobox", name="variety of attention").count() == 1
    assert page.get_by_role("radio", checked=True).get_attribute("aria-label") == "drawing 1"


def test_keys_move_every_number_and_the_mouse_the_window_its_corner_and_its_knob(drawings, show):
    explorer = WindowExplorer(drawings, variety="rotated", **PLACES[0] | {"angle": 0.0})
    page = show(explorer).page
    assert matches(page, explorer)
    for name in NUMBERS["rotated"]:
        before = read(page, f"{name}-now")
        page.locator(f"[data-part={name}]").focus()
        page.keyboard.press("ArrowRight")
        assert read(page, f"{name}-now") > before, name
    box = page.locator("[data-part=where]").bounding_box()

    def at(x, y):
        return box["x"] + (x / VIEW + 1) / 2 * box["width"], box["y"] + (y / VIEW + 1) / 2 * box["height"]

    def drag(start, end):
        page.mouse.move(*at(*start))
        page.mouse.down()
        page.mouse.move(*at(*end), steps=3)
        page.mouse.up()

    page.locator("[data-part=angle]").focus()
    page.keyboard.press("ArrowLeft")  # upright again
    x, y, width, height = (read(page, f"{name}-now") for name in NUMBERS["rotated"][:4])
    drag((x - 0.1, y), (x - 0.4, y + 0.2))
    assert [read(page, f"{name}-now") for name in "xy"] == pytest.approx([x - 0.3, y + 0.2], abs=0.015)
    x, y = read(page, "x-now"), read(page, "y-now")
    drag((x + width, y + height), (x + 0.6, y + 0.3))
    assert [read(page, f"half_{name}-now") for name in ("width", "height")] == pytest.approx([0.6, 0.3], abs=0.015)
    drag((x, y - 0.3 - 0.2), (x + 0.5, y))  # the knob: a quarter turn, from x towards y
    assert read(page, "angle-now") == pytest.approx(90, abs=2)
    drag((1.2, -1.2), (0, 0))  # outside the window there is nothing to hold
    assert read(page, "x-now") == pytest.approx(x, abs=0.015)


def test_on_bare_paper_tents_stay_and_wide_gaussians_come(drawings, show):
    explorer = WindowExplorer(drawings, x=-0.75, y=0.75, half_width=0.2, half_height=0.2)
    page = show(explorer).page
    assert page.locator("[data-part=centre]").inner_text() == "0, exactly"
    tents, gaussians = page.locator("[data-part=versus] b").all_inner_texts()
    assert tents == "0, exactly" and 0 < number(gaussians) < 1e-9
    page.get_by_role("button", name="let go").click()
    page.get_by_role("button", name="let go").wait_for()
    assert read(page, "x-now") == -0.75
    page.get_by_role("combobox").select_option("gaussian")
    page.locator("[data-part=variance]").focus()
    page.keyboard.press("End")
    assert read(page, "variance-now") == 100 and number(page.locator("[data-part=centre]").inner_text()) > 1e-4
    page.get_by_role("button", name="let go").click()
    page.wait_for_function("document.querySelector('input[data-part=x]').value > -0.7")
    page.locator("[data-part=y]").focus()
    page.keyboard.press("ArrowRight")  # a hand on a slider stops it
    assert page.get_by_role("button", name="let go").count() == 1
    assert -0.7 < read(page, "x-now") < 0.5


def test_the_picture_follows_drawing_variety_colours_and_width(drawings, show):
    page = show(WindowExplorer(drawings, **PLACES[0])).page
    figure = page.locator(".oneshot-player")
    seen = {tuple(figure.evaluate(players.PICTURE))}
    page.get_by_role("radio", name="drawing 1").focus()
    page.keyboard.press("ArrowRight")
    seen.add(tuple(figure.evaluate(players.PICTURE)))
    page.get_by_role("combobox").select_option("similarity")
    seen.add(tuple(figure.evaluate(players.PICTURE)))
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    seen.add(tuple(players.at_rest(page, figure)))
    page.set_viewport_size({"width": 340, "height": 1000})
    seen.add(tuple(players.at_rest(page, figure)))
    assert len(seen) == 5 and page.evaluate("document.documentElement.scrollWidth") <= 340


# --- the live layer: the page plays the kernel, and as in a kernel a change is heard by whoever made it ---

def test_with_a_kernel_both_sides_hear_each_other(drawings, visit, tmp_path):
    explorer = WindowExplorer(drawings, **PLACES[0])
    page = stages.live(visit, tmp_path, explorer).page
    page.evaluate("tell('variety', 'gaussian')")
    page.evaluate("tell('variance', 10)")
    assert read(page, "variance-now") == 10
    page.get_by_role("radio", name="drawing 2").click()
    page.locator("[data-part=x]").focus()
    page.keyboard.press("Home")
    assert page.evaluate("[state.drawing, state.x, state.variety, saved]") == [1, -1.2, "gaussian", 2]
