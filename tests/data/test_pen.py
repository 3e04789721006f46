"""The geometry under Glyphs: filling, thinning, drawing."""

import numpy as np

from oneshot_lib.data import pen


def polygon(*points):
    points = np.array(points, float)
    return np.concatenate([points, np.roll(points, -1, 0)], 1)


def test_fill_takes_the_pixels_whose_centre_is_inside():
    inside = pen.fill(polygon((2, 3), (10, 3), (10, 7), (2, 7)), 16)
    expected = np.zeros((16, 16), bool)
    expected[3:7, 2:10] = True
    assert np.array_equal(inside, expected)


def test_fill_leaves_holes_and_joins_overlaps():
    square, inner = ((2, 2), (14, 2), (14, 14), (2, 14)), ((6, 6), (10, 6), (10, 10), (6, 10))
    hole = pen.fill(np.concatenate([polygon(*square), polygon(*inner[::-1])]), 16)
    assert hole.sum() == 144 - 16
    joined = pen.fill(np.concatenate([polygon(*square), polygon(*inner)]), 16)
    assert joined.sum() == 144  # even-odd filling would cut the overlap out


def test_a_circle_of_curves_has_its_area():
    ring = [(np.cos(a), np.sin(a), k % 2 == 0) for k, a in enumerate(np.arange(16) * np.pi / 8)]
    points = [
        (
            32 + 20 * x * (1 if on else 1 / np.cos(np.pi / 8)),
            32 + 20 * y * (1 if on else 1 / np.cos(np.pi / 8)),
        )
        for x, y, on in ring
    ]
    flags = [int(on) for *_, on in ring]
    area = pen.fill(pen.flatten(points, [15], flags), 64).sum()
    assert abs(area / (np.pi * 400) - 1) < 0.01
    corners = pen.fill(pen.flatten(points[::2], [7], [1] * 8), 64).sum()  # the fault: curves taken for lines
    assert abs(corners / (np.pi * 400) - 1) > 0.05


def pieces(image):
    """The number of 8-connected pieces."""
    left, count = {tuple(p) for p in np.argwhere(image)}, 0
    while left:
        count, stack = count + 1, [left.pop()]
        while stack:
            y, x = stack.pop()
            near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            left -= near
            stack += near
    return count


def thick_lines(seed):
    draw = np.random.default_rng(seed)
    points = np.concatenate([np.linspace(*draw.uniform(8, 40, (2, 2)), 60) for _ in range(3)])
    return (
        pen.stamp(points, np.zeros(len(points), int), np.full(len(points), draw.uniform(1.5, 3.5)), 1, 48)[0]
        >= 128
    )


def test_thinning_keeps_pieces_and_holes_and_leaves_lines():
    images = np.array([thick_lines(seed) for seed in range(20)])
    thin = pen.thin(images)
    assert not (thin & ~images).any()
    for image, line in zip(images, thin, strict=True):
        assert pieces(line) == pieces(image)
        assert line.sum() < 0.5 * image.sum()
        square = line[1:, 1:] & line[1:, :-1] & line[:-1, 1:] & line[:-1, :-1]
        assert square.sum() <= 3  # but for crossings, nothing is two pixels wide
    assert np.array_equal(pen.thin(thin), thin)
    assert np.array_equal(pen.thin(images, chunk=64), thin)


def test_thinning_keeps_diagonals():
    """Zhang and Suen's rules delete a diagonal of two pixels' width from its ends."""
    y, x = np.mgrid[:40, :40]
    diagonal = (abs(y - x - 0.5) < 1) & (y > 5) & (y < 35)
    thin = pen.thin(diagonal[None])[0]
    assert thin.sum() >= 25 and pieces(thin) == 1


def test_a_stamp_is_a_disc():
    for radius in (1.5, 2.5):
        levels = pen.stamp(np.array([[10.3, 12.7]]), np.array([1]), np.array([radius]), 2, 24)
        assert not levels[0].any()
        y, x = np.mgrid[:24, :24]
        distance = np.hypot(x - 10.3, y - 12.7)
        assert (levels[1][distance < radius - 0.6] == 255).all() and not levels[1][
            distance > radius + 0.6
        ].any()
        assert abs(levels[1].sum() / 255 / (np.pi * radius**2) - 1) < 0.06


def test_a_stamp_at_the_border_stays_on_its_page():
    points = np.array([[0.0, 5.0], [23.0, 5.0], [-3.0, 5.0]])
    levels = pen.stamp(points, np.array([0, 1, 2]), np.full(3, 2.0), 4, 24)
    assert levels[0, 5, 0] == 255 and levels[1, 5, 23] == 255
    assert not levels[0, :, 10:].any() and not levels[1, :, :10].any() and not levels[2:].any()


def test_uniform_numbers_are_the_stream_of_pcg64():
    draw = pen.Uniform(3, 4)
    assert np.array_equal(draw(2, 3), np.random.Generator(np.random.PCG64([3, 4])).random((2, 3)))
    bell = pen.Uniform(1).symmetric(20000)
    assert abs(bell.mean()) < 0.01 and abs(bell.std() - 1 / 3) < 0.01 and abs(bell).max() < 1
