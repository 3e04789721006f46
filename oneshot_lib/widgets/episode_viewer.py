r"""The episode viewer: which of twenty classes explains a drawing best, and what the model would have drawn instead.

An episode of few-shot classification (Hewitt et al. 2018, section 4.1): a drawing or a few of each class, and queries
to be given their class, $\hat k = \arg\max_k \log \mathbb{E}_{q(c \mid D_k)} p(x \mid c)$
(`oneshot_lib.evaluation.classification`). For each query the figure shows every class's score, in nats below the best,
the class that wins and the right one, and new drawings from both.
"""

from __future__ import annotations

import numpy as np
import torch
import traitlets

from .frames import as_array, packed, png, strip, unpacked
from .shell import TwoLayerWidget


class EpisodeViewer(TwoLayerWidget):
    """An episode with its scores, query by query.

    `support` (K, N, 1, S, S) and `query` (Q, 1, S, S) are of zeros and ones, `log_scores` (Q, K) in nats, `truth` (Q,)
    the class of every query: unless told, query k is of class k. `made` (K, n, 1, S, S) holds new drawings of each
    class. `position` is the query shown, from 0; set it to turn the figure, or read where the reader stopped. `names`
    are what the classes are called, A, B, C, ... unless told. `about` is `description` and `label`, as for every
    widget. Raises ValueError on shapes that do not fit, scores that are no numbers, classes that there are not.
    """

    look = "oneshot-episode"

    scene = traitlets.Dict(help="everything that there is to be seen").tag(sync=True)
    position = traitlets.Int(0).tag(sync=True)

    def __init__(self, support: torch.Tensor, query: torch.Tensor, log_scores: torch.Tensor, made: torch.Tensor,
                 truth=None, position: int = 0, names: list[str] | None = None, **about):
        support, query, made, scores = (as_array(one) for one in (support, query, made, log_scores))
        if support.ndim != 5 or query.ndim != 4 or support.shape[2:] != query.shape[1:] or 0 in support.shape:
            raise ValueError(f"support has shape {support.shape} and query {query.shape}; "
                             "expected (K, N, 1, S, S) and (Q, 1, S, S)")
        classes, queries = len(support), len(query)
        if scores.shape != (queries, classes) or not np.isfinite(scores).all():
            raise ValueError(f"log_scores has shape {scores.shape}; expected ({queries}, {classes}) numbers")
        if made.ndim != 5 or len(made) != classes or made.shape[2:] != query.shape[1:]:
            raise ValueError(f"made has shape {made.shape}; expected (K, n, 1, S, S), K = {classes}")
        truth = np.arange(queries) if truth is None else as_array(truth)
        if truth.shape != (queries,) or truth.min() < 0 or truth.max() >= classes:
            raise ValueError(f"truth is {truth.tolist()}; expected {queries} classes from 0 to {classes - 1}")
        names = [chr(ord("A") + k) if classes <= 26 else str(k + 1) for k in range(classes)] if names is None else names
        if len(names) != classes:
            raise ValueError(f"names has {len(names)} entries; expected {classes}, one a class")
        below = scores.max(1, keepdims=True) - scores
        winner = scores.argmax(1)
        super().__init__(position=position, **about, scene={
            "size": list(query.shape[-2:]),
            "classes": classes,
            "shots": support.shape[1],
            "queries": queries,
            "samples": made.shape[1],
            "names": list(names),
            "support": packed(support),
            "query": packed(query),
            "made": packed(made),
            "below": np.round(below.astype(float), 2).tolist(),  # (Q, K), nats; 0 for the winner
            "winner": winner.tolist(),
            "truth": truth.tolist(),
        })

    def alternative_text(self) -> str:
        """What there is to be told apart."""
        scene = self.scene
        return (f"{scene['queries']} drawings to be given one of {scene['classes']} classes, each class shown by "
                f"{scene['shots']} of its drawings and scored by how well it explains the query.")

    @traitlets.validate("position")
    def _is_a_query(self, proposal):
        queries = self.scene.get("queries")
        if queries is not None and not 0 <= proposal.value < queries:
            raise ValueError(f"position is {proposal.value}; expected a number from 0 to {queries - 1}")
        return proposal.value

    def still(self) -> bytes:
        """The query, a drawing of the class that wins, one of the right class."""
        scene, q = self.scene, self.position
        query, support = (255 * unpacked(scene[name], scene["size"]) for name in ("query", "support"))
        shown = [support[scene[which][q] * scene["shots"]] for which in ("winner", "truth")]
        return png(strip(np.stack([query[q], *shown]), panels=3))
