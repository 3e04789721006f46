"""The canvas player's Python side: what is shown, what a reader can ask for, what both layers hold."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from oneshot_lib import attention
from oneshot_lib.widgets import Beside, CanvasPlayer
from oneshot_lib.widgets.canvas_player import window_corners
from oneshot_lib.widgets.frames import frames

T, SIZE = 6, 8


def seeded(seed):
    return torch.Generator().manual_seed(seed)


class Pen:
    """A model of six steps: component k of z_t shades rows 2k and 2k + 1 from step t on."""

    def __init__(self):
        self.asked = []

    def draw(self, n=1, generator=None, z=None):
        self.asked.append("draw")
        return self.drawing(torch.randn(n, T, 4, generator=generator) if z is None else z)

    def reconstruct(self, x, generator=None):
        assert x.shape == (1, 1, SIZE, SIZE) and x.dtype == torch.float32
        self.asked.append("reconstruct")
        return self.drawing(torch.randn(1, T, 4, generator=generator), x)

    def drawing(self, z, x=None):
        if not z.isfinite().all():
            raise FloatingPointError("the pen broke")
        rows = z.cumsum(1).sigmoid().repeat_interleave(2, -1)  # (B, T, 8)
        canvas = rows[:, :, None, :, None].expand(-1, -1, 1, SIZE, SIZE)
        window = attention.axis_aligned(z[..., :2] / 4, z[..., 2:].abs() / 4)
        return SimpleNamespace(probabilities=torch.cat([torch.full_like(canvas[:, :1], 0.5), canvas], 1), z=z,
                               write_window=window, read_window=None if x is None else window,
                               kl=None if x is None else z.square().sum(-1))


@pytest.fixture
def image():
    return (torch.rand(SIZE, SIZE, generator=seeded(1)) > 0.5).float()


@pytest.fixture
def player(image):
    model = Pen()
    player = CanvasPlayer(model.reconstruct(image[None, None], seeded(2)), image, model=model)
    player.sent = []
    player.send = lambda content, buffers=None: player.sent.append(content)
    return player


def ask(player, **request):
    """A message as the figure sends it."""
    player._handle_custom_msg({"request": 7, **request}, [])


def shown(player):
    return np.frombuffer(player.scene["frames"], np.uint8).reshape(-1, *player.scene["size"])


def test_corners_are_those_of_the_attention():
    window = torch.randn(5, 2, 3, generator=seeded(0), dtype=torch.float64)
    expected = attention.corners(window).reshape(5, 8).numpy()
    assert np.abs(np.array(window_corners(window)) - expected).max() <= 5e-4
    swapped = window.flip(1)  # the fault: x and y exchanged
    assert np.abs(np.array(window_corners(swapped)) - expected).max() > 0.1


def test_the_scene_is_the_drawing(image):
    drawing = Pen().drawing(torch.randn(3, T, 4, generator=seeded(3)), image)
    scene = CanvasPlayer(drawing, image[None], index=1).scene
    assert scene["steps"] == T == len(scene["write"]) == len(scene["read"]) and scene["size"] == [SIZE, SIZE]
    assert scene["frames"] == frames(drawing, 1).tobytes() != frames(drawing, 0).tobytes()
    assert scene["target"] == (255 * image.numpy().astype(np.uint8)).tobytes()
    assert sum(scene["kl"]) == pytest.approx(drawing.kl[1].sum().item(), abs=1e-2)
    assert np.allclose(scene["z"], drawing.z[1], atol=1e-3)


def test_one_image_a_drawing(image):
    drawing = Pen().drawing(torch.zeros(2, T, 4))
    both = torch.stack([image, 1 - image])[:, None]
    scenes = [CanvasPlayer(drawing, both, index=k).scene["target"] for k in range(2)]
    assert scenes[0] == CanvasPlayer(drawing, image).scene["target"] != scenes[1]
    with pytest.raises(ValueError, match="image"):
        CanvasPlayer(drawing, both[:1], index=1)


def test_bad_arguments_are_named(image):
    drawing = Pen().drawing(torch.zeros(1, T, 4))
    bad = {"image holds": {"image": 255 * image}, r"expected \(8, 8\)": {"image": image[:4]},
           "image has shape": {"image": torch.zeros(3, SIZE, SIZE)}, "index is 1": {"index": 1},
           "description is": {"description": "a figure"}}
    for match, arguments in bad.items():
        with pytest.raises(ValueError, match=match):
            CanvasPlayer(drawing, **arguments)
    for field in ("write_window", "z"):
        short = SimpleNamespace(**{**vars(drawing), field: getattr(drawing, field)[:, 1:]})
        with pytest.raises(ValueError, match=rf"drawing.{field} holds \(5, .*expected \(6, "):
            CanvasPlayer(short)


def test_a_moved_latent_draws_again_from_its_step_on(player):
    before, z = shown(player), player._z.clone()
    ask(player, latents=[[2, 1, 3.0], [2, 3, -3.0]])
    after = shown(player)
    assert player.sent == [{"answered": 7}] and player.error == ""
    assert np.array_equal(after[:3], before[:3])  # the canvases after 0, 1, 2 steps know nothing of z_3
    moved = (after[3:] != before[3:]).any((0, 2))
    assert moved[[2, 3, 6, 7]].all() and not moved[[0, 1, 4, 5]].any()
    assert player.scene["by_hand"] and player.scene["kl"] is None and player.scene["z"][2][1] == 3
    assert torch.equal(player._unmoved[1], z)  # the first z is not written on
    ask(player, latents=[[4, 0, 1.0]])
    assert player.scene["z"][2][1] == 3 and player.scene["z"][4][0] == 1  # changes add up
    ask(player, restore=True)
    assert np.array_equal(shown(player), before) and torch.equal(player._z, z) and player.scene["kl"]


def test_another_drawing_is_of_the_image_or_of_nothing(player):
    player._model.asked.clear()
    pictures = [shown(player)]
    for _ in range(2):
        ask(player, another=True)
        pictures.append(shown(player))
    assert player._model.asked == ["reconstruct"] * 2 and player.scene["kl"] and not player.scene["by_hand"]
    assert not any(np.array_equal(pictures[a], pictures[b]) for a, b in ((0, 1), (1, 2), (0, 2)))
    free = CanvasPlayer(Pen().draw(generator=seeded(0)), model=Pen())
    ask(free, another=True)
    assert free._model.asked == ["draw"] and free.scene["kl"] is None and free.scene["target"] is None


def test_same_generator_same_drawings():
    def frames_of(seed):
        player = CanvasPlayer(Pen().draw(generator=seeded(0)), model=Pen(), generator=seeded(seed))
        ask(player, another=True)
        return player.scene["frames"]

    assert frames_of(5) == frames_of(5) != frames_of(6)


def test_an_error_is_shown_and_the_figure_lives_on(player):
    before = player.scene
    ask(player, latents=[[0, 0, float("nan")]])
    assert player.error == "FloatingPointError: the pen broke" and player.scene is before
    ask(player, latents=[[99, 0, 0.0]])
    assert player.error.startswith("IndexError")
    assert len(player.sent) == 2  # an answer to each, so that the figure does not wait
    ask(player, latents=[[0, 0, 1.0]])
    assert player.error == "" and player.scene is not before


def test_nothing_is_remembered_for_a_gradient(player):
    player._model.scale = torch.ones((), requires_grad=True)
    plain = player._model.drawing
    player._model.drawing = lambda z, x=None: plain(z * player._model.scale, x)
    ask(player, another=True)
    assert player.error == "" and not player._z.requires_grad
    assert plain(player._z * player._model.scale).z.requires_grad  # the fault: with gradients on
    assert not CanvasPlayer(plain(player._z * player._model.scale))._z.requires_grad


def test_both_layers_are_offered(player):
    data, _ = player._repr_mimebundle_()
    assert set(data) == {"text/plain", "text/html", "application/vnd.jupyter.widget-view+json"}
    assert player.description in data["text/plain"]
    assert data["text/html"] == player.static_html()
    static = player.static_state()
    assert player.live and not static["live"] and static["scene"]["z"] is None


def test_two_stand_beside_each_other_in_both_layers(player):
    other = CanvasPlayer(Pen().draw(generator=seeded(0)))
    data = Beside(player, other)._repr_mimebundle_()
    assert set(data) == {"text/plain", "text/html", "application/vnd.jupyter.widget-view+json"}
    assert player.static_html() in data["text/html"] and other.static_html() in data["text/html"]
    with pytest.raises(ValueError, match="str"):
        Beside(player, "text")


def test_a_static_copy_is_small():
    z = torch.randn(1, 24, 4, generator=seeded(0))
    canvas = torch.rand(1, 25, 1, 28, 28, generator=seeded(0))
    window = attention.axis_aligned(z[..., :2], z[..., 2:])
    drawing = SimpleNamespace(probabilities=canvas, z=z, write_window=window, read_window=window,
                              kl=z.square().sum(-1))
    size = len(CanvasPlayer(drawing, canvas[0, -1, 0]).static_html().encode())
    assert size < 70_000  # noise is the worst still there is; a drawn symbol takes a tenth
