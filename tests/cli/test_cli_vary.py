"""`oneshot vary`: new drawings of a character from any picture of it, all of them or none."""

import json
import os
import subprocess
import sys
from dataclasses import asdict

import numpy as np
import pytest
from PIL import Image

from oneshot_lib import asking, weights
from oneshot_lib.cli import main, vary
from oneshot_lib.data.pictures import prepared_file

MODEL = "omniglot28-vhe-pixelcnn-longer"


@pytest.fixture
def said(capsys):
    """`said(*arguments)` -> (exit code, standard output, standard error) of `oneshot vary`, in this process."""

    def run(*arguments):
        code = main(["vary", *(str(a) for a in arguments)])
        return (code, *capsys.readouterr())

    return run


@pytest.fixture
def tiny_model(tmp_path_factory, monkeypatch):
    """A folder of weights: an untrained model of the flagship's class and name, and one over single images."""
    import torch
    from safetensors.torch import save_file

    from oneshot_lib.models.homoencoder import PixelCNNHomoencoder, PixelCNNHomoencoderConfig

    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    model = PixelCNNHomoencoder(PixelCNNHomoencoderConfig(channels=4, decoder_layers=1))
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, folder / f"{MODEL}.safetensors")
    entry = {"sha256": weights.sha256(folder / f"{MODEL}.safetensors"), "config": asdict(model.config),
             "model": "PixelCNNHomoencoder", "does": ["sample", "draw_like", "classify"],
             "data": {"name": "omniglot", "reduction": "28-nearest", "split": "30-20"}}
    (folder / "manifest.json").write_text(json.dumps({MODEL: entry, "other-t3": {"config": {}}}))
    monkeypatch.setattr(weights, "FOLDER", folder)
    return model.eval()


def letter(path, shift=0, size=105, colours=(0, 255)):
    """A drawing of an L: `colours` of ink and of paper."""
    page = np.full((size, size), colours[1], np.uint8)
    page[20:80, 30 + shift : 34 + shift] = page[76:80, 30 + shift : 70 + shift] = colours[0]
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(page).save(path)
    return path


def left_behind(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))


def test_twenty_drawings_and_a_file_for_each(said, tiny_model, tmp_path):
    image = letter(tmp_path / "a.png")
    code, out, err = said(image, "-n", 20, "-o", tmp_path / "g.png", "--each", tmp_path / "each")
    assert (code, err) == (0, "") and out.count("\n") == 1 and "20 new drawings of" in out
    assert left_behind(tmp_path / "each") == ["a", *(f"a/{i:03d}.png" for i in range(20))]
    for file in (tmp_path / "each" / "a").iterdir():
        drawing = np.array(Image.open(file))
        assert drawing.shape == (112, 112) and set(np.unique(drawing)) <= {0, 255}
        assert (drawing == drawing[::4, ::4].repeat(4, 0).repeat(4, 1)).all()  # 28x28, every pixel a square
    assert Image.open(tmp_path / "g.png").mode == "RGB"


def test_the_files_are_the_models_own_draws_and_dark_is_ink(said, tiny_model, tmp_path):
    import torch

    image = letter(tmp_path / "a.png")
    said(image, "-n", 3, "-o", tmp_path / "g.png", "--each", tmp_path / "each", "--seed", 4)
    support = torch.from_numpy(prepared_file(image, "28-nearest"))[None, None, None].float()
    assert support.sum() > 20
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        q = tiny_model.posterior(support)
        c = q.sample(torch.randn(3, tiny_model.class_size, generator=generator))
        expected = tiny_model.sample_from(c, generator)[:, 0].numpy()
    found = [np.array(Image.open(tmp_path / "each" / "a" / f"{i:03d}.png"))[::4, ::4] == 0 for i in range(3)]
    assert (np.stack(found) == expected).all() and 0 < expected.mean() < 1


