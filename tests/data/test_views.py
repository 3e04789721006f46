"""The random views of a contrastive critic: the three distortions are what they say, and go the way they say."""

import math

import pytest
import torch

from oneshot_lib.data import views as module
from oneshot_lib.data.views import affine_maps, crops, homography, perspectives, views

N = 3000
CORNERS = torch.tensor([[-1.0, -1], [1, -1], [1, 1], [-1, 1]])


def source(seed=0):
    return torch.Generator().manual_seed(seed)


def drawings(n=6, size=20):
    return (torch.rand(n, 1, size, size, generator=source(7)) < 0.4).float()


def mapped(maps, points):
    """Points (B, P, 2) through maps (B, 3, 3)."""
    u = torch.cat([points, torch.ones_like(points[..., :1])], -1) @ maps.to(points).mT
    return u[..., :2] / u[..., 2:]


def always(monkeypatch, *rows):
    """All three distortions replaced with one map."""
    for name in ("crops", "affine_maps", "perspectives"):
        monkeypatch.setattr(module, name, lambda n, generator: torch.tensor(rows).float().expand(n, 3, 3))


def test_a_view_is_a_black_and_white_drawing_of_the_same_size():
    for size in (20, 50):
        x = drawings(size=size)
        found = views(x, source())
        assert found.shape == x.shape and found.dtype == x.dtype and ((found == 0) | (found == 1)).all()
    assert views(drawings().double(), source()).dtype == torch.float64


