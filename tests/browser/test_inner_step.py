"""The inner step explorer in a real browser: every setting shows its own drawings and numbers, by mouse and by keys."""

import json

import numpy as np
import player as players
import pytest
import stage as stages
import torch

from oneshot_lib.models.meta_pixelcnn import MetaConfig, MetaPixelCNN
from oneshot_lib.widgets.inner_step import InnerStepExplorer
from oneshot_lib.widgets.static_html import state_json
from oneshot_lib.widgets.support_picker import packed

SIZE, CHARACTERS, SAMPLES, RATES, MOST = 8, 3, 4, (0, 0.5, 1, 2, 3, 4), 3
ALPHA = """canvas => [...canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data]
  .filter((_, i) => i % 4 === 3)"""


@pytest.fixture(scope="module")
def explorer():
    with torch.random.fork_rng():
        torch.manual_seed(1)
        config = MetaConfig(image_size=SIZE, channels=4, layers=2, first_kernel=3, inner_channels=4, inner_rate=0.5)
        model = MetaPixelCNN(config).eval().requires_grad_(False)
        model.inner[-1].weight.mul_(40)  # an untrained loss hardly moves anything
        model.pixelcnn.output.weight.mul_(3)
    noise = torch.rand(CHARACTERS, 3, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(2))
    drawings = (noise > 0.7).float()
    return InnerStepExplorer(model, drawings[:, :1], drawings[:, 1:], samples=SAMPLES, rates=RATES, most_steps=MOST,
                             names=[f"letter {k}" for k in range(CHARACTERS)])


@pytest.fixture
def show(visit, tmp_path):
    def opened(explorer, **page):
        return stages.static(visit, tmp_path, explorer, **page)

    return opened


