"""The pixel player's Python side: what is kept of a model's attention is what the model said."""

import numpy as np
import pytest
import torch

from oneshot_lib.models.attention_pixelcnn import AttentionConfig, AttentionPixelCNN
from oneshot_lib.widgets import PixelPlayer
from oneshot_lib.widgets.pixel_player import ENOUGH, FEW, MOST, Writing, heaviest, in_doubt, means, writing

H, W, N = 5, 6, 3


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def bits(*shape, seed=0):
    return (torch.rand(shape, generator=seeded(seed)) > 0.6).double()


@pytest.fixture(scope="module")
def model():
    with torch.random.fork_rng():
        torch.manual_seed(1)
        config = AttentionConfig(channels=4, layers=3, key=4, reads=(1, 2), heads=2, encoder_channels=4)
        model = AttentionPixelCNN(config).double().eval().requires_grad_(False)
        model.support.keys.weight.mul_(60)  # an untrained one looks at all places alike
    return model


@pytest.fixture
def one(model):
    return writing(model, bits(1, H, W), bits(N, 1, H, W, seed=1), "a letter")


def dense(player, example=0):
    """The maps that are kept, as (pixels, N H W), the heaviest place of a pixel 1."""
    player.example = example
    maps = np.zeros((H * W, N * H * W))
    for i in range(H * W):
        where, weight = player.places(i)
        maps[i, where] = weight / 255
    return maps


def test_a_writing_is_what_the_model_reads(model, one):
    reading = model.read(bits(1, H, W)[None], bits(N, 1, H, W, seed=1)[None])
    assert torch.equal(one.ink, reading.ink[0])
    assert torch.allclose(one.weights, reading.weights[0].mean((0, 1))) and one.weights.shape == (H, W, N, H, W)
    second = writing(model, bits(1, H, W), bits(N, 1, H, W, seed=1), head=2)
    assert torch.equal(second.weights, reading.weights[0, 1, 0]) and not torch.allclose(second.weights, one.weights)


def test_what_is_kept_of_a_map_are_its_heaviest_places(one):
    weights = one.weights.numpy().reshape(H * W, -1)
    sure = one._replace(ink=torch.arange(H * W).view(H, W) % 2 * 0.5)  # every other pixel is in doubt
    kept, most = dense(PixelPlayer([sure])), np.where(in_doubt(sure.ink.numpy()), MOST, FEW)
    assert in_doubt(sure.ink.numpy()).tolist() == [False, True] * (H * W // 2)
    top = weights.max(1, keepdims=True)
    assert (np.abs(kept - weights / top)[kept > 0] <= 0.5 / 255 + 1e-9).all()
    for i in range(H * W):
        left_out = weights[i][kept[i] == 0]
        assert left_out.max(initial=0) <= weights[i][kept[i] > 0].min() + 1e-12
        full = (kept[i] > 0).sum() == most[i] or left_out.sum() <= 1 - ENOUGH + 1e-9
        assert full or left_out.max() <= 0.5 * top[i] / 255  # nothing is left out that could be seen
    shuffled = kept[::-1]  # the fault: another pixel's map
    assert np.abs(shuffled - weights / top)[shuffled > 0].max() > 0.1


def test_how_much_is_shown_is_said():
    flat, sharp = np.full((1, 500), 1 / 500), np.eye(500)[:1]
    assert heaviest(flat).shown[0] == round(255 * MOST / 500) and heaviest(sharp).shown[0] == 255
    assert heaviest(flat, 20).shown[0] == round(255 * 20 / 500)
    assert heaviest(flat).counts[0] == MOST and heaviest(sharp).counts[0] == 1


def test_the_mean_place_and_the_share_are_those_of_the_whole_map():
    weights = np.zeros((1, 2, H, W))
    weights[0, 0, 1, 2], weights[0, 0, 3, 2], weights[0, 1, 4, 5] = 0.25, 0.25, 0.5
    share, place = means(weights)
    assert share.tolist() == [[0.5, 0.5]] and place.tolist() == [[[2, 2], [4, 5]]]


def test_a_place_is_kept_to_half_a_255th_of_the_page(one):
    scene = PixelPlayer([one]).scenes[0]
    share, place = means(one.weights.numpy().reshape(H * W, N, H, W))
    kept = np.frombuffer(scene["place"], np.uint8).reshape(H * W, N, 2) / 255 * [H - 1, W - 1]
    assert np.abs(kept - place).max() <= 0.51 * (W - 1) / 255
    assert np.abs(np.frombuffer(scene["share"], np.uint8).reshape(H * W, N) / 255 - share).max() <= 0.51 / 255


def test_several_writings_may_differ_in_their_support(model, one):
    other = writing(model, bits(1, H, W, seed=5), bits(1, 1, H, W, seed=6))
    player = PixelPlayer([one, other], example=1, step=7)
    assert [scene["drawings"] for scene in player.scenes] == [N, 1]
    assert [scene["name"] for scene in player.scenes] == ["a letter", "example 2"]
    assert (player.example, player.step) == (1, 7)


def test_both_layers_hold_the_same_state_and_the_copy_needs_nothing_else(one):
    player = PixelPlayer([one], step=9, label="a letter")
    html, static = player.static_html(), player.static_state()
    assert set(static) <= set(player.traits(sync=True)) and static["scenes"] == player.scenes
    assert 'class="oneshot oneshot-player oneshot-pixels"' in html and player.description in html
    assert "http://" not in html and "https://" not in html
    before = player.still()
    player.step = H * W
    assert player.still() != before and before[:4] == b"\x89PNG"


def test_what_does_not_fit_is_refused(model, one):
    changed = {
        "x has shape": one._replace(x=one.x[None]),
        "weights has shape": one._replace(weights=one.weights[:, :, :2]),
        "weights sum to": one._replace(weights=one.weights / 2),
        "ink holds": one._replace(ink=one.ink + 1),
        "zeros and ones": one._replace(support=one.support / 2),
    }
    for named, wrong in changed.items():
        with pytest.raises(ValueError, match=named):
            PixelPlayer([wrong])
    with pytest.raises(ValueError, match="writings is empty"):
        PixelPlayer([])
    with pytest.raises(ValueError, match="head is 4"):
        writing(model, one.x[None], one.support[:, None], head=4)
    with pytest.raises(ValueError, match="x has shape"):
        writing(model, one.x, one.support)


@pytest.mark.parametrize("wrong, named", [(dict(example=1), "example is 1"), (dict(step=H * W + 1), "step is 31"),
                                          (dict(step=-1), "step is -1"), (dict(description="a"), "description")])
def test_a_place_that_there_is_not_is_refused(wrong, named, one):
    with pytest.raises(ValueError, match=named):
        PixelPlayer([one], **wrong)


def test_a_writing_of_plain_arrays_will_do():
    weights = np.full((2, 2, 1, 2, 2), 0.25)
    player = PixelPlayer([Writing(np.eye(2), np.eye(2)[None], weights, np.full((2, 2), 0.5))])
    assert player.places(3)[0].tolist() == [0, 1, 2, 3]
