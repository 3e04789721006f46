"""Row A1: one code for all the support; and what the four models have in common."""

import pytest
import torch
from test_pixelcnn import canvases, earlier, seen
from torch import nn

from oneshot_lib.models import few_shot
from oneshot_lib.models.attention_pixelcnn import AttentionConfig, AttentionPixelCNN
from oneshot_lib.models.few_shot import (
    ConditionalConfig,
    ConditionalPixelCNN,
    FewShotConfig,
    UnconditionalPixelCNN,
)
from oneshot_lib.models.meta_pixelcnn import MetaConfig, MetaPixelCNN

SIZE = 7
TINY = {"image_size": SIZE, "channels": 4, "layers": 2, "first_kernel": 3}
MODELS = {
    "unconditional": (UnconditionalPixelCNN, FewShotConfig, {}),
    "conditional": (ConditionalPixelCNN, ConditionalConfig, {"code": 5, "encoder_channels": 4}),
    "code map": (ConditionalPixelCNN, ConditionalConfig, {"code": 5, "encoder_channels": 4, "code_map": 2}),
    "attention": (AttentionPixelCNN, AttentionConfig, {"reads": (1,), "key": 3, "encoder_channels": 3}),
    "meta": (MetaPixelCNN, MetaConfig, {"inner_channels": 3, "inner_rate": 0.05}),
}
every_model = pytest.mark.parametrize("kind", MODELS)
every_conditioned = pytest.mark.parametrize("kind", [kind for kind in MODELS if kind != "unconditional"])
every_code = pytest.mark.parametrize("kind", ["conditional", "code map"])


def network(kind="conditional", training=False, **settings):
    torch.manual_seed(0)
    cls, config, own = MODELS[kind]
    model = cls(config(**TINY | own | settings)).double()
    for name, parameter in model.named_parameters():
        if name != "log_rate":
            nn.init.normal_(parameter, std=0.6)
    for module in model.modules():  # statistics as if it had been trained
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.3)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return model.train(training)


def bits(*shape, seed=0):
    return (torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) < 0.4).double()


def pictures(*leading, seed=0):
    return bits(*leading, 1, SIZE, SIZE, seed=seed)


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-10)


# --- causality and probabilities --------------------------------------------------------------------------------------


def wide_open(kind, **settings):
    model = network(kind, **settings)
    nn.init.constant_(model.pixelcnn.layers[-1].out.bias, 20.0)
    if kind == "meta":
        model.pixelcnn.output.weight.data.mul_(0.5)
    return model


@every_model
@pytest.mark.parametrize("layers", [2, 3])
def test_a_pixel_sees_all_that_it_may_and_nothing_else(kind, layers):
    model, support = wide_open(kind, layers=layers), pictures(1, 2)
    assert torch.equal(seen(lambda x: model.logits(x, support), SIZE, SIZE), earlier(layers, SIZE, SIZE))


@every_code
def test_a_code_that_has_seen_the_target_is_caught(kind, monkeypatch):
    model, support = wide_open(kind), pictures(1, 2)
    code = model.support_code

    def leak(x):
        monkeypatch.setattr(model, "support_code", lambda s: code(torch.cat([s, x[None]], 1)))  # the fault
        return model.logits(x, support)

    assert (seen(leak, SIZE, SIZE) & ~earlier(SIZE, SIZE, SIZE)).any()


@every_conditioned
def test_a_support_pixel_reaches_every_pixel_of_the_target(kind):
    """Up to the max-pooling, which passes one pixel of four: the fault is a condition that is left out somewhere."""
    model, x, supports = wide_open(kind), pictures(1), pictures(40, 1)

    def reached(logits):
        base = logits(x, supports[:1])
        return torch.stack([(logits(x, s[None]) != base)[0].any(0) for s in supports[1:]]).any(0)

    assert reached(model.logits).all()
    assert not reached(lambda x, s: model.logits(x, s) * torch.ones(SIZE).double().cumsum(0).gt(3)).all()


def total(model, support, height, width):
    """The sum of p over all images, which the cheap way to score pairs is given too."""
    x = canvases(model.config.levels, height, width)
    return model.log_prob(x, support).exp().sum(), model.class_log_scores(support, x)[:, 0].exp().sum()


@every_model
@pytest.mark.parametrize("levels", [2, 4])
def test_the_probabilities_of_all_images_sum_to_one(kind, levels):
    model = network(kind, levels=levels, image_size=2)
    for found in total(model, (levels - 1) * bits(1, 3, 1, 2, 2), 2, 2):
        close(found, torch.ones_like(found))


