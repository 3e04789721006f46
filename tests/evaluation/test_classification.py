"""The score is log E p(x | c), whatever path it takes, and an accuracy is a mean with its error."""

import math
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from oneshot_lib import weights
from oneshot_lib.data.episodes import EvaluationEpisodes
from oneshot_lib.distributions import DiagonalGaussian
from oneshot_lib.evaluation import classification
from oneshot_lib.evaluation.classification import episode_accuracy, log_scores
from oneshot_lib.models.families_1d import FamilyConfig, FamilyHomoencoder
from oneshot_lib.models.homoencoder import (
    DeconvolutionalConfig,
    DeconvolutionalHomoencoder,
    Homoencoder,
    PixelCNNHomoencoder,
    PixelCNNHomoencoderConfig,
)
from oneshot_lib.models.pixelcnn import GatedPixelCNN, PixelCNNConfig, pair_log_likelihood


class Shifted(nn.Module):
    """x (B, 1) = c + 0.6 z + 0.5 noise, q(c | D) = N(mean of D, 0.4^2), z standard normal; q(z | c, x) is too wide.

    Everything is known: E_q p(x | c) = N(x; mean of D, 0.4^2 + 0.6^2 + 0.5^2).
    """

    tractable, element_size, product_dtype = False, 1, torch.float32

    def element_features(self, x):
        return x

    def posterior(self, support):
        mean = support.mean(1)
        return DiagonalGaussian(mean, torch.full_like(mean, math.log(0.4)))

    def element_prior(self, c):
        return DiagonalGaussian(torch.zeros_like(c), torch.zeros_like(c))

    def element_posterior(self, x, c, seen=None):
        return DiagonalGaussian(0.9 * (x - c), torch.full_like(c, math.log(0.8)))

    def log_likelihood(self, x, c, z):
        return DiagonalGaussian(c + 0.6 * z, torch.full_like(c, math.log(0.5))).log_prob(x)

    def exact(self, support, query):
        sigma = math.log(math.sqrt(0.4**2 + 0.6**2 + 0.5**2))
        mean = self.posterior(support).mean
        return DiagonalGaussian(mean, torch.full_like(mean, sigma)).log_prob(query[:, None])


def question(classes=6, shots=2, queries=5):
    g = seeded(3)
    support = 2 * torch.randn(classes, 1, 1, generator=g, dtype=torch.float64) \
        + 0.3 * torch.randn(classes, shots, 1, generator=g, dtype=torch.float64)
    return support, torch.randn(queries, 1, generator=g, dtype=torch.float64)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def tiny(element_latent=3, seed=0):
    torch.manual_seed(seed)
    config = PixelCNNHomoencoderConfig(image_size=7, class_channels=2, channels=5, decoder_layers=2,
                                       element_latent=element_latent)
    return PixelCNNHomoencoder(config).double().eval()


def pictures(n, size=7, seed=1):
    return torch.bernoulli(torch.full((n, 1, size, size), 0.3, dtype=torch.float64), generator=seeded(seed))


def test_the_score_is_the_log_of_the_mean_probability():
    support, query = question()
    model = Shifted()
    exact = model.exact(support, query).exp()
    runs = torch.stack([log_scores(model, support, query, outer=50, inner=4, generator=seeded(s)).log_scores
                        for s in range(60)]).exp()
    error = runs.std(0) / len(runs) ** 0.5
    assert ((runs.mean(0) - exact).abs() < 4 * error).all()
    # the fault: the mean of the logarithms is something else, and not by little
    wrong = wrong_scores(model, support, query)
    assert ((wrong.exp() - exact).abs() > 10 * error).any()
    many = log_scores(model, support, query, outer=4000, inner=10, generator=seeded(0), batch=4096)
    assert many.log_scores.sub(exact.log()).abs().max() < 0.15
    assert (wrong - exact.log()).abs().max() > 0.3


