"""No tensor is made on the wrong device, which a machine without a GPU would not notice by itself.

Every model, variety of attention and objective is taken through two worlds. In one, model and data are on "meta", a
device of shapes without numbers, and what is made without saying where lies on the CPU. In the other, model and data
are on the CPU with all their numbers, and what is made without saying where lies on "meta"; so code that looks at a
number, which "meta" has none of, is checked too. In both, `OneDevice` refuses what a GPU would refuse.
"""

import ast
import importlib
import inspect
import pkgutil
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import oneshot_lib
from oneshot_lib import attention, models, objectives
from oneshot_lib.distributions import Bernoulli, DiagonalGaussian
from oneshot_lib.evaluation import classification
from oneshot_lib.models import (
    attentive_scan,
    cached_sampling,
    conjugate,
    critics,
    families_1d,
    few_shot,
    homoencoder,
    pixelcnn,
)
from oneshot_lib.models.attention_pixelcnn import AttentionConfig, AttentionPixelCNN
from oneshot_lib.models.families_1d import FAMILIES, FamilyConfig, FamilyHomoencoder
from oneshot_lib.models.meta_pixelcnn import MetaConfig, MetaPixelCNN
from oneshot_lib.models.sampling_caches import Page
from oneshot_lib.models.sequential import SequentialConfig, SequentialModel
from oneshot_lib.objectives import SET_OBJECTIVES

aten = torch.ops.aten
ANYWHERE = {aten._to_copy, aten.copy_, aten.lift_fresh, aten.index, aten.set_}  # copies; numbers of rows, a GPU's too


class OtherDevice(AssertionError):
    pass