@pytest.mark.parametrize("kind", ["unconditional", "conditional", "attention", "meta"])
def test_on_a_page_of_one_row_too(kind):
    for found in total(network(kind, levels=4), 3 * bits(1, 2, 1, 1, 3), 1, 3):
        close(found, torch.ones_like(found))


def test_logits_that_know_the_pixel_do_not_sum_to_one(monkeypatch):
    model = network(image_size=2)
    logits = model.logits
    monkeypatch.setattr(model, "logits", lambda x, s: logits(x, s) + torch.cat([-x, x], 1))  # the fault
    assert (total(model, bits(1, 3, 1, 2, 2), 2, 2)[0] - 1).abs() > 1e-2


@every_model
def test_of_256_levels_every_pixel_has_a_distribution(kind):
    model, generator = network(kind, levels=256), torch.Generator().manual_seed(0)
    x, support = (torch.randint(256, (2, *n, 1, SIZE, SIZE), generator=generator).double() for n in ((), (3,)))
    log_p = model.logits(x, support).log_softmax(1)
    assert log_p.shape == (2, 256, SIZE, SIZE)
    close(log_p.exp().sum(1), torch.ones(2, SIZE, SIZE).double())
    close(log_p.gather(1, x.long()).flatten(1).sum(1), model.log_prob(x, support))


def strongly_conditioned(kind, levels, support):
    model = network(kind, levels=levels)
    if kind == "meta":
        nn.init.constant_(model.log_rate, 0.0)
    elif kind == "attention":
        model.pixelcnn.layers[1].out.weight.data.mul_(2)
    elif kind != "unconditional":
        model.code[-1].weight.data.mul_(10)
        for module in model.modules():
            module.momentum = 1.0  # of the batch norms, which take their statistics from this support
        model.train().support_code(support)
    return model.eval()


@every_model
@pytest.mark.parametrize("levels", [2, 256])
def test_samples_are_whole_levels_set_by_set(kind, levels):
    support = (levels - 1) * pictures(2, 3)
    model = strongly_conditioned(kind, levels, support)
    drawn = model.draw_like(support, 3, generator=torch.Generator().manual_seed(0)).flatten(0, 1)
    assert drawn.shape == (6, 1, SIZE, SIZE) and not drawn.requires_grad
    assert torch.equal(drawn, drawn.round()) and drawn.min() >= 0 and drawn.max() <= levels - 1
    assert len(drawn.unique()) >= min(levels, 20) and torch.isfinite(model.log_prob(drawn, support)).all()
    noise = torch.rand(1, SIZE, SIZE, generator=torch.Generator().manual_seed(1)).double().expand(6, -1, -1)
    first, *images = model.draw_like(support, 3, noise=noise).flatten(0, 1)  # what differs now comes of the support
    assert [torch.equal(image, first) for image in images] == [True] * 2 + [kind == "unconditional"] * 3


# --- the support ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 5])
@every_code
def test_the_code_knows_no_order_and_any_size(kind, n):
    model, support = network(kind), pictures(2, n)
    code = model.support_code(support)
    assert code.shape == (2, 5)
    close(model.support_code(support.flip(1)), code)
    close(model.support_code(support.repeat_interleave(2, 1)), code)  # a mean: twice each is no more than once
    for element in range(n):
        changed = support.clone()
        changed[0, element] = 1 - changed[0, element]
        moved = (model.support_code(changed) - code).abs().amax(1)
        assert moved[0] > 1e-4 and moved[1] == 0


def order(model, support, by="support_code"):
    found = getattr(model, by)
    return (found(support.flip(1)) - found(support)).abs().max()


def test_a_code_that_weighs_its_elements_by_their_number_is_caught(monkeypatch):
    model, support = network(), pictures(2, 3)
    assert order(model, support) < 1e-10
    code = model.support_code

    def numbered(support):  # the fault
        return torch.stack([code(support[:, n:n + 1]) / (n + 1) for n in range(support.shape[1])]).sum(0)

    monkeypatch.setattr(model, "support_code", numbered)
    assert order(model, support) > 1e-3


