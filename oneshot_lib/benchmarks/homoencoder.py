"""What training the homoencoder's decoder costs, held against its bare convolutions in the same run.

The decoder of supplement 6.4.3 is five convolutions and a gated PixelCNN. Its bare convolutions are the same shapes in
the same precision, forwards and backwards, with nothing between them: no gates, no batch norm, no likelihood.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from .timing import alternate

BATCH = 32


def measure(seconds: float = 15.0) -> list[dict]:
    """One gradient of log p(x | c) by the decoder alone, `BATCH` images of 28x28.

    `ratio` is over the bare convolutions, `target` the most it may be, `images_per_second` the decoder's rate, and
    `product_dtype` the precision of both: bfloat16 where it was measured to be faster. Matrix units (AMX) multiply so
    much faster than a processor adds and takes sigmoids that what lies between the convolutions is no longer little
    beside them; where there are some, `note` says that the target is for processors without.
    """
    from ..machine import instructions
    from ..models.homoencoder import PixelCNNHomoencoder
    from ..precision import faster_convolutions

    dtype, model = faster_convolutions(), PixelCNNHomoencoder()
    value, reference = alternate(_decoder(model, dtype), _bare(model, dtype), seconds)
    on_units = dtype == torch.bfloat16 and "amx_bf16" in instructions()
    note = {"note": "the target is for processors without matrix units: here they make the reference faster, and the "
                    "rest not"} if on_units else {}
    return [note | {"name": f"homoencoder decoder's gradient, batch {BATCH}", "value": value, "unit": "s",
             "reference": reference, "ratio": value / reference, "target": 1.3, "images_per_second": BATCH / value,
             "product_dtype": str(dtype).removeprefix("torch."), "threads": torch.get_num_threads()}]


def _inputs(model) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.bernoulli(torch.full((BATCH, 1, 28, 28), 0.1), generator=generator)
    return x, torch.randn(BATCH, model.class_size, generator=generator)


def _decoder(model, dtype: torch.dtype) -> Callable[[], None]:
    x, c = _inputs(model)

    def step() -> None:
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            log_likelihood = model.log_likelihood(x, c, None).mean()
        (-log_likelihood).backward()

    return step


def _bare(model, dtype: torch.dtype) -> Callable[[], None]:
    """Each convolution that the decoder runs, on an input of the shape that it sees there."""
    seen: list[tuple[nn.Conv2d, Tensor]] = []
    hooks = [m.register_forward_pre_hook(lambda m, given: seen.append((m, torch.randn_like(given[0], dtype=dtype))))
             for part in (model.decoder, model.pixelcnn) for m in part.modules() if isinstance(m, nn.Conv2d)]
    with torch.no_grad():
        model.log_likelihood(*_inputs(model), None)
    for hook in hooks:
        hook.remove()
    jobs = []
    for m, x in seen:
        given = x.contiguous(memory_format=torch.channels_last).requires_grad_(x.shape[1] > 1)
        weight = m.weight.detach().to(dtype).requires_grad_()
        with torch.no_grad():
            out = torch.conv2d(given, weight, padding=m.padding)
        jobs.append((given, weight, m.padding, torch.randn_like(out)))

    def step() -> None:
        for given, weight, padding, gradient in jobs:
            torch.conv2d(given, weight, padding=padding).backward(gradient)

    return step
