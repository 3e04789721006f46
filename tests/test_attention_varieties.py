"""Row S5: what every variety of attention promises, each promise with the fault that breaks it."""

import math

import pytest
import torch

from oneshot_lib import attention

IMAGE, PATCH = (9, 8), (5, 4)
NAMES = list(attention.VARIETIES)
MATRICES = ["translation", "translation-scale", "axis-aligned", "similarity", "rotated", "affine"]
HARD = ["random", "error-large", "error-printed"]
SOFT = [name for name in NAMES if name not in (*HARD, "fully-connected")]
GENERATOR = torch.Generator()


def randn(seed, *shape):
    return torch.randn(*shape, generator=GENERATOR.manual_seed(seed), dtype=torch.float64)


def setting(name, batch=3, channels=2, windows=2):
    """A variety, numbers of windows that differ, an image and a patch of the size that it gives."""
    variety = attention.named(name, windows)
    numbers = variety.start().double() + 0.3 * randn(1, batch, variety.numbers)
    size = IMAGE if name == "fully-connected" else PATCH
    return (variety, numbers, size, randn(2, batch, channels, *IMAGE),
            randn(3, batch, variety.windows_a_step * channels, *size))


def quantiles(n):
    """The n normals whose probabilities are spread evenly: any drawing made of them has the frequencies it should."""
    return torch.special.ndtri((torch.arange(n, dtype=torch.float64) + 0.5) / n)


# --- every variety ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_write_is_the_adjoint_of_read_and_autograd_agrees(name):
    variety, numbers, size, x, r = setting(name)
    x.requires_grad_()
    seen, written = variety.read(x, numbers, size), variety.write(r, variety.adjoint(numbers), IMAGE)
    assert seen.shape == r.shape and written.shape == x.shape
    left = (seen * r).sum((1, 2, 3))
    torch.testing.assert_close(left, (x * written).sum((1, 2, 3)))
    torch.testing.assert_close(torch.autograd.grad(left.sum(), x)[0], written)
    if variety.numbers:  # the fault: another window
        assert (left - (x * variety.write(r, variety.adjoint(numbers.flip(0)), IMAGE)).sum((1, 2, 3))).abs().max() > 0.1
    if name == "gaussian":  # the fault: the intensity of the read, where its inverse is due
        assert (left - (x * variety.write(r, numbers, IMAGE)).sum((1, 2, 3))).abs().max() > 0.1
    else:
        assert torch.equal(variety.adjoint(numbers), numbers)


@pytest.mark.parametrize("name", NAMES)
def test_a_network_begins_in_the_middle_with_half_of_the_image(name):
    variety = attention.named(name, 2)
    start = variety.start()
    corners = attention.corners(variety.windows(start, PATCH, IMAGE))  # (K, 4, 2)
    low, high = corners.amin(-2), corners.amax(-2)
    if name == "fully-connected":
        half, middle = [1.0, 1.0], [[0.0, 0.0]]
    elif variety.numbers == 2:  # as many pixels as the patch has
        half, middle = [PATCH[1] / IMAGE[1], PATCH[0] / IMAGE[0]], [[0.0, 0.0]]
    else:
        half, middle = [0.5, 0.5], [[-0.25, 0.0], [0.25, 0.0]] if name == "multiple" else [[0.0, 0.0]]
    torch.testing.assert_close((low + high) / 2, torch.tensor(middle))
    torch.testing.assert_close((high - low) / 2, torch.tensor([half] * len(middle)))
    assert start.shape == (variety.numbers,)
    if name == "gaussian":
        assert start[3:].tolist() == [0, 0]  # a variance and an intensity of one


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("k", [1, 3])
def test_shapes(name, k):
    variety, numbers, size, x, r = setting(name, windows=k)
    count = k if name == "multiple" else 1
    assert variety.windows_a_step == count and variety.start().shape == (variety.numbers,)
    assert variety.read(x, numbers, size).shape == (3, count * 2, *size)
    assert variety.write(r, numbers, IMAGE).shape == (3, 2, *IMAGE)
    steps = numbers.expand(5, *numbers.shape)  # any dimensions before the numbers
    assert variety.windows(steps, size, IMAGE).shape == (5, 3, count, 2, 3)
    assert variety.patch_size(4, IMAGE) == (IMAGE if name == "fully-connected" else (4, 4))
    assert variety.asked == (name not in HARD) and (variety.noise > 0) == (name in HARD)


