"""The support picker's Python side: every choice is there, and what differs between two is due to the drawings."""

import numpy as np
import pytest
import torch

from oneshot_lib.models.homoencoder import PixelCNNHomoencoder, PixelCNNHomoencoderConfig
from oneshot_lib.widgets.support_picker import SupportPicker, choices, packed

SIZE, CHARACTERS, DRAWINGS, SAMPLES, CHANNELS = 8, 2, 3, 2, 3


def seeded(seed):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def model():
    with torch.random.fork_rng():
        torch.manual_seed(1)
        config = PixelCNNHomoencoderConfig(image_size=SIZE, class_channels=CHANNELS, element_latent=2, channels=4,
                                           decoder_layers=1)
        model = PixelCNNHomoencoder(config).eval().requires_grad_(False)
        model.pixelcnn.output.weight.mul_(3)
        model.pixelcnn.output.bias.zero_()
        for layer in model.pixelcnn.layers:  # an untrained one hardly looks at c
            layer.condition_h.weight.mul_(10)
    return model


@pytest.fixture(scope="module")
def support():
    return (torch.rand(CHARACTERS, DRAWINGS, 1, SIZE, SIZE, generator=seeded(2)) > 0.7).float()


def make(model, support, **arguments):
    return SupportPicker(model, support, samples=SAMPLES, generator=seeded(3), **arguments)


@pytest.fixture
def picker(model, support):
    picker = make(model, support)
    picker.sent = []
    picker.send = lambda content, buffers=None: picker.sent.append(content)
    return picker


def unpacked(content, *shape):
    rows = np.frombuffer(content, np.uint8).reshape(-1, SIZE * SIZE // 8)
    return np.unpackbits(rows, axis=1).reshape(*shape, SIZE, SIZE)


def made(picker):
    return unpacked(picker.scene["made"], CHARACTERS, 2**DRAWINGS - 1, SAMPLES)


def latents(picker):
    levels = np.frombuffer(picker.scene["latents"], np.int8)
    return levels.reshape(CHARACTERS, DRAWINGS, CHANNELS, SIZE, SIZE).astype(float)


def test_bits_come_back_as_they_went_in(support):
    assert np.array_equal(unpacked(packed(support), CHARACTERS, DRAWINGS), support[:, :, 0].numpy())
    odd = torch.tensor([[[1, 0, 1], [0, 1, 1], [1, 1, 1]]] * 2)  # nine pixels: a drawing begins on a byte of its own
    assert packed(odd) == bytes([0b10101111, 0b10000000] * 2)
    with pytest.raises(ValueError, match="zeros and ones"):
        packed(support / 2)


def test_every_choice_is_there_once():
    assert len(choices(5)) == 31 == len({tuple(chosen) for chosen in choices(5)})
    assert {len(chosen) for chosen in choices(5)} == {1, 2, 3, 4, 5}
    assert all(sum(1 << j for j in chosen) == k + 1 for k, chosen in enumerate(choices(5)))


def test_the_drawings_of_a_choice_are_the_models_from_that_choice(model, support, picker):
    again = seeded(3)
    noise = [torch.randn(SAMPLES, n, generator=again) for n in (model.class_size, model.element_size)]
    uniform = torch.rand(SAMPLES, SIZE, SIZE, generator=again)
    for k, chosen in enumerate(choices(DRAWINGS)):
        for character in range(CHARACTERS):
            q = model.posterior(support[[character]][:, chosen])
            y = model.features(q.sample(noise[0]), noise[1])
            expected = model.pixelcnn.sample((SIZE, SIZE), y=y, noise=uniform)[:, 0]
            assert np.array_equal(made(picker)[character, k], expected.numpy())
    other = made(make(model, support.flip(1)))  # the fault: the drawings in another order
    assert not np.array_equal(other, made(picker))


def test_the_noise_is_the_same_for_every_choice(model, support):
    same = support[:, :1].expand_as(support)  # a character drawn the same way each time
    pictures = made(make(model, same.contiguous()))
    assert (pictures == pictures[:, :1]).all() and not (pictures[:, :, 0] == pictures[:, :, 1]).all()


def test_the_latent_of_a_choice_is_the_average_over_its_drawings(model, support, picker):
    chosen = [0, 2]
    for character in range(CHARACTERS):
        mean = model.template(model.posterior(support[[character]][:, chosen]).mean)[0].numpy()
        shown = latents(picker)[character, chosen].mean(0)
        scale = (shown * mean).sum() / (mean * mean).sum()
        assert np.abs(shown - scale * mean).max() < 1.01  # but for rounding
        wrong = latents(picker)[character, [0, 1]].mean(0)  # the fault: the average over others
        assert np.abs(wrong - scale * mean).max() > 2


def test_the_price_is_one_of_every_choice(model, support, picker):
    prices = picker.scene["prices"]
    assert np.shape(prices) == (CHARACTERS, 2**DRAWINGS - 1)
    noise = torch.randn(SAMPLES, model.class_size, generator=seeded(3))[:1]
    q = model.posterior(support[:1])
    assert prices[0][-1] == pytest.approx(model.class_kl(q, q.sample(noise)).item(), abs=0.06)


def test_other_drawings_are_asked_for_of_the_choice_that_stands(picker):
    picker.character, picker.chosen = 1, [0, 2]
    picker._handle_custom_msg({"another": True, "request": 7}, [])
    assert picker.error == "" and picker.sent == [{"answered": 7}]
    fresh = picker.fresh
    assert (fresh["character"], fresh["choice"]) == (1, 0b101 - 1)
    first = unpacked(fresh["made"], SAMPLES)
    assert not np.array_equal(first, made(picker)[1, 0b101 - 1])
    picker._handle_custom_msg({"another": True, "request": 8}, [])
    assert not np.array_equal(unpacked(picker.fresh["made"], SAMPLES), first)


def test_an_error_is_shown_and_answered(picker):
    picker._model = None
    picker._handle_custom_msg({"another": True, "request": 7}, [])
    assert picker.error.startswith("AttributeError") and picker.sent == [{"answered": 7}]


@pytest.mark.parametrize("wrong, named", [
    (dict(chosen=[]), "chosen is"), (dict(chosen=[3]), "chosen is"), (dict(chosen=[1, 1]), "chosen is"),
    (dict(character=2), "character is 2"), (dict(names=["one"]), "names has 1"), (dict(description="a"), "description"),
])
def test_choices_that_there_are_not_are_refused(wrong, named, model, support):
    with pytest.raises(ValueError, match=named):
        make(model, support, **wrong)


def test_shapes_that_do_not_fit_are_refused(model, support):
    with pytest.raises(ValueError, match="support has shape"):
        SupportPicker(model, support[0])
    with pytest.raises(ValueError, match="N at most 5"):
        SupportPicker(model, support[:, [0] * 6])
    with pytest.raises(ValueError, match="samples is 0"):
        SupportPicker(model, support, samples=0)


def test_both_layers_hold_the_same_state_and_the_copy_needs_nothing_else(picker):
    html = picker.static_html()
    static = picker.static_state()
    assert set(static) <= set(picker.traits(sync=True)) and not static["live"] and static["scene"] == picker.scene
    assert 'class="oneshot oneshot-player oneshot-picker"' in html and picker.description in html
    assert "http://" not in html and "https://" not in html
    picker.chosen = [1]
    assert picker.still() != make(picker._model, picker._support).still() and picker.still()[:4] == b"\x89PNG"
