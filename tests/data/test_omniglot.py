"""Omniglot's zips: what is read is what was drawn, and a spoiled file is one clear line."""

import io
import os
import zipfile

import numpy as np
import pytest
from PIL import Image

from oneshot_lib import data
from oneshot_lib.data import omniglot

EVALUATION = ["B/character01", "B/character02"]


@pytest.fixture
def small_omniglot(place, monkeypatch):
    """Two zips in Omniglot's layout: (folder, the drawings in the order in which they should be read)."""
    folder = place / "data" / "omniglot"
    folder.mkdir()
    images = np.random.default_rng(0).random((5 * 20, 105, 105)) < 0.1
    classes = {
        "images_background.zip": ["A_b/character01", "A_b/character02", "C/character01"],
        "images_evaluation.zip": ["B/character01", "B/character02"],
    }
    row, parts = 0, {}
    for name, characters in classes.items():
        drawings = images[row : row + 20 * len(characters)]
        write_zip(folder / name, characters, drawings)
        alphabets = len({c.split("/")[0] for c in characters})
        parts[name] = (alphabets, len(characters), omniglot.pixel_hash(drawings.astype(np.uint8), characters))
        row += len(drawings)
    monkeypatch.setattr(omniglot, "PARTS", parts)
    return folder, images


def write_zip(path, characters, drawings, mode="1", size=(105, 105), method=zipfile.ZIP_STORED, skip=None):
    """Drawings of characters as a zip in Omniglot's layout, its members out of order."""
    with zipfile.ZipFile(path, "w", method) as archive:
        for k in reversed(range(len(drawings))):
            if k == skip:
                continue
            stream = io.BytesIO()
            Image.fromarray(~drawings[k]).convert(mode).resize(size).save(stream, "PNG")
            name = f"{path.stem}/{characters[k // 20]}/00{k // 20}_{k % 20 + 1:02}.png"
            archive.writestr(name, stream.getvalue())


def test_what_is_read_is_what_was_drawn(small_omniglot):
    _, images = small_omniglot
    for _ in range(2):
        characters = data.characters()
        assert characters.name == "omniglot" and isinstance(characters.images, np.memmap)
        assert np.array_equal(characters.images, images)
        assert characters.alphabets == ["A_b", "C", "B"]
        assert characters.classes == ["A_b/character01", "A_b/character02", "C/character01", *EVALUATION]
        assert characters.class_index.tolist() == np.repeat(range(5), 20).tolist()
        assert characters.alphabet_index.tolist() == np.repeat([0, 0, 1, 2, 2], 20).tolist()
        assert characters.drawing.tolist() == list(range(20)) * 5


def test_the_pixels_are_hashed_not_the_zip(small_omniglot):
    folder, images = small_omniglot
    before = data.characters("omniglot")
    packed = (folder / "images_evaluation.zip").read_bytes()
    write_zip(folder / "images_evaluation.zip", EVALUATION, images[60:], method=zipfile.ZIP_DEFLATED)
    assert (folder / "images_evaluation.zip").read_bytes() != packed
    assert data.characters("omniglot").hash == before.hash


def extract(folder, into, twice=False):
    """What the zips in `folder` hold, in folders below `into`, or in folders of the zips' names below it."""
    for path in folder.glob("*.zip"):
        with zipfile.ZipFile(path) as archive:
            archive.extractall(into / path.stem if twice else into)


def packed_again(folder, into, prefix="", extra=()):
    """The zips of `folder` packed again in `into`: `prefix` before every name, and `extra` files beside them."""
    into.mkdir(parents=True)
    for path in folder.glob("*.zip"):
        with zipfile.ZipFile(path) as source, zipfile.ZipFile(into / path.name, "w") as target:
            for name in source.namelist():
                target.writestr(prefix + name, source.read(name))
            for name in extra:
                target.writestr(name.format(path.stem), b"no picture")


