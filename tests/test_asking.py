"""What `import oneshot_lib as oneshot` gives: draw like a picture, tell classes apart, train; and what it refuses."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

import oneshot_lib as oneshot
from oneshot_lib import asking, weights
from oneshot_lib.data.pictures import prepared_file
from oneshot_lib.models.homoencoder import PixelCNNHomoencoder, PixelCNNHomoencoderConfig

LETTERS = {"hook": [(20, 20), (20, 90), (70, 90)], "cross": [(20, 20), (90, 90), (55, 55), (90, 20), (20, 90)]}


def letter(path, shape, shift=0):
    page = Image.new("L", (112, 112), 255)
    ImageDraw.Draw(page).line([(x + shift, y) for x, y in LETTERS[shape]], fill=0, width=7)
    path.parent.mkdir(parents=True, exist_ok=True)
    page.save(path)
    return path


@pytest.fixture
def letters(tmp_path):
    """Two classes: three pictures in a sub-folder, and a single one; with a note beside them."""
    for k in range(3):
        letter(tmp_path / "letters/hook" / f"{k}.png", "hook", 3 * k)
    letter(tmp_path / "letters/cross.png", "cross")
    (tmp_path / "letters/notes.txt").write_text("not a picture")
    return tmp_path / "letters"


@pytest.fixture
def model():
    torch.manual_seed(0)
    return PixelCNNHomoencoder(PixelCNNHomoencoderConfig(class_channels=2, channels=4, decoder_layers=2)).eval()


def test_importing_it_waits_for_no_torch_and_everything_has_its_place():
    code = "import oneshot_lib as o, sys; assert 'torch' not in sys.modules; assert o.names() and 'load' in dir(o)"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert oneshot.load is weights.load and oneshot.models.PixelCNNHomoencoder is PixelCNNHomoencoder
    assert callable(oneshot.data.folder) and callable(oneshot.objectives.set_bound) and "draw_like" in dir(oneshot)
    with pytest.raises(AttributeError, match="no attribute 'darw_like'"):
        _ = oneshot.darw_like
    with pytest.raises(AttributeError, match="no attribute 'PixelRNN'"):
        _ = oneshot.models.PixelRNN


def test_a_folder_has_its_classes_and_says_what_it_left_out(letters):
    found = oneshot.data.folder(letters)
    assert found.names == ["cross", "hook"] and [len(drawings) for drawings in found.classes] == [1, 3]
    assert all(drawings.shape[1:] == (28, 28) and set(np.unique(drawings)) == {0, 1} for drawings in found.classes)
    assert np.array_equal(found.classes[1][2], prepared_file(letters / "hook/2.png", "28-nearest"))
    assert [str(one.path.name) for one in found.skipped] == ["notes.txt"]
    assert oneshot.data.folder(letters, "26-nearest").classes[0].shape == (1, 26, 26)
    assert [tuple(s.shape) for s in found.supports()] == [(1, 1, 28, 28), (3, 1, 28, 28)]


def test_minibatches_are_those_of_algorithm_1(letters):
    found = oneshot.data.folder(letters)
    generator = torch.Generator().manual_seed(0)
    batch = found.minibatch(400, 1, generator)
    assert batch.x.shape == (400, 1, 28, 28) and batch.support.shape == (400, 1, 1, 28, 28)
    assert abs((batch.class_index == 1).float().mean() - 0.75) < 0.1, "a class comes as often as it has drawings"
    sizes = torch.tensor([1, 3])[batch.class_index]
    assert torch.equal(batch.set_size, sizes)
    every = found.supports()
    for x, support, k in zip(batch.x, batch.support, batch.class_index, strict=True):
        assert (x == every[k]).flatten(1).all(1).any() and (support[0] == every[k]).flatten(1).all(1).any()
    with pytest.raises(ValueError, match="support_size: expected 1 to 1"):
        found.minibatch(4, 2, generator)


@pytest.mark.parametrize("kind", ["path", "text", "PIL", "grey", "ready", "tensor", "folder", "several"])
def test_pictures_are_files_images_arrays_and_tensors(kind, letters, model):
    path = letters / "hook/0.png"
    ready = prepared_file(path, "28-nearest")
    pictures = {"path": path, "text": str(path), "PIL": Image.open(path), "grey": np.asarray(Image.open(path)),
                "ready": ready.astype(float), "tensor": torch.from_numpy(ready)[None].float(),
                "folder": letters / "hook",
                "several": [letters / "hook" / f"{k}.png" for k in range(3)]}[kind]  # fmt: skip
    drawn = oneshot.draw_like(model, pictures, n=3, seed=4)
    files = sorted((letters / "hook").iterdir()) if kind in ("folder", "several") else [path]
    support = torch.from_numpy(np.stack([prepared_file(f, "28-nearest") for f in files]))[:, None].float()
    expected = model.draw_like([support], 3, generator=torch.Generator().manual_seed(4))[0, :, 0]
    assert torch.equal(drawn, expected) and drawn.shape == (3, 28, 28)
    assert not torch.equal(oneshot.draw_like(model, pictures, n=3, seed=5), drawn)


def test_classes_are_told_apart_and_by_any_name_for_them(letters, model):
    queries = [letters / "hook/1.png", letters / "cross.png"]
    found = oneshot.classify(model, letters, queries)
    assert len(found) == 2 and all(set(one.scores) == {"hook", "cross"} and one.name in one.scores for one in found)
    assert found == oneshot.classify(model, oneshot.data.folder(letters), queries)
    by_name = {"cross": letters / "cross.png", "hook": letters / "hook"}
    assert found == oneshot.classify(model, by_name, queries)
    assert found != oneshot.classify(model, letters, queries, seed=1)


def test_a_shipped_model_is_asked_by_its_name(letters, monkeypatch, model):
    monkeypatch.setattr(weights, "load", lambda name: model)
    name = "omniglot28-vhe-pixelcnn"
    assert oneshot.draw_like(name, letters / "cross.png", n=2).shape == (2, 28, 28)
    (one,) = oneshot.classify(name, letters, letters / "cross.png")
    assert one.name in ("hook", "cross")
    with pytest.raises(ValueError, match="reduced by 26-nearest; expected 28-nearest, as omniglot28-vhe-pixelcnn was"):
        oneshot.classify(name, oneshot.data.folder(letters, "26-nearest"), letters / "cross.png")


def test_a_training_goes_on_in_its_folder(letters, model, tmp_path):
    symbols = oneshot.data.folder(letters)

    def objective(network, step, generator):
        batch = symbols.minibatch(4, 1, generator)
        return network.terms(batch.x, batch.support, batch.set_size, generator).bound

    before = {name: value.clone() for name, value in model.state_dict().items()}
    report = oneshot.train(model, objective, tmp_path / "runs/symbols", steps=2, learning_rate=1e-3)
    assert report.finished and report.step == 2 and (tmp_path / "runs/symbols/weights.safetensors").is_file()
    assert any(not torch.equal(value, before[name]) for name, value in model.state_dict().items())
    again = oneshot.train(model, None, tmp_path / "runs/symbols", steps=2, learning_rate=1e-3)
    assert again.finished, "what is finished is loaded"


@pytest.mark.parametrize("call, message", [
    (lambda m, f: oneshot.draw_like(m, f / "cross.png", n=0), "n is 0; expected a whole number of at least 1"),
    (lambda m, f: oneshot.draw_like(m, f / "none.png"), "pictures: .*none.png: no such file or folder"),
    (lambda m, f: oneshot.draw_like(m, []), "pictures is empty"),
    (lambda m, f: oneshot.draw_like(m, np.zeros((28, 28))), "picture is blank"),
    (lambda m, f: oneshot.draw_like(m, np.full((28, 28), 0.5)), "picture is float64 \\(28, 28\\); expected a file"),
    (lambda m, f: oneshot.draw_like(m, np.zeros((9, 9))), "picture is float64 \\(9, 9\\); expected a file"),
    (lambda m, f: oneshot.draw_like("omniglot28-vhe", f / "cross.png"), "did you mean 'omniglot28-table1-vhe'"),
    (lambda m, f: oneshot.draw_like("critic-contrastive", f / "cross.png"), "unknown model for draw_like"),
    (lambda m, f: oneshot.draw_like(3, f / "cross.png"), "model is a int; expected the name of a shipped model"),
    (lambda m, f: oneshot.classify("omniglot28-st-additive-t20", f, f / "cross.png"), "unknown model for classify"),
    (lambda m, f: oneshot.classify(m, f, f / "cross.png", samples=0), "samples is 0; expected"),
    (lambda m, f: oneshot.classify(m, f / "hook/0.png", f / "cross.png"), "expected a folder with a picture"),
    (lambda m, f: oneshot.classify(m, {"a": f / "cross.png"}, f / "cross.png"), "classes has 1; expected two at least"),
    (lambda m, f: oneshot.classify(m, [1, 2], f / "cross.png"), "classes is a list; expected a folder, its path"),
    (lambda m, f: oneshot.train(m, None, f / "run", stpes=3), "unknown setting 'stpes'; did you mean 'steps'"),
])  # fmt: skip
def test_what_cannot_be_is_named(call, message, letters, model):
    with pytest.raises(ValueError, match=message):
        call(model, letters)
    assert sorted(path.name for path in letters.iterdir()) == ["cross.png", "hook", "notes.txt"]


def test_the_command_lines_default_is_the_librarys():
    import inspect

    from oneshot_lib.cli import commands

    for command in (commands.vary, commands.classify):
        assert inspect.signature(command).parameters["model"].default == asking.MODEL
