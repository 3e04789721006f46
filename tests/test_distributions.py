"""Likelihoods sum to one; divergences agree with the closed form, with torch's and with Monte Carlo."""

import itertools

import pytest
import torch

from oneshot_lib.distributions import Bernoulli, DiagonalGaussian


def gaussian(seed: int, *shape: int) -> DiagonalGaussian:
    generator = torch.Generator().manual_seed(seed)
    mean, log_sigma = torch.randn(2, *shape, generator=generator, dtype=torch.float64)
    return DiagonalGaussian(mean, 0.5 * log_sigma)


def test_a_gaussian_integrates_to_one_in_one_dimension_and_in_two():
    q = gaussian(0, 1, 2)
    grid = torch.linspace(-12, 12, 1201, dtype=torch.float64)
    line = DiagonalGaussian(q.mean[:, :1], q.log_sigma[:, :1]).log_prob(grid[:, None]).exp()
    assert torch.trapezoid(line, grid).item() == pytest.approx(1, abs=1e-9)
    plane = q.log_prob(torch.cartesian_prod(grid, grid)).exp().reshape(1201, 1201)
    assert torch.trapezoid(torch.trapezoid(plane, grid), grid).item() == pytest.approx(1, abs=1e-9)


def test_bernoulli_sums_to_one_over_all_images():
    logits = torch.randn(1, 1, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    images = torch.tensor(list(itertools.product([0.0, 1.0], repeat=4)), dtype=torch.float64).reshape(16, 1, 2, 2)
    total = sum(Bernoulli(logits).log_prob(x[None]).exp().item() for x in images)
    assert total == pytest.approx(1, abs=1e-12)


def test_bernoulli_survives_saturated_logits():
    log_prob = Bernoulli(torch.tensor([[1000.0, -1000.0]])).log_prob(torch.tensor([[1.0, 0.0]]))
    assert log_prob.item() == 0
    assert Bernoulli(torch.tensor([[1000.0]])).log_prob(torch.zeros(1, 1)).item() == -1000


def test_bernoulli_samples_follow_their_mean_and_their_generator():
    law = Bernoulli(torch.full((1, 40_000), -1.0))
    draw = law.sample(torch.Generator().manual_seed(3))
    assert torch.equal(draw, law.sample(torch.Generator().manual_seed(3)))
    p = torch.tensor(-1.0).sigmoid()
    assert abs(draw.mean() - p) < 4 * (p * (1 - p) / 40_000) ** 0.5


@pytest.mark.parametrize("against_standard", [True, False])
def test_kl_agrees_with_torch_and_with_monte_carlo(against_standard):
    q = gaussian(1, 3, 4)
    p = DiagonalGaussian(torch.zeros_like(q.mean), torch.zeros_like(q.mean)) if against_standard else gaussian(2, 3, 4)
    kl = q.kl(None if against_standard else p)
    normal = torch.distributions.Normal
    exact = torch.distributions.kl_divergence(normal(q.mean, q.log_sigma.exp()), normal(p.mean, p.log_sigma.exp()))
    torch.testing.assert_close(kl, exact.sum(-1))
    noise = torch.randn(20_000, 3, 4, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    z = q.sample(noise)
    log_ratio = q.log_prob(z) - p.log_prob(z)
    assert ((log_ratio.mean(0) - kl).abs() < 4 * log_ratio.std(0) / 20_000**0.5).all()


def test_a_sample_is_its_noise_moved_and_stretched():
    q, noise = gaussian(6, 2, 3), torch.tensor([[1.0, -2.0, 0.0]], dtype=torch.float64)
    z = q.sample(noise)
    torch.testing.assert_close(z, q.mean + torch.stack([s.exp() * noise[0] for s in q.log_sigma]))
    torch.testing.assert_close((z - q.mean) / q.log_sigma.exp(), noise.expand(2, 3))


def test_kl_is_zero_only_where_the_two_agree():
    q = gaussian(3, 2, 3)
    assert torch.equal(q.kl(q), torch.zeros(2, dtype=torch.float64))
    assert (q.kl() > 0).all()


def test_a_normaliser_counted_once_for_all_dimensions_is_caught():
    """The well-known fault: log 2 pi for the event as a whole, instead of once a dimension."""
    q = gaussian(4, 1, 2)
    faulty = q.log_prob(q.mean) + 0.5 * torch.log(torch.tensor(2 * torch.pi, dtype=torch.float64))
    grid = torch.linspace(-12, 12, 601, dtype=torch.float64)
    plane = (q.log_prob(torch.cartesian_prod(grid, grid)) + (faulty - q.log_prob(q.mean))).exp().reshape(601, 601)
    assert torch.trapezoid(torch.trapezoid(plane, grid), grid).item() > 2