def test_a_folder_is_one_character(said, tiny_model, tmp_path):
    for i in range(3):
        letter(tmp_path / "letters" / f"{i}.png", shift=4 * i)
    (tmp_path / "letters" / "notes.txt").write_text("no picture")
    code, out, _ = said(tmp_path / "letters", "-n", 5, "-o", tmp_path / "g.png", "--json", "--each", tmp_path / "d")
    report = json.loads(out)
    assert code == 0 and report["n"] == 5
    (found,) = report["images"]
    assert found["given"] == 3 and found["drawings"] == str(tmp_path / "d" / "letters")
    assert len(list((tmp_path / "d" / "letters").iterdir())) == 5


def test_several_pictures_are_several_characters(said, tiny_model, tmp_path):
    images = [letter(tmp_path / f"{name}.png", shift) for name, shift in (("a", 0), ("b", 10))]
    images.append(letter(tmp_path / "more" / "c.png", 20).parent)
    code, out, _ = said(*images, "-n", 2, "-o", tmp_path / "g.png", "--each", tmp_path / "d")
    assert code == 0 and "each of 3 characters" in out
    assert sorted(p.name for p in (tmp_path / "d").iterdir()) == ["a", "b", "more"]


def test_light_ink_on_dark_gives_the_same_drawings(said, tiny_model, tmp_path):
    letter(tmp_path / "dark" / "a.png"), letter(tmp_path / "light" / "a.png", colours=(255, 0))
    for kind in ("dark", "light"):
        assert said(tmp_path / kind / "a.png", "-n", 2, "-o", tmp_path / f"{kind}.png")[0] == 0
    assert (tmp_path / "dark.png").read_bytes() == (tmp_path / "light.png").read_bytes()


def test_the_seed_decides(said, tiny_model, tmp_path):
    image = letter(tmp_path / "a.png")
    for name, seed in (("one", 0), ("two", 0), ("three", 1)):
        said(image, "-n", 4, "-o", tmp_path / f"{name}.png", "--seed", seed)
    one, two, three = ((tmp_path / f"{name}.png").read_bytes() for name in ("one", "two", "three"))
    assert one == two != three


def test_earlier_drawings_are_replaced_and_nothing_else_is(said, tiny_model, tmp_path):
    image, each = letter(tmp_path / "a.png"), tmp_path / "each"
    said(image, "-n", 5, "-o", tmp_path / "g.png", "--each", each)
    letter(each / "b" / "000.png")
    assert said(image, "-n", 2, "-o", tmp_path / "g.png", "--each", each)[0] == 0
    assert left_behind(each) == ["a", "a/000.png", "a/001.png", "b", "b/000.png"]
    (each / "a" / "thesis.txt").write_text("not to be lost")
    code, _, err = said(image, "-n", 2, "-o", tmp_path / "g.png", "--each", each)
    assert code and "drawings alone" in err and (each / "a" / "thesis.txt").exists()


def contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in folder.rglob("*")}


@pytest.fixture
def scans(tmp_path, monkeypatch):
    """A folder `scans` of numbered drawings and one `s.png`, in the current folder."""
    monkeypatch.chdir(tmp_path)
    for i in range(3):
        letter(tmp_path / "scans" / f"{i:03d}.png", shift=4 * i)
    letter(tmp_path / "s.png")
    return tmp_path


NOT_ITS_OWN = {
    "numbered scans": (["scans", "--each", "."], "scans is an input"),
    "within the input folder": (["scans", "--each", "scans"], "outside of"),
    "scans of another character": (["other/scans.png", "--each", "."], "000.png: `oneshot vary` did not write it"),
    "the input": (["s.png", "-o", "s.png"], "out is s.png, which is an input"),
    "the input by another path": (["s.png", "-o", "scans/../s.png"], "an input"),
    "a link to the input": (["s.png", "-o", "link.png"], "a link"),
    "one of a folder of inputs": (["scans", "-o", "scans/001.png"], "an input"),
    "somebody's picture": (["s.png", "-o", "scans/001.png"], "`oneshot vary` did not write"),
    "a sheet in the folder to be made anew": (["s.png", "--each", "d", "-o", "d/s/g.png"], "made anew"),
    "one name for both": (["s.png", "--each", "d.png", "-o", "d.png"], "two names"),
}


