"""Row S10: what an estimate is an average of, and that its error is an error."""

import pytest
import torch
from torch import nn

from oneshot_lib.evaluation import bound_estimate, importance_weighted_estimate, with_replacement
from oneshot_lib.models.sequential import SequentialConfig, SequentialModel
from oneshot_lib.objectives import free_energy

MODEL = SequentialModel(SequentialConfig(image_size=6, steps=3, hidden=5, latent=2, patch=3, posterior_hidden=4))
GREY = torch.rand(7, 6, 6, generator=torch.Generator().manual_seed(0))


def binarise(grey, generator):
    return torch.bernoulli(grey, generator=generator)


class Mean(nn.Module):
    """Its bound is minus the ink of the image: an estimate that can be worked out on paper."""

    def log_prob(self, x, generator):
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


def test_the_weighted_estimate_lies_above_the_bound_and_grows():
    batch = with_replacement(GREY, binarise)
    bound = bound_estimate(MODEL, batch, 2000, generator=torch.Generator().manual_seed(2))
    few = importance_weighted_estimate(MODEL, batch, 500, 2, generator=torch.Generator().manual_seed(3))
    many = importance_weighted_estimate(MODEL, batch, 500, 16, generator=torch.Generator().manual_seed(3))
    spread = (bound.error**2 + many.error**2) ** 0.5
    assert many.value > bound.value - 4 * spread
    assert many.value > few.value - 4 * (few.error**2 + many.error**2) ** 0.5
    assert many.k == 16


def test_the_same_generator_gives_the_same_number():
    values = [bound_estimate(MODEL, with_replacement(GREY, binarise), 50,
            generator=torch.Generator().manual_seed(4)).value
              for _ in range(2)]
    assert values[0] == values[1]


def test_an_error_of_one_draw_is_refused():
    with pytest.raises(ValueError, match="n is 1"):
        bound_estimate(Mean(), with_replacement(GREY, binarise), 1, generator=torch.Generator())
    with pytest.raises(ValueError, match="k is 0"):
        importance_weighted_estimate(MODEL, with_replacement(GREY, binarise), 5, 0, generator=torch.Generator())
