"""How fast a PixelCNN draws, held against its own forward pass over as many images, in the same run.

A pass gives the distribution of every pixel at once; drawing needs them one after the other. Without any cache, an
image of 28x28 would take 784 passes.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from .models.pixelcnn import GatedPixelCNN, PixelCNNConfig

SIZE = (28, 28)
IMAGES = {16: 3.0, 64: 1.5}  # n: the passes that n draws may take


def sampling_benchmarks(seconds: float = 20.0) -> list[dict]:
    """Draws of 28x28 from a PixelCNN of two layers and 64 channels without a condition, for each of `IMAGES`.

    `reference` is one forward pass of as many images, float32, channels last; `ratio` is over it, `target` the most it
    may be.
    """
    from .benchmarks import alternate

    model, rows = GatedPixelCNN(PixelCNNConfig()).to(memory_format=torch.channels_last), []
    for n, target in IMAGES.items():
        value, reference = alternate(_draws(model, n), _pass(model, n), seconds / len(IMAGES))
        rows.append({"name": f"cached sampling, {n} images of 28x28", "value": value, "unit": "s",
                     "reference": reference, "ratio": value / reference, "target": target,
                     "threads": torch.get_num_threads()})
    return rows


def _draws(model: GatedPixelCNN, n: int) -> Callable[[], None]:
    generator = torch.Generator().manual_seed(0)
    return lambda: model.sample(SIZE, n, generator=generator)


def _pass(model: GatedPixelCNN, n: int) -> Callable[[], None]:
    generator = torch.Generator().manual_seed(0)
    x = torch.bernoulli(torch.full((n, 1, *SIZE), 0.1), generator=generator).to(memory_format=torch.channels_last)

    @torch.no_grad()
    def forward() -> None:
        model.logits(x)

    return forward
