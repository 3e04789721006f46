r"""Classes of numbers from five families, and the Variational Homoencoder that learns them.

Hewitt 2018, section 4.1 and figures 3 and 9 of the version submitted to ICLR: 100 classes of 100 elements; $p(x \mid
c)$ in the right parametric family with parameters linear in c, and $q(c; D)$ a linear map with Gaussian output. A class
has one or two latent numbers, so that $\log p(X)$ is an integral that a grid can take: the gap is known here too.

Where the paper is silent, the choice is stated at the place where it is made: the constants of the families beside
each, what the linear maps are given and where they start in `FamilyHomoencoder`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from oneshot_lib.data.episodes import ClassRows
from oneshot_lib.distributions import DiagonalGaussian
from oneshot_lib.models.conjugate import LOG_2PI, named_objective
from oneshot_lib.objectives import SetBound, importance_weighted_bound, set_bound

# --- the paper's five families ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Family:
    """One of the paper's five: `parameters` numbers describe a class; c has `latent` dimensions.

    `log_prob(x, parameters (..., P))` and `features(x) -> (..., F)`, what the linear q is given of an element;
    `draw(parameters, generator) -> x (...)`; `prior(points) -> (parameters (G, P), log_mass (G,))`, the fixed prior
    that the classes come from, on a grid of its one number, always on the CPU.
    """

    name: str
    parameters: int
    latent: int
    log_prob: Callable[[Tensor, Tensor], Tensor]
    features: Callable[[Tensor], Tensor]
    draw: Callable[[Tensor, torch.Generator | None], Tensor]
    prior: Callable[[int], tuple[Tensor, Tensor]]

    def sample(self, classes: int = 100, size: int = 100, generator: torch.Generator | None = None) -> Tensor:
        """`classes` classes of `size` elements, the paper's 100 and 100 -> (classes, size), float32."""
        parameters, log_mass = self.prior(8001)
        mass = log_mass.exp().float()
        chosen = torch.multinomial(mass, classes, replacement=True, generator=generator)
        return self.draw(parameters[chosen].float()[:, None].expand(-1, size, -1), generator)

    def log_marginal(self, elements: Tensor, points: int = 2001) -> Tensor:
        """log p(X) of the truth, (B, n) -> (B,): what no model passes on average. Float64."""
        parameters, log_mass = (term.to(elements.device) for term in self.prior(points))
        joint = [self.log_prob(x.double(), parameters[:, None]).sum(1) + log_mass for x in elements]  # each (G,)
        return torch.logsumexp(torch.stack(joint), 1)


def _scalar(x: Tensor) -> Tensor:
    return x[..., None]


def _normal_grid(points: int) -> tuple[Tensor, Tensor]:
    at = torch.linspace(-5, 5, points, dtype=torch.float64, device="cpu")
    return at, (-0.5 * at.square()).log_softmax(0)


def _uniform_grid(low: float, high: float, points: int) -> tuple[Tensor, Tensor]:
    at = low + (high - low) * (torch.arange(points, dtype=torch.float64, device="cpu") + 0.5) / points
    return at, torch.full_like(at, -math.log(points))


def _drawn(kind: Callable[..., Tensor], shape: Sequence[int], generator: torch.Generator | None, like: Tensor,
           dtype: torch.dtype | None = None) -> Tensor:
    """Random numbers of `kind` (torch.rand, torch.randn), drawn where the generator is, used where `like` is."""
    device = like.device if generator is None else generator.device
    return kind(shape, generator=generator, dtype=dtype or like.dtype, device=device).to(like.device)


def _columns(first: Tensor, *constants: float) -> Tensor:
    return torch.stack([first, *(torch.full_like(first, number) for number in constants)], -1)


# Gaussian: (mean, log sigma). mean ~ N(0, 1), sigma = 1: as far apart as they are wide.


