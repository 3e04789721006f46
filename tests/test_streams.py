"""What is drawn beside something else is drawn from a stream of its own."""

import ast
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from oneshot_lib.experiments.boutin import critics, plane
from oneshot_lib.experiments.hewitt import sets
from oneshot_lib.experiments.hewitt.tables import SetSettings
from oneshot_lib.experiments.reed import few_shot
from oneshot_lib.streams import stream
from oneshot_lib.training import TrainingConfig, train

N = 500


def numbers(generator):
    """500 numbers of 24 bits: of as many others, drawn apart, hardly one is the same."""
    return set((torch.rand(N, generator=generator) * 2**24).tolist())


def apart(one, other):
    return len(one & other) <= 2


class Recorder:
    """Stands for a model, a data set and a network: what it is given a generator for, it draws numbers of."""

    def __init__(self):
        self.drawn = {}

    def draw(self, name, generator):
        self.drawn.setdefault(name, set()).update(numbers(generator))


def test_the_numbers_that_two_equal_generators_give_are_the_same():
    """The fault that streams are there for: a uniform and a normal of one seed are made of the same numbers."""
    u, normal = (draw(64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
                 for draw in (torch.rand, torch.randn))
    made = (-2 * torch.log1p(-u[:8])).sqrt() * torch.cos(2 * torch.pi * u[8:16])
    torch.testing.assert_close(normal[:8], made)
    other = torch.randn(64, generator=stream(0, "noise"), dtype=torch.float64)
    assert (other[:8] - made).abs().min() > 1e-6
    assert not apart(*(numbers(torch.Generator().manual_seed(3)) for _ in range(2)))


def test_a_stream_is_a_function_of_its_seed_and_its_names():
    made = [stream(0, "noise"), stream(0, "batch"), stream(1, "noise"), stream(0, "noise", 1), stream(0, 1, "noise"),
            torch.Generator().manual_seed(0), torch.Generator().manual_seed(1)]
    drawn = [numbers(generator) for generator in made]
    assert all(apart(a, b) for i, a in enumerate(drawn) for b in drawn[:i])
    assert numbers(stream(0, "noise")) == drawn[0]
    with pytest.raises(ValueError, match="names is empty"):
        stream(0)


def test_every_step_of_a_training_has_a_stream_of_its_own(tmp_path):
    model, drawn = torch.nn.Linear(1, 1), []

    def objective(model, step, generator):
        drawn.append(numbers(generator))
        return -model.weight.square().sum()[None]

    train(model, objective, TrainingConfig(steps=3, seed=0), tmp_path / "a")
    train(torch.nn.Linear(1, 1), objective, TrainingConfig(steps=3, seed=1), tmp_path / "b")
    drawn.append(numbers(torch.Generator().manual_seed(0)))
    assert all(apart(a, b) for i, a in enumerate(drawn) for b in drawn[:i])


class Model(Recorder, torch.nn.Module):
    """A model over sets that draws noise wherever it is asked."""

    image_size, product_dtype = 4, torch.float32

    def __init__(self):
        torch.nn.Module.__init__(self)
        Recorder.__init__(self)

    def terms(self, x, support, set_size=None, generator=None, rescale=True):
        if generator is not None:
            self.draw("noise", generator)
        zero = torch.zeros(len(x))
        return SimpleNamespace(log_likelihood=zero, kl_element=zero, kl_class=zero, shared_by=zero + 1, bound=zero)


class Source(Recorder):
    def minibatch(self, *about, **more):
        (generator,) = [a for a in about if isinstance(a, torch.Generator)]
        self.draw("batch", generator)
        return SimpleNamespace(x=torch.zeros(2, 1, 4, 4), support=torch.zeros(2, 5, 1, 4, 4), set_size=torch.ones(2))


def test_a_batch_and_the_noise_of_its_posterior_are_drawn_apart():
    source, model = Source(), Model()
    settings = SetSettings(rows=(), batch_groups=2, elements=1, sample_dropout=0.5)
    generator = torch.Generator().manual_seed(11)
    sets.objective(source, "vhe", settings)(model, 0, generator)
    assert apart(source.drawn["batch"], model.drawn["noise"])


def run():
    images = SimpleNamespace(grey=lambda _: np.zeros((4, 4, 4)), class_index=np.array([0, 0, 1, 1]), name="glyphs")
    experiment = SimpleNamespace(reduction=lambda row: "28-area", split="30-20")
    settings = SimpleNamespace(joint_outer=1, joint_inner=1, joint_classes=2, drawings=2, outer=1, inner=1, keep=None,
                               most=None, ways=2, episodes=1)
    return SimpleNamespace(dataset=images, experiment=experiment, settings=settings, seed=0, device="cpu",
                           products=torch.float32, split=SimpleNamespace(test=np.arange(4)))


ROW = SimpleNamespace(name="row", model="", share=1.0, output="", mirrored=False)
MEASURED = {
    "joint bound": lambda model: sets.joint_bound(run(), ROW, model),
    "joint likelihood": lambda model: sets.joint_nll(run(), ROW, model),
    "accuracy": lambda model: sets.accuracy(run(), ROW, model, 1),
    "few-shot accuracy": lambda model: few_shot.accuracy(run(), ROW, model, 1),
    "drawings": lambda model: plane.drawn_by_model(run(), ROW, np.arange(2), model),
}


@pytest.mark.parametrize("of", MEASURED)
def test_pixels_and_the_noise_of_a_measurement_are_drawn_apart(of, monkeypatch):
    seen, model = Recorder(), Model()

    def binarise(grey, generator):
        seen.draw("pixels", generator)
        return torch.zeros(np.shape(grey))

    def joint_likelihood(*_, generator):
        seen.draw("noise", generator)
        return 0.0

    def episode_accuracy(model, episodes, image, *, generator, **_):
        image(0)
        seen.draw("noise", generator)
        return SimpleNamespace(value=0.0, error=0.0, n=1)

    def drawings(model, exemplars, count, generator, *_):
        seen.draw("noise", generator)
        return torch.zeros(len(exemplars), count, 4, 4)

    monkeypatch.setattr(sets.data, "binarise", binarise)
    monkeypatch.setattr(sets.data, "evaluation_episodes", lambda *_, **__: (np.zeros((1, 2)),) * 3)
    monkeypatch.setattr(sets, "episode_accuracy", episode_accuracy)
    monkeypatch.setattr(few_shot, "episode_accuracy", episode_accuracy)
    monkeypatch.setattr(sets, "joint_likelihood", joint_likelihood)
    monkeypatch.setattr(plane, "drawings", drawings)
    monkeypatch.setattr(plane, "reduction_of", lambda row: "28-area")
    MEASURED[of](model)
    assert apart(seen.drawn["pixels"], (seen.drawn | model.drawn)["noise"])


def test_the_supports_and_the_draws_of_the_divergence_are_drawn_apart(monkeypatch):
    source, seen, randn = Source(), Recorder(), torch.randn

    class Posterior(SimpleNamespace):
        def sample(self, eps):
            return eps

    def record(*shape, generator=None, **more):
        seen.draw("noise", generator)
        return randn(*shape, generator=generator, **more)

    model = SimpleNamespace(eval=lambda: None, class_kl=lambda q, c: torch.zeros(2),
                            posterior=lambda support: Posterior(mean=torch.zeros(2, 3)))
    monkeypatch.setattr(sets.torch, "randn", record)
    sets.class_kl(model, source, SimpleNamespace(support_size=5, sets="all"), 4)
    assert apart(source.drawn["batch"], seen.drawn["noise"])


@pytest.mark.parametrize("module", [sets, few_shot, critics, plane], ids=lambda m: m.__name__.rpartition(".")[2])
def test_no_experiment_seeds_a_generator_with_the_bare_seed_of_its_run(module):
    """That seed is the start of the weights, and nothing else's."""
    for node in ast.walk(ast.parse(Path(module.__file__).read_text())):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(".manual_seed"):
            bare = ast.unparse(node.args[0]) in ("run.seed", "seed", "generator.initial_seed()")
            assert not bare or ast.unparse(node.func) == "torch.manual_seed", ast.unparse(node)
