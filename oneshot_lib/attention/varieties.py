r"""Every variety of attention behind one interface: a linear map $W_\lambda$ of the image, and its transpose.

| name | numbers $\lambda$ of a step | from |
| --- | --- | --- |
| translation | x, y: a window of as many pixels as the patch has | Rezende 2016, section 2 |
| translation-scale | x, y, log half-width | |
| axis-aligned | x, y, log half-width, log half-height: two 1-D kernels, the form with $\otimes$ | section 2 |
| similarity | x, y, log half-width, angle: the 2-D similarity of Tang et al. 2014 | section 2 |
| rotated | x, y, log half-width, log half-height, angle: translation, scale, rotation | section 2 |
| affine | all six of the matrix, row by row | Jaderberg et al. 2015 |
| multiple | those of K axis-aligned windows: $y = \sum_i W_{\lambda_i}^\top r_i$ | appendix B |
| gaussian | x, y, log half-width, log variance, log intensity | Gregor et al. 2015 |
| fully-connected | none: $W$ is the identity, every pixel is read and written | table 1 |
| random | none asked: x, y drawn uniformly, read and written at the same place | appendix B |
| error-large, error-printed | none asked: x, y drawn where the reconstruction errs | appendix B |

The last three are hard: no gradient reaches the place. All others are differentiable in their numbers, though not
everywhere: a tent that covers blank paper, and nothing else, has none.

For every variety, image x, patch r and numbers: `(read(x, n) * r).sum() == (x * write(r, adjoint(n))).sum()`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from .filterbank import filterbanks
from .windows import axis_aligned, read, rotated, write

HALF = math.log(0.5)
SHARPNESS = 1.0  # beta of the error-based attention; the paper gives none
Size = tuple[int, int]


class Attention:
    """One variety. `numbers` is how many say where a step looks; `windows_a_step` is K, how many patches an image
    channel gives; `asked` whether the network asks for the numbers (else they are drawn); `noise` how many standard
    normals the drawing takes.

    Patches (B, K C, h, w) have the K windows outermost among their channels. `size` is that of a patch, as
    `patch_size` says it.
    """

    numbers, windows_a_step, asked, noise = 0, 1, True, 0

    def __init__(self, name: str):
        self.name = name

    def patch_size(self, patch: int, image_size: Size) -> Size:
        """How large a patch is where the configuration says `patch`."""
        return patch, patch

    def start(self) -> Tensor:
        """Numbers (numbers,) of a window in the middle, half as wide as the image: what a network begins with."""
        raise NotImplementedError

    def windows(self, numbers: Tensor, size: Size, image_size: Size) -> Tensor:
        """Where it looks: numbers (..., n) -> affine maps (..., K, 2, 3) from the patch to the image."""
        raise NotImplementedError

    def adjoint(self, numbers: Tensor) -> Tensor:
        """The numbers with which `write` is the adjoint of `read`."""
        return numbers

    def writer(self) -> Attention:
        """The variety that a model which reads by this one writes by."""
        return self

    def read(self, image: Tensor, numbers: Tensor, size: Size) -> Tensor:
        """r = W x: image (B, C, H, W), numbers (B, n) -> patch (B, K C, h, w)."""
        raise NotImplementedError

    def write(self, patch: Tensor, numbers: Tensor, image_size: Size) -> Tensor:
        """W^T r: patch (B, K C, h, w), numbers (B, n) -> image (B, C, H, W)."""
        raise NotImplementedError

    def _check(self, numbers: Tensor, picture: Tensor | None = None) -> None:
        if numbers.shape[-1] != self.numbers:
            raise ValueError(f"numbers has shape {tuple(numbers.shape)}; expected (..., {self.numbers}) of {self.name}")
        if picture is not None and (picture.dim() != 4 or numbers.shape[:-1] != picture.shape[:1]):
            raise ValueError(f"numbers has shape {tuple(numbers.shape)} for {tuple(picture.shape)}; expected "
                             f"(B, {self.numbers}) for (B, C, H, W)")


class SpatialTransformer(Attention):
    """A window by an affine map, general or of a restricted form; separable where the form is axis-aligned."""

    FORMS = {"translation": 2, "translation-scale": 3, "axis-aligned": 4, "similarity": 4, "rotated": 5, "affine": 6}
    MIDDLE = {"translation": [0.0, 0.0], "translation-scale": [0.0, 0.0, HALF], "axis-aligned": [0.0, 0.0, HALF, HALF],
              "similarity": [0.0, 0.0, HALF, 0.0], "rotated": [0.0, 0.0, HALF, HALF, 0.0],
              "affine": [0.5, 0.0, 0.0, 0.0, 0.5, 0.0]}

    def __init__(self, name: str, form: str | None = None):
        super().__init__(name)
        self.form = form or name
        self.numbers = self.FORMS[self.form]
        self.separable = self.form in ("translation", "translation-scale", "axis-aligned")

    def start(self) -> Tensor:
        return torch.tensor(self.MIDDLE[self.form])

    def windows(self, numbers: Tensor, size: Size, image_size: Size) -> Tensor:
        self._check(numbers)
        if self.form == "affine":
            return numbers.unflatten(-1, (1, 2, 3))
        centre = numbers[..., :2]
        if self.form == "translation":
            scale = numbers.new_tensor([size[1] / image_size[1], size[0] / image_size[0]]).expand_as(centre)
        elif self.form in ("translation-scale", "similarity"):
            scale = numbers[..., 2:3].exp().expand_as(centre)
        else:
            scale = numbers[..., 2:4].exp()
        if self.separable:
            return axis_aligned(centre, scale).unsqueeze(-3)
        return rotated(centre, scale, numbers[..., -1]).unsqueeze(-3)

    def read(self, image: Tensor, numbers: Tensor, size: Size) -> Tensor:
        window = self.windows(numbers, size, image.shape[-2:])[:, 0]
        return read(image, window, size, self.separable)

    def write(self, patch: Tensor, numbers: Tensor, image_size: Size) -> Tensor:
        window = self.windows(numbers, patch.shape[-2:], image_size)[:, 0]
        return write(patch, window, image_size, self.separable)


class MultipleWindows(Attention):
    """K spatial transformers, summed where they write and side by side where they read (appendix B).

    All K windows are conditioned on the same h; each has its own numbers and its own patch.
    """

    def __init__(self, name: str, count: int = 2):
        if count < 1:
            raise ValueError(f"count is {count}; expected at least one window")
        super().__init__(name)
        self.one, self.windows_a_step = SpatialTransformer("axis-aligned"), count
        self.numbers = count * self.one.numbers

    def start(self) -> Tensor:
        numbers = self.one.start().repeat(self.windows_a_step, 1)
        if self.windows_a_step > 1:  # beside each other, so that they differ
            numbers[:, 0] = torch.linspace(-0.25, 0.25, self.windows_a_step)
        return numbers.flatten()

    def windows(self, numbers: Tensor, size: Size, image_size: Size) -> Tensor:
        self._check(numbers)
        return self.one.windows(self._apart(numbers), size, image_size)[..., 0, :, :]

    def read(self, image: Tensor, numbers: Tensor, size: Size) -> Tensor:
        self._check(numbers, image)
        k = self.windows_a_step
        every = image[:, None].expand(-1, k, -1, -1, -1).flatten(0, 1)  # (B K, C, H, W)
        patch = self.one.read(every, self._apart(numbers).flatten(0, 1), size)
        return patch.unflatten(0, (-1, k)).flatten(1, 2)

    def write(self, patch: Tensor, numbers: Tensor, image_size: Size) -> Tensor:
        self._check(numbers, patch)
        k = self.windows_a_step
        if patch.shape[1] % k:
            raise ValueError(f"patch has {patch.shape[1]} channels; expected a multiple of the {k} windows")
        parts = patch.unflatten(1, (k, -1)).flatten(0, 1)  # (B K, C, h, w)
        return self.one.write(parts, self._apart(numbers).flatten(0, 1), image_size).unflatten(0, (-1, k)).sum(1)

    def _apart(self, numbers: Tensor) -> Tensor:
        return numbers.unflatten(-1, (self.windows_a_step, -1))


class GaussianFilterbank(Attention):
    """DRAW's grid of Gaussian filters, with its intensity: see `oneshot_lib.attention.filterbank`."""

    numbers = 5

    def start(self) -> Tensor:
        return torch.tensor([0.0, 0.0, HALF, 0.0, 0.0])

    def windows(self, numbers: Tensor, size: Size, image_size: Size) -> Tensor:
        self._check(numbers)
        return axis_aligned(numbers[..., :2], numbers[..., 2:3].exp().expand_as(numbers[..., :2])).unsqueeze(-3)

    def adjoint(self, numbers: Tensor) -> Tensor:
        return torch.cat([numbers[..., :4], -numbers[..., 4:]], -1)

    def read(self, image: Tensor, numbers: Tensor, size: Size) -> Tensor:
        self._check(numbers, image)
        y, x = self._filters(numbers, size, image.shape[-2:])
        return numbers[:, 4].exp()[:, None, None, None] * (y @ image @ x.transpose(-1, -2))

    def write(self, patch: Tensor, numbers: Tensor, image_size: Size) -> Tensor:
        self._check(numbers, patch)
        y, x = self._filters(numbers, patch.shape[-2:], image_size)
        return (-numbers[:, 4]).exp()[:, None, None, None] * (y.transpose(-1, -2) @ patch @ x)

    def _filters(self, numbers: Tensor, size: Size, image_size: Size) -> tuple[Tensor, Tensor]:
        y, x = filterbanks(numbers[:, :2], numbers[:, 2].exp(), numbers[:, 3].exp(), size, image_size)
        return y[:, None], x[:, None]