class OneDevice(TorchDispatchMode):
    """Within, every operation, forwards and backwards, has all its tensors on one device, single numbers aside, and its
    generator too. Raises OtherDevice; "meta" by itself lets much of it pass, matrix products first of all. What is
    copied from there to the CPU, to draw by a generator that is there, is one half."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func.overloadpacket is aten._to_copy and args[0].is_meta and str(kwargs.get("device")) == "cpu":
            return torch.full(args[0].shape, 0.5, dtype=kwargs.get("dtype") or args[0].dtype, device="cpu")
        out = func(*args, **kwargs)
        tensors = [t for t in tree_leaves((args, kwargs, out)) if isinstance(t, Tensor) and t.dim()]
        devices = {t.device.type for t in tensors} if func.overloadpacket not in ANYWHERE else set()
        if kwargs.get("generator") is not None:
            devices |= {kwargs["generator"].device.type} | {t.device.type for t in tree_leaves(out)}
        if len(devices) > 1:
            raise OtherDevice(f"{func} has to do with {' and '.join(sorted(devices))}")
        return out


@dataclass
class Case:
    """`learn(model, generator, *given)` is what training maximises, `use` all else that a model is for. `unknown` says
    why `use` can't be done without numbers, where it can't."""

    make: Callable[[], nn.Module | None]
    given: tuple[Tensor, ...]
    learn: Callable[..., Tensor]
    use: Callable[..., object] = lambda *_: None
    unknown: str = ""


def ink(*shape):
    return (torch.rand(shape, generator=torch.Generator().manual_seed(1)) > 0.6).float()


def some(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(2))


# --- the models -------------------------------------------------------------------------------------------------------

SMALL = SequentialConfig(image_size=9, steps=2, hidden=6, latent=2, canvas_channels=2, patch=4, posterior_hidden=5)
FEW = {"image_size": 6, "channels": 3, "layers": 2, "first_kernel": 3}
SUPPORT, DRAWINGS = ink(2, 3, 1, 6, 6), ink(4, 1, 6, 6)


def sequential(fused=None, product_dtype=torch.float32, **changes):
    def make():
        model = SequentialModel(replace(SMALL, **changes))
        model.product_dtype = product_dtype
        return model

    def use(model, generator, x):
        weights = model.log_weights(x, 2, generator)
        return (objectives.importance_weighted_bound(weights), model.sample(2, generator), model.draw(2, generator),
                model.reconstruct(x, generator))

    return Case(make, (ink(2, 1, 9, 9),), lambda model, generator, x: model.terms(x, generator, fused=fused).bound,
                use)


def stack(kind=pixelcnn.GatedPixelCNN, size=(6, 7), **settings):
    config = pixelcnn.PixelCNNConfig(**{"channels": 3} | settings)
    y = (some(2, config.condition_channels, *size),) if config.condition_channels else ()

    def use(model, generator, x, *y):
        drawn = model.sample(size, len(x), generator=generator, **{"y": y[0]} if y else {})
        corner = [t[:1, :, :2, :2] for t in y]
        return drawn, cached_sampling.sample_naive(model, torch.rand_like(x[:1, 0, :2, :2]), *corner)

    return Case(lambda: kind(config), (config.levels // 2 * ink(2, 1, *size), *y),
                lambda model, generator, x, *y: model.log_prob(x, *y), use)


def few(kind, config, **settings):
    def use(model, generator, x, support):
        scores = classification.log_scores(model, support, x, generator=generator or torch.Generator("cpu"))
        seen = model.read(x, support) if hasattr(model, "read") else None
        return scores, seen, model.draw_like(support, 2, generator=generator)

    return Case(lambda: kind(config(**FEW | settings)), (DRAWINGS, SUPPORT),
                lambda model, generator, x, support: model.log_prob(x, support), use)


def sets(make, given=None, unknown="", side=28, **switches):
    x, support = given or (ink(4, 1, side, side), ink(2, 3, 1, side, side))

    def learn(model, generator, x, support, set_size):
        return model.terms(x, support, set_size, generator, **switches).bound

    def use(model, generator, x, support, set_size):
        c = model.sample_class(len(support), generator)
        weights = model.element_log_weights(x[:len(support)], model.posterior(support).mean, 2, generator)
        return c, weights, model.sample_from(c, generator)

    return Case(make, (x, support, torch.full((len(support),), 20)), learn, use, unknown)


def deconvolutional():
    return homoencoder.DeconvolutionalHomoencoder(homoencoder.DeconvolutionalConfig(class_latent=3, width=4))


def hierarchical(**settings):
    small = {"image_size": 6, "class_channels": 2, "channels": 3, "decoder_layers": 1}
    config = homoencoder.PixelCNNHomoencoderConfig(**small | settings)
    return sets(lambda: homoencoder.PixelCNNHomoencoder(config), side=6)


def numbers(name):
    x = FAMILIES[name].sample(2, 4, torch.Generator().manual_seed(3))
    unknown = "the draws are proposed until all are taken" if name == "von-mises" else ""
    case = sets(lambda: FamilyHomoencoder(FamilyConfig(name)), (x[:, 3], x[:, :3]), unknown)
    less = case.use

    def use(model, generator, x, support, set_size):
        return (less(model, generator, x, support, set_size), model.log_marginal(support, 5),
                model.family.log_marginal(support, 5))

    return replace(case, use=use)


SMALL_CRITIC = critics.CriticConfig(channels=2, embedding=4, projection=3)

MODELS = {
    **{f"sequential, {name}": sequential(attention=name) for name in attention.VARIETIES},
    "sequential, step by step": sequential(fused=False), "sequential, gated canvas": sequential(canvas="cgru"),
    "sequential, wide canvas": sequential(canvas_size=12),
    "sequential, bfloat16": sequential(product_dtype=torch.bfloat16),
    "pixelcnn": stack(), "pixelcnn, 4 levels, a condition": stack(levels=4, condition_channels=2),
    "pixelcnn, row by row": stack(layers=4, size=(4, 4)), "pixelcnn, blind spot": stack(pixelcnn.PixelCNN),
    "unconditional": few(few_shot.UnconditionalPixelCNN, few_shot.FewShotConfig),
    "conditional": few(few_shot.ConditionalPixelCNN, few_shot.ConditionalConfig, code=4, encoder_channels=2),
    "conditional, mapped": few(few_shot.ConditionalPixelCNN, few_shot.ConditionalConfig, code=4, encoder_channels=2,
                               code_map=2),
    "attention": few(AttentionPixelCNN, AttentionConfig, reads=(1,), heads=2, key=3, encoder_channels=2),
    "meta": few(MetaPixelCNN, MetaConfig, inner_channels=2),
    "homoencoder": hierarchical(), "homoencoder, without z": hierarchical(element_latent=0),
    "homoencoder, deconvolutional": sets(deconvolutional), "homoencoder, |D|": sets(deconvolutional, rescale=False),
    **{f"numbers, {name}": numbers(name) for name in FAMILIES},
    "contrastive critic": Case(lambda: critics.ContrastiveCritic(SMALL_CRITIC), (ink(4, 1, 50, 50),),
                               lambda model, generator, x: model.log_prob(x)),
    "prototypical critic": Case(lambda: critics.PrototypicalCritic(SMALL_CRITIC), (ink(2, 1, 50, 50),
                                                                                   ink(4, 1, 50, 50)),
                                lambda model, generator, *x: model.log_prob(*x)),
}


# --- attention, objectives, what has no parameters --------------------------------------------------------------------


def variety(name):
    one, area = attention.named(name), (9, 9)
    size = one.patch_size(4, area)
    shape = 2, one.windows_a_step * 3, *size

    def learn(_, generator, image, patch, numbers):
        seen, written = one.read(image, numbers, size), one.write(patch, one.adjoint(numbers), area)
        return seen.sum((1, 2, 3)) + written.sum((1, 2, 3)) + numbers.sum(1)

    def use(_, generator, image, patch, numbers):
        windows = one.windows(numbers, size, area)
        places = None
        if isinstance(one, attention.ErrorBased):
            places = one.draw(numbers[:, :1], image, image.flip(0))
        elif not one.asked:
            places = one.draw(numbers, size, area)
        return attention.corners(windows), places, attention.error_probabilities(image, image.flip(0))

    return Case(lambda: None, (ink(2, 3, *area), some(*shape), 0.1 * some(2, one.numbers)), learn, use)


def set_terms(_, generator, x, kl, size, switches):
    return objectives.set_bound(x, kl, size, 2, rescale=switches.rescale).bound


CONJUGATE = conjugate.ConjugateGaussian()
REST = {
    **{f"variety, {name}": variety(name) for name in attention.VARIETIES},
    "a window that is looked at": Case(
        lambda: None, (ink(2, 1, 9, 9), attention.axis_aligned(torch.zeros(2, 2), torch.ones(2, 2))),
        lambda _, generator, image, window: image.sum((1, 2, 3)) + window.sum((1, 2)),
        lambda _, generator, image, window: attention.read(image, window, (4, 4)),
        "whether the window is axis-aligned is seen from its numbers"),
    "free energy": Case(lambda: None, (some(3), some(3, 2)),
                        lambda _, generator, *terms: objectives.free_energy(*terms).bound),
    "importance-weighted bound": Case(lambda: None, (some(4, 3),),
                                      lambda _, generator, w: objectives.importance_weighted_bound(w)),
    **{f"objective, {name}": Case(
        lambda: None, (some(3), some(3), torch.full((3,), 5)),
        lambda _, generator, *terms, switches=switches: set_terms(_, generator, *terms, switches))
       for name, switches in SET_OBJECTIVES.items()},
    "distributions": Case(
        lambda: None, (some(3, 2), some(3, 2), ink(3, 2)),
        lambda _, generator, mean, log_sigma, x: DiagonalGaussian(mean, log_sigma).kl() + Bernoulli(mean).log_prob(x),
        lambda _, generator, mean, log_sigma, x: Bernoulli(mean).sample(generator)),
    "conjugate": Case(
        lambda: None, (some(3, 4),), lambda _, generator, x: CONJUGATE.objective(x, 2) + CONJUGATE.gap(x, 2),
        lambda _, generator, x: (CONJUGATE.objective(x, 2, q=CONJUGATE.best_encoder(x, 2)), CONJUGATE.posterior(x),
                                 CONJUGATE.ceiling(x, 2)),
        "the best encoder is a triple of Python's numbers"),
    "scores of numbers": Case(
        lambda: FamilyHomoencoder(FamilyConfig()), (some(3, 4),),
        lambda model, generator, x: model.posterior(x).kl(),
        lambda model, generator, x: families_1d.scores(model, x, 2, generator, draws=3), "the scores are numbers"),
    "scores of classes": replace(
        sets(deconvolutional), unknown="the classes worth sampling are chosen by their scores",
        use=lambda model, generator, x, support, _: classification.log_scores(
            model, support, x, outer=5, inner=2, keep=9.0, generator=generator or torch.Generator("cpu"))),
}
EVERY = MODELS | REST


def once(case, model, device, generator):
    """Training and use, with everything that comes of them on `device`."""
    given = [t.to(device).requires_grad_(t.is_floating_point() and model is None) for t in case.given]
    parameters = [t for t in (given if model is None else model.parameters()) if t.requires_grad]
    with OneDevice():
        objective = case.learn(model, generator, *given)
        gradients = torch.autograd.grad(objective.sum(), parameters, allow_unused=True)
        used = None
        if device == "cpu" or not case.unknown:
            if model is not None:
                model.eval()
            with torch.no_grad():
                used = case.use(model, generator, *given)
    made = [t for t in tree_leaves((objective, gradients, used)) if isinstance(t, Tensor)]
    made += [t for one in tree_leaves(used) if hasattr(one, "__dataclass_fields__") for t in vars(one).values()]
    assert {t.device.type for t in made} == {device} and any(g is not None for g in gradients)


def on_meta(case):
    """With a generator that is on the CPU. Autocast knows no "meta": its part is seen with another default."""
    autocast, model = torch.autocast, case.make()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "autocast", lambda kind, *args, **settings: nullcontext() if kind == "meta" else
                      autocast(kind, *args, **settings))
        once(case, None if model is None else model.to("meta"), "meta", torch.Generator("cpu"))


def with_another_default(case):
    """Without a generator: what is drawn is drawn where it is used."""
    model = case.make()
    with torch.device("meta"), torch.random.fork_rng([]):
        torch.manual_seed(0)
        once(case, model, "cpu", None)


WORLDS = {"another device than the CPU": on_meta, "another device than the default": with_another_default}
every_world = pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS)


@every_world
@pytest.mark.parametrize("name", EVERY)
def test_everything_is_where_its_model_and_data_are(name, world):
    world(EVERY[name])


def test_every_network_is_taken_through():
    """All that `models` defines, but for what the others inherit from."""
    modules = [importlib.import_module(f"{models.__name__}.{m.name}") for m in pkgutil.iter_modules(models.__path__)]
    defined = {c for m in modules for c in vars(m).values() if inspect.isclass(c) and issubclass(c, nn.Module)
               and c.__module__.startswith(models.__name__)}
    made = [case.make() for case in MODELS.values()]
    taken = {type(part) for model in made for part in model.modules()}
    assert defined - taken == {homoencoder.Homoencoder, few_shot.FewShotPixelCNN, critics.Critic}


# --- the faults that they must catch ----------------------------------------------------------------------------------


def start_anywhere(model, like):
    zero = torch.zeros(len(like), model.config.hidden)
    return zero, zero


def zeros_anywhere(page, noise, channels, above, left, right, one_row=False):
    init(page, noise, channels, above, left, right, one_row)
    page.cells = torch.zeros(page.cells.shape)


def generator_elsewhere(model, n, size, like, generator):
    return torch.randn(n, size, generator=generator, device=like.device)


def noise_anywhere(kind, shape, generator, like, dtype=None):
    return kind(shape, generator=generator, dtype=dtype or like.dtype)


def centres_anywhere(n, like=None):
    return (2 * torch.arange(n) + 1) / n - 1


def backward_anywhere(window, grad, seen, work, out):
    grad.mul_(torch.ones(grad.shape))


init = Page.__init__
FAULTS = {  # where, what is put there, the case that finds it
    start_anywhere: (SequentialModel, "_start", "sequential, gaussian"),
    zeros_anywhere: (Page, "__init__", "pixelcnn"),
    noise_anywhere: (families_1d, "_drawn", "numbers, gamma"),
    centres_anywhere: (attention.windows, "pixel_centres", "variety, affine"),
}


@every_world
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_tensor_made_without_saying_where_is_caught(fault, world, monkeypatch):
    place, name, case = FAULTS[fault]
    monkeypatch.setattr(place, name, fault)
    with pytest.raises((OtherDevice, RuntimeError), match="device|meta"):
        world(EVERY[case])


def test_so_is_one_in_a_gradient_that_is_written_by_hand(monkeypatch):
    """Where the default is another there is none such: autograd leaves the context."""
    monkeypatch.setattr(attentive_scan._Window, "backward", backward_anywhere)
    with pytest.raises(OtherDevice, match="cpu and meta"):
        on_meta(EVERY["sequential, axis-aligned"])


def test_a_generator_on_another_device_is_caught(monkeypatch):
    monkeypatch.setattr(homoencoder.Homoencoder, "_noise", generator_elsewhere)
    with pytest.raises(OtherDevice, match="cpu and meta"):
        on_meta(EVERY["homoencoder"])
    monkeypatch.undo()
    monkeypatch.setattr(Bernoulli, "sample", lambda p, generator=None: torch.bernoulli(p.mean, generator=generator))
    with pytest.raises(OtherDevice, match="cpu and meta"):
        on_meta(EVERY["distributions"])


# --- and as it is written ---------------------------------------------------------------------------------------------

SOURCES = ["attention", "models", "evaluation", "distributions.py",
           "objectives.py"]
FACTORIES = """arange bartlett_window empty eye full hann_window linspace logspace normal ones rand randint randn
randperm tensor tril_indices triu_indices zeros""".split()
WITH_A_MODEL = ("__init__", "start")  # made with the parameters, and moved with them
MEASURED = ("faster_products",)  # what the CPU multiplies faster


def unsaid(source):
    """The calls of torch's factories that say nothing of the device, outside what makes the parameters."""
    found = []
    for outer in ast.walk(ast.parse(source)):
        if not isinstance(outer, ast.FunctionDef) or outer.name in WITH_A_MODEL + MEASURED:
            continue
        for call in ast.walk(outer):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr in FACTORIES \
                    and ast.unparse(call.func.value) == "torch" \
                    and not any(word.arg in ("device", None) for word in call.keywords):
                found.append(ast.unparse(call))
    return found


def files(place):
    return sorted(place.rglob("*.py")) if place.is_dir() else [place]


@pytest.mark.parametrize("name", SOURCES)
def test_every_factory_says_where(name):
    place = Path(oneshot_lib.__file__).parent / name
    assert {file.name: calls for file in files(place) if (calls := unsaid(file.read_text()))} == {}


def test_a_factory_that_does_not_say_where_is_found():
    assert unsaid("def f(x):\n    return x + torch.zeros(len(x), dtype=x.dtype)") == \
        ["torch.zeros(len(x), dtype=x.dtype)"]
    assert unsaid("def f(x):\n    return x + torch.zeros(len(x), device=x.device)") == []
