"""Reading and writing: one linear map and its transpose, and two ways to compute it."""

import math

import pytest
import torch

from oneshot_lib import attention

GENERATOR = torch.Generator()


def randn(seed, *shape):
    return torch.randn(*shape, generator=GENERATOR.manual_seed(seed), dtype=torch.float64)


def windows(seed, n=6):
    """Axis-aligned windows of all kinds: zoomed in, zoomed out, half outside."""
    return attention.axis_aligned(randn(seed, n, 2) * 0.6, (randn(seed + 1, n, 2) * 0.6).exp())


def turned(seed, n=6):
    return attention.rotated(randn(seed, n, 2) * 0.5, (randn(seed + 1, n, 2) * 0.5).exp(), randn(seed + 2, n))


IMAGE, PATCH = (9, 11), (5, 4)


def test_the_separable_path_is_the_general_path_where_the_window_is_axis_aligned():
    x, r, window = randn(0, 6, 2, *IMAGE), randn(1, 6, 2, *PATCH), windows(2)
    for transform, picture, size in ((attention.read, x, PATCH), (attention.write, r, IMAGE)):
        separable, general = transform(picture, window, size, True), transform(picture, window, size, False)
        torch.testing.assert_close(separable, general)
        assert torch.equal(transform(picture, window, size), separable)  # the choice by looking


def test_the_separable_path_is_wrong_on_a_turned_window_and_is_not_chosen():
    x, window = randn(0, 6, 2, *IMAGE), turned(2)
    faulty, right = attention.read(x, window, PATCH, True), attention.read(x, window, PATCH, False)
    assert (faulty - right).abs().max() > 0.1
    assert torch.equal(attention.read(x, window, PATCH), right)


@pytest.mark.parametrize("window", [windows(5), turned(5)], ids=["axis-aligned", "affine"])
def test_write_is_the_adjoint_of_read(window):
    x, r = randn(0, 6, 3, *IMAGE), randn(1, 6, 3, *PATCH)
    left = (attention.read(x, window, PATCH) * r).sum((1, 2, 3))
    right = (x * attention.write(r, window, IMAGE)).sum((1, 2, 3))
    torch.testing.assert_close(left, right)
    other = (x * attention.write(r, window.flip(0), IMAGE)).sum((1, 2, 3))  # the fault: another window
    assert (left - other).abs().max() > 0.1


@pytest.mark.parametrize("make", [windows, turned], ids=["axis-aligned", "affine"])
def test_gradients_reach_the_window(make):
    window = make(7, 3).requires_grad_()
    x = randn(0, 3, 1, *IMAGE)
    assert torch.autograd.gradcheck(lambda w: attention.read(x, w, PATCH, make is windows), window, atol=1e-6)
    attention.write(randn(1, 3, 1, *PATCH), window, IMAGE, False).square().sum().backward()
    assert (window.grad.abs() > 0).all()


def test_the_whole_image_at_its_own_size_is_read_as_it_is():
    x = randn(0, 2, 1, 8, 8)
    whole = attention.axis_aligned(torch.zeros(2, 2).double(), torch.ones(2, 2).double())
    torch.testing.assert_close(attention.read(x, whole, (8, 8)), x)
    torch.testing.assert_close(attention.write(x, whole, (8, 8)), x)


def test_a_window_that_zooms_out_averages_and_skips_no_pixel():
    whole = attention.axis_aligned(torch.zeros(1, 2).double(), torch.ones(1, 2).double())
    y, _ = attention.axis_kernels(whole, (4, 4), (16, 16))
    assert (y.sum(-2) > 0).all()  # every pixel is seen by some patch point
    torch.testing.assert_close(y[0, 1:-1].sum(-1), torch.ones(2).double())  # and each inner row is an average


@pytest.mark.parametrize(("scale", "tolerance"), [(0.3, 1e-12), (2 * 12 / 28, 1e-12), (0.5, 0.15)])
def test_a_flat_image_reads_as_flat_where_tents_are_whole_pixels_wide_and_nearly_so_elsewhere(scale, tolerance):
    window = attention.axis_aligned(torch.full((1, 2), 0.05).double(), torch.full((1, 2), scale).double())
    patch = attention.read(torch.ones(1, 1, 28, 28).double(), window, (12, 12))[0, 0, 4:8, 4:8]
    torch.testing.assert_close(patch, torch.ones_like(patch), atol=tolerance, rtol=0)


def test_corners_go_where_the_map_sends_them():
    quarter = attention.rotated(torch.zeros(1, 2), torch.ones(1, 2), torch.tensor([math.pi / 2]))
    torch.testing.assert_close(attention.corners(quarter)[0, 0], torch.tensor([1.0, -1.0]))  # from x towards y
    box = attention.axis_aligned(torch.tensor([0.5, 0.0]), torch.tensor([0.1, 0.2]))
    torch.testing.assert_close(attention.corners(box), torch.tensor([[0.4, -0.2], [0.6, -0.2], [0.6, 0.2], [0.4, 0.2]]))


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="image has shape"):
        attention.read(torch.zeros(3, 8, 8), torch.zeros(3, 2, 3), PATCH)
    with pytest.raises(ValueError, match="window has shape"):
        attention.write(torch.zeros(3, 1, 8, 8), torch.zeros(2, 2, 3), IMAGE)
