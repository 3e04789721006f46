"""A homoencoder whose every integral is known: what bounds, estimates and scores over sets have to be.

c and z are standard normals of two and one dimensions (z moved by c), x four numbers linear in both, with noise:

    c ~ N(0, I),  z ~ N(h . c, tau^2),  x ~ N(A c + B z, s^2 I)

The columns of M = A + B h are orthogonal to each other and to B, so that the exact posteriors are diagonal.
"""

import itertools
import math
from types import SimpleNamespace

import pytest
import torch

from oneshot_lib.data.episodes import ClassRows
from oneshot_lib.distributions import DiagonalGaussian
from oneshot_lib.evaluation import joint_likelihood
from oneshot_lib.evaluation.classification import log_scores
from oneshot_lib.experiments.hewitt import sets
from oneshot_lib.models.homoencoder import Homoencoder
from oneshot_lib.objectives import importance_weighted_bound

S, TAU = 0.7, 0.6
B = torch.tensor([0.5, 0.5, 0.5, 0.5]).double()
M = torch.tensor([[1.0, 0.6], [1.0, -0.6], [-1.0, 0.6], [-1.0, -0.6]]).double()
H = torch.tensor([0.4, -0.8]).double()
A = M - B[:, None] * H
WITHIN = TAU**2 * torch.outer(B, B) + S**2 * torch.eye(4).double()  # of x given c
X = torch.tensor([[[1.2, -0.3, 0.4, 0.9], [0.1, 1.5, -0.7, 0.2], [-0.6, 0.8, 1.1, -1.9]],
                  [[-1.4, 0.6, 0.3, 0.5], [-0.8, -2.1, 1.0, 0.4], [0.7, 0.2, 1.6, -0.5]]]).double()
X = X.view(2, 3, 1, 2, 2)  # two classes of three drawings of four pixels


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


class Linear(Homoencoder):
    """The model above. With `exact` = n its q's are the posteriors given n elements; else they are others."""

    class_size, element_size = 2, 1

    def __init__(self, exact: int | None = None):
        super().__init__()
        self.exact, n = exact, exact or 3
        precision = 1 + n * M.square().sum(0) / S**2
        self.to_c, self.c_sigma = n * M.T / S**2 / precision[:, None], -0.5 * precision.log()
        variance = 1 / (1 / TAU**2 + B @ B / S**2)
        self.x_to_z, self.c_to_z = variance * B / S**2, variance * (H / TAU**2 - A.T @ B / S**2)
        self.z_sigma = 0.5 * variance.log()
        if not exact:  # wider, and a little beside
            self.to_c = 0.8 * self.to_c + torch.tensor([[0.02, -0.03, 0.01, 0.0], [0.03, 0.0, -0.02, 0.02]]).double()
            self.x_to_z, self.c_to_z = 0.8 * self.x_to_z, self.c_to_z + torch.tensor([0.1, -0.05]).double()
            self.c_sigma, self.z_sigma = self.c_sigma + 0.3, self.z_sigma + 0.3

    def posterior(self, support):
        mean = support.flatten(2).mean(1) @ self.to_c.T
        spread = self.c_sigma if self.exact else self.c_sigma + 0.1 * mean.square()  # it depends on D as well
        return DiagonalGaussian(mean, spread.expand_as(mean))

    def class_kl(self, q, c):
        return q.kl()

    def element_features(self, x):
        return x

    def element_posterior(self, x, c, seen=None):
        mean = (x.flatten(1) @ self.x_to_z + c @ self.c_to_z)[:, None]
        return DiagonalGaussian(mean, self.z_sigma.expand_as(mean))

    def element_prior(self, c):
        mean = (c @ H)[:, None]
        return DiagonalGaussian(mean, torch.full_like(mean, math.log(TAU)))

    def log_likelihood(self, x, c, z):
        mean = c @ A.T + z * B
        return DiagonalGaussian(mean, torch.full_like(mean, math.log(S))).log_prob(x.flatten(1))

    def sample_element(self, c, z, generator=None):
        return (c @ A.T + z * B).view(-1, 1, 2, 2)

    def bound(self, x, support):
        """What the terms of one x (4,) are on average, under q of one support: log-likelihood, KL of z, KL of c."""
        q = self.posterior(support[None])
        m, v = q.mean[0], (2 * q.log_sigma[0]).exp()
        left = A + B[:, None] * self.c_to_z  # what a step in c does to the mean of x, z following
        error = (x - B * (x @ self.x_to_z) - left @ m).square().sum() + (left.square() * v).sum()
        error = error + B @ B * (2 * self.z_sigma).exp()
        apart = self.c_to_z - H
        moved = (x @ self.x_to_z + apart @ m).square() + (apart.square() * v).sum()
        kl = 0.5 * (((2 * self.z_sigma).exp() + moved) / TAU**2 - 1) - self.z_sigma + math.log(TAU)
        return -0.5 * error / S**2 - 2 * math.log(2 * math.pi * S**2), kl, q.kl()[0]


