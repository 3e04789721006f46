"""What may be written over is what the same command wrote and nobody has changed since."""

import io
import os

import numpy as np
import pytest
from PIL import Image, ImageSequence

from oneshot_lib.data import outputs
from oneshot_lib.data.outputs import DRAWING, SHEET, check_file, check_folder, foreign, mark_of, marked, write_picture


def encoded(kind="PNG", frames=1, seed=0, **options) -> bytes:
    generator = np.random.default_rng(seed)
    images = [Image.fromarray(generator.integers(0, 255, (20, 20), np.uint8)) for _ in range(frames)]
    more = dict(save_all=True, append_images=images[1:], loop=0) if frames > 1 else {}
    file = io.BytesIO()
    images[0].save(file, kind, **more, **options)
    return file.getvalue()


def pixels(content: bytes) -> list[bytes]:
    with Image.open(io.BytesIO(content)) as picture:
        return [frame.convert("RGB").tobytes() for frame in ImageSequence.Iterator(picture)]


@pytest.mark.parametrize(("kind", "frames"), [("PNG", 1), ("GIF", 1), ("GIF", 4)])
def test_a_mark_says_who_wrote_a_picture_and_leaves_it_as_it_was(tmp_path, kind, frames):
    plain, file = encoded(kind, frames), tmp_path / "a"
    file.write_bytes(plain)
    assert mark_of(file) is None
    file.write_bytes(marked(plain, "draw", SHEET))
    assert mark_of(file) == ("draw", SHEET)
    assert pixels(file.read_bytes()) == pixels(plain)
    with Image.open(file) as picture:
        picture.load()  # checksums of the chunks included


def test_a_picture_that_was_changed_or_saved_again_has_no_mark(tmp_path):
    file, content = tmp_path / "a.png", marked(encoded(), "vary")
    file.write_bytes(content)
    with Image.open(file) as picture:
        picture.load()
        assert picture.text["Software"].startswith("oneshot vary")
        picture.save(tmp_path / "again.png", pnginfo=_text(picture.text))  # an editor that keeps the text
    assert mark_of(tmp_path / "again.png") is None or (tmp_path / "again.png").read_bytes() == content
    for place in (40, len(content) // 2):
        file.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        assert mark_of(file) is None
    for other in (b"", b"\x89PNG\r\n\x1a\n", content[:-1], content + b"x", marked(encoded(seed=1), "vary")[:-40]):
        file.write_bytes(other)
        assert mark_of(file) is None


def _text(entries):
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text("Title", "mine")
    for key, value in entries.items():
        info.add_text(key, value)
    return info


# --- a file -----------------------------------------------------------------------------------------------------------


def test_a_command_replaces_its_own_picture_and_no_other(tmp_path):
    own, other, plain = tmp_path / "own.png", tmp_path / "other.png", tmp_path / "plain.png"
    write_picture(own, encoded(), "vary")
    write_picture(own, encoded(seed=1), "vary")
    assert pixels(own.read_bytes()) == pixels(encoded(seed=1))
    write_picture(other, encoded(), "draw")
    plain.write_bytes(encoded())
    for file in (other, plain):
        before = file.read_bytes()
        with pytest.raises(ValueError, match=f"{file.name}, which is there and which `oneshot vary` did not write"):
            write_picture(file, encoded(seed=1), "vary")
        assert file.read_bytes() == before


def test_a_link_is_not_written_over_and_neither_is_an_input(tmp_path):
    own, folder = tmp_path / "own.png", tmp_path / "folder.png"
    write_picture(own, encoded(), "vary")
    folder.mkdir()
    for name, target in (("link.png", own), ("dead.png", tmp_path / "nothing.png")):
        (tmp_path / name).symlink_to(target)
        with pytest.raises(ValueError, match="is a link"):
            check_file(tmp_path / name, "vary")
    os.link(own, tmp_path / "hard.png")
    for name in ("own.png", "hard.png"):
        with pytest.raises(ValueError, match="an input as well"):
            check_file(tmp_path / name, "vary", [own])
        with pytest.raises(ValueError, match="an input as well"):
            check_file(tmp_path / name, "vary", [tmp_path / "link.png"])
    with pytest.raises(ValueError, match="did not write"):
        check_file(folder, "vary")
    check_file(tmp_path / "new.png", "vary", [own])


# --- a folder ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def drawings(tmp_path):
    folder = tmp_path / "each/a"
    folder.mkdir(parents=True)
    for i in range(2):
        (folder / f"{i:03d}.png").write_bytes(marked(encoded(seed=i), "vary", DRAWING))
    (folder / ".DS_Store").write_text("")
    return folder


def test_a_folder_of_own_drawings_may_be_made_anew(drawings, tmp_path):
    check_folder(drawings, "vary")
    check_folder(tmp_path / "each/new", "vary")
    assert [path.name for path in foreign(drawings)] == ["000.png", "001.png"]
    assert foreign(tmp_path / "nowhere") == []


@pytest.mark.parametrize("name", ["notes.txt", "020.png", ".keep", "folder", "sheet.png", "link.png", "drawn.png"])
def test_a_folder_with_anything_else_may_not(drawings, name):
    path = drawings / name
    if name == "folder":
        path.mkdir()
    elif name == "link.png":
        path.symlink_to(drawings / "000.png")
    else:
        marks = {"sheet.png": ("vary", SHEET), "drawn.png": ("draw", DRAWING)}
        path.write_bytes(marked(encoded(), *marks[name]) if name in marks else encoded())
    with pytest.raises(ValueError, match=f"{name}: `oneshot vary` did not write it"):
        check_folder(drawings, "vary")


def test_inputs_and_outputs_do_not_share_a_folder(drawings, tmp_path):
    away = tmp_path / "away"
    away.symlink_to(drawings.parent)
    for path in (drawings / "000.png", drawings, away / "a", away / "a/001.png"):
        with pytest.raises(ValueError, match="is an input"):
            check_folder(drawings, "vary", [path])
    with pytest.raises(ValueError, match="outside of"):
        check_folder(away / "a/b", "vary", [drawings])
    with pytest.raises(ValueError, match="made anew"):
        check_folder(drawings, "vary", [], away / "a/grid.png")
    with pytest.raises(ValueError, match="found a link"):
        check_folder(away, "vary")
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="found a file"):
        check_folder(tmp_path / "file", "vary")
    check_folder(drawings, "vary", [tmp_path / "s.png"], drawings.parent / "grid.png")


def test_the_mark_is_short_enough_to_be_found(tmp_path):
    longest = len(marked(encoded(), "classify" * 2, DRAWING)) - len(encoded())
    assert longest < outputs._LONGEST - 20
