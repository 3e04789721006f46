"""Row S10: what an estimate is an average of, and that its error is an error."""

import inspect
import itertools
import math

import pytest
import torch
from torch import nn

from oneshot_lib.distributions import DiagonalGaussian
from oneshot_lib.evaluation import (
    bound_estimate,
    importance_weighted_estimate,
    joint_likelihood,
    judging,
    with_replacement,
)
from oneshot_lib.evaluation.classification import KEEP, log_scores
from oneshot_lib.models.sequential import SequentialConfig, SequentialModel
from oneshot_lib.objectives import free_energy

MODEL = SequentialModel(SequentialConfig(image_size=6, steps=3, hidden=5, latent=2, patch=3, posterior_hidden=4))
GREY = torch.rand(7, 6, 6, generator=torch.Generator().manual_seed(0))


def binarise(grey, generator):
    return torch.bernoulli(grey, generator=generator)


class Mean(nn.Module):
    """Its bound is minus the ink of the image: an estimate that can be worked out on paper."""

    def terms(self, x, generator):
        return free_energy(-x.flatten(1).sum(1), torch.full((len(x), 2), 0.5))


def test_the_estimate_is_the_mean_over_fresh_binarisations_with_its_standard_error():
    result = bound_estimate(Mean(), with_replacement(GREY, binarise), 20_000,
            generator=torch.Generator().manual_seed(1))
    exact = -GREY.sum((1, 2)).mean().item() - 1
    assert abs(result.value - exact) < 4 * result.error
    ink = GREY.sum((1, 2))
    variance = ink.var(correction=0) + (GREY * (1 - GREY)).sum((1, 2)).mean()  # between the images, and within
    assert result.error == pytest.approx((variance.item() / 20_000) ** 0.5, rel=0.05)
    assert result.kl_per_step == (0.5, 0.5)
    assert result.log_likelihood - sum(result.kl_per_step) == pytest.approx(result.value)


def test_no_last_batch_is_dropped():
    sizes = []

    def draw_batch(size, generator):
        sizes.append(size)
        return torch.zeros(size, 1, 6, 6)

    assert bound_estimate(Mean(), draw_batch, 25, batch_size=10, generator=torch.Generator()).n == sum(sizes) == 25
    assert sizes == [10, 10, 5]


class Linear(nn.Module):
    """z ~ N(0, 1), x | z ~ N(1.5 z, 0.7^2), under a q that is wider than the posterior and beside it: log p(x) and what
    K = 1 falls short of it are formulas. Images are single numbers."""

    slope, log_sigma = 1.5, math.log(0.7)

    def posterior(self, x):
        precision = 1 + self.slope**2 * math.exp(-2 * self.log_sigma)
        mean = self.slope * x * math.exp(-2 * self.log_sigma) / precision
        return DiagonalGaussian(mean, torch.full_like(mean, -0.5 * math.log(precision)))

    def q(self, x):
        exact = self.posterior(x)
        return DiagonalGaussian(0.8 * exact.mean + 0.1, exact.log_sigma + 0.4)

    def likelihood(self, x, z):
        return DiagonalGaussian(self.slope * z, torch.full_like(z, self.log_sigma)).log_prob(x)

    def terms(self, x, generator):
        x, q = x.flatten(1), self.q(x.flatten(1))
        z = q.sample(torch.randn(x.shape, generator=generator, dtype=x.dtype))
        return free_energy(self.likelihood(x, z), q.kl()[:, None])

    def log_weights(self, x, k, generator):
        x = x.flatten(1)
        q = DiagonalGaussian(*(part.expand(k, -1, -1) for part in (self.q(x).mean, self.q(x).log_sigma)))
        z = q.sample(torch.randn(k, *x.shape, generator=generator, dtype=x.dtype))
        return self.likelihood(x, z) + DiagonalGaussian(0 * z, 0 * z).log_prob(z) - q.log_prob(z)

    def evidence(self, x):
        sigma = (self.slope**2 + math.exp(2 * self.log_sigma)) ** 0.5
        return torch.distributions.Normal(0, sigma).log_prob(x.flatten(1))[:, 0]


