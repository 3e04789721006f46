"""Row A2: what a pixel's read may know of the target, that it looks everywhere in the support, and in no order."""

import itertools

import pytest
import torch
from test_pixelcnn import canvases, earlier, seen
from torch import nn

from oneshot_lib.models.attention_pixelcnn import (
    AttentionConfig,
    AttentionLayer,
    AttentionPixelCNN,
    Memory,
    SupportMemory,
    placed,
    positions,
)

TINY = {"image_size": 7, "channels": 4, "layers": 3, "first_kernel": 3, "reads": (1,), "key": 3,
        "encoder_channels": 3, "encoder_layers": 2}
READS = [{}, {"reads": (2,)}, {"reads": (1, 2), "heads": 2}, {"layers": 4, "reads": (3, 1), "first_kernel": 5}]
every_read = pytest.mark.parametrize("settings", READS)


def network(**settings):
    torch.manual_seed(0)
    model = AttentionPixelCNN(AttentionConfig(**TINY | settings)).double()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.6)
    return model


def wide_open(**settings):
    """The ReLUs after the stack and before the query pass everything: a zero means that nothing is seen."""
    model = network(**settings)
    nn.init.constant_(model.pixelcnn.layers[-1].out.bias, 20.0)
    for layer in model.pixelcnn.layers:
        if isinstance(layer, AttentionLayer):
            nn.init.constant_(layer.hidden.bias, 3.0)
    return model


def bits(*shape, seed=0):
    return (torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) < 0.4).double()


def total_probability(model, support, height, width):
    x = canvases(model.config.levels, height, width)
    return model.log_prob(x, support).exp().sum()


# --- causality --------------------------------------------------------------------------------------------------------


@every_read
def test_a_pixel_sees_all_that_it_may_and_nothing_else(settings):
    model, support = wide_open(**settings), bits(1, 2, 1, 7, 8)
    reach = model.config.first_kernel // 2 + model.config.layers - 1
    assert torch.equal(seen(lambda x: model.logits(x, support)), earlier(reach))


@pytest.mark.parametrize("settings", READS[:3])
def test_the_query_sees_what_its_layer_does(settings):
    """The weights of the last read: of the target they know the stack below it, and no more."""
    model = wide_open(**settings)
    memory, below = model.memory(bits(1, 1, 1, 7, 8)), model.pixelcnn.layers
    last = max(i for i, layer in enumerate(below) if isinstance(layer, AttentionLayer))

    def queries(x):
        v = h = x
        for layer in below[:last]:
            v, h = layer(v, h, memory)
        return below[last].queries(h, memory)[0].transpose(0, 1).flatten(1).T.unflatten(1, (7, 8))[None]

    reach = model.config.first_kernel // 2 + max(model.config.reads) - 1
    assert torch.equal(seen(queries), earlier(reach))


def joined_to_the_vertical_stack(layer, v, h, memory):
    """The fault: what pixel i found is told to all the row below it, whose vertical stack reads row i whole."""
    return (None if v is None else v + right(layer, v, h, memory)[1] - h), h


def told_to_both(layer, v, h, memory):
    """The fault again, where the horizontal stack is told too."""
    after = right(layer, v, h, memory)[1]
    return (None if v is None else v + after - h), after


def a_query_from_the_right(layer, h, memory):
    """The fault: the query is made of the state of the pixel to the right, which has seen the pixel itself."""
    return right_queries(layer, h.roll(-1, -1), memory)


right, right_queries = AttentionLayer.forward, AttentionLayer.queries


@pytest.mark.parametrize("name, fault", [("forward", joined_to_the_vertical_stack), ("forward", told_to_both),
                                         ("queries", a_query_from_the_right)])
def test_a_read_that_knows_too_much_is_caught(monkeypatch, name, fault):
    monkeypatch.setattr(AttentionLayer, name, fault)
    model, support = wide_open(), bits(1, 2, 1, 7, 8)
    assert (seen(lambda x: model.logits(x, support)) & ~earlier(7)).any()
    assert (total_probability(network(), bits(1, 2, 1, 2, 3), 2, 3) - 1).abs() > 1e-4


# --- probabilities ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("levels, height, width", [(2, 2, 2), (2, 1, 3), (2, 2, 3), (4, 2, 2), (4, 1, 3)])
def test_the_probabilities_of_all_images_sum_to_one(levels, height, width):
    support = (levels - 1) * bits(1, 3, 1, height, width)
    total = total_probability(network(levels=levels, reads=(1, 2), heads=2), support, height, width)
    torch.testing.assert_close(total, torch.ones_like(total))


