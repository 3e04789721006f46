"""Rows S1 to S4: what the model's structure promises, each promise with the fault that breaks it."""

from dataclasses import replace

import pytest
import torch

from oneshot_lib import attention
from oneshot_lib.distributions import DiagonalGaussian
from oneshot_lib.models.sequential import ConvolutionalGRU, SequentialConfig, SequentialModel

TINY = SequentialConfig(image_size=9, steps=4, hidden=6, latent=2, canvas_channels=3, patch=4, posterior_hidden=5)
VARIETIES = [replace(TINY, canvas=c, attention=a) for c in ("additive", "cgru") for a in ("axis-aligned", "affine")]


def build(config=TINY, seed=0):
    """A model whose every weight matters, in float64."""
    model, generator = SequentialModel(config).double(), torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.data.copy_(0.4 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return model


def images(n=5, seed=1, size=9):
    return (torch.rand(n, 1, size, size, generator=torch.Generator().manual_seed(seed)) > 0.6).double()


def noise(n=5, seed=2, steps=4):
    return torch.randn(n, steps, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# --- S1: the state never sees the canvas -----------------------------------------------------------------------------


@pytest.mark.parametrize("config", VARIETIES, ids=lambda c: f"{c.canvas}, {c.attention}")
def test_canvases_after_the_loop_are_the_canvases_of_a_loop_that_writes_at_every_step(config):
    model, z = build(config), noise()
    state = (torch.zeros(5, 6).double(),) * 2
    canvas, steps = torch.zeros(5, 3, 9, 9).double(), []
    for t in range(4):
        state = model.lstm(z[:, t], state)
        window = model.window(model.write_window(state[0]))
        patch = model.write_patch(state[0]).reshape(5, 4, 3, 4).transpose(1, 2)
        canvas = canvas + attention.write(patch, window, (9, 9))
        canvas = canvas if model.cgru is None else model.cgru(canvas)
        steps.append(canvas)
    h = model.prior_states(z).h
    torch.testing.assert_close(model.canvases(h)[:, 1:], torch.stack(steps, 1))
    torch.testing.assert_close(model.canvas(h), canvas)


def test_the_canvas_feels_every_latent_before_it_and_none_after():
    model, z = build(), noise(1).requires_grad_()
    canvases = model.canvases(model.prior_states(z).h)
    for t in range(1, 5):
        (gradient,) = torch.autograd.grad(canvases[:, t].sum(), z, retain_graph=True)
        assert (gradient[:, t:] == 0).all() and (gradient[:, :t] != 0).all()


def test_a_state_that_sees_the_canvas_would_be_caught():
    model, z = build(), noise()

    def peeking(z):
        state, canvas, h = (torch.zeros(5, 6).double(),) * 2, torch.zeros(5, 3, 9, 9).double(), []
        for z_t in z.unbind(1):
            state = model.lstm(z_t + canvas.mean((1, 2, 3))[:, None], state)  # the fault
            canvas = canvas + model.writes(state[0][:, None])[:, 0]
            h.append(state[0])
        return torch.stack(h, 1), canvas

    _, canvas = peeking(z)
    assert (model.canvas(model.prior_states(z).h) - canvas).abs().max() > 1e-6


# --- the bound and the posterior -------------------------------------------------------------------------------------


def test_the_hand_written_gradient_is_the_gradient():
    for size in (4, 9):  # windows that zoom in and out
        config = replace(TINY, image_size=size)
        results = []
        for fused in (True, False):
            model = build(config)
            terms = model.terms(images(size=size), noise=noise(), fused=fused)
            (terms.log_likelihood.sum() - (terms.kl * torch.arange(1.0, 5)).sum()).backward()
            results.append((terms, {k: p.grad for k, p in model.named_parameters()}))
        (terms, gradients), (plain_terms, plain_gradients) = results
        torch.testing.assert_close(terms, plain_terms)
        for name, gradient in plain_gradients.items():
            torch.testing.assert_close(gradients[name], gradient, msg=name)
            assert gradient.abs().max() > 0, f"no gradient reaches {name}"


def test_bfloat16_products_change_the_bound_little_and_its_gradient_less_than_its_size():
    model = SequentialModel(replace(TINY, image_size=28, hidden=64, patch=12))
    x, drawn = images(16, size=28).float(), noise(16).float()
    outcomes = []
    for dtype in (torch.float32, torch.bfloat16):
        model.product_dtype = dtype
        model.zero_grad()
        bound = model.terms(x, noise=drawn).bound.mean()
        bound.backward()
        outcomes.append((bound.item(), torch.cat([p.grad.flatten() for p in model.parameters()])))
    (bound, gradient), (low_bound, low_gradient) = outcomes
    assert abs(bound - low_bound) < 0.01 * abs(bound)
    assert torch.cosine_similarity(gradient, low_gradient, 0) > 0.99


def test_the_posterior_looks_at_the_image_and_the_prior_needs_no_inference_parameter():
    model = build()
    inference = [p for k, p in model.named_parameters() if k.startswith(("read_window", "posterior"))]
    drawing = model.draw(z=noise())
    assert all(g is None for g in torch.autograd.grad(drawing.probabilities.sum(), inference, allow_unused=True))
    model.draw(2, torch.Generator().manual_seed(0))
    for parameter in inference:
        parameter.data.fill_(float("nan"))
    assert model.sample(3, torch.Generator().manual_seed(0)).isfinite().all()
    assert model.terms(images(), noise=noise()).bound.isnan().all()  # and the posterior does need them


def test_the_posterior_is_dependent_each_step_on_the_draws_before_it():
    model, drawn = build(), noise(1).requires_grad_()
    mean = model.infer(images(1), noise=drawn, fused=False).posterior.mean
    for t in range(4):
        (gradient,) = torch.autograd.grad(mean[:, t].sum(), drawn, retain_graph=True, allow_unused=True)
        assert (gradient[:, t:] == 0).all() and (gradient[:, :t] != 0).all()


def test_the_kl_of_each_step_is_that_of_its_gaussian():
    model = build()
    states, terms = model.infer(images(), noise=noise()), model.terms(images(), noise=noise())
    for t in range(4):
        q = DiagonalGaussian(states.posterior.mean[:, t], states.posterior.log_sigma[:, t])
        torch.testing.assert_close(terms.kl[:, t], q.kl())


def test_log_weights_average_to_the_bound_and_their_logmeanexp_lies_above():
    model, x = build(), images(2)
    generator = torch.Generator().manual_seed(0)
    weights = model.log_weights(x, 300, generator)
    bounds = torch.stack([model.terms(x, generator).bound for _ in range(300)])
    error = (weights.var(0) / 300 + bounds.var(0) / 300).sqrt()
    assert ((weights.mean(0) - bounds.mean(0)).abs() < 4 * error).all()
    assert (torch.logsumexp(weights, 0) - torch.log(torch.tensor(300.0)) > weights.mean(0)).all()


# --- S4: canvases ----------------------------------------------------------------------------------------------------


def test_the_gate_keeps_what_u_says():
    gate, c = ConvolutionalGRU(3).double(), torch.randn(2, 3, 6, 6, dtype=torch.float64)
    gate.gates.bias.data[:3] = 50  # u = 1: all is kept
    torch.testing.assert_close(gate(c), c)
    gate.gates.bias.data[:3] = -50  # u = 0: nothing is
    gate.gates.bias.data[3:] = -50  # r = 0: and nothing is seen
    torch.testing.assert_close(gate(c), gate.candidate.bias.tanh()[:, None, None].expand_as(c))


def test_the_order_of_strokes_matters_to_a_gated_canvas_alone():
    for canvas in ("additive", "cgru"):
        model = build(replace(TINY, canvas=canvas))
        h = model.prior_states(noise()).h
        same = torch.allclose(model.canvas(h), model.canvas(h.flip(1)), atol=1e-12)
        assert same == (canvas == "additive")


def test_an_output_of_one_pixel_wide_convolutions_moves_nothing():
    model = build()
    canvas = torch.zeros(1, 3, 9, 9).double().requires_grad_()
    (gradient,) = torch.autograd.grad(model.output(canvas)[0, 0, 4, 5], canvas)
    assert gradient[0, :, 4, 5].ne(0).all() and gradient.ne(0).sum() == 3


@pytest.mark.parametrize("canvas", ["additive", "cgru"])
@pytest.mark.parametrize("size", [7, 14])
def test_a_canvas_of_another_size_takes_an_output_network_that_looks_around(canvas, size):
    model = build(replace(TINY, canvas=canvas, canvas_size=size))
    h = model.prior_states(noise()).h
    torch.testing.assert_close(model.canvas(h), model.canvases(h)[:, -1])
    assert model.canvas(h).shape == (5, 3, size, size) and model.sample(2).shape == (2, 1, 9, 9)
    blank = torch.zeros(1, 3, size, size).double().requires_grad_()
    (gradient,) = torch.autograd.grad(model.output(blank)[0, 0, 4, 4], blank)
    assert 1 < gradient[0, 0].ne(0).sum() < size * size  # more than one place, and not all of them
    assert isinstance(build().output, torch.nn.Conv2d)  # where the sizes agree: one by one


# --- what is asked of a model ----------------------------------------------------------------------------------------


def test_the_same_generator_draws_the_same_symbols():
    model = build()
    draws = [model.sample(3, torch.Generator().manual_seed(s)) for s in (0, 0, 1)]
    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])
    assert set(draws[0].unique().tolist()) <= {0.0, 1.0}


def test_a_drawing_ends_in_the_likelihood_of_its_own_latents():
    model = build()
    drawing = model.reconstruct(images(), torch.Generator().manual_seed(0))
    again = model.draw(z=drawing.z)
    torch.testing.assert_close(drawing.probabilities, again.probabilities)
    torch.testing.assert_close(drawing.write_window, again.write_window)
    assert drawing.kl.shape == (5, 4) and again.kl is None and again.read_window is None
    blank = drawing.probabilities[:, 0]
    torch.testing.assert_close(blank, model.output.bias.sigmoid().expand_as(blank))


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="canvas is 'paper'"):
        SequentialConfig(canvas="paper")
    with pytest.raises(ValueError, match="steps is 0"):
        SequentialConfig(steps=0)
    with pytest.raises(ValueError, match=r"x has shape \(5, 9, 9\)"):
        build().terms(images()[:, 0])
    with pytest.raises(ValueError, match="z has shape"):
        build().draw(z=torch.zeros(1, 3, 2).double())
