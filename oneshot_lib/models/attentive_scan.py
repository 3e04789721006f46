r"""The posterior's loop over h, with its gradient written out by hand.

`SequentialModel.posterior_states` is the same loop as its equations read; `tests/models/test_sequential.py` holds
the two equal, values
and gradients. This one exists for speed, and three things make it fast:

1. Everything that h_{t-1} is multiplied by (gates, read window, hidden layer of q) is one matrix, so one product a
step.
2. A weight's gradient is a sum over steps of outer products. Stacked over the steps it is one product at the end
   instead of T small ones in the loop.
3. What a step works on stays small enough for a processor's nearest cache, and is written into buffers that are there.
"""

from __future__ import annotations

import functools
import time

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..attention import pixel_centres


def attentive_scan(x: Tensor, noise: Tensor, weight_hh: Tensor, weight_ih: Tensor, bias: Tensor,
                   window_weight: Tensor, window_bias: Tensor, hidden_weight: Tensor, hidden_bias: Tensor,
                   output_weight: Tensor, output_bias: Tensor, patch: int,
                   dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Eqs. 5, 11 and 12 of Rezende 2016 for t = 1, ..., T, axis-aligned windows.

    `x` (B, N, M) and `noise` (B, T, latent); the weights as `SequentialModel` holds them. Returns h (B, T, hidden), the
    posterior's mean and log_sigma (B, T, latent) and the window's numbers (B, T, 4): x, y, log half-width, log
    half-height.
    `dtype` bfloat16 rounds the factors of the large products, which then run two to three times faster on a CPU that
    has
    instructions for it; sums and everything else keep the precision of `x`.
    No gradient reaches `x`, `noise` or comes back through the window's numbers, and there is no second derivative.
    """
    points = patch * patch
    weight = torch.cat([weight_hh, hidden_weight[:, points:], window_weight])  # (4 hidden + q hidden + 4, hidden)
    offset = torch.cat([bias, hidden_bias, window_bias])
    outputs = _AttentiveScan.apply(x, noise.transpose(0, 1).contiguous(), weight, offset, weight_ih,
                                   hidden_weight[:, :points], output_weight, output_bias, patch,
                                   x.dtype if dtype == torch.float32 else dtype)
    return tuple(term.transpose(0, 1) for term in outputs)


class _Window:
    """The tents of `attention.axis_kernel`, both axes at once, and the way back to the four numbers of a window.

    With `a = position / w` and `b = 1 / w`, a tent is `relu(1 - |a - b n|)` over the pixels n,
            and the factor 1/w of each
    axis is left for the patch, which is smaller. The first dimension is the axis, y before x.
    """

    def __init__(self, patch: int, pixels: int, like: Tensor):
        self.centres = pixel_centres(patch, like=like)
        self.half, self.ratio = pixels / 2, pixels / patch
        self.grid = torch.arange(pixels, dtype=like.dtype, device=like.device)
        self.moments = torch.stack([torch.ones_like(self.grid), self.grid], 1)  # (pixels, 2)

    def kernels(self, raw: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """(B, 4) -> tents and the sign of their distances (2, B, patch, pixels), a (2, B, patch), width and scale
        (2, B).
        """
        centre, log_scale = raw.unflatten(1, (2, 2)).permute(1, 2, 0).flip(1)  # each (2, B), y before x
        scale = log_scale.exp()
        width = (scale * self.ratio).clamp_min_(1)
        position = torch.addcmul((centre * self.half).add_(self.half - 0.5)[..., None],
                                 (scale * self.half)[..., None], self.centres)
        a, b = position.div_(width[..., None]), width.reciprocal()
        distance = torch.addcmul(a[..., None], b[..., None, None], self.grid, value=-1)
        sign = distance.sign()
        return torch.sub(1, distance.abs_(), out=distance).relu_(), sign, a, width, scale

    def backward(self, grad: Tensor, tents: Tensor, sign: Tensor, a: Tensor, width: Tensor, scale: Tensor,
                 work: Tensor) -> Tensor:
        """The gradient of the tents (2, B, patch, pixels), and `work` (B), that of log(1/w) on either axis -> (B,
        4).
        """
        torch.ops.aten.threshold_backward.grad_input(grad, tents, 0, grad_input=grad)
        sums = torch.matmul(grad.mul_(sign), self.moments).neg_()  # (2, B, patch, 2): by a, and by -b
        by_a, by_b = sums[..., 0], -sums[..., 1].sum(-1)
        by_width = -((a * by_a).sum(-1) + by_b / width + work) / width
        by_position = by_a / width[..., None]
        by_centre = by_position.sum(-1) * self.half
        by_scale = (by_position @ self.centres) * self.half + by_width * ((width > 1) * self.ratio)
        return torch.stack([by_centre, by_scale * scale]).flip(1).permute(2, 0, 1).flatten(1)


class _AttentiveScan(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, noise, weight, offset, weight_z, weight_r, weight_s, bias_s, patch, dtype):
        if x.shape[1] != x.shape[2]:
            raise ValueError(f"x has images of {x.shape[1]}x{x.shape[2]}; expected square ones")
        steps, batch, latent = noise.shape
        width, hidden = weight.shape
        window = _Window(patch, x.shape[2], x)

        def kept(*shape):
            return x.new_empty(steps, batch, *shape)

        h, c = x.new_zeros(steps + 1, batch, hidden), x.new_zeros(steps + 1, batch, hidden)
        pre, tanh_c, z, sigma = kept(width), kept(hidden), kept(latent), kept(latent)
        sprite, statistics, rows = kept(patch * patch), kept(2 * latent), kept(patch, x.shape[2])
        seen = []
        gates, reading, raw = pre.split([4 * hidden, width - 4 * hidden - 4, 4], 2)
        weight = weight.to(dtype)
        factor = h if dtype == h.dtype else h.to(dtype)  # h as a factor of the large products
        weight_t, weight_z_t, weight_r_t, weight_s_t = weight.t(), weight_z.t(), weight_r.t(), weight_s.t()
        for t in range(steps):
            torch.add(offset, torch.mm(factor[t], weight_t), out=pre[t])
            # r_t = K_y x K_x^T, through the window that h_{t-1} asks for
            seen.append(window.kernels(raw[t]))
            (tents_y, tents_x), wide = seen[t][0], seen[t][3]
            torch.bmm(tents_y, x, out=rows[t])
            torch.bmm(rows[t], tents_x.transpose(1, 2), out=sprite[t].view(batch, patch, patch))
            sprite[t].div_(wide.prod(0)[:, None])
            # q(z_t) and its draw
            reading[t].addmm_(sprite[t], weight_r_t).relu_()
            torch.addmm(bias_s, reading[t], weight_s_t, out=statistics[t])
            torch.exp(statistics[t, :, latent:], out=sigma[t])
            torch.addcmul(statistics[t, :, :latent], sigma[t], noise[t], out=z[t])
            # the LSTM, gates in torch's order: input, forget, candidate, output
            gates[t].addmm_(z[t], weight_z_t)
            i, f, g, o = gates[t].chunk(4, 1)
            gates[t, :, : 2 * hidden].sigmoid_(), g.tanh_(), o.sigmoid_()
            torch.mul(f, c[t], out=c[t + 1]).addcmul_(i, g)
            torch.tanh(c[t + 1], out=tanh_c[t])
            torch.mul(o, tanh_c[t], out=h[t + 1])
            if factor is not h:
                factor[t + 1].copy_(h[t + 1])
        ctx.save_for_backward(x, noise, weight, weight_z, weight_r, weight_s)
        ctx.kept = (window, factor, c, pre, tanh_c, z, sprite, seen, rows, sigma)
        asked = raw.clone()
        ctx.mark_non_differentiable(asked)
        return h[1:], statistics[:, :, :latent], statistics[:, :, latent:], asked

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_h, grad_mean, grad_log_sigma, _):
        x, noise, weight, weight_z, weight_r, weight_s = ctx.saved_tensors
        window, factor, c, pre, tanh_c, z, sprite, seen, rows, sigma = ctx.kept
        steps, batch, latent = noise.shape
        hidden, patch, dtype = c.shape[2], len(window.centres), weight.dtype
        sigmoid_backward = torch.ops.aten.sigmoid_backward.grad_input
        tanh_backward = torch.ops.aten.tanh_backward.grad_input
        sizes = [4 * hidden, pre.shape[2] - 4 * hidden - 4, 4]
        grad_pre = torch.empty_like(pre)
        grad_statistics = torch.cat([grad_mean, grad_log_sigma], -1)
        grad_tents = x.new_empty(2, batch, patch, x.shape[1])
        dh, dc, cell = torch.zeros_like(c[0]), torch.zeros_like(c[0]), torch.empty_like(c[0])
        for t in reversed(range(steps)):
            i, f, g, o = pre[t, :, : 4 * hidden].chunk(4, 1)
            grad_gates, grad_reading, grad_raw = grad_pre[t].split(sizes, 1)
            di, df, dg, do = grad_gates.chunk(4, 1)
            # the LSTM
            dh += grad_h[t]
            tanh_backward(torch.mul(dh, o, out=cell), tanh_c[t], grad_input=cell)
            dc += cell
            sigmoid_backward(torch.mul(dh, tanh_c[t], out=cell), o, grad_input=do)
            sigmoid_backward(torch.mul(dc, g, out=cell), i, grad_input=di)
            sigmoid_backward(torch.mul(dc, c[t], out=cell), f, grad_input=df)
            tanh_backward(torch.mul(dc, i, out=cell), g, grad_input=dg)
            dc *= f
            # q(z_t) and its draw
            grad_z = torch.mm(grad_gates, weight_z)
            grad_statistics[t, :, :latent] += grad_z
            grad_statistics[t, :, latent:] += grad_z.mul_(sigma[t]).mul_(noise[t])
            torch.mm(grad_statistics[t], weight_s, out=grad_reading)
            torch.ops.aten.threshold_backward.grad_input(grad_reading, pre[t, :, 4 * hidden : -4], 0,
                                                         grad_input=grad_reading)
            # the window
            tents, sign, a, wide, scale = seen[t]
            grad_sprite = torch.mm(grad_reading, weight_r)
            work = (grad_sprite * sprite[t]).sum(1)
            grad_sprite = grad_sprite.div_(wide.prod(0)[:, None]).view(batch, patch, patch)
            torch.bmm(grad_sprite, torch.bmm(tents[1], x.transpose(1, 2)), out=grad_tents[0])
            torch.bmm(grad_sprite.transpose(1, 2), rows[t], out=grad_tents[1])
            grad_raw.copy_(window.backward(grad_tents, tents, sign, a, wide, scale, work))
            dh.copy_(torch.mm(grad_pre[t].to(dtype), weight))
        flat = grad_pre.flatten(0, 1)
        flat_gates, flat_reading, _ = flat.split(sizes, 1)
        flat_statistics = grad_statistics.flatten(0, 1)
        by_weight = (flat.to(dtype).t() @ factor[:-1].flatten(0, 1)).to(x.dtype)
        return (None, None, by_weight, flat.sum(0), flat_gates.t() @ z.flatten(0, 1),
                flat_reading.t() @ sprite.flatten(0, 1),
                flat_statistics.t() @ pre[:, :, 4 * hidden : -4].flatten(0, 1), flat_statistics.sum(0), None, None)


@functools.cache
def faster_dtype(batch: int = 48, hidden: int = 400) -> torch.dtype:
    """float32 or bfloat16, whichever multiplies faster here: measured, since a CPU without instructions for bfloat16
    emulates it at a fraction of the speed. Takes some milliseconds, once a process."""
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(batch, hidden, generator=generator), torch.randn(hidden, 4 * hidden, generator=generator)
    seconds = {}
    for dtype in (torch.float32, torch.bfloat16):
        left, right, laps = a.to(dtype), b.to(dtype), []
        for _ in range(12):
            began = time.perf_counter()
            torch.mm(left, right)
            laps.append(time.perf_counter() - began)
        seconds[dtype] = min(laps[2:])
    return min(seconds, key=seconds.get)
