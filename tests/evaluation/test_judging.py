"""The protocol of the plane: what the critics see, the two axes against critics whose answers are known, the controls,
and the batches that critics are trained on."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from oneshot_lib import data
from oneshot_lib.data.augment import symmetry
from oneshot_lib.data.preprocessing import preprocess
from oneshot_lib.evaluation import judging
from oneshot_lib.evaluation.judging import as_seen, copies, diversity, flipped, judge, recognizability, shifted
from oneshot_lib.experiments.boutin import critics, tables
from oneshot_lib.models.critics import SIDE, ContrastiveCritic, CriticConfig, PrototypicalCritic


def source(seed=0):
    return torch.Generator().manual_seed(seed)


def grey(*shape, seed=0):
    return torch.rand(*shape, generator=source(seed))


def bits(*leading, seed=0):
    return (grey(*leading, SIDE, SIDE, seed=seed) < 0.3).float()


# --- what the critics see ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [28, 50, 105])
def test_every_size_is_seen_as_50x50_of_zeros_and_ones(size):
    seen = as_seen(grey(2, 3, size, size))
    assert seen.shape == (2, 3, SIDE, SIDE) and seen.unique().tolist() == [0, 1]
    assert torch.equal(as_seen(seen), seen)


def test_each_drawing_is_stretched_to_its_own_levels():
    faint = torch.stack([0.1 + 0.2 * grey(SIDE, SIDE), grey(SIDE, SIDE, seed=1)])
    seen = as_seen(faint)
    assert torch.equal(seen, torch.stack([as_seen(part) for part in faint]))
    assert abs(seen.mean((1, 2)) - 0.5).max() < 0.05
    over_the_batch = (faint - faint.min()) / (faint.max() - faint.min()) > 0.5  # the faults
    assert not over_the_batch[0].any() and not (faint[0] > 0.5).any()


@pytest.mark.parametrize("size", [28, 52, 105])  # from the last two every level comes back with rounding errors
def test_a_page_of_one_level_is_blank(size):
    for level in (0.0, 0.3, 1.0):
        assert not as_seen(torch.full((2, size, size), level)).any()
    faint = torch.full((size, size), 0.3)
    faint[: size // 2] += 0.01
    assert abs(as_seen(faint).mean() - 0.5) < 0.02


def test_the_originals_are_seen_as_pillow_reduces_them():
    images = data.characters().images[:1200:40].astype(np.uint8)
    by_pillow = as_seen(torch.from_numpy(preprocess(images, "50-antialias")).float() / 255)
    assert (as_seen(torch.from_numpy(images).float()) != by_pillow).double().mean() < 2e-4
    unfiltered = torch.nn.functional.interpolate(torch.from_numpy(images).float()[:, None], (SIDE, SIDE),
                                                 mode="bilinear")[:, 0]  # the fault: most pixels never read
    assert (as_seen(unfiltered) != by_pillow).double().mean() > 1e-3


def test_bad_drawings():
    for bad in (torch.zeros(3, 28, 27), torch.zeros(28), torch.zeros(28, 28, dtype=torch.uint8)):
        with pytest.raises(ValueError, match=r"drawings is \(.* of torch.*; expected \(..., S, S\), floating"):
            as_seen(bad)
    for bad in (-0.5, 2.0, math.nan):
        with pytest.raises(ValueError, match="drawings has levels of .*; expected 0 to 1"):
            as_seen(torch.zeros(28, 28).index_fill(0, torch.tensor([0]), bad))


# --- diversity --------------------------------------------------------------------------------------------------------


class Weighed:
    """A critic whose numbers are known: seven weighted sums of the ink."""

    training, weights = False, torch.randn(SIDE * SIDE, 7, generator=source(9), dtype=torch.float64)

    def embed(self, x):
        return x.double().flatten(1) @ self.weights


def test_diversity_is_the_mean_standard_deviation_of_a_dimension():
    drawings = bits(3, 5)
    found = diversity(Weighed(), drawings)
    numbers = drawings.double().flatten(2).numpy() @ Weighed.weights.numpy()
    assert found.tolist() == pytest.approx(numbers.std(1, ddof=1).mean(1).tolist())
    for fault in (numbers.std(1).mean(1), numbers.std(1, ddof=1).max(1), np.sqrt(numbers.var(1, ddof=1).sum(1))):
        assert abs(found.numpy() - fault).min() > 0.1
    assert diversity(Weighed(), drawings[:, torch.tensor([3, 0, 4, 1, 2])]).tolist() == pytest.approx(found.tolist())
    assert diversity(Weighed(), drawings[[2, 0, 1]]).tolist() == pytest.approx(found[[2, 0, 1]].tolist())


def test_copies_are_not_diverse():
    torch.manual_seed(0)
    critic = ContrastiveCritic(CriticConfig(channels=8)).eval()
    same = diversity(critic, copies(bits(2), 5))
    assert same.max() < 1e-6 < 1e-4 < diversity(critic, bits(2, 5)).min()


def test_the_drawings_of_a_class_are_two_or_more():
    for shape in ((3, 1, 50, 50), (3, 50, 50)):
        with pytest.raises(ValueError, match=r"drawings has shape .*; expected \(K, N, S, S\) with N of at least 2"):
            diversity(Weighed(), torch.zeros(shape))


# --- recognizability --------------------------------------------------------------------------------------------------


def written(values):
    """Drawings that hold a number each, 0 to 4095, in the first twelve pixels of their first row."""
    values = torch.as_tensor(values)
    page = torch.zeros(*values.shape, SIDE, SIDE)
    page[..., 0, :12] = (values[..., None] >> torch.arange(12) & 1).float()
    page[..., -1, -1] = 1  # never blank
    return page


class Reader:
    """A critic that reads the number that is `written`: distances between drawings are those between numbers."""

    training = False

    def features(self, x):
        return (x[:, 0, 0, :12].double() @ 2.0 ** torch.arange(12, dtype=torch.float64))[:, None]


PLACES = torch.tensor([100, 900, 1300, 2500, 2700, 3900, 4000])  # of the exemplars of seven classes


def named(drawn, own, places=PLACES, **settings):
    return recognizability(Reader(), written(drawn), torch.as_tensor(own), written(places), generator=source(),
                           **settings)


def chance_of(drawn, k, ways):
    """The share of tests that name class k, by counting: none of the classes as near or nearer is in the test."""
    nearer = int(((drawn - PLACES).abs() <= (drawn - PLACES[k]).abs()).sum()) - 1
    return math.comb(len(PLACES) - 1 - nearer, ways - 1) / math.comb(len(PLACES) - 1, ways - 1)


@pytest.mark.parametrize("ways", [2, 4, 7])
def test_the_share_of_tests_that_name_the_class(ways):
    drawn, own, tests = torch.tensor([[120, 1000], [2550, 1150], [0, 4095]]), [0, 3, 5], 20_000
    found = named(drawn, own, ways=ways, tests=tests)
    for share, row, k in zip(found, drawn, own, strict=True):
        expected = [chance_of(value, k, ways) for value in row]
        assert abs(share - sum(expected) / 2) < 4.5 * math.sqrt(0.25 / tests) * any(0 < p < 1 for p in expected) + 1e-9
    assert found.dtype == torch.float64


def test_copies_are_always_named_and_a_class_stands_in_a_test_once():
    own = torch.arange(len(PLACES))
    for ways in (2, 5, 7):
        assert named(PLACES[:, None], own, ways=ways).tolist() == [1.0] * 7
    # the fault: the class among the others too, as a twin of the first would be
    twins = torch.cat([PLACES[:1], PLACES[:-1]])
    found = named(twins[:, None], own, twins, ways=5, tests=5000)
    assert abs(found[:2] - 1 / 3).max() < 4.5 * math.sqrt(2 / 9 / 5000) and found[2:].tolist() == [1.0] * 5


def test_drawings_that_do_not_depend_on_the_class_are_named_by_chance():
    own, drawn = torch.arange(7), torch.tensor([77, 1051, 1607, 3203, 3947]).expand(7, -1)
    assert float(named(drawn, own, ways=7).mean()) == pytest.approx(1 / 7)
    for ways in (2, 4):
        found = float(named(drawn, own, ways=ways, tests=5000).mean())
        assert abs(found - 1 / ways) < 4.5 * math.sqrt((1 / ways) * (1 - 1 / ways) / 35_000)


def test_a_tie_is_wrong():
    assert named([[1100]], [1], ways=7).tolist() == [0.0]  # half-way between the second and the third
    assert named([[1099]], [1], ways=7).tolist() == [1.0]
    assert named(torch.full((7, 3), 5), torch.arange(7), torch.full((7,), 5), ways=3).tolist() == [0.0] * 7


def test_each_drawing_is_shown_as_often():
    right_and_wrong = torch.tensor([[100, 100, 100, 4000]])
    assert named(right_and_wrong, [0], ways=7, tests=500).tolist() == [0.75]


def test_the_classes_drawn_may_be_some_of_those_known():
    some = named(PLACES[[4, 2], None], [4, 2], ways=7)
    wrong = named(PLACES[[4, 2], None], [2, 4], ways=7)
    assert some.tolist() == [1.0, 1.0] and wrong.tolist() == [0.0, 0.0]
    assert torch.equal(named([[1000]], [2], ways=3), named([[1000]], [2], ways=3))


def test_one_test_is_a_test():
    exemplars = (torch.rand(4, SIDE, SIDE, generator=source(1)) < 0.3).float()
    critic = PrototypicalCritic(CriticConfig(channels=2, embedding=4, projection=3)).eval()
    found = judging.recognizability(critic, judging.copies(exemplars, 3), torch.arange(4), exemplars, tests=1, ways=2,
                                    generator=source(2))
    assert found.tolist() == [1, 1, 1, 1]


def test_bad_tests():
    for ways in (1, 8):
        with pytest.raises(ValueError, match=f"ways is {ways}; expected 2 to 7, the number of exemplars"):
            named(PLACES[:, None], torch.arange(7), ways=ways)
    with pytest.raises(ValueError, match="own has 6 classes; expected one for each of the 7 in drawings"):
        named(PLACES[:, None], torch.arange(6), ways=2)


# --- both axes --------------------------------------------------------------------------------------------------------


def test_a_point_is_a_mean_over_classes_with_its_standard_error():
    drawings, own = written([[110, 90], [1150, 1000], [4000, 2600]]), torch.tensor([0, 1, 3])
    settings = {"tests": 50, "ways": 4}
    point = judge(Weighed(), Reader(), drawings, own, written(PLACES), generator=source(), **settings)
    spread = diversity(Weighed(), drawings)
    share = 100 * recognizability(Reader(), drawings, own, written(PLACES), generator=source(), **settings)
    for found, each, parts in ((point.diversity, point.diversity_of, spread),
                               (point.recognizability, point.recognizability_of, share)):
        assert torch.equal(each, parts) and found.n == 3
        assert found.value == pytest.approx(float(parts.mean()))
        assert found.error == pytest.approx(float(np.std(parts.numpy(), ddof=1) / math.sqrt(3)))
        assert found.error > 0
    one = judge(Weighed(), Reader(), drawings[:1], own[:1], written(PLACES), generator=source(), **settings)
    assert one.diversity.n == 1 and math.isnan(one.recognizability.error)


def test_the_critics_of_the_library_place_copies_at_zero_and_all():
    torch.manual_seed(0)
    config = CriticConfig(channels=8, embedding=16, projection=8)
    pair, exemplars = (ContrastiveCritic(config).eval(), PrototypicalCritic(config).eval()), bits(6)
    point = judge(*pair, copies(exemplars, 3), torch.arange(6), exemplars, tests=30, ways=5, generator=source())
    assert point.diversity.value < 1e-6 and point.recognizability.value == 100
    noise = judge(*pair, bits(6, 3, seed=1), torch.arange(6), exemplars, tests=30, ways=5, generator=source())
    assert noise.diversity.value > 1e-4 and noise.recognizability.value < 80


# --- the controls -----------------------------------------------------------------------------------------------------


def test_copies_are_the_exemplar():
    exemplars = bits(3)
    found = copies(exemplars, 4)
    assert found.shape == (3, 4, SIDE, SIDE) and (found == exemplars[:, None]).all()
    found[0, 0] = 0.5  # a page of its own
    assert (found[0, 1] == exemplars[0]).all() and exemplars.max() == 1


def test_shifted_copies_move_by_up_to_so_many_pixels_either_way():
    dot = torch.zeros(2, 15, 15)
    dot[0, 7, 6] = dot[1, 5, 9] = 1
    found = shifted(dot, 2, 700, generator=source())
    assert (found.sum((2, 3)) == 1).all()
    moves = found.flatten(2).argmax(2)
    moves = torch.stack([moves // 15, moves % 15], -1) - torch.tensor([[7, 6], [5, 9]])[:, None]
    times = torch.bincount(((moves + 2) * torch.tensor([5, 1])).sum(-1).flatten(), minlength=25)
    assert moves.abs().max() == 2 and len(times) == 25
    assert (abs(times / 1400 - 1 / 25) < 4.5 * math.sqrt(1 / 25 / 1400)).all()
    assert torch.equal(shifted(dot, 0, 3, generator=source()), copies(dot, 3))


def test_what_leaves_the_page_is_lost():
    corner = torch.zeros(1, 15, 15)
    corner[0, 0, 0] = 1
    found = shifted(corner, 4, 500, generator=source())[0]
    lost = (found.sum((1, 2)) == 0).double().mean()
    assert abs(lost - (1 - (5 / 9) ** 2)) < 4.5 * math.sqrt(0.25 / 500)  # the fault: the page goes round
    assert not found[:, 5:].any() and not found[:, :, 5:].any()


@pytest.mark.parametrize("share", [0.05, 0.4])
def test_flipped_copies_have_their_share_of_pixels_turned_over(share):
    exemplars = grey(3, 20, 20)
    found = flipped(exemplars, share, 40, generator=source())
    over = found != exemplars[:, None]
    torch.testing.assert_close(found[over], (1 - exemplars[:, None].expand_as(found))[over])
    assert abs(over.double().mean() - share) < 4.5 * math.sqrt(share * (1 - share) / over.numel())
    ink = bits(2)
    found = flipped(ink, share, 30, generator=source())
    for level in (0, 1):  # of the ink as of the paper; the fault: pixels drawn anew, of which some stay
        over = (found == 1 - level)[(ink == level)[:, None].expand_as(found)].double()
        assert abs(over.mean() - share) < 4.5 * math.sqrt(share * (1 - share) / len(over))
    assert torch.equal(flipped(ink, 1.0, 2, generator=source()), 1 - copies(ink, 2))


@pytest.mark.parametrize("control", [shifted, flipped])
def test_controls_come_from_the_generator(control):
    exemplars = bits(2)
    first, again, other = (control(exemplars, count=3, generator=source(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other) and not torch.equal(first[:, 0], first[:, 1])
    assert torch.equal(exemplars, bits(2))


def test_bad_controls():
    for pixels in (-1, 50):
        with pytest.raises(ValueError, match=f"pixels is {pixels}; expected 0 to 49"):
            shifted(bits(1), pixels, generator=source())
    for share in (-0.1, 1.5):
        with pytest.raises(ValueError, match=f"share is {share}; expected 0 to 1"):
            flipped(bits(1), share, generator=source())


# --- what critics are trained on --------------------------------------------------------------------------------------

SIZES = (4, 7, 3, 5)
INDEX = np.random.default_rng(0).permutation(np.repeat([10, 11, 12, 13], SIZES))  # of 19 drawings in no order
PICTURES = (np.random.default_rng(1).random((len(INDEX), SIDE, SIDE)) < 0.3).astype(np.uint8)
ORIGIN = {symmetry(g, picture).tobytes(): (row, g) for row, picture in enumerate(PICTURES) for g in range(8)}


@pytest.fixture
def drawings():
    images = SimpleNamespace(class_index=INDEX, grey=lambda name: {"50-antialias": PICTURES * np.uint8(255)}[name])
    return critics.Drawings(images, "50-antialias", np.flatnonzero(INDEX != 13))


def origins(pictures):
    """(row, symmetry) of each of (B, 1, 50, 50)."""
    assert pictures.shape[1:] == (1, SIDE, SIDE) and pictures.dtype == torch.float32
    return [ORIGIN[np.ascontiguousarray(picture).tobytes()] for picture in pictures[:, 0].byte().numpy()]


def is_pairs(rows):
    n = len(rows) // 2
    return rows[:n] == rows[n:] and len(set(rows)) == n


def test_pairs_are_two_views_of_different_drawings(drawings, monkeypatch):
    found = drawings.pairs(6, source())
    assert found.shape == (12, 1, SIDE, SIDE) and not torch.equal(found[:6], found[6:])  # each view its own
    monkeypatch.setattr(critics, "views", lambda pictures, generator: pictures)
    met = set()
    for seed in range(20):
        rows = origins(drawings.pairs(6, source(seed)))
        assert is_pairs(rows) and not is_pairs(rows[::2] + rows[1::2])  # the fault: views side by side
        met |= set(rows)
    assert met == {(row, 0) for row in np.flatnonzero(INDEX != 13)}


def is_episode(exemplars, queries):
    """Different characters, each in one symmetry, and no drawing of it twice."""
    each, classes = len(queries) // len(exemplars), [INDEX[row] for row, _ in exemplars]
    sets = [[one, *queries[k * each : (k + 1) * each]] for k, one in enumerate(exemplars)]
    alike = all(len({(INDEX[row], g) for row, g in drawn}) == 1 for drawn in sets)
    return alike and len(set(classes)) == len(classes) and all(len(set(drawn)) == 1 + each for drawn in sets)


def test_an_episode_is_of_different_characters_and_no_query_is_its_exemplar(drawings):
    met, turns, first = set(), set(), set()
    for seed in range(40):
        exemplars, queries = (origins(part) for part in drawings.episode(3, 2, source(seed)))
        assert len(exemplars) == 3 and len(queries) == 6 and is_episode(exemplars, queries)
        met |= {row for row, _ in exemplars + queries}
        turns |= {g for _, g in exemplars}
        first |= {row for row, _ in exemplars}
    assert met == first == set(np.flatnonzero(INDEX != 13)) and turns == set(range(8))
    # the faults: a query that is its exemplar, one of another character, one in another symmetry
    (row, g), others = exemplars[0], queries[1:]
    assert not is_episode(exemplars, [(row, g), *others])
    assert not is_episode(exemplars, queries[2:] + queries[:2])
    assert not is_episode(exemplars, [(queries[0][0], (g + 1) % 8), *others])


def test_episodes_that_cannot_be(drawings):
    for ways, queries in ((4, 2), (3, 3)):
        with pytest.raises(ValueError, match=f"ways is {ways} and queries {queries}; expected at most 3 and 2"):
            drawings.episode(ways, queries, source())


@pytest.mark.parametrize("network", tables.CRITIC_NAMES)
def test_the_objective_is_the_log_probability_of_a_batch_of_the_generator(drawings, network):
    torch.manual_seed(0)
    settings = tables.CriticSettings(rows=tables.CRITIC_NAMES, batch_size=4, ways=3, queries=2, channels=4)
    model = critics.CLASSES[network](CriticConfig(channels=4)).eval()
    maximised = critics.objective(drawings, network, settings)
    with torch.no_grad():
        first, again, other = (maximised(model, 0, source(seed)) for seed in (1, 1, 2))
    assert first.shape == ((8,) if network == "contrastive" else (6,)) and (first < 0).all()
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_the_published_numbers():
    assert (judging.WAYS, judging.TESTS, judging.DRAWINGS) == (20, 500, 20)
