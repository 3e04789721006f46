"""Row A1: cached sampling equals naive sampling draw for draw, and both follow log_prob."""

import itertools

import pytest
import torch
from torch import nn

from oneshot_lib.benchmarks import sampling as benchmark
from oneshot_lib.models import cached_sampling, sampling_caches
from oneshot_lib.models.attention_pixelcnn import AttentionCache, AttentionConfig, AttentionPixelCNN
from oneshot_lib.models.cached_sampling import _sample as sample
from oneshot_lib.models.cached_sampling import inverse_cdf, pixel_order, sample_cached, sample_naive, vertical_leads
from oneshot_lib.models.few_shot import ConditionalConfig, ConditionalPixelCNN
from oneshot_lib.models.meta_pixelcnn import MetaConfig, MetaPixelCNN
from oneshot_lib.models.pixelcnn import GatedPixelCNN, PixelCNN, PixelCNNConfig
from oneshot_lib.models.sampling_caches import (
    Diagonals,
    GatedCache,
    Page,
    Product,
    Rows,
    cache_of,
    worth_convolving,
)

SIZE = (6, 7)
SETTINGS = ("levels", "layers", "kernel", "first_kernel", "condition_channels")
CASES = [dict(zip(SETTINGS, case, strict=True)) for case in (
    (2, 1, 3, 3, 0), (2, 2, 3, 3, 0), (2, 3, 3, 3, 0), (2, 1, 3, 5, 2), (2, 2, 3, 7, 0), (2, 2, 5, 3, 3),
    (2, 3, 7, 5, 2), (4, 1, 3, 3, 0), (4, 2, 3, 3, 2), (4, 3, 5, 7, 1), (256, 2, 3, 3, 0), (256, 2, 3, 5, 3),
)]
ORDERS = {"diagonals": lambda size, leads: Diagonals(*size, leads[0] + 1, leads[1]),
          "rows": lambda size, leads: Rows(*size)}
every_case = pytest.mark.parametrize("settings", CASES, ids=lambda c: "-".join(map(str, c.values())))


@pytest.fixture(params=ORDERS)
def each_order(request, monkeypatch):
    """Both ways of taking the pixels, whichever would be chosen."""
    monkeypatch.setattr(cached_sampling, "pixel_order", ORDERS[request.param])
    return request.param


def network(seed=0, kind=GatedPixelCNN, **settings):
    torch.manual_seed(seed)
    return lively(kind(PixelCNNConfig(**{"channels": 5} | settings)))


def lively(model):
    for parameter in model.double().parameters():
        nn.init.normal_(parameter, std=0.6)
    return model.eval()


def inputs(model, n=3, size=SIZE, seed=1):
    generator, channels = torch.Generator().manual_seed(seed), model.config.condition_channels
    noise = torch.rand(n, *size, generator=generator, dtype=torch.float64)
    y = torch.randn(n, channels, *size, generator=generator, dtype=torch.float64) if channels else None
    return noise, y


# --- cached is naive --------------------------------------------------------------------------------------------------


@every_case
def test_cached_sampling_is_naive_sampling_draw_for_draw(settings, each_order):
    model = network(**settings)
    noise, y = inputs(model)
    drawn = model.sample(SIZE, y=y, noise=noise)
    assert torch.equal(drawn, sample_naive(model, noise, y))
    assert drawn.shape == (3, 1, *SIZE) and drawn.dtype == torch.float64 and not drawn.requires_grad
    assert len(drawn.unique()) >= min(model.config.levels, 4)  # and not for want of variety


@pytest.mark.parametrize("kind", [GatedPixelCNN, PixelCNN])
@pytest.mark.parametrize("n, size", [(1, (1, 1)), (1, (5, 1)), (2, (1, 6)), (5, (3, 9)), (1, (4, 5)), (70, (2, 2))])
def test_on_images_of_any_size(n, size, kind, each_order):
    model = network(kind=kind, layers=3)
    noise, y = inputs(model, n, size)
    assert torch.equal(model.sample(size, noise=noise), sample_naive(model, noise, y))


@pytest.mark.parametrize("levels", [2, 256])
def test_with_one_condition_for_the_whole_page(levels, each_order):
    model = network(levels=levels, layers=3, condition_channels=2)
    noise, y = inputs(model)
    y = y[:, :, :1, :1]
    assert torch.equal(model.sample(SIZE, y=y, noise=noise), sample_naive(model, noise, y))
    assert torch.equal(model.sample(SIZE, y=y, noise=noise), model.sample(SIZE, y=y.expand(-1, -1, *SIZE), noise=noise))