def truth(explorer, character, rate, steps):
    """The drawings after the steps, and what the line of numbers says."""
    scene, r = explorer.scene, RATES.index(rate)
    rows = np.frombuffer(scene["made"], np.uint8).reshape(CHARACTERS, len(RATES), MOST + 1, SAMPLES, SIZE * SIZE // 8)
    nll = scene["nll"][character]
    return np.unpackbits(rows[character, r, steps], axis=-1), [scene["losses"][character][r][steps], nll[0][0],
                                                                nll[r][steps]]


def drawn(page, name="after"):
    canvases = page.locator(f"[data-part={name}] canvas")
    return np.stack([np.array(canvases.nth(k).evaluate(ALPHA)) // 255 for k in range(SAMPLES)])


def shows(page, explorer, *setting):
    pictures, numbers = truth(explorer, *setting)
    says = page.locator("[data-part=says]").inner_text().replace("−", "-").replace("nats", "").replace("→", "")
    read = [float(word) for word in says.split() if word.lstrip("+-")[0].isdigit()]
    near = all(abs(a - b) <= room for a, b, room in zip(read, numbers, (0.006, 0.06, 0.06), strict=True))
    return near and np.array_equal(drawn(page), pictures)


def test_every_setting_shows_its_own_drawings_and_numbers(explorer, show):
    page = show(explorer).page
    assert shows(page, explorer, 0, 1, 1)
    page.locator("[data-part=rate]").focus()
    for rate in (2, 3, 4):
        page.keyboard.press("ArrowRight")
        assert shows(page, explorer, 0, rate, 1)
    page.locator("[data-part=steps]").focus()
    page.keyboard.press("End")
    assert shows(page, explorer, 0, 4, MOST) and not shows(page, explorer, 0, 4, 1)  # the fault: they do not follow
    page.get_by_role("radio", name="letter 2").click()
    assert shows(page, explorer, 2, 4, MOST)
    page.keyboard.press("ArrowRight")  # round and back to the first
    assert shows(page, explorer, 0, 4, MOST)
    page.locator("[data-part=steps]").focus()
    page.keyboard.press("Home")
    assert np.array_equal(drawn(page), drawn(page, "before"))


def test_the_curves_follow_every_slider_the_letter_and_the_page(explorer, show):
    page = show(explorer).page
    figure, seen = page.locator(".oneshot-player"), set()

    def curve():
        return tuple(players.at_rest(page, figure)[-2:])

    for name, key in (("rate", "ArrowRight"), ("steps", "ArrowRight")):
        seen.add(curve())
        page.locator(f"[data-part={name}]").focus()
        page.keyboard.press(key)
    seen.add(curve())
    page.get_by_role("radio", name="letter 1").click()
    seen.add(curve())
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    seen.add(curve())
    page.set_viewport_size({"width": 340, "height": 900})
    seen.add(curve())
    assert len(seen) == 6 and page.evaluate("document.documentElement.scrollWidth") <= 340


def test_it_is_like_the_others(visit, tmp_path, explorer):
    players.is_like_the_others(visit, tmp_path, explorer)


def test_a_dark_site_turns_the_support_over_too(explorer, show):
    # The site's theme dims pictures on dark pages, by a rule that is stronger than one of a widget's.
    theme = "<style>html[data-theme=dark] body img:not(.only-dark, .dark-light) { filter: brightness(0.8) }</style>"
    page = show(explorer, scheme="dark", before=theme).page
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    filters = page.locator(".oneshot-shown img").evaluate_all("all => all.map((one) => getComputedStyle(one).filter)")
    assert filters and all("invert" in one for one in filters)


def test_everything_has_a_name(explorer, show):
    page = show(explorer).page
    for name in ("step size", "number of steps"):
        assert page.get_by_role("slider", name=name).count() == 1
    assert page.get_by_role("radio", checked=True).get_attribute("aria-label") == "letter 0"
    assert page.get_by_role("radio", name="letter").count() == CHARACTERS
    assert page.get_by_role("img", name="drawing").count() >= 2 * SAMPLES
    assert page.get_by_role("img", name="learned loss over the step size").count() == 1
    assert page.locator("[data-part=rate]").get_attribute("aria-valuetext") == "1 times the trained one"


# --- the live layer: the page plays the kernel ---

@pytest.fixture
def stage(explorer, visit, tmp_path):
    return stages.live(visit, tmp_path, explorer).page


def test_what_python_sets_is_shown_and_where_the_reader_stops_is_told(explorer, stage):
    stage.evaluate("tell('rate', 3)")
    assert shows(stage, explorer, 0, 3, 1)
    stage.get_by_role("radio", name="letter 1").click()
    stage.locator("[data-part=steps]").focus()
    stage.keyboard.press("End")
    assert stage.evaluate("[state.character, state.rate, state.steps, saved]") == [1, 3, MOST, 2]


def test_other_drawings_come_from_the_kernel_and_stay_with_their_setting(explorer, stage):
    button = stage.get_by_role("button", name="draw another")
    button.click()
    button.click()  # one request at a time
    assert stage.evaluate("sent") == [{"another": True, "request": 1}]
    other = 1 - truth(explorer, 0, 1, 1)[0].reshape(SAMPLES, SIZE, SIZE)
    text = json.loads(state_json({"made": packed(other)}))["made"]["base64"]
    tell = "tell('fresh', { before: view(text), after: view(text), character: 0, rate: 1, steps: 1 })"
    stage.evaluate(f"text => {{ {tell}; answer(); }}", text)
    assert np.array_equal(drawn(stage), other.reshape(SAMPLES, -1))
    assert np.array_equal(drawn(stage, "before"), other.reshape(SAMPLES, -1))
    stage.locator("[data-part=rate]").focus()
    stage.keyboard.press("ArrowRight")
    assert shows(stage, explorer, 0, 2, 1)
    stage.keyboard.press("ArrowLeft")
    assert np.array_equal(drawn(stage), other.reshape(SAMPLES, -1))
    button.click()
    assert stage.evaluate("sent.length") == 2


def test_an_error_is_shown_as_text(stage):
    stage.evaluate("tell('error', 'ValueError: <b>s</b> is odd')")
    assert stage.get_by_role("alert").inner_text() == "ValueError: <b>s</b> is odd"