def test_of_256_levels_every_pixel_has_a_distribution_and_the_support_is_scaled():
    model, support = network(levels=256), 255 * bits(1, 2, 1, 5, 5)
    x = torch.randint(256, (2, 1, 5, 5), generator=torch.Generator().manual_seed(0)).double()
    log_p = model.logits(x, support).log_softmax(1)
    torch.testing.assert_close(log_p.exp().sum(1), torch.ones(2, 5, 5).double())
    torch.testing.assert_close(log_p.gather(1, x.long()).flatten(1).sum(1), model.log_prob(x, support))
    torch.testing.assert_close(model.memory(support).keys, model.support(support / 255).keys)


# --- keys and values --------------------------------------------------------------------------------------------------


def reached(memory, size=(7, 8)):
    """(N, H, W, N, H, W): which support pixels the key and the value of a support position are made of."""
    support = torch.rand(1, 2, 1, *size, generator=torch.Generator().manual_seed(1)).double()

    def by_position(support):
        keys, values = memory(support)
        return torch.cat([keys, values], -1)[0].sum(0).unflatten(0, (2, *size))  # (N, H, W, 2 key)

    jacobian = torch.autograd.functional.jacobian(by_position, support)  # (N, H, W, 2 key, 1, N, 1, H, W)
    return (jacobian[:, :, :, :, 0, :, 0] != 0).any(3)


def around(reach, size=(7, 8)):
    n, i, j, m, k, q = torch.meshgrid(*(torch.arange(side) for side in (2, *size) * 2), indexing="ij")
    return (n == m) & ((i - k).abs() <= reach) & ((j - q).abs() <= reach)


def test_every_support_position_has_its_own_key_and_value():
    model = network(heads=2, encoder_channels=8)
    keys, values = model.memory(bits(3, 2, 1, 7, 8))
    assert keys.shape == values.shape == (3, 2, 2 * 7 * 8, 3)
    assert torch.equal(reached(model.memory), around(2))


def test_keys_of_every_second_position_are_caught(monkeypatch):
    """The fault: a memory made of each element's columns read at half the resolution."""
    whole = SupportMemory.forward
    coarse = torch.arange(7 * 8 * 2).view(2, 7, 4, 2)[..., :1].expand(-1, -1, -1, 2).flatten()
    monkeypatch.setattr(SupportMemory, "forward", lambda self, s: Memory(*(m[:, :, coarse] for m in whole(self, s))))
    assert not torch.equal(reached(network(encoder_channels=8).memory), around(2))


def test_positions_are_in_minus_one_to_one():
    where = positions((3, 5), torch.zeros((), dtype=torch.float64))
    assert where.dtype == torch.float64 and where.shape == (1, 2, 3, 5)
    assert torch.equal(where[0, 0, :, 2], torch.tensor([-1, 0, 1]).double())  # the row first
    assert torch.equal(where[0, 1, 1], torch.tensor([-1, -0.5, 0, 0.5, 1]).double())
    assert (positions((1, 1), torch.zeros(())) == 0).all()
    images = bits(2, 3, 3, 5)
    assert torch.equal(placed(images), torch.cat([images, where.expand(2, -1, -1, -1)], 1))


def test_a_blank_support_is_looked_at_by_place_alone():
    """Positions reach keys, values and query: with nothing drawn anywhere, the weights still tell places apart."""
    model = network()
    weights = model.read(torch.zeros(1, 1, 7, 7).double(), torch.zeros(1, 1, 1, 7, 7).double()).weights[0, 0, 0]
    inside = weights[3:6, 3:6, 0, 3, 3]  # where no edge is near the query
    assert inside.std() > 1e-4 and weights[3, 3, 0, 3:5, 3:5].std() > 1e-4


# --- the support is a set ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 5])
@every_read
def test_the_support_has_no_order_and_any_size(settings, n):
    model, x, support = network(**settings), bits(4, 1, 7, 7), bits(2, n, 1, 7, 7, seed=1)
    before = model.log_prob(x, support)
    torch.testing.assert_close(model.log_prob(x, support.flip(1)), before, rtol=1e-10, atol=1e-10)
    for element in range(n):
        changed = support.clone()
        changed[0, element] = 1 - changed[0, element]
        moved = (model.log_prob(x, changed) - before).abs()
        assert (moved[:2] > 1e-6).all() and (moved[2:] == 0).all()  # r = 2 images of each set, and of no other


def order(model, x, support):
    return (model.log_prob(x, support.flip(1)) - model.log_prob(x, support)).abs().max()


