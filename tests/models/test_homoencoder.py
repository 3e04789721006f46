"""The homoencoder: permutations, divergences, causality of the prior, and what q(z | x) may know."""

from dataclasses import replace

import pytest
import torch

from oneshot_lib.models.homoencoder import (
    ClassPrior,
    DeconvolutionalConfig,
    DeconvolutionalHomoencoder,
    PixelCNNHomoencoder,
    PixelCNNHomoencoderConfig,
)
from oneshot_lib.models.set_encoders import TemplateEncoder, same_convolution
from oneshot_lib.objectives import SET_OBJECTIVES, importance_weighted_bound

SMALL = PixelCNNHomoencoderConfig(image_size=8, class_channels=2, element_latent=3, channels=4)


def small(kind: str = "pixelcnn", **changes):
    torch.manual_seed(1)
    if kind == "deconvolutional":
        model = DeconvolutionalHomoencoder(DeconvolutionalConfig(class_latent=6, element_latent=3, width=8))
    else:
        model = PixelCNNHomoencoder(replace(SMALL, **changes))
    for parameter in model.parameters():  # nothing may hold by the accident of a zero
        if parameter.dim() < 2:
            parameter.data += 0.1 * torch.randn_like(parameter)
    return model.double().eval()


def bits(*shape: int, seed: int = 0) -> torch.Tensor:
    return (torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) < 0.3).double()


def pictures(model, *leading: int, seed: int = 0) -> torch.Tensor:
    return bits(*leading, 1, model.image_size, model.image_size, seed=seed)


