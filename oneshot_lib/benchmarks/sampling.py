"""How fast a PixelCNN draws, held against its own forward pass over as many images, in the same run.

A pass gives the distribution of every pixel at once; drawing needs them one after the other. Without any cache, an
image of 28x28 would take 784 passes.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from ..models.attention_pixelcnn import AttentionPixelCNN
from ..models.cached_sampling import pixel_order, vertical_leads
from ..models.few_shot import ConditionalPixelCNN, FewShotPixelCNN
from ..models.pixelcnn import GatedPixelCNN, PixelCNNConfig
from ..models.sampling_caches import Product
from .timing import alternate

SIZE = (28, 28)
IMAGES = {16: 3.0, 64: 1.5}  # n: the passes that n draws may take
SHOWN = {"conditional": (ConditionalPixelCNN, 5.0), "attention": (AttentionPixelCNN, 8.0)}  # 16 draws of 26x26


def measure(seconds: float = 20.0) -> list[dict]:
    """Draws of 28x28 from a PixelCNN of two layers and 64 channels without a condition, for each of `IMAGES`, and 16 of
    26x26, each with one drawing for its support, from each model of `SHOWN`.

    `reference` is one forward pass of as many images, float32, channels last; `ratio` is over it, `target` the most it
    may be. A pass multiplies in convolutions, drawing in smaller products, in part of another library, and how the two
    compare is the processor's affair: `products` is what those of the draws alone take, in passes, and `note` says so.
    """
    model, share = GatedPixelCNN(PixelCNNConfig()).to(memory_format=torch.channels_last), len(IMAGES) + len(SHOWN)
    rows = []
    for n, target in IMAGES.items():
        row = _row(f"{n} images of 28x28", target, _draws(model, n), _pass(model, n), 0.8 * seconds / share)
        products, passes = alternate(_products(model, n), _pass(model, n), 0.2 * seconds / share)
        note = f"the multiplications alone take {products / passes:.2f} passes here; the target is for 1 pass"
        rows.append(row | {"products": products / passes, "note": note})
    for name, (kind, target) in SHOWN.items():
        draws, forward = _few_shot(kind().eval(), 16)
        rows.append(_row(f"{name} model, 16 images of 26x26", target, draws, forward, seconds / share))
    return rows


def _row(name: str, target: float, draws: Callable[[], None], forward: Callable[[], None], seconds: float) -> dict:
    value, reference = alternate(draws, forward, seconds)
    return {"name": f"cached sampling, {name}", "value": value, "unit": "s", "reference": reference,
            "ratio": value / reference, "target": target, "threads": torch.get_num_threads()}


def _few_shot(model: FewShotPixelCNN, n: int) -> tuple[Callable[[], None], Callable[[], None]]:
    """n draws, one for each of n supports of one drawing, and the pass over as many images."""
    generator = torch.Generator().manual_seed(0)
    size = model.image_size, model.image_size
    x = torch.bernoulli(torch.full((n, 1, *size), 0.1), generator=generator).to(memory_format=torch.channels_last)

    @torch.no_grad()
    def forward() -> None:
        model.logits(x, x[:, None])

    return lambda: model.draw_like(x[:, None], 1, generator), forward


def _draws(model: GatedPixelCNN, n: int) -> Callable[[], None]:
    generator = torch.Generator().manual_seed(0)
    return lambda: model.sample(SIZE, n, generator=generator)


def _products(model: GatedPixelCNN, n: int) -> Callable[[], None]:
    """All the matrix products of n draws, each layer's as many pixels at a time as a diagonal has on average."""
    steps = len(pixel_order(SIZE, vertical_leads(list(model.layers))).steps)
    rows = n * -(-SIZE[0] * SIZE[1] // steps)
    matrices = [p.detach().flatten(1).T.contiguous() for p in model.parameters() if p.dim() == 4]
    pairs = [(torch.randn(rows, len(matrix)), Product(matrix, n=n)) for matrix in matrices]

    @torch.no_grad()
    def products() -> None:
        for _ in range(steps):
            for a, product in pairs:
                product(a)

    return products


def _pass(model: GatedPixelCNN, n: int) -> Callable[[], None]:
    generator = torch.Generator().manual_seed(0)
    x = torch.bernoulli(torch.full((n, 1, *SIZE), 0.1), generator=generator).to(memory_format=torch.channels_last)

    @torch.no_grad()
    def forward() -> None:
        model.logits(x)

    return forward