@every_model
@pytest.mark.parametrize("n", [1, 3])
def test_the_density_knows_no_order_and_any_size(kind, n):
    model, x, support = network(kind), pictures(4), pictures(2, n, seed=1)
    before = model.log_prob(x, support)
    assert before.shape == (4,) and (before < 0).all()
    close(model.log_prob(x, support.flip(1)), before)
    for element in range(n):
        changed = support.clone()
        changed[0, element] = 1 - changed[0, element]
        moved = (model.log_prob(x, changed) - before).abs()
        assert (moved[2:] == 0).all()
        assert (moved[:2] == 0).all() if kind == "unconditional" else (moved[:2] > 1e-8).all()


def grouping(logits, x, support):
    """How far r images a support are from one support each, and from one image at a time."""
    r, found = len(x) // len(support), logits(x, support)
    each = support.repeat_interleave(r, 0)
    alone = torch.cat([logits(image[None], s[None]) for image, s in zip(x, each, strict=True)])
    return max((found - logits(x, each)).abs().max(), (found - alone).abs().max())


@every_conditioned
def test_several_images_of_a_support_are_as_one_support_each(kind):
    model, x, support = network(kind), pictures(6), pictures(2, 3, seed=1)
    assert grouping(model.logits, x, support) < 1e-10
    woven = torch.tensor([0, 3, 1, 4, 2, 5])  # the fault: image i under support i modulo G
    assert grouping(lambda x, s: model.logits(x[woven], s) if len(s) == 2 else model.logits(x, s), x, support) > 1e-3


def pairs(model, query, support):
    return torch.stack([torch.cat([model.log_prob(q[None], s[None]) for s in support]) for q in query])


@every_model
def test_classes_are_scored_pair_by_pair(kind):
    model, query, support = network(kind), pictures(5), pictures(3, 2, seed=1)
    found = model.class_log_scores(support, query)
    assert found.shape == (5, 3) and not found.requires_grad
    close(found, pairs(model, query, support))
    close(model.class_log_scores(support, query, torch.Generator()), found)  # nothing is drawn
    if kind != "unconditional":
        assert (found - pairs(model, query, support.flip(0))).abs().max() > 1e-6  # a column of another class
        assert (found.std(1) > 1e-6).all()


# --- how the code is given --------------------------------------------------------------------------------------------


def test_one_code_for_every_pixel_is_a_page_of_it():
    model, x, support = network(), pictures(4), pictures(2, 3, seed=1)
    y = model.condition(support)
    assert y.shape == (2, 5, 1, 1)
    close(y.flatten(1), model.support_code(support))
    page = y.repeat_interleave(2, 0).expand(-1, -1, SIZE, SIZE)
    close(model.pixelcnn.logits(x, page), model.logits(x, support))
    uneven = page.clone()
    uneven[..., 3, 3] += 1  # a page that is not the same everywhere
    assert (model.pixelcnn.logits(x, uneven) - model.logits(x, support)).abs().max() > 1e-3


def test_a_code_map_is_a_linear_map_of_the_code_at_every_place():
    model, support = network("code map"), pictures(2, 3)
    y, h = model.condition(support), model.support_code(support)
    weight, bias = model.page.weight.view(2, SIZE, SIZE, 5), model.page.bias.view(2, SIZE, SIZE)
    close(y, (torch.einsum("cijk,gk->gcij", weight, h) + bias).relu())
    assert y.shape == (2, 2, SIZE, SIZE) and y.std((2, 3)).min() > 1e-3  # and is not the same everywhere


def gates(model, x, y):
    """y = tanh(W_f * x + V_f h) sigmoid(W_g * x + V_g h) by hand, in both stacks of the first layer."""
    layer = model.pixelcnn.layers[0]
    above, before = layer.features(x, x)

    def conditioned(features, condition):
        f, g = (features + torch.einsum("ok,bk->bo", condition.weight[:, :, 0, 0], y)[:, :, None, None]
                + condition.bias[:, None, None]).chunk(2, 1)
        return f.tanh() * g.sigmoid()

    return conditioned(above, layer.condition_v), layer.out(conditioned(before, layer.condition_h))


def test_the_code_stands_in_every_gate():
    model, x, support = network(layers=3), pictures(2), pictures(2, 3)
    y = model.support_code(support)
    found = model.pixelcnn.layers[0](x, x, model.condition(support))
    for state, expected in zip(found, gates(model, x, y), strict=True):
        close(state, expected)
    for layer in model.pixelcnn.layers:
        conditions = [c for c in (layer.condition_v, layer.condition_h) if c is not None]
        assert len(conditions) == (1 if layer.last else 2)  # nobody reads the last vertical stack
        for condition in conditions:
            before, kept = model.logits(x, support), condition.weight.data.clone()
            condition.weight.data.zero_()
            assert (model.logits(x, support) - before).abs().max() > 1e-6
            condition.weight.data.copy_(kept)


