"""The hidden canvas: the gate that may forget of it, and the network that makes an image of it.

Reference: Rezende et al. 2016, One-Shot Generalization in Deep Generative Models; equation numbers are the paper's.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ConvolutionalGRU(nn.Module):
    r"""The gate of eq. 13 (Kaiser and Sutskever 2015): one step of a canvas (B, C, H, W) -> (B, C, H, W).

    $$\mathrm{CGRU}(c) = u \odot c + (1 - u) \odot \tanh(U * (r \odot c) + B),\quad
      u = \sigma(U' * c + B'),\quad r = \sigma(U'' * c + B'')$$

    with 3x3 convolutions that keep the size. The biases of u start at one, so that the canvas first remembers.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.gates = nn.Conv2d(channels, 2 * channels, 3, padding=1)  # U' and U'' side by side
        self.candidate = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.constant_(self.gates.bias[:channels], 1.0)

    def forward(self, c: Tensor) -> Tensor:
        u, r = self.gates(c).sigmoid().chunk(2, 1)
        return torch.lerp(self.candidate(r * c).tanh(), c, u)  # (1 - u) tanh(...) + u c


def output_network(channels: int, canvas_size: int, image_size: int) -> nn.Module:
    """f_o of eq. 7, canvas (B, channels, size, size) -> logits (B, 1, image_size, image_size).

    A 1x1 convolution where the sizes agree (section 3.2.3). Where they differ the paper has "a convolutional network"
    and says no more: here two 3x3 convolutions with 32 channels between them, and bilinear resizing in the middle.
    """
    if canvas_size == image_size:
        return nn.Conv2d(channels, 1, 1)
    return nn.Sequential(
        nn.Conv2d(channels, 32, 3, padding=1), nn.ReLU(),
        nn.Upsample((image_size,) * 2, mode="bilinear", align_corners=False), nn.Conv2d(32, 1, 3, padding=1))
