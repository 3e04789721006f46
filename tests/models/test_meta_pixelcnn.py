"""Row A3: the inner step on a learned loss, and the gradient of the outer loss through it."""

import pytest
import torch
from torch import nn
from torch.func import functional_call

from oneshot_lib.models.meta_pixelcnn import MetaConfig, MetaPixelCNN
from oneshot_lib.models.pixelcnn import pixel_log_prob

SIZE = 5
TINY = {"image_size": SIZE, "channels": 3, "layers": 2, "first_kernel": 3, "inner_channels": 3, "inner_rate": 0.2}


def network(cls=MetaPixelCNN, **settings):
    torch.manual_seed(0)
    model = cls(MetaConfig(**TINY | settings)).double()
    for name, parameter in model.named_parameters():
        if name != "log_rate":
            nn.init.normal_(parameter, std=0.5)
    return model


def pictures(*leading, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(*leading, 1, SIZE, SIZE, generator=generator) < 0.4).double()


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


def same(found, expected):
    return found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in found)


def close_weights(found, expected):
    assert found.keys() == expected.keys()
    close(list(found.values()), list(expected.values()))


# --- the outer gradient -----------------------------------------------------------------------------------------------


class FirstOrder(MetaPixelCNN):
    """The fault: the weights after the step, but d theta' / d theta = 1 and no gradient to g and alpha."""

    def adapted(self, support, rate=None, steps=None, create_graph=True):
        before = dict(self.pixelcnn.named_parameters())
        after = super().adapted(support, rate, steps, create_graph=False)
        return {name: value + (after[name] - value).detach() for name, value in before.items()}


class FixedFeatures(MetaPixelCNN):
    """The fault: g and alpha are trained through the step, but the slopes are taken for constant in theta."""

    def inner_loss(self, support, weights=None):
        own = {name: value.detach() for name, value in self.pixelcnn.named_parameters()}
        return super().inner_loss(support, {n: own[n] + (w - w.detach()) for n, w in (weights or own).items()})

    def adapted(self, support, rate=None, steps=None, create_graph=True):
        before = {name: value.detach().requires_grad_() for name, value in self.pixelcnn.named_parameters()}
        slopes = torch.autograd.grad(self.inner_loss(support, before), list(before.values()), create_graph=True,
                                     allow_unused=True)
        rate = self.inner_rate if rate is None else rate
        return {name: value if slope is None else value - rate * slope
                for (name, value), slope in zip(self.pixelcnn.named_parameters(), slopes, strict=True)}


def gradient_errors(model, step=1e-5):
    """By parameter, |found - numeric| / |numeric| of the slope of mean log p(x | s) along one random direction."""
    x, support = pictures(4), pictures(2, 3, seed=1)
    parameters = dict(model.named_parameters())
    found = torch.autograd.grad(model.log_prob(x, support).mean(), list(parameters.values()), allow_unused=True)
    generator, errors = torch.Generator().manual_seed(2), {}
    for (name, parameter), slope in zip(parameters.items(), found, strict=True):
        direction = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
        values = []
        for sign in (1, -1):
            parameter.data.add_(direction, alpha=sign * step)
            values.append(model.log_prob(x, support).mean().item())
            parameter.data.sub_(direction, alpha=sign * step)
        numeric = (values[0] - values[1]) / (2 * step)
        exact = 0.0 if slope is None else (slope * direction).sum().item()
        errors[name] = abs(exact - numeric) / max(abs(numeric), 1e-5)
    return errors


@pytest.mark.parametrize("settings", [{}, {"layers": 3}, {"inner_steps": 2}, {"levels": 4}])
def test_the_outer_gradient_agrees_with_finite_differences(settings):
    errors = gradient_errors(network(**settings))
    assert {"log_rate", "inner.0.weight", "pixelcnn.layers.0.vertical.weight", "pixelcnn.output.bias"} < errors.keys()
    assert max(errors.values()) < 1e-4, errors


@pytest.mark.parametrize("fault", [FirstOrder, FixedFeatures])
def test_an_outer_gradient_cut_at_the_step_is_caught(fault):
    x, support = pictures(4), pictures(2, 3, seed=1)
    close(network(fault).log_prob(x, support), network().log_prob(x, support))  # the value is right, and that is all
    errors = gradient_errors(network(fault))
    assert errors["pixelcnn.layers.0.horizontal.weight"] > 1e-2
    assert (errors["log_rate"] > 0.9) == (errors["inner.0.weight"] > 0.9) == (fault is FirstOrder)


def test_the_step_is_theta_minus_alpha_times_the_slope_of_the_inner_loss():
    model, support, step = network(), pictures(3), 1e-5
    after, parameters = model.adapted(support), dict(model.pixelcnn.named_parameters())
    generator = torch.Generator().manual_seed(0)
    for name, parameter in parameters.items():
        direction, values = torch.randn(parameter.shape, generator=generator).double(), []
        for sign in (1, -1):
            values.append(model.inner_loss(support, parameters | {name: parameter + sign * step * direction}).item())
        slope = (values[0] - values[1]) / (2 * step)
        moved = ((parameter - after[name]) * direction).sum().item()
        assert moved == pytest.approx(0.2 * slope, rel=1e-5, abs=1e-8), name
        assert torch.equal(after[name], parameter) == name.startswith("output."), name  # q does not pass the output


