r"""Classification by generation: the class under which a drawing is most probable.

$$\hat k = \arg\max_k \mathbb{E}_{q(c \mid D_k)}\, p(x \mid c), \qquad
  p(x \mid c) = \mathbb{E}_{q(z \mid c, x)} \frac{p(z \mid c)\, p(x \mid c, z)}{q(z \mid c, x)}$$

Reference: Hewitt et al. 2018, section 4.1 and supplement 6.4.1: 20 samples of c, 10 importance samples of z for each.

Both expectations are of probabilities, so a score is the logarithm of a mean, never the mean of logarithms. Where the
text is silent: the noise behind the samples of c is the same for all classes, and that behind those of z the same for
all classes of a query. Each class's score has the distribution it would have with noise of its own, but differences
between classes vary less, and equal classes tie.

A question of 20 classes and 20 queries is 20 x 20 x 20 x 10 = 80,000 decodings. Three ways around most of them:
- `keep`: every class is first scored by one term of the double mean, that at the means of q(c | D_k) and q(z | c, x);
  only classes whose term is within `keep` nats of the query's best are sampled, and none where the best is alone.
  After a fifth of the samples of c, the same again with half of `keep`. A class that sampling would have put first is
  lost where its term lies further below the best than that, which depends on the model: `KEEP` is a choice.
- `most`: of the classes within `keep` only so many are sampled, those whose terms are highest: 4 in Hewitt's tables on
  a laptop, 5 in `oneshot classify`, all of them in the paper. One that sampling would have put first and that comes
  later by its term is lost; records that were made so say "at most 4 classes".
- Without z, what a PixelCNN makes of the image and what it makes of the class part ways until they are added in its
  first layer (`pair_log_likelihood`); the decoder then runs once a class and sample, whatever the number of queries.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ..data.episodes import EvaluationEpisodes
from ..distributions import DiagonalGaussian
from ..objectives import importance_weighted_bound
from ..progress import Progress

KEEP = 10.0  # nats, a choice


class Scores(NamedTuple):
    """`log_scores` (Q, K): log E p(x | c) of every query under every class, nats; `sampled` (Q, K): whether it was.

    Where it was not, or not to the end, the class's distance to the query's best is the one that put it out of reach.
    A query whose best class left all others out of reach has no class sampled.
    """

    log_scores: Tensor
    sampled: Tensor

    @property
    def choice(self) -> Tensor:
        """The best class of each query, among those sampled if any were: (Q,). The first of them where they tie."""
        out = ~self.sampled & self.sampled.any(1, keepdim=True)
        return self.log_scores.masked_fill(out, -math.inf).argmax(1)

    @property
    def log_posterior(self) -> Tensor:
        """log p(class | x), classes being equally probable before: (Q, K). It is the model's own opinion."""
        return self.log_scores.log_softmax(1)


