"""The extended data set of Hewitt 2018, section 4.1: its group, its exactness, and algorithm 1 over it."""

import itertools

import numpy as np
import pytest
import torch

from oneshot_lib import data
from oneshot_lib.data import augment
from oneshot_lib.data.augment import AugmentedCharacters, affine_maps, symmetry

CORNER = np.arange(25).reshape(5, 5)  # no symmetry leaves it as it is


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(20)


@pytest.fixture(scope="module")
def rows(characters):
    return characters.split("30-20").train[:400]  # 20 characters


@pytest.fixture(scope="module")
def extended(characters, rows):
    return AugmentedCharacters(characters, "28-nearest", rows)


def is_group(elements):
    """Eight different arrangements of the pixels, closed under composition."""
    found = {symmetry_.tobytes() for symmetry_ in (e(CORNER) for e in elements)}
    composed = {a(b(CORNER)).tobytes() for a, b in itertools.product(elements, elements)}
    return len(found) == len(elements) == 8 and composed == found


def test_the_symmetries_are_the_dihedral_group():
    elements = [lambda image, g=g: symmetry(g, image) for g in range(8)]
    assert np.array_equal(symmetry(0, CORNER), CORNER)
    assert is_group(elements)
    # the faults: a turn counted twice, and a shift among the turns
    assert not is_group([*elements[:7], elements[1]])
    assert not is_group([*elements[:7], lambda image: np.roll(image, 1, 0)])
    with pytest.raises(ValueError, match="g: expected 0 to 7, found 8"):
        symmetry(8, CORNER)


def test_the_maps_are_small_and_committed():
    maps = affine_maps(20)
    assert np.array_equal(maps[0], np.eye(2, 3))
    assert np.array_equal(maps[:7], affine_maps(7)) and not np.array_equal(maps[1:], affine_maps(20, 1)[1:])
    assert len(np.unique(maps.reshape(20, -1), axis=0)) == 20
    stretch = np.linalg.svd(maps[:, :, :2], compute_uv=False)
    assert 0.8 < stretch.min() < 1 < stretch.max() < 1.2
    assert (abs(maps[:, :, 2]) <= augment.SHIFT).all()
    angle = np.rad2deg(np.arctan2(maps[:, 1, 0], maps[:, 0, 0]))
    assert 5 < abs(angle).max() <= augment.ROTATION + 1e-3
    # what is committed: another version of NumPy, or another order of the draws, would change the instances
    assert np.array_equal(maps[1], COMMITTED)


COMMITTED = [[0.917689, 0.013156, -0.029612], [0.063581, 0.949728, 0.044796]]


@pytest.mark.parametrize("preprocessing", ["28-nearest", "28-area", "28-threshold", "50-nearest", "26-area"])
def test_the_identity_is_exact(characters, rows, preprocessing):
    found = AugmentedCharacters(characters, preprocessing, rows, affine=3)
    plain = data.preprocess(np.asarray(characters.images[rows]), preprocessing)
    assert np.array_equal(found.images(rows), plain)
    for g in range(8):
        assert np.array_equal(found.images(rows, g), symmetry(g, plain))
    assert not np.array_equal(found.images(rows, 0, 1), plain)


@pytest.mark.parametrize("preprocessing", ["28-nearest", "28-area"])
def test_a_map_moves_ink_where_it_says(characters, rows, preprocessing, monkeypatch):
    """A shift by whole output pixels is a shift of the reduced image, its edge blank: right, and down."""
    move = np.array([np.eye(2, 3), [[1, 0, 2 / 28], [0, 1, 4 / 28]]])
    monkeypatch.setattr(augment, "affine_maps", lambda count, seed: move)
    found = AugmentedCharacters(characters, preprocessing, rows, affine=2)
    # 4 output pixels are 15 of the original, 2 are 7.5
    page = np.zeros((len(rows), 105, 105), np.uint8)
    page[:, 15:, 7:] = characters.images[rows][:, :-15, :-7]
    expected = data.preprocess(page, preprocessing).astype(float)
    moved = found.images(rows, 0, 1).astype(float)
    assert not moved[:, :4].any() and not moved[:, :, :2].any()
    assert abs(moved - expected).mean() < 0.3 * abs(found.images(rows) - expected).mean()


def test_an_area_keeps_the_ink(characters, rows):
    """The grey levels of a mapped drawing sum to its ink times the map's determinant."""
    found = AugmentedCharacters(characters, "28-area", rows)
    ink = found.images(rows[:, None], 0, np.arange(20)).astype(float).sum((0, 2, 3))
    determinant = np.linalg.det(found.maps[:, :, :2])
    ratio = ink / ink[0] / determinant
    assert (ratio < 1.03).all() and (ratio > 0.9).all()  # a little leaves the page