@pytest.mark.parametrize(("arguments", "named"), NOT_ITS_OWN.values(), ids=NOT_ITS_OWN)
def test_what_it_did_not_write_is_refused_and_left_as_it_was(said, tiny_model, scans, arguments, named):
    letter(scans / "other/scans.png")
    (scans / "link.png").symlink_to("s.png")
    if "d/s/g.png" in arguments:
        (scans / "d/s").mkdir(parents=True)
    before = contents(scans)
    code, out, err = said(*arguments, "-n", 2, *([] if "-o" in arguments else ["-o", "g.png"]))
    assert code == 2 and not out and err.count("\n") == 1 and named in err, err
    assert contents(scans) == before


def test_its_own_sheet_in_the_input_folder_is_no_drawing(said, tiny_model, scans):
    reports = []
    for _ in range(2):
        code, out, err = said("scans", "-n", 2, "-o", "scans/grid.png", "--json")
        reports.append(json.loads(out))
        assert code == 0 and [image["given"] for image in reports[-1]["images"]] == [3]
    assert reports[0]["skipped"] == [] and "scans/grid.png: left out, a sheet" in reports[1]["skipped"][0]
    assert err == f"oneshot: {reports[1]['skipped'][0]}\n"
    code, _, err = said("scans", "scans/grid.png", "-n", 2, "-o", "scans/grid.png")
    assert code == 2 and "an input as well" in err


def test_an_output_that_somebody_changed_is_somebodys(said, tiny_model, scans):
    assert said("s.png", "-n", 2, "-o", "g.png", "--each", "d")[0] == 0
    for file, arguments in (("g.png", []), ("d/s/001.png", ["--each", "d"])):
        with Image.open(file) as picture:
            changed = picture.convert("L")
        changed.save(file)
        before = contents(scans)
        code, _, err = said("s.png", "-n", 2, "-o", "g.png" if file == "g.png" else "h.png", *arguments)
        assert code == 2 and file.split("/")[-1] in err and contents(scans) == before


def test_a_file_that_comes_while_it_draws_is_not_lost(said, tiny_model, scans, monkeypatch):
    draw = asking.drawn_like

    def meanwhile(*arguments):
        letter(scans / "g.png")
        return draw(*arguments)

    monkeypatch.setattr(asking, "drawn_like", meanwhile)
    code, _, err = said("s.png", "-n", 2, "-o", "g.png", "--each", "d")
    assert code == 2 and "did not write" in err and not (scans / "d").exists()
    assert (scans / "g.png").read_bytes() == (scans / "s.png").read_bytes()


