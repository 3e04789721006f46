"""The bounds, on a linear-Gaussian model where log p(x) and the true posterior are known."""

import math

import pytest
import torch

from oneshot_lib.distributions import DiagonalGaussian
from oneshot_lib.objectives import SET_OBJECTIVES, FreeEnergy, free_energy, importance_weighted_bound, set_bound

A, S = 1.5, 0.7  # z ~ N(0, 1), x | z ~ N(A z, S^2)
N = 200_000


def logs(*values):
    return torch.tensor(values, dtype=torch.float64)


def evidence(x):
    return torch.distributions.Normal(0, math.sqrt(A * A + S * S)).log_prob(x)


def true_posterior(x):
    precision = 1 + A * A / S**2
    return DiagonalGaussian((A * x / S**2 / precision)[..., None], torch.full_like(x,
            -0.5 * math.log(precision))[..., None])


def terms(x, q, z):
    """The free energy's two terms, one row a draw of z (N, 1)."""
    likelihood = DiagonalGaussian(A * z, torch.full_like(z, math.log(S))).log_prob(x[:, None].expand(len(z), 1))
    return free_energy(likelihood, q.kl()[:, None].expand(len(z), 1))


def draws(q, seed=0, n=N):
    return q.sample(torch.randn(n, 1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64))


@pytest.mark.parametrize(("mean", "log_sigma"), [(0.0, 0.0), (0.5, -1.0), (1.2, -0.3)])
def test_the_gap_is_the_divergence_from_the_true_posterior(mean, log_sigma):
    x, q = logs(1.3), DiagonalGaussian(logs([mean]), logs([log_sigma]))
    bound = terms(x, q, draws(q)).bound
    error = bound.std() / N**0.5
    assert bound.mean() <= evidence(x) + 4 * error
    assert abs(evidence(x) - bound.mean() - q.kl(true_posterior(x))) < 4 * error


def test_a_free_energy_that_forgets_the_kl_is_caught():
    x = logs(1.3)
    q = DiagonalGaussian(logs([0.5]), logs([-1.0]))
    t = terms(x, q, draws(q))
    faulty = FreeEnergy(t.log_likelihood, torch.zeros_like(t.kl)).bound
    assert abs(evidence(x) - faulty.mean() - q.kl(true_posterior(x))) > 100 * faulty.std() / N**0.5


def test_every_step_is_paid_once():
    terms = free_energy(logs(-10.0, -20.0), logs([1.0, 2.0], [3.0, 4.0]))
    assert terms.bound.tolist() == [-13.0, -27.0]
    assert terms.kl.shape == (2, 2)  # the receipts are kept, not only their sum


@pytest.mark.parametrize(("likelihood", "kl"), [((2,), (3, 4)), ((2, 1), (2, 4)), ((2,), (2,))])
def test_shapes_that_do_not_belong_together_are_refused(likelihood, kl):
    with pytest.raises(ValueError, match="expected"):
        free_energy(torch.zeros(likelihood), torch.zeros(kl))


def log_weights(x, q, k, n, seed=0):
    z = draws(q, seed, k * n)
    prior = DiagonalGaussian(torch.zeros_like(z), torch.zeros_like(z))
    likelihood = DiagonalGaussian(A * z, torch.full_like(z, math.log(S))).log_prob(x[:, None].expand_as(z))
    return (likelihood + prior.log_prob(z) - q.log_prob(z)).reshape(k, n)


def test_with_the_true_posterior_every_log_weight_is_the_evidence():
    x = logs(1.3)
    weights = log_weights(x, true_posterior(x), 4, 10)
    torch.testing.assert_close(weights, evidence(x).expand(4, 10))


def test_on_the_same_draws_the_weighted_bound_is_never_below_the_mean():
    weights = log_weights(logs(1.3), DiagonalGaussian(logs([0.0]), logs([0.0])), 8, 1000)
    assert (importance_weighted_bound(weights) >= weights.mean(0)).all()  # Jensen, no tolerance


def test_more_weights_close_the_gap_and_never_pass():
    x, q = logs(1.3), DiagonalGaussian(logs([0.3]), logs([-0.2]))
    values = {k: importance_weighted_bound(log_weights(x, q, k, N // k)) for k in (1, 4, 16, 64)}
    means = [v.mean().item() for v in values.values()]
    errors = [(v.std() / len(v) ** 0.5).item() for v in values.values()]
    assert means == sorted(means)
    assert all(m <= evidence(x).item() + 4 * e for m, e in zip(means, errors, strict=True))
    assert evidence(x).item() - means[-1] < 0.1 * (evidence(x).item() - means[0])


def test_a_mean_of_logs_in_place_of_the_log_of_the_mean_is_caught():
    weights = log_weights(logs(1.3), DiagonalGaussian(logs([0.0]), logs([0.0])), 8, 1000)
    assert not (weights.mean(0) >= importance_weighted_bound(weights)).all()


def test_no_weight_is_an_error():
    with pytest.raises(ValueError, match="K >= 1"):
        importance_weighted_bound(torch.zeros(0, 3))


# --- sets -------------------------------------------------------------------------------------------------------------


def set_terms(**switches):
    likelihood, kl = logs(-10.0, -20.0), logs(6.0, 12.0)
    return set_bound(likelihood, kl, torch.tensor([20, 30]), 3, kl_element=logs(1.0, 2.0), **switches)


def test_the_two_switches_are_where_x_comes_from_and_what_divides():
    names = {(o.resample, o.rescale): key for key, o in SET_OBJECTIVES.items()}
    assert names == {(True, True): "vhe", (False, False): "neural-statistician", (True, False): "resample",
                     (False, True): "rescale"}
    assert {key: o.x_from for key, o in SET_OBJECTIVES.items()} == {
        "vhe": "class", "resample": "class", "neural-statistician": "support", "rescale": "support"}
    assert set_terms(rescale=True).bound.tolist() == [-10 - 1 - 6 / 20, -20 - 2 - 12 / 30]
    assert set_terms(rescale=False).bound.tolist() == [-10 - 1 - 6 / 3, -20 - 2 - 12 / 3]


def test_with_the_whole_class_as_support_the_switches_do_nothing():
    args = logs(-10.0), logs(6.0), torch.tensor([5]), 5
    assert torch.equal(set_bound(*args, rescale=True).bound, set_bound(*args, rescale=False).bound)


def test_a_set_bound_of_the_wrong_shape_is_refused():
    with pytest.raises(ValueError, match="kl_class has shape"):
        set_bound(logs(-1.0), logs(1.0, 2.0), torch.tensor([3]), 3)
    with pytest.raises(ValueError, match="support_size is 0"):
        set_bound(logs(-1.0), logs(1.0), torch.tensor([3]), 0)
