"""MNIST's IDX files and the rendered digits that stand in for them."""

import gzip
import hashlib

import numpy as np
import pytest

from oneshot_lib import data
from oneshot_lib.data import digits
from oneshot_lib.data.layouts import find


@pytest.fixture
def small_mnist(place, monkeypatch):
    """Four IDX files in MNIST's format, 60 and 10 digits: (folder, images, labels)."""
    folder = place / "data" / "mnist"
    folder.mkdir()
    draw = np.random.default_rng(1)
    images = draw.integers(0, 256, (70, 28, 28)).astype(np.uint8)
    labels = draw.integers(0, 10, 70).astype(np.uint8)
    files = {}
    for name, (shape, _) in digits.FILES.items():
        part = images if len(shape) == 3 else labels
        part = part[:60] if name.startswith("train") else part[60:]
        content = idx(part)
        (folder / name).write_bytes(gzip.compress(content))
        files[name] = (part.shape, hashlib.sha256(content).hexdigest())
    monkeypatch.setattr(digits, "FILES", files)
    return folder, images, labels


def idx(array):
    """An array of bytes as an IDX file."""
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.tobytes()


def test_what_is_read_is_what_was_written(small_mnist):
    folder, images, labels = small_mnist
    for name in ("train-labels-idx1-ubyte.gz", "t10k-images-idx3-ubyte.gz"):  # unpacked files will do
        (folder / name[:-3]).write_bytes(gzip.decompress((folder / name).read_bytes()))
        (folder / name).unlink()
    found = data.mnist()
    assert found.name == "mnist" and isinstance(found.grey("28"), np.memmap)
    assert np.array_equal(found.grey("28"), images) and np.array_equal(found.labels, labels)
    split = found.split("standard")
    assert (split.train[0], split.train[-1], split.test[0], split.test[-1]) == (0, 59, 60, 69)


# how it lies: (the folder below the data folder, what a file is called there, what ONESHOT_DATA points at)
LAYOUTS = {
    "torchvision": ("MNIST/raw", "{}", "."),
    "torchvision, with the packed": ("MNIST/raw", "{}.gz", "."),
    "torchvision in mnist": ("mnist/MNIST/raw", "{}", "."),
    "capitals": ("Mnist", "{}.gz", "."),
    "a folder of data": ("mnist_data", "{}", "."),
    "each in a folder of its own": ("mnist", "{}/{}", "."),
    "too deep": ("mnist", "{}.gz", "mnist"),
    "too deep by one and two": ("MNIST/raw", "{}", "MNIST"),
    "too deep by two": ("MNIST/raw", "{}", "MNIST/raw"),
    "the other data set": ("mnist", "{}", "omniglot-py"),
    "too high": ("torch/MNIST/raw", "{}", "."),
}


@pytest.mark.parametrize("how", LAYOUTS)
def test_every_layout_is_found(small_mnist, place, monkeypatch, how):
    folder, images, labels = small_mnist
    where, called, points_at = LAYOUTS[how]
    for other in ("FashionMNIST/raw", "omniglot-py", "torch/EMNIST/raw"):  # files of the same names, and no MNIST
        (place / "laid" / other).mkdir(parents=True)
        for name in digits.FILES if "raw" in other else ["images_background.zip"]:
            (place / "laid" / other / name).write_bytes(b"not this one")
    for name in digits.FILES:
        path = place / "laid" / where / called.format(name[:-3], name[:-3])
        path.parent.mkdir(parents=True, exist_ok=True)
        content = (folder / name).read_bytes()
        path.write_bytes(content if path.suffix == ".gz" else gzip.decompress(content))
    monkeypatch.setenv("ONESHOT_DATA", str(place / "laid" / points_at))
    found = data.mnist()
    assert found.name == "mnist" and np.array_equal(found.images, images) and np.array_equal(found.labels, labels)


