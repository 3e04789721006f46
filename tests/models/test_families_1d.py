"""Set objectives where log p(X) is known, each property with the fault that it must catch."""

import itertools
import math

import pytest
import torch

from oneshot_lib import training
from oneshot_lib.models.conjugate import ConjugateGaussian, LinearPosterior, SetMoments
from oneshot_lib.models.families_1d import FAMILIES, FamilyConfig, FamilyHomoencoder, scores, set_objective
from oneshot_lib.objectives import SET_OBJECTIVES, importance_weighted_bound, set_bound

MODEL = ConjugateGaussian(slope=1.3, noise=0.8)
X = torch.tensor([[0.3, -1.1, 2.0, 0.7, 1.6], [-2.0, -0.4, -1.5, -1.1, -3.0]], dtype=torch.float64)
CRUDE = LinearPosterior(0.7, -0.2, -0.6)  # a q of its own mind
every_q = pytest.mark.parametrize("q", [None, CRUDE], ids=["exact", "crude"])
every_size = pytest.mark.parametrize("support_size", [1, 2, 4, 5])
every_family = pytest.mark.parametrize("name", FAMILIES)


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def joint_normal(model, elements):
    """log p(X) as one Gaussian in n dimensions."""
    n = elements.shape[1]
    covariance = model.slope**2 * torch.ones(n, n).double() + model.noise**2 * torch.eye(n).double()
    distance = (elements @ torch.linalg.inv(covariance) * elements).sum(1)
    return -0.5 * (distance + torch.logdet(covariance) + n * math.log(2 * math.pi))


# --- the closed forms, against the same thing done the long way -------------------------------------------------------


def test_log_marginal_is_that_of_one_gaussian_in_n_dimensions():
    torch.testing.assert_close(MODEL.log_marginal(X), joint_normal(MODEL, X))
    torch.testing.assert_close(MODEL.log_marginal(X[:, :1]), joint_normal(MODEL, X[:, :1]))


def test_with_the_exact_posterior_every_log_weight_is_log_marginal():
    q, c = MODEL.posterior(X), torch.tensor([[-0.4], [2.1]]).double()
    log_joint = -0.5 * ((X - MODEL.slope * c) / MODEL.noise).square() - math.log(MODEL.noise * math.sqrt(2 * math.pi))
    weight = log_joint.sum(1) - 0.5 * (c[:, 0].square() + math.log(2 * math.pi)) - q.log_prob(c)
    torch.testing.assert_close(weight, MODEL.log_marginal(X))


def by_hand(x, support_size, q, source):
    """(likelihood, kl, gap) of one class, averaged over every D by enumeration and over c by a grid."""
    at, step = torch.linspace(-12, 12, 24001, dtype=torch.float64), 24 / 24000
    log_px = -0.5 * ((x[:, None] - MODEL.slope * at) / MODEL.noise).square() - math.log(
        MODEL.noise * math.sqrt(2 * math.pi))  # (n, grid)
    log_prior = -0.5 * at.square() - 0.5 * math.log(2 * math.pi)
    log_posterior = log_prior + log_px.sum(0) - MODEL.log_marginal(x[None])
    rows = []
    for chosen in map(list, itertools.combinations(range(len(x)), support_size)):
        density = q(x[None, chosen])
        log_q = density.log_prob(at[:, None])
        mass = log_q.exp() * step
        explained = log_px if source == "class" else log_px[chosen]
        rows.append([(mass * explained).sum(1).mean(), (mass * (log_q - log_prior)).sum(),
                     (mass * (log_q - log_posterior)).sum() / len(x)])
    return torch.tensor(rows, dtype=torch.float64).mean(0).tolist()


@every_q
@every_size
@pytest.mark.parametrize("objective", SET_OBJECTIVES)
def test_the_averages_over_every_support_are_those_of_enumeration(objective, support_size, q):
    terms = MODEL.terms(X, support_size, objective, q)
    gap = MODEL.gap(X, support_size, q)
    for i, x in enumerate(X):
        chosen = q or MODEL.encoder(support_size)
        likelihood, kl, gap_by_hand = by_hand(x, support_size, chosen, SET_OBJECTIVES[objective].x_from)
        assert terms.log_likelihood[i].item() == pytest.approx(likelihood, abs=1e-6)
        assert terms.kl_class[i].item() == pytest.approx(kl, abs=1e-6)
        assert gap[i].item() == pytest.approx(gap_by_hand, abs=1e-6)


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_the_mean_of_a_support_wanders_as_the_means_of_all_supports_do(n):
    moments = SetMoments.of(X[:, :n])
    for size in range(1, n + 1):
        means = torch.stack([X[:, list(d)].mean(1) for d in itertools.combinations(range(n), size)])
        torch.testing.assert_close(moments.wander(size), means.var(0, correction=0))
        torch.testing.assert_close(moments.support(size).square, means.square().mean(0))


