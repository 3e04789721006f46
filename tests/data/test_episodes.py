"""Algorithm 1: x and D of one class, D a subset, x drawn independently of it; and the committed episodes."""

import itertools

import numpy as np
import pytest
import torch

from oneshot_lib import data

SIZES = [4, 4, 7, 20, 5]


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(20)


@pytest.fixture
def classes():
    """Five classes of 4 to 20 rows, the rows of each scattered; classes 10, 11, ..."""
    index = np.repeat(np.arange(10, 15), SIZES)
    return np.random.default_rng(0).permutation(index)


def is_algorithm_1(batch, class_index, support_size):
    """x and D of one class, D without replacement, and |X| is reported."""
    x, support = batch.x.numpy(), batch.support.numpy()
    same = (class_index[x] == batch.class_index.numpy()).all()
    same &= (class_index[support] == batch.class_index.numpy()[:, None]).all()
    distinct = all(len(set(d)) == support_size for d in support.tolist())
    sizes = np.bincount(class_index)[batch.class_index.numpy()]
    return bool(same and distinct and (batch.set_size.numpy() == sizes).all())


def with_replacement(rows, batch_size, support_size, generator):
    """The fault of a published loader: D drawn with replacement."""
    batch = rows.minibatch(batch_size, 1, generator)
    place = (torch.rand(batch_size, support_size, generator=generator) * batch.set_size[:, None]).long()
    index = torch.searchsorted(rows.classes, batch.class_index)
    return batch._replace(support=rows.table[index].gather(1, place))


@pytest.mark.parametrize("support_size", [1, 2, 4])
@pytest.mark.parametrize("x_from", ["class", "support"])
def test_x_and_d_come_from_one_class(classes, generator, support_size, x_from):
    batch = data.ClassRows(classes).minibatch(3000, support_size, generator, x_from)
    assert batch.x.shape == (3000,) and batch.support.shape == (3000, support_size)
    assert is_algorithm_1(batch, classes, support_size)


def test_what_is_not_algorithm_1_is_noticed(classes, generator):
    rows = data.ClassRows(classes)
    assert not is_algorithm_1(with_replacement(rows, 3000, 3, generator), classes, 3)
    batch = rows.minibatch(3000, 3, generator)
    assert not is_algorithm_1(batch._replace(x=batch.x.roll(1)), classes, 3)
    assert not is_algorithm_1(batch._replace(set_size=batch.set_size + 1), classes, 3)


def share_in_support(batch):
    return (batch.support == batch.x[:, None]).any(1).double().mean().item()


@pytest.mark.parametrize("support_size", [1, 5, 13, 20])
def test_x_lies_in_d_as_often_as_chance_has_it(generator, support_size):
    rows = data.ClassRows(np.repeat(np.arange(8), 20))
    n, expected = 40_000, support_size / 20
    error = np.sqrt(expected * (1 - expected) / n)
    share = share_in_support(rows.minibatch(n, support_size, generator))
    assert abs(share - expected) <= 4 * error
    # the faults: x drawn from D, and D drawn around x
    assert share_in_support(rows.minibatch(n, support_size, generator, "support")) == 1
    if support_size < 20:
        assert abs(1 - expected) > 4 * error


def test_x_is_uniform_over_elements(classes, generator):
    n = 60_000
    batch = data.ClassRows(classes).minibatch(n, 2, generator)
    count = torch.bincount(batch.x, minlength=len(classes)).double().numpy()
    p = 1 / len(classes)
    assert (abs(count / n - p) <= 4.5 * np.sqrt(p * (1 - p) / n)).all()
    uniform_over_classes = 1 / len(SIZES) / max(SIZES)  # the fault: classes alike whatever their size
    assert abs(p - uniform_over_classes) > 4.5 * np.sqrt(p * (1 - p) / n)


def test_every_subset_is_as_likely(generator):
    n = 30_000
    batch = data.ClassRows(np.zeros(5, int)).minibatch(n, 2, generator)
    subsets = [tuple(sorted(d)) for d in batch.support.tolist()]
    p = 1 / 10
    for pair in itertools.combinations(range(5), 2):
        assert abs(subsets.count(pair) / n - p) <= 4.5 * np.sqrt(p * (1 - p) / n)


def test_x_does_not_depend_on_d(generator):
    batch = data.ClassRows(np.zeros(5, int)).minibatch(60_000, 1, generator)
    joint = torch.bincount(batch.x * 5 + batch.support[:, 0], minlength=25).double() / 60_000
    assert (abs(joint - 1 / 25) <= 4.5 * (1 / 25 / 60_000) ** 0.5).all()


