"""Where ink is found, and that one drawing in every encoding becomes one input, or nearly."""

import numpy as np
import pytest
from PIL import Image, ImageDraw
from scipy import ndimage

from oneshot_lib import data
from oneshot_lib.data import ink
from oneshot_lib.data.encodings import ENCODINGS, encode
from oneshot_lib.data.pictures import polarity, prepare


def on_white(drawn):
    return 255 - 255 * np.asarray(drawn, np.uint8)


def box(side, pen, rows=(0, 1), columns=(0, 1)):
    """Bars across the whole picture at these shares of its side, as in a crop of 口, 三 or 日."""
    drawn = np.zeros((side, side), bool)
    for at in rows:
        drawn[round(at * (side - pen)) :][:pen] = True
    for at in columns:
        drawn[:, round(at * (side - pen)) :][:, :pen] = True
    return drawn


def close(image, other):
    """The cosine between two inputs, blurred by a pixel."""
    a, b = (ndimage.gaussian_filter(x.astype(float), 1).ravel() for x in (image, other))
    return a @ b / np.sqrt((a @ a) * (b @ b))


@pytest.fixture(scope="module")
def drawings(characters):
    return np.asarray(characters.images[data.twenty(characters)])


@pytest.mark.parametrize("rows, columns", [((0, 1), (0, 1)), ((0, 0.5, 1), ()), ((0, 0.5, 1), (0, 1)),
                                           ((0, 1), (0.5,))])