@pytest.mark.parametrize("settings", [{}, {"layers": 1}, {"levels": 4, "layers": 4}, {"kernel": 5, "first_kernel": 7}],
                         ids=str)
def test_the_stack_with_the_blind_spot(settings, each_order):
    model = network(kind=PixelCNN, **settings)
    noise, _ = inputs(model)
    assert torch.equal(model.sample(SIZE, noise=noise), sample_naive(model, noise))


def attentive(**settings):
    torch.manual_seed(0)
    small = {"image_size": 6, "channels": 5, "layers": 3, "first_kernel": 3, "reads": (1,), "key": 4,
             "encoder_channels": 3, "encoder_layers": 1}
    return lively(AttentionPixelCNN(AttentionConfig(**small | settings)))


def sets(levels=2, n=2, each=2, size=(6, 6)):
    """Two support sets of n drawings, and noise for `each` draws of each."""
    generator = torch.Generator().manual_seed(3)
    return (torch.randint(0, levels, (2, n, 1, *size), generator=generator).double(),
            torch.rand(2 * each, *size, generator=generator, dtype=torch.float64))


@pytest.mark.parametrize("settings", [{}, {"reads": (1, 2), "heads": 2}, {"levels": 4}], ids=str)
@pytest.mark.parametrize("each", [1, 3])
def test_a_stack_that_reads_its_support(settings, each, each_order, monkeypatch):
    model = attentive(**settings)
    support, noise = sets(model.config.levels, each=each)
    expected = sample_naive(model.pixelcnn, noise, model.memory(support))
    assert torch.equal(model.draw_like(support, each, noise=noise).flatten(0, 1), expected)
    monkeypatch.setattr(AttentionCache, "_read", lambda cache, line, h: h)
    assert not torch.equal(model.draw_like(support, each, noise=noise).flatten(0, 1), expected)


def test_each_image_reads_its_own_support(monkeypatch):
    model = attentive()
    support, noise = sets(each=3)
    apart = [model.draw_like(s[None], 3, noise=u)[0] for s, u in zip(support, noise.split(3), strict=True)]
    assert torch.equal(model.draw_like(support, 3, noise=noise).flatten(0, 1), torch.cat(apart))
    assert not torch.equal(model.draw_like(support.flip(0), 3, noise=noise).flatten(0, 1), torch.cat(apart))


@pytest.mark.parametrize("code_map", [0, 2])
def test_the_few_shot_models_draw_through_it(code_map):
    support, noise = sets(size=(26, 26), each=1)
    torch.manual_seed(0)
    config = ConditionalConfig(channels=3, layers=2, first_kernel=3, code=4, code_map=code_map, encoder_channels=2)
    model = lively(ConditionalPixelCNN(config))
    expected = sample_naive(model.pixelcnn, noise, model.condition(support))
    assert torch.equal(model.draw_like(support, noise=noise)[:, 0], expected)


def test_the_adapted_network_draws_with_its_own_weights():
    torch.manual_seed(0)
    model = lively(MetaPixelCNN(MetaConfig(image_size=6, channels=4, layers=2, first_kernel=3, inner_channels=3)))
    support, noise = sets()
    expected = [sample_naive(model.network(s), u) for s, u in zip(support, noise.split(2), strict=True)]
    assert torch.equal(model.draw_like(support, 2, noise=noise).flatten(0, 1), torch.cat(expected))


@pytest.mark.parametrize("settings", [{}, {"layers": 3}, {"levels": 4, "condition_channels": 2}], ids=str)
def test_large_products_are_convolutions_and_draw_the_same(settings, each_order, monkeypatch):
    model = network(**settings)
    noise, y = inputs(model, n=16)
    convolved, expected = Product._convolved, sample_naive(model, noise, y)
    monkeypatch.setattr(sampling_caches, "worth_convolving", lambda x, matrix, n: True)
    assert torch.equal(sample_cached(model, noise, y), expected)
    monkeypatch.setattr(Product, "_convolved", lambda self, *args: convolved(self, *args).roll(1, 0))
    assert not torch.equal(sample_cached(model, noise, y), expected)


