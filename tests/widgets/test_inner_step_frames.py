"""The inner step explorer's Python side: every setting holds what the model makes of it, from the same noise."""

import copy

import numpy as np
import pytest
import torch

from oneshot_lib.models.meta_pixelcnn import MetaConfig, MetaPixelCNN
from oneshot_lib.widgets.inner_step import InnerStepExplorer

SIZE, CHARACTERS, SHOWN, HELD, SAMPLES, RATES, MOST = 8, 2, 2, 3, 2, (0, 1, 3), 2
KEYS = [(k, r, t) for k in range(CHARACTERS) for r in range(len(RATES)) for t in range(MOST + 1)]


def seeded(seed):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def model():
    with torch.random.fork_rng():
        torch.manual_seed(1)
        config = MetaConfig(image_size=SIZE, channels=4, layers=2, first_kernel=3, inner_channels=4, inner_rate=0.5)
        model = MetaPixelCNN(config).double().eval().requires_grad_(False)
        model.inner[-1].weight.mul_(30)  # an untrained loss hardly moves anything
        model.pixelcnn.output.weight.mul_(3)
    return model


@pytest.fixture(scope="module")
def drawings():
    return (torch.rand(CHARACTERS, SHOWN + HELD, 1, SIZE, SIZE, generator=seeded(2)) > 0.7).double()


def make(model, drawings, **arguments):
    arguments = dict(samples=SAMPLES, rates=RATES, most_steps=MOST, generator=seeded(3)) | arguments
    return InnerStepExplorer(model, drawings[:, :SHOWN], drawings[:, SHOWN:], **arguments)


@pytest.fixture
def explorer(model, drawings):
    explorer = make(model, drawings)
    explorer.sent = []
    explorer.send = lambda content, buffers=None: explorer.sent.append(content)
    return explorer


