"""The bound explorer's Python side: the levels are those of the library, and both layers start from one state."""

import math

import pytest
import torch

from oneshot_lib.distributions import DiagonalGaussian
from oneshot_lib.objectives import free_energy
from oneshot_lib.widgets.bound_explorer import BoundExplorer

CASES = [dict(x=1.5, a=1.0, s=0.5, mean=0.3, log_sigma=-0.2), dict(x=-2.0, a=0.7, s=1.3, mean=-1.0, log_sigma=0.5),
         dict(x=0.4, a=-2.0, s=0.2, mean=2.0, log_sigma=-2.0)]
every_case = pytest.mark.parametrize("case", CASES)


def gaussian(mean, sigma):
    return DiagonalGaussian(*(torch.tensor([number], dtype=torch.float64) for number in (mean, math.log(sigma))))


@every_case
def test_the_gap_is_what_lies_between_the_two_levels(case):
    explorer = BoundExplorer(**case)
    levels = explorer.levels()
    q, posterior = gaussian(case["mean"], math.exp(case["log_sigma"])), gaussian(*explorer.posterior())
    assert levels.gap > 0 and levels.bound == pytest.approx(levels.log_px - levels.gap, abs=1e-9)
    assert levels.gap == pytest.approx(q.kl(posterior).item(), abs=1e-9)
    assert levels.price == pytest.approx(q.kl().item(), abs=1e-9)
    assert abs(levels.gap - posterior.kl(q).item()) > 0.01  # the fault: the divergence turned round


@every_case
def test_the_bound_is_the_librarys_at_a_million_draws(case):
    levels = BoundExplorer(**case).levels()
    q, n = gaussian(case["mean"], math.exp(case["log_sigma"])), 1_000_000
    z = q.sample(torch.randn(n, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64))
    noise = gaussian(0, case["s"])
    terms = free_energy(noise.log_prob(case["x"] - case["a"] * z), q.kl().expand(n, 1))
    error = terms.bound.std().item() / n**0.5
    assert abs(terms.bound.mean().item() - levels.bound) < 4 * error
    assert levels.log_px == pytest.approx(gaussian(0, math.hypot(case["a"], case["s"])).log_prob(
        torch.tensor([case["x"]])).item(), abs=1e-6)


def test_the_exact_posterior_leaves_no_gap():
    mean, sigma = BoundExplorer().posterior()
    assert BoundExplorer(mean=mean, log_sigma=math.log(sigma)).levels().gap == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("wrong, named", [
    (dict(s=0.0), "x, a and s"), (dict(x=math.nan), "x, a and s"), (dict(mean=3.5), "mean is 3.5"),
    (dict(mean=math.nan), "mean is nan"), (dict(log_sigma=-2.5), "log_sigma is -2.5"),
])
def test_numbers_that_make_no_figure_are_refused(wrong, named):
    with pytest.raises(ValueError, match=named):
        BoundExplorer(**wrong)


def test_both_layers_hold_the_same_state_and_the_copy_needs_nothing_else():
    explorer = BoundExplorer(mean=0.3, label="a label")
    html = explorer.static_html()
    assert set(explorer.static_state()) <= set(explorer.traits(sync=True))
    assert '"mean":0.3' in html and 'class="oneshot oneshot-player oneshot-bound"' in html
    assert explorer.description in html and "http://" not in html and "https://" not in html


def test_the_still_does_not_depend_on_the_pages_style():
    from matplotlib import pyplot as plt

    from oneshot_lib.plotting import STYLE

    plain = BoundExplorer().still()
    with plt.rc_context(STYLE):
        assert BoundExplorer().still() == plain
    assert plain[:4] == b"\x89PNG" and BoundExplorer(mean=2).still() != plain