def test_small_products_and_those_of_other_precisions_or_devices_stay_what_they_are():
    x, matrix = torch.zeros(64 * 16, 128), torch.zeros(128, 128)
    assert worth_convolving(x, matrix, 16) == torch.backends.mkldnn.is_available()
    for other, n in ((x[:64], 16), (x, 8), (x.double(), 16), (x.to("meta"), 16)):
        assert not worth_convolving(other, matrix, n)


def test_a_pixel_is_not_written_before_what_it_depends_on():
    for settings in CASES:
        layers = list(network(**settings).layers)
        leads = vertical_leads(layers)
        assert leads[0] == sum(layer.reach for layer in layers) and leads[-1] == 0
        order = Diagonals(9, 7, leads[0] + 1, leads[1])
        step = {(line.row + k * line.down, line.column + k * line.right): t
                for t, line in order.lines.items() for k in range(line.count)}
        assert len(step) == 63
        for (i, j), t in step.items():
            assert all(step[a, b] < t for a in range(i) for b in range(min(7, j + leads[0] + 1)))
            assert all(step[i, b] < t for b in range(j))


def test_diagonals_where_they_save_steps():
    assert isinstance(pixel_order((28, 28), [2, 1, 0]), Diagonals)
    assert isinstance(pixel_order((26, 26), [10, *range(7, -1, -1)]), Rows)


def test_a_layer_of_another_kind_is_named():
    with pytest.raises(TypeError, match="layer is a Linear"):
        cache_of(nn.Linear(2, 2))


def test_a_second_call_knows_nothing_of_the_first():
    model = network()
    noise, _ = inputs(model)
    first = model.sample(SIZE, noise=noise)
    model.sample(SIZE, noise=1 - noise)
    assert torch.equal(model.sample(SIZE, noise=noise), first)


store, step, around = Page.store, GatedCache.step, Page.around


def a_row_too_low(page, line, values):
    if line.row + line.count + page.above < len(page.cells):
        store(page, line._replace(row=line.row + 1), values)


def a_column_behind(page, line, *box):
    return around(page, line._replace(column=line.column - 1) if box and line.column else line, *box)


def no_vertical_stack(cache, t, v, h):
    v, h = step(cache, t, v, h)
    return None if v is None else 0 * v, h


def margin_not_zero(cache, t, v, h):
    cache.v.cells[:, :, :cache.v.left] = 3.0
    return step(cache, t, v, h)


def a_slope_too_small(size, leads):
    return Diagonals(*size, leads[0], leads[1])


def not_far_enough_ahead(size, leads):
    order = Diagonals(*size, leads[0] + 1, leads[1])
    order.vertical = lambda t, lead: order.lines.get(t + max(0, lead - 1))
    return order


FAULTS = [(Page, "store", a_row_too_low), (Page, "around", a_column_behind), (GatedCache, "step", no_vertical_stack),
          (GatedCache, "step", margin_not_zero), (cached_sampling, "pixel_order", a_slope_too_small),
          (cached_sampling, "pixel_order", not_far_enough_ahead)]


@pytest.mark.parametrize("settings", [{}, {"layers": 3}, {"levels": 4, "condition_channels": 2}],
                         ids=["two layers", "three", "conditional"])
@pytest.mark.parametrize("place, name, fault", FAULTS, ids=[fault.__name__ for *_, fault in FAULTS])
def test_a_wrong_cache_is_caught(monkeypatch, place, name, fault, settings):
    model = network(**settings)
    noise, y = inputs(model, n=64)
    monkeypatch.setattr(cached_sampling, "pixel_order", ORDERS["diagonals"])
    monkeypatch.setattr(place, name, fault)
    assert not torch.equal(sample_cached(model, noise, y), sample_naive(model, noise, y))