def test_a_memory_that_numbers_its_elements_is_caught(monkeypatch):
    whole = SupportMemory.forward

    def numbered(self, support):  # the fault
        ramp = torch.linspace(0, 1, support.shape[1]).double().view(-1, 1, 1, 1)
        return whole(self, support + ramp)

    model, x, support = network(), bits(2, 1, 7, 7), bits(1, 3, 1, 7, 7, seed=1)
    assert order(model, x, support) < 1e-10
    monkeypatch.setattr(SupportMemory, "forward", numbered)
    assert order(model, x, support) > 1e-4


@every_read
def test_several_images_of_a_set_are_as_each_alone(settings):
    """x[k r : (k + 1) r] under support k."""
    model, x, support = network(**settings), bits(6, 1, 7, 7), bits(2, 3, 1, 7, 7, seed=1)
    alone = torch.cat([model.logits(x[i:i + 1], support[i // 3:i // 3 + 1]) for i in range(6)])
    torch.testing.assert_close(model.logits(x, support), alone, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(model.logits(x, support.repeat_interleave(3, 0)), alone, rtol=1e-10, atol=1e-10)
    assert (model.logits(x, support.flip(0)) - alone).abs().max() > 1e-3


def test_classes_are_scored_pair_by_pair():
    model, query, support = network(heads=2), bits(4, 1, 7, 7), bits(3, 2, 1, 7, 7, seed=1)
    pairs = [[model.log_prob(q[None], s[None]).item() for s in support] for q in query]
    found = model.class_log_scores(support, query)
    torch.testing.assert_close(found, torch.tensor(pairs, dtype=torch.float64), rtol=1e-10, atol=1e-10)
    assert found.shape == (4, 3) and not found.requires_grad


# --- where it looks ---------------------------------------------------------------------------------------------------


@every_read
def test_the_weights_are_a_distribution_and_the_ink_is_the_models(settings):
    model, x, support = network(**settings), bits(4, 1, 6, 7), bits(2, 3, 1, 6, 7, seed=1)
    weights, ink = model.read(x, support)
    assert weights.shape == (4, len(model.config.reads), model.config.heads, 6, 7, 3, 6, 7)
    assert (weights > 0).all() and not weights.requires_grad
    torch.testing.assert_close(weights.sum((-3, -2, -1)), torch.ones(weights.shape[:-3]).double())
    torch.testing.assert_close(ink, model.logits(x, support).softmax(1)[:, 1])
    several = model.read(x[2:], support[1:])  # the same for a set alone: the grouping is right here too
    torch.testing.assert_close(several.weights, weights[2:], rtol=1e-10, atol=1e-12)


def test_the_weights_are_laid_out_as_the_support_is():
    """Dimensions N, H, W in this order: swap two elements or turn the pictures, and the weights follow."""
    model, x, support = network(heads=2), bits(2, 1, 7, 7), bits(1, 3, 1, 7, 7, seed=1)
    weights = model.read(x, support).weights
    torch.testing.assert_close(model.read(x, support.flip(1)).weights, weights.flip(-3), rtol=1e-10, atol=1e-12)
    dark = support.clone()
    dark[0, 1, 0, 2, 5] = 30.0  # a single pixel reaches the keys within two of it and no others, up to the sum
    ratio = (model.read(x, dark).weights / weights)[0, 0, 0, 3, 3]
    far = ratio[0, 0, 0]
    near = (ratio / far - 1).abs() > 1e-8
    assert not near[0].any() and not near[2].any() and near[1, 2, 5]
    rows, columns = torch.where(near[1])
    assert ((rows - 2).abs() <= 2).all() and ((columns - 5).abs() <= 2).all()


def explicit(layer, h, memory):
    """h + R sum_m a_im u_m, by the softmax that `weights` shows."""
    answer = layer.weights(h, memory) @ memory.values  # (G, heads, r H W, d)
    sets, heads, _, d = answer.shape
    maps = answer.view(sets, heads, -1, *h.shape[2:], d)
    return h + layer.out(torch.einsum("ghrijd->grhdij", maps).reshape(len(h), heads * d, *h.shape[2:]))


def agreement(heads, scale=1.0):
    torch.manual_seed(0)
    layer = AttentionLayer(AttentionConfig(**TINY | {"heads": heads})).double()
    memory = Memory(*(torch.randn(2, heads, 3 * 30, 3).double() for _ in range(2)))
    h = torch.randn(4, 4, 5, 6).double()
    return (layer(None, h, memory)[1] - explicit(layer, h, Memory(scale * memory.keys, memory.values))).abs().max()


@pytest.mark.parametrize("heads", [1, 3])
def test_what_is_read_is_what_the_weights_say(heads):
    assert agreement(heads) < 1e-12
    assert agreement(heads, scale=3**0.5) > 1e-4  # the fault: products that are not divided by sqrt d


def test_heads_look_in_different_places():
    model, x, support = network(heads=2), bits(1, 1, 7, 7), bits(1, 2, 1, 7, 7, seed=1)
    weights = model.read(x, support).weights
    assert (weights[:, :, 0] - weights[:, :, 1]).abs().max() > 1e-3


# --- gradients --------------------------------------------------------------------------------------------------------


@every_read
def test_every_parameter_gets_a_gradient_of_the_attention_too(settings):
    model = network(**settings)
    model.log_prob(bits(4, 1, 7, 7), bits(2, 3, 1, 7, 7, seed=1)).sum().backward()
    for name, parameter in model.named_parameters():
        moved = parameter.grad is not None and parameter.grad.abs().max() > 1e-12
        # a number added to all the keys adds the same to all the scores of a query, and no weight moves
        assert moved != (name == "support.keys.bias"), name


def test_gradients_reach_keys_values_and_query(monkeypatch):
    def slopes():
        model, kept = network(), {}
        memory = model.memory(bits(1, 2, 1, 7, 7, seed=1))
        kept |= {"keys": memory.keys, "values": memory.values, "query": model.pixelcnn.layers[1].query.weight}
        loss = model.pixelcnn.logits(bits(2, 1, 7, 7), memory).square().sum()
        found = torch.autograd.grad(loss, list(kept.values()), allow_unused=True)
        return {name: 0.0 if g is None else g.abs().max().item() for name, g in zip(kept, found, strict=True)}

    assert min(slopes().values()) > 1e-6
    monkeypatch.setattr(AttentionLayer, "queries", lambda *args: right_queries(*args).detach())  # the fault
    assert slopes()["query"] == 0


def test_a_support_pixel_reaches_every_pixel_of_the_target():
    model, x = wide_open(), bits(1, 1, 4, 5)
    support = torch.rand(1, 2, 1, 4, 5, generator=torch.Generator().manual_seed(0)).double()
    jacobian = torch.autograd.functional.jacobian(lambda s: model.logits(x, s)[0], support)
    assert (jacobian != 0).any(0).all()  # also the first, which sees nothing of x, and also pixels after its own place


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings, named", [
    ({"heads": 0}, "heads is 0"), ({"key": 1.5}, "key is 1.5"), ({"encoder_channels": 0}, "encoder_channels is 0"),
    ({"encoder_layers": 0}, "encoder_layers is 0"), ({"reads": ()}, r"reads is \(\); .* from 1 to 2"),
    ({"reads": (0,)}, r"reads is \(0,\)"), ({"reads": (3,)}, r"reads is \(3,\)"), ({"reads": 1}, "reads is 1"),
    ({"reads": (1, 1)}, r"reads is \(1, 1\)"), ({"channels": 0}, "channels is 0"), ({"image_size": 0}, "image_size is"),
])
def test_settings_that_cannot_be_are_named(settings, named):
    with pytest.raises(ValueError, match=named):
        AttentionConfig(**TINY | settings)


def test_shapes_that_do_not_fit_are_named():
    model, x, support = network(), bits(4, 1, 7, 7), bits(2, 3, 1, 7, 7)
    wrong = [(x, support[0]), (x, support[:, :0]), (x, bits(3, 3, 1, 7, 7)), (x, bits(2, 3, 1, 7, 8)), (x[0], support)]
    for call, (images, sets) in itertools.product((model.log_prob, model.read), wrong):
        with pytest.raises(ValueError, match=r"(support|x) has shape .*; expected \("):
            call(images, sets)
    with pytest.raises(ValueError, match="2 support sets for 5 images; expected"):
        model.logits(bits(5, 1, 7, 7), support)
    with pytest.raises(ValueError, match="None support sets"):
        model.pixelcnn.logits(x)


def test_half_precision_products_give_roughly_the_same():
    torch.manual_seed(0)
    model, x, support = AttentionPixelCNN(AttentionConfig(**TINY)), bits(4, 1, 7, 7).float(), bits(2, 3, 1, 7, 7)
    expected = model.log_prob(x, support.float())
    model.product_dtype = torch.bfloat16
    found = model.log_prob(x, support.float())
    assert found.dtype == torch.float32 and not torch.equal(found, expected)
    torch.testing.assert_close(found, expected, rtol=0.02, atol=0.1)
