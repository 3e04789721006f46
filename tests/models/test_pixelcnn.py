"""Row A1: the gated PixelCNN itself: what a pixel may see, that it sees all of it, that probabilities are such."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from oneshot_lib.models import pixelcnn
from oneshot_lib.models.pixelcnn import (
    GatedLayer,
    GatedPixelCNN,
    MaskedConv2d,
    PixelCNN,
    PixelCNNConfig,
    gate,
    pair_log_likelihood,
    pixel_log_prob,
)

STACKS = [(1, 3, 3), (1, 5, 3), (2, 3, 3), (3, 3, 3), (2, 3, 5), (2, 7, 3)]  # layers, first_kernel, kernel
every_stack = pytest.mark.parametrize("layers, first_kernel, kernel", STACKS)


def network(seed=0, **settings):
    torch.manual_seed(seed)
    model = GatedPixelCNN(PixelCNNConfig(**{"channels": 4} | settings)).double()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.6)
    return model


def wide_open(**settings):
    """The output's ReLU passes everything, so that a gradient of zero can only mean that nothing is seen."""
    model = network(**settings)
    nn.init.constant_(model.layers[-1].out.bias, 20.0)
    return model


def seen(logits, height=7, width=8):
    """(H, W, H, W): whether the distribution at pixel (i, j) moves with pixel (k, l): the Jacobian at two images."""
    found = torch.zeros(height, width, height, width, dtype=torch.bool)
    for seed in range(2):
        x = torch.rand(1, 1, height, width, generator=torch.Generator().manual_seed(seed)).double()
        jacobian = torch.autograd.functional.jacobian(lambda x: logits(x)[0], x)  # (levels, H, W, 1, 1, H, W)
        found |= (jacobian[..., 0, 0, :, :] != 0).any(0)
    return found


def earlier(reach, height=7, width=8):
    """(H, W, H, W): what may be seen: the pixels before, in reading order, at most `reach` rows and columns away."""
    i, j, k, m = torch.meshgrid(*(torch.arange(side) for side in (height, width) * 2), indexing="ij")
    near = ((i - k).abs() <= reach) & ((j - m).abs() <= reach)
    return near & ((k < i) | ((k == i) & (m < j)))


# --- what a pixel sees ------------------------------------------------------------------------------------------------


@every_stack
def test_a_pixel_sees_all_that_it_may_and_nothing_else(layers, first_kernel, kernel):
    model = wide_open(layers=layers, first_kernel=first_kernel, kernel=kernel)
    reach = first_kernel // 2 + (layers - 1) * (kernel // 2)
    assert torch.equal(seen(model.logits), earlier(reach))


def test_with_a_condition_it_sees_no_more():
    model, y = wide_open(condition_channels=3), torch.randn(1, 3, 7, 8).double()
    assert torch.equal(seen(lambda x: model.logits(x, y)), earlier(2))


def test_the_condition_reaches_a_pixel_from_everywhere_that_the_stacks_do():
    model, x = wide_open(condition_channels=1), torch.rand(1, 1, 7, 8).double()
    i, j, k, m = torch.meshgrid(*(torch.arange(side) for side in (7, 8, 7, 8)), indexing="ij")
    expected = ((i - k).abs() <= 1) & ((j - m).abs() <= 1) & (k <= i)  # y is given whole: the right is no secret
    assert torch.equal(seen(lambda y: model.logits(x, y)), expected)


def mask_b(layer, v, h):
    """The fault: the first layer's horizontal stack reaches as far as the pixel itself."""
    r = layer.reach
    before = layer.horizontal(F.pad(h, (r - 1, 0)) if layer.first else F.pad(h, (r, 0)))
    rows = F.pad(v[:, :, :-1] if layer.first else v, (r, r, r, 0))
    above = None if layer.vertical is None else layer.vertical(rows)
    return above, before + layer.across(rows if layer.first or layer.last else above)


def test_mask_b_in_the_first_layer_is_caught(monkeypatch):
    monkeypatch.setattr(GatedLayer, "features", mask_b)
    itself = torch.eye(7 * 8, dtype=torch.bool).view(7, 8, 7, 8)
    assert (seen(wide_open().logits) & itself).any()
    assert (total_probability(network(), 2, 2) - 1).abs() > 1e-3


def masked_stack(first="A", layers=3):
    torch.manual_seed(0)
    convolutions = [MaskedConv2d("B" if i else first, 4 if i else 1, 4 if i < layers - 1 else 2, 3) for i in
                    range(layers)]
    return nn.Sequential(*convolutions).double()