@pytest.mark.parametrize("name", SOFT)
def test_gradients_reach_every_number(name):
    variety, numbers, size, x, r = setting(name, batch=2, channels=1)
    numbers.requires_grad_()
    for transform, picture, shape in ((variety.read, x, size), (variety.write, r, IMAGE)):
        assert torch.autograd.gradcheck(lambda n: transform(picture, n, shape), numbers, fast_mode=True)  # noqa: B023
        (gradient,) = torch.autograd.grad(transform(picture, numbers, shape).square().sum(), numbers)
        assert (gradient != 0).all()


@pytest.mark.parametrize("name", SOFT)
def test_over_blank_paper_a_tent_has_no_gradient_and_a_gaussian_has(name):
    variety = attention.named(name, 1)
    start = variety.start().double()[None]  # a window in the middle, here a quarter as wide as the image
    numbers = (start / 2 if name == "affine" else start.where(start == 0, math.log(0.25))).requires_grad_()
    x = torch.zeros(1, 1, 16, 16).double()
    x[..., 13:] = 1.0  # what there is to see lies right of it
    patch = variety.read(x, numbers, (3, 3))
    (gradient,) = torch.autograd.grad((patch * randn(0, 1, 1, 3, 3)).sum(), numbers)
    x_of_centre = gradient[0, 2 if name == "affine" else 0]
    if name == "gaussian":
        assert x_of_centre != 0 and patch.abs().max() > 0
    else:
        assert (gradient == 0).all() and (patch == 0).all()


# --- spatial transformers --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["translation", "translation-scale", "axis-aligned", "multiple", *HARD])
def test_separable_forms_are_the_general_path_on_their_windows(name):
    variety, numbers, size, x, r = setting(name, windows=1)
    window = variety.windows(numbers, size, IMAGE)[:, 0]
    torch.testing.assert_close(variety.read(x, numbers, size), attention.read(x, window, size, False))
    torch.testing.assert_close(variety.write(r, numbers, IMAGE), attention.write(r, window, IMAGE, False))


@pytest.mark.parametrize("name", ["similarity", "rotated", "affine"])
def test_the_separable_path_would_lose_a_rotation(name):
    variety, numbers, size, x, _ = setting(name)
    faulty = attention.read(x, variety.windows(numbers, size, IMAGE)[:, 0], size, True)
    assert (faulty - variety.read(x, numbers, size)).abs().max() > 0.05


def matrix(name, x, y, *rest):
    """The window of each restricted form, from sines and cosines: six numbers, row by row."""
    angle = rest[-1] if name in ("similarity", "rotated") else 0.0
    if name == "translation":
        wide, high = PATCH[1] / IMAGE[1], PATCH[0] / IMAGE[0]
    else:
        wide, high = math.exp(rest[0]), math.exp(rest[1 if name in ("axis-aligned", "rotated") else 0])
    cos, sin = math.cos(angle), math.sin(angle)
    return [wide * cos, -high * sin, x, wide * sin, high * cos, y]


@pytest.mark.parametrize("name", MATRICES[:-1])
def test_a_restricted_form_is_the_affine_one_with_its_matrix(name):
    variety, numbers, size, x, r = setting(name)
    six = torch.stack([torch.tensor(matrix(name, *row), dtype=torch.float64) for row in numbers.tolist()])
    affine = attention.named("affine")
    torch.testing.assert_close(variety.read(x, numbers, size), affine.read(x, six, size))
    torch.testing.assert_close(variety.write(r, numbers, IMAGE), affine.write(r, six, IMAGE))
    columns_first = six.unflatten(1, (2, 3)).transpose(1, 2).flatten(1)  # the fault: the matrix column by column
    assert (affine.read(x, columns_first, size) - variety.read(x, numbers, size)).abs().max() > 0.1


