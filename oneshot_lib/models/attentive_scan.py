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

import math

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
    if x.shape[1] != x.shape[2]:
        raise ValueError(f"x has images of {x.shape[1]}x{x.shape[2]}; expected square ones")
    h, mean, log_sigma, raw = _AttentiveScan.apply(
        x, noise.transpose(0, 1).contiguous(), weight_hh, weight_ih, bias, window_weight, window_bias, hidden_weight,
        hidden_bias, output_weight, output_bias, patch, x.dtype if dtype == torch.float32 else dtype)
    return tuple(term.transpose(0, 1) for term in (h, mean, log_sigma, raw))


class _Window:
    """The tents of `attention.axis_kernel`, both axes at once, and the way back to the four numbers of a window.

    With `a = position / w` and `b = 1 / w`, a tent is `relu(1 - |a - b n|)` over the pixels n,
            and the factor 1/w of each
    axis is left for the patch, which is smaller. The first dimension is the axis, y before x.
    """

    def __init__(self, patch: int, pixels: int, like: Tensor):
        self.centres = pixel_centres(patch, like=like)
        self.spacing = 2 / patch  # of the patch points, in half-extents
        self.grid = torch.arange(pixels, dtype=like.dtype, device=like.device)
        half = pixels / 2
        # outside (x, y, log half-width, log half-height) of the image; inside
        # (y, x, log half-height, log half-width) in pixels
        self.swap = [1, 0, 3, 2]
        self.stretch = like.new_tensor([half, half, 1, 1])
        self.shift = like.new_tensor([half - 0.5, half - 0.5, math.log(half), math.log(half)])
        self.moments = torch.stack([-torch.ones_like(self.grid), self.grid], 1)  # d (b n - a) / d (a, b): (pixels, 2)

    def kernels(self, raw: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """(B, 4) -> tents and the sign of their distances (2, B, patch, pixels), a (2, B, patch), b and extent (2,
        B).
        """
        centre, extent = raw[:, :2].t(), raw[:, 2:].t().exp()
        b = (extent * self.spacing).clamp_min_(1).reciprocal_()
        a = torch.addcmul(centre[..., None], extent[..., None], self.centres).mul_(b[..., None])
        distance = torch.addcmul(a[..., None], b[..., None, None], self.grid, value=-1)
        sign = distance.sign()
        return torch.sub(1, distance.abs_(), out=distance).relu_(), sign, a, b, extent

    def backward(self, grad: Tensor, seen: tuple, work: Tensor, out: Tensor) -> None:
        """The gradient of the tents (2, B, patch, pixels), and `work` (B), that of log b on either axis -> `out`
        (B, 4).
        """
        tents, sign, a, b, extent = seen
        torch.ops.aten.threshold_backward.grad_input(grad, tents, 0, grad_input=grad)
        by_a, by_b = torch.matmul(grad.mul_(sign), self.moments).unbind(-1)  # (2, B, patch)
        by_position = by_a * b[..., None]
        # b = 1 / max(1, spacing * extent): where it moves, d b / d extent = -spacing * b^2
        by_b = (a * by_a).sum(-1).add_(work).addcmul_(by_b.sum(-1), b).mul_(b).mul_((b < 1) * -self.spacing)
        out[:, :2].copy_(by_position.sum(-1).t())
        out[:, 2:].copy_((by_position @ self.centres).add_(by_b).mul_(extent).t())


class _AttentiveScan(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, noise, weight_hh, weight_z, bias, window_weight, window_bias, hidden_weight, hidden_bias,
                weight_s, bias_s, patch, dtype):
        steps, batch, latent = noise.shape
        window = _Window(patch, x.shape[2], x)
        weight_r, hidden = hidden_weight[:, : patch * patch], weight_hh.shape[1]
        wider = window.stretch[:, None]
        weight = torch.cat([w.to(dtype) for w in (weight_hh, hidden_weight[:, patch * patch :],
                                                  window_weight[window.swap] * wider)])
        offset = torch.cat([bias, hidden_bias, window_bias[window.swap] * window.stretch + window.shift])
        width = len(offset)

        def kept(*shape):
            return x.new_empty(steps, batch, *shape)

        h, c = x.new_zeros(steps + 1, batch, hidden), x.new_zeros(steps + 1, batch, hidden)
        pre, tanh_c, z, sigma = kept(width), kept(hidden), kept(latent), kept(latent)
        sprite, statistics, rows = kept(patch * patch), kept(2 * latent), kept(patch, x.shape[2])
        gates, reading, raw = pre.split([4 * hidden, width - 4 * hidden - 4, 4], 2)
        factor = h if dtype == h.dtype else h.to(dtype)  # h as a factor of the large products
        weight_t, weight_z_t, weight_r_t, weight_s_t = weight.t(), weight_z.t(), weight_r.t(), weight_s.t()
        mean, log_sigma = statistics.split(latent, 2)
        views = (factor, pre, gates, *gates.chunk(4, 2), gates[..., : 2 * hidden], reading, raw, rows, sprite,
                 sprite.unflatten(2, (patch, patch)), statistics, mean, log_sigma, sigma, noise, z, c, c[1:], tanh_c,
                 h[1:])
        seen = []
        for (factor_t, pre_t, gates_t, i, f, g, o, i_and_f, reading_t, raw_t, rows_t, sprite_t, patch_t, statistics_t,
             mean_t, log_sigma_t, sigma_t, noise_t, z_t, c_before, c_t, tanh_c_t, h_t) in _steps(views):
            torch.add(offset, torch.mm(factor_t, weight_t), out=pre_t)
            # r_t = K_y x K_x^T, through the window that h_{t-1} asks for
            seen.append(window.kernels(raw_t))
            (tents_y, tents_x), b = seen[-1][0], seen[-1][3]
            torch.bmm(tents_y, x, out=rows_t)
            torch.bmm(rows_t, tents_x.transpose(1, 2), out=patch_t)
            sprite_t.mul_(b.prod(0)[:, None])
            # q(z_t) and its draw
            reading_t.addmm_(sprite_t, weight_r_t).relu_()
            torch.addmm(bias_s, reading_t, weight_s_t, out=statistics_t)
            torch.exp(log_sigma_t, out=sigma_t)
            torch.addcmul(mean_t, sigma_t, noise_t, out=z_t)
            # the LSTM
            gates_t.addmm_(z_t, weight_z_t)
            i_and_f.sigmoid_(), g.tanh_(), o.sigmoid_()
            torch.mul(f, c_before, out=c_t).addcmul_(i, g)
            torch.tanh(c_t, out=tanh_c_t)
            torch.mul(o, tanh_c_t, out=h_t)
            if factor is not h:
                factor[len(seen)].copy_(h_t)
        ctx.save_for_backward(x, noise, weight, weight_z, weight_r, weight_s)
        ctx.kept = (window, factor, c, pre, tanh_c, z, sprite, seen, rows, sigma)
        asked = ((raw - window.shift) / window.stretch)[..., window.swap]
        ctx.mark_non_differentiable(asked)
        return h[1:], mean, log_sigma, asked

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_h, grad_mean, grad_log_sigma, _):
        x, noise, weight, weight_z, weight_r, weight_s = ctx.saved_tensors
        window, factor, c, pre, tanh_c, z, sprite, seen, rows, sigma = ctx.kept
        batch = noise.shape[1]
        hidden, patch, dtype = c.shape[2], len(window.centres), weight.dtype
        sigmoid_backward = torch.ops.aten.sigmoid_backward.grad_input
        tanh_backward = torch.ops.aten.tanh_backward.grad_input
        threshold_backward = torch.ops.aten.threshold_backward.grad_input
        sizes = [4 * hidden, pre.shape[2] - 4 * hidden - 4, 4]
        grad_pre = torch.empty_like(pre)
        grad_gates, grad_reading, grad_raw = grad_pre.split(sizes, 2)
        gates, reading, _ = pre.split(sizes, 2)
        grad_statistics = torch.stack([grad_mean, grad_log_sigma], 2)  # (T, B, 2, latent)
        by_z = torch.stack([torch.ones_like(sigma), sigma * noise], 2)  # d z / d (mean, log sigma)
        grad_tents = x.new_empty(2, batch, patch, x.shape[1])
        grad_tents_y, grad_tents_x = grad_tents
        x_t = x.transpose(1, 2)
        dh, dc, cell = torch.zeros_like(c[0]), torch.zeros_like(c[0]), torch.empty_like(c[0])
        views = (seen, grad_h, *gates.chunk(4, 2), c, tanh_c, reading, sprite, rows, by_z, grad_pre, grad_gates,
                 *grad_gates.chunk(4, 2), grad_statistics, grad_statistics.flatten(2), grad_reading, grad_raw)
        for (seen_t, grad_h_t, i, f, g, o, c_before, tanh_c_t, reading_t, sprite_t, rows_t, by_z_t, grad_pre_t,
        grad_gates_t,
             di, df, dg, do, pair_t, grad_statistics_t, grad_reading_t, grad_raw_t) in reversed(_steps(views)):
            # the LSTM
            dh += grad_h_t
            tanh_backward(torch.mul(dh, o, out=cell), tanh_c_t, grad_input=cell)
            dc += cell
            sigmoid_backward(torch.mul(dh, tanh_c_t, out=cell), o, grad_input=do)
            sigmoid_backward(torch.mul(dc, g, out=cell), i, grad_input=di)
            sigmoid_backward(torch.mul(dc, c_before, out=cell), f, grad_input=df)
            tanh_backward(torch.mul(dc, i, out=cell), g, grad_input=dg)
            dc *= f
            # q(z_t) and its draw
            pair_t.addcmul_(torch.mm(grad_gates_t, weight_z)[:, None], by_z_t)
            torch.mm(grad_statistics_t, weight_s, out=grad_reading_t)
            threshold_backward(grad_reading_t, reading_t, 0, grad_input=grad_reading_t)
            # the window
            tents, b = seen_t[0], seen_t[3]
            grad_sprite = torch.mm(grad_reading_t, weight_r)
            work = (grad_sprite * sprite_t).sum(1)
            grad_patch = grad_sprite.mul_(b.prod(0)[:, None]).view(batch, patch, patch)
            torch.bmm(grad_patch, torch.bmm(tents[1], x_t), out=grad_tents_y)
            torch.bmm(grad_patch.transpose(1, 2), rows_t, out=grad_tents_x)
            window.backward(grad_tents, seen_t, work, out=grad_raw_t)
            dh.copy_(torch.mm(grad_pre_t.to(dtype), weight))
        flat, flat_statistics = grad_pre.flatten(0, 1), grad_statistics.flatten(2).flatten(0, 1)
        flat_gates, flat_reading, _ = flat.split(sizes, 1)
        by_weight = (flat.to(dtype).t() @ factor[:-1].flatten(0, 1)).to(x.dtype).split(sizes)
        by_offset = flat.sum(0).split(sizes)
        by_hidden = torch.cat([flat_reading.t() @ sprite.flatten(0, 1), by_weight[1]], 1)
        by_window = (by_weight[2] * window.stretch[:, None])[window.swap], (by_offset[2] * window.stretch)[window.swap]
        by_output = flat_statistics.t() @ reading.flatten(0, 1), flat_statistics.sum(0)
        return (None, None, by_weight[0], flat_gates.t() @ z.flatten(0, 1), by_offset[0], *by_window, by_hidden,
                by_offset[1], *by_output, None, None)


def _steps(buffers) -> list[tuple]:
    """One tuple of views a step. All views are made before the loop: made inside, they take a tenth of its time."""
    return list(zip(*(b if isinstance(b, list) else b.unbind() for b in buffers), strict=False))
