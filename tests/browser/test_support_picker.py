"""The support picker in a real browser: every choice shows its own drawings and latent, by mouse and by keyboard."""

import json

import numpy as np
import player as players
import pytest
import torch

from oneshot_lib.models.homoencoder import PixelCNNHomoencoder, PixelCNNHomoencoderConfig
from oneshot_lib.widgets.static_html import state_json
from oneshot_lib.widgets.support_picker import SupportPicker, choices, packed

SIZE, CHARACTERS, DRAWINGS, SAMPLES, CHANNELS = 8, 7, 3, 2, 2
both_modes = pytest.mark.parametrize("scheme", ["light", "dark"])
ALPHA = """canvas => [...canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data]
  .filter((_, i) => i % 4 === 3)"""
COLOURS = "canvas => [...canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data]"


@pytest.fixture(scope="module")
def picker():
    with torch.random.fork_rng():
        torch.manual_seed(1)
        config = PixelCNNHomoencoderConfig(image_size=SIZE, class_channels=CHANNELS, element_latent=2, channels=4,
                                           decoder_layers=1)
        model = PixelCNNHomoencoder(config).eval().requires_grad_(False)
        model.pixelcnn.output.weight.mul_(3)
        model.pixelcnn.output.bias.zero_()
        for layer in model.pixelcnn.layers:  # an untrained one hardly looks at c
            layer.condition_h.weight.mul_(10)
    noise = torch.rand(CHARACTERS, DRAWINGS, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(2))
    support = (noise > 0.7).float()
    return SupportPicker(model, support, samples=SAMPLES, chosen=[1], names=[f"letter {k}" for k in range(CHARACTERS)])


@pytest.fixture
def show(visit, tmp_path):
    def opened(picker, scheme="light", width=720, before=""):
        tab = visit(scheme, size=(width, 900))
        file = tmp_path / "page.html"
        head = '<!doctype html><html data-theme="auto"><meta charset="utf-8">'
        file.write_text(f"{head}<body>{before}{picker.static_html()}</body></html>", "utf-8")
        tab.page.goto(file.as_uri())
        tab.page.locator(".oneshot-support button").first.wait_for()
        return tab

    return opened