def _gaussian_log_prob(x: Tensor, p: Tensor) -> Tensor:
    return -0.5 * (((x - p[..., 0]) * (-p[..., 1]).exp()).square() + LOG_2PI) - p[..., 1]


def _gaussian_draw(p: Tensor, generator: torch.Generator | None) -> Tensor:
    return p[..., 0] + p[..., 1].exp() * _drawn(torch.randn, p.shape[:-1], generator, p)


def _gaussian_prior(points: int) -> tuple[Tensor, Tensor]:
    mean, log_mass = _normal_grid(points)
    return _columns(mean, 0.0), log_mass


# Mixture: (location, half the separation, log sigma). location ~ N(0, 1), at location -+ 1, sigma = 1/4.


def _mixture_log_prob(x: Tensor, p: Tensor) -> Tensor:
    sides = [_gaussian_log_prob(x, torch.stack([p[..., 0] + side * p[..., 1], p[..., 2]], -1)) for side in (-1, 1)]
    return torch.logaddexp(*sides) - math.log(2)


def _mixture_draw(p: Tensor, generator: torch.Generator | None) -> Tensor:
    device = p.device if generator is None else generator.device
    side = 2 * torch.randint(2, p.shape[:-1], generator=generator, device=device).to(p) - 1
    return _gaussian_draw(torch.stack([p[..., 0] + side * p[..., 1], p[..., 2]], -1), generator)


def _mixture_prior(points: int) -> tuple[Tensor, Tensor]:
    location, log_mass = _normal_grid(points)
    return _columns(location, 1.0, -math.log(4)), log_mass


# von Mises: its natural parameters, kappa (cos mu, sin mu), so that a linear map has no seam on the circle; for the
# same reason q is given (cos x, sin x). mu uniform, kappa = 4.


def _von_mises_log_prob(x: Tensor, p: Tensor) -> Tensor:
    kappa = (p.square().sum(-1) + 1e-12).sqrt()
    return p[..., 0] * x.cos() + p[..., 1] * x.sin() - kappa - torch.special.i0e(kappa).log() - LOG_2PI


def _circle(x: Tensor) -> Tensor:
    return torch.stack([x.cos(), x.sin()], -1)


def _von_mises_draw(p: Tensor, generator: torch.Generator | None) -> Tensor:
    """By rejection from a wrapped Cauchy (Best and Fisher 1979): about two of three proposals are taken."""
    kappa = p.square().sum(-1).sqrt().double().clamp(min=1e-4)
    tau = 1 + (1 + 4 * kappa.square()).sqrt()
    rho = (tau - (2 * tau).sqrt()) / (2 * kappa)
    r = (1 + rho.square()) / (2 * rho)
    turn, waiting = torch.zeros_like(kappa), torch.ones_like(kappa, dtype=torch.bool)
    while waiting.any():
        u, v, side = _drawn(torch.rand, (3, *kappa.shape), generator, kappa)
        z = (math.pi * u).cos()
        f = ((1 + r * z) / (r + z)).clamp(-1, 1)
        height = kappa * (r - f)
        taken = waiting & (height.log() + 1 - height >= v.log())
        turn = torch.where(taken, f.acos() * torch.where(side < 0.5, -1.0, 1.0), turn)
        waiting = waiting & ~taken
    return torch.remainder(turn.to(p) + torch.atan2(p[..., 1], p[..., 0]) + math.pi, 2 * math.pi) - math.pi


def _von_mises_prior(points: int) -> tuple[Tensor, Tensor]:
    angle, log_mass = _uniform_grid(-math.pi, math.pi, points)
    return 4 * _circle(angle), log_mass


# Gamma: (log alpha, log beta), shape and rate. alpha uniform on [1, 10], beta = 1.


def _gamma_log_prob(x: Tensor, p: Tensor) -> Tensor:
    alpha = p[..., 0].exp()
    return alpha * p[..., 1] - torch.lgamma(alpha) + (alpha - 1) * x.log() - p[..., 1].exp() * x


