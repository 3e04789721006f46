"""The objectives: every one a lower bound on a log-probability, in nats, to be maximised.

They are written in log-probabilities and divergences only. No network is known here, so that the same line serves
a linear-Gaussian toy and an eighty-step model, and a reader who holds the equation finds it once.

References:
    Rezende et al. 2016, One-Shot Generalization in Deep Generative Models.
    Burda et al. 2016, Importance Weighted Autoencoders.
    Hewitt et al. 2018, The Variational Homoencoder. Edwards and Storkey 2016, Towards a Neural Statistician.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor


class FreeEnergy(NamedTuple):
    r"""The terms of the free-energy bound, one row an example, not yet added up (Rezende 2016, eq. 8).

    $$\mathcal{F} = \mathbb{E}_q[\log p(x \mid z_{1:T})] - \sum_{t=1}^{T} \mathrm{KL}(q(z_t \mid z_{<t}, x) \,\|\,
            p(z_t))$$

    `log_likelihood` (B,): the first term, at one sample of z. `kl` (B, T): the price of each step. All in nats.
    """

    log_likelihood: Tensor
    kl: Tensor

    @property
    def bound(self) -> Tensor:
        """F itself, (B,), nats; `bound <= log p(x)` in expectation over the samples."""
        return self.log_likelihood - self.kl.sum(1)


def free_energy(log_likelihood: Tensor, kl: Tensor) -> FreeEnergy:
    """Checks the shapes of the two terms and pairs them: `log_likelihood` (B,), `kl` (B, T).

    Raises ValueError when the shapes do not belong together.

    >>> free_energy(torch.tensor([-10.0]), torch.tensor([[1.0, 2.0]])).bound
    tensor([-13.])
    """
    if log_likelihood.dim() != 1 or kl.dim() != 2 or len(log_likelihood) != len(kl):
        raise ValueError(
            f"log_likelihood has shape {tuple(log_likelihood.shape)} and kl {tuple(kl.shape)}; expected (B,) and (B, T)"
        )
    return FreeEnergy(log_likelihood, kl)


def importance_weighted_bound(log_weights: Tensor) -> Tensor:
    r"""$\mathcal{L}_K = \log \frac1K \sum_{k=1}^{K} w_k$, $w_k = p(x, z_k) / q(z_k \mid x)$ (Burda 2016, eq. 8).

    `log_weights` (K, B), each row from its own draw of z -> (B,), nats. With K = 1 it is a one-sample free energy;
    it grows with K in expectation and never passes log p(x) in expectation. Raises ValueError where K is 0.

    >>> importance_weighted_bound(torch.tensor([[0.0], [0.0]]))
    tensor([0.])
    """
    if log_weights.dim() != 2 or len(log_weights) == 0:
        raise ValueError(f"log_weights has shape {tuple(log_weights.shape)}; expected (K, B) with K >= 1")
    return torch.logsumexp(log_weights, 0) - math.log(len(log_weights))


# --- sets: one latent c for all the elements of a class --------------------------------------------------------------


@dataclass(frozen=True)
class SetObjective:
    """One of Hewitt's four objectives: the same terms, and two switches (Hewitt 2018, table 1).

    `resample`: x is any element of the class X, not one of the support D that c was inferred from.
    `rescale`: the price of c is divided by |X|, for which it was paid, not by |D|.
    """

    name: str
    resample: bool
    rescale: bool

    @property
    def x_from(self) -> str:
        """Where `ClassRows.minibatch` takes x from: "class" or "support"."""
        return "class" if self.resample else "support"

    @property
    def bounds(self) -> bool:
        """Whether its mean bounds a likelihood, of X or of D: where x and the price are of the same set."""
        return self.resample == self.rescale


SET_OBJECTIVES = {
    "vhe": SetObjective("Variational Homoencoder", resample=True, rescale=True),  # eq. 15
    "neural-statistician": SetObjective("Neural Statistician", resample=False, rescale=False),  # eq. 6, over |D|
    "resample": SetObjective("Resample only", resample=True, rescale=False),
    "rescale": SetObjective("Rescale only", resample=False, rescale=True),
}


class SetBound(NamedTuple):
    """The terms of a set objective, one row an element x, not yet added up. All (B,), the first three in nats.

    `log_likelihood` log p(x | c) or log p(x | c, z) at one draw; `kl_element` KL(q(z | c, x) || p(z | c)), zero where
    elements have no latent; `kl_class` KL(q(c | D) || p(c)), whole; `shared_by` the number that divides it.
    """

    log_likelihood: Tensor
    kl_element: Tensor
    kl_class: Tensor
    shared_by: Tensor

    @property
    def bound(self) -> Tensor:
        """The objective of each element, (B,), nats an element."""
        return self.log_likelihood - self.kl_element - self.kl_class / self.shared_by


def set_bound(log_likelihood: Tensor, kl_class: Tensor, set_size: Tensor, support_size: int, *,
              kl_element: Tensor | None = None, rescale: bool = True) -> SetBound:
    r"""The four objectives over sets, an element at a time (Hewitt 2018, eqs. 6, 15 and 16).

    $$\mathbb{E}_{q(c \mid D)\,q(z \mid c, x)} \log p(x \mid c, z) - \mathrm{KL}(q(z \mid c, x) \,\|\, p(z \mid c)) -
            \frac1{|X|} \mathrm{KL}(q(c \mid D) \,\|\, p(c))$$

    `log_likelihood`, `kl_class`, `set_size` = |X| and `kl_element` are (B,); `support_size` = |D|. With `rescale=False`
    the price of c is divided by |D|. Whether x was drawn from X or from D is the batch's business (the other switch,
    `SetObjective.x_from`). Averaged over x and D, the pair (resample, rescale) bounds log p(X) / |X| for every |D|,
    neither of the two bounds log p(D) / |D|; resample alone lies below the first, and rescale alone bounds nothing.
    With D = X the four are one: the evidence bound of the set, over |X|. Raises ValueError on shapes that do not fit.

    >>> terms = set_bound(torch.tensor([-10.0]), torch.tensor([20.0]), torch.tensor([20]), support_size=5)
    >>> terms.bound, terms.kl_class
    (tensor([-11.]), tensor([20.]))
    """
    kl_element = torch.zeros_like(log_likelihood) if kl_element is None else kl_element
    given = {"log_likelihood": log_likelihood, "kl_class": kl_class, "set_size": set_size, "kl_element": kl_element}
    for name, term in given.items():
        if term.shape != (len(log_likelihood),):
            raise ValueError(f"{name} has shape {tuple(term.shape)}; expected ({len(log_likelihood)},)")
    if support_size < 1:
        raise ValueError(f"support_size is {support_size!r}; expected |D| of at least 1")
    shared_by = set_size if rescale else torch.full_like(set_size, support_size)
    return SetBound(log_likelihood, kl_element, kl_class, shared_by.to(log_likelihood))