def test_sizes(characters, rows, extended):
    assert len(extended) == 400 * 8 * 20 and extended.class_count == 160
    plain = AugmentedCharacters(characters, "28-nearest", rows, rotations=False, affine=1)
    assert len(plain) == 400 and plain.class_count == 20
    everything = AugmentedCharacters(characters, "28-nearest", affine=2)
    assert len(everything) == len(characters) * 16


def fingerprints(found, characters, rows):
    """Which (class, drawing) pairs can have made an image; images of one binarisation only."""
    images = found.images(rows[:, None, None], np.arange(found.symmetries)[:, None], np.arange(found.affine))
    owner = {}
    for k, g, m in np.ndindex(images.shape[:3]):
        key = (images[k, g, m] > 0).tobytes()
        owner.setdefault(key, set()).add((found.symmetries * int(characters.class_index[rows[k]]) + g, k, m))
    return owner


def is_algorithm_1(batch, owner, set_size, sets):
    """x and D of the class that is reported, D without replacement, |X| as it should be."""
    good = bool((batch.set_size == set_size).all())
    for k, label in enumerate(batch.class_index.tolist()):
        for image in (batch.x[k], *batch.support[k]):
            good &= any(label == c for c, _, _ in owner.get((image.numpy() > 0).tobytes(), ()))
        choices = [
            {
                (r if sets == "drawings" else (r, m))
                for c, r, m in owner.get((i.numpy() > 0).tobytes(), ())
                if c == label
            }
            for i in batch.support[k]
        ]
        good &= distinct_choice(choices)
    return good


def distinct_choice(choices):
    """Whether each set can give an element of its own (augmenting paths; two drawings may look alike)."""
    taken = {}

    def place(k, seen):
        for element in choices[k] - seen:
            seen.add(element)
            if element not in taken or place(taken[element], seen):
                taken[element] = k
                return True
        return False

    return all(place(k, set()) for k in range(len(choices)))


@pytest.mark.parametrize("sets", ["all", "drawings"])
@pytest.mark.parametrize("support_size", [1, 5, 20])
def test_algorithm_1_over_the_extended_set(characters, rows, generator, sets, support_size):
    found = AugmentedCharacters(characters, "28-nearest", rows[:60], affine=3)
    owner = fingerprints(found, characters, rows[:60])
    size = 60 if sets == "all" else 20
    batch = found.minibatch(200, support_size, generator, sets=sets)
    assert batch.x.shape == (200, 1, 28, 28) and batch.support.shape == (200, support_size, 1, 28, 28)
    assert batch.x.dtype == batch.support.dtype == torch.float32
    assert is_algorithm_1(batch, owner, size, sets)
    # the faults: x of another class, another |X|, a rotation counted as an instance, D with replacement
    assert not is_algorithm_1(batch._replace(x=batch.x.roll(1, 0)), owner, size, sets)
    assert not is_algorithm_1(batch._replace(set_size=batch.set_size * 8), owner, size, sets)
    assert not is_algorithm_1(batch._replace(support=batch.support.rot90(1, (3, 4))), owner, size, sets)
    if support_size > 1:
        place = torch.randint(support_size, (200, support_size), generator=generator)
        repeated = batch.support[torch.arange(200)[:, None], place]
        assert not is_algorithm_1(batch._replace(support=repeated), owner, size, sets)


@pytest.mark.parametrize("sets", ["all", "drawings"])
def test_every_map_symmetry_and_drawing_comes(characters, rows, generator, sets):
    found = AugmentedCharacters(characters, "28-nearest", rows[:20], affine=2)
    owner = fingerprints(found, characters, rows[:20])
    batch = found.minibatch(6000, 1, generator, sets=sets)
    count = torch.bincount(batch.class_index - 8 * int(characters.class_index[rows[0]]), minlength=8).double() / 6000
    assert (abs(count - 1 / 8) <= 4.5 * (1 / 8 * 7 / 8 / 6000) ** 0.5).all()
    seen = {key for image in batch.x for key in [(image.numpy() > 0).tobytes()]}
    assert seen == set(owner)  # each of the 320 elements is expected 19 times


@pytest.mark.slow
def test_x_lies_in_d_as_the_same_element(characters, rows, generator):
    """Of "drawings", x in D goes through its map: the share of equal images is |D| / 20."""
    found = AugmentedCharacters(characters, "28-nearest", rows[:20], rotations=False)
    n, size = 8_000, 5

    def share(batch):
        return (batch.support == batch.x[:, None]).flatten(2).all(2).any(1).double().mean().item()

    error = (0.25 * 0.75 / n) ** 0.5
    assert abs(share(found.minibatch(n, size, generator, sets="drawings")) - 0.25) <= 4.5 * error + 2e-3
    # the fault: a map of its own for x, which is then in D a twentieth as often, as with |X| = 400
    assert share(found.minibatch(n, size, generator, sets="all")) < 0.25 - 20 * error
    assert share(found.minibatch(200, size, generator, x_from="support", sets="drawings")) == 1
    assert share(found.minibatch(200, size, generator, x_from="support")) == 1