def from_a_mac(folder, data):
    extract(folder, data / "omniglot")
    for place in (data, *(p for p in (data / "omniglot").rglob("*") if p.is_dir())):
        (place / ".DS_Store").write_bytes(b"x")
        (place / "__MACOSX").mkdir()
    drawing = next((data / "omniglot").rglob("*_01.png"))
    (drawing.parent / f"._{drawing.name}").write_bytes(b"x")


def beside_digits(folder, data):
    packed_again(folder, data / "omniglot")
    (data / "MNIST" / "raw").mkdir(parents=True)
    (data / "MNIST" / "raw" / "train-images-idx3-ubyte").touch()


MAC = ("__MACOSX/{0}/A_b/character01/0000_01.png", "__MACOSX/{0}/._A_b", "{0}/.DS_Store", "{0}/A_b/.DS_Store")
# how it lies: (what makes it from the folder of zips and the data folder, what ONESHOT_DATA points at)
LAYOUTS = {
    "published": (lambda z, d: packed_again(z, d / "omniglot"), "."),
    "extracted": (lambda z, d: extract(z, d / "omniglot"), "."),
    "extracted, each into its own": (lambda z, d: extract(z, d / "omniglot", twice=True), "."),
    "extracted, zips kept": (lambda z, d: (packed_again(z, d / "omniglot"), extract(z, d / "omniglot")), "."),
    "torchvision": (lambda z, d: (packed_again(z, d / "omniglot-py"), extract(z, d / "omniglot-py")), "."),
    "torchvision, extracted": (lambda z, d: extract(z, d / "omniglot-py"), "."),
    "torchvision in omniglot": (lambda z, d: extract(z, d / "omniglot" / "omniglot-py"), "."),
    "a clone": (lambda z, d: (packed_again(z, d / "omniglot/python"), (d / "omniglot/README.md").touch()), "."),
    "a clone, extracted": (lambda z, d: extract(z, d / "omniglot" / "python"), "."),
    "a download of the repository": (lambda z, d: packed_again(z, d / "omniglot-master" / "python"), "."),
    "capitals": (lambda z, d: packed_again(z, d / "OmniGlot"), "."),
    "directly": (lambda z, d: packed_again(z, d / "x"), "x"),
    "too deep": (lambda z, d: packed_again(z, d / "omniglot"), "omniglot"),
    "too deep, extracted": (lambda z, d: extract(z, d / "Omniglot"), "Omniglot"),
    "too deep by two": (lambda z, d: packed_again(z, d / "omniglot" / "python"), "omniglot/python"),
    "a part of it": (lambda z, d: extract(z, d / "omniglot"), "omniglot/images_evaluation"),
    "the other data set": (beside_digits, "MNIST/raw"),
    "too high": (lambda z, d: packed_again(z, d / "sets" / "omniglot"), "."),
    "too high, torchvision": (lambda z, d: extract(z, d / "torch" / "omniglot-py"), "."),
    "a prefix in the zip": (lambda z, d: packed_again(z, d / "omniglot", prefix="python/"), "."),
    "a Mac's zip": (lambda z, d: packed_again(z, d / "omniglot", extra=MAC), "."),
    "a Mac's folder": (from_a_mac, "."),
}


@pytest.mark.parametrize("how", LAYOUTS)
def test_every_layout_gives_the_same_array(small_omniglot, place, monkeypatch, how):
    folder, images = small_omniglot
    before = data.characters("omniglot")
    (array,) = (place / "cache").rglob("*.npy")
    state = array.stat()
    lay, points_at = LAYOUTS[how]
    lay(folder, place / "laid")
    monkeypatch.setenv("ONESHOT_DATA", str(place / "laid" / points_at))
    for _ in range(2):
        found = data.characters("omniglot")
        assert np.array_equal(found.images, images) and (found.hash, found.classes) == (before.hash, before.classes)
    assert [p for p in (place / "cache").rglob("*.npy")] == [array] and array.stat().st_ino == state.st_ino
    described = {entry["name"]: entry for entry in data.describe()}["omniglot"]
    assert described["found"] and described["hash"] == before.hash and described["problem"] is None


