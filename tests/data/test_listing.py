"""Nothing in a folder is left out without a word, and what looks like a picture and is not read is an error."""

import os

import numpy as np
import pytest
from PIL import Image

from oneshot_lib.data import DataError
from oneshot_lib.data.listing import class_name, listing
from oneshot_lib.data.outputs import DRAWING, SHEET, marked

HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64)


def picture(path, kind="PNG"):
    Image.fromarray(np.arange(400, dtype=np.uint8).reshape(20, 20)).save(path, kind)
    return path


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "letters"
    folder.mkdir()
    picture(folder / "b.png")
    return folder


def test_pictures_are_told_by_suffix_or_content_and_the_rest_is_named(folder):
    picture(folder / "A.PNG"), picture(folder / "c.jpeg", "JPEG"), picture(folder / "plain"), picture(folder / "d.01")
    picture(folder / "download.jpg_large", "JPEG"), picture(folder / "b.png.bak"), picture(folder / "b.png~")
    (folder / "readme.txt").write_text("a text"), (folder / "empty").write_text(""), (folder / "sub").mkdir()
    (folder / "page.html").write_text("<html><svg></svg></html>")
    os.mkfifo(folder / "pipe")
    (folder / "link.png").symlink_to(folder / "b.png")
    for name in (".DS_Store", ".hidden.png", "Thumbs.db", "desktop.ini", "._b.png"):
        (folder / name).write_text("nobody's")
    (folder / "__MACOSX").mkdir()
    found = listing(folder)
    assert [path.name for path in found.pictures] == [
        "A.PNG", "b.png", "c.jpeg", "d.01", "download.jpg_large", "link.png", "plain"]  # fmt: skip
    assert [path.name for path in found.folders] == ["sub"]
    assert {skipped.path.name: skipped.why for skipped in found.skipped} == {
        "b.png.bak": "a spare copy by its name", "b.png~": "a spare copy by its name", "empty": "not a picture",
        "page.html": "not a picture", "pipe": "not a file", "readme.txt": "not a picture"}  # fmt: skip
    assert "letters/readme.txt: left out, not a picture" in str(found.skipped[-1])
    assert [class_name(path) for path in found.pictures[2:5]] == ["c", "d.01", "download.jpg_large"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.heic", HEIC), ("a.HEIF", b"anything"), ("a.svg", b"<svg/>"), ("a.pdf", b"%PDF-1.7"), ("a.raw", b"levels"),
        ("a", HEIC), ("b", b"%PDF-1.7"), ("c", b'<?xml version="1.0"?>\n<svg/>'), ("d", b"\x89PNG\r\n\x1a\n broken"),
        ("e.jpg_large", b"\xff\xd8\xff broken"),
    ],
)  # fmt: skip
def test_what_looks_like_a_picture_and_is_not_read_is_an_error(folder, name, content):
    (folder / name).write_bytes(content)
    with pytest.raises(DataError, match=f"letters/{name}: expected a picture"):
        listing(folder)


def test_a_picture_under_another_suffix_is_read_as_what_it_is(folder, capsys):
    picture(folder / "a.heic")
    found = listing(folder)
    assert [class_name(path) for path in found.pictures] == ["a", "b"] and not found.skipped
    assert "letters/a.heic: read as the PNG file that it is" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["a.png", "a", "loop"])
def test_a_dead_link_is_an_error(folder, name):
    (folder / name).symlink_to(folder / ("loop" if name == "loop" else "nothing"))
    with pytest.raises(DataError, match=f"letters/{name}: .* a link to a file that is not there"):
        listing(folder)


@pytest.mark.parametrize("name", ["b.png", "plain"])
def test_a_picture_that_may_not_be_read_is_an_error(folder, monkeypatch, name):
    def refused(path, *_):
        raise PermissionError(13, "Permission denied", str(path))

    (folder / "b.png").rename(folder / name)
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may read everything: chmod would not do
    monkeypatch.setattr(Image, "open", refused)
    with pytest.raises(DataError, match=f"letters/{name}: .* no permission"):
        listing(folder)


def test_a_sheet_of_drawings_is_no_drawing_and_a_drawing_is_one(folder):
    content = picture(folder / "b.png").read_bytes()
    (folder / "grid.png").write_bytes(marked(content, "vary", SHEET))
    (folder / "drawn.png").write_bytes(marked(content, "vary", DRAWING))
    found = listing(folder)
    assert [path.name for path in found.pictures] == ["b.png", "drawn.png"]
    (skipped,) = map(str, found.skipped)
    assert "grid.png: left out, a sheet of drawings that `oneshot vary` made" in skipped