def _gamma_draw(p: Tensor, generator: torch.Generator | None) -> Tensor:
    """The distribution function, turned round by bisection."""
    alpha = p[..., 0].double().exp()
    u = _drawn(torch.rand, p.shape[:-1], generator, alpha)
    low, high = torch.zeros_like(alpha), alpha + 12 * alpha.sqrt() + 40
    for _ in range(60):
        middle = (low + high) / 2
        below = torch.special.gammainc(alpha, middle) < u
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return (high / p[..., 1].double().exp()).to(p)


def _gamma_prior(points: int) -> tuple[Tensor, Tensor]:
    alpha, log_mass = _uniform_grid(1, 10, points)
    return _columns(alpha.log(), 0.0), log_mass


# Discrete: eight logits; x is 0., ..., 7. A class is uniform on 1-4, 5-8, the odd or the even ones, equally likely. Two
# dimensions of c are enough for four subsets (one for low or high, one for odd or even).

SUBSETS = torch.tensor([[1, 1, 1, 1, 0, 0, 0, 0], [0, 0, 0, 0, 1, 1, 1, 1],
                        [1, 0, 1, 0, 1, 0, 1, 0], [0, 1, 0, 1, 0, 1, 0, 1]], dtype=torch.float64)


def _discrete_log_prob(x: Tensor, p: Tensor) -> Tensor:
    shape = torch.broadcast_shapes(x.shape, p.shape[:-1])
    return p.log_softmax(-1).expand(*shape, 8).gather(-1, x.long().expand(shape)[..., None])[..., 0]


def _one_hot(x: Tensor) -> Tensor:
    return F.one_hot(x.long(), 8).to(x)


def _discrete_draw(p: Tensor, generator: torch.Generator | None) -> Tensor:
    mass = p.softmax(-1).reshape(-1, 8)
    mass = mass if generator is None else mass.to(generator.device)
    return torch.multinomial(mass, 1, replacement=True, generator=generator).reshape(p.shape[:-1]).to(p)


def _discrete_prior(points: int) -> tuple[Tensor, Tensor]:
    return SUBSETS.log(), torch.full((4,), -math.log(4), dtype=torch.float64, device="cpu")


FAMILIES = {family.name: family for family in (
    Family("gaussian", 2, 1, _gaussian_log_prob, _scalar, _gaussian_draw, _gaussian_prior),
    Family("mixture", 3, 1, _mixture_log_prob, _scalar, _mixture_draw, _mixture_prior),
    Family("von-mises", 2, 2, _von_mises_log_prob, _circle, _von_mises_draw, _von_mises_prior),
    Family("gamma", 2, 1, _gamma_log_prob, _scalar, _gamma_draw, _gamma_prior),
    Family("discrete", 8, 2, _discrete_log_prob, _one_hot, _discrete_draw, _discrete_prior),
)}


# --- the model that learns them ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FamilyConfig:
    """`family`: a name of `FAMILIES`; `spread`: the standard deviation of the decoder's initial slopes."""

    family: str = "gaussian"
    spread: float = 1.0

    def __post_init__(self):
        if self.family not in FAMILIES:
            raise ValueError(f"family is {self.family!r}; expected one of {', '.join(FAMILIES)}")