def unpacked(content, *shape):
    rows = np.frombuffer(content, np.uint8).reshape(-1, SIZE * SIZE // 8)
    return np.unpackbits(rows, axis=1).reshape(*shape, SIZE, SIZE)


def made(explorer):
    return unpacked(explorer.scene["made"], CHARACTERS, len(RATES), MOST + 1, SAMPLES)


def expected(model, drawings, steps_of=lambda t: t):
    """Loss, NLL and drawings at every setting, by the model's own `network`."""
    noise = torch.rand(SAMPLES, SIZE, SIZE, generator=seeded(3))
    for k, r, t in KEYS:
        network = model.network(drawings[k, :SHOWN], RATES[r] * model.inner_rate.item(), steps_of(t))
        loss = model.inner_loss(drawings[k, :SHOWN], dict(network.named_parameters())) \
            - model.inner_loss(drawings[k, :SHOWN])
        nll = -network.log_prob(drawings[k, SHOWN:]).mean()
        yield (k, r, t), loss.item(), nll.item(), network.sample((SIZE, SIZE), noise=noise)[:, 0].numpy()


def differences(explorer, truth):
    """How many settings show another loss, another NLL, other drawings."""
    scene, pictures = explorer.scene, made(explorer)
    wrong = np.zeros(3, int)
    for (k, r, t), loss, nll, drawn in truth:
        wrong += (abs(scene["losses"][k][r][t] - loss) > 1e-3, abs(scene["nll"][k][r][t] - nll) > 1e-3,
                  not np.array_equal(pictures[k, r, t], drawn))
    return wrong


def test_every_setting_shows_what_the_models_own_step_makes(model, drawings, explorer):
    assert differences(explorer, expected(model, drawings)).tolist() == [0, 0, 0]


def test_a_missing_step_would_be_seen(model, drawings, explorer):
    late = expected(model, drawings, steps_of=lambda t: max(t - 1, 0))  # the fault
    assert (differences(explorer, late) > 2).all()


def test_without_a_step_or_without_a_rate_nothing_moves(explorer):
    still = [(k, r, t) for k, r, t in KEYS if RATES[r] == 0 or t == 0]
    before = unpacked(explorer.scene["before"], SAMPLES)
    for k, r, t in still:
        assert explorer.scene["losses"][k][r][t] == 0
        assert explorer.scene["nll"][k][r][t] == explorer.scene["nll"][k][0][0]
        assert np.array_equal(made(explorer)[k, r, t], before)
    assert not np.array_equal(made(explorer)[0, 2, MOST], before)


def test_held_out_drawings_change_the_nll_and_nothing_else(model, drawings, explorer):
    other = drawings.clone()
    other[:, SHOWN:] = 1 - other[:, SHOWN:]
    moved = make(model, other).scene
    assert all(moved[name] == explorer.scene[name] for name in ("losses", "made", "before"))
    assert moved["nll"] != explorer.scene["nll"]


def test_a_step_that_goes_to_infinity_leaves_the_page_readable(model, drawings):
    fast = copy.deepcopy(model)
    fast.inner_rate.fill_(4)
    explorer = make(fast, drawings, rates=(0, 1e308), rate=1e308)  # 4e308 is no float64: infinite in any rounding
    for k in range(CHARACTERS):
        assert explorer.scene["nll"][k][1][1:] == [None] * MOST and None not in explorer.scene["nll"][k][0]
    assert "NaN" not in explorer.static_html() and "Infinity" not in explorer.static_html()


def test_other_drawings_are_asked_for_of_the_setting_that_stands(model, drawings, explorer):
    explorer.character, explorer.rate, explorer.steps = 1, 3.0, 2
    explorer._handle_custom_msg({"another": True, "request": 7}, [])
    assert explorer.error == "" and explorer.sent == [{"answered": 7}]
    fresh, again = explorer.fresh, seeded(3)
    assert (fresh["character"], fresh["rate"], fresh["steps"]) == (1, 3.0, 2)
    _, noise = (torch.rand(SAMPLES, SIZE, SIZE, generator=again) for _ in range(2))
    network = model.network(drawings[1, :SHOWN], 3 * model.inner_rate.item(), 2)
    for name, source in (("after", network), ("before", model.pixelcnn)):
        drawn = source.sample((SIZE, SIZE), noise=noise)[:, 0].numpy()
        assert np.array_equal(unpacked(fresh[name], SAMPLES), drawn)


def test_an_error_is_shown_and_answered(explorer):
    explorer._model = None
    explorer._handle_custom_msg({"another": True, "request": 7}, [])
    assert explorer.error.startswith("AttributeError") and explorer.sent == [{"answered": 7}]


@pytest.mark.parametrize("wrong, named", [
    (dict(character=2), "character is 2"), (dict(rate=2.0), "rate is 2"), (dict(steps=MOST + 1), "steps is 3"),
    (dict(names=["one"]), "names has 1"), (dict(description="a"), "description"), (dict(samples=0), "samples is 0"),
    (dict(most_steps=0), "most_steps is 0"), (dict(rates=(1, 2)), "rates is"), (dict(rates=(0, 2, 1)), "rates is"),
])
def test_settings_that_there_are_not_are_refused(wrong, named, model, drawings):
    with pytest.raises(ValueError, match=named):
        make(model, drawings, **wrong)


def test_shapes_and_models_that_do_not_fit_are_refused(model, drawings):
    with pytest.raises(ValueError, match="support has shape"):
        InnerStepExplorer(model, drawings[0], drawings)
    with pytest.raises(ValueError, match="held_out has shape"):
        InnerStepExplorer(model, drawings, drawings[:1])
    with pytest.raises(ValueError, match="256 levels"):
        make(MetaPixelCNN(MetaConfig(image_size=SIZE, channels=4, layers=2, levels=256)), drawings)


def test_both_layers_hold_the_same_state_and_the_copy_needs_nothing_else(model, drawings, explorer):
    html, static = explorer.static_html(), explorer.static_state()
    assert set(static) <= set(explorer.traits(sync=True)) and not static["live"] and static["scene"] == explorer.scene
    assert 'class="oneshot oneshot-player oneshot-inner"' in html and explorer.description in html
    assert "http://" not in html and "https://" not in html
    before = explorer.still()
    explorer.rate, explorer.steps = 3.0, 2
    assert before[:4] == b"\x89PNG" and explorer.still() != before
