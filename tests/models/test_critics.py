"""The two critics of drawings: their probabilities, term by term, and what they may not depend on."""

import itertools
import math

import pytest
import torch
from torch import nn

from oneshot_lib.models.critics import (
    SIDE,
    ContrastiveCritic,
    Critic,
    CriticConfig,
    PrototypicalCritic,
    squared_distances,
)

BOTH = pytest.mark.parametrize("kind", [ContrastiveCritic, PrototypicalCritic])


def network(kind, training=False, **settings):
    """A tiny critic, its statistics as if it had been trained."""
    torch.manual_seed(0)
    critic = kind(CriticConfig(**{"channels": 3, "embedding": 5, "projection": 4} | settings))
    for module in critic.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.2)
            nn.init.uniform_(module.running_var, 0.05, 0.2)
    return critic.train(training)


def drawings(n, seed=0):
    return (torch.rand(n, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(seed)) < 0.3).float()


def close(found, expected):
    torch.testing.assert_close(found.double(), expected.double(), rtol=0, atol=2e-5)


def differs(found, expected):
    return bool((found.double() - expected.double()).abs().max() > 0.05)


# --- the contrastive critic -------------------------------------------------------------------------------------------


def nt_xent(critic, views, temperature, itself=False, offset=None):
    """log p of each view's partner, one exponential after the other. The faults: the view `itself` among what it is
    chosen from, and the partner at another offset (1: beside it)."""
    z = critic.project(critic.embed(views)).double()
    z = [row / row.square().sum().sqrt() for row in z]
    n, found = len(z), []
    for i in range(n):
        j = (i + n // 2) % n if offset is None else i ^ offset
        candidates = [k for k in range(n) if itself or k != i]
        total = sum(math.exp(float(z[i] @ z[k]) / temperature) for k in candidates)
        found.append(float(z[i] @ z[j]) / temperature - math.log(total))
    return torch.tensor(found)


@pytest.mark.parametrize("temperature", [0.5, 0.07])
@torch.no_grad()
def test_the_contrastive_probabilities_term_by_term(temperature):
    critic, views = network(ContrastiveCritic, temperature=temperature), drawings(6)
    critic.project.bias -= critic.project(critic.embed(views)).mean(0)  # on all sides of the sphere
    found = critic.log_prob(views)
    close(found, nt_xent(critic, views, temperature))
    assert differs(found, nt_xent(critic, views, temperature, itself=True))
    assert differs(found, nt_xent(critic, views, temperature, offset=1))
    assert differs(found, nt_xent(critic, views, 1.0))


@torch.no_grad()
def test_the_contrastive_probabilities_of_all_candidates_sum_to_one():
    critic, (first, *rest) = network(ContrastiveCritic), drawings(6)
    total, itself = 0.0, critic.log_prob(torch.stack([first, *rest[:2], first, *rest[3:]]))[0].exp()
    for k in range(5):  # each of the others in turn where the partner stands
        others = rest[:k] + rest[k + 1 :]
        total += critic.log_prob(torch.stack([first, *others[:2], rest[k], *others[2:]]))[0].exp()
    close(total, torch.tensor(1.0))
    assert differs(total + itself, torch.tensor(1.0))


@torch.no_grad()
def test_copies_of_one_drawing_are_as_likely_each():
    found = network(ContrastiveCritic).log_prob(drawings(1).expand(8, -1, -1, -1))
    close(found, torch.full((8,), -math.log(7)))
    assert differs(found, torch.full((8,), -math.log(8)))  # the fault: one candidate too many


@torch.no_grad()
def test_diversity_is_measured_before_the_projection():
    critic, x = network(ContrastiveCritic), drawings(4)
    before = critic.embed(x)
    assert before.shape == (4, 5)
    nn.init.zeros_(critic.project.weight)
    assert torch.equal(critic.embed(x), before)


def test_a_contrastive_batch_is_two_views_of_two_drawings_or_more():
    for n in (0, 2, 5):
        with pytest.raises(ValueError, match=f"views has {n} drawings; expected an even number of at least 4"):
            network(ContrastiveCritic).log_prob(drawings(6)[:n])


# --- the prototypical critic ------------------------------------------------------------------------------------------


def by_distance(critic, exemplars, queries, repeated=False):
    """log p of each query's class by the formula. The fault: classes 0, 1, 2, 0, 1, 2 ... for 0, 0, 1, 1, 2, 2."""
    known, asked = critic.features(exemplars).double(), critic.features(queries).double()
    ways, found = len(known), []
    for i, x in enumerate(asked):
        distances = [float((x - s).square().sum()) for s in known]
        k = i % ways if repeated else i // (len(asked) // ways)
        found.append(-distances[k] - math.log(sum(math.exp(-d) for d in distances)))
    return torch.tensor(found)


@torch.no_grad()
def test_the_prototypical_probabilities_term_by_term():
    critic, exemplars, queries = network(PrototypicalCritic), drawings(3), drawings(6, 1)
    critic.metric.weight *= 6
    found = critic.log_prob(exemplars, queries)
    assert found.shape == (6,)
    close(found, by_distance(critic, exemplars, queries))
    assert differs(found, by_distance(critic, exemplars, queries, repeated=True))


@torch.no_grad()
def test_the_prototypical_probabilities_of_all_classes_sum_to_one():
    critic, exemplars, query = network(PrototypicalCritic), drawings(3), drawings(3, 1)
    total = sum(critic.log_prob(exemplars.roll(k, 0), query).exp() for k in range(3))
    close(total, torch.ones(3))


@torch.no_grad()
def test_a_copy_of_the_exemplar_is_never_less_likely_than_another_class():
    critic, exemplars = network(PrototypicalCritic), drawings(4)
    own = critic.log_prob(exemplars, exemplars)
    for k in (1, 2, 3):
        assert (critic.log_prob(exemplars.roll(k, 0), exemplars) < own).all()


def test_queries_are_as_many_of_each_class():
    for n in (0, 4):
        with pytest.raises(ValueError, match=f"queries has {n} drawings; expected a multiple of the 3 exemplars"):
            network(PrototypicalCritic).log_prob(drawings(3), drawings(4)[:n])


def test_distances_are_differences():
    a = 3000 + torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
    b = 3000 + torch.randn(3, 5, generator=torch.Generator().manual_seed(1))
    exact = torch.stack([torch.stack([(x - y).square().sum() for y in b.double()]) for x in a.double()])
    torch.testing.assert_close(squared_distances(a, b).double(), exact, rtol=1e-5, atol=0)
    expanded = a.square().sum(1)[:, None] + b.square().sum(1) - 2 * a @ b.T  # the fault: float32 cancels
    assert (expanded - exact).abs().max() > 0.5


# --- both -------------------------------------------------------------------------------------------------------------


def bound(critic, x):
    return critic.log_prob(x) if isinstance(critic, ContrastiveCritic) else critic.log_prob(x[:4], x[4:])


@BOTH
def test_gradients_reach_every_parameter(kind):
    critic = network(kind, channels=6)
    bound(critic, drawings(12)).mean().backward()
    size = {name: float(p.grad.abs().max()) for name, p in critic.named_parameters()}
    unreached = {name for name, most in size.items() if most < 1e-6 * max(size.values())}
    # a distance is that of a difference, where the constants of two linear layers cancel
    assert unreached == ({"embedding.bias", "metric.bias"} if kind is PrototypicalCritic else set())


@BOTH
@torch.no_grad()
def test_a_drawing_is_judged_by_itself_once_trained(kind):
    x = drawings(5)

    def alone_and_among_others(critic):
        return critic.embed(x)[:2], critic.embed(x[:2])

    close(*alone_and_among_others(network(kind)))
    assert differs(*alone_and_among_others(network(kind, training=True)))  # the fault: the batch's own statistics


@BOTH
def test_only_50x50(kind):
    for shape in ((2, 1, 28, 28), (2, 50, 50), (2, 3, 50, 50)):
        with pytest.raises(ValueError, match=r"x has shape \(2, .*; expected \(B, 1, 50, 50\)"):
            network(kind).embed(torch.zeros(shape))


@BOTH
def test_the_published_widths(kind):
    convolutions = 9 * 64 + 64 + 3 * (9 * 64 * 64 + 64) + 4 * 2 * 64
    linear = 3 * 3 * 64 * 256 + 256 + 256 * 128 + 128
    assert sum(p.numel() for p in kind().parameters()) == convolutions + linear


@torch.no_grad()
def test_the_products_in_bfloat16_are_nearly_those_in_float32():
    critic, x = network(PrototypicalCritic), drawings(4)
    exact = critic.features(x)
    critic.product_dtype = torch.bfloat16
    found = critic.features(x)
    assert found.dtype == torch.float32 and not torch.equal(found, exact)
    assert (found - exact).abs().max() < 0.1 * exact.abs().max()


def test_bad_configurations():
    for name, value in itertools.product(("channels", "blocks", "embedding", "projection"), (0, 1.5)):
        with pytest.raises(ValueError, match=f"{name} is {value}; expected a whole number of at least 1"):
            CriticConfig(**{name: value})
    with pytest.raises(ValueError, match="blocks is 6; expected at most 5"):
        CriticConfig(blocks=6)
    with pytest.raises(ValueError, match="temperature is 0; expected a positive number"):
        CriticConfig(temperature=0)
    assert network(Critic, blocks=5).embed(drawings(2)).shape == (2, 5)
