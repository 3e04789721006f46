"""The canvas player in a real browser: its static copy, and its live layer with the page as the kernel."""

import json
import re
from types import SimpleNamespace

import numpy as np
import player as players
import pytest
import stage as stages
import torch

from oneshot_lib import attention
from oneshot_lib.widgets import Beside, CanvasPlayer
from oneshot_lib.widgets.frames import frames
from oneshot_lib.widgets.static_html import state_json

T, SIZE = 8, 12
SLIDER = ".oneshot-track input"
DESCRIPTION = "Noise grows dark in eight steps."


@pytest.fixture
def show(chromium, tmp_path):
    """Opens HTML from a file, motion reduced unless told; keeps what the page asks for, and complains of."""
    contexts = []

    def opened(body, root="", width=720, **options):
        options = {"viewport": {"width": width, "height": 900}, "reduced_motion": "reduce", **options}
        context = chromium.new_context(**options)
        contexts.append(context)
        context.set_offline(True)
        page = context.new_page()
        page.set_default_timeout(5000)
        page.asked, page.complaints = [], []
        page.on("request", lambda request: page.asked.append(request.url))
        page.on("console", lambda message: message.type == "error" and page.complaints.append(message.text))
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        file = tmp_path / f"page{len(contexts)}.html"
        head = f'<!doctype html><html {root}><meta charset="utf-8">'
        file.write_text(f"{head}<body>{body}</body></html>", "utf-8")
        page.goto(file.as_uri())
        return page

    yield opened
    for context in contexts:
        context.close()


def make_drawing(seed=0):
    """Noise that darkens, the windows wandering: every frame differs from every other."""
    generator = torch.Generator().manual_seed(seed)
    canvas = torch.randn(1, T + 1, 1, SIZE, SIZE, generator=generator).cumsum(1).sigmoid()
    z = torch.randn(1, T, 4, generator=generator)
    window = attention.axis_aligned(z[..., :2] / 4, 0.2 + z[..., 2:].abs() / 4)
    return SimpleNamespace(
        probabilities=canvas, z=z, write_window=window, read_window=window / 2, kl=z.square().sum(-1)
    )


def make_player(seed=0, **arguments):
    return CanvasPlayer(make_drawing(seed), torch.eye(SIZE), description=DESCRIPTION, **arguments)


def ink_on(player, name="canvas"):
    """The opacity of every pixel of the (first) canvas of a player."""
    read = "c => [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]"
    values = player.locator(f"[data-part={name}]").evaluate(read)
    return np.array(values, np.uint8).reshape(SIZE, SIZE, 4)[..., 3]


def walk(player, keys):
    """The canvas after each key pressed on the slider."""
    slider = player.locator(SLIDER)
    slider.focus()
    pictures = []
    for key in keys:
        slider.press(key)
        pictures.append(ink_on(player))
    return pictures


def slider_changes_the_picture(player):
    pictures = walk(player, ["Home"] + ["ArrowRight"] * T)
    return all(not np.array_equal(a, b) for a, b in zip(pictures, pictures[1:], strict=False))


# --- the static copy ---