def test_the_inner_loss_is_the_mean_over_the_support_of_g_of_the_features():
    model, support = network(), pictures(3)
    maps = nn.Sequential.forward(model.inner, model.pixelcnn.features(support).relu())
    close(model.inner_loss(support), maps.sum((1, 2, 3)).mean() / SIZE)
    close(model.inner_loss(support), torch.stack([model.inner_loss(s[None]) for s in support]).mean())


def test_g_sees_pixels_after_the_one_in_the_middle():
    """A support image is known: the inner loss is under no order, and every pixel of the support moves it."""
    model, support = network(layers=3), torch.rand(1, 1, SIZE, SIZE, dtype=torch.float64).requires_grad_()
    slope, = torch.autograd.grad(model.inner_loss(support), support)
    assert (slope[0, 0].flatten()[:-1] != 0).all() and slope[0, 0, -1, -1] == 0  # q of no place has the last one


# --- the unconditional model ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("inner", [{"rate": 0}, {"rate": 0.0}, {"rate": torch.zeros(())}, {"steps": 0}])
def test_without_a_step_it_is_the_unconditional_model(inner):
    model, x, support = network(), pictures(4), pictures(2)
    before = dict(model.pixelcnn.named_parameters())
    for graph in (True, False):
        assert same(model.adapted(support, **inner, create_graph=graph), before)
    expected = model.pixelcnn.log_prob(x)
    assert torch.equal(model.network(support, **inner).log_prob(x), expected)
    assert (model.network(support).log_prob(x) - expected).abs().min() > 1e-4


def support_slope(model, rate):
    """How log p(x | s) moves with s."""
    x, support = pictures(2), pictures(3, seed=1).requires_grad_()
    weights = model.adapted(support, rate=rate)
    log_p = pixel_log_prob(functional_call(model.pixelcnn, weights, (x,)), x).sum()
    slope, = torch.autograd.grad(log_p, support, allow_unused=True)
    return 0.0 if slope is None else slope.abs().max().item()


def test_nothing_but_the_step_carries_the_support():
    assert support_slope(network(), 0.0) == 0
    assert support_slope(network(), None) > 1e-4


def test_another_way_for_the_support_is_caught(monkeypatch):
    """The fault: the weights are told the support's ink besides."""
    model = network()
    adapted = model.adapted

    def told(support, **inner):
        weights = adapted(support, **inner)
        return weights | {"output.bias": weights["output.bias"] + support.mean() * torch.tensor([0, 1])}

    monkeypatch.setattr(model, "adapted", told)
    assert support_slope(model, 0.0) > 1e-4