FOLDER_FAULTS = {
    "another drawing": lambda drawing: drawing.write_bytes((drawing.parent / "000_07.png").read_bytes()),
    "cut": lambda drawing: drawing.write_bytes(drawing.read_bytes()[:200]),
    "empty": lambda drawing: drawing.write_bytes(b""),
    "flipped": lambda drawing: drawing.write_bytes(flip(drawing.read_bytes())),
    "gone": lambda drawing: drawing.unlink(),
    "one too many": lambda drawing: (drawing.parent / "000_21.png").write_bytes(drawing.read_bytes()),
    "renamed": lambda drawing: drawing.rename(drawing.parent / "000_22.png"),
}


@pytest.mark.parametrize("how", FOLDER_FAULTS)
def test_a_spoiled_folder_is_one_clear_line(small_omniglot, place, monkeypatch, how):
    folder, images = small_omniglot
    extract(folder, place / "laid" / "omniglot")
    monkeypatch.setenv("ONESHOT_DATA", str(place / "laid"))
    data.characters()
    (place / "laid" / "omniglot" / "images_evaluation" / ".DS_Store").touch()
    with monkeypatch.context() as patch:
        patch.setattr(omniglot, "_decode", None)  # what is no drawing leaves the fingerprint as it was
        assert np.array_equal(data.characters().images, images)
    drawing = place / "laid/omniglot/images_evaluation/B/character01/000_05.png"
    state = drawing.stat()
    FOLDER_FAULTS[how](drawing)
    if drawing.exists():  # the fault: a fingerprint of sizes and times of writing, which can be set
        os.utime(drawing, ns=(state.st_atime_ns, state.st_mtime_ns))
    with pytest.raises(data.DataError, match=r"^\$ONESHOT_DATA/omniglot/images_evaluation: expected ") as caught:
        data.characters()
    message = str(caught.value)
    assert "\n" not in message and len(message) < 300 and str(place) not in message
    if how in ("cut", "empty", "flipped"):
        assert "B/character01/000_05.png" in message  # of 32,460 files, this one


def flip(content):
    middle = len(content) // 2
    return content[:middle] + bytes(b ^ 255 for b in content[middle : middle + 400]) + content[middle + 400 :]


SPOILED = {
    "truncated": lambda path, images: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "empty": lambda path, images: path.write_bytes(b""),
    "flipped": lambda path, images: path.write_bytes(flip(path.read_bytes())),
    "flipped at the front": lambda path, images: path.write_bytes(b"\xff" * 40 + path.read_bytes()[40:]),
    "flipped at the end": lambda path, images: path.write_bytes(path.read_bytes()[:-3000] + b"\xff" * 3000),
    "no zip": lambda path, images: path.write_bytes(b"<html>not found</html>" * 100),
    "gone": lambda path, images: path.unlink(),
    "a folder": lambda path, images: (path.unlink(), path.mkdir()),
    "another size": lambda path, images: write_zip(path, EVALUATION, images, size=(104, 105)),
    "another mode": lambda path, images: write_zip(path, EVALUATION, images, mode="L"),
    "a drawing missing": lambda path, images: write_zip(path, EVALUATION, images, skip=23),
    "a character missing": lambda path, images: write_zip(path, EVALUATION, images[:20]),
    "other pixels": lambda path, images: write_zip(path, EVALUATION, ~images),
    "another name": lambda path, images: write_zip(path, ["B/character01", "B/character03"], images),
    "no members": lambda path, images: write_zip(path, EVALUATION, images[:0]),
}


@pytest.mark.parametrize("how", SPOILED)
@pytest.mark.parametrize("opened_before", [False, True])
def test_a_spoiled_zip_is_one_clear_line(small_omniglot, place, how, opened_before):
    folder, images = small_omniglot
    path = folder / "images_evaluation.zip"
    whole, status = path.read_bytes(), path.stat()
    if opened_before:  # what the cache holds of the whole file must not be served for the spoiled one
        data.characters()
    SPOILED[how](path, images[60:])
    if path.exists():
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    kept = {p for p in (place / "cache").rglob("*") if p.is_file()}
    for source in ("omniglot", None):
        with pytest.raises(data.DataError) as caught:
            data.characters(source)
        message = str(caught.value)
        assert message.startswith("$ONESHOT_DATA/omniglot/images_evaluation.zip: expected "), message
        assert "\n" not in message and len(message) < 300 and str(place) not in message
    assert {p for p in (place / "cache").rglob("*") if p.is_file()} == kept
    if path.is_dir():
        path.rmdir()
    path.write_bytes(whole)
    assert np.array_equal(data.characters().images, images)


