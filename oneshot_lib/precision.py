"""float32 or bfloat16: which of the two this CPU multiplies faster in, measured on products like those of a model.

A CPU without instructions for bfloat16 emulates it at a fraction of float32's speed; one that has them is two to three
times faster. Parameters, draws and terms are float32 either way: a model's `product_dtype` says in what its large
products run.
"""

import math
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

BOTH = (torch.float32, torch.bfloat16)


def faster_products(batch: int = 48, hidden: int = 400, laps: int = 12) -> torch.dtype:
    """The faster one for (batch, hidden) x (hidden, 4 hidden), a step of an LSTM. Takes some milliseconds."""
    return min(seconds := product_seconds(batch, hidden, 4 * hidden, laps), key=seconds.get)


def product_seconds(rows: int, inner: int, columns: int, laps: int) -> dict[torch.dtype, float]:
    """What (rows, inner) x (inner, columns) takes in each, the best of so many laps but the first two; seconds."""
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(shape, generator=generator) for shape in ((rows, inner), (inner, columns)))
    seconds = {}
    for dtype in BOTH:
        left, right = a.to(dtype), b.to(dtype)
        seconds[dtype] = min([_lap(lambda left=left, right=right: torch.mm(left, right)) for _ in range(laps)][2:])
    return seconds


def faster_convolutions(images: int = 8, channels: int = 64, size: int = 28, laps: int = 4) -> torch.dtype:
    """The faster one for a 3x3 convolution of so many images, forwards and backwards. About a second."""
    generator = torch.Generator().manual_seed(0)
    x, weight = (torch.randn(shape, generator=generator).to(memory_format=torch.channels_last)
                 for shape in ((images, channels, size, size), (channels, channels, 3, 3)))
    seconds = dict.fromkeys(BOTH, math.inf)
    for lap in range(laps):
        for dtype in BOTH:
            took = _lap(lambda dtype=dtype: _convolved(x, weight, dtype).sum().backward())
            if lap:  # the first one warms up
                seconds[dtype] = min(seconds[dtype], took)
    return min(seconds, key=seconds.get)


def _convolved(x: Tensor, weight: Tensor, dtype: torch.dtype) -> Tensor:
    x, weight = (part.clone().requires_grad_() for part in (x, weight))
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        return nn.functional.conv2d(x, weight, padding=1)


def _lap(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