class FullyConnected(Attention):
    """No attention: the patch is the whole image, and W the identity."""

    def patch_size(self, patch: int, image_size: Size) -> Size:
        return tuple(image_size)

    def start(self) -> Tensor:
        return torch.zeros(0)

    def windows(self, numbers: Tensor, size: Size, image_size: Size) -> Tensor:
        self._check(numbers)
        one = numbers.new_ones(*numbers.shape[:-1], 2)
        return axis_aligned(torch.zeros_like(one), one).unsqueeze(-3)

    def read(self, image: Tensor, numbers: Tensor, size: Size) -> Tensor:
        self._check(numbers, image)
        self._same(size, image.shape[-2:])
        return image

    def write(self, patch: Tensor, numbers: Tensor, image_size: Size) -> Tensor:
        self._check(numbers, patch)
        self._same(patch.shape[-2:], image_size)
        return patch

    def _same(self, size: Size, image_size: Size) -> None:
        if tuple(size) != tuple(image_size):
            raise ValueError(f"size is {tuple(size)}; expected that of the image, {tuple(image_size)}: no attention")


class RandomPatches(SpatialTransformer):
    """A patch as wide as so many of the image's pixels, anywhere within it, each place equally likely; what was read
    there is written there. Places are continuous: between pixels a patch interpolates."""

    asked, noise = False, 2

    def __init__(self, name: str):
        super().__init__(name, "translation")

    def draw(self, noise: Tensor, size: Size, image_size: Size) -> Tensor:
        """Places (..., 2) with the whole patch within the image, uniform, from standard normals (..., 2)."""
        reach = noise.new_tensor([1 - size[1] / image_size[1], 1 - size[0] / image_size[0]])
        return (2 * torch.special.ndtr(noise) - 1) * reach


