"""Glyphs: Omniglot's structure, drawings of the right character, the same bits everywhere."""

import numpy as np
import pytest

from oneshot_lib import data
from oneshot_lib.data import glyphs, omniglot, pen
from oneshot_lib.data.layouts import find

# It changes with the fonts that matplotlib ships, with `alphabets.json` and with the drawing.
HASH = "8646ca3ddb87eb31a43cca6958d0a6b804966cce17c21fbe8336745d6434e2d2"


@pytest.fixture(scope="module")
def drawings():
    return data.characters("glyphs")


def test_the_structure_of_omniglot(drawings):
    assert len(drawings.alphabets) >= 30 and len(drawings.classes) >= 600
    assert len(drawings) == 20 * len(drawings.classes)
    sizes = [sum(c.startswith(a + "/") for c in drawings.classes) for a in drawings.alphabets]
    assert 14 <= min(sizes) and max(sizes) <= 55


def test_the_same_on_every_machine(drawings):
    assert drawings.hash == HASH
    assert omniglot.pixel_hash(drawings.images, drawings.classes) == HASH


def test_a_character_is_drawn_the_same_whatever_is_drawn_with_it(drawings):
    table = glyphs.alphabets()
    letters = [letter for alphabet in table.values() for letter in alphabet]
    for first in (0, 333):
        again = glyphs.draw(glyphs.centrelines(letters[first : first + 2], glyphs.FONTS), first) >= 128
        assert np.array_equal(again, drawings.images[20 * first : 20 * first + 40])


def test_every_character_has_a_glyph_and_none_is_the_box_of_a_missing_one():
    fonts = [glyphs.Font(name) for name in glyphs.FONTS]
    empty = pen.fill(fonts[0].segments("\N{REPLACEMENT CHARACTER}"), glyphs.RASTER)
    for name, letters in glyphs.alphabets().items():
        assert len(set(letters)) == len(letters), name
        for letter in letters:
            having = [font for font in fonts if ord(letter) in font.map]
            assert having, f"{name}: no font has {letter!r}"
            for font in having[:1]:
                assert font.map[ord(letter)] != ".notdef"
                shape = pen.fill(font.segments(letter), glyphs.RASTER)
                assert shape.sum() > 60 and not np.array_equal(shape, empty), (name, letter, font.name)


def test_no_drawing_is_blank_or_leaves_the_page_or_comes_twice(drawings):
    images = np.asarray(drawings.images)
    assert images.sum((1, 2)).min() > 100
    rim = images[:, [0, -1]].any((1, 2)) | images[:, :, [0, -1]].any((1, 2))
    assert not rim.any()
    assert len({np.packbits(image).tobytes() for image in images}) == len(images)


def framed(images, size=14):
    """Each drawing's bounding box, sampled at size x size points and blurred a little, as unit vectors."""
    flat = np.empty((len(images), size, size), np.float32)
    steps = (np.arange(size) + 0.5) / size
    for row, image in enumerate(images):
        ys, xs = np.flatnonzero(image.any(1)), np.flatnonzero(image.any(0))
        side = max(ys[-1] - ys[0], xs[-1] - xs[0]) + 1
        y = np.clip((ys[0] + ys[-1] + 1) / 2 + (steps - 0.5) * side, 0, 104).astype(int)
        x = np.clip((xs[0] + xs[-1] + 1) / 2 + (steps - 0.5) * side, 0, 104).astype(int)
        flat[row] = image[y[:, None], x]
    wide = np.pad(flat, ((0, 0), (1, 1), (1, 1)))
    flat = sum(wide[:, i : i + size, j : j + size] for i in range(3) for j in range(3)).reshape(len(flat), -1)
    return flat / np.sqrt((flat**2).sum(1, keepdims=True))


def recognised(vectors, alphabet_index):
    """For each character, the share of the last ten drawings that lie nearest to one of its first ten."""
    drawings = vectors.reshape(-1, 20, vectors.shape[1])
    alphabet = alphabet_index[::20]
    share = np.zeros(len(drawings))
    for a in np.unique(alphabet):
        own = np.flatnonzero(alphabet == a)
        known, asked = (drawings[own, part].reshape(len(own) * 10, -1) for part in (slice(10), slice(10, 20)))
        nearest = (asked @ known.T).argmax(1) // 10
        share[own] = (nearest.reshape(-1, 10) == np.arange(len(own))[:, None]).mean(1)
    return share


def test_the_characters_of_an_alphabet_are_told_apart(drawings):
    vectors = framed(np.asarray(drawings.images))
    share = recognised(vectors, drawings.alphabet_index)
    assert share.mean() > 0.9 and share.min() >= 0.3
    vectors[20:40] = vectors[:20][::-1]  # the fault: two characters of an alphabet are one
    assert recognised(vectors, drawings.alphabet_index)[:2].mean() < 0.7


def test_strokes_are_as_thick_as_omniglots(drawings):
    def thickness(images):
        images = np.asarray(images)
        return np.median(images.sum((1, 2)) / pen.thin(images.astype(bool)).sum((1, 2)))

    here = thickness(drawings.images[::61])
    assert 4.5 < here < 6.5
    if find("omniglot", omniglot.spellings()) is None:
        pytest.skip("Omniglot's files are not here to compare with: set ONESHOT_DATA")
    there = thickness(data.characters("omniglot").images[::125])
    assert abs(here / there - 1) < 0.15
