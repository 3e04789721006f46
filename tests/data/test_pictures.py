"""Pictures of every kind and size: read, and made into what a model of Omniglot sees."""

import numpy as np
import pytest
from PIL import Image, ImageFilter
from scipy import ndimage
from skimage.filters import threshold_otsu

from oneshot_lib import data
from oneshot_lib.data import pen, pictures, placing
from oneshot_lib.data.ink import stroke_width
from oneshot_lib.data.pictures import polarity, prepare, read_picture


@pytest.fixture(scope="module")
def drawings(characters):
    return np.asarray(characters.images[data.twenty(characters)[[1, 2, 5]]])


def on_white(ink):
    """Black ink, 1, on white paper."""
    return 255 - 255 * np.asarray(ink, np.uint8)


def scaled(image, width, height, method=Image.Resampling.BICUBIC):
    return np.asarray(Image.fromarray(image).resize((width, height), method))


def photograph(ink, seed=0, noise=6, light=False, thin=False):
    """A drawing of 420 pixels on a sheet of 800x600: blurred, noisy, lit from a corner and by a lamp."""
    y, x = np.nonzero(ink)
    line = pen.thin(ink[None] > 0)[0] if thin else ink  # a pen of 6 pixels, or of 28
    cut = 255 * line[y.min() : y.max() + 1, x.min() : x.max() + 1].astype(np.uint8)
    scale = 420 / max(cut.shape)
    big = Image.fromarray(scaled(cut, round(cut.shape[1] * scale), round(cut.shape[0] * scale)))
    sheet = Image.new("L", (800, 600))
    sheet.paste(big, (120, 60))
    cover = np.asarray(sheet.filter(ImageFilter.GaussianBlur(1.2)), float) / 255
    down, right = np.mgrid[0:600, 0:800] / 800
    light_on_paper = 90 + 120 * (0.3 + 0.7 * right) * (0.5 + 0.5 * down)
    light_on_paper += 30 * np.exp(-((right - 0.3) ** 2 + (down - 0.2) ** 2) / 0.05)
    grey = light_on_paper * (1 - 0.65 * cover) + noise * np.random.default_rng(seed).standard_normal((600, 800))
    grey = np.clip(grey, 0, 255).astype(np.uint8)
    return 255 - grey if light else grey


def directly(ink):
    """The drawing itself, cut out and put in place by plain resizing: (28, 28)."""
    y, x = np.nonzero(ink)
    cut = 255 * ink[y.min() : y.max() + 1, x.min() : x.max() + 1]
    scale = placing.LENGTH / max(cut.shape)
    small = scaled(cut, round(cut.shape[1] * scale), round(cut.shape[0] * scale)) >= 128
    left, top = (round(m - s / 2) for m, s in zip(placing.MIDDLE, small.shape[::-1], strict=True))
    page = np.zeros((1, 105, 105), np.uint8)
    page[0, top : top + small.shape[0], left : left + small.shape[1]] = small
    return data.preprocess(page, "28-nearest")[0]


def overlap(a, b):
    """Intersection over union of ink, each widened by a pixel."""
    a, b = (disc(image > 0, 1) for image in (a, b))
    return (a & b).sum() / (a | b).sum()


def disc(ink, radius):
    """Every pixel within `radius` of ink."""
    return ndimage.distance_transform_edt(~np.asarray(ink, bool)) < radius + 0.5


@pytest.mark.parametrize("kind", [{}, {"light": True, "noise": 10}, {"thin": True}])
def test_a_photograph_becomes_the_drawing(drawings, kind):
    for ink in drawings:
        picture = photograph(ink, **kind)
        found = prepare(picture)
        assert found.polarity == ("light" if kind.get("light") else "dark")
        assert overlap(found.image, directly(ink)) > 0.6
        assert set(np.unique(found.image)) == {0, 255} and found.image.shape == (28, 28)
        assert 0.75 * 4.4 < stroke_width(found.page) < 1.25 * 4.4
        # the fault: a threshold for the whole picture, and nothing put in its place
        plain = scaled(picture, 28, 28, Image.Resampling.NEAREST) <= threshold_otsu(picture)
        assert overlap(plain != kind.get("light", False), directly(ink)) < 0.6


@pytest.mark.parametrize("shape", [(105, 700), (700, 1000), (1000, 700), (40, 40), (64, 48), (300, 300)])
def test_clean_pictures_of_any_size(drawings, shape):
    for ink in drawings:
        grey = np.full(shape, 255, np.uint8)
        side = min(shape)
        top, left = (shape[0] - side) // 2, (shape[1] - side) // 3
        grey[top : top + side, left : left + side] = scaled(on_white(ink), side, side, Image.Resampling.BOX)
        for picture, side in ((grey, "dark"), (255 - grey, "light")):
            found = prepare(picture)
            assert found.polarity == side
            assert overlap(found.image, directly(ink)) > 0.6