class ErrorBased(SpatialTransformer):
    """A patch as wide as so many of the image's pixels, around a pixel drawn by `error_probabilities`: hard attention.

    It needs the image, which a model that draws from its prior has not: a model that reads so writes by an axis-aligned
    spatial transformer.
    """

    asked, noise = False, 1

    def __init__(self, name: str):
        super().__init__(name, "translation")
        self.large = name == "error-large"

    def writer(self) -> Attention:
        return SpatialTransformer("axis-aligned")

    def draw(self, noise: Tensor, image: Tensor, reconstruction: Tensor) -> Tensor:
        """Places (B, 2), centres of pixels, from standard normals (B, 1): `image` and `reconstruction` (B, C, H, W)."""
        probability = error_probabilities(image, reconstruction, self.large)
        height, width = probability.shape[1:]
        total = probability.double().flatten(1).cumsum(1)
        level = torch.special.ndtr(noise.double()) * total[:, -1:]
        pixel = torch.searchsorted(total, level).clamp_max(height * width - 1)[:, 0]
        at = torch.stack([pixel % width, pixel // width], -1).to(noise.dtype)
        return (2 * at + 1) / at.new_tensor([width, height]) - 1


def error_probabilities(image: Tensor, reconstruction: Tensor, large: bool = False,
                        sharpness: float = SHARPNESS) -> Tensor:
    r"""Where to look next, given what is still wrong (Rezende 2016, appendix B): (B, C, H, W) twice -> (B, H, W), sums
    to one an image.

    $$p(a_t = k \mid x, \hat x_{t-1}) \propto
      \exp\left(-\beta \left| \frac{\epsilon_k - \bar\epsilon}{\kappa} \right|\right), \qquad
      \epsilon_k = x_k - \hat x_{t-1, k}$$

    with $\bar\epsilon$ and $\kappa$ the mean and standard deviation of $\epsilon$ over the image. As printed, the sign
    prefers pixels whose error is AVERAGE; the text asks for places of large error, and `large` turns the sign. Channels
    are summed. Without any error all places are equally likely.
    """
    if image.dim() != 4 or image.shape != reconstruction.shape:
        raise ValueError(f"image and reconstruction have shapes {tuple(image.shape)} and "
                         f"{tuple(reconstruction.shape)}; expected (B, C, H, W), the same")
    error = (image - reconstruction).sum(1)
    flat = error.flatten(1)
    spread = flat.std(1, unbiased=False, keepdim=True)
    distance = (flat - flat.mean(1, keepdim=True)).abs() / spread.clamp_min(torch.finfo(flat.dtype).tiny)
    distance = torch.where(spread > 0, distance, torch.zeros_like(distance))
    return ((sharpness if large else -sharpness) * distance).softmax(1).view_as(error)


VARIETIES: dict[str, Callable[[str], Attention]] = {
    **dict.fromkeys(SpatialTransformer.FORMS, SpatialTransformer),
    "multiple": MultipleWindows,
    "gaussian": GaussianFilterbank,
    "fully-connected": FullyConnected,
    "random": RandomPatches,
    "error-large": ErrorBased,
    "error-printed": ErrorBased,
}


def named(name: str, windows: int = 2) -> Attention:
    """The variety of that name; `windows` is K of "multiple". Raises ValueError on another name."""
    if name not in VARIETIES:
        raise ValueError(f"attention is {name!r}; expected one of {', '.join(VARIETIES)}")
    return MultipleWindows(name, windows) if name == "multiple" else VARIETIES[name](name)