@torch.no_grad()
def log_scores(model: nn.Module, support: Tensor | Sequence[Tensor], query: Tensor, *, outer: int = 20,
               inner: int = 10, generator: torch.Generator, keep: float | None = None, least: int = 1,
               most: int | None = None, batch: int = 64, screening_dtype: torch.dtype | None = None) -> Scores:
    r"""$\log \frac1S \sum_s \frac1R \sum_r \frac{p(z_{sr} \mid c_s)\, p(x \mid c_s, z_{sr})}{q(z_{sr} \mid c_s, x)}$
    with $c_s \sim q(c \mid D_k)$: `support` (K, N, ...), `query` (Q, ...) -> (Q, K), S = `outer`, R = `inner`.

    Classes of unlike sizes come as a sequence of (N, ...). `keep`: sample only the classes whose term at the means, in
    products of `screening_dtype`, is within so many nats of the query's best, `least` to `most` of them, and after a
    fifth of the samples only those within half as many; None samples all. Where z is a `Homoencoder`'s, the scores of
    those sampled do not depend on `keep`. `batch` pairs are decoded at once. A model whose p(x | D) is `tractable` is
    asked for its `class_log_scores(support, query, generator=)` -> (Q, K) instead, classes of one size at a time.
    Raises ValueError on shapes that do not fit and numbers below 1.
    """
    _check(support, query, outer=outer, inner=inner, least=least, batch=batch)
    model.eval()
    if model.tractable:
        scores = _own_scores(model, support, query, generator)
        return Scores(scores, torch.ones_like(scores, dtype=torch.bool))
    sampled = torch.ones(len(query), len(support), dtype=torch.bool, device=query.device)
    known, out = None, -math.inf
    with _autocast(query, model.product_dtype):
        q = _posterior(model, support)
        pairs = _Pairs(model, query, batch, generator)
        c = q.mean[:, None] + q.log_sigma.exp()[:, None] * _noise((outer, q.mean.shape[1]), q.mean, generator)
        noise = pairs.noise(inner, outer)
        edges = [0, outer]
        if keep is not None:
            zero = None if noise is None else torch.zeros_like(noise[:1, :, :1])
            with _autocast(query, screening_dtype or model.product_dtype):
                known = pairs.scores(q.mean[:, None], zero, sampled)
            most = len(support) if most is None else most
            sampled = _within(known, keep, least, most)
            edges = [0, outer // 5, outer] if outer >= 5 else edges
        total = torch.full_like(sampled, out, dtype=torch.float64)
        for start, end in pairwise(edges):
            part = pairs.scores(c[:, start:end], None if noise is None else noise[:, :, start:end], sampled)
            total = torch.logaddexp(total, part + math.log(end - start))
            known = _continued(total.masked_fill(~sampled, out) - math.log(end), known)
            if end < outer:
                sampled = sampled & _within(known.masked_fill(~sampled, out), keep / 2, least, most)
    return Scores(known, sampled)


class _Pairs:
    """Queries against samples of classes, `batch` pairs at a time."""

    def __init__(self, model: nn.Module, query: Tensor, batch: int, generator: torch.Generator):
        self.model, self.query, self.batch, self.generator = model, query, batch, generator
        self.seen = model.element_features(query) if model.element_size else None  # once a query, not once a pair

    def noise(self, inner: int, outer: int) -> Tensor | None:
        """(inner, Q, outer, Dz), or None where an element has no z."""
        if not self.model.element_size:
            return None
        return _noise((inner, len(self.query), outer, self.model.element_size), self.query, self.generator)

    def scores(self, c: Tensor, noise: Tensor | None, wanted: Tensor) -> Tensor:
        """c (K, S, Dc) -> log-mean over the samples of each class: (Q, K), minus infinity where not `wanted`."""
        result = torch.full(wanted.shape, -math.inf, dtype=torch.float64, device=self.query.device)
        if noise is None:
            for k, samples in enumerate(c):
                rows = wanted[:, k].nonzero()[:, 0]
                if len(rows):
                    terms = self.model.pair_log_likelihood(self.query[rows], samples, batch=self.batch)
                    result[rows, k] = importance_weighted_bound(terms.double().T)
            return result
        outer = c.shape[1]
        rows, classes = (index.repeat_interleave(outer) for index in wanted.nonzero(as_tuple=True))
        draws = torch.arange(outer, device=rows.device).repeat(len(rows) // outer)
        if not len(rows):
            return result
        terms = [self.log_likelihood(q, c[k, s], noise[:, q, s])
                 for q, k, s in zip(*(index.split(self.batch) for index in (rows, classes, draws)), strict=True)]
        result[wanted] = importance_weighted_bound(torch.cat(terms).view(-1, outer).T)
        return result

    def log_likelihood(self, rows: Tensor, c: Tensor, noise: Tensor) -> Tensor:
        """log p(x | c), estimated: (B,), float64."""
        x, model = self.query[rows], self.model
        q, p = model.element_posterior(x, c, self.seen[rows]), model.element_prior(c)
        weights = [model.log_likelihood(x, c, z).double() + (p.log_prob(z) - q.log_prob(z))
                   for z in map(q.sample, noise)]
        return importance_weighted_bound(torch.stack(weights))


def _own_scores(model: nn.Module, support: Tensor | Sequence[Tensor], query: Tensor, generator: torch.Generator,
                ) -> Tensor:
    """`class_log_scores` (Q, K), where classes differ in size of those of each size in turn."""
    if isinstance(support, Tensor):
        return model.class_log_scores(support, query, generator=generator)
    sizes = [len(elements) for elements in support]
    scores: list = [None] * len(sizes)
    for size in sorted(set(sizes)):
        at = [k for k, each in enumerate(sizes) if each == size]
        found = model.class_log_scores(torch.stack([support[k] for k in at]), query, generator=generator)
        for k, column in zip(at, found.unbind(1), strict=True):
            scores[k] = column
    return torch.stack(scores, 1)


def _posterior(model: nn.Module, support: Tensor | Sequence[Tensor]) -> DiagonalGaussian:
    if isinstance(support, Tensor):
        return model.posterior(support)
    each = [model.posterior(elements[None]) for elements in support]
    return DiagonalGaussian(torch.cat([q.mean for q in each]), torch.cat([q.log_sigma for q in each]))


def _within(known: Tensor, keep: float, least: int, most: int) -> Tensor:
    """The classes to sample: within `keep` of the best, at least so many and at most so many, none where one is alone.
    (Q, K) -> bool."""
    place = known.argsort(dim=1, descending=True, stable=True).argsort(1)  # 0 is the best
    within = ((known >= known.max(1, keepdim=True)[0] - keep) | (place < least)) & (place < max(least, most))
    return within & (within.sum(1, keepdim=True) > 1)


def _continued(scores: Tensor, before: Tensor | None) -> Tensor:
    """Scores (Q, K), and for those that are minus infinity the distance to the best that they had before."""
    if before is None:
        return scores
    top, best = scores.max(1, keepdim=True)
    return torch.where(top.isfinite(), torch.where(scores.isfinite(), scores, before - before.gather(1, best) + top),
                       before)


def _autocast(like: Tensor, dtype: torch.dtype):
    return torch.autocast(like.device.type, dtype, enabled=dtype != torch.float32)


def _noise(shape: tuple[int, ...], like: Tensor, generator: torch.Generator) -> Tensor:
    dtype = torch.float64 if like.dtype == torch.float64 else torch.float32
    return torch.randn(shape, generator=generator, device=generator.device, dtype=dtype).to(like.device)


def _check(support: Tensor | Sequence[Tensor], query: Tensor, **counts: int) -> None:
    if not len(support) or any(not len(elements) or elements.shape[1:] != query.shape[1:] for elements in support):
        shapes = sorted({tuple(elements.shape) for elements in support})
        raise ValueError(f"support has {len(support)} classes of shapes {shapes} and query has {tuple(query.shape)}; "
                         "expected (N, ...) for each class and (Q, ...), the rest the same")
    for name, value in counts.items():
        if value < 1:
            raise ValueError(f"{name} is {value!r}; expected at least 1")


@dataclass(frozen=True)
class Accuracy:
    """The share of queries that were given their class, over `n` episodes; `correct` holds each episode's number.

    `error` is the standard error over episodes, since queries of one episode share their classes; nan for one episode.
    `chance` is what guessing reaches. `finished` is False where time ran out before the last episode.
    """

    value: float
    error: float
    n: int
    correct: tuple[int, ...]
    chance: float
    finished: bool = True


@torch.no_grad()
def episode_accuracy(model: nn.Module, episodes: EvaluationEpisodes, images: Callable[[int], Tensor], *,
                     limit: int | None = None, minutes: float | None = None, generator: torch.Generator,
                     label: str = "classification", log_seconds: float = 10.0, show: bool = True,
                     **settings) -> Accuracy:
    """How many queries of the committed episodes are classified rightly (`data.evaluation_episodes`).

    `images(row)` is a drawing, (1, S, S) of zeros and ones; `limit` takes the first so many episodes; `minutes` stops
    at an episode's end, after one at least; `settings` go to `log_scores`. The first n episodes give the same numbers
    however many follow. Raises ValueError where there is no episode, or no time.
    """
    total = len(episodes.query) if limit is None else min(limit, len(episodes.query))
    if total < 1:
        raise ValueError(f"limit is {limit!r} of {len(episodes.query)} episodes; expected at least 1")
    if minutes is not None and not minutes > 0:
        raise ValueError(f"minutes is {minutes!r}; expected a positive number")
    where = next((p.device for p in model.parameters()), torch.device("cpu"))
    ways, correct, began = episodes.query.shape[1], [], time.monotonic()

    def right() -> str:
        return f"{sum(correct) / (ways * len(correct)):.1%} right"

    with Progress(label, total, "episode", log_seconds=log_seconds, show=show) as progress:
        for e in range(total):
            support = torch.stack([images(int(row)) for row in np.ravel(episodes.support[e])])
            query = torch.stack([images(int(row)) for row in episodes.query[e]])
            scores = log_scores(model, support.unflatten(0, (ways, -1)).to(where), query.to(where),
                                generator=generator, **settings)
            correct.append(int((scores.choice.cpu() == torch.arange(ways, device="cpu")).sum()))
            progress.reach(e + 1, right)
            if minutes is not None and time.monotonic() - began > 60 * minutes:
                progress.tell(right())
                break
    shares = np.array(correct) / ways
    error = float(shares.std(ddof=1) / math.sqrt(len(shares))) if len(shares) > 1 else math.nan
    return Accuracy(float(shares.mean()), error, len(shares), tuple(correct), 1 / ways, len(shares) == total)
