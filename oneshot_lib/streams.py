"""Streams of random numbers that have nothing to do with each other, from the one seed of a run.

Generators with the same seed are no two sources: on the CPU `torch.randn` is made of the numbers that `torch.rand`
gives, so that the pixels of a batch and the noise of its posterior, drawn from two of them, are functions of the same
numbers. Whatever draws beside something else names what it draws for.
"""

from __future__ import annotations

import hashlib

import torch


def stream(seed: int, *names: str | int, device: str | torch.device = "cpu") -> torch.Generator:
    """A generator on `device` whose numbers are a function of the seed and of the names, in their order.

    Other names are another stream, and so is the bare seed, `torch.Generator().manual_seed(seed)`. Raises ValueError
    where no name is given.

    >>> stream(0, "noise").initial_seed() == stream(0, "batch").initial_seed()
    False
    """
    if not names:
        raise ValueError("names is empty; expected what the numbers are drawn for")
    key = hashlib.sha256("/".join(map(str, (seed, *names))).encode()).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(key[:7], "little"))