@pytest.mark.parametrize("name", ["translation", *HARD])
def test_a_translation_reads_the_images_own_pixels(name):
    variety, _, _, x, r = setting(name, batch=1)
    top, left = 3, 1
    numbers = torch.tensor([[(2 * left + PATCH[1]) / IMAGE[1] - 1, (2 * top + PATCH[0]) / IMAGE[0] - 1]]).double()
    own = (..., slice(top, top + PATCH[0]), slice(left, left + PATCH[1]))
    torch.testing.assert_close(variety.read(x, numbers, PATCH), x[own], rtol=1e-5, atol=1e-5)
    put = torch.zeros_like(x)
    put[own] = r
    torch.testing.assert_close(variety.write(r, numbers, IMAGE), put, rtol=1e-5, atol=1e-5)


def test_several_windows_lie_side_by_side_in_a_patch_and_add_up_in_an_image():
    variety, numbers, size, x, r = setting("multiple", windows=3)
    one, apart = attention.named("axis-aligned"), numbers.chunk(3, 1)
    by_hand = torch.cat([one.read(x, n, size) for n in apart], 1)
    torch.testing.assert_close(variety.read(x, numbers, size), by_hand)
    written = sum(one.write(part, n, IMAGE) for part, n in zip(r.chunk(3, 1), apart, strict=True))
    torch.testing.assert_close(variety.write(r, numbers, IMAGE), written)
    channels_outermost = r.unflatten(1, (2, 3)).transpose(1, 2).flatten(1, 2)  # the fault
    assert (variety.write(channels_outermost, numbers, IMAGE) - written).abs().max() > 0.1
    assert attention.named("multiple", 1).start().equal(one.start())
    start = attention.named("multiple", 3).start().unflatten(0, (3, 4))
    assert len(start[:, 0].unique()) == 3 and start[:, 1:].equal(one.start()[1:].expand(3, 3))  # in different places


def test_without_attention_the_patch_is_the_image():
    variety, numbers, _, x, _ = setting("fully-connected")
    assert torch.equal(variety.read(x, numbers, IMAGE), x) and torch.equal(variety.write(x, numbers, IMAGE), x)
    window = variety.windows(numbers, IMAGE, IMAGE)[:, 0]
    torch.testing.assert_close(attention.read(x, window, IMAGE), x)  # and its window is the whole image


# --- DRAW's filterbank -----------------------------------------------------------------------------------------------


def filters(centre, scale, variance, points, pixels, shift=0.0):
    """F as Gregor et al. 2015 print it, entry by entry."""
    g, stride = (centre + 1) * pixels / 2 - 0.5, scale * pixels / points
    rows = []
    for i in range(points):
        mean = g + (i - (points - 1) / 2 - shift) * stride
        row = [math.exp(-((a - mean) ** 2) / (2 * variance)) for a in range(pixels)]
        rows.append([weight / sum(row) for weight in row])
    return torch.tensor(rows, dtype=torch.float64)


def test_the_filterbank_is_its_equation():
    variety, numbers, size, x, r = setting("gaussian")
    for b, (cx, cy, log_scale, log_variance, log_intensity) in enumerate(numbers.tolist()):
        scale, variance, intensity = math.exp(log_scale), math.exp(log_variance), math.exp(log_intensity)
        y_filters = filters(cy, scale, variance, PATCH[0], IMAGE[0])
        x_filters = filters(cx, scale, variance, PATCH[1], IMAGE[1])
        torch.testing.assert_close(variety.read(x, numbers, size)[b], intensity * (y_filters @ x[b] @ x_filters.T))
        torch.testing.assert_close(variety.write(r, numbers, IMAGE)[b], y_filters.T @ r[b] @ x_filters / intensity)
        faulty = filters(cx, scale, variance, PATCH[1], IMAGE[1], shift=0.5)  # counted from 1, as the paper's i is
        assert (faulty - x_filters).abs().max() > 0.05