def test_the_slider_turns_the_drawing_step_by_step(show):
    page = show(make_player().static_html())
    pictures = walk(page.locator(".oneshot-player"), ["Home"] + ["ArrowRight"] * T)
    expected = frames(make_drawing())
    assert all(np.array_equal(a, b) for a, b in zip(pictures, expected, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(pictures, expected[::-1], strict=True))  # the fault
    assert np.array_equal(ink_on(page, "target"), 255 * np.eye(SIZE))
    assert page.complaints == []


def test_the_slider_changes_the_picture_and_a_frozen_one_is_caught(show):
    player, frozen = make_player(), make_player()
    still = frames(make_drawing())[-1:].repeat(T + 1, 0)
    frozen.scene = {**frozen.scene, "frames": still.tobytes()}
    assert slider_changes_the_picture(show(player.static_html()).locator(".oneshot-player"))
    assert not slider_changes_the_picture(show(frozen.static_html()).locator(".oneshot-player"))


def test_every_key_of_a_slider_works(show):
    player = show(make_player().static_html()).locator(".oneshot-player")
    expected = frames(make_drawing())
    steps = {"Home": 0, "ArrowUp": 1, "ArrowRight": 2, "ArrowLeft": 1, "End": T, "ArrowDown": T - 1}
    for key, step in steps.items():
        assert np.array_equal(walk(player, [key])[0], expected[step])
        assert player.locator("[data-part=step]").inner_text() == f"t = {step} of {T}"
        assert player.locator(SLIDER).get_attribute("aria-valuetext").startswith(f"step {step} of {T}")


def test_it_is_like_the_others(visit, tmp_path):
    players.is_like_the_others(visit, tmp_path, make_player(model=object(), label="Additive canvas"))


def test_windows_and_prices_follow_the_step(show):
    page, kl = show(make_player().static_html()), make_drawing().kl[0].numpy()
    walk(page.locator(".oneshot-player"), ["Home", "ArrowRight", "ArrowRight", "ArrowRight"])
    for part, scale in (("canvas", 1), ("target", 0.5)):
        points = page.locator(f"[data-part={part}-window]").get_attribute("points").split()
        corners = attention.corners(make_drawing().write_window[0, 2] * scale).clamp(-1.06, 1.06)
        found = np.array(points, float).reshape(-1, 2)
        assert np.abs(found[:, None] - corners.numpy()).max(-1).min(0).max() < 2e-3
    heights = page.locator("[data-part=bars] span").evaluate_all("bars => bars.map(b => b.offsetHeight)")[1:]
    assert all(heights[:3]) and not any(heights[3:])
    assert np.allclose(np.array(heights[:3]) / max(heights[:3]), kl[:3] / kl[:3].max(), atol=0.03)
    assert float(page.locator("[data-part=sum]").inner_text()) == pytest.approx(kl[:3].sum(), abs=0.06)
    assert "nats" in page.locator("[data-part=top]").inner_text()


def test_a_bar_stands_above_the_thumb_of_its_step(show):
    page = show(make_player().static_html())
    track = page.locator(SLIDER).bounding_box()
    for step in (1, 5, T):
        walk(page.locator(".oneshot-player"), ["Home"] + ["ArrowRight"] * step)
        bar = page.locator("[data-part=bars] span").nth(step).bounding_box()
        thumb = track["x"] + 8 + (track["width"] - 16) * step / T
        assert abs(bar["x"] + bar["width"] / 2 - thumb) < 1.5


def test_the_static_copy_asks_for_nothing(show):
    page = show(make_player().static_html())
    walk(page.locator(".oneshot-player"), ["End", "Home"])
    strangers = [url for url in page.asked if not url.startswith(("file:", "data:"))]
    assert strangers == [] and page.complaints == []
    leaking = show(make_player().static_html() + '<img alt="" src="https://example.org/a.png">')  # the fault
    assert [url for url in leaking.asked if not url.startswith(("file:", "data:"))]


def test_players_on_one_page_do_not_meet(show):
    page = show(make_player().static_html() * 2 + make_player(seed=1).static_html())
    players = page.locator(".oneshot-player")
    assert players.count() == 3 and page.locator(".oneshot-still").count() == 0
    for k in range(3):
        walk(players.nth(k), ["End"])
    pictures = [ink_on(players.nth(k)) for k in range(3)]
    walk(players.nth(0), ["Home"])
    assert not np.array_equal(ink_on(players.nth(0)), pictures[0])
    assert all(np.array_equal(ink_on(players.nth(k)), pictures[k]) for k in (1, 2))
    assert np.array_equal(pictures[0], pictures[1]) and not np.array_equal(pictures[0], pictures[2])


def test_without_a_script_there_is_a_described_picture(show):
    page = show(make_player().static_html(), java_script_enabled=False)
    still = page.locator(".oneshot-player img")
    assert still.is_visible() and still.get_attribute("alt") == DESCRIPTION
    assert still.bounding_box()["width"] > 200 and page.locator("canvas").count() == 0


def test_the_static_copy_has_no_kernel_controls_and_everything_has_a_name(show):
    page = show(make_player(model=object()).static_html())
    assert page.get_by_role("button", name="draw another").count() == page.locator("select").count() == 0
    assert (
        page.get_by_role("slider", name="step of the drawing").count() == page.locator("input").count() == 1
    )
    assert page.get_by_role("img", name=DESCRIPTION).count() == 1
    names = page.locator("button").evaluate_all("all => all.map(b => b.getAttribute('aria-label'))")
    assert len(names) == 4 and all(len(name) >= 4 for name in names)


def test_it_draws_by_itself_once_and_not_where_motion_is_unwelcome(show):
    last = frames(make_drawing())[-1]
    calm = show(make_player().static_html())
    assert np.array_equal(ink_on(calm), last)
    moving = show(make_player().static_html(), reduced_motion="no-preference")
    assert not np.array_equal(ink_on(moving), last)
    again = moving.get_by_role("button", name="draw again")
    again.wait_for()
    assert np.array_equal(ink_on(moving), last)
    again.click()
    moving.get_by_role("button", name="pause").click()
    assert moving.get_by_role("button", name="play").count() == 1


def test_below_the_fold_it_waits(show):
    body = '<div style="height: 3000px"></div>' + make_player().static_html()
    page = show(body, reduced_motion="no-preference")
    page.wait_for_timeout(200)
    assert page.locator("[data-part=step]").inner_text() == f"t = 0 of {T}"
    page.locator(".oneshot-player").scroll_into_view_if_needed()
    page.get_by_role("button", name="draw again").wait_for()


def test_buttons_step_and_bars_can_be_clicked(show):
    page, expected = show(make_player().static_html()), frames(make_drawing())
    page.get_by_role("button", name="one step back").click()
    assert np.array_equal(ink_on(page), expected[T - 1])
    page.get_by_role("button", name="one step forward").click()
    assert np.array_equal(ink_on(page), expected[T])
    assert page.get_by_role("button", name="one step forward").is_disabled()
    bars = page.locator("[data-part=bars]").bounding_box()
    page.locator("[data-part=bars]").click(position={"x": bars["width"] * 3.5 / (T + 1), "y": 20})
    assert np.array_equal(ink_on(page), expected[3])


# --- light, dark, narrow ---

COLOURS = """part => {
  const style = (e) => getComputedStyle(document.querySelector(e));
  return [style(`[data-part=${part}]`).color, style(".oneshot-player").backgroundColor];
}"""
DARK = [("", "dark"), ('data-theme="dark"', "light"), ('data-theme="auto"', "dark")]
LIGHT = [("", "light"), ('data-theme="light"', "dark")]


def luminance(colour):
    channels = np.array([int(v) for v in re.findall(r"\d+", colour)[:3]]) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("root, system", DARK + LIGHT)
def test_it_can_be_read_in_the_page_s_own_theme(show, root, system):
    page = show(make_player().static_html(), root, color_scheme=system)
    for part in ("step", "top", "sum", "all", "speed"):
        text, card = map(luminance, page.evaluate(COLOURS, part))
        assert (card < 0.1) == ((root, system) in DARK)
        assert (max(text, card) + 0.05) / (min(text, card) + 0.05) >= 4.5
    flip = page.locator("[data-part=canvas]").evaluate("c => getComputedStyle(c).filter")
    assert ("invert" in flip) == ((root, system) in DARK)


def test_it_follows_a_theme_that_changes(show):
    page = show(make_player().static_html(), 'data-theme="light"')
    before = page.evaluate(COLOURS, "step")
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    after = page.evaluate(COLOURS, "step")
    assert luminance(before[1]) > 0.9 > 0.1 > luminance(after[1]) and luminance(after[0]) > 0.5


@pytest.mark.parametrize("width", [400, 720])
def test_it_fits_the_page(show, width):
    page = show(make_player(label="Additive canvas").static_html(), width=width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    parts = [f"[data-part={part}]" for part in ("canvas", "target", "slider", "step")]
    boxes = [page.locator(part).bounding_box() for part in parts]
    assert all(box["x"] >= 0 and box["x"] + box["width"] <= width for box in boxes)
    assert boxes[0]["width"] == pytest.approx(boxes[0]["height"], abs=1)
    assert boxes[0]["width"] > 0.35 * min(width, 640)


def test_two_stand_beside_each_other_where_there_is_room(show):
    body = Beside(make_player(), make_player(seed=1)).static_html()
    (left, right) = (show(body).locator(".oneshot-player").nth(k).bounding_box() for k in range(2))
    assert left["y"] == right["y"] and left["x"] + left["width"] < right["x"] and left["width"] > 300
    narrow = show(body, width=400)
    (upper, lower) = (narrow.locator(".oneshot-player").nth(k).bounding_box() for k in range(2))
    assert upper["x"] == lower["x"] and upper["y"] + upper["height"] <= lower["y"]
    assert narrow.evaluate("document.documentElement.scrollWidth") <= 400


# --- the live layer: the page plays the kernel ---

@pytest.fixture
def stage(show):
    player = make_player(model=object())
    return show(stages.live_body(player))


def test_a_moved_latent_is_asked_for_one_request_at_a_time(stage):
    stage.locator("select").select_option("3")
    z = stage.get_by_role("slider", name="component 2 of z at step 3")
    assert float(z.input_value()) == pytest.approx(make_drawing().z[0, 2, 1].item(), abs=0.03)
    z.fill("1.5")
    assert stage.evaluate("sent") == [{"latents": [[2, 1, 1.5]], "request": 1}]
    z.fill("2")
    z.fill("2.5")
    stage.get_by_role("slider", name="component 4 of z at step 3").fill("-1")
    assert stage.evaluate("sent.length") == 1  # the kernel is still drawing
    stage.evaluate("answer()")
    assert stage.evaluate("sent")[1] == {"latents": [[2, 1, 2.5], [2, 3, -1]], "request": 2}
    stage.evaluate("answer()")
    assert stage.evaluate("sent.length") == 2 and stage.complaints == []


def test_what_python_draws_is_shown(stage):
    assert np.array_equal(ink_on(stage), frames(make_drawing())[-1])
    other = make_player(seed=5).scene["frames"]
    text = json.loads(state_json({"a": other}))["a"]["base64"]
    more = "frames: view(text), kl: null, read: null, by_hand: true"
    stage.evaluate(f"text => tell('scene', {{ ...state.scene, {more} }})", text)
    assert np.array_equal(ink_on(stage), frames(make_drawing(5))[-1])
    assert (
        stage.locator("[data-part=note]").is_visible() and not stage.locator("[data-part=total]").is_visible()
    )
    walk(stage.locator(".oneshot-player"), ["Home", "ArrowRight"])
    assert np.array_equal(ink_on(stage), frames(make_drawing(5))[1])
    assert stage.evaluate("state.step") == 1


def test_an_error_in_python_is_read_in_the_figure(stage):
    alert = stage.locator("[role=alert]")
    assert not alert.is_visible()
    stage.evaluate("tell('error', 'ValueError: <b>z</b> is odd')")
    assert alert.is_visible() and alert.inner_text() == "ValueError: <b>z</b> is odd"
    stage.evaluate("tell('error', '')")
    assert not alert.is_visible()


def test_another_drawing_and_undo_are_asked_for(stage):
    assert stage.get_by_role("button", name="undo").is_disabled()
    stage.get_by_role("button", name="draw another").click()
    assert stage.evaluate("sent") == [{"another": True, "request": 1}]
    assert stage.locator("[aria-busy=true]").count() == 1
    stage.evaluate("answer(); tell('scene', { ...state.scene, by_hand: true })")
    assert stage.locator("[aria-busy=true]").count() == 0
    stage.get_by_role("button", name="undo").click()
    assert stage.evaluate("sent")[1] == {"restore": True, "request": 2}


def test_python_can_turn_the_figure(stage):
    stage.evaluate("tell('step', 2)")
    assert np.array_equal(ink_on(stage), frames(make_drawing())[2])
    assert stage.complaints == []