def test_twenty_pixels_are_enough():
    """A cross with strokes of two pixels."""
    grey = np.full((20, 20), 255, np.uint8)
    grey[3:17, 9:11] = grey[9:11, 3:17] = 0
    found = prepare(grey)
    y, x = np.nonzero(found.page)
    assert 60 <= np.ptp(y) + 1 <= 72 and 60 <= np.ptp(x) + 1 <= 72
    assert abs((y.min() + y.max() + 1) / 2 - 50.7) < 2 and abs((x.min() + x.max() + 1) / 2 - 51.1) < 2
    assert 3.3 < stroke_width(found.page) < 5.5


@pytest.mark.parametrize("preprocessing", ["28-nearest", "28-area", "50-threshold", "105"])
@pytest.mark.parametrize("light", [False, True])
def test_a_page_of_the_data_set_takes_the_same_path(characters, preprocessing, light):
    """Put in place and nothing else: where the page lay does not matter, and what the model sees is its reduction."""
    size = int(preprocessing.split("-")[0])
    for row in data.twenty(characters)[:6]:
        grey = on_white(characters.images[row])
        found = prepare(255 - grey if light else grey, size, preprocessing)
        moved = prepare(np.pad(grey, ((3, 30), (41, 0)), constant_values=255), size, preprocessing)
        assert found.polarity == ("light" if light else "dark")
        assert np.array_equal(found.page, moved.page)  # the fault: a page of 105x105 is left as it is
        assert np.array_equal(found.grey, data.preprocess(found.page[None], preprocessing)[0])
        assert np.array_equal(found.image, 255 * (found.grey >= 128))


def test_thick_and_thin_strokes_become_alike():
    line = np.zeros((400, 400), bool)
    line[60:340, 120] = line[339, 120:300] = True
    pages = []
    for radius in (0, 1, 4, 12, 20):
        ink = disc(line, radius)
        found = prepare(on_white(ink))
        assert found.stroke == pytest.approx((2 * radius + 1) * 62.1 / 280, rel=0.25)
        assert 0.75 * 4.4 < stroke_width(found.page) < 1.25 * 4.4
        pages.append(found.page)
    assert min(overlap(page, pages[2]) for page in pages) > 0.6
    dot = prepare(on_white(disc(np.pad([[True]], 100), 30)))  # one point stays one
    assert 10 <= dot.page.sum() <= 40


def test_specks_and_the_edge_of_the_sheet_are_removed(drawings):
    picture = photograph(drawings[0])
    alone = prepare(picture)
    spoiled = picture.copy()
    spoiled[:, 760:] = 20  # a dark table beside the sheet
    for y, x in np.random.default_rng(1).integers(0, 590, (15, 2)):
        spoiled[y : y + 3, x : x + 3] = 30
    found = prepare(spoiled)
    assert overlap(found.image, alone.image) > 0.9
    assert found.ink[:, -20:].sum() == 0


def test_polarity_of_borders_and_of_shade(drawings):
    for ink in drawings:
        y, x = np.nonzero(ink)
        tight = on_white(ink[y.min() : y.max() + 1, x.min() : x.max() + 1])  # ink along the border
        for picture, side in ((tight, "dark"), (255 - tight, "light")):
            assert polarity(picture) == side
        assert polarity(photograph(ink, noise=12)) == "dark"
        assert polarity(photograph(ink, noise=12, light=True)) == "light"


def saved(tmp_path, picture, name, **options):
    picture.save(tmp_path / name, **options)
    return read_picture(tmp_path / name)


def test_files_of_every_mode(tmp_path, drawings):
    grey = np.ascontiguousarray(on_white(drawings[0]))
    plain = Image.fromarray(grey)
    for mode in ("1", "L", "RGB", "RGBA", "LA", "P"):
        assert np.array_equal(saved(tmp_path, plain.convert(mode), f"{mode}.png"), grey)
    assert abs(saved(tmp_path, plain, "a.jpg", quality=95).astype(int) - grey).mean() < 2
    assert np.array_equal(saved(tmp_path, plain, "a.bmp"), grey)
    assert np.array_equal(saved(tmp_path, plain.convert("CMYK"), "a.tif"), grey)
    deep = Image.fromarray(grey.astype(np.uint16) * 257)
    assert np.array_equal(saved(tmp_path, deep, "deep.png"), grey)
    twelve = Image.fromarray((255 - grey).astype(np.uint16) * 16)  # the fault: 4,080 of 65,535 is as good as black
    assert np.array_equal(saved(tmp_path, twelve, "twelve.png"), 255 - grey)
    below = Image.fromarray(grey.astype(np.float32) / 100 - 2)
    assert np.array_equal(saved(tmp_path, below, "below.tif"), grey)
    assert np.array_equal(saved(tmp_path, Image.fromarray(grey.astype(np.float32) / 255), "f.tif"), grey)
    image = prepare(saved(tmp_path, plain, "b.jpg", quality=80))
    assert overlap(image.image, prepare(grey).image) > 0.9


