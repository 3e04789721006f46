"""The window explorer in Python: what it sees is what the library reads, and its pull is the slope of the ink seen."""

import math

import pytest
import torch

from oneshot_lib import attention
from oneshot_lib.widgets.window_explorer import BY_LOGARITHM, NUMBERS, PATCH, WindowExplorer

SIZE = 20
PLACE = dict(x=0.13, y=-0.21, half_width=0.47, half_height=0.31, angle=0.5, shear=0.3, variance=1.7)
every_variety = pytest.mark.parametrize("variety", NUMBERS)


@pytest.fixture(scope="module")
def drawings():
    return torch.rand(2, SIZE, SIZE, generator=torch.Generator().manual_seed(0)).round()


def read_by_library(explorer, image):
    return attention.named(explorer.variety).read(image, explorer.numbers()[None], (PATCH, PATCH))


@every_variety
def test_patch_and_write_are_the_librarys(variety, drawings):
    explorer = WindowExplorer(drawings, drawing=1, variety=variety, **PLACE)
    glance, image = explorer.glance(), drawings[1:, None].double()
    patch = read_by_library(explorer, image)
    torch.testing.assert_close(glance.patch, patch[0, 0])
    assert glance.ink == pytest.approx(patch.square().sum().item() / 2)
    assert glance.ink == pytest.approx((image * glance.written).sum().item() / 2)  # <x, W'W x>: write is the adjoint


@every_variety
def test_the_pull_is_the_slope_of_the_ink_seen_in_every_number_that_is_asked_for(variety, drawings):
    explorer, h = WindowExplorer(drawings, variety=variety, **PLACE), 1e-6
    pull = explorer.glance().pull
    assert tuple(pull) == NUMBERS[variety]
    for name, slope in pull.items():
        ends = []
        for step in (h, -h):
            start = PLACE[name]
            setattr(explorer, name, start * math.exp(step) if name in BY_LOGARITHM else start + step)
            ends.append(explorer.glance().ink)
            setattr(explorer, name, start)
        assert slope == pytest.approx((ends[0] - ends[1]) / (2 * h), rel=1e-4, abs=1e-4), name
    for name in set(PLACE) - set(pull):  # the fault: a number that moves the window without being asked for
        setattr(explorer, name, 1.5 * PLACE[name])
        assert explorer.glance().pull == pull, name


def test_on_bare_paper_tents_are_pulled_by_nothing_and_gaussians_by_little():
    paper = torch.zeros(1, SIZE, SIZE)
    paper[0, -1, -1] = 1  # one pixel of ink, far from the window
    explorer = WindowExplorer(paper, x=-0.7, y=-0.7, half_width=0.3, half_height=0.3)
    for variety in NUMBERS:
        explorer.variety = variety
        pull = explorer.glance().pull
        if variety == "gaussian":
            assert 0 < pull["x"] < 1e-20 and 0 < pull["y"] < 1e-20 and pull["variance"] > 0
        else:
            assert set(pull.values()) == {0.0}


def test_the_affine_window_is_the_rotated_one_where_nothing_is_sheared(drawings):
    affine = WindowExplorer(drawings, variety="affine", **PLACE | {"shear": 0.0}).glance()
    rotated = WindowExplorer(drawings, variety="rotated", **PLACE).glance()
    torch.testing.assert_close(affine.patch, rotated.patch)
    sheared = WindowExplorer(drawings, variety="affine", **PLACE).glance()
    assert (sheared.patch - rotated.patch).abs().max() > 0.05


@pytest.mark.parametrize("wrong, named", [
    (dict(variety="random"), "variety is 'random'"), (dict(drawing=2), "drawing is 2"),
    (dict(half_width=0.0), "half_width is 0.0"), (dict(variance=-1.0), "variance is -1.0"),
    (dict(x=math.nan), "x is nan"), (dict(names=["one"]), "names has 1"), (dict(description="?"), "description is"),
])
def test_what_makes_no_window_is_refused(wrong, named, drawings):
    with pytest.raises(ValueError, match=named):
        WindowExplorer(drawings, **wrong)


def test_drawings_of_another_form_are_refused(drawings):
    for wrong in (drawings[0], drawings[:, :5], 2 * drawings):
        with pytest.raises(ValueError, match="drawings"):
            WindowExplorer(wrong)


def test_both_layers_hold_the_same_state_and_the_copy_needs_nothing_else(drawings):
    explorer = WindowExplorer(drawings[:, None], variety="affine", label="a label", **PLACE)
    html = explorer.static_html()
    assert set(explorer.static_state()) <= set(explorer.traits(sync=True))
    assert '"variety":"affine"' in html and 'class="oneshot oneshot-player oneshot-window"' in html
    assert "http://" not in html and "https://" not in html
    assert explorer.still()[:4] == b"\x89PNG"
