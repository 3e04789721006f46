"""Row S5 in the sequential model: every variety by its name, each promise with the fault that breaks it."""

from dataclasses import replace

import pytest
import torch

from oneshot_lib import attention, weights
from oneshot_lib.benchmarks import attention as benchmark
from oneshot_lib.models.sequential import SequentialConfig, SequentialModel

TINY = SequentialConfig(image_size=9, steps=3, hidden=6, latent=2, canvas_channels=2, patch=4, posterior_hidden=5)
NAMES = list(attention.VARIETIES)
CANVASES = ("additive", "cgru")
EVERY = [(name, canvas) for name in NAMES for canvas in CANVASES]


def build(name, canvas="additive", seed=0, **changes):
    """A model whose every weight matters, in float64."""
    model = SequentialModel(replace(TINY, attention=name, canvas=canvas, **changes)).double()
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.data.copy_(0.4 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return model


def images(n=3, seed=1):
    return (torch.rand(n, 1, 9, 9, generator=torch.Generator().manual_seed(seed)) > 0.6).double()


def noise(model, n=3, seed=2):
    columns = model.config.latent + model.reader.noise
    return torch.randn(n, 3, columns, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


# --- every variety ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "canvas"), EVERY)
def test_every_variety_trains_and_every_parameter_gets_a_gradient(name, canvas):
    model = build(name, canvas)
    terms = model.terms(images(), noise=noise(model))
    assert terms.bound.shape == (3,) and terms.bound.isfinite().all() and (terms.kl > 0).all()
    (-terms.bound.mean()).backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, f"no gradient reaches {key}"
    assert (model.write_window is None) == (name in ("fully-connected", "random"))
    assert (model.read_window is None) == (name in ("fully-connected", "random", "error-large", "error-printed"))


@pytest.mark.parametrize(("name", "canvas"), EVERY)
def test_every_variety_draws_and_the_same_generator_draws_the_same(name, canvas):
    model = build(name, canvas).requires_grad_(False)
    k = (2,) if name == "multiple" else ()
    first, again = ([model.log_weights(images(), 2, g), model.sample(2, g), *model.reconstruct(images(), g),
                     *model.draw(2, g)] for g in (seeded(), seeded()))
    for one, other in zip(first, again, strict=True):
        assert one is other is None or (torch.equal(one, other) and one.isfinite().all())
    drawing, prior = model.reconstruct(images(), seeded()), model.draw(2, seeded())
    assert drawing.probabilities.shape == (3, 4, 1, 9, 9) and prior.probabilities.shape == (2, 4, 1, 9, 9)
    assert drawing.write_window.shape == drawing.read_window.shape == (3, 3, *k, 2, 3)
    assert prior.read_window is None and prior.kl is None
    assert not torch.equal(model.reconstruct(images(), seeded(1)).probabilities, drawing.probabilities)


@pytest.mark.parametrize("name", NAMES)
def test_the_prior_needs_no_parameter_of_inference(name):
    model = build(name).requires_grad_(False)
    for key, parameter in model.named_parameters():
        if key.startswith(("read_window", "posterior")):
            parameter.fill_(float("nan"))
    assert model.sample(2, seeded()).isfinite().all()
    assert model.draw(2, seeded()).probabilities.isfinite().all()
    assert model.infer(images(), noise=noise(model)).posterior.mean.isnan().all()  # and the posterior needs them


@pytest.mark.parametrize(("name", "canvas"), EVERY)
def test_the_canvas_is_what_a_loop_that_writes_at_every_step_makes(name, canvas):
    model = build(name, canvas).requires_grad_(False)
    states = model.infer(images(), noise=noise(model))
    c, steps = torch.zeros(3, 2, 9, 9).double(), []
    for t, h in enumerate(states.h.unbind(1)):
        numbers = model.write_window(h) if model.write_window is not None else h[:, :0]
        numbers = numbers if states.places is None else states.places[:, t]
        side = 9 if name == "fully-connected" else 4
        patch = model.write_patch(h).reshape(3, side, -1, side).transpose(1, 2)
        c = c + model.writer.write(patch, numbers, (9, 9))
        c = c if model.cgru is None else model.cgru(c)
        steps.append(c)
    canvases = model.canvases(states.h, states.places)
    torch.testing.assert_close(canvases[:, 1:], torch.stack(steps, 1))
    torch.testing.assert_close(model.canvas(states.h, states.places), canvases[:, -1])
    assert (canvases[:, 0] == 0).all() and (canvases[:, -1] - canvases[:, -2]).abs().max() > 0.01


# --- places that are drawn -------------------------------------------------------------------------------------------


def test_a_random_patch_is_written_where_it_was_read():
    model = build("random").requires_grad_(False)
    drawing = model.reconstruct(images(), seeded())
    assert torch.equal(drawing.read_window, drawing.write_window)
    assert (drawing.read_window[:, 0] - drawing.read_window[:, 1]).abs().max() > 0.1  # the fault: one place for all
    drawn = noise(model)
    states = model.infer(images(), noise=drawn)
    torch.testing.assert_close(states.places, model.reader.draw(drawn[..., 2:], (4, 4), (9, 9)))
    elsewhere = drawn.clone()
    elsewhere[..., 2:] = -drawn[..., 2:]
    assert (model.infer(images(), noise=elsewhere).places + states.places).abs().max() < 1e-12
    with pytest.raises(ValueError, match="places is None"):
        model.canvas(states.h)
    # q and the prior draw places by one law, or it is no bound
    larger = build("random", canvas_size=14).requires_grad_(False)
    torch.testing.assert_close(larger.infer(images(), noise=drawn).places, larger.prior_states(drawn).places)
    with pytest.raises(ValueError, match="noise has shape"):
        model.infer(images(), noise=drawn[..., :2])


def test_a_place_that_is_drawn_is_told():
    model = build("random").requires_grad_(False)
    blank, h = torch.zeros(1, 1, 9, 9).double(), torch.zeros(1, 6).double()
    left, right = torch.tensor([[-0.3, 0.0]]).double(), torch.tensor([[0.3, 0.0]]).double()
    told = [model.posterior_step(blank, h, place)[0].mean for place in (left, right)]
    assert (told[0] - told[1]).abs().max() > 1e-3  # on blank paper nothing else tells the posterior where it looks
    drawn = noise(model)
    elsewhere = torch.cat([drawn[..., :2], -drawn[..., 2:]], 2)
    assert (model.prior_states(drawn).h - model.prior_states(elsewhere).h).abs().min() > 0  # and the LSTM, in drawing
    with pytest.raises(ValueError, match="noise has shape"):
        model.prior_states(drawn[..., :2])


@pytest.mark.parametrize("canvas", CANVASES)
@pytest.mark.parametrize("name", ["error-large", "error-printed"])
def test_each_place_is_drawn_from_the_error_of_the_canvas_so_far(name, canvas):
    model, x = build(name, canvas).requires_grad_(False), images(60)
    for loud in (model.write_patch.weight, model.output.weight):
        loud.mul_(4)  # a canvas whose errors change much from step to step
    drawn = noise(model, 60)
    states = model.infer(x, noise=drawn)
    places = states.read_window[..., 2]
    canvases = model.canvases(states.h)
    seen = model.likelihood(canvases.flatten(0, 1)).mean.unflatten(0, (60, 4))
    for t in range(3):  # c_0 is empty: so is what the first place is drawn from
        torch.testing.assert_close(places[:, t], model.reader.draw(drawn[:, t, 2:], x, seen[:, t]))
    late = [model.reader.draw(drawn[:, t, 2:], x, seen[:, t + 1]) for t in range(3)]  # the fault: a step too late
    assert (torch.stack(late, 1) - places).abs().max() > 0.1
    model.write_patch.weight.mul_(-1)  # another canvas
    changed = model.infer(x, noise=drawn).read_window[..., 2]
    assert torch.equal(changed[:, 0], places[:, 0])
    assert (changed[:, 1:] != places[:, 1:]).any()  # the fault: the canvas forgotten


def test_an_error_based_model_asks_where_to_write_and_draws_without_an_image():
    model = build("error-large").requires_grad_(False)
    assert model.writer.name == "axis-aligned" and model.lstm.weight_ih.shape[1] == 2
    assert model.infer(images(), noise=noise(model)).places is None
    again = model.draw(z=model.reconstruct(images(), seeded()).z)  # its latents alone say what was drawn
    torch.testing.assert_close(again.probabilities, model.reconstruct(images(), seeded()).probabilities)


# --- what must not move ----------------------------------------------------------------------------------------------


def test_the_shipped_models_still_load_and_their_keys_are_as_they_were():
    keys = {"lstm.weight_ih", "lstm.weight_hh", "lstm.bias_ih", "lstm.bias_hh", "write_patch.weight",
            "write_patch.bias", "write_window.weight", "write_window.bias", "output.weight", "output.bias",
            "read_window.weight", "read_window.bias", "posterior_hidden.weight", "posterior_hidden.bias",
            "posterior_output.weight", "posterior_output.bias"}
    gates = {f"cgru.{part}.{kind}" for part in ("gates", "candidate") for kind in ("weight", "bias")}
    model = weights.load("omniglot28-st-cgru-t20")
    assert set(model.state_dict()) == keys | gates and set(build("axis-aligned").state_dict()) == keys
    assert model.config.attention == "axis-aligned" and model.sample(1, seeded()).shape == (1, 1, 28, 28)
    sizes = {key: tuple(value.shape) for key, value in SequentialModel().state_dict().items()}
    assert sizes["lstm.weight_ih"] == (1600, 4) and sizes["write_patch.weight"] == (576, 400)
    assert sizes["posterior_hidden.weight"] == (256, 544) and sizes["read_window.weight"] == (4, 400)


def test_a_variety_is_chosen_by_name_and_another_name_is_refused():
    with pytest.raises(ValueError, match="attention is 'gausian'; expected one of translation, "):
        replace(TINY, attention="gausian")
    with pytest.raises(ValueError, match="windows is 0; expected a whole number of at least 1"):
        replace(TINY, attention="multiple", windows=0)
    assert build("multiple", windows=3).draw(1, seeded()).write_window.shape == (1, 3, 3, 2, 3)


# --- bench -----------------------------------------------------------------------------------------------------------


def test_the_benchmark_holds_every_variety_against_the_axis_aligned_one(monkeypatch):
    for name, value in {"BATCH": 1, "PATCH": 3, "SIZE": 5, "STEPS": 1}.items():
        monkeypatch.setattr(benchmark, name, value)
    rows = benchmark.measure(seconds=0.0)
    cases = {f"attention read and write, {name}": most for name, most in benchmark.READ_AND_WRITE.items()}
    cases |= {f"attention training step, {name}": most for name, most in benchmark.TRAINING.items()}
    assert {row["name"].removesuffix(", step by step"): row["target"] for row in rows} == cases
    assert len({row["reference"] for row in rows}) == 2 and all(row["unit"] == "s" for row in rows)
    for row in rows:
        assert row["ratio"] == row["value"] / row["reference"]
        assert "sampl" not in row["name"] and "sequential" not in row["name"]  # other benchmarks are known by these
