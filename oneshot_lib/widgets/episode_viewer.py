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

from .frames import as_array, png, strip
from .static_html import TwoLayerWidget, source
from .support_picker import packed


class EpisodeViewer(TwoLayerWidget):
    """An episode with its scores, query by query.

    `support` (K, N, 1, S, S) and `query` (Q, 1, S, S) are of zeros and ones, `log_scores` (Q, K) in nats, `truth` (Q,)
    the class of every query: unless told, query k is of class k. `made` (K, n, 1, S, S) holds new drawings of each
    class. `position` is the query shown, from 0; set it to turn the figure, or read where the reader stopped. `names`
    are what the classes are called, A, B, C, ... unless told. `description` is the alternative text, `label` a short
    heading. Raises ValueError on shapes that do not fit, scores that are no numbers, classes that there are not.
    """

    root = "oneshot-player oneshot-episode"
    _esm = source("drawings.js", "episode_viewer.js")
    _css = source("instrument.css", "episode_viewer.css")

    scene = traitlets.Dict(help="everything that there is to be seen").tag(sync=True)
    position = traitlets.Int(0).tag(sync=True)
    label = traitlets.Unicode("").tag(sync=True)

    def __init__(self, support: torch.Tensor, query: torch.Tensor, log_scores: torch.Tensor, made: torch.Tensor,
                 truth=None, position: int = 0, names: list[str] | None = None, description: str | None = None,
                 label: str = ""):
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
        if description is None:
            description = (f"{queries} drawings to be given one of {classes} classes, each class shown by "
                           f"{support.shape[1]} of its drawings and scored by how well it explains the query.")
        super().__init__(position=position, description=description, label=label, scene={
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

    @traitlets.validate("position")
    def _is_a_query(self, proposal):
        queries = self.scene.get("queries")
        if queries is not None and not 0 <= proposal.value < queries:
            raise ValueError(f"position is {proposal.value}; expected a number from 0 to {queries - 1}")
        return proposal.value

    # --- the static copy ---

    def static_state(self) -> dict:
        """All that there is."""
        return {"scene": self.scene, "position": self.position, "label": self.label}

    def still(self) -> bytes:
        """The query, a drawing of the class that wins, one of the right class."""
        scene, q = self.scene, self.position
        pixels, size = int(np.prod(scene["size"])), scene["size"]

        def drawing(name: str, k: int) -> np.ndarray:
            row = np.frombuffer(scene[name], np.uint8).reshape(-1, -(-pixels // 8))[k]
            return 255 * np.unpackbits(row, count=pixels).reshape(size)

        pictures = [drawing("query", q)]
        pictures += [drawing("support", scene[which][q] * scene["shots"]) for which in ("winner", "truth")]
        return png(strip(np.stack(pictures), panels=3))
