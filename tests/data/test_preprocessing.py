"""Each preprocessing against its definition, the floor against its sum, bits against their probability."""

import doctest

import numpy as np
import pytest
import torch

from oneshot_lib import data
from oneshot_lib.data import preprocessing


@pytest.fixture(scope="module")
def drawings(characters):
    return np.array(characters.images[:: len(characters) // 40])


def overlap(size):
    """The share of each of 105 original pixels in each of `size` pixels: (size, 105), rows sum to one."""
    edges, scale = np.arange(106), 105 / size
    low, high = np.arange(size)[:, None] * scale, (np.arange(size)[:, None] + 1) * scale
    return np.clip(np.minimum(edges[1:], high) - np.maximum(edges[:-1], low), 0, None) / scale


def test_every_name_gives_its_size(drawings):
    for name in data.PREPROCESSINGS:
        grey, size = data.preprocess(drawings[:3], name), int(name.split("-")[0])
        assert grey.shape == (3, size, size) and grey.dtype == np.uint8, name
        assert grey.max() > 127 and np.median(grey) < 64, name  # ink is 255


def test_area_is_the_mean_over_a_box(drawings):
    """Pillow's box takes the whole pixels whose centre lies in it; the exact overlap differs by the rims."""
    grey = data.preprocess(drawings, "28-area") / 255
    centre = np.arange(105) + 0.5
    low, high = np.arange(28)[:, None] * 3.75, (np.arange(28)[:, None] + 1) * 3.75
    whole = ((centre > low) & (centre <= high)).astype(float)
    whole /= whole.sum(1, keepdims=True)
    assert abs(grey - whole @ drawings @ whole.T).max() < 1.01 / 255
    assert abs(grey.mean() - drawings.mean()) < 0.003
    assert (
        abs(grey - overlap(28) @ drawings @ overlap(28).T).max() > 0.05
    )  # the other definition is another one


def test_nearest_takes_the_pixel_at_the_centre(drawings):
    taken = np.floor((np.arange(28) + 0.5) * 105 / 28).astype(int)
    assert np.array_equal(data.preprocess(drawings, "28-nearest"), drawings[:, taken][:, :, taken] * 255)
    corner = np.floor(np.arange(28) * 105 / 28).astype(int)  # the fault: the pixel's corner
    assert not np.array_equal(
        data.preprocess(drawings, "28-nearest"), drawings[:, corner][:, :, corner] * 255
    )


@pytest.mark.parametrize("name, antialias", [("28-bilinear", False), ("28-antialias", True)])
def test_bilinear_is_torchs(drawings, name, antialias):
    def expected(antialias):
        images = torch.from_numpy(drawings).double()[:, None]
        options = {"mode": "bilinear", "align_corners": False, "antialias": antialias}
        return torch.nn.functional.interpolate(images, (28, 28), **options)[:, 0].numpy() * 255

    grey = data.preprocess(drawings, name)
    assert abs(grey - expected(antialias)).max() < 1.01
    assert abs(grey - expected(not antialias)).max() > 50  # the fault: antialiasing confused


def test_maxpool_and_threshold_and_original(drawings):
    pooled = data.preprocess(drawings, "52-maxpool")
    for i, j in [(0, 0), (25, 30), (51, 51)]:
        assert np.array_equal(
            pooled[:, i, j], 255 * drawings[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].max((1, 2))
        )
    assert np.array_equal(data.preprocess(drawings, "105"), 255 * drawings)
    area = data.preprocess(drawings, "50-area")
    assert np.array_equal(data.preprocess(drawings, "50-threshold") == 255, area / 255 > 0.5)


def test_images_are_preprocessed_one_by_one(drawings):
    for name in data.PREPROCESSINGS:
        both = data.preprocess(drawings[:2], name)
        assert np.array_equal(both[1:], data.preprocess(drawings[1:2].astype(bool), name)), name


def test_bad_images_and_names():
    good = np.zeros((1, 105, 105), np.uint8)
    for images, expected in [
        (good[0], r"images: expected \(N, 105, 105\)"),
        (good[:, 1:], r"found \(1, 104, 105\) uint8"),
        (good.astype(float), "float64"),
        (good + 2, "expected 0 and 1"),
    ]:
        with pytest.raises(ValueError, match=expected):
            data.preprocess(images, "28-area")
    with pytest.raises(ValueError, match="name: expected one of .*, found '28'"):
        data.preprocess(good, "28")


def summed_entropy(grey):
    total = 0.0
    for level in grey.reshape(-1) / 255:
        for p in (level, 1 - level):
            total -= p * np.log(p) if p > 0 else 0.0
    return total / len(grey)


def test_the_floor_is_the_mean_summed_entropy(drawings):
    grey = data.preprocess(drawings[:4], "28-area")
    assert data.binarisation_floor(grey) == pytest.approx(summed_entropy(grey), rel=1e-12)
    assert data.binarisation_floor(grey) == pytest.approx(data.binarisation_floor(255 - grey), rel=1e-12)
    assert data.binarisation_floor(np.full((3, 5, 7), 127, np.uint8)) == pytest.approx(
        35 * np.log(2), rel=1e-4
    )
    for name in ("28-nearest", "52-maxpool", "50-threshold", "105"):
        assert data.binarisation_floor(data.preprocess(drawings, name)) == 0
    for grey in (np.zeros((0, 2, 2), np.uint8), np.zeros((1, 2, 2))):
        with pytest.raises(ValueError, match="grey: expected"):
            data.binarisation_floor(grey)


# nats an image, the mean over all 13,180 drawings of the 20 evaluation alphabets
FLOORS = {"28-nearest": 0.0, "28-bilinear": 14.51, "28-area": 43.76, "28-lanczos": 50.46, "28-antialias": 65.48}


@pytest.mark.parametrize("name", FLOORS)
def test_the_floors_of_omniglot(characters, name):
    """How 105 pixels become 28 decides the floor: the same drawings, from nothing to 65 nats."""
    if characters.name != "omniglot":
        pytest.skip("about Omniglot")
    test = characters.split("30-20").test
    assert len(test) == 13180
    assert data.binarisation_floor(characters.grey(name)[test]) == pytest.approx(FLOORS[name], abs=0.02)


def test_the_floors_have_their_order(characters):
    rows = characters.split("30-20").test[::7]
    floors = [data.binarisation_floor(data.preprocess(characters.images[rows], name)) for name in FLOORS]
    assert floors == sorted(floors) and floors[0] == 0 < floors[1]


def test_dynamic_binarisation_draws_each_pixel_with_its_probability():
    grey = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    generator = torch.Generator().manual_seed(0)
    n = 4000

    def frequency_fits(binarise):
        share = sum(binarise(grey, generator) for _ in range(n)).double().numpy() / n
        p = grey / 255
        error = np.sqrt(p * (1 - p) / n)
        return (abs(share - p) <= 4.5 * error).all()

    assert frequency_fits(data.binarise)
    assert not frequency_fits(
        lambda grey, generator: torch.from_numpy(grey > 127).float()
    )  # the fault: rounding
    assert not frequency_fits(lambda grey, generator: data.binarise(grey // 2, generator))


def test_dynamic_binarisation_takes_its_noise_from_the_generator():
    grey = torch.full((50, 8, 8), 0.5)
    first, second, other = (data.binarise(grey, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert (
        first.dtype == torch.float32
        and first.shape == grey.shape
        and set(first.unique().tolist()) == {0.0, 1.0}
    )
    assert torch.equal(first, second) and not torch.equal(first, other)
    with pytest.raises(ValueError, match=r"grey: expected floating levels in \[0, 1\]"):
        data.binarise(grey * 3, torch.Generator())
    with pytest.raises(ValueError, match="grey: expected uint8 or floating, found torch.int64"):
        data.binarise(grey.long(), torch.Generator())


def test_static_binarisation_is_always_the_same():
    grey = np.repeat(np.arange(0, 255, 2, dtype=np.uint8)[None], 4000, 0)[:, :, None]
    bits = data.static_binarise(grey)
    assert np.array_equal(bits, data.static_binarise(grey.copy())) and bits.dtype == np.uint8
    p = grey[0] / 255
    assert (abs(bits.mean(0) - p) <= 4.5 * np.sqrt(p * (1 - p) / 4000)).all()
    assert np.array_equal(data.static_binarise(np.array([[0, 255]] * 99, np.uint8)), [[0, 1]] * 99)
    assert not np.array_equal(bits[0], bits[1])  # no two images share their noise


def test_examples():
    assert doctest.testmod(preprocessing).failed == 0