class FamilyHomoencoder(nn.Module):
    r"""$p(c) = \mathcal{N}(0, I)$, $p(x \mid c)$ a family with parameters $W c + b$, $q(c; D)$ a linear map of the mean
    of the elements' features to mean and log sigma. Elements are scalars: x (B,), support (B, N).

    The paper's q is "a simple linear map with Gaussian output"; ours maps the mean, so that it takes a D of any size in
    any order. q starts at the prior's width with small slopes, the decoder at slopes of size `config.spread`: a c that
    matters, so that an objective which silences it has to do so itself. `generator` draws the start.
    """

    image_size = None
    tractable, element_size, product_dtype = False, 0, torch.float32  # an element has no latent of its own

    def __init__(self, config: FamilyConfig | None = None, generator: torch.Generator | None = None):
        super().__init__()
        self.config = config or FamilyConfig()
        self.family = family = FAMILIES[self.config.family]
        self.encoder = nn.Linear(family.features(torch.zeros(1)).shape[-1], 2 * family.latent)
        self.decoder = nn.Linear(family.latent, family.parameters)
        for layer, scale in ((self.encoder, 0.1), (self.decoder, self.config.spread)):
            layer.weight.data = scale * torch.randn(layer.weight.shape, generator=generator)
            layer.bias.data.zero_()

    def posterior(self, support: Tensor) -> DiagonalGaussian:
        """`support` (B, N), any N >= 1 -> q(c; D), (B, latent)."""
        if support.dim() != 2 or support.shape[1] == 0:
            raise ValueError(f"support has shape {tuple(support.shape)}; expected (B, N) with N >= 1")
        return DiagonalGaussian(*self.encoder(self.family.features(support).mean(1)).chunk(2, -1))

    def class_kl(self, q: DiagonalGaussian, c: Tensor | None = None) -> Tensor:
        """KL(q(c; D) || p(c)), (B,), closed form; `c` is not needed."""
        return q.kl()

    def element_log_weights(self, x: Tensor, c: Tensor, k: int = 1, generator: torch.Generator | None = None) -> Tensor:
        """log p(x | c), (k, B): an element has no latent of its own, so every row is the same and exact."""
        return self.family.log_prob(x, self.decoder(c)).expand(k, -1)

    def terms(self, x: Tensor, support: Tensor, set_size: Tensor, generator: torch.Generator | None = None,
              rescale: bool = True) -> SetBound:
        """The set objective of x (B,) and D (B, N) of its class, at one draw of c."""
        q = self.posterior(support)
        c = q.sample(_drawn(torch.randn, q.mean.shape, generator, x))
        likelihood = self.element_log_weights(x, c)[0]
        return set_bound(likelihood, self.class_kl(q, c), set_size, support.shape[1], rescale=rescale)

    def sample_class(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        return _drawn(torch.randn, (n, self.family.latent), generator, self.decoder.weight)

    def class_prior(self, c: Tensor) -> DiagonalGaussian:
        """p(c) = N(0, I), over (B, latent)."""
        return DiagonalGaussian(torch.zeros_like(c), torch.zeros_like(c))

    def pair_log_likelihood(self, x: Tensor, c: Tensor, batch: int = 64) -> Tensor:
        """log p(x_q | c_s) of every pair: x (Q,), c (S, latent) -> (Q, S), nats."""
        return self.family.log_prob(x[:, None], self.decoder(c)[None])

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """One element of each of n new classes, (n,)."""
        return self.sample_from(self.sample_class(n, generator), generator)

    @torch.no_grad()
    def draw_like(self, support: Tensor, n: int, generator: torch.Generator | None = None) -> Tensor:
        """n new elements of the class of each support (G, N): (G, n)."""
        q = self.posterior(support)
        c = q.sample(_drawn(torch.randn, (n, *q.mean.shape), generator, q.mean)).transpose(0, 1)  # (G, n, latent)
        return self.sample_from(c.flatten(0, 1), generator).unflatten(0, (len(support), n))

    def sample_from(self, c: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """c (B, latent) -> one element of each class, (B,)."""
        return self.family.draw(self.decoder(c).detach(), generator)

    @torch.no_grad()
    def log_marginal(self, elements: Tensor, points: int | None = None) -> Tensor:
        """log p(X) of `elements` (B, n) -> (B,): the integral over c, on a grid of `points` a dimension, out to 7."""
        points = points or (4001 if self.family.latent == 1 else 301)
        line = torch.linspace(-7, 7, points, dtype=elements.dtype, device=elements.device)
        c = torch.cartesian_prod(*[line] * self.family.latent).reshape(-1, self.family.latent)
        cell = self.family.latent * math.log(14 / (points - 1))
        log_prior = -0.5 * (c.square() + LOG_2PI).sum(1) + cell
        parameters = self.decoder(c)[:, None]
        joint = [self.family.log_prob(x, parameters).sum(1) + log_prior for x in elements]
        return torch.logsumexp(torch.stack(joint), 1)


def set_objective(elements: Tensor, support_size: int, objective: str = "vhe", *, batch_size: int = 100,
                  anneal: int = 0) -> Callable[[FamilyHomoencoder, int, torch.Generator], Tensor]:
    """What `training.train` maximises: one of `SET_OBJECTIVES` on batches of algorithm 1 from `elements` (C, n).

    During the first `anneal` steps the price of c is weighted by (step + 1) / anneal (50 epochs in the paper,
    an epoch being C n / batch_size steps).
    """
    switches, (classes, size) = named_objective(objective), elements.shape
    rows, flat = ClassRows(torch.arange(classes, device="cpu").repeat_interleave(size).numpy()), elements.flatten()

    def maximised(model: FamilyHomoencoder, step: int, generator: torch.Generator) -> Tensor:
        batch = rows.minibatch(batch_size, support_size, generator, x_from=switches.x_from)
        terms = model.terms(flat[batch.x], flat[batch.support], batch.set_size, generator, rescale=switches.rescale)
        weight = min(1.0, (step + 1) / anneal) if anneal else 1.0
        return terms._replace(kl_class=weight * terms.kl_class).bound

    return maximised


class FamilyScores(NamedTuple):
    """The four rows of figures 3 and 9: `kl`, nats a class; `nll` |D|-shot, nats; `error` of deciding between two
    classes, a share; `joint_nll`, nats an element."""

    kl: float
    nll: float
    error: float
    joint_nll: float


@torch.no_grad()
def scores(model: FamilyHomoencoder, elements: Tensor, support_size: int, generator: torch.Generator | None = None, *,
           draws: int = 200) -> FamilyScores:
    """`elements` (C, n) of unseen classes; D is drawn from each class, x from the rest, the rival class at random.

    `draws` values of c stand for E_q, and are the importance samples of the joint likelihood from q(c; X).
    """
    classes, size = elements.shape
    if not 1 <= support_size < size:
        raise ValueError(f"support_size is {support_size!r}; expected 1 to {size - 1}, to leave an element to explain")
    shuffled = elements.gather(1, _drawn(torch.rand, (classes, size), generator, elements, torch.float32).argsort(1))
    q = model.posterior(shuffled[:, :support_size])

    def likelihood(q: DiagonalGaussian, x: Tensor) -> tuple[Tensor, Tensor]:  # (C, m) -> (draws, C, m), and c
        c = q.sample(_drawn(torch.randn, (draws, *q.mean.shape), generator, x))
        return model.family.log_prob(x, model.decoder(c)[:, :, None]), c

    x, device = shuffled[:, support_size:], elements.device if generator is None else generator.device
    rival = torch.randint(1, classes, (1,), generator=generator, device=device).item()
    own = likelihood(q, x)[0].mean(0)
    other = likelihood(DiagonalGaussian(q.mean.roll(rival, 0), q.log_sigma.roll(rival, 0)), x)[0].mean(0)
    error = (own < other).double() + 0.5 * (own == other)
    whole = model.posterior(elements)
    log_x, c = likelihood(whole, elements)
    weights = log_x.sum(-1) - 0.5 * (c.square() + LOG_2PI).sum(-1) - whole.log_prob(c)
    joint = importance_weighted_bound(weights).mean() / size
    return FamilyScores(q.kl().mean().item(), -own.mean().item(), error.mean().item(), -joint.item())
