"""What each variety of attention costs, over the axis-aligned spatial transformer that a model has if nothing is said.

Twice: reading and writing alone, and a training step of the sequential model, whose LSTM costs the same for every
variety. The loop with its gradient written out (`attentive_scan`) knows axis-aligned windows only; all steps are held
against it, and one row says what the same model costs in the loop that the others take.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from .. import attention
from ..models.sequential import SequentialConfig, SequentialModel
from .timing import in_turns

BATCH, SIZE, PATCH, CHANNELS, STEPS = 12, 28, 12, 4, 20
USUAL = "axis-aligned"
READ_AND_WRITE = {  # the most that a variety may cost, over the axis-aligned one
    "translation": 1.5, "translation-scale": 1.5, "similarity": 6.0, "rotated": 6.0, "affine": 6.0, "multiple": 2.5,
    "gaussian": 1.5, "fully-connected": 1.0, "random": 1.5,
}  # fmt: skip
TRAINING = {  # over the hand-written loop of the axis-aligned one
    USUAL: 2.5, "affine": 7.0, "multiple": 3.0, "gaussian": 2.5, "fully-connected": 3.0, "random": 2.0,
    "error-large": 3.5,
}  # fmt: skip


def measure(seconds: float = 8.0) -> list[dict]:
    """Forwards and backwards: a read of 12 images of 28x28 into patches of 12x12 and a write of four channels, for each
    of `READ_AND_WRITE`; and the training step of 20 steps on as many, without the optimiser, for each of
    `TRAINING`.

    `reference` is the axis-aligned variety, by itself or in the hand-written loop, all taken in turns; `ratio` is over
    it, `target` the most it may be.
    """
    rows = []
    for what, share, targets, make in (("read and write", 0.2, READ_AND_WRITE, _read_and_write),
                                       ("training step", 0.8, TRAINING, _training_step)):
        usual = (USUAL, "reference")
        times = in_turns({usual: make(USUAL), **{(name,): make(name, fused=False) for name in targets}},
                         seconds * share)
        for name, target in targets.items():
            plain = ", step by step" if name == USUAL else ""
            rows.append({"name": f"attention {what}, {name}{plain}", "value": times[name,], "unit": "s",
                         "reference": times[usual], "ratio": times[name,] / times[usual], "target": target,
                         "threads": torch.get_num_threads()})
    return rows


def _read_and_write(name: str, fused: bool | None = None) -> Callable[[], None]:
    """Gradients go to the numbers, the image and the patch: to all that a variety is given."""
    variety, generator = attention.named(name), torch.Generator().manual_seed(0)
    size, area = variety.patch_size(PATCH, (SIZE, SIZE)), (SIZE, SIZE)
    numbers = variety.start() + 0.1 * torch.randn(BATCH, variety.numbers, generator=generator)
    x = torch.randn(BATCH, 1, *area, generator=generator)
    patch = torch.randn(BATCH, variety.windows_a_step * CHANNELS, *size, generator=generator)
    given = [term.requires_grad_() for term in (numbers, x, patch)]
    one, other = torch.ones(()), torch.ones(())

    def step() -> None:
        seen, written = variety.read(x, numbers, size), variety.write(patch, numbers, area)
        torch.autograd.grad((seen, written), given, (one.expand_as(seen), other.expand_as(written)), allow_unused=True)

    return step


def _training_step(name: str, fused: bool | None = None) -> Callable[[], None]:
    model, generator = SequentialModel(SequentialConfig(steps=STEPS, attention=name)), torch.Generator().manual_seed(0)
    size = model.config.image_size
    x = torch.bernoulli(torch.full((BATCH, 1, size, size), 0.1), generator=generator)

    def step() -> None:
        model.zero_grad(set_to_none=True)
        (-model.terms(x, generator, fused=fused).bound.mean()).backward()

    return step