def test_filters_sum_to_one_and_fade_far_outside():
    half, one = torch.tensor(0.5).double(), torch.tensor(1.0).double()
    for centre in (0.0, 0.9):
        rows = attention.filterbank(one * centre, half, one, 4, 12).sum(-1)
        torch.testing.assert_close(rows, torch.ones_like(rows))
    far = attention.filterbank(one * 4, half, one, 4, 12)
    assert far.isfinite().all() and far.sum(-1).max() < 1e-3
    assert attention.filterbank(one * 50, half, one, 4, 12).eq(0).all()  # dividing by their sum would give no number


# --- hard attention --------------------------------------------------------------------------------------------------


def test_random_patches_are_everywhere_within_the_image_and_nowhere_else():
    variety = attention.named("random")
    even = quantiles(400)
    noise = torch.stack([even, even.flip(0)], 1)
    places = variety.draw(noise, PATCH, IMAGE)
    reach = torch.tensor([1 - PATCH[1] / IMAGE[1], 1 - PATCH[0] / IMAGE[0]]).double()
    uniform = (2 * torch.arange(400) + 1) / 400.0 - 1
    torch.testing.assert_close(places, torch.stack([uniform, -uniform], 1).double() * reach, atol=1e-6, rtol=0)
    windows = variety.windows(places, PATCH, IMAGE)
    assert attention.corners(windows).abs().max() <= 1 + 1e-6
    assert attention.corners(variety.windows(places / reach, PATCH, IMAGE)).abs().max() > 1.3  # the fault: no reach
    assert torch.equal(places, variety.draw(noise, PATCH, IMAGE))


def errors(seed=0, channels=2):
    return randn(seed, 3, channels, *IMAGE), randn(seed + 1, 3, channels, *IMAGE)


def by_equation(error, beta, ddof=0):
    """exp(-beta |(e - mean e) / std e|) over one image's errors, a list -> probabilities."""
    mean = sum(error) / len(error)
    spread = math.sqrt(sum((e - mean) ** 2 for e in error) / (len(error) - ddof))
    weights = [math.exp(-beta * abs((e - mean) / spread)) for e in error]
    return torch.tensor([w / sum(weights) for w in weights], dtype=torch.float64).view(IMAGE)


@pytest.mark.parametrize("large", [False, True])
def test_error_probabilities_are_their_equation(large):
    x, seen = errors()
    probability = attention.error_probabilities(x, seen, large, sharpness=1.7)
    torch.testing.assert_close(probability.sum((1, 2)), torch.ones(3).double())
    for one, error in zip(probability, (x - seen).sum(1), strict=True):
        torch.testing.assert_close(one, by_equation(error.flatten().tolist(), -1.7 if large else 1.7))
        faulty = by_equation(error.flatten().tolist(), -1.7 if large else 1.7, ddof=1)  # not the spread of these pixels
        assert not torch.allclose(one, faulty)


def test_the_printed_sign_looks_where_the_error_is_average_and_the_other_where_it_is_large():
    x, seen = errors(channels=1)
    away = ((x - seen).flatten(1) - (x - seen).flatten(1).mean(1, keepdim=True)).abs()
    printed, large = (attention.error_probabilities(x, seen, sign).flatten(1) for sign in (False, True))
    assert torch.equal(printed.argmax(1), away.argmin(1)) and torch.equal(printed.argmin(1), away.argmax(1))
    assert torch.equal(large.argmax(1), away.argmax(1)) and torch.equal(large.argmin(1), away.argmin(1))
    single = torch.zeros(1, 1, *IMAGE).double()
    single[0, 0, 2, 3] = 1.0  # one pixel missed on an empty reconstruction
    for name, wins in (("error-large", True), ("error-printed", False)):
        x = single.expand(40, -1, -1, -1)
        place = attention.named(name).draw(quantiles(40)[:, None], x, torch.zeros_like(x))
        hits = (place - torch.tensor([7 / 8 - 1, 5 / 9 - 1])).abs().amax(1) < 1e-5
        assert hits.any() == wins