def wrong_scores(model, support, query):
    """The expectation of log p(x | c) under q(c | D): what one gets from averaging bounds."""
    c = model.posterior(support).sample(torch.randn(20_000, 1, 1, generator=seeded(9), dtype=torch.float64))
    inner = DiagonalGaussian(c, torch.full_like(c, math.log(math.sqrt(0.6**2 + 0.5**2))))
    return torch.stack([inner.log_prob(x).mean(0) for x in query])


def test_classes_are_permuted_with_their_scores_and_equal_classes_tie():
    support, query = question()
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    plain = log_scores(Shifted(), support, query, generator=seeded(0)).log_scores
    moved = log_scores(Shifted(), support[order], query, generator=seeded(0)).log_scores
    assert torch.allclose(moved, plain[:, order], atol=1e-12)
    twice = log_scores(Shifted(), support[[0, 1, 1]], query, generator=seeded(0)).log_scores
    assert torch.allclose(twice[:, 1], twice[:, 2], atol=1e-12)
    assert (twice[:, 0] - twice[:, 1]).abs().min() > 1e-6


def test_screening_decides_the_same_and_leaves_the_scores_of_those_in_reach_alone():
    support, query = (3 * t for t in question(queries=40))
    full = log_scores(Shifted(), support, query, generator=seeded(0))
    some = log_scores(Shifted(), support, query, generator=seeded(0), keep=4.0)
    assert full.sampled.all() and 0.05 < some.sampled.double().mean() < 0.9
    assert torch.equal(some.choice, full.choice) and torch.equal(some.log_scores.argmax(1), full.choice)
    assert torch.allclose(some.log_scores[some.sampled], full.log_scores[some.sampled], atol=1e-12)
    alone = ~some.sampled.any(1)
    assert alone.any() and (some.sampled.sum(1)[~alone] >= 2).all()
    assert (some.log_scores <= some.log_scores.max(1, keepdim=True)[0]).all()
    assert (log_scores(Shifted(), support, query, generator=seeded(0), keep=0.0, least=2).sampled.sum(1) == 2).all()
    assert (log_scores(Shifted(), support, query, generator=seeded(0), keep=99.0, most=3).sampled.sum(1) == 3).all()


def test_screening_spares_decodings_and_a_decided_query_spares_them_all():
    class Counting(Shifted):
        decoded = 0

        def log_likelihood(self, x, c, z):
            self.decoded += len(x)
            return super().log_likelihood(x, c, z)

    def decodings(**settings):
        model = Counting()
        scores = log_scores(model, support, query, outer=10, inner=4, generator=seeded(0), **settings)
        return model.decoded, scores

    support, query = (3 * t for t in question(queries=40))
    everything, full = decodings()
    assert everything == 40 * 6 * 10 * 4
    first, alone = decodings(keep=0.0)
    assert first == 40 * 6 and not alone.sampled.any()  # one term a pair, and nothing else
    some, scores = decodings(keep=4.0)
    assert first < some < everything / 2 and torch.equal(scores.choice, full.choice)
    # of those that were sampled to the end none was spared, and of the others no more than a fifth was drawn
    most = first + 4 * (10 * scores.sampled.sum() + 2 * (~scores.sampled).sum())
    assert first + 40 * scores.sampled.sum() < some < most


def test_too_narrow_a_screening_is_found_out():
    """A class whose q(c | D) is wide wins by its spread, which its mean does not show."""

    class Wide(Shifted):
        def posterior(self, support):
            q = super().posterior(support)
            return DiagonalGaussian(q.mean, q.log_sigma + 3.0 * support.mean(1).gt(2))

    support, query = torch.tensor([[[0.0]], [[10.0]]]).double(), torch.tensor([[4.6]]).double()
    settings = dict(generator=seeded(0), outer=2000)
    assert log_scores(Wide(), support, query, **settings).choice == 1
    assert log_scores(Wide(), support, query, **settings, keep=0.0).choice == 0
    assert log_scores(Wide(), support, query, **settings, keep=40.0).choice == 1