IMAGES, LABELS = "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"
SPOILED = {
    "truncated": (IMAGES, lambda b: b[: len(b) // 2], "a whole gzip file"),
    "empty": (IMAGES, lambda b: b"", "magic 00000803"),
    "flipped": (
        IMAGES,
        lambda b: b[:900] + bytes(x ^ 255 for x in b[900:999]) + b[999:],
        "a whole gzip file",
    ),
    "no gzip": (IMAGES, lambda b: b"<html>" * 99, "a whole gzip file"),
    "wrong magic": (
        IMAGES,
        lambda b: gzip.compress(b"\0\0\x0d\3" + gzip.decompress(b)[4:]),
        "found 00000d03",
    ),
    "labels for images": (IMAGES, lambda b: gzip.compress(idx(np.zeros(10, np.uint8))), "found 00000801"),
    "wrong shape": (IMAGES, lambda b: gzip.compress(idx(np.zeros((10, 28, 27), np.uint8))), "(10, 28, 27)"),
    "wrong count": (LABELS, lambda b: gzip.compress(idx(np.zeros(9, np.uint8))), "(9,)"),
    "too short": (LABELS, lambda b: gzip.compress(gzip.decompress(b)[:-1]), "found 9"),
    "too long": (LABELS, lambda b: gzip.compress(gzip.decompress(b) + b"\0"), "found 11"),
    "cut in its head": (LABELS, lambda b: gzip.compress(gzip.decompress(b)[:6]), "expected the shape (10,)"),
    "other labels": (LABELS, lambda b: gzip.compress(idx(np.ones(10, np.uint8))), "the published file"),
}


@pytest.mark.parametrize("how", SPOILED)
def test_a_spoiled_file_is_one_clear_line(small_mnist, place, how):
    folder, _, _ = small_mnist
    name, spoil, expected = SPOILED[how]
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(spoil(whole))
    with pytest.raises(data.DataError) as caught:
        data.mnist()
    message = str(caught.value)
    assert message.startswith(f"$ONESHOT_DATA/mnist/{name}: expected ") and expected in message, message
    assert "\n" not in message and len(message) < 250
    assert not [p for p in (place / "cache").rglob("*") if p.is_file()]


def test_a_missing_file(small_mnist):
    folder, _, _ = small_mnist
    (folder / LABELS).unlink()
    with pytest.raises(data.DataError, match=f"{LABELS}: expected the published file, found no such file"):
        data.mnist()


def test_no_files_and_asked_for(place, monkeypatch):
    (place / "data" / "other").mkdir()
    asked = "expected MNIST there, found none; train-images-idx3-ubyte.gz was looked .*oneshot data --download mnist"
    with pytest.raises(data.DataError, match=f"ONESHOT_DATA=.*{asked}"):
        data.mnist("mnist")
    monkeypatch.setenv("ONESHOT_DATA", "")
    with pytest.raises(data.DataError, match="^mnist/train-images.*oneshot data --download mnist"):
        data.mnist("mnist")


@pytest.mark.parametrize("source", ["glyph-digits", "mnist"])
def test_digits_are_digits(source):
    if source == "mnist" and find("mnist", digits.spellings()) is None:
        pytest.skip("MNIST's files are not here: set ONESHOT_DATA")
    found = data.mnist(source)
    grey, split = found.grey("28"), found.split("standard")
    assert grey.dtype == np.uint8 and grey.shape == (len(found), 28, 28) and len(found.labels) == len(found)
    assert np.array_equal(np.concatenate([split.train, split.test, split.unused]), np.arange(len(found)))
    assert (np.bincount(found.labels, minlength=10) > 0.08 * len(found)).all()
    assert 0.08 < grey[::7].mean() / 255 < 0.2  # 255 is ink
    rows = split.train[::5]
    train = grey[rows].reshape(len(rows), -1).astype(np.float32)
    means = np.stack([train[found.labels[rows] == k].mean(0) for k in range(10)])
    test = grey[split.test].reshape(len(split.test), -1).astype(np.float32)
    nearest = (-2 * test @ means.T + (means**2).sum(1)).argmin(1)
    assert (nearest == found.labels[split.test]).mean() > 0.7  # the labels belong to the pictures
    assert (nearest == np.roll(found.labels[split.test], 1)).mean() < 0.2  # the fault: one row off


def test_glyph_digits_are_the_same_everywhere():
    found = data.mnist("glyph-digits")
    assert found.hash == "318f0445f3513f6371977a1bacb8350bee215815147a1b9ba33cdef75e91e653"
    assert len(found.split().train) == 10000 and len(found.split().test) == 2000
    assert len({image.tobytes() for image in found.grey()}) == 12000
