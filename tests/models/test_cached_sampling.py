"""Row A1: cached sampling equals naive sampling draw for draw, and both follow log_prob."""

import itertools

import pytest
import torch
from torch import nn

from oneshot_lib import benchmarks_sampling
from oneshot_lib.models import cached_sampling
from oneshot_lib.models.cached_sampling import LayerCache, inverse_cdf, sample_cached, sample_naive
from oneshot_lib.models.pixelcnn import GatedPixelCNN, PixelCNNConfig

SIZE = (6, 7)
SETTINGS = ("levels", "layers", "kernel", "first_kernel", "condition_channels")
CASES = [dict(zip(SETTINGS, case, strict=True)) for case in (
    (2, 1, 3, 3, 0), (2, 2, 3, 3, 0), (2, 3, 3, 3, 0), (2, 1, 3, 5, 2), (2, 2, 3, 7, 0), (2, 2, 5, 3, 3),
    (2, 3, 7, 5, 2), (4, 1, 3, 3, 0), (4, 2, 3, 3, 2), (4, 3, 5, 7, 1), (256, 2, 3, 3, 0), (256, 2, 3, 5, 3),
)]
every_case = pytest.mark.parametrize("settings", CASES, ids=lambda c: "-".join(map(str, c.values())))


def network(seed=0, **settings):
    torch.manual_seed(seed)
    model = GatedPixelCNN(PixelCNNConfig(**{"channels": 5} | settings)).double()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.6)
    return model


def inputs(model, n=3, size=SIZE, seed=1):
    generator, channels = torch.Generator().manual_seed(seed), model.config.condition_channels
    noise = torch.rand(n, *size, generator=generator, dtype=torch.float64)
    y = torch.randn(n, channels, *size, generator=generator, dtype=torch.float64) if channels else None
    return noise, y


# --- cached is naive --------------------------------------------------------------------------------------------------


@every_case
def test_cached_sampling_is_naive_sampling_draw_for_draw(settings):
    model = network(**settings)
    noise, y = inputs(model)
    drawn = model.sample(SIZE, y=y, noise=noise)
    assert torch.equal(drawn, sample_naive(model, noise, y))
    assert drawn.shape == (3, 1, *SIZE) and drawn.dtype == torch.float64 and not drawn.requires_grad
    assert len(drawn.unique()) >= min(model.config.levels, 4)  # and not for want of variety


@pytest.mark.parametrize("n, size", [(1, (1, 1)), (1, (5, 1)), (2, (1, 6)), (5, (3, 9)), (70, (2, 2))])
def test_on_images_of_any_size(n, size):
    model = network(layers=3)
    noise, y = inputs(model, n, size)
    assert torch.equal(model.sample(size, noise=noise), sample_naive(model, noise, y))


def test_a_second_call_knows_nothing_of_the_first():
    model = network()
    noise, _ = inputs(model)
    first = model.sample(SIZE, noise=noise)
    model.sample(SIZE, noise=1 - noise)
    assert torch.equal(model.sample(SIZE, noise=noise), first)


store, row, pixel, image_row = LayerCache.store, LayerCache.row, LayerCache.pixel, LayerCache.image_row


def a_row_too_low(cache, i, values):
    if i + cache.margin + 1 < len(cache.v):
        store(cache, i + 1, values)


def a_row_behind(cache, i):
    row(cache, max(i - 1, 0))


def a_column_behind(cache, j):
    pixel(cache, max(j - 1, 0))


def kept_from_the_row_before(cache, i):
    if i % 2 == 0:
        row(cache, i)


def margin_not_zero(cache, j):
    cache.h[:, :cache.margin] = 3.0
    pixel(cache, j)


FAULTS = [("store", a_row_too_low), ("row", a_row_behind), ("pixel", a_column_behind),
          ("row", kept_from_the_row_before), ("pixel", margin_not_zero)]


@pytest.mark.parametrize("settings", [{}, {"layers": 3}, {"levels": 4, "condition_channels": 2}],
                         ids=["two layers", "three", "conditional"])
@pytest.mark.parametrize("method, fault", FAULTS, ids=[fault.__name__ for _, fault in FAULTS])
def test_a_wrong_cache_is_caught(monkeypatch, method, fault, settings):
    model = network(**settings)
    noise, y = inputs(model, n=8)
    monkeypatch.setattr(LayerCache, method, fault)
    assert not torch.equal(sample_cached(model, noise, y), sample_naive(model, noise, y))


