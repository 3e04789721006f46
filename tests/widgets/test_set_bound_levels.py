"""The set bound in Python: its levels are the library's, averaged over classes, and its gap lies between them."""

import pytest
import torch

from oneshot_lib.models.conjugate import ConjugateGaussian
from oneshot_lib.widgets.set_bound import SetBoundExplorer

CASES = [dict(support_size=3, set_size=20), dict(support_size=1, set_size=1), dict(support_size=1, set_size=50),
         dict(support_size=7, set_size=7, slope=0.6, noise=1.1),
         dict(support_size=2, set_size=5, slope=-2.0, noise=0.3)]
every_case = pytest.mark.parametrize("case", CASES)


@every_case
def test_the_gap_is_what_lies_between_the_two_levels(case):
    levels = SetBoundExplorer(**case).levels()
    assert levels.bound == pytest.approx(levels.ceiling - levels.gap, abs=1e-9)
    assert levels.bound == pytest.approx(levels.log_likelihood - levels.price / case["set_size"], abs=1e-9)
    assert levels.gap * case["set_size"] == pytest.approx(levels.lost) and levels.four["vhe"] == levels.bound
    if case["support_size"] == case["set_size"]:
        assert levels.gap == pytest.approx(0, abs=1e-9)
    else:  # the fault: the price whole for every element
        assert levels.log_likelihood - levels.price < levels.ceiling - levels.gap - 0.1


def test_the_levels_are_averages_over_classes_that_the_model_makes():
    model, explorer = ConjugateGaussian(1.3, 0.7), SetBoundExplorer(1.3, 0.7, 2, 6)
    x, levels = model.sample(100_000, 6, torch.Generator().manual_seed(0), torch.float64), explorer.levels()
    for value, drawn in ((levels.ceiling, model.log_marginal(x) / 6), (levels.gap, model.gap(x, 2)),
                         *((levels.four[name], model.objective(x, 2, name)) for name in levels.four)):
        assert abs(drawn.mean() - value) < 4 * drawn.std() / 100_000**0.5


@pytest.mark.parametrize("wrong, named", [
    (dict(noise=0.0), "noise"), (dict(set_size=0), "set_size is 0"), (dict(set_size=51), "set_size is 51"),
    (dict(support_size=21), "support_size is 21"), (dict(support_size=0), "support_size is 0"),
    (dict(most=1000), "most is 1000"),
])
def test_numbers_that_make_no_figure_are_refused(wrong, named):
    with pytest.raises(ValueError, match=named):
        SetBoundExplorer(**wrong)


def test_both_layers_hold_the_same_state_and_the_copy_needs_nothing_else():
    explorer = SetBoundExplorer(set_size=30, label="a label")
    html = explorer.static_html()
    assert set(explorer.static_state()) <= set(explorer.traits(sync=True))
    assert '"set_size":30' in html and 'class="oneshot oneshot-player oneshot-bound oneshot-set"' in html
    assert "http://" not in html and "https://" not in html


def test_the_still_does_not_depend_on_the_pages_style():
    from matplotlib import pyplot as plt

    from oneshot_lib.plotting import STYLE

    plain = SetBoundExplorer().still()
    with plt.rc_context(STYLE):
        assert SetBoundExplorer().still() == plain
    assert plain[:4] == b"\x89PNG" and SetBoundExplorer(set_size=30).still() != plain
