"""`oneshot classify`: what counts as a class, what is printed, and a line for each mistake."""

import json
import math

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from torch import nn

from oneshot_lib import asking, weights
from oneshot_lib.cli import classify, main
from oneshot_lib.models.homoencoder import PixelCNNHomoencoder, PixelCNNHomoencoderConfig

NAME = "omniglot28-vhe-pixelcnn-longer"


def drawn(kind: str, size: int = 105, dark: bool = True, shift: float = 0.0) -> Image.Image:
    """A ring, a cross or a bar, on paper of any size, either way round."""
    image = Image.new("L", (size, size), 255 if dark else 0)
    pen, ink, width = ImageDraw.Draw(image), 0 if dark else 255, max(2, size // 24)
    low, high = (0.2 + shift) * size, (0.8 + shift) * size
    if kind == "ring":
        pen.ellipse([low, low, high, high], outline=ink, width=width)
    elif kind == "cross":
        pen.line([low, low, high, high], fill=ink, width=width)
        pen.line([low, high, high, low], fill=ink, width=width)
    else:
        pen.line([size / 2, low, size / 2, high], fill=ink, width=width)
    return image


class Closest(nn.Module):
    """Scores are minus the pixels that differ from the mean drawing: a model that one can see through."""

    tractable = True

    def class_log_scores(self, support, query, generator):
        means = torch.stack([drawings.mean(0) for drawings in support])
        return -(query[:, None] - means[None]).abs().flatten(2).sum(2)


@pytest.fixture
def said(capsys):
    def run(*arguments):
        code = main(["classify", *map(str, arguments)])
        return (code, *capsys.readouterr())

    return run


@pytest.fixture
def shipped(monkeypatch):
    """A manifest with a model over sets and one that is none; what is loaded is `Closest`."""
    data = {"name": "omniglot", "reduction": "28-nearest", "split": "30-20"}
    entry = {"data": data, "does": ["draw_like", "classify"]}
    monkeypatch.setattr(weights, "manifest", lambda: {NAME: entry, "letters": entry | {"does": ["sample", "strokes"]}})
    monkeypatch.setattr(weights, "load", lambda name: Closest())


@pytest.fixture
def letters(tmp_path):
    """Three classes, one of them a sub-folder of two drawings; light on dark and large ones among them."""
    folder = tmp_path / "letters"
    (folder / "ring").mkdir(parents=True)
    drawn("ring").save(folder / "ring/1.png")
    drawn("ring", 300, dark=False, shift=0.05).save(folder / "ring/2.jpg")
    drawn("cross").save(folder / "cross.png")
    drawn("bar", 64).save(folder / "bar.gif")
    (folder / ".hidden.png").write_text("not a picture")
    (folder / "readme.txt").write_text("not a picture either")
    return folder


def test_each_query_gets_its_class(said, shipped, letters, tmp_path):
    unknown = tmp_path / "unknown"
    unknown.mkdir()
    drawn("cross", 400, dark=False).save(unknown / "a.png")
    drawn("ring", 200).save(unknown / "b.png")
    drawn("bar", 105).save(tmp_path / "c.png")
    code, out, err = said(letters, unknown, tmp_path / "c.png", "--json")
    found = json.loads(out)
    assert code == 0 and err.count("\n") == 1 and "letters/readme.txt: left out, not a picture" in err
    assert [set(one) for one in found] == [{"query", "class", "scores", "skipped"}] * 3
    assert all("readme.txt" in skipped for one in found for (skipped,) in [one["skipped"]])
    assert [one["query"] for one in found] == [str(unknown / "a.png"), str(unknown / "b.png"), str(tmp_path / "c.png")]
    assert [one["class"] for one in found] == ["cross", "ring", "bar"]
    for one in found:
        assert set(one["scores"]) == {"ring", "cross", "bar"}
        assert max(one["scores"], key=one["scores"].get) == one["class"]
    code, out, _ = said(letters, unknown, tmp_path / "c.png")
    lines = out.splitlines()
    assert code == 0 and lines[0].split() == ["query", "class", "sure", "behind,", "in", "nats"]
    assert "a.png" in lines[1] and " cross " in lines[1] and "> 99.9%" in lines[1] and "ring -" in lines[1]


def test_how_sure_is_the_posterior_under_equal_priors():
    one = {"query": "q", "class": "a", "scores": {"a": -90.0, "b": -90.0 - math.log(3)}}
    assert classify.sure(one) == "75.0%"
    assert "b -1.1" in classify.answer_text([one])
    many = one | {"scores": one["scores"] | {f"c{i}": -200.0 - i for i in range(9)}}
    assert "c0 -110.0, c1 -111.0" in classify.answer_text([many]) and "c2" not in classify.answer_text([many])


def test_a_homoencoder_answers_and_the_seed_decides_what_it_says():
    torch.manual_seed(0)
    model = PixelCNNHomoencoder(PixelCNNHomoencoderConfig(class_channels=2, channels=4, decoder_layers=2))
    generator = np.random.default_rng(0)
    pictures = [(generator.random((28, 28)) < 0.2).astype(np.uint8) for _ in range(7)]
    names, classes = ["a", "b", "c"], [pictures[:2], pictures[2:3], pictures[3:4]]
    one, two, three = (asking.answers(model, names, classes, pictures[4:], 2, seed) for seed in (0, 0, 1))
    assert one == two != three
    assert len(one) == 3 and all(found.name in names for found in one)
    order = [asking.answers(model, names[::-1], classes[::-1], pictures[4:5], 2, 0)[0].scores[n] for n in names]
    assert np.allclose(order, [one[0].scores[n] for n in names], rtol=1e-4)  # the folder's order decides nothing


def broken(folder):
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n nothing more")


def blank(folder):
    Image.new("L", (50, 50), 255).save(folder / "blank.png")


@pytest.mark.parametrize(
    ("spoil", "hint"),
    [
        (broken, "broken.png"),
        (blank, "blank.png"),
        (lambda folder: (folder / "empty").mkdir(), "empty: expected a folder with pictures"),
        (lambda folder: drawn("bar").save(folder / "bar.png"), "two called 'bar'"),
    ])  # fmt: skip
def test_a_spoiled_class_is_named(said, shipped, letters, spoil, hint):
    spoil(letters)
    code, out, err = said(letters, letters / "cross.png")
    assert code == 2 and hint in err and not out
    assert err.count("\n") == 1 and "Traceback" not in err


def test_a_class_is_not_dropped_without_a_word(said, shipped, letters):
    (letters / "bar.gif").rename(letters / "bar")  # no suffix: a picture all the same
    code, out, err = said(letters, letters / "cross.png", "--json")
    (one,) = json.loads(out)
    assert code == 0 and set(one["scores"]) == {"ring", "cross", "bar"}
    assert len(one["skipped"]) == 1 and err == f"oneshot: {one['skipped'][0]}\n"
    for name, content in (("horn.heic", b"\0\0\0\x18ftypheic"), ("horn", b"\0\0\0\x18ftypheic")):
        for place in (letters, letters / "ring"):
            (place / name).write_bytes(content)
            code, out, err = said(letters, letters / "cross.png")
            assert code == 2 and f"{name}: expected a picture" in err and err.count("\n") == 1 and not out
            (place / name).unlink()
    (letters / "horn.png").symlink_to(letters / "gone.png")
    code, out, err = said(letters, letters / "cross.png")
    assert code == 2 and "horn.png" in err and "a link to a file that is not there" in err and not out


def test_a_folder_that_is_no_question_is_named(said, shipped, letters, tmp_path):
    empty, one = tmp_path / "empty", tmp_path / "one"
    empty.mkdir()
    one.mkdir()
    drawn("bar").save(one / "bar.png")
    picture = letters / "cross.png"
    for arguments, hint in [
        ((empty, picture), "two classes or more"), ((one, picture), "found one class"),
        ((picture, picture), "SUPPORT is"), ((tmp_path / "nowhere", picture), "SUPPORT is"),
        ((letters, tmp_path / "nowhere.png"), "no such file"), ((letters, empty), "found none in it"),
        ((letters, letters / "readme.txt"), "readme.txt"), ((letters, picture, "--samples", 0), "samples is 0"),
        ((letters, picture, "--model", "letters"), NAME), ((letters, picture, "--model", NAME + "s"), f"'{NAME}'"),
        ((letters, picture, "--seed", "x"), "--seed"), ((letters,), "QUERY"),
    ]:  # fmt: skip
        code, out, err = said(*arguments)
        assert code == 2 and hint.lower() in err.lower(), (arguments, err)
        assert "Traceback" not in err and not out


def test_help_has_an_example(said):
    code, out, _ = said("--help")
    assert code == 0 and "Example: oneshot classify" in out and "--json" in out