def test_supports_drawn_with_replacement_would_be_caught():
    x, right = X[:1], MODEL.gap(X[:1], 2).item()
    exact = MODEL.posterior(x)
    pairs = [MODEL.encoder(2)(x[:, list(chosen)]).kl(exact) for chosen in itertools.product(range(5), repeat=2)]
    assert abs(torch.stack(pairs).mean().item() / 5 - right) > 0.01


# --- the bounds -------------------------------------------------------------------------------------------------------


@every_q
@every_size
def test_the_vhe_lies_below_log_marginal_by_its_gap(support_size, q):
    """Hewitt 2018, ICLR version, eq. 16. For every |D|, 1 and |X| included."""
    bound, gap = MODEL.objective(X, support_size, q=q), MODEL.gap(X, support_size, q)
    assert (bound <= MODEL.log_marginal(X) / 5 + 1e-12).all()
    torch.testing.assert_close(bound + gap, MODEL.log_marginal(X) / 5)


@every_size
def test_a_kl_that_is_not_divided_is_caught(support_size):
    terms = MODEL.terms(X, support_size)
    faulty = terms.log_likelihood - terms.kl_class
    assert ((faulty + MODEL.gap(X, support_size) - MODEL.log_marginal(X) / 5).abs() > 0.1).all()


@every_q
def test_with_the_whole_class_as_support_the_four_are_the_evidence_bound_of_the_set(q):
    used = q or MODEL.encoder(5)
    z = used(X)
    error = (X - MODEL.slope * z.mean).square() + (MODEL.slope * z.log_sigma.exp()).square()
    log_likelihood = -0.5 * (error / MODEL.noise**2 + math.log(2 * math.pi * MODEL.noise**2)).sum(1)
    for name in SET_OBJECTIVES:
        torch.testing.assert_close(MODEL.objective(X, 5, name, q), (log_likelihood - z.kl()) / 5)
        assert name == "rescale" or torch.allclose(MODEL.ceiling(X, 5, name), MODEL.log_marginal(X) / 5)


@every_q
@pytest.mark.parametrize("support_size", [1, 3])
def test_which_of_the_four_bound_what(support_size, q):
    values = {name: MODEL.objective(X, support_size, name, q) for name in SET_OBJECTIVES}
    subsets = [MODEL.log_marginal(X[:, list(d)]) for d in itertools.combinations(range(5), support_size)]
    of_supports = torch.stack(subsets).mean(0) / support_size
    torch.testing.assert_close(MODEL.ceiling(X, support_size, "neural-statistician"), of_supports)
    assert (values["neural-statistician"] <= of_supports + 1e-12).all()
    assert (values["resample"] <= values["vhe"]).all()  # the same, at a higher price: below the same ceiling
    torch.testing.assert_close(values["vhe"] - values["resample"], MODEL.terms(X, support_size, q=q).kl_class
                               * (1 / support_size - 1 / 5))


def test_rescale_only_passes_log_marginal_and_nothing_stops_it():
    sharp = [ConjugateGaussian(1.3, noise) for noise in (0.1, 0.01, 0.001)]
    values = [m.objective(X, 1, "rescale", m.best_encoder(m.moments(5), 1, "rescale")) for m in sharp]
    assert all((above > below + 1).all() for below, above in itertools.pairwise(values))
    assert (values[-1] > MODEL.log_marginal(X) / 5).all() and MODEL.ceiling(X, 1, "rescale").isnan().all()


def test_the_neural_statistician_with_one_element_is_a_vae_and_paid_like_one():
    with_one = MODEL.terms(X, 1, "neural-statistician")
    torch.testing.assert_close(with_one.bound, joint_normal(MODEL, X.reshape(-1, 1)).reshape(2, 5).mean(1))


@pytest.mark.parametrize("objective", SET_OBJECTIVES)
@pytest.mark.parametrize("support_size", [1, 3, 5])
@pytest.mark.parametrize("sets", [X, MODEL.moments(5), X[:1]], ids=["two sets", "all sets", "one set"])
def test_the_best_encoder_is_at_the_top_in_each_of_its_numbers(objective, support_size, sets):
    best = MODEL.best_encoder(sets, support_size, objective)
    top = MODEL.objective(sets, support_size, objective, best).mean()
    for field in best._fields:
        for step in (-0.01, 0.01):
            other = best._replace(**{field: getattr(best, field) + step})
            assert MODEL.objective(sets, support_size, objective, other).mean() < top


