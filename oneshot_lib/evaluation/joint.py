"""The likelihood of a whole class, all its elements together, under a model over sets."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..objectives import importance_weighted_bound


@torch.no_grad()
def joint_likelihood(model: nn.Module, elements: Tensor, outer: int = 20, inner: int = 10, *,
                     generator: torch.Generator, batch: int = 64) -> float:
    r"""$\frac1n \log p(X)$ of a whole class by importance weighting, nats an element (Hewitt 2018, table 3).

    $$\frac1n \log \frac1K \sum_{k=1}^K \frac{p(c_k)}{q(c_k \mid X)} \prod_{x \in X} \hat p(x \mid c_k),
            \quad c_k \sim q(c \mid X)$$

    `elements` (n, ...) are X, K = `outer`; each $\hat p(x \mid c_k)$ is importance weighted with `inner` draws of z,
    and exact where there is no z. In expectation it never passes the truth, nor falls below the bound with D = X.
    `batch` elements are decoded at once. Raises ValueError for no element and for numbers below 1.
    """
    n = len(elements)
    if n < 1 or outer < 1 or inner < 1:
        raise ValueError(f"there are {n} elements, outer is {outer} and inner is {inner}; expected at least 1 of each")
    model.eval()
    q = model.posterior(elements[None])
    shape = outer, q.mean.shape[1]
    noise = torch.randn(shape, generator=generator, device=generator.device, dtype=q.mean.dtype).to(q.mean.device)
    c = q.mean + q.log_sigma.exp() * noise
    log_weights = (model.class_prior(c).log_prob(c) - q.log_prob(c)).double()
    for rows in torch.arange(outer, device=c.device).split(max(1, batch // n)):
        x = elements.repeat(len(rows), *[1] * (elements.dim() - 1))
        terms = model.element_log_weights(x, c[rows].repeat_interleave(n, 0), inner, generator).double()
        log_weights[rows] += importance_weighted_bound(terms).view(len(rows), n).sum(1)
    return importance_weighted_bound(log_weights[:, None]).item() / n