@pytest.mark.parametrize("kind", ["pixelcnn", "deconvolutional"])
@pytest.mark.parametrize("n", [1, 2, 5])
def test_the_set_encoder_knows_no_order_and_any_size(kind, n):
    model = small(kind)
    support = pictures(model, 2, n)
    q = model.posterior(support)
    permuted = model.posterior(support.flip(1))
    assert q.mean.shape == (2, model.class_size)
    torch.testing.assert_close(permuted.mean, q.mean, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(permuted.log_sigma, q.log_sigma, rtol=1e-10, atol=1e-10)
    support[:, 0] = 1 - support[:, 0]
    assert (model.posterior(support).mean - q.mean).abs().max() > 1e-4


def test_a_set_encoder_that_reads_one_element_only_is_caught():
    model = small()
    support = pictures(model, 2, 3)
    first = model.posterior(support[:, :1]).mean
    assert (model.posterior(support.flip(1)[:, :1]).mean - first).abs().max() > 1e-4


def test_the_sizes_of_the_supplement():
    model = PixelCNNHomoencoder()
    assert model.class_size == 8 * 28 * 28 and model.element_size == 16
    assert model.look(torch.zeros(2, 1, 28, 28)).shape == (2, 32)  # 28, 15, 8, 4, 2, 1
    sides, maps = [], torch.zeros(2, 1, 28, 28)
    for layer in model.encoder.look:
        maps = layer(maps)
        if isinstance(layer, torch.nn.MaxPool2d):
            sides.append(maps.shape[-1])
    assert sides == [15, 8, 4, 2, 1]
    assert model.encoder.convolution.weight.shape == (16, 1, 28, 28)
    deconvolutional = DeconvolutionalHomoencoder()
    assert deconvolutional.class_size == 512 and deconvolutional.element_size == 16
    assert deconvolutional.shared(torch.zeros(2, 1, 28, 28)).shape == (2, 256 * 4 * 4)


@pytest.mark.parametrize("size, kernel", [(8, 8), (9, 9), (9, 3), (8, 5)])
def test_the_large_convolution_is_a_convolution(size, kernel):
    image, weight = torch.randn(2, 1, size, size).double(), torch.randn(3, 1, kernel, kernel).double()
    low, high = (kernel - 1) // 2, kernel // 2
    padded = torch.nn.functional.pad(image, (low, high, low, high))
    torch.testing.assert_close(same_convolution(image, weight), torch.conv2d(padded, weight))


def test_the_prior_sees_the_places_before_and_all_their_channels():
    torch.manual_seed(0)
    prior, n = ClassPrior(2, 6).double(), 5
    c = torch.randn(1, 2, n, n).double()

    def output(c):
        p = prior(c)
        return torch.cat([p.mean, p.log_sigma], 1).view(4, n * n).sum(0)

    jacobian = torch.autograd.functional.jacobian(output, c).view(n * n, 2, n * n).abs().sum(1)
    assert (jacobian.triu() == 0).all()  # nothing at its own place or after
    seen = jacobian[2 * n + 2].view(n, n) != 0
    assert seen[2].tolist() == [True, True, False, False, False]  # two layers of 3x3, two to the left
    assert seen[1].tolist() == [True, True, True, True, False]  # above and far to the right: the masks' blind spot
    assert seen[0].all() and not seen[3:].any()

    prior.first.mask[..., 1, 1] = 1  # the fault: mask B in the first layer
    jacobian = torch.autograd.functional.jacobian(output, c).view(n * n, 2, n * n).abs().sum(1)
    assert (jacobian.diagonal() != 0).all()


def test_the_prior_is_sampled_as_it_is_evaluated():
    torch.manual_seed(0)
    prior = ClassPrior(2, 6).double()
    noise = torch.randn(3, 2, 5, 5).double()
    c = prior.sample(noise)
    torch.testing.assert_close(prior(c).sample(noise.flatten(1)), c.flatten(1))


@pytest.mark.parametrize("kind", ["pixelcnn", "deconvolutional"])
def test_the_price_of_c_agrees_with_monte_carlo(kind):
    model = small(kind)
    q, n = model.posterior(pictures(model, 1, 2)), 4000
    noise = torch.randn(n, model.class_size, generator=torch.Generator().manual_seed(3)).double()
    q = type(q)(q.mean.expand(n, -1), q.log_sigma.expand(n, -1))
    c = q.sample(noise)
    p = model.prior(model.template(c)) if kind == "pixelcnn" else type(q)(torch.zeros_like(c), torch.zeros_like(c))
    estimate, closed = q.log_prob(c) - p.log_prob(c), model.class_kl(q, c)
    error = (estimate.std() + closed.std()) / n**0.5
    assert (estimate.mean() - closed.mean()).abs() < 4 * error
    assert closed.std() <= estimate.std()  # each place's divergence in closed form: never noisier


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["pixelcnn", "deconvolutional"])
def test_importance_weights_of_the_element_latent(kind):
    """log p(x | c) by many draws is above one draw's bound, and one draw's weight averages to the bound's terms."""
    model, n = small(kind), 60 if kind == "deconvolutional" else 400
    x = pictures(model, 1).expand(n, -1, -1, -1)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        c = model.posterior(pictures(model, 1, 2)).mean.expand(n, -1)
        weights = model.element_log_weights(x, c, 2, generator)
        likelihood, kl = model.element_terms(x, c, generator)
    assert weights.shape == (2, n)
    bound = likelihood - kl
    error = (weights.std() + bound.std()) / n**0.5
    assert (weights.mean() - bound.mean()).abs() < 4 * error
    assert importance_weighted_bound(weights).mean() >= weights.mean()


def test_without_an_element_latent_the_likelihood_is_exact():
    model = small(element_latent=0)
    x, c = pictures(model, 3), torch.randn(3, model.class_size).double()
    likelihood, kl = model.element_terms(x, c)
    assert (kl == 0).all()
    assert torch.equal(model.element_log_weights(x, c, 10), likelihood[None])


def test_the_posterior_of_an_element_of_the_supplement_does_not_see_c():
    model = small()
    x = pictures(model, 2)
    one, other = (model.element_posterior(x, torch.randn(2, model.class_size).double()) for _ in range(2))
    assert torch.equal(one.mean, other.mean)
    model = small("deconvolutional")
    one, other = (model.element_posterior(x := pictures(model, 2), torch.randn(2, 6).double()) for _ in range(2))
    assert not torch.allclose(one.mean, other.mean)


@pytest.mark.parametrize("kind", ["pixelcnn", "deconvolutional"])
def test_the_generative_half_uses_no_inference_parameter(kind):
    model = small(kind)
    inference = ("encoder", "look", "element.") if kind == "pixelcnn" else ("shared", "statistic", "element_")
    for name, parameter in model.named_parameters():
        if name.startswith(inference):
            parameter.data.fill_(float("nan"))
    c = model.sample_class(2, torch.Generator().manual_seed(0))
    z = torch.randn(2, 3).double()
    assert model.log_likelihood(pictures(model, 2), c, z).isfinite().all()