def test_a_slope_too_small_is_caught_with_the_blind_spot(monkeypatch):
    model = network(kind=PixelCNN, layers=3)
    noise, _ = inputs(model, n=64)
    monkeypatch.setattr(cached_sampling, "pixel_order", a_slope_too_small)
    assert not torch.equal(sample_cached(model, noise), sample_naive(model, noise))


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
    monkeypatch.setattr(GatedCache, "step", lambda cache, *args: (
        seen.append(torch.get_num_threads()), step(cache, *args))[1])
    try:
        torch.set_num_threads(2)
        network().sample(SIZE, 2)
        assert torch.get_num_threads() == 2 and set(seen) == {1}
        monkeypatch.setattr(GatedCache, "step", lambda cache, *args: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            network().sample(SIZE, 2)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def shared_out(model, noise, y, monkeypatch, threads=3):
    """Draws by several threads, however small their shares, and the number of shares."""
    before, parts = torch.get_num_threads(), []
    monkeypatch.setattr(cached_sampling, "_SHARE", 1)
    monkeypatch.setattr(cached_sampling, "_sample", lambda *args: (parts.append(len(args[-2])), sample(*args))[1])
    try:
        torch.set_num_threads(threads)
        return sample_cached(model, noise, y), parts
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("channels", [0, 2])
def test_threads_share_out_the_images(channels, monkeypatch):
    model = network(condition_channels=channels)
    noise, y = inputs(model, 8)
    drawn, parts = shared_out(model, noise, y, monkeypatch)
    assert sorted(parts) == [2, 3, 3] and torch.equal(drawn, sample_naive(model, noise, y))


def test_threads_share_out_support_sets_whole(monkeypatch):
    torch.manual_seed(0)
    model = lively(AttentionPixelCNN(AttentionConfig(image_size=6, channels=4, layers=2, reads=(1,), key=3)))
    support = torch.rand(3, 2, 1, 6, 6, generator=torch.Generator().manual_seed(2), dtype=torch.float64).round()
    noise = torch.rand(6, 6, 6, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    memory = model.memory(support)
    drawn, parts = shared_out(model.pixelcnn, noise, memory, monkeypatch, threads=2)
    assert sorted(parts) == [2, 4] and torch.equal(drawn, sample_naive(model.pixelcnn, noise, memory))


def test_a_share_with_another_shares_condition_is_caught(monkeypatch):
    model = network(condition_channels=2)
    noise, y = inputs(model, 8)
    whole = cached_sampling.shares
    monkeypatch.setattr(cached_sampling, "shares", lambda *args: [
        (u, given) for (u, _), (_, given) in zip(whole(*args), whole(args[0], args[1].flip(0), args[2]), strict=True)])
    assert not torch.equal(shared_out(model, noise, y, monkeypatch, threads=2)[0], sample_naive(model, noise, y))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.parametrize("settings", [{}, {"levels": 4, "condition_channels": 2}], ids=["binary", "conditional"])
def test_on_a_gpu(settings):
    model = network(**settings)
    noise, y = inputs(model)
    expected = model.sample(SIZE, y=y, noise=noise)
    model.cuda()
    assert torch.equal(model.sample(SIZE, y=None if y is None else y.cuda(), noise=noise).cpu(), expected)


def test_the_benchmark_says_what_it_measures(monkeypatch):
    monkeypatch.setattr(benchmark, "IMAGES", {1: 3.0})
    monkeypatch.setattr(benchmark, "SIZE", (3, 3))
    monkeypatch.setattr(benchmark, "SHOWN", {})
    (entry,) = benchmark.measure(seconds=0.0)
    assert entry["ratio"] == entry["value"] / entry["reference"] and entry["target"] == 3.0
    assert entry["name"].startswith("cached sampling, 1 image")


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings, call, named", [
    ({}, {}, "n is None"), ({}, {"n": 0}, "n is 0"), ({}, {"n": 2.0}, "n is 2.0"),
    ({}, {"n": 1, "size": (0, 3)}, "size"), ({}, {"n": 1, "size": (3, 3, 3)}, "size"),
    ({}, {"n": 2, "noise": torch.rand(3, *SIZE)}, "noise has shape"),
    ({}, {"noise": torch.rand(3, 2, 2)}, "noise has shape"),
    ({}, {"y": torch.rand(2, 1, *SIZE)}, "without a condition"),
    ({"kind": PixelCNN}, {}, "n is None"), ({"kind": PixelCNN}, {"noise": torch.rand(3, 2, 2)}, "noise has shape"),
    ({"condition_channels": 2}, {"n": 2}, "y has shape"),
    ({"condition_channels": 2}, {"y": torch.rand(2, 2, 5, 5)}, "y has shape"),
    ({"condition_channels": 2}, {"n": 3, "y": torch.rand(2, 2, *SIZE)}, "y has shape"),
])
def test_calls_that_do_not_fit_are_named(settings, call, named):
    with pytest.raises(ValueError, match=named):
        network(**settings).sample(**{"size": SIZE} | call)