def test_alpha_is_paper(tmp_path, drawings):
    for ink in ("black", "white"):  # on white paper; white ink on black
        layer = Image.new("RGBA", (105, 105), ink)
        layer.putalpha(Image.fromarray(255 * drawings[0]))
        grey = saved(tmp_path, layer, f"{ink}.png")
        assert overlap(prepare(grey).page, prepare(on_white(drawings[0])).page) > 0.95
        assert polarity(grey) == ("dark" if ink == "black" else "light")
    palette = Image.fromarray(1 - drawings[0], "P")
    palette.putpalette([0, 0, 0, 200, 30, 30])
    found = prepare(saved(tmp_path, palette, "p.png", transparency=1))
    assert overlap(found.page, prepare(on_white(drawings[0])).page) > 0.95
    faint = Image.new("RGBA", (105, 105), (245, 245, 245, 0))  # nothing on white, a drawing on black
    faint.putalpha(Image.fromarray(255 * drawings[0]))
    found = prepare(saved(tmp_path, faint, "faint.png"))
    assert overlap(found.page, prepare(on_white(drawings[0])).page) > 0.95


def test_colours_of_one_brightness(tmp_path, drawings):
    """Red on green, as bright in grey: the direction in which the colours differ tells them apart."""
    colour = np.where(drawings[0][..., None] > 0, np.uint8([255, 20, 0]), np.uint8([0, 150, 0]))
    assert np.ptp(np.asarray(Image.fromarray(colour).convert("L"))) < 2
    found = prepare(saved(tmp_path, Image.fromarray(colour), "red.png"))
    assert overlap(found.page, prepare(on_white(drawings[0])).page) > 0.95


def test_exif_orientation(tmp_path, drawings):
    grey = on_white(drawings[0])
    turned = Image.fromarray(np.ascontiguousarray(np.rot90(grey)))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown a quarter turn clockwise
    assert np.array_equal(saved(tmp_path, turned, "turned.png", exif=exif), grey)


def test_files_that_cannot_be_used(tmp_path, monkeypatch):
    with pytest.raises(data.DataError, match=r"none\.png: expected a picture file, found no such file"):
        read_picture(tmp_path / "none.png")
    with pytest.raises(data.DataError, match="expected a whole picture file"):
        read_picture(tmp_path)
    (tmp_path / "text.png").write_text("not a picture")
    with pytest.raises(data.DataError, match=r"text\.png: expected a whole picture file .* cannot be decoded"):
        read_picture(tmp_path / "text.png")
    noise = np.random.default_rng(0).integers(0, 256, (50, 50), np.uint8)
    Image.fromarray(noise).save(tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:900])
    with pytest.raises(data.DataError, match=r"cut\.png: expected a whole picture file"):
        read_picture(tmp_path / "cut.png")
    with pytest.raises(data.DataError, match=r"one\.png: expected a drawing, found a picture of one colour"):
        saved(tmp_path, Image.new("RGB", (30, 30), "red"), "one.png")
    with pytest.raises(data.DataError, match=r"small\.png: expected a picture with a side of 8 .*, found 7x7"):
        saved(tmp_path, Image.new("L", (7, 7)), "small.png")
    sheet = Image.fromarray(noise)
    with pytest.raises(data.DataError, match=r"pages\.tif: expected one picture, found 3 pages"):
        saved(tmp_path, sheet, "pages.tif", save_all=True, append_images=[sheet.rotate(90), sheet.rotate(180)])
    with pytest.raises(data.DataError, match=r"nan\.tif: expected finite levels"):
        saved(tmp_path, Image.fromarray(np.full((9, 9), np.nan, np.float32)), "nan.tif")
    monkeypatch.setattr(pictures, "MOST_PIXELS", 2_000)
    with pytest.raises(data.DataError, match=r"whole\.png: expected .*, found 50x50"):
        read_picture(tmp_path / "whole.png")


def test_bad_arguments():
    grey = np.full((30, 30), 255, np.uint8)
    with pytest.raises(ValueError, match="grey: expected a drawing, found a picture of one colour"):
        prepare(grey)
    for noise in (1, 30):
        paper = 200 + noise * np.random.default_rng(0).standard_normal((300, 400)).clip(-3, 1.8)
        with pytest.raises(ValueError, match="grey: expected a drawing that stands out"):
            prepare(paper.astype(np.uint8))
    grey[10:20, 15] = 0
    for bad in (grey.astype(float), grey[None], grey[:5, :5]):
        with pytest.raises(ValueError, match=r"grey: expected \(H, W\) uint8"):
            prepare(bad)
    with pytest.raises(ValueError, match="preprocessing: expected one of"):
        prepare(grey, 28, "28-best")
    with pytest.raises(ValueError, match="size: expected that of 28-nearest, found 50"):
        prepare(grey, 50)