@pytest.mark.parametrize(("outer", "expected"), [(5, [True, True, False, False]), (4, [True, True, True, False])])
def test_after_a_fifth_of_the_samples_half_of_the_reach_is_left(outer, expected):
    """Classes 0, 4, 6 and 11 nats below the best, without any noise, and a reach of 10."""
    class Distances(nn.Module):
        tractable, element_size, product_dtype = False, 0, torch.float32

        def posterior(self, support):
            return DiagonalGaussian(support.mean(1), torch.full_like(support.mean(1), -40.0))

        def pair_log_likelihood(self, x, c, batch):
            return -c.T.expand(len(x), -1)

    support, query = torch.tensor([0.0, 4, 6, 11]).view(4, 1, 1).double(), torch.zeros(2, 1).double()
    found = log_scores(Distances(), support, query, outer=outer, inner=1, keep=10, generator=seeded(0))
    assert found.sampled.tolist() == [expected] * 2
    torch.testing.assert_close(found.log_scores, -support.flatten().expand(2, 4))


def test_screening_and_sampling_run_in_the_products_that_are_asked_for():
    """bfloat16 for the one and float32 for the other, or both as the model's products are."""
    class Watched(Shifted):
        product_dtype = torch.float32

        def log_likelihood(self, x, c, z):
            on = torch.is_autocast_enabled("cpu")
            seen.append(torch.get_autocast_dtype("cpu") if on else torch.float32)
            return super().log_likelihood(x, c, z)

    support, query = question()
    for screening, products, expected in ((None, torch.float32, torch.float32),
                                          (torch.bfloat16, torch.float32, torch.bfloat16),
                                          (None, torch.bfloat16, torch.bfloat16)):
        seen, model = [], Watched()
        model.product_dtype = products
        log_scores(model, support, query, outer=2, inner=1, keep=1e6, batch=1000, screening_dtype=screening,
                   generator=seeded(0))
        assert seen == [expected, products]


def test_classes_may_have_unlike_numbers_of_drawings():
    model, drawings, query = tiny(), pictures(6), pictures(4, seed=2)
    settings = dict(outer=2, inner=2)
    even = log_scores(model, drawings.unflatten(0, (3, 2)), query, generator=seeded(0), **settings).log_scores
    listed = log_scores(model, drawings.split(2), query, generator=seeded(0), **settings).log_scores
    uneven = log_scores(model, drawings[:5].split(2), query, generator=seeded(0), **settings)
    assert torch.allclose(even, listed, rtol=1e-8)
    assert torch.allclose(uneven.log_scores[:, :2], even[:, :2], rtol=1e-8)
    assert not torch.allclose(uneven.log_scores[:, 2], even[:, 2], rtol=1e-4)


FEW_SHOT = {
    "UnconditionalPixelCNN": {}, "ConditionalPixelCNN": {"code": 4, "encoder_channels": 4},
    "AttentionPixelCNN": {"reads": (1,), "key": 4, "encoder_channels": 4}, "MetaPixelCNN": {"inner_channels": 4},
}  # fmt: skip


@pytest.mark.parametrize("kind", FEW_SHOT)
def test_few_shot_models_score_classes_of_unlike_numbers_exactly(kind):
    torch.manual_seed(0)
    config = {"image_size": 7, "channels": 4, "layers": 2, "first_kernel": 3} | FEW_SHOT[kind]
    model, query = weights.build(kind, config).double().eval(), pictures(3, seed=2)
    support = list(pictures(7).split([2, 1, 3, 1]))
    found = log_scores(model, support, query, generator=seeded(0))
    with torch.no_grad():
        plain = torch.stack([model.log_prob(query, elements[None]) for elements in support], 1)
        cut = torch.stack([model.log_prob(query, elements[None, :1]) for elements in support], 1)
    assert found.log_scores.shape == (3, 4) and found.sampled.all()
    assert torch.allclose(found.log_scores, plain, rtol=1e-12, atol=0)
    if kind == "UnconditionalPixelCNN":
        assert (plain == plain[:, :1]).all()  # all classes are one to it
    else:  # the fault: as many of every class as the smallest has
        assert all(not torch.allclose(cut[:, k], plain[:, k], rtol=1e-8, atol=0) for k in (0, 2))
    backwards = log_scores(model, support[::-1], query, generator=seeded(0)).log_scores
    assert torch.allclose(backwards.flip(1), plain, rtol=1e-10)
    even = torch.stack([elements[:1] for elements in support])
    assert torch.allclose(log_scores(model, even, query, generator=seeded(0)).log_scores, cut, rtol=1e-10)


