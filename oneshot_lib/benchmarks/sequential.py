"""The sequential model's training step, held against its own bare matrix products: the same shapes, forward and
backward, with nothing between them (no gates, no kernels, no optimiser, no autograd). That is what the step would take
if everything but multiplication were free.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from ..models.sequential import SequentialConfig, SequentialModel
from ..precision import faster_products
from .timing import alternate

SHAPES = ((20, 24), (20, 96), (80, 24))  # T, batch


def measure(seconds: float = 30.0) -> list[dict]:
    """One training step of the model with an additive canvas on 28x28 images, for each of `SHAPES`.

    `ratio` is over the bare products in float32, `target` the most it may be; `product_dtype` says what the step's own
    large products ran in.
    """
    rows = []
    for steps, batch in SHAPES:
        model = SequentialModel(SequentialConfig(steps=steps))
        model.product_dtype = faster_products(batch, model.config.hidden)
        value, reference = alternate(_training_step(model, batch), _bare_products(model.config, batch),
                                     seconds / len(SHAPES))
        rows.append({"name": f"sequential training step, T={steps}, batch {batch}", "value": value, "unit": "s",
                     "reference": reference, "ratio": value / reference, "target": 2.5,
                     "product_dtype": str(model.product_dtype).removeprefix("torch."),
                     "threads": torch.get_num_threads()})
    return rows


def _training_step(model: SequentialModel, batch: int) -> Callable[[], None]:
    generator = torch.Generator().manual_seed(0)
    x = torch.bernoulli(torch.full((batch, 1, 28, 28), 0.1), generator=generator)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-6, fused=True)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        (-model.terms(x, generator).bound.mean()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()

    return step


def _bare_products(c: SequentialConfig, batch: int) -> Callable[[], None]:
    """The step's matrix products as (A, B) pairs of its shapes. A backward pass takes two products for one forward."""
    n, columns = c.image_size, 4 * c.hidden + c.posterior_hidden + 4
    rows = c.steps * batch
    written = c.patch * c.canvas_channels * c.patch + 4

    def pair(m: int, k: int, p: int, *leading: int) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.randn(*leading, m, k), torch.randn(*leading, k, p)

    in_the_loop = [
        pair(batch, c.hidden, columns), pair(batch, columns, c.hidden),  # h forward, backward
        *[pair(batch, c.patch**2, c.posterior_hidden), pair(batch, c.posterior_hidden, c.patch**2)],  # the sprite
        *[pair(batch, c.posterior_hidden, 2 * c.latent), pair(batch, 2 * c.latent, c.posterior_hidden)],
        *[pair(batch, c.latent, 4 * c.hidden), pair(batch, 4 * c.hidden, c.latent)],
        *[pair(c.patch, n, n, batch), pair(c.patch, n, c.patch, batch)],  # reading
        *[pair(c.patch, n, n, batch), pair(c.patch, c.patch, n, batch), pair(c.patch, c.patch, n, batch)],
    ]
    after = [
        pair(columns, rows, c.hidden), pair(4 * c.hidden, rows, c.latent),  # the gradients of the weights
        pair(c.posterior_hidden, rows, c.patch**2), pair(2 * c.latent, rows, c.posterior_hidden),
        pair(rows, c.hidden, written), pair(rows, written, c.hidden), pair(written, rows, c.hidden),  # f_w
        *[pair(c.patch * c.canvas_channels, c.patch, n, rows), pair(c.patch * c.canvas_channels, n, c.patch, rows)],
        pair(c.patch, c.patch * c.canvas_channels, n, rows),
        pair(n, c.steps * c.patch, c.canvas_channels * n, batch),  # the canvas
        pair(c.steps * c.patch, n, c.canvas_channels * n, batch), pair(c.steps * c.patch, c.canvas_channels * n, n,
        batch),
    ]

    def step() -> None:
        for _ in range(c.steps):
            for a, b in in_the_loop:
                torch.matmul(a, b)
        for a, b in after:
            torch.matmul(a, b)

    return step