def log_normal(x, mean, covariance):
    return torch.distributions.MultivariateNormal(mean, covariance).log_prob(x)


def evidence(elements):
    """log p(X) of (n, ...), one Gaussian in 4 n dimensions."""
    n = len(elements)
    shared = M @ M.T
    rows = [torch.cat([shared + WITHIN if i == j else shared for j in range(n)], 1) for i in range(n)]
    return log_normal(elements.flatten(), torch.zeros(4 * n).double(), torch.cat(rows))


def test_the_model_is_what_it_says():
    """With the exact posteriors the bound of the set is its evidence, and with others it lies below."""
    for elements in X:
        for model, gap in ((Linear(exact=3), 0.0), (Linear(), 0.05)):
            terms = [model.bound(x, elements) for x in elements.flatten(1)]
            bound = sum(likelihood - kl for likelihood, kl, _ in terms) - terms[0][2]
            assert bound <= evidence(elements) - gap + 1e-9
            assert gap or bound.item() == pytest.approx(evidence(elements).item(), abs=1e-9)


@pytest.mark.parametrize("each", [1, 2, 3])
def test_the_terms_of_every_element_average_to_their_closed_form(each):
    """Two classes of unlike |X| at once, and elements that share a support: each is paid for by its own class."""
    model, draws, size = Linear(), 8000, torch.tensor([20, 30])
    support = X[:, :2]
    terms = model.terms(X[:, -each:].repeat(draws, 1, 1, 1, 1).flatten(0, 1), support.repeat(draws, 1, 1, 1, 1),
                           size.repeat(draws), rng())
    found = [term.view(draws, 2, each) for term in (terms.log_likelihood, terms.kl_element, terms.kl_class)]
    bound = terms.bound.view(draws, 2, each)
    for g, j in itertools.product(range(2), range(each)):
        expected = model.bound(X[g, j - each].flatten(), support[g])
        for term, value in zip(found, expected, strict=True):
            at = term[:, g, j]
            assert abs(at.mean() - value) < 4.5 * at.std() / draws**0.5 + 1e-9
        whole = expected[0] - expected[1] - expected[2] / size[g]
        assert abs(bound[:, g, j].mean() - whole) < 4.5 * bound[:, g, j].std() / draws**0.5


# --- what the tables are made of ----------------------------------------------------------------------------------


class Supports:
    """The first three drawings of X, under D of whatever size, in turns; `asked` are the sizes of the batches."""

    def __init__(self):
        self.asked, self.rows = [], ClassRows(torch.arange(2).repeat_interleave(3).numpy())

    def minibatch(self, batch_size, support_size, generator, x_from="class", sets="all", elements=1):
        self.asked.append((batch_size, support_size, sets))
        batch = self.rows.minibatch(batch_size, support_size, generator)
        return SimpleNamespace(support=X.flatten(0, 1)[batch.support])


def test_the_divergence_of_table_1_is_a_mean_over_supports():
    source, model = Supports(), Linear()
    settings = SimpleNamespace(support_size=2, sets="drawings")
    found = sets.class_kl(model, source, settings, 4050)
    assert source.asked == [(100, 2, "drawings")] * 40 + [(50, 2, "drawings")]  # no last batch is dropped
    pairs = [model.posterior(X[k, list(d)][None]).kl() for k in range(2)
             for d in itertools.combinations(range(3), 2)]
    exact = torch.cat(pairs)  # every D of either class, equally likely
    assert abs(found.value - exact.mean()) < 4.5 * found.error
    assert found.error == pytest.approx(exact.std(correction=0).item() / 4050**0.5, rel=0.05)
    assert found.n == 4050