def test_a_class_out_of_reach_is_never_chosen():
    """Its distance at the means is shown, but only samples decide: also where the sampled ones turn out lower."""
    scores = classification.Scores(torch.tensor([[-5.0, -1.0, -3.0]]), torch.tensor([[True, False, True]]))
    assert scores.choice.tolist() == [2]
    assert torch.allclose(scores.log_posterior.exp().sum(1), torch.ones(1))


def test_the_same_generator_gives_the_same_scores():
    model, support, query = tiny(), pictures(6).unflatten(0, (3, 2)), pictures(4, seed=2)
    one, two, three = (log_scores(model, support, query, outer=3, inner=2, generator=seeded(s)).log_scores
                       for s in (0, 0, 1))
    assert torch.equal(one, two) and not torch.equal(one, three)


@pytest.mark.parametrize("batch", [1, 7, 64])
def test_the_number_of_pairs_at_once_changes_nothing(batch):
    model, support, query = tiny(), pictures(6).unflatten(0, (3, 2)), pictures(4, seed=2)
    settings = dict(outer=3, inner=2)
    plain = log_scores(model, support, query, **settings, generator=seeded(0)).log_scores
    other = log_scores(model, support, query, **settings, generator=seeded(0), batch=batch).log_scores
    assert torch.allclose(plain, other, rtol=1e-6)


def test_of_the_homoencoder_the_score_is_what_its_own_log_weights_give():
    """With one draw of c and many of z, both estimate the same integral."""
    model, support, query = tiny(), pictures(2)[:, None], pictures(3, seed=2)
    torch.nn.init.normal_(model.element.bias, std=0.3)  # a posterior that is not the prior
    score = log_scores(model, support, query, outer=1, inner=300, generator=seeded(0)).log_scores
    q = model.posterior(support)
    c = q.sample(torch.randn(1, q.mean.shape[1], generator=seeded(0), dtype=torch.float64))  # the same first draw
    for k in range(2):
        weights = model.element_log_weights(query, c[k:k + 1].expand(3, -1), 300, seeded(5))
        reference = weights.logsumexp(0) - math.log(300)
        error = weights.sub(reference).exp().std(0) / 300**0.5
        assert ((score[:, k] - reference).abs() < 4 * 2**0.5 * error + 1e-6).all()


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("batch", [2, 64])
def test_pairs_at_once_equal_pair_by_pair(layers, batch):
    torch.manual_seed(0)
    pixelcnn = GatedPixelCNN(PixelCNNConfig(channels=4, layers=layers, condition_channels=3)).double()
    x, y = pictures(4), torch.randn(5, 3, 7, 7, dtype=torch.float64)
    plain = pixelcnn.log_prob(x.repeat_interleave(5, 0), y.repeat(4, 1, 1, 1)).view(4, 5)
    at_once = []
    hook = pixelcnn.output.register_forward_hook(lambda layer, given, _: at_once.append(len(given[0])))
    assert torch.allclose(pair_log_likelihood(pixelcnn, x, y, batch=batch), plain, rtol=1e-10)
    hook.remove()
    assert max(at_once) <= batch and sum(at_once) == 20  # a batch is what memory has room for
    turned = pixelcnn.log_prob(x.repeat(5, 1, 1, 1), y.repeat_interleave(4, 0)).view(4, 5)  # the fault: transposed
    assert not torch.allclose(turned, plain, rtol=1e-3)