def test_only_the_rows_of_a_split_are_drawn(characters, generator):
    split = characters.split("random-drawings")
    rows = data.ClassRows(characters.class_index, split.test)
    smallest = int(rows.sizes.min())
    batch = rows.minibatch(2000, smallest, generator)
    assert np.isin(batch.support.numpy(), split.test).all() and np.isin(batch.x.numpy(), split.test).all()
    held = np.bincount(characters.class_index[split.test])
    assert (batch.set_size.numpy() == held[batch.class_index.numpy()]).all()
    assert rows.minibatch(2, smallest, generator).x.dtype == torch.int64


def test_draws_come_from_the_generator(classes):
    rows = data.ClassRows(classes)
    first, second, other = (rows.minibatch(50, 3, torch.Generator().manual_seed(s)) for s in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert not torch.equal(first.support, other.support)


def test_bad_sizes(classes, generator):
    rows = data.ClassRows(classes)
    for size in (0, 5):
        with pytest.raises(ValueError, match=f"support_size: expected 1 to 4 .*, found {size}"):
            rows.minibatch(3, size, generator)
    with pytest.raises(ValueError, match="batch_size: expected 1 or more, found 0"):
        rows.minibatch(0, 1, generator)
    with pytest.raises(ValueError, match="x_from: expected 'class' or 'support', found 'set'"):
        rows.minibatch(3, 1, generator, "set")
    with pytest.raises(ValueError, match="rows: expected at least one row"):
        data.ClassRows(classes, np.zeros(0, int))


@pytest.mark.parametrize("half", ["test", "train"])
@pytest.mark.parametrize("within", [False, True])
@pytest.mark.parametrize("shots", [1, 5])
def test_evaluation_episodes(characters, shots, within, half):
    found = data.evaluation_episodes(characters, shots, within, half=half)
    count = {"test": 200, "train": 100}[half]
    assert found.class_index.shape == found.query.shape == (count, 20) and found.support.shape == (count, 20, shots)
    assert (characters.class_index[found.query] == found.class_index).all()
    assert (characters.class_index[found.support] == found.class_index[:, :, None]).all()
    for classes in found.class_index:
        assert len(set(classes)) == 20
    drawn = np.concatenate([found.support, found.query[:, :, None]], 2).reshape(-1, shots + 1)
    assert all(len(set(rows)) == shots + 1 for rows in drawn.tolist())  # the query is not among the support
    assert np.isin(drawn, getattr(characters.split("30-20"), half)).all()  # the fault: a choice made on test characters
    alphabets = [len(set(a)) for a in characters.alphabet_index[found.query]]
    assert set(alphabets) == {1} if within else min(alphabets) > 1
    assert np.array_equal(found.support[:, :, :1], data.evaluation_episodes(characters, 1, within, half=half).support)


def test_the_number_of_shots(characters):
    for shots in (0, 6):
        with pytest.raises(ValueError, match=f"shots: expected 1 to 5, found {shots}"):
            data.evaluation_episodes(characters, shots)
    with pytest.raises(ValueError, match="half: expected 'train' or 'test', found 'validation'"):
        data.evaluation_episodes(characters, half="validation")
    with pytest.raises(ValueError, match="split: expected 30-20, found 'random-1200'"):
        data.evaluation_episodes(characters, split="random-1200", half="train")


def test_the_twenty(characters):
    rows = data.twenty(characters)
    assert len(rows) == 20 == len(set(characters.class_index[rows]))
    assert np.isin(rows, characters.split("30-20").test).all()
    assert np.isin(rows, characters.split("random-drawings").test).all()
    alphabets = set(characters.alphabet_index[rows])
    assert alphabets == set(characters.alphabet_index[characters.split("30-20").test])


def likeness(images):
    """The mean cosine of each drawing (N, 105, 105) with the others, on pages of 15x15."""
    coarse = images.reshape(-1, 15, 7, 15, 7).mean((2, 4)).reshape(len(images), -1)
    coarse /= np.linalg.norm(coarse, axis=1, keepdims=True)
    return (coarse @ coarse.T).sum(1)


def test_the_exemplars_are_one_typical_drawing_of_each_test_character(characters):
    rows, test = data.exemplars(characters), characters.split("weak").test
    assert np.array_equal(characters.class_index[rows], np.unique(characters.class_index[test]))
    assert len(rows) == {"omniglot": 150, "glyphs": 120}[characters.name]
    below, below_next = [], []
    for row in rows[::3]:
        alike = likeness(characters.images[row // 20 * 20 : row // 20 * 20 + 20])
        below.append(np.mean(alike < alike[row % 20]))
        below_next.append(np.mean(alike < alike[(row + 1) % 20]))
    assert np.mean(below) > 0.8 > 0.65 > np.mean(below_next)  # the fault: a drawing like any other
