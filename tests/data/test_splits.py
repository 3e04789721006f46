"""The committed splits are disjoint and complete, for Omniglot and for Glyphs, and can be made again."""

import importlib.resources
import json

import numpy as np
import pytest

from oneshot_lib.data import make_splits, splits


def disjoint_and_complete(parts, count):
    rows = np.concatenate(parts)
    return len(rows) == count and np.array_equal(np.sort(rows), np.arange(count))


@pytest.mark.parametrize("name", splits.NAMES)
def test_disjoint_and_complete(characters, name):
    split = characters.split(name)
    parts = [split.train, split.test, split.unused]
    assert disjoint_and_complete(parts, len(characters))
    assert len(split.train) > len(split.test) > 0
    for part in parts:
        assert (np.diff(part) > 0).all()
    # the faults: a row in two parts, a row in none
    assert not disjoint_and_complete([split.train, split.test, split.train[:1]], len(characters))
    assert not disjoint_and_complete([split.train, split.test[1:], split.unused], len(characters))


@pytest.mark.parametrize("name", splits.NAMES[:-1])
def test_characters_are_on_one_side(characters, name):
    split = characters.split(name)
    train, test = (set(characters.class_index[rows]) for rows in (split.train, split.test))
    assert not train & test and len(split.unused) == 0
    train, test = (set(characters.alphabet_index[rows]) for rows in (split.train, split.test))
    assert bool(train & test) == (name in ("weak", "random-1200"))


def test_the_sizes_of_the_splits(characters):
    def counts(name, index):
        split = characters.split(name)
        return [len(set(index[rows])) for rows in (split.train, split.test)]

    if characters.name == "omniglot":
        assert counts("30-20", characters.class_index) == [964, 659]
        assert counts("random-1200", characters.class_index) == [1200, 423]
        split = characters.split("random-drawings")
        assert [len(part) for part in split[1:]] == [24345, 8070, 45]
    total = len(characters.alphabets)
    for name, test in (("30-20", 20), ("40-10", 10), ("45-5", 5)):
        expected = round(total * test / 50)
        assert counts(name, characters.alphabet_index) == [total - expected, expected]
    assert counts("weak", characters.class_index) == [len(characters.classes) - 3 * total, 3 * total]


def test_30_20_is_background_and_evaluation(characters):
    split = characters.split("30-20")
    assert split.train.max() < split.test.min()


def test_weak_holds_out_the_first_three_of_every_alphabet(characters):
    held = {characters.classes[k] for k in set(characters.class_index[characters.split("weak").test])}
    assert held == {f"{a}/character{k:02}" for a in characters.alphabets for k in (1, 2, 3)}


def test_the_files_are_what_the_program_makes(characters):
    for name, content in make_splits.splits(characters).items():
        assert splits.read_file(f"{characters.name}-{name}") == json.loads(json.dumps(content)), name
    for within in (False, True):
        name = f"{characters.name}-episodes-{'within' if within else 'across'}"
        assert splits.read_file(name) == json.loads(json.dumps(make_splits.episodes(characters, within)))
        made = make_splits.episodes(characters, within, count=100, half="train")
        assert splits.read_file(name.replace("episodes", "episodes-train")) == json.loads(json.dumps(made))
    assert splits.read_file(f"{characters.name}-exemplars") == make_splits.exemplars(characters)


def test_the_files_are_small():
    sizes = {f.name: len(f.read_bytes()) for f in importlib.resources.files(splits).iterdir() if f.is_file()}
    assert max(sizes.values()) < 60_000 and sum(sizes.values()) < 500_000


def test_an_unknown_split(characters):
    with pytest.raises(ValueError, match="name: expected one of 30-20, .*, found '30-21'"):
        characters.split("30-21")