def test_without_z_the_fast_path_gives_the_plain_scores(monkeypatch):
    model, support, query = tiny(0), pictures(6).unflatten(0, (3, 2)), pictures(4, seed=2)
    fast = log_scores(model, support, query, outer=3, generator=seeded(0)).log_scores
    screened = log_scores(model, support, query, outer=3, generator=seeded(0), keep=0.5)

    monkeypatch.setattr(PixelCNNHomoencoder, "pair_log_likelihood", Homoencoder.pair_log_likelihood)  # one by one
    plain = log_scores(model, support, query, outer=3, generator=seeded(0)).log_scores
    assert torch.allclose(fast, plain, rtol=1e-10)
    assert torch.allclose(screened.log_scores[screened.sampled], plain[screened.sampled], rtol=1e-10)


def test_every_kind_of_model_can_be_asked():
    family = FamilyHomoencoder(FamilyConfig("gaussian"), generator=seeded(0))
    support, query = torch.randn(4, 3, generator=seeded(1)), torch.randn(7, generator=seeded(2))
    for settings in ({}, {"keep": 1.0}):
        scores = log_scores(family, support, query, generator=seeded(0), **settings).log_scores
        assert scores.shape == (7, 4) and scores.isfinite().all()
    deconvolutional = DeconvolutionalHomoencoder(DeconvolutionalConfig(class_latent=4, element_latent=2, width=8))
    support, query = pictures(4, 28).float().unflatten(0, (2, 2)), pictures(3, 28).float()
    settings = dict(outer=2, inner=2, keep=1e9)
    plain = log_scores(deconvolutional, support, query, outer=2, inner=2, generator=seeded(0))
    assert torch.allclose(log_scores(deconvolutional, support, query, generator=seeded(0), **settings).log_scores,
                          plain.log_scores, rtol=1e-5)

    class Own(nn.Module):
        tractable = True

        def class_log_scores(self, support, query, generator):
            return query.flatten(1).sum(1)[:, None] - support.flatten(1).sum(1)

    own = log_scores(Own(), support, query, generator=seeded(0))
    assert torch.equal(own.log_scores, Own().class_log_scores(support, query, None)) and own.sampled.all()


def test_evaluation_does_not_depend_on_the_mode_the_model_was_left_in():
    model, support, query = tiny(), pictures(6).unflatten(0, (3, 2)), pictures(4, seed=2)
    plain = log_scores(model, support, query, outer=2, inner=2, generator=seeded(0)).log_scores
    other = log_scores(model.train(), support, query, outer=2, inner=2, generator=seeded(0)).log_scores
    assert torch.equal(plain, other)


@pytest.mark.parametrize(
    ("support", "query", "settings", "message"),
    [((3, 1, 1, 7, 7), (2, 1, 6, 7), {}, "support has"), ((3, 1, 7, 7), (2, 1, 7, 7), {}, "support has"),
     ((3, 0, 1, 7, 7), (2, 1, 7, 7), {}, "support has"), ((3, 1, 1, 7, 7), (2, 1, 7, 7), {"outer": 0}, "outer"),
     ((3, 1, 1, 7, 7), (2, 1, 7, 7), {"inner": 0}, "inner"), ((3, 1, 1, 7, 7), (2, 1, 7, 7), {"batch": 0}, "batch")])
def test_what_does_not_fit_is_named(support, query, settings, message):
    with pytest.raises(ValueError, match=message):
        log_scores(tiny(), torch.zeros(support), torch.zeros(query), generator=seeded(0), **settings)


# --- accuracy ---------------------------------------------------------------------------------------------------------