def test_masked_convolutions_see_nothing_later_but_have_a_blind_spot():
    found, allowed = seen(masked_stack()), earlier(3)
    assert not (found & ~allowed).any()
    blind = allowed & ~found
    assert blind[3, 3, 2, 5] and blind[3, 3, 1, 6] and not blind[3, 3, 2, 4]  # above, and far to the right
    assert not blind[..., :4, :][3, 3][:, :4].any()  # nothing to the left of it


def test_masked_convolutions_with_mask_b_first_see_the_pixel_itself():
    itself = torch.eye(7 * 8, dtype=torch.bool).view(7, 8, 7, 8)
    assert not (seen(masked_stack("A")) & itself).any()
    assert (seen(masked_stack("B")) & itself).sum() == 7 * 8


def test_a_mask_leaves_the_weight_itself_alone():
    layer = MaskedConv2d("A", 2, 3, 3).double()
    before = layer.weight.clone()
    layer(torch.rand(1, 2, 4, 4).double()).square().sum().backward()
    assert torch.equal(layer.weight, before)
    assert torch.equal(layer.weight.grad != 0, layer.mask.bool().expand_as(layer.weight))


def one_stack(positive=False, **settings):
    """The first PixelCNN; with positive weights nothing cancels and every ReLU is open."""
    torch.manual_seed(0)
    model = PixelCNN(PixelCNNConfig(**{"channels": 4} | settings)).double()
    for parameter in model.parameters():
        nn.init.uniform_(parameter, 0.1, 0.5) if positive else nn.init.normal_(parameter, std=0.6)
    return model