def made(picker, character, chosen):
    rows = np.frombuffer(picker.scene["made"], np.uint8).reshape(CHARACTERS, -1, SAMPLES, SIZE * SIZE // 8)
    return np.unpackbits(rows[character, choices(DRAWINGS).index(chosen)], axis=-1)


def drawn(page):
    """The new drawings on the page, as zeros and ones."""
    canvases = page.locator("[data-part=made] canvas")
    return np.stack([np.array(canvases.nth(k).evaluate(ALPHA)) // 255 for k in range(SAMPLES)])


def ticked(page):
    """The drawings that are chosen, from 0, as a screen reader hears it."""
    states = page.locator("[role=checkbox]").evaluate_all("all => all.map(one => one.getAttribute('aria-checked'))")
    return [k for k, state in enumerate(states) if state == "true"]


def test_every_choice_shows_its_own_drawings(picker, show):
    page = show(picker).page
    boxes, chosen = page.locator("[role=checkbox]"), {1}
    assert ticked(page) == [1]
    for k in (0, 1, 2, 1, 0):  # {0, 1}, {0}, {0, 2}, {0, 1, 2}, {1, 2}
        boxes.nth(k).click()
        chosen ^= {k}
        assert ticked(page) == sorted(chosen) and f"= {len(chosen)}" in page.locator("[data-part=says]").inner_text()
        assert np.array_equal(drawn(page), made(picker, 0, sorted(chosen)))
    assert not np.array_equal(drawn(page), made(picker, 0, [1]))  # the fault: they do not follow
    assert str(round(picker.scene["prices"][0][0b110 - 1])).lstrip("-") in page.locator("[data-part=says]").inner_text()


def test_the_last_drawing_stays(picker, show):
    page = show(picker).page
    box = page.locator("[role=checkbox]").nth(1)
    assert box.get_attribute("aria-disabled") == "true"
    box.click(force=True)
    assert ticked(page) == [1] and np.array_equal(drawn(page), made(picker, 0, [1]))


def test_the_keyboard_alone_is_enough(picker, show):
    # JupyterLab takes the keys of whatever has the focus, unless that element itself asks it not to.
    notebook = """<script>document.addEventListener("keydown", (event) => {
      if (!event.target.hasAttribute("data-lm-suppress-shortcuts")) event.preventDefault();
    }, true);</script>"""
    page = show(picker, before=notebook).page
    page.locator("input[type=range]").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    assert ticked(page) == [0, 1] and np.array_equal(drawn(page), made(picker, 2, [0, 1]))
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert ticked(page) == [0] and np.array_equal(drawn(page), made(picker, 2, [0]))
    assert page.locator("input").get_attribute("aria-valuetext") == "letter 2"


def test_the_latent_is_the_average_over_the_choice(picker, show):
    page = show(picker).page
    page.locator("[role=checkbox]").first.click()
    levels = np.frombuffer(picker.scene["latents"], np.int8).reshape(CHARACTERS, DRAWINGS, CHANNELS, -1).astype(float)
    mean = levels[0, [0, 1]].mean(0)
    canvases = page.locator("[data-part=latent] canvas")
    assert canvases.count() == CHANNELS
    for channel in range(CHANNELS):
        pixels = np.array(canvases.nth(channel).evaluate(COLOURS)).reshape(-1, 4)
        assert np.abs(pixels[:, 3] - 2 * np.abs(mean[channel])).max() <= 1
        strong = np.abs(mean[channel]) > 30
        assert ((pixels[:, 0] > pixels[:, 2]) == (mean[channel] > 0))[strong].all()  # orange above zero


@both_modes
def test_it_is_a_player_like_the_others_and_asks_for_nothing(scheme, picker, show):
    tab = show(picker, scheme)
    figure = tab.page.locator(".oneshot-player")
    players.move_and_compare(tab.page, figure)
    contrast, text = figure.evaluate(players.CONTRAST)
    assert contrast >= 4.5, text
    assert (tab.attempts, tab.complaints) == ([], [])
    assert not tab.page.get_by_role("button", name="draw another").is_visible()  # there is nobody to ask


def test_everything_has_a_name(picker, show):
    page = show(picker).page
    assert page.get_by_role("slider", name="which character").count() == 1
    for k in range(DRAWINGS):
        assert page.get_by_role("checkbox", name=f"drawing {k + 1}").count() == 1
    assert page.get_by_role("img", name="class latent").count() == 1
    assert page.get_by_role("img", name="new drawing").count() == SAMPLES


def test_it_fits_a_small_screen(picker, show):
    page = show(picker, width=340).page
    assert page.evaluate("document.documentElement.scrollWidth") <= 340


# --- the live layer: the page plays the kernel ---

STAGE = """<style>%s</style><div id="here"></div><script type="module">%s
const view = (text) => new DataView(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
const state = JSON.parse(%s, (_, v) => (v && v.base64 !== undefined ? view(v.base64) : v)), heard = {};
const call = (name, ...what) => (heard[name] || []).forEach((act) => act(...what));
window.sent = [];
window.saved = 0;
window.state = state;
window.tell = (name, value) => { state[name] = value; call("change:" + name); };
window.tellFresh = (text, more) => tell("fresh", { made: view(text), ...more });
window.answer = () => call("msg:custom", { answered: sent.length });
window.close = render({ el: document.getElementById("here"), model: {
  get: (name) => state[name],
  set: (name, value) => JSON.stringify(state[name]) !== JSON.stringify(value) && tell(name, value),
  save_changes: () => window.saved++,
  on: (name, act) => (heard[name] ||= []).push(act),
  off: (name, act) => heard[name].splice(heard[name].indexOf(act), 1),
  send: (message) => sent.push(message),
} });
window.listeners = () => Object.values(heard).flat().length;
</script>"""


@pytest.fixture
def stage(picker, visit, tmp_path):
    state = state_json({**picker.static_state(), "description": picker.description, "live": True})
    file = tmp_path / "live.html"
    stage = STAGE % (picker._css, picker._esm, json.dumps(state))
    file.write_text(f'<!doctype html><html><meta charset="utf-8"><body>{stage}</body></html>', "utf-8")
    tab = visit()
    tab.page.goto(file.as_uri())
    return tab.page


def test_what_python_sets_is_shown_and_where_the_reader_stops_is_told(picker, stage):
    stage.evaluate("tell('chosen', [0, 2])")
    assert ticked(stage) == [0, 2] and np.array_equal(drawn(stage), made(picker, 0, [0, 2]))
    stage.locator("input").focus()
    stage.keyboard.press("End")
    stage.locator("[role=checkbox]").nth(1).click()
    assert stage.evaluate("[state.character, state.chosen, saved]") == [CHARACTERS - 1, [0, 1, 2], 2]


def test_other_drawings_come_from_the_kernel_and_stay_with_their_choice(picker, stage):
    button = stage.get_by_role("button", name="draw another")
    button.click()
    button.click()  # one request at a time
    assert stage.evaluate("sent") == [{"another": True, "request": 1}]
    other = 1 - made(picker, 0, [1]).reshape(SAMPLES, SIZE, SIZE)
    text = json.loads(state_json({"made": packed(other)}))["made"]["base64"]
    stage.evaluate("text => { tellFresh(text, { character: 0, choice: 1 }); answer(); }", text)
    assert np.array_equal(drawn(stage), other.reshape(SAMPLES, -1))
    stage.locator("[role=checkbox]").first.click()
    assert np.array_equal(drawn(stage), made(picker, 0, [0, 1]))
    stage.locator("[role=checkbox]").first.click()
    assert np.array_equal(drawn(stage), other.reshape(SAMPLES, -1))
    button.click()
    assert stage.evaluate("sent.length") == 2


def test_an_error_is_shown_as_text(stage):
    stage.evaluate("tell('error', 'ValueError: <b>c</b> is odd')")
    assert stage.get_by_role("alert").inner_text() == "ValueError: <b>c</b> is odd"


def test_a_closed_figure_listens_to_nothing(stage):
    assert stage.evaluate("listeners()") == 7
    stage.evaluate("close()")
    assert stage.evaluate("listeners()") == 0