def test_the_weighted_estimate_grows_with_k_up_to_the_evidence_and_no_further():
    """Of one image, so that the error is that of z alone. The faults: a mean of logarithms, and a K that is ignored, do
    not grow; with a normaliser below K it passes the evidence."""
    model, image = Linear(), torch.full((1, 1, 1, 1), 1.3, dtype=torch.float64)
    exact = model.evidence(image).item()

    def draw_batch(size, generator):
        return image.expand(size, 1, 1, 1)

    shortfall = model.q(image.flatten(1)).kl(model.posterior(image.flatten(1))).item()
    found = [importance_weighted_estimate(model, draw_batch, n, k, generator=torch.Generator().manual_seed(k))
             for n, k in ((20_000, 1), (5000, 4), (2000, 16), (1000, 64), (500, 1000))]
    assert [e.k for e in found] == [1, 4, 16, 64, 1000] and [e.n for e in found] == [20_000, 5000, 2000, 1000, 500]
    for few, many in itertools.pairwise(found[:4]):
        assert many.value - few.value > 2 * math.hypot(few.error, many.error)
    for estimate in found:
        assert estimate.value < exact + 4.5 * estimate.error
    assert abs(found[0].value - (exact - shortfall)) < 4.5 * found[0].error  # K = 1 is the bound
    assert abs(found[-1].value - exact) < 4.5 * found[-1].error + shortfall / 100  # and 1,000 leave nothing of it
    assert shortfall > 0.1


def test_the_weighted_estimate_is_a_mean_over_the_images():
    """With the exact posterior it is the mean of log p(x) over what was drawn, whatever K."""
    model, seen = Linear(), []
    model.q = model.posterior

    def draw_batch(size, generator):
        seen.append(torch.randn(size, 1, 1, 1, generator=generator, dtype=torch.float64))
        return seen[-1]

    found = importance_weighted_estimate(model, draw_batch, 7, 3, batch_size=3,
                                         generator=torch.Generator().manual_seed(0))
    exact = model.evidence(torch.cat(seen))
    assert [len(part) for part in seen] == [3, 3, 1] and found.n == 7
    assert found.value == pytest.approx(exact.mean().item()) and found.error == pytest.approx(
        exact.std().item() / 7**0.5)


def test_the_bound_of_the_linear_model_is_its_closed_form():
    model = Linear()
    levels = torch.tensor([-1.0, 0.4, 2.0], dtype=torch.float64).view(3, 1, 1)
    found = bound_estimate(model, with_replacement(levels, lambda grey, _: grey), 20_000,
                           generator=torch.Generator().manual_seed(5))
    x = levels.flatten(1)
    exact = model.evidence(x) - model.q(x).kl(model.posterior(x))
    assert abs(found.value - exact.mean()) < 4.5 * found.error
    assert sum(found.kl_per_step) == pytest.approx(model.q(x).kl().mean().item(), rel=0.05)


def test_the_same_generator_gives_the_same_number():
    values = [bound_estimate(MODEL, with_replacement(GREY, binarise), 50,
            generator=torch.Generator().manual_seed(4)).value
              for _ in range(2)]
    assert values[0] == values[1]


def test_the_protocols_are_the_papers():
    """24,000 test images (Rezende, section 4); 20 draws of c and 10 of z, for scores as well (Hewitt, 6.4.1)."""
    def default(function, *names):
        return tuple(inspect.signature(function).parameters[name].default for name in names)

    assert default(bound_estimate, "n") == (24_000,)
    assert default(importance_weighted_estimate, "n", "k") == (1000, 50)
    assert default(joint_likelihood, "outer", "inner") == default(log_scores, "outer", "inner") == (20, 10)
    assert default(log_scores, "keep", "least", "most") == (None, 1, None)  # all classes are sampled
    assert (KEEP, judging.WAYS, judging.TESTS, judging.DRAWINGS) == (10.0, 20, 500, 20)


def test_two_images_are_enough_and_one_weight_is():
    assert bound_estimate(Mean(), with_replacement(GREY, binarise), 2, generator=torch.Generator()).n == 2
    found = importance_weighted_estimate(MODEL, with_replacement(GREY, binarise), 2, 1, generator=torch.Generator())
    assert found.n == 2 and found.error > 0


def test_an_error_of_one_draw_is_refused():
    with pytest.raises(ValueError, match="n is 1"):
        bound_estimate(Mean(), with_replacement(GREY, binarise), 1, generator=torch.Generator())
    with pytest.raises(ValueError, match="k is 0"):
        importance_weighted_estimate(MODEL, with_replacement(GREY, binarise), 5, 0, generator=torch.Generator())