def test_views_come_from_the_generator_and_each_drawing_has_its_own():
    x = drawings(1).expand(40, -1, -1, -1)
    first, again, other = (views(x, source(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert len({view.numpy().tobytes() for view in first}) > 25  # the fault: one distortion for the batch


def test_another_shape():
    for shape in ((2, 20, 20), (2, 3, 20, 20)):
        with pytest.raises(ValueError, match=r"drawings has shape \(2, .*; expected \(B, 1, S, S\)"):
            views(torch.zeros(shape), source())


# --- which way a map goes ---------------------------------------------------------------------------------------------


def test_known_maps(monkeypatch):
    x = drawings()
    always(monkeypatch, [1, 0, 0], [0, 1, 0], [0, 0, 1])
    assert torch.equal(views(x, source()), x)
    always(monkeypatch, [-1, 0, 0], [0, 1, 0], [0, 0, 1])  # x is the width: from left to right
    assert torch.equal(views(x, source()), x.flip(3)) and not torch.equal(x.flip(3), x.flip(2))
    always(monkeypatch, [0, -1, 0], [1, 0, 0], [0, 0, 1])  # a pixel at (x, y) is read at (-y, x)
    assert torch.equal(views(x, source()), x.transpose(2, 3).flip(2))


def test_beyond_the_page_is_blank(monkeypatch):
    x = drawings()
    always(monkeypatch, [1, 0, 2 * 3 / 20], [0, 1, 0], [0, 0, 1])  # read three pixels further right
    found = views(x, source())
    assert torch.equal(found[..., :-3], x[..., 3:]) and not found[..., -3:].any()
    assert x[..., :3].any()  # the fault: the page goes round


def test_each_distortion_one_time_in_three(monkeypatch):
    for name, shift in (("crops", 0.0), ("affine_maps", 0.5), ("perspectives", 1.0)):
        rows = torch.tensor([[1.0, 0, shift], [0, 1, 0], [0, 0, 1]])
        monkeypatch.setattr(module, name, lambda n, generator, rows=rows: rows.expand(n, 3, 3))
    ink = views(torch.ones(N, 1, 4, 4), source()).sum((1, 2, 3))
    for left in (16, 12, 8):  # whole, a quarter lost, half lost
        assert abs((ink == left).double().mean() - 1 / 3) < 4.5 * math.sqrt(2 / 9 / N)


# --- the three distortions --------------------------------------------------------------------------------------------


def within_the_page(maps):
    return bool((mapped(maps, CORNERS.expand(len(maps), 4, 2)).abs() <= 1 + 1e-6).all())


def test_a_crop_lies_within_the_page_and_has_its_area_and_ratio():
    maps = crops(N, source())
    w, h = maps[:, 0, 0], maps[:, 1, 1]
    assert within_the_page(maps)
    assert (w * h).min() >= 0.75 - 1e-6 and (w * h).max() <= 1 and (w * h).min() < 0.76
    assert (w / h).min() >= 0.8 - 1e-6 and (w / h).max() <= 1.2 + 1e-6
    maps[:, :2, 2] *= 1.5  # the fault: moved further than there is room
    assert not within_the_page(maps)


def test_an_affine_map_undoes_its_turn_shear_scale_and_shift():
    maps = affine_maps(N, source()).double()
    turn, scale = torch.atan2(-maps[:, 1, 0], maps[:, 0, 0]), 1 / maps[:, :2, 0].norm(dim=1)
    cos, sin = turn.cos(), turn.sin()
    back = torch.stack([torch.stack([cos, -sin], -1), torch.stack([sin, cos], -1)], -2)
    sheared = scale[:, None, None] * back @ maps[:, :2, :2]  # what is left is a shear: [[1, tan], [0, 1]]
    torch.testing.assert_close(sheared[:, :, 0], torch.tensor([1.0, 0]).double().expand(N, 2), atol=1e-5, rtol=0)
    torch.testing.assert_close(sheared[:, 1, 1], torch.ones(N).double(), atol=1e-5, rtol=0)
    torch.testing.assert_close(maps[:, :2, :2].det(), scale**-2, atol=1e-5, rtol=0)
    shear = sheared[:, 0, 1].atan()
    for values, low, high in ((turn.rad2deg(), -15, 15), (shear.rad2deg(), -10, 10), (scale, 0.75, 1.33),
                              (maps[:, 0, 2], -0.2, 0.2), (maps[:, 1, 2], -0.2, 0.2)):
        slack = 0.01 * (high - low)
        assert low - 1e-3 <= values.min() < low + slack and high - slack < values.max() <= high + 1e-3
        spread = (high - low) / math.sqrt(12 * N)
        assert abs(values.mean() - (low + high) / 2) < 4.5 * spread  # uniform; the fault: 1 / scale uniform
    inverse = (1 / 0.75 + 1 / 1.33) / 2
    assert abs((1 / scale).mean() - inverse) > 4.5 * (1 / 0.75 - 1 / 1.33) / math.sqrt(12 * N)
    assert (maps[:, 2] == torch.tensor([0, 0, 1])).all()


def test_half_of_the_perspectives_do_nothing_and_the_others_bring_the_corners_in():
    maps = perspectives(N, source()).double()
    nothing = (maps - torch.eye(3)).abs().amax((1, 2)) < 1e-5
    assert abs(nothing.double().mean() - 0.5) < 4.5 * math.sqrt(0.25 / N)
    corners = CORNERS.double().expand(N, 4, 2)
    seen = mapped(torch.linalg.inv(maps), corners)  # where on the page the drawing's corners are
    inwards = (1 - seen * corners)[~nothing]
    assert inwards.min() >= -1e-5 and inwards.max() <= 0.5 + 1e-5  # 0.5 of half the page
    assert abs(inwards.mean() - 0.25) < 4.5 * 0.5 / math.sqrt(12 * inwards.numel())
    outwards = (1 - mapped(maps, corners) * corners)[~nothing]  # the fault: the map the other way
    assert outwards.min() < -0.1


def test_a_perspective_view_shows_the_whole_drawing():
    frame = torch.zeros(50, 1, 50, 50)
    frame[:, :, 3:-3, 3:-3] = 1
    with pytest.MonkeyPatch.context() as patch:
        for name in ("crops", "affine_maps"):
            patch.setattr(module, name, perspectives)
        found = views(frame, source())
    edge = torch.cat([found[..., 0, :], found[..., -1, :], found[..., 0], found[..., -1]], -1)
    assert not edge.any() and found.sum((1, 2, 3)).min() > 0.15 * 2500


# --- homographies -----------------------------------------------------------------------------------------------------


def quadrilaterals(seed):
    return CORNERS.double() * (0.4 + torch.rand(20, 4, 2, generator=source(seed), dtype=torch.float64))


def test_a_homography_takes_four_points_to_four_points():
    start, end = quadrilaterals(0), quadrilaterals(1)
    maps = homography(start, end)
    torch.testing.assert_close(mapped(maps, start), end, atol=1e-5, rtol=0)
    assert (mapped(maps, end) - start).abs().max() > 0.1  # the fault: the other way
    affine = torch.cat([maps[:, :2], torch.tensor([0, 0, 1.0]).expand(20, 1, 3)], 1)  # the fault: no perspective
    assert (mapped(affine, start) - end).abs().max() > 0.1


def test_a_homography_keeps_lines_straight():
    start, end = quadrilaterals(0), quadrilaterals(1)
    share = torch.linspace(0, 1, 5, dtype=torch.float64)[:, None]
    line = start[:, :1] * (1 - share) + start[:, 2:3] * share  # a diagonal
    u = mapped(homography(start, end), line) - end[:, :1]
    v = end[:, 2:3] - end[:, :1]
    assert (u[..., 0] * v[..., 1] - u[..., 1] * v[..., 0]).abs().max() < 1e-5