def test_the_divergence_of_table_1_is_taken_at_draws_of_c():
    """Of a prior that no closed form knows, log q(c) itself: its mean is minus the entropy of q."""

    class OfDraws(Linear):
        def class_kl(self, q, c):
            return q.log_prob(c)

    model, settings = OfDraws(exact=3), SimpleNamespace(support_size=3, sets="all")
    found = sets.class_kl(model, Supports(), settings, 4000)
    entropy = (model.c_sigma + 0.5 * math.log(2 * math.pi * math.e)).sum().item()
    assert abs(found.value + entropy) < 4.5 * found.error
    assert found.error == pytest.approx(1 / 4000**0.5, rel=0.1)  # half a chi-square of two dimensions: variance 1


@pytest.mark.parametrize("k", [0, 1])
def test_the_joint_bound_of_table_3_is_that_of_whole_classes(k, monkeypatch):
    model, run, n = Linear(), SimpleNamespace(device="cpu", seed=0), 1500
    asked = []
    monkeypatch.setattr(sets, "whole_classes", lambda *about: asked.append(about) or iter([X[k]] * n))
    found = sets.joint_bound(run, "row", model, 7)
    assert asked == [(run, "row", 7)] and found.n == n
    terms = [model.bound(x, X[k]) for x in X[k].flatten(1)]
    exact = (sum(likelihood - kl for likelihood, kl, _ in terms) - terms[0][2]) / 3  # one price of c, for all of X
    assert abs(found.value + exact) < 4.5 * found.error
    assert -found.value < evidence(X[k]) / 3 and 0 < found.error < 0.1


def test_the_joint_bound_is_a_mean_over_classes_with_its_error(monkeypatch):
    """Of a model that draws nothing and gives each element its number; each class is its own D, with its own |X|."""
    class Known(torch.nn.Module):
        def terms(self, x, support, set_size, generator):
            assert torch.equal(x, support[0]) and len(support) == 1 and set_size.tolist() == [len(x)]
            return SimpleNamespace(bound=-x.flatten(1).square().sum(1))

    classes = [X[0], X[1], X[1, :1]]
    monkeypatch.setattr(sets, "whole_classes", lambda *_: iter(classes))
    found = sets.joint_bound(SimpleNamespace(device="cpu", seed=0), None, Known())
    each = torch.stack([elements.square().sum() / len(elements) for elements in classes])
    assert (found.value, found.n) == (pytest.approx(each.mean().item()), 3)
    assert found.error == pytest.approx(each.std().item() / 3**0.5)


@pytest.mark.parametrize(("outer", "inner", "batch"), [(1, 1, 64), (4, 1, 64), (5, 3, 6), (3, 2, 1), (7, 2, 8)])
def test_the_joint_likelihood_is_exact_where_the_posteriors_are(outer, inner, batch):
    """Every weight is log p(X), whatever is drawn: any element under another draw of c would be seen."""
    model, at_once = Linear(exact=3), []
    weights = model.element_log_weights
    model.element_log_weights = lambda x, *more: at_once.append(len(x)) or weights(x, *more)
    for elements in X:
        found = joint_likelihood(model, elements, outer, inner, generator=rng(), batch=batch)
        assert found == pytest.approx(evidence(elements).item() / 3, abs=1e-9)
    assert max(at_once) <= max(3, batch) and sum(at_once) == 2 * 3 * outer  # a batch is what memory has room for


def test_the_joint_likelihood_never_passes_the_evidence_and_grows_with_both_numbers():
    model, exact = Linear(), evidence(X[0]).item() / 3
    means, errors = [], []
    for outer, inner, n in ((1, 1, 400), (1, 20, 200), (40, 20, 60)):
        generator = rng(1)
        found = torch.tensor([joint_likelihood(model, X[0], outer, inner, generator=generator, batch=200)
                              for _ in range(n)]).double()
        means, errors = [*means, found.mean().item()], [*errors, found.std().item() / n**0.5]
    assert means[1] - means[0] > 2 * math.hypot(*errors[:2]) and means[2] - means[1] > 2 * math.hypot(*errors[1:])
    assert all(mean < exact + 4.5 * error for mean, error in zip(means, errors, strict=True))
    assert means[2] == pytest.approx(exact, abs=4.5 * errors[2] + 0.005)