# --- and both follow the model ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("levels, sides", [(2, (2, 3)), (3, (2, 2))])
def test_draws_are_as_frequent_as_the_model_says(levels, sides):
    model, n, pixels = network(levels=levels), 4000, sides[0] * sides[1]
    drawn = model.sample(sides, n, generator=torch.Generator().manual_seed(0)).flatten(1)
    images = torch.tensor(list(itertools.product(range(levels), repeat=pixels))).double()
    p = model.log_prob(images.view(-1, 1, *sides)).exp()
    place = (drawn * levels ** torch.arange(pixels - 1, -1, -1)).sum(1).long()
    count = torch.bincount(place, minlength=len(p)).double()
    standardised = (count - n * p) / (n * p * (1 - p)).sqrt()
    assert standardised[n * p > 5].abs().max() < 4


def test_a_level_is_the_inverse_of_the_distribution_function():
    p = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    u = torch.tensor([0.0, 0.09, 0.11, 0.29, 0.31, 0.59, 0.61, 0.999999], dtype=torch.float64)
    assert inverse_cdf(p.log().expand(8, 4), u).tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize("levels", [2, 4])
def test_noise_at_the_ends_gives_the_ends(levels):
    model = network(levels=levels)
    noise = torch.stack([torch.zeros(SIZE), torch.full(SIZE, 1 - 1e-16, dtype=torch.float64)]).double()
    drawn = model.sample(SIZE, noise=noise)
    assert (drawn[0] == 0).all() and (drawn[1] == levels - 1).all()


def test_the_generator_gives_the_noise():
    model = network()
    by_seed = [model.sample(SIZE, 3, generator=torch.Generator().manual_seed(s)) for s in (5, 5, 6)]
    noise = torch.rand(3, *SIZE, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    assert torch.equal(by_seed[0], by_seed[1]) and not torch.equal(by_seed[0], by_seed[2])
    assert torch.equal(by_seed[0], model.sample(SIZE, noise=noise))


# --- precision, threads, devices --------------------------------------------------------------------------------------


def test_autocast_changes_nothing():
    model = network(condition_channels=2).float()
    noise, y = (t.float() for t in inputs(model))
    expected = model.sample(SIZE, y=y, noise=noise)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(model.sample(SIZE, y=y, noise=noise), expected)
        assert torch.equal(sample_naive(model, noise, y), expected)
        drawn = model.sample(SIZE, y=y.bfloat16(), noise=noise)
    assert drawn.dtype == torch.float32


def test_the_number_of_threads_is_what_it_was(monkeypatch):
    before, seen = torch.get_num_threads(), []
    monkeypatch.setattr(cached_sampling.LayerCache, "pixel", lambda cache, j: seen.append(torch.get_num_threads()))
    try:
        torch.set_num_threads(2)
        network().sample(SIZE, 2)
        assert torch.get_num_threads() == 2 and set(seen) == {1}
        monkeypatch.setattr(cached_sampling.LayerCache, "pixel", lambda cache, j: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            network().sample(SIZE, 2)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.parametrize("settings", [{}, {"levels": 4, "condition_channels": 2}], ids=["binary", "conditional"])
def test_on_a_gpu(settings):
    model = network(**settings)
    noise, y = inputs(model)
    expected = model.sample(SIZE, y=y, noise=noise)
    model.cuda()
    assert torch.equal(model.sample(SIZE, y=None if y is None else y.cuda(), noise=noise).cpu(), expected)


def test_the_benchmark_says_what_it_measures(monkeypatch):
    monkeypatch.setattr(benchmarks_sampling, "IMAGES", {1: 3.0})
    monkeypatch.setattr(benchmarks_sampling, "SIZE", (3, 3))
    (entry,) = benchmarks_sampling.sampling_benchmarks(seconds=0.0)
    assert entry["ratio"] == entry["value"] / entry["reference"] and entry["target"] == 3.0
    assert entry["name"].startswith("cached sampling, 1 image")


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings, call, named", [
    ({}, {}, "n is None"), ({}, {"n": 0}, "n is 0"), ({}, {"n": 2.0}, "n is 2.0"),
    ({}, {"n": 1, "size": (0, 3)}, "size"), ({}, {"n": 1, "size": (3, 3, 3)}, "size"),
    ({}, {"n": 2, "noise": torch.rand(3, *SIZE)}, "noise has shape"),
    ({}, {"noise": torch.rand(3, 2, 2)}, "noise has shape"),
    ({}, {"y": torch.rand(2, 1, *SIZE)}, "without a condition"),
    ({"condition_channels": 2}, {"n": 2}, "y has shape"),
    ({"condition_channels": 2}, {"y": torch.rand(2, 2, 5, 5)}, "y has shape"),
    ({"condition_channels": 2}, {"n": 3, "y": torch.rand(2, 2, *SIZE)}, "y has shape"),
])
def test_calls_that_do_not_fit_are_named(settings, call, named):
    with pytest.raises(ValueError, match=named):
        network(**settings).sample(**{"size": SIZE} | call)