def test_a_target_is_no_part_of_the_step():
    """log p(x | s) of an image does not depend on which others are asked for."""
    model, x, support = network(), pictures(6), pictures(2, 3, seed=1)
    alone = torch.cat([model.log_prob(x[i:i + 1], support[i // 3:i // 3 + 1]) for i in range(6)])
    close(model.log_prob(x, support), alone)


# --- several ways to the same weights ---------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [{}, {"inner_steps": 2}])
def test_the_weights_are_the_same_with_the_graph_and_without(settings):
    model, x, support = network(**settings), pictures(4), pictures(3, seed=1)
    with_graph, without = model.adapted(support), model.adapted(support, create_graph=False)
    close_weights(with_graph, without)
    assert with_graph["layers.0.horizontal.weight"].grad_fn and not any(w.requires_grad for w in without.values())
    with torch.no_grad():
        close_weights(model.adapted(support), without)
        close_weights(model.adapted(support, create_graph=False), without)
        under_none = model.log_prob(x, support[None])
    close(under_none, model.log_prob(x, support[None]))
    assert not under_none.requires_grad


def test_the_networks_weights_are_the_adapted_ones():
    model, x, support = network(), pictures(4), pictures(3, seed=1)
    copy = model.network(support)
    expected = functional_call(model.pixelcnn, model.adapted(support), (x,))
    close(copy.logits(x), expected)
    close(copy.log_prob(x), model.log_prob(x, support[None]))
    close_weights(dict(copy.named_parameters()), model.adapted(support))
    assert not copy.training and not any(p.requires_grad for p in copy.parameters())


def test_two_steps_are_a_step_and_a_step_from_there():
    model, support = network(), pictures(3)
    once, twice = model.adapted(support, steps=1), model.adapted(support, steps=2)
    again = network()
    again.pixelcnn.load_state_dict(once)
    close_weights(again.adapted(support, steps=1), twice)
    name = "layers.0.horizontal.weight"
    assert (twice[name] - once[name]).abs().max() > 1e-4
    doubled = model.adapted(support, rate=0.4, steps=1)[name]  # the fault: both slopes taken at theta
    assert (twice[name] - doubled).abs().max() > 1e-5
    assert same(network(inner_steps=2).adapted(support), twice)  # the setting says how many


def test_a_rate_takes_the_place_of_alpha():
    model, support, name = network(inner_rate=0.3), pictures(2), "layers.1.horizontal.weight"
    before = dict(model.pixelcnn.named_parameters())[name]
    assert model.inner_rate.item() == pytest.approx(0.3, rel=1e-6)
    moves = [model.adapted(support, rate=rate)[name] - before for rate in (None, 0.3, -0.6)]
    torch.testing.assert_close(moves[0], moves[1], rtol=1e-6, atol=0)
    close(moves[2], -2 * moves[1])


@pytest.mark.parametrize("inner", [{}, {"create_graph": False}, {"steps": 0}, {"steps": 0, "create_graph": False}])
def test_the_original_weights_are_never_edited(inner):
    model, x, support = network(), pictures(4), pictures(2, 3)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    model.adapted(support[0], **inner)
    model.log_prob(x, support).sum().backward()
    slopes = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    with torch.no_grad():
        model.log_prob(x, support)
    model.class_log_scores(support, x)
    for parameter in model.network(support[0]).parameters():
        parameter.fill_(7.0)  # the copy is a copy
    model.network(support[0], steps=0).output.bias.fill_(7.0)
    assert same({name: p.detach() for name, p in model.named_parameters()}, before)
    assert len(slopes) == len(before) - 1  # all but the number that is added to the inner loss
    assert same({name: p.grad for name, p in model.named_parameters() if p.grad is not None}, slopes)
    assert all(p.requires_grad and p.is_leaf for p in model.parameters())


@pytest.mark.parametrize("n", [1, 2, 5])
def test_the_support_has_no_order_and_any_size(n):
    model, support, name = network(), pictures(n), "layers.0.vertical.weight"
    after = model.adapted(support)
    close_weights(model.adapted(support.flip(0)), after)
    close_weights(model.adapted(support.repeat(2, 1, 1, 1)), after)  # a mean, and no sum
    for element in range(n):
        changed = support.clone()
        changed[element] = 1 - changed[element]
        assert (model.adapted(changed)[name] - after[name]).abs().max() > 1e-5


def test_a_sum_over_the_support_is_caught(monkeypatch):
    model, support = network(), pictures(2)
    mean = model.inner_loss
    monkeypatch.setattr(model, "inner_loss", lambda support, weights=None: len(support) * mean(support, weights))
    once, twice = model.adapted(support), model.adapted(support.repeat(2, 1, 1, 1))
    assert (once["layers.0.vertical.weight"] - twice["layers.0.vertical.weight"]).abs().max() > 1e-4


def test_half_precision_products_step_roughly_as_well():
    """The gradient too: what a training in bfloat16 follows."""
    x, support = pictures(8).float(), pictures(4, 3, seed=1).float()
    found = []
    for dtype in (torch.float32, torch.bfloat16):
        model = network(image_size=SIZE).float()
        model.product_dtype = dtype
        log_p = model.log_prob(x, support)
        slopes = torch.autograd.grad(log_p.mean(), list(model.parameters()), allow_unused=True)
        assert all(s is None or s.dtype == torch.float32 for s in slopes)
        found.append((log_p.detach(), torch.cat([s.flatten() for s in slopes if s is not None])))
    torch.testing.assert_close(found[1][0], found[0][0], rtol=0.03, atol=0.2)
    assert torch.cosine_similarity(found[0][1], found[1][1], dim=0) > 0.98


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings, named", [
    ({"inner_channels": 0}, "inner_channels is 0"), ({"inner_steps": 0}, "inner_steps is 0; expected a whole number"),
    ({"inner_rate": 0}, "inner_rate is 0; expected a positive number"), ({"inner_rate": -0.1}, "inner_rate is -0.1"),
    ({"inner_rate": float("nan")}, "inner_rate is nan"), ({"inner_rate": float("inf")}, "inner_rate is inf"),
    ({"inner_rate": "0.1"}, "inner_rate is '0.1'"), ({"channels": 0}, "channels is 0"),
])
def test_settings_that_cannot_be_are_named(settings, named):
    with pytest.raises(ValueError, match=named):
        MetaConfig(**settings)


def test_shapes_that_do_not_fit_are_named():
    model, x, support = network(), pictures(4), pictures(2, 3)
    for call in (model.adapted, model.network):
        for wrong in (support, support[0, :0], support[0, 0], torch.zeros(2, 3, SIZE, SIZE).double()):
            with pytest.raises(ValueError, match=r"support has shape .*; expected \(N, 1, H, W\), N at least 1"):
                call(wrong)
        for steps in (-1, 1.5):
            with pytest.raises(ValueError, match=f"steps is {steps}; expected"):
                call(support[0], steps=steps)
    with pytest.raises(ValueError, match=r"support has shape .*; expected \(G, N, 1, H, W\)"):
        model.logits(pictures(5), support)
    with pytest.raises(ValueError, match=r"support has shape .*; expected \(G, N, 1, H, W\)"):
        model.class_log_scores(support[0], x)