def test_the_picture_shows_what_was_given_beside_its_drawings(tmp_path):
    supports = [np.zeros((1, 28, 28), np.uint8), np.ones((3, 28, 28), np.uint8)]
    drawn = [np.ones((20, 28, 28), np.uint8), np.zeros((20, 28, 28), np.uint8)]
    sheet = np.array(vary.picture(supports, drawn)).astype(int)
    ink = (sheet == vary.INK).all(-1)
    assert ink.sum() == 23 * (28 * 4) ** 2
    framed = (sheet == vary.GIVEN).all(-1)
    left = np.nonzero(framed.any(0))[0].max()
    assert ink[: len(ink) // 2, left + 1 :].sum() == 20 * (28 * 4) ** 2  # the first band's drawings
    assert ink[len(ink) // 2 :, : left + 1].sum() == 3 * (28 * 4) ** 2  # and what the second was given


@pytest.mark.parametrize("n", [1, 7, 50, 1024])
def test_the_picture_has_room_for_any_number(n):
    sheet = vary.picture([np.zeros((2, 28, 28), np.uint8)], [np.ones((n, 28, 28), np.uint8)])
    scale = ((np.array(sheet) == vary.INK).all(-1).sum() / n / 28**2) ** 0.5
    assert scale == int(scale) >= 1 and sheet.width < 2000


# --- mistakes ---------------------------------------------------------------------------------------------------------


def grey(path):
    Image.new("L", (50, 50), 200).save(path)


MISTAKES = {
    "no such file": (["none.png"], "no such file"),
    "not a picture": (["bad.png"], "bad.png: expected a whole picture file"),
    "one colour": (["grey.png"], "one colour"),
    "one of two": (["a.png", "grey.png"], "one colour"),
    "an empty folder": (["empty"], "none in it"),
    "a bad picture in a folder": (["mixed"], "grey.png"),
    "none": (["a.png", "-n", "0"], "expected 1 to"),
    "fewer": (["a.png", "-n", "-3"], "expected 1 to"),
    "too many": (["a.png", "-n", "100000"], "expected 1 to"),
    "another suffix": (["a.png", "-o", "g.jpg"], ".png"),
    "a folder that is not there": (["a.png", "-o", "no/such/g.png"], "does not exist"),
    "a folder as the file": (["a.png", "-o", "folder.png"], "expected a file's name"),
    "a file as the folder": (["a.png", "--each", "a.png"], "expected a folder"),
    "two of one name": (["a.png", "mixed/a.png", "--each", "d"], "'a'"),
    "a model's name": (["a.png", "--model", "omniglot28-vhe-pixelcm"], MODEL),
    "a model over single images": (["a.png", "--model", "other-t3"], "model over sets"),
    "no picture named": ([], "IMAGE"),
}


@pytest.mark.parametrize("arguments, named", MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_clear_line_and_leaves_nothing(said, tiny_model, tmp_path, monkeypatch, arguments, named):
    monkeypatch.chdir(tmp_path)
    letter(tmp_path / "a.png"), letter(tmp_path / "mixed" / "a.png")
    (tmp_path / "bad.png").write_bytes(b"not a picture")
    grey(tmp_path / "grey.png"), grey(tmp_path / "mixed" / "grey.png")
    (tmp_path / "empty").mkdir(), (tmp_path / "folder.png").mkdir()
    before = left_behind(tmp_path)
    if "-o" not in arguments:
        arguments = [*arguments, "-o", "g.png"]
    code, out, err = said(*arguments, *([] if "--each" in arguments else ["--each", "each"]))
    assert code and not out and named in err and "Traceback" not in err
    assert left_behind(tmp_path) == before
    if arguments[0] != "-o":
        assert err.count("\n") == 1 and str(tmp_path) not in err


def test_a_disk_that_fails_leaves_the_earlier_drawings(said, tiny_model, tmp_path, monkeypatch):
    image = letter(tmp_path / "a.png")
    said(image, "-n", 3, "-o", tmp_path / "g.png", "--each", tmp_path / "each")
    before, sheet = left_behind(tmp_path), (tmp_path / "g.png").read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device", "g.png")

    monkeypatch.setattr(vary, "write_picture", full)
    code, _, err = said(image, "-n", 2, "-o", tmp_path / "g.png", "--each", tmp_path / "each", "--seed", 1)
    assert code and "no space left" in err
    assert left_behind(tmp_path) == before and (tmp_path / "g.png").read_bytes() == sheet


def test_nothing_of_matplotlib_is_needed(tiny_model, tmp_path):
    image = letter(tmp_path / "a.png")
    code = (f"import sys\nfrom pathlib import Path\nfrom oneshot_lib import weights\n"
            f"weights.FOLDER = Path({str(weights.FOLDER)!r})\nfrom oneshot_lib.cli import main\n"
            f"main(['vary', {str(image)!r}, '-n', '2', '-o', {str(tmp_path / 'g.png')!r}])\n"
            "sys.exit(', '.join({'matplotlib', 'IPython', 'pandas'} & set(sys.modules)) or 0)")
    p = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False,
                       env=os.environ | {"LC_ALL": "C"})
    assert (p.returncode, p.stderr) == (0, "")