@pytest.mark.parametrize("side, pen", [(200, 14), (60, 4), (40, 3)])
def test_a_letter_with_ink_on_its_whole_border(rows, columns, side, pen):
    drawn = box(side, pen, rows, columns)
    margin = prepare(on_white(np.pad(drawn, side // 8)))
    for picture, name in ((on_white(drawn), "dark"), (255 * drawn.astype(np.uint8), "light")):
        found = prepare(picture)
        assert found.polarity == name  # the fault: the paper is what the border shows
        assert np.array_equal(found.ink, drawn)  # the fault: parts along the border are edges of the sheet
        assert close(found.image, margin.image) > 0.9


def test_polarity_of_crops(drawings):
    wrong = 0
    for drawn in drawings:
        for name in ("tight", "margin 8", "page"):
            grey = encode(drawn, name, np.random.default_rng(0))
            found = polarity(grey), polarity(255 - grey)
            assert name == "tight" or found == ("dark", "light")
            wrong += found != ("dark", "light")
    assert wrong <= 1  # of 20 tight crops


def test_no_ink_is_lost_at_the_border_of_a_clean_picture(drawings):
    for drawn in drawings[:8]:
        grey = encode(drawn, "tight", np.random.default_rng(0))
        found = ink.find_ink(grey)
        part = ndimage.label(grey < 128, np.ones((3, 3)))[0]
        lost = (grey < 128) & ~found.mask
        assert lost.sum() < 0.02 * (grey < 128).sum()
        assert all((part == k).sum() < 20 for k in np.unique(part[lost]))


@pytest.mark.slow
@pytest.mark.parametrize("name", list(ENCODINGS))
def test_one_drawing_in_every_encoding(drawings, name):
    """Nearly the input that the page gives; the faults were 0.3 to 0.7 for all but the page and its inversion."""
    cosines = []
    for row, drawn in enumerate(drawings[:5]):
        page = prepare(on_white(drawn))
        found = prepare(encode(drawn, name, np.random.default_rng(row)))
        assert found.polarity == ("light" if name == "light on dark" else "dark")
        cosines.append(close(found.image, page.image))
        assert 0.75 * 4.4 < ink.stroke_width(found.page) < 1.3 * 4.4
    exact = name in ("page", "light on dark")
    assert min(cosines) == pytest.approx(1) if exact else np.mean(cosines) > 0.93 and min(cosines) > 0.75


@pytest.mark.parametrize("size", [105, 106, 300])
@pytest.mark.parametrize("width", [1, 2])
def test_a_thin_pen_is_a_letter_on_every_page(size, width):
    """A U whose strokes lie where nearest neighbour does not look."""
    picture = Image.new("L", (size, size), 255)
    line = [(24, 20), (24, 82), (80, 82), (80, 20)]
    ImageDraw.Draw(picture).line([(x * size // 105, y * size // 105) for x, y in line], fill=0, width=width)
    image = prepare(np.asarray(picture)).image > 0
    assert image[14, :10].any() and image[14, -10:].any() and not image[14, 12:16].any()
    assert image[:, 14].sum() in (1, 2)


def drawn_triangle(pen=9):
    sheet = Image.new("L", (800, 600))
    ImageDraw.Draw(sheet).line([(150, 120), (150, 480), (620, 480), (420, 150)], fill=255, width=pen, joint="curve")
    return np.asarray(sheet) > 0


LIGHTS = {
    "shadow": lambda y, x: np.where(x + 0.3 * y > 0.55, 0.5, 1.0),
    "falloff": lambda y, x: 1 - 0.7 * ((x - 0.5) ** 2 + (y - 0.4) ** 2) / 0.4,
    "ruled": lambda y, x: np.where((y * 800) % 40 < 2, 0.72, 1.0),
    "squared": lambda y, x: np.where(((y * 800) % 40 < 2) | ((x * 800) % 40 < 2), 0.8, 1.0),
    "ruled as dark as the pen": lambda y, x: np.where((y * 800) % 50 < 2, 0.35, 1.0),
    "ruled and turned": lambda y, x: np.where(((y + 0.03 * x) * 800) % 40 < 2, 0.75, 1.0),
}


@pytest.mark.parametrize("kind", list(LIGHTS))
@pytest.mark.parametrize("light", [False, True])
def test_what_light_and_paper_add_is_not_ink(kind, light):
    drawn = drawn_triangle()
    y, x = np.mgrid[0:600, 0:800] / 800
    level = 235 * LIGHTS[kind](y, x) * np.where(drawn, 0.35, 1)
    level = ndimage.gaussian_filter(level, 1) + np.random.default_rng(0).normal(0, 2, level.shape)
    grey = np.clip(level, 0, 255).astype(np.uint8)
    found = prepare(255 - grey if light else grey)
    assert found.polarity == ("light" if light else "dark")
    assert close(found.image, prepare(on_white(drawn)).image) > 0.9


def test_the_same_digits_with_and_without_a_margin(drawings):
    """28x28 pictures take the same path as all others."""
    for drawn in drawings[:8]:
        small = np.asarray(Image.fromarray(255 * drawn).resize((28, 28), Image.Resampling.BOX))
        assert close(prepare(small).image, prepare(np.pad(small, 1)).image) > 0.98


def test_faint_strokes_of_a_small_picture(drawings):
    """A pen of one pixel on the page is a grey of a quarter at 28x28, darker where two of them cross."""
    for drawn in drawings[:5]:
        thin = encode(drawn, "thin pen", np.random.default_rng(0))
        small = np.array(Image.fromarray(thin).resize((28, 28), Image.Resampling.BOX))
        assert close(prepare(small).image, prepare(thin).image) > 0.8


def test_siblings(drawings):
    drawn = drawings[1]
    page = prepare(on_white(drawn)).image
    narrow = np.where(drawn > 0, 120, 130).astype(np.uint8)
    assert close(prepare(narrow).image, page) > 0.99
    strip = np.full((9, 30000), 255, np.uint8)
    strip[1:8, 100] = strip[1:8, 110] = strip[7, 100:111] = 0
    found = prepare(strip)  # the fault: reduced by its longer side until nothing is left
    assert found.image[:, :10].any() and found.image[:, 18:].any() and found.polarity == "dark"
    whole = np.full((9, 30000), 255, np.uint8)
    whole[4, 100:29000] = 0
    assert np.ptp(np.nonzero(prepare(whole).page)[1]) > 55  # and no page of a thousand million pixels
    dot = np.zeros((100, 100), bool)
    dot[40:48, 40:48] = True
    assert 10 <= prepare(on_white(dot)).page.sum() <= 40
    tiny = np.full((8, 8), 255, np.uint8)
    tiny[1:7, 3] = tiny[6, 3:7] = 0
    assert prepare(tiny).image[:14].any() and prepare(tiny).image[18:].any()
    line = np.zeros((40, 400), np.uint8)
    line[20, 10:390] = 1
    assert np.ptp(np.nonzero(prepare(on_white(line)).page)[1]) > 55


def test_encodings_are_checked():
    with pytest.raises(ValueError, match="name: expected one of page"):
        encode(np.ones((105, 105), np.uint8), "fax", np.random.default_rng(0))
    for bad in (np.ones((104, 105), np.uint8), np.ones((105, 105))):
        with pytest.raises(ValueError, match=r"drawing: expected \(105, 105\) uint8"):
            encode(bad, "page", np.random.default_rng(0))
    for bad in (np.zeros((105, 105), np.uint8), np.full((105, 105), 2, np.uint8)):
        with pytest.raises(ValueError, match="drawing: expected 0 and 1, some of it ink"):
            encode(bad, "page", np.random.default_rng(0))


@pytest.mark.parametrize("place", [(0, 0), (0, 220), (220, 0), (220, 220), (0, 110)])
def test_a_small_drawing_on_the_border_of_a_large_sheet_is_ink(place):
    """The fault: taken for the slivers of paper that the crop of a bar leaves."""
    sheet = np.full((280, 280), 255, np.uint8)
    y, x = place
    sheet[y : y + 60, x + 28 : x + 32] = sheet[y + 56 : y + 60, x : x + 60] = 0
    assert (ink.polarity(sheet), ink.polarity(255 - sheet)) == ("dark", "light")