def test_new_drawings_are_of_their_own_class_each_from_a_draw_of_c():
    model, n = Linear(), 3000
    made = model.draw_like(X[:, :2], n, rng(6))
    assert made.shape == (2, n, 1, 2, 2)
    q = model.posterior(X[:, :2])
    for k in range(2):
        found, covariance = made[k].flatten(1), M @ torch.diag((2 * q.log_sigma[k]).exp()) @ M.T
        variance = (covariance + TAU**2 * torch.outer(B, B)).diagonal()
        assert ((found.mean(0) - M @ q.mean[k]).abs() < 4.5 * (variance / n).sqrt()).all()
        torch.testing.assert_close(found.var(0), variance, rtol=0.15, atol=0)
    assert (M @ (q.mean[0] - q.mean[1])).abs().max() > 0.5  # which another class's c would be off by


# --- classification -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("outer", "inner", "batch", "keep"), [(1, 1, 64, None), (4, 2, 5, None), (6, 3, 1, None),
                                                               (7, 2, 64, 1e6)])
def test_scores_are_the_log_of_the_mean_probability_where_the_element_posterior_is_exact(outer, inner, batch, keep):
    """p(x | c) is then a Gaussian in four dimensions at every draw of c, whatever the draws of z are."""
    model, query = Linear(exact=3), torch.cat([X[1, :2], X[0, :2], 0.5 * X[0, 2:]])
    found = log_scores(model, X, query, outer=outer, inner=inner, batch=batch, keep=keep, generator=rng(3))
    q, noise = model.posterior(X), torch.randn(outer, 2, generator=rng(3), dtype=torch.float64)
    by_hand = torch.tensor([[torch.stack([log_normal(x, M @ (q.mean[k] + q.log_sigma[k].exp() * eps), WITHIN)
                                          for eps in noise]).logsumexp(0) - math.log(outer)
                             for k in range(2)] for x in query.flatten(1)])
    torch.testing.assert_close(found.log_scores, by_hand, rtol=1e-9, atol=1e-9)
    assert found.sampled.all()
    assert found.choice.tolist() == by_hand.argmax(1).tolist()


def test_with_many_draws_a_score_is_the_predictive_probability():
    model, query, n = Linear(), X[:, 2], 60
    q = model.posterior(X[:, :2])
    exact = torch.stack([torch.stack([log_normal(
        x, M @ q.mean[k], M @ torch.diag((2 * q.log_sigma[k]).exp()) @ M.T + WITHIN) for k in range(2)])
        for x in query.flatten(1)])
    generator = rng(4)
    found = torch.stack([log_scores(model, X[:, :2], query, outer=100, inner=20, batch=4000, generator=generator)
                         .log_scores for _ in range(n)])
    mean, error = found.exp().mean(0), found.exp().std(0) / n**0.5  # of the probability there is no bias
    assert ((mean - exact.exp()).abs() < 4.5 * error).all()
    assert (error < 0.1 * exact.exp()).all()


def test_element_weights_are_those_of_the_integral_over_z():
    """log p(x | c) of every pair of x and c: exact with the posterior, below and close with another q."""
    x, c = X.flatten(0, 1), torch.randn(6, 2, generator=rng(5), dtype=torch.float64)
    exact = torch.stack([log_normal(a.flatten(), M @ b, WITHIN) for a, b in zip(x, c, strict=True)])
    weights = Linear(exact=3).element_log_weights(x, c, 4, rng())
    torch.testing.assert_close(weights, exact.expand(4, 6), rtol=1e-9, atol=1e-9)
    weights = Linear().element_log_weights(x.repeat(400, 1, 1, 1), c.repeat(400, 1), 50, rng()).view(20_000, 6)
    ratio = (weights - exact).exp()  # of mean one
    assert ((ratio.mean(0) - 1).abs() < 4.5 * ratio.std(0) / 20_000**0.5).all()
    assert (importance_weighted_bound(weights) > weights.mean(0)).all()
