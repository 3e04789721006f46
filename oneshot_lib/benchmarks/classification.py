"""What classification costs beside the decodings that it cannot do without, and what pairs at once save."""

from __future__ import annotations

import torch

from ..evaluation.classification import log_scores
from ..models.homoencoder import PixelCNNHomoencoder
from ..models.pixelcnn import pair_log_likelihood
from .timing import alternate

CLASSES, QUERIES = 5, 8


@torch.no_grad()
def measure(seconds: float = 10.0) -> list[dict]:
    """`log_scores` with one sample over the bare decodings of all pairs, and `pair_log_likelihood` over `log_prob`."""
    model, generator = PixelCNNHomoencoder().eval(), torch.Generator().manual_seed(0)
    drawings = torch.bernoulli(torch.full((CLASSES + QUERIES, 1, 28, 28), 0.1), generator=generator)
    support, query = drawings[:CLASSES, None], drawings[CLASSES:]
    x = query.repeat_interleave(CLASSES, 0)
    c = torch.randn(len(x), model.class_size, generator=generator)
    z = torch.randn(len(x), model.element_size, generator=generator)
    y = model.features(c[:CLASSES], z[:CLASSES])
    every_y = y.repeat(QUERIES, 1, 1, 1)
    cases = [
        (f"scores of {QUERIES} queries, {CLASSES} classes, one sample", 1.5,
         lambda: log_scores(model, support, query, outer=1, inner=1, generator=generator),
         lambda: model.log_likelihood(x, c, z)),
        (f"{QUERIES} x {CLASSES} pairs at once, without z", 0.9,
         lambda: pair_log_likelihood(model.pixelcnn, query, y), lambda: model.pixelcnn.log_prob(x, every_y)),
    ]  # fmt: skip
    rows = []
    for name, target, one, other in cases:
        value, reference = alternate(one, other, seconds / len(cases))
        rows.append({"name": name, "value": value, "unit": "s", "reference": reference, "ratio": value / reference,
                     "target": target, "threads": torch.get_num_threads()})
    return rows