def test_the_models_own_moments_are_the_average_over_its_own_sets():
    sets = MODEL.sample(200_000, 4, rng(), torch.float64)
    for ours, drawn in zip(MODEL.moments(4)[1:3], SetMoments.of(sets)[1:3], strict=True):
        assert abs(ours - drawn.mean()) < 4 * drawn.std() / 200_000**0.5


@pytest.mark.parametrize("wrong, named", [
    (lambda: ConjugateGaussian(noise=0.0), "noise"), (lambda: MODEL.objective(X, 6), "support_size is 6"),
    (lambda: MODEL.objective(X, 0), "support_size is 0"), (lambda: MODEL.objective(X, 2, "nothing"), "objective is"),
    (lambda: MODEL.log_marginal(X[0]), "elements has shape"), (lambda: FamilyConfig("poisson"), "family is 'poisson'"),
    (lambda: FamilyHomoencoder().posterior(torch.zeros(3, 0)), "support has shape"),
    (lambda: scores(FamilyHomoencoder(), torch.zeros(3, 4), 4), "support_size is 4"),
])
def test_what_makes_no_sense_is_refused(wrong, named):
    with pytest.raises(ValueError, match=named):
        wrong()


# --- the five families ------------------------------------------------------------------------------------------------


def build(name, seed=0):
    """A model whose every weight matters, in float64."""
    model, generator = FamilyHomoencoder(FamilyConfig(name)).double(), rng(seed)
    for parameter in model.parameters():
        parameter.data.copy_(0.4 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return model


def classes(name, count=3, size=6, seed=1):
    return FAMILIES[name].sample(count, size, rng(seed)).double()


RANGES = {"gaussian": (-30, 30), "mixture": (-30, 30), "von-mises": (-math.pi, math.pi), "gamma": (0, 200)}


@pytest.mark.parametrize("name", RANGES)
def test_densities_integrate_to_one(name):
    low, high = (-60, math.log(400)) if name == "gamma" else RANGES[name]  # of log x, as there may be a pole at 0
    step = (high - low) / 400_000
    at = low + step * (torch.arange(400_000, dtype=torch.float64) + 0.5)
    at, log_jacobian = (at.exp(), at) if name == "gamma" else (at, 0 * at)
    p = build(name).decoder(torch.randn(4, FAMILIES[name].latent, generator=rng(), dtype=torch.float64))
    p = torch.cat([p, FAMILIES[name].prior(40)[0][[3, 20, 37]]])
    for row in p:
        total = (FAMILIES[name].log_prob(at, row) + log_jacobian).exp().sum().item() * step
        assert total == pytest.approx(1, abs=1e-6)


def test_the_discrete_masses_add_up_to_one():
    p = build("discrete").decoder(torch.ones(1, 2).double())
    assert FAMILIES["discrete"].log_prob(torch.arange(8.0), p).exp().sum().item() == pytest.approx(1)


@every_family
def test_what_is_drawn_follows_the_density(name):
    family, n = FAMILIES[name], 20_000
    p = family.prior(40)[0][2].expand(n, -1)
    x = family.draw(p, rng())
    low, high = RANGES.get(name, (-0.5, 7.5))
    edges = torch.quantile(x.double(), torch.tensor([0.2, 0.5, 0.8]).double())
    fine = torch.arange(8.0).double() if name == "discrete" else torch.linspace(low, high, 400_001).double()[1:-1]
    mass = family.log_prob(fine, p[:1]).exp()
    mass = mass / mass.sum()
    for edge in edges:
        share, expected = (x <= edge).double().mean(), mass[fine <= edge].sum()
        assert abs(share - expected) < 4 * (expected * (1 - expected) / n).sqrt() + 1e-3


@every_family
def test_the_prior_of_classes_has_mass_one_and_the_sample_has_the_papers_shape(name):
    assert FAMILIES[name].prior(100)[1].exp().sum().item() == pytest.approx(1)
    x = FAMILIES[name].sample(generator=rng())
    assert x.shape == (100, 100) and x.isfinite().all() and torch.equal(x, FAMILIES[name].sample(generator=rng()))


@pytest.mark.slow
def test_the_constants_of_the_families_are_those_that_are_stated():
    """Of many classes of many numbers: what is the same in all of them, and how far apart they lie."""
    def drawn(name):
        return FAMILIES[name].sample(4000, 50, rng(8)).double()

    x = drawn("gaussian")
    assert x.var(1).mean().item() == pytest.approx(1, abs=0.02) and x.mean(1).var().item() == pytest.approx(1, abs=0.1)
    x = drawn("mixture")  # at -+1, with a quarter
    assert x.var(1).mean().item() == pytest.approx(1 + 1 / 16, abs=0.02)
    x = drawn("gamma")  # mean and variance are alpha, 1 to 10
    assert x.mean().item() == pytest.approx(5.5, abs=0.2) and x.var(1).mean().item() == pytest.approx(5.5, abs=0.2)
    assert x.mean(1).var().item() == pytest.approx(81 / 12 + 5.5 / 50, abs=0.4)
    x = drawn("von-mises")  # I_1(4) / I_0(4) is the length of the mean direction
    length = torch.stack([x.cos().mean(1), x.sin().mean(1)]).square().sum(0)
    ratio = torch.special.i1e(torch.tensor(4.0)) / torch.special.i0e(torch.tensor(4.0))
    assert length.mean().item() == pytest.approx(ratio.item() ** 2, abs=0.01)
    assert x.cos().mean().abs() < 0.05 and x.sin().mean().abs() < 0.05  # all directions alike
    x = drawn("discrete")
    assert set(map(len, map(set, x.tolist()))) <= {3, 4} and x.unique().tolist() == list(range(8))


def test_log_marginal_of_gaussian_classes_is_the_conjugate_one():
    x = classes("gaussian")
    torch.testing.assert_close(FAMILIES["gaussian"].log_marginal(x), ConjugateGaussian(1.0, 1.0).log_marginal(x),
                               atol=1e-4, rtol=0)


def test_log_marginal_of_discrete_classes_is_a_sum_of_four():
    x = torch.tensor([[0.0, 2.0], [0.0, 1.0], [1.0, 4.0]]).double()  # 1 and 3: low or odd; 1 and 2: low; 2 and 5: none
    expected = torch.tensor([2.0, 1.0, 0.0]).double().mul(1 / 64).log()
    torch.testing.assert_close(FAMILIES["discrete"].log_marginal(x), expected)


def as_conjugate(slope=1.3, noise=0.8):
    """The learned Gaussian with the numbers of the known one, and its crude q."""
    model = build("gaussian")
    model.decoder.weight.data = torch.tensor([[slope], [0.0]]).double()
    model.decoder.bias.data = torch.tensor([0.0, math.log(noise)]).double()
    model.encoder.weight.data = torch.tensor([[CRUDE.weight], [0.0]]).double()
    model.encoder.bias.data = torch.tensor([CRUDE.bias, CRUDE.log_sigma]).double()
    return model


@pytest.mark.parametrize("objective", SET_OBJECTIVES)
@pytest.mark.parametrize("support_size", [1, 3])
def test_batches_of_the_learned_model_average_to_the_closed_form(objective, support_size):
    value = set_objective(X, support_size, objective, batch_size=100_000)(as_conjugate(), 0, rng()).detach()
    closed = MODEL.objective(X, support_size, objective, CRUDE).mean()
    assert abs(value.mean() - closed) < 4 * value.std() / 100_000**0.5


@every_family
def test_log_marginal_by_grid_does_not_depend_on_the_grid_and_no_bound_passes_it(name):
    model, x = build(name), classes(name)
    exact = model.log_marginal(x)
    finer = model.log_marginal(x, 8001 if model.family.latent == 1 else 401)
    torch.testing.assert_close(exact, finer, atol=1e-6, rtol=0)
    if name == "gaussian":
        torch.testing.assert_close(as_conjugate().log_marginal(X), MODEL.log_marginal(X), atol=1e-6, rtol=0)


def expected_terms(model, x, support, draws=40_000):
    """One class x (n,) under q of one support (N,): E_q log p(X | c) - KL, and its error, by draws."""
    q = model.posterior(support[None])
    c = q.sample(torch.randn(draws, q.mean.shape[1], generator=rng(3), dtype=torch.float64))
    whole = model.family.log_prob(x, model.decoder(c)[:, None]).sum(1)
    log_weights = whole - 0.5 * (c.square() + math.log(2 * math.pi)).sum(1) - q.log_prob(c)
    return whole.mean().item() - q.kl().item(), whole.std().item() / draws**0.5, log_weights


@every_family
@torch.no_grad()
def test_set_bound_and_weighted_joint_likelihood_in_their_order(name):
    """VHE <= IW joint likelihood, and both <= log p(X): D = X and D smaller, |D| = 1 included."""
    model, x = build(name), classes(name)
    exact = model.log_marginal(x)
    for i, size in itertools.product(range(3), (1, 2, 6)):
        bound, error, log_weights = expected_terms(model, x[i], x[i, :size])
        weighted = importance_weighted_bound(log_weights.reshape(200, 200))
        assert bound <= exact[i].item() + 4 * error
        assert weighted.mean().item() >= bound - 4 * error
        assert weighted.mean() <= exact[i] + 4 * weighted.std() / 200**0.5
        gap = exact[i].item() - bound  # and the fault: without its price it would pass, or stop being the KL
        posterior_kl = (log_weights.mean() - exact[i]).neg().item()
        assert gap == pytest.approx(posterior_kl, abs=8 * log_weights.std().item() / 40_000**0.5 + 4 * error)


@every_family
def test_q_is_blind_to_order_and_sees_every_element(name):
    model, support = build(name), classes(name, 2, 5)
    q, turned = model.posterior(support), model.posterior(support.flip(1))
    torch.testing.assert_close(q.mean, turned.mean)
    torch.testing.assert_close(q.log_sigma, turned.log_sigma)
    for k in range(5):
        changed = support.clone()
        changed[:, k] = (changed[:, k] + 1) % 8
        assert (model.posterior(changed).mean != q.mean).any(1).all()
    assert model.posterior(support[:, :1]).mean.shape == q.mean.shape


@every_family
def test_the_protocol_of_models_over_sets(name):
    model, x = build(name), classes(name, 4, 5)
    terms = model.terms(x[:, 0], x[:, 1:3], torch.full((4,), 5), rng())
    by_two = model.terms(x[:, 0], x[:, 1:3], torch.full((4,), 5), rng(), rescale=False)
    torch.testing.assert_close(terms.bound - by_two.bound, terms.kl_class * (1 / 2 - 1 / 5))
    c = model.sample_class(4, rng())
    assert c.shape == (4, model.family.latent) and model.sample_from(c, rng()).shape == (4,)
    weights = model.element_log_weights(x[:, 0], c, 3)
    assert weights.shape == (3, 4) and torch.equal(weights[0], weights[2])
    q = model.posterior(x)
    torch.testing.assert_close(model.class_kl(q, c), q.kl())
    terms.bound.sum().backward()
    assert all((p.grad != 0).any() for p in model.parameters())


def test_annealing_weights_the_price_and_nothing_else():
    model = build("gaussian")
    plain, annealed = (set_objective(X, 2, batch_size=50, anneal=a) for a in (0, 10))
    batch = [f(model, step, rng()).detach() for f, step in ((plain, 0), (annealed, 0), (annealed, 4), (annealed, 9))]
    free = batch[0] + (batch[1] - batch[0]) / 0.9
    torch.testing.assert_close(batch[2], free + 0.5 * (batch[0] - free))
    torch.testing.assert_close(batch[3], batch[0])


@pytest.mark.slow
def test_the_common_loop_trains_it_and_one_element_is_enough_for_the_vhe_alone(tmp_path):
    x = FAMILIES["mixture"].sample(generator=rng())
    kl = {}
    for name in ("vhe", "resample"):
        model = FamilyHomoencoder(FamilyConfig("mixture"), rng(1))
        config = training.TrainingConfig(steps=250, learning_rate=0.03, warmup=1, seed=2)
        report = training.train(model, set_objective(x, 1, name, batch_size=100), config, tmp_path / name)
        assert report.finished and report.skipped == 0
        kl[name] = scores(model, FAMILIES["mixture"].sample(generator=rng(5)), 1, rng(6)).kl
    assert kl["vhe"] > 0.8 and kl["resample"] < 0.05


def test_scores_of_a_model_that_knows_and_of_one_that_does_not():
    x = FAMILIES["gaussian"].sample(generator=rng())
    model = as_conjugate(1.0, 1.0).float()
    model.encoder.weight.data, model.encoder.bias.data = torch.tensor([[0.98], [0.0]]), torch.tensor([0.0, -2.0])
    knows = scores(model, x, 20, rng(1))
    truth = -FAMILIES["gaussian"].log_marginal(x).mean().item() / 100
    assert truth - 0.01 < knows.joint_nll < truth + 0.05 and knows.error < 0.35
    model.decoder.weight.data.zero_()
    model.encoder.weight.data.zero_()
    blind = scores(model, x, 20, rng(1))
    assert blind.error == 0.5 and blind.joint_nll > knows.joint_nll + 0.1


def test_set_bound_is_what_the_closed_form_goes_through():
    terms = MODEL.terms(X, 2)
    again = set_bound(terms.log_likelihood, terms.kl_class, torch.tensor([5, 5]), 2)
    torch.testing.assert_close(again.bound, MODEL.objective(X, 2))