def test_rotations_are_classes_and_maps_are_instances(characters, rows, extended, generator):
    batch = extended.minibatch(3000, 2, generator)
    character = characters.class_index[rows]
    assert set((batch.class_index // 8).tolist()) == set(character.tolist())
    assert len(batch.class_index.unique()) == extended.class_count == 8 * len(set(character.tolist()))
    assert (batch.set_size == 400).all()  # 20 drawings through 20 maps, and not 8 times as many
    plain = AugmentedCharacters(characters, "28-nearest", rows, rotations=False)
    assert set(plain.minibatch(500, 2, generator).class_index.tolist()) == set(character.tolist())


def test_without_either_it_is_the_plain_data_set(characters, rows):
    found = AugmentedCharacters(characters, "28-nearest", rows, rotations=False, affine=1)
    batch = found.minibatch(50, 5, torch.Generator().manual_seed(3))
    plain = data.ClassRows(characters.class_index, rows).minibatch(50, 5, torch.Generator().manual_seed(3))
    grey = characters.grey("28-nearest")
    assert np.array_equal(batch.x[:, 0].numpy() * 255, grey[plain.x.numpy()])
    assert np.array_equal(batch.support[:, :, 0].numpy() * 255, grey[plain.support.numpy()])
    assert torch.equal(batch.class_index, plain.class_index) and torch.equal(batch.set_size, plain.set_size)


@pytest.mark.slow
def test_grey_levels_are_binarised_anew_at_each_occurrence(characters, rows, generator):
    found = AugmentedCharacters(characters, "28-area", rows[:20], rotations=False, affine=2)
    batch = found.minibatch(4000, 20, generator, x_from="support", sets="drawings")
    assert set(batch.x.unique().tolist()) == {0.0, 1.0}
    assert not (batch.support == batch.x[:, None]).flatten(2).all(2).any()  # x is in D, with other bits
    grey = found.images(rows[:20, None], 0, np.arange(2)).astype(float).mean((0, 1)) / 255
    error = 4.5 * (grey * (1 - grey) / 4000 / 10 + 1e-5) ** 0.5  # 20 drawings a set: little besides their maps
    assert (abs(batch.support.double().mean((0, 1, 2)).numpy() - grey) <= error).all()


@pytest.mark.parametrize("preprocessing", ["28-nearest", "28-area"])
@pytest.mark.parametrize("sets", ["all", "drawings"])
def test_draws_come_from_the_generator(characters, rows, preprocessing, sets):
    found = AugmentedCharacters(characters, preprocessing, rows)
    first, second, other = (found.minibatch(10, 3, torch.Generator().manual_seed(s), sets=sets) for s in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert not torch.equal(first.x, other.x)


def test_uneven_classes(characters, generator):
    """Of "random-drawings", whose classes differ in size: each |X| is its own."""
    split = characters.split("random-drawings")
    found = AugmentedCharacters(characters, "28-nearest", split.test, affine=2)
    batch = found.minibatch(300, 1, generator)
    held = np.bincount(characters.class_index[split.test])
    assert (batch.set_size.numpy() == 2 * held[batch.class_index.numpy() // 8]).all()


def test_bad_arguments(characters, rows, extended, generator):
    with pytest.raises(ValueError, match="preprocessing: expected one of .*, found '28'"):
        AugmentedCharacters(characters, "28", rows)
    with pytest.raises(ValueError, match="preprocessing: expected nearest, area or threshold .* '52-maxpool'"):
        AugmentedCharacters(characters, "52-maxpool", rows)
    assert AugmentedCharacters(characters, "105", rows, affine=1).images(int(rows[0]), 3).shape == (105, 105)
    with pytest.raises(ValueError, match="count: expected 1 or more, found 0"):
        AugmentedCharacters(characters, "28-nearest", rows, affine=0)
    with pytest.raises(ValueError, match="rows: expected at least one row"):
        AugmentedCharacters(characters, "28-nearest", rows[:0])
    with pytest.raises(ValueError, match="sets: expected 'all' or 'drawings', found 'some'"):
        extended.minibatch(2, 2, generator, sets="some")
    with pytest.raises(ValueError, match="support_size: expected 1 to 20 .*, found 21"):
        extended.minibatch(2, 21, generator, sets="drawings")
    for arguments, name in (((-1,), "row"), ((0, 8), "g"), ((0, 0, 20), "m"), ((0.5,), "row")):
        with pytest.raises(ValueError, match=f"{name}: expected integers from 0 to"):
            extended.images(*arguments)