def reached(layers, first_kernel, kernel, height=7, width=8):
    """(H, W, H, W): where masked kernels lead, one after the other, on a page of this size."""
    def steps(kernel, own):
        i, j, k, m = torch.meshgrid(*(torch.arange(side) for side in (height, width) * 2), indexing="ij")
        near = ((i - k).abs() <= kernel // 2) & ((j - m).abs() <= kernel // 2)
        return (near & ((k < i) | ((k == i) & (m < j + own)))).flatten(0, 1).flatten(1).double()

    paths = steps(first_kernel, 0)
    for _ in range(layers - 1):
        paths = steps(kernel, 1) @ paths
    return (paths > 0).view(height, width, height, width)


@every_stack
def test_one_stack_sees_what_its_kernels_reach_and_has_a_blind_spot(layers, first_kernel, kernel):
    settings = {"layers": layers, "first_kernel": first_kernel, "kernel": kernel}
    found, expected = seen(one_stack(positive=True, **settings).logits), reached(**settings)
    assert torch.equal(found, expected)
    allowed = earlier(first_kernel // 2 + (layers - 1) * (kernel // 2))
    blind = allowed & ~expected
    assert not (expected & ~allowed).any() and blind.any() == (layers > 1)
    j, m = torch.arange(8).view(1, 8, 1, 1), torch.arange(8)
    assert not (blind & (m <= j)).any()  # it lies above and to the right
    assert not (seen(one_stack(**settings).logits) & ~expected).any()  # with weights of either sign too


def test_one_stack_with_mask_b_first_is_caught():
    model, itself = one_stack(positive=True), torch.eye(7 * 8, dtype=torch.bool).view(7, 8, 7, 8)
    model.first.mask[..., 1, 1] = 1  # the fault
    assert (seen(model.logits) & itself).sum() == 7 * 8
    model = one_stack()
    model.first.mask[..., 1, 1] = 1
    assert (total_probability(model, 2, 2) - 1).abs() > 1e-3


# --- probabilities ----------------------------------------------------------------------------------------------------


def canvases(levels, height, width):
    return torch.tensor(list(itertools.product(range(levels), repeat=height * width))).double().view(
        -1, 1, height, width)


def total_probability(model, height, width, y=None):
    x = canvases(model.config.levels, height, width)
    return model.log_prob(*(x,) if y is None else (x, y.expand(len(x), -1, -1, -1))).exp().sum()


@pytest.mark.parametrize("levels, height, width", [(2, 2, 2), (2, 2, 3), (2, 3, 3), (3, 2, 2), (4, 2, 2), (16, 1, 2)])
def test_the_probabilities_of_all_images_sum_to_one(levels, height, width):
    total = total_probability(network(levels=levels), height, width)
    torch.testing.assert_close(total, torch.ones_like(total))


def test_given_a_condition_they_sum_to_one_too():
    y = torch.randn(1, 3, 2, 3).double()
    total = total_probability(network(condition_channels=3, layers=3), 2, 3, y)
    torch.testing.assert_close(total, torch.ones_like(total))


@pytest.mark.parametrize("levels, height, width", [(2, 2, 2), (2, 1, 3), (4, 2, 2), (4, 1, 3)])
def test_those_of_one_stack_do_too(levels, height, width):
    total = total_probability(one_stack(levels=levels), height, width)
    torch.testing.assert_close(total, torch.ones_like(total))


@pytest.mark.parametrize("build", [network, one_stack])
def test_of_256_levels_every_pixel_has_a_distribution(build):
    model = build(levels=256)
    x = torch.randint(256, (2, 1, 5, 6), generator=torch.Generator().manual_seed(0)).double()
    log_p = model.logits(x).log_softmax(1)
    torch.testing.assert_close(log_p.exp().sum(1), torch.ones(2, 5, 6).double())
    torch.testing.assert_close(log_p.gather(1, x.long()).flatten(1).sum(1), model.log_prob(x))


def test_samples_of_256_levels_are_whole_levels():
    x = network(levels=256).sample((5, 6), 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(x, x.round()) and x.min() >= 0 and x.max() <= 255 and len(x.unique()) > 20


# --- conditions -------------------------------------------------------------------------------------------------------


@every_stack
def test_a_code_is_a_page_of_the_same_everywhere(layers, first_kernel, kernel):
    model = network(layers=layers, first_kernel=first_kernel, kernel=kernel, condition_channels=3)
    x, y = torch.rand(2, 1, 7, 8).double(), torch.randn(2, 3, 1, 1).double()
    page = y.expand(-1, -1, 7, 8)
    torch.testing.assert_close(model.logits(x, y), model.logits(x, page), rtol=1e-10, atol=1e-10)
    assert (model.logits(x, page * torch.linspace(0, 1, 8).double()) - model.logits(x, y)).abs().max() > 1e-3


@pytest.mark.parametrize("page", [(1, 1), (5, 6)])
@pytest.mark.parametrize("layers, levels, batch", [(1, 2, 64), (3, 2, 4), (3, 4, 1)])
def test_pairs_are_scored_as_one_by_one(page, layers, levels, batch):
    model, y = network(layers=layers, levels=levels, condition_channels=2), torch.randn(3, 2, *page).double()
    x = torch.randint(levels, (5, 1, 5, 6)).double()
    each = torch.stack([torch.cat([model.log_prob(image[None], given[None]) for given in y]) for image in x])
    torch.testing.assert_close(pair_log_likelihood(model, x, y, batch=batch), each, rtol=1e-10, atol=1e-10)
    assert (pair_log_likelihood(model, x, y.flip(0)) - each).abs().max() > 1e-3  # the fault: another class's column


def test_two_levels_by_softplus_agree_with_the_general_way():
    logits, x = torch.randn(5, 2, 3, 4).double(), torch.bernoulli(torch.full((5, 1, 3, 4), 0.5)).double()
    expected = logits.log_softmax(1).gather(1, x.long()).flatten(1).sum(1)
    torch.testing.assert_close(pixel_log_prob(logits, x), expected)


def test_the_gate_is_tanh_times_sigmoid():
    f, g = torch.randn(2, 3, 4, 5).double(), torch.randn(2, 3, 4, 5).double()
    torch.testing.assert_close(gate(torch.cat([f, g], 1)), f.tanh() * g.sigmoid())


# --- gradients --------------------------------------------------------------------------------------------------------


def test_every_parameter_of_one_stack_gets_a_gradient_where_its_mask_is():
    model = one_stack(positive=True, layers=3)
    model.log_prob(torch.rand(2, 1, 8, 8).round().double()).sum().backward()
    assert all(p.grad.abs().max() > 0 for p in model.parameters())
    for layer in (model.first, *model.layers):
        assert torch.equal(layer.weight.grad != 0, layer.mask.bool().expand_as(layer.weight))


@every_stack
@pytest.mark.parametrize("given", [0, 2])
def test_every_parameter_gets_a_gradient(layers, first_kernel, kernel, given):
    model = network(layers=layers, first_kernel=first_kernel, kernel=kernel, condition_channels=given)
    x = torch.bernoulli(torch.full((2, 1, 8, 8), 0.5)).double()
    model.log_prob(x, torch.randn(2, given, 8, 8).double() if given else None).sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in model.parameters())


def test_functional_call_and_a_second_backward_pass():
    model, x = network(), torch.bernoulli(torch.full((2, 1, 5, 5), 0.5)).double()
    parameters = {name: p.detach().clone().requires_grad_() for name, p in model.named_parameters()}

    def loss(parameters):
        logits = torch.func.functional_call(Logits(model), {f"model.{k}": v for k, v in parameters.items()}, (x,))
        return -pixel_log_prob(logits, x).mean()

    torch.testing.assert_close(loss(parameters), -model.log_prob(x).mean())
    first = torch.autograd.grad(loss(parameters), list(parameters.values()), create_graph=True)
    after = {name: p - 0.1 * g for (name, p), g in zip(parameters.items(), first, strict=True)}
    second = torch.autograd.grad(loss(after), list(parameters.values()))
    assert all(torch.isfinite(g).all() for g in second)
    name, step = "layers.0.horizontal.weight", 1e-6  # one entry, by finite differences through the inner step

    def through(shift):
        moved = parameters | {name: (parameters[name] + shift).detach().requires_grad_()}
        inner = torch.autograd.grad(loss(moved), list(moved.values()))
        return loss({k: p - 0.1 * g for (k, p), g in zip(moved.items(), inner, strict=True)}).item()

    shift = torch.zeros_like(parameters[name])
    shift[0, 0, 0, 0] = step
    numeric = (through(shift) - through(-shift)) / (2 * step)
    found = second[list(parameters).index(name)][0, 0, 0, 0].item()
    assert found == pytest.approx(numeric, rel=1e-4, abs=1e-8) and abs(found) > 1e-6


class Logits(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model.logits(x)


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings, named", [
    ({"levels": 1}, "levels"), ({"channels": 0}, "channels"), ({"layers": 0}, "layers"), ({"kernel": 4}, "kernel"),
    ({"kernel": 1}, "kernel"), ({"first_kernel": 2.0}, "first_kernel"), ({"first_kernel": 6}, "first_kernel"),
    ({"condition_channels": -1}, "condition_channels"),
])
def test_settings_that_cannot_be_are_named(settings, named):
    with pytest.raises(ValueError, match=f"{named} is "):
        PixelCNNConfig(**settings)


def test_shapes_that_do_not_fit_are_named():
    plain, conditional = GatedPixelCNN(PixelCNNConfig(channels=2)), GatedPixelCNN(PixelCNNConfig(channels=2,
                                                                                                condition_channels=3))
    x = torch.zeros(2, 1, 4, 4)
    one = PixelCNN(PixelCNNConfig(channels=2))
    for call in (lambda: plain.logits(x[0]), lambda: plain.log_prob(torch.zeros(2, 3, 4, 4)),
                 lambda: one.logits(x[0]), lambda: one.log_prob(torch.zeros(2, 3, 4, 4))):
        with pytest.raises(ValueError, match="x has shape"):
            call()
    with pytest.raises(ValueError, match="without a condition"):
        plain.logits(x, torch.zeros(2, 3, 4, 4))
    for y in (None, torch.zeros(2, 2, 4, 4), torch.zeros(1, 3, 4, 4), torch.zeros(2, 3, 4, 5)):
        with pytest.raises(ValueError, match="y has shape"):
            conditional.logits(x, y)
    with pytest.raises(ValueError, match="condition_channels is 3; expected 0"):
        PixelCNN(PixelCNNConfig(condition_channels=3))
    with pytest.raises(ValueError, match="mask is 'C'"):
        MaskedConv2d("C", 1, 1, 3)


def test_the_network_is_the_supplements():
    model = GatedPixelCNN(pixelcnn.PixelCNNConfig(condition_channels=64))
    assert [layer.reach for layer in model.layers] == [1, 1]
    assert all(layer.out.weight.shape == (64, 64, 1, 1) for layer in model.layers)
    assert model.output.weight.shape == (2, 64, 1, 1)


# --- the gate's gradient ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(2, 4), (2, 4, 3, 2)], ids=str)
@pytest.mark.parametrize("last", [False, True], ids=["", "channels last"])
def test_the_gates_gradient_and_the_gradients_own_are_right(shape, last):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = (x.contiguous(memory_format=torch.channels_last) if last and len(shape) == 4 else x).requires_grad_()
    f, g = x.chunk(2, 1)
    torch.testing.assert_close(gate(x), f.tanh() * g.sigmoid())
    assert torch.autograd.gradcheck(gate, x) and torch.autograd.gradgradcheck(gate, x)