@pytest.mark.parametrize("large", [False, True])
def test_where_no_error_stands_out_every_place_is_as_likely(large):
    x, _ = errors()
    for one, other in ((x, x), (torch.full_like(x, 0.1), torch.zeros_like(x))):
        probability = attention.error_probabilities(one, other, large)
        torch.testing.assert_close(probability, torch.full_like(probability, 1 / math.prod(IMAGE)))


@pytest.mark.parametrize("name", ["error-large", "error-printed"])
def test_places_are_drawn_as_often_as_their_probability_says(name):
    n, variety = 500, attention.named(name)
    x, seen = (picture[:1] for picture in errors())
    wanted = attention.error_probabilities(x, seen, name == "error-large")[0]
    place = variety.draw(quantiles(n)[:, None], x.expand(n, -1, -1, -1), seen.expand(n, -1, -1, -1))
    column = ((place[:, 0] + 1) * IMAGE[1] - 1) / 2
    row = ((place[:, 1] + 1) * IMAGE[0] - 1) / 2
    torch.testing.assert_close(column, column.round(), atol=1e-5, rtol=0)  # the centres of pixels
    torch.testing.assert_close(row, row.round(), atol=1e-5, rtol=0)
    pixel = (row.round() * IMAGE[1] + column.round()).long()
    often = torch.bincount(pixel, minlength=math.prod(IMAGE)).view(IMAGE) / n
    assert (often - wanted).abs().max() <= 1.01 / n  # an inverse of the CDF errs by one draw at most
    other = attention.error_probabilities(x, seen, name != "error-large")[0]
    assert (often - other).abs().max() > 5 / n  # the fault: the signs swapped
    ends = variety.draw(torch.tensor([[-50.0], [50.0]]).double(), x.expand(2, -1, -1, -1), seen.expand(2, -1, -1, -1))
    assert ends.abs().max() < 1  # no noise leads out of the image


def test_error_based_attention_writes_by_a_spatial_transformer_and_the_others_by_what_they_read_by():
    for name in NAMES:
        variety = attention.named(name)
        if name.startswith("error"):
            assert variety.writer().name == "axis-aligned" and variety.writer().asked
        else:
            assert variety.writer() is variety


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [n for n in NAMES if n != "fully-connected"])
def test_the_wrong_number_of_numbers_is_refused(name):
    variety, numbers, size, x, r = setting(name)
    expected = rf"numbers has shape \(3, {variety.numbers + 1}\); expected \(\.\.\., {variety.numbers}\)"
    longer = torch.cat([numbers, numbers[:, :1]], 1)
    for call in (lambda: variety.read(x, longer, size), lambda: variety.write(r, longer, IMAGE),
                 lambda: variety.windows(longer, size, IMAGE)):
        with pytest.raises(ValueError, match=expected):
            call()


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="attention is 'afine'; expected one of translation, .*error-printed"):
        attention.named("afine")
    with pytest.raises(ValueError, match="count is 0; expected at least one"):
        attention.named("multiple", 0)
    whole, x = attention.named("fully-connected"), torch.zeros(1, 1, *IMAGE)
    for call in (lambda: whole.read(x, torch.zeros(1, 0), PATCH), lambda: whole.write(x, torch.zeros(1, 0), (28, 28))):
        with pytest.raises(ValueError, match=r"size is \(., .\); expected that of the image, \("):
            call()
    with pytest.raises(ValueError, match="image has shape"):
        attention.named("affine").read(x[0], torch.zeros(1, 6), PATCH)
    with pytest.raises(ValueError, match="window has shape"):
        attention.named("translation").read(x, torch.zeros(2, 2), PATCH)
    with pytest.raises(ValueError, match=r"image and reconstruction have shapes \(1, 1, 9, 8\) and \(1, 9, 8\)"):
        attention.error_probabilities(x, x[0])