# --- gradients --------------------------------------------------------------------------------------------------------


@every_model
def test_every_parameter_gets_a_gradient(kind):
    model = network(kind, image_size=12, layers=3)
    model.log_prob(bits(8, 1, 12, 12), bits(4, 3, 1, 12, 12, seed=1)).sum().backward()
    for name, parameter in model.named_parameters():
        moved = parameter.grad is not None and parameter.grad.abs().max() > 1e-12
        # what adds the same to all the scores of a query moves no weight; nor does a number added to the inner loss
        assert moved != (name in ("support.keys.bias", "inner.4.bias")), name


def test_a_code_cut_off_from_the_graph_is_caught(monkeypatch):
    model = network(training=True)
    code = model.support_code
    monkeypatch.setattr(model, "support_code", lambda support: code(support).detach())  # the fault
    model.log_prob(pictures(4), pictures(2, 3)).sum().backward()
    assert all(p.grad is None for p in model.encoder.parameters())


@every_model
def test_half_precision_products_give_roughly_the_same(kind):
    model, x, support = network(kind).float(), pictures(4).float(), pictures(2, 3, seed=1).float()
    expected = model.log_prob(x, support)
    model.product_dtype = torch.bfloat16
    found = model.log_prob(x, support)
    assert found.dtype == torch.float32 and found.requires_grad and not torch.equal(found, expected)
    torch.testing.assert_close(found, expected, rtol=0.03, atol=0.3)
    found.sum().backward()
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in model.parameters())
    with torch.no_grad():
        torch.testing.assert_close(model.log_prob(x, support), found, rtol=1e-3, atol=1e-3)


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings, named", [
    ({"image_size": 0}, "image_size is 0; expected a whole number of at least 1"), ({"code": 0}, "code is 0"),
    ({"encoder_channels": 2.0}, "encoder_channels is 2.0"), ({"code_map": -1}, "code_map is -1"),
    ({"levels": 1}, "levels is 1"), ({"layers": 0}, "layers is 0"), ({"kernel": 4}, "kernel is 4"),
])
def test_settings_that_cannot_be_are_named(settings, named):
    with pytest.raises(ValueError, match=named):
        ConditionalConfig(**settings)


@every_model
def test_shapes_that_do_not_fit_are_named(kind):
    model, x, support = network(kind), pictures(4), pictures(2, 3)
    for images, sets in ((x, support[0]), (x, support[:, :0]), (x, support[:0]), (x, pictures(3, 3)),
                         (x, bits(2, 3, 1, 7, 8)), (x[0], support), (bits(4, 2, 7, 7), bits(2, 3, 2, 7, 7))):
        with pytest.raises(ValueError, match=r"(support|x) has shape .*; expected \("):
            model.log_prob(images, sets)
    for sets, queries in ((support[0], x), (support[:, :0], x), (support, x[0]), (support, bits(4, 1, 7, 8))):
        with pytest.raises(ValueError, match=r"(support|x) has shape .*; expected \("):
            model.class_log_scores(sets, queries)


@every_model
def test_draws_that_cannot_be_are_named(kind):
    model, support = network(kind), pictures(2, 3)
    for sets in (support[0], support[:, :0], support[:0], bits(2, 3, 2, 7, 7)):
        with pytest.raises(ValueError, match=r"support has shape .*; expected \(G, N, 1, H, W\)"):
            model.draw_like(sets)
    for each in (0, 1.5):
        with pytest.raises(ValueError, match=f"each is {each}; expected a whole number"):
            model.draw_like(support, each)
    for noise in (torch.rand(3, SIZE, SIZE), torch.rand(5, SIZE, SIZE), torch.rand(4, SIZE, 3)):
        with pytest.raises(ValueError, match=r"noise has shape .*; expected \(4, 7, 7\)"):
            model.draw_like(support, 2, noise=noise)


@every_code
def test_a_code_of_images_of_another_size_is_refused(kind):
    with pytest.raises(ValueError, match="support has images of 70x70; expected .* 7x7"):
        network(kind).support_code(torch.zeros(1, 1, 1, 70, 70).double())


def test_what_they_share_is_left_to_each():
    with pytest.raises(NotImplementedError):
        few_shot.FewShotPixelCNN().logits(pictures(1), pictures(1, 1))