@pytest.mark.parametrize("kind", ["pixelcnn", "deconvolutional"])
@pytest.mark.parametrize("name", SET_OBJECTIVES)
def test_the_four_objectives_train_every_parameter(kind, name):
    model, objective = small(kind).train(), SET_OBJECTIVES[name]
    support, size = pictures(model, 2, 3), torch.tensor([20, 20])
    x = pictures(model, 4, seed=5)
    terms = model.terms(x, support, size, torch.Generator().manual_seed(0), objective.rescale)
    assert terms.bound.shape == (4,) and set(terms.shared_by.tolist()) == {20.0 if objective.rescale else 3.0}
    terms.bound.sum().backward()
    assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []


@pytest.mark.parametrize("kind, changes", [("pixelcnn", {}), ("pixelcnn", {"element_latent": 0}),
                                           ("deconvolutional", {})])
@torch.no_grad()
def test_elements_that_share_a_support_are_scored_as_if_alone(kind, changes):
    """Two classes of unlike |X|, each D serving two elements: every term is that of a call for this element alone with
    the same noise, under its own class's c."""
    model, size = small(kind, **changes), torch.tensor([20, 30])
    support, x = pictures(model, 2, 3), pictures(model, 4, seed=5)
    terms = model.terms(x, support, size, torch.Generator().manual_seed(4))
    generator = torch.Generator().manual_seed(4)  # c is drawn first, then z
    noise_c = torch.randn(2, model.class_size, generator=generator, dtype=torch.float64)
    noise_z = torch.randn(4, model.element_size, generator=generator, dtype=torch.float64)

    def alone(i, g):
        q = model.posterior(support[g:g + 1])
        c, one = q.sample(noise_c[g:g + 1]), x[i:i + 1]
        kl_class, kl_element, z = model.class_kl(q, c), torch.zeros(1), None
        if model.element_size:
            q_z = model.element_posterior(one, c)
            z, kl_element = q_z.sample(noise_z[i:i + 1]), q_z.kl(model.element_prior(c))
        likelihood = model.log_likelihood(one, c, z)
        return torch.cat([likelihood, kl_element, kl_class, size[g:g + 1],
                          likelihood - kl_element - kl_class / size[g]])

    found = torch.stack([*terms, terms.bound], 1)
    by_hand, crossed = (torch.stack([alone(i, (i // 2 + i % 2 * turn) % 2) for i in range(4)]) for turn in (0, 1))
    torch.testing.assert_close(found, by_hand)
    # the fault: c repeated class after class, so that x is scored under another's; what it would give is far off
    assert ((found - crossed)[1, [0, 2, 3, 4]].abs() > 1e-6).all()


def test_the_same_generator_gives_the_same_numbers():
    model = small()
    args = pictures(model, 2), pictures(model, 2, 3), torch.tensor([20, 20])
    one, other = (model.terms(*args, torch.Generator().manual_seed(4)).bound for _ in range(2))
    assert torch.equal(one, other)


def test_what_does_not_fit_is_refused():
    model = small()
    with pytest.raises(ValueError, match="support has shape"):
        model.terms(pictures(model, 3), pictures(model, 2, 3), torch.tensor([20, 20]))
    with pytest.raises(ValueError, match="class_channels is 0"):
        PixelCNNHomoencoderConfig(class_channels=0)
    with pytest.raises(ValueError, match="element_latent is -1"):
        PixelCNNHomoencoderConfig(element_latent=-1)
    with pytest.raises(ValueError, match="width is 0"):
        DeconvolutionalConfig(width=0)


def test_the_template_encoder_starts_by_looking():
    """Its kernel starts as a point: the latent's first channels are the average drawing, and not a blur of it."""
    encoder = TemplateEncoder(2, 8).double().eval()
    support = bits(1, 2, 1, 8, 8)
    mean = encoder(support).mean.view(2, 64)
    average = encoder.average(support).flatten()
    assert torch.corrcoef(torch.stack([mean[1], average]))[0, 1] > 0.9
