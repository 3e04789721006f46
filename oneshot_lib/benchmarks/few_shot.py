"""What looking at the support costs: training steps of the few-shot models over the unconditional one's, which does not
look.

A step is log p(x | s) of the same targets, forwards and backwards, without the optimiser. The meta model's goes through
its own gradient step on every support set, one after the other.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .timing import in_turns

SETS, TARGETS, SIZE = 8, 4, 26
MODELS = {  # name, drawings in a support set: the unconditional steps that one of its steps may take
    ("conditional", 4): 1.5,
    ("attention", 1): 2.0,
    ("attention", 4): 3.5,
    ("meta", 4): 8.0,
}


def measure(seconds: float = 15.0) -> list[dict]:
    """One training step of each of `MODELS` at its default size: 26x26 images, 8 support sets of 4 targets each.

    `reference` is the unconditional model's step on the same targets, all of them taken in turns; `ratio` is over it,
    `target` the most it may be.
    """
    steps = {key: _training_step(*key) for key in [("unconditional", 1), *MODELS]}
    times, rows = in_turns(steps, seconds), []
    reference = times["unconditional", 1]
    for (name, shots), target in MODELS.items():
        value = times[name, shots]
        rows.append({"name": f"few-shot training step, {name}, {shots}-shot", "value": value, "unit": "s",
                     "reference": reference, "ratio": value / reference, "target": target,
                     "threads": torch.get_num_threads()})
    return rows


def _training_step(name: str, shots: int) -> Callable[[], None]:
    model, (x, support) = _model(name), _drawings(shots)

    def step() -> None:
        model.zero_grad(set_to_none=True)
        (-model.log_prob(x, support).mean()).backward()

    return step


def _model(name: str):
    from ..models.attention_pixelcnn import AttentionConfig, AttentionPixelCNN
    from ..models.few_shot import ConditionalConfig, ConditionalPixelCNN, FewShotConfig, UnconditionalPixelCNN
    from ..models.meta_pixelcnn import MetaConfig, MetaPixelCNN

    kind, config = {"unconditional": (UnconditionalPixelCNN, FewShotConfig),
                    "conditional": (ConditionalPixelCNN, ConditionalConfig),
                    "attention": (AttentionPixelCNN, AttentionConfig), "meta": (MetaPixelCNN, MetaConfig)}[name]
    return kind(config(image_size=SIZE))


def _drawings(shots: int) -> tuple[Tensor, Tensor]:
    """x (G r, 1, S, S) and support (G, N, 1, S, S)."""
    generator = torch.Generator().manual_seed(0)
    x = torch.bernoulli(torch.full((SETS * TARGETS, 1, SIZE, SIZE), 0.1), generator=generator)
    return x, torch.bernoulli(torch.full((SETS, shots, 1, SIZE, SIZE), 0.1), generator=generator)
