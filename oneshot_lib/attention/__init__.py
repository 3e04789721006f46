"""Reading and writing: a linear map of the image, and its transpose.

`windows` has the spatial transformer, `filterbank` DRAW's, `varieties` every variety of attention by its name, behind
one interface.

>>> import torch
>>> numbers = torch.tensor([[0.0, 0.0, -1.0, -1.0]])
>>> named("axis-aligned").read(torch.zeros(1, 1, 28, 28), numbers, (12, 12)).shape
torch.Size([1, 1, 12, 12])
"""

from .filterbank import filterbank, filterbanks
from .varieties import VARIETIES, Attention, ErrorBased, error_probabilities, named
from .windows import (
    axis_aligned,
    axis_kernel,
    axis_kernels,
    corners,
    general_kernels,
    is_axis_aligned,
    pixel_centres,
    read,
    rotated,
    tents,
    write,
)

__all__ = ["VARIETIES", "Attention", "ErrorBased", "axis_aligned", "axis_kernel", "axis_kernels", "corners",
           "error_probabilities", "filterbank", "filterbanks", "general_kernels", "is_axis_aligned", "named",
           "pixel_centres", "read", "rotated", "tents", "write"]