def test_every_flipped_stretch_is_noticed(small_omniglot):
    folder, images = small_omniglot
    path = folder / "images_evaluation.zip"
    whole = path.read_bytes()
    draw = np.random.default_rng(3)
    for start in draw.integers(0, len(whole), 100):
        path.write_bytes(
            whole[:start] + bytes(b ^ 255 for b in whole[start : start + 50]) + whole[start + 50 :]
        )
        try:
            found, names = omniglot.read_part(path)
        except data.DataError:
            continue
        assert np.array_equal(found, images[60:]) and names == EVALUATION  # a date, a comment


def test_no_files_and_asked_for(place, monkeypatch):
    (place / "data" / "other").mkdir()
    with pytest.raises(data.DataError, match=r"ONESHOT_DATA=.*expected Omniglot there, found none; images_background"
                       ".zip or images_background/ was looked for in .*oneshot data --download omniglot"):  # fmt: skip
        data.characters("omniglot")
    monkeypatch.setenv("ONESHOT_DATA", "")
    with pytest.raises(data.DataError, match="omniglot/images_background.zip: .*oneshot data --download omniglot"):
        data.characters("omniglot")
    with pytest.raises(
        ValueError, match="source: expected one of omniglot, glyphs or None, found 'omniglott'"
    ):
        data.characters("omniglott")


def test_both_sources_have_omniglots_structure(characters):
    counts = np.bincount(characters.class_index)
    assert (counts == 20).all() and len(counts) == len(characters.classes) == len(set(characters.classes))
    assert characters.images.shape == (len(characters), 105, 105) and characters.images.dtype == np.uint8
    assert isinstance(characters.images, np.memmap)
    assert characters.alphabets == list(dict.fromkeys(c.split("/")[0] for c in characters.classes))
    for row in range(0, len(characters), 997):
        name = characters.classes[characters.class_index[row]]
        assert name.split("/")[0] == characters.alphabets[characters.alphabet_index[row]]
    sample = np.asarray(characters.images[::50])
    assert sample.max() == 1 and sample.any((1, 2)).all()
    assert 0.02 < sample.mean() < 0.2  # 1 is ink


def test_omniglot_is_the_published_one(characters):
    if characters.name != "omniglot":
        pytest.skip("about Omniglot")
    assert len(characters) == 32460 and len(characters.classes) == 1623 and len(characters.alphabets) == 50
    hashes = [
        omniglot.pixel_hash(np.asarray(characters.images[:19280]), characters.classes[:964]),
        omniglot.pixel_hash(np.asarray(characters.images[19280:]), characters.classes[964:]),
    ]
    assert hashes == [expected for _, _, expected in omniglot.PARTS.values()]
    assert characters.alphabets[:2] == ["Alphabet_of_the_Magi", "Anglo-Saxon_Futhorc"]
    assert characters.alphabets[30:32] == ["Angelic", "Atemayar_Qelisayer"]


def test_grey_and_binary_are_kept_as_arrays(characters):
    for name in ("28-area", "28-nearest"):
        grey = characters.grey(name)
        assert (
            isinstance(grey, np.memmap) and grey.shape == (len(characters), 28, 28) and grey.dtype == np.uint8
        )
        rows = [0, 77, len(characters) - 1]
        assert np.array_equal(grey[rows], data.preprocess(characters.images[rows], name))
    bits = characters.binary("28-area")
    assert isinstance(bits, np.memmap) and set(np.unique(bits[::100])) == {0, 1}
    with pytest.raises(ValueError, match="name: expected one of .*, found '28-aera'"):
        characters.grey("28-aera")
