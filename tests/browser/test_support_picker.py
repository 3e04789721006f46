"""The support picker in a real browser: every choice shows its own drawings and latent, by mouse and by keyboard."""

import json

import numpy as np
import player as players
import pytest
import stage as stages
import torch

from oneshot_lib.models.homoencoder import PixelCNNHomoencoder, PixelCNNHomoencoderConfig
from oneshot_lib.widgets.static_html import state_json
from oneshot_lib.widgets.support_picker import SupportPicker, choices, packed

SIZE, CHARACTERS, DRAWINGS, SAMPLES, CHANNELS = 8, 7, 3, 2, 2
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
    def opened(picker, **page):
        return stages.static(visit, tmp_path, picker, **page)

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
    page = show(picker, before=stages.NOTEBOOK).page
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


def test_it_is_like_the_others(visit, tmp_path, picker):
    players.is_like_the_others(visit, tmp_path, picker)


def test_everything_has_a_name(picker, show):
    page = show(picker).page
    assert page.get_by_role("slider", name="which character").count() == 1
    for k in range(DRAWINGS):
        assert page.get_by_role("checkbox", name=f"drawing {k + 1}").count() == 1
    assert page.get_by_role("img", name="class latent").count() == 1
    assert page.get_by_role("img", name="new drawing").count() == SAMPLES


# --- the live layer: the page plays the kernel ---

@pytest.fixture
def stage(picker, visit, tmp_path):
    return stages.live(visit, tmp_path, picker).page


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
    stage.evaluate("text => { tell('fresh', { made: view(text), character: 0, choice: 1 }); answer(); }", text)
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