class Nearest(nn.Module):
    """Scores are minus the number of pixels that differ; `flips` answers of every second question are wrong."""

    asked, tractable = 0, True

    def class_log_scores(self, support, query, generator):
        scores = -(query[:, None] - support.mean(1)[None]).abs().flatten(2).sum(2)
        self.asked += 1
        if self.asked % 2 == 0:
            scores[:2] = scores[:2].roll(1, 1)
        return scores


def committed(episodes=6, ways=5, shots=2):
    rows = np.arange(episodes * ways).reshape(episodes, ways)
    return EvaluationEpisodes(rows, np.repeat(rows[:, :, None], shots, 2), rows)


DRAWINGS = pictures(30).float()


def test_accuracy_is_the_mean_over_episodes_with_its_error():
    found = episode_accuracy(Nearest(), committed(), lambda row: DRAWINGS[row], generator=seeded(0))
    assert found.correct == (5, 3, 5, 3, 5, 3) and found.n == 6 and found.finished
    assert found.value == pytest.approx(0.8) and found.chance == pytest.approx(0.2)
    assert found.error == pytest.approx(np.std([1, 0.6] * 3, ddof=1) / 6**0.5)
    binomial = (0.8 * 0.2 / 30) ** 0.5  # the fault: queries as if they were independent
    assert found.error != pytest.approx(binomial, rel=0.1)


def test_a_model_that_knows_nothing_is_at_chance():
    class Guess(nn.Module):
        tractable = True

        def class_log_scores(self, support, query, generator):
            return torch.rand(len(query), len(support), generator=generator)

    found = episode_accuracy(Guess(), committed(), lambda row: DRAWINGS[row], generator=seeded(0))
    assert abs(found.value - found.chance) < 4 * (0.2 * 0.8 / 30) ** 0.5
    few = episode_accuracy(Guess(), committed(), lambda row: DRAWINGS[row], generator=seeded(0), limit=2)
    assert few.correct == found.correct[:2] and few.n == 2 and few.finished


def test_the_minutes_are_minutes_and_the_last_word_is_said(capsys, monkeypatch):
    """By a clock of its own, which an episode advances by 59.5 seconds."""
    now = [0.0]
    monkeypatch.setattr(classification.time, "monotonic", lambda: now[0])

    def images(row):
        now[0] += 59.5 / 40
        return torch.zeros(1, 4, 4)

    monkeypatch.setattr(classification, "log_scores", lambda model, support, query, **_: SimpleNamespace(
        choice=torch.arange(20)))
    episodes = EvaluationEpisodes(*(np.zeros(shape, int) for shape in ((3, 20), (3, 20, 1), (3, 20))))
    found = episode_accuracy(nn.Identity(), episodes, images, minutes=1, generator=seeded(0), log_seconds=1e9)
    assert (found.n, found.finished, found.value) == (2, False, 1.0)
    assert re.search(r"episode 2 of 3, .* min left, 100\.0% right", capsys.readouterr().out)
    found = episode_accuracy(nn.Identity(), episodes, images, generator=seeded(0), log_seconds=1e9)
    assert (found.n, found.finished) == (3, True)
    (line,) = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"classification: episode 3 of 3, .* 0\.0 min left, 100\.0% right", line)


def test_time_that_is_spent_stops_at_the_end_of_an_episode(capsys):
    found = episode_accuracy(Nearest(), committed(), lambda row: DRAWINGS[row], generator=seeded(0), minutes=1e-9)
    assert found.n == 1 and found.correct == (5,) and not found.finished and math.isnan(found.error)
    assert re.search(r"episode 1 of 6, .*100\.0% right", capsys.readouterr().out)
    with pytest.raises(ValueError, match="minutes"):
        episode_accuracy(Nearest(), committed(), lambda row: DRAWINGS[row], generator=seeded(0), minutes=0)
    with pytest.raises(ValueError, match="limit"):
        episode_accuracy(Nearest(), committed(), lambda row: DRAWINGS[row], generator=seeded(0), limit=0)
