"""`oneshot draw`, `vary` and `classify` with the few-shot PixelCNNs: what they are shown, and what is done with it."""

import json
from dataclasses import asdict

import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence

from oneshot_lib import asking, data, weights
from oneshot_lib.benchmarks import few_shot as benchmark
from oneshot_lib.cli import drawing, main
from oneshot_lib.data.pictures import prepared_file
from oneshot_lib.models.attention_pixelcnn import AttentionLayer
from oneshot_lib.models.few_shot import FewShotConfig, FewShotPixelCNN

SMALL = {"channels": 4, "layers": 2, "first_kernel": 3}
KINDS = {
    "pixelcnn": ("UnconditionalPixelCNN", SMALL),
    "conditional": ("ConditionalPixelCNN", SMALL | {"code": 4, "encoder_channels": 4}),
    "attention": ("AttentionPixelCNN", SMALL | {"reads": (1,), "key": 4, "encoder_channels": 4}),
    "meta": ("MetaPixelCNN", SMALL | {"inner_channels": 4}),
}
SHOWN = [kind for kind in KINDS if kind != "pixelcnn"]
SPLIT = "45-5"


def built(kind: str):
    torch.manual_seed(0)
    model = weights.build(KINDS[kind][0], KINDS[kind][1])
    with torch.no_grad():
        model.pixelcnn.output.weight.mul_(8)  # ink and paper
        for layer in model.pixelcnn.layers:
            if isinstance(layer, AttentionLayer):
                layer.out.weight.mul_(20)  # and a support that makes a difference
    return model.eval()


@pytest.fixture
def models(tmp_path_factory, monkeypatch):
    """A folder of weights with an untrained model of every kind, and one that is called a model of mirrored drawings;
    the models by kind."""
    from safetensors.torch import save_file

    folder, entries, found = tmp_path_factory.mktemp("weights"), {}, {}
    for kind, (model, _) in KINDS.items():
        found[kind] = built(kind)
        file = folder / f"omniglot26-{kind}.safetensors"
        save_file({k: v.contiguous() for k, v in found[kind].state_dict().items()}, file)
        entries[file.stem] = {"sha256": weights.sha256(file), "config": asdict(found[kind].config), "model": model,
                              "data": {"name": "omniglot", "reduction": "26-nearest", "split": SPLIT},
                              "does": ["sample"] if kind == "pixelcnn" else ["draw_like", "classify"]}
    mirror = "omniglot26-mirror-conditional"
    (folder / f"{mirror}.safetensors").write_bytes((folder / "omniglot26-conditional.safetensors").read_bytes())
    (folder / "manifest.json").write_text(json.dumps(
        entries | {mirror: entries["omniglot26-conditional"] | {"task": "mirror"}}))
    monkeypatch.setattr(weights, "FOLDER", folder)
    return found


@pytest.fixture
def said(capsys):
    def run(*arguments):
        code = main([str(a) for a in arguments])
        return (code, *capsys.readouterr())

    return run


def letter(path, row=20, column=30, across=40):
    """A page of Omniglot's size with a bar down and a bar across."""
    page = np.full((105, 105), 255, np.uint8)
    page[row : row + 60, column : column + 4] = page[row + 56 : row + 60, column : column + across] = 0
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(page).save(path)
    return path


class Copies(FewShotPixelCNN):
    """A model that draws the first of what it is shown, once more."""

    def __init__(self):
        super().__init__()
        self.config, self.asked = FewShotConfig(), []

    def _drawn(self, support, each, generator, noise):
        self.asked.append(tuple(support.shape))
        return support[:, 0].repeat_interleave(each, 0)


# --- draw -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_every_model_draws_row_by_row(said, models, tmp_path, kind):
    code, out, err = said("draw", f"omniglot26-{kind}", "-n", 5, "-o", tmp_path / "a.gif", "--json")
    report = json.loads(out)
    assert (code, err) == (0, "") and report["n"] == 5
    with Image.open(tmp_path / "a.gif") as picture:
        frames = [frame.convert("L").tobytes() for frame in ImageSequence.Iterator(picture)]
    assert len(frames) == report["frames"] >= 10 and len(set(frames)) > 0.7 * len(frames)
    if kind == "pixelcnn":
        assert report["data"] is None and report["shown"] is None
        return
    characters = data.characters()
    test = {characters.classes[k] for k in characters.class_index[characters.split(SPLIT).test]}
    assert report["data"] == characters.name and len(set(report["shown"])) == 5 and set(report["shown"]) <= test


@pytest.mark.parametrize("kind", KINDS)
def test_the_seed_decides_what_is_drawn(said, models, tmp_path, kind):
    for name, seed in (("one", 0), ("two", 0), ("three", 1)):
        assert said("draw", f"omniglot26-{kind}", "-n", 2, "-o", tmp_path / f"{name}.png", "--seed", seed)[0] == 0
    one, two, three = ((tmp_path / f"{name}.png").read_bytes() for name in ("one", "two", "three"))
    assert one == two != three


def test_a_model_is_shown_the_characters_that_are_named(said, models, tmp_path, monkeypatch):
    model, pictures = Copies(), []
    monkeypatch.setattr(weights, "load", lambda name: model)
    monkeypatch.setattr(drawing, "picture", lambda images: pictures.append(images) or Image.new("RGB", (4, 4)))
    report = json.loads(said("draw", "omniglot26-attention", "-n", 70, "-o", tmp_path / "a.png", "--json")[1])
    assert model.asked == [(drawing.BATCH, 4, 1, 26, 26), (70 - drawing.BATCH, 4, 1, 26, 26)]
    characters = data.characters()
    every = (characters.grey("26-nearest") >= 128).reshape(len(characters), -1)
    for name, drawn in zip(report["shown"][:8], pictures[0][:8], strict=True):
        same = (every == (drawn.ravel() > 0)).all(1)
        assert name in {characters.classes[k] for k in characters.class_index[same]}
    said("draw", "omniglot26-mirror-conditional", "-n", 2, "-o", tmp_path / "b.png")
    assert model.asked[-1] == (2, 1, 1, 26, 26)  # one drawing, which is to be mirrored


def test_characters_come_in_an_order_of_the_seed_and_again_where_more_are_asked_for():
    characters = data.characters()
    count = len(np.unique(characters.class_index[characters.split(SPLIT).test]))
    shown = drawing.characters_of("26-nearest", SPLIT, count + 3, 4, seed=1)
    assert shown.support.shape == (count + 3, 4, 26, 26) and set(np.unique(shown.support)) == {0, 1}
    assert len(set(shown.characters)) == count and shown.characters[count:] == shown.characters[:3]
    assert not np.array_equal(shown.support[count:], shown.support[:3])  # other drawings of them
    fewer = drawing.characters_of("26-nearest", SPLIT, 3, 4, seed=1)
    assert fewer.characters == shown.characters[:3] and (fewer.support == shown.support[:3]).all()
    assert drawing.characters_of("26-nearest", SPLIT, 3, 4, seed=2).characters != fewer.characters


def test_frames_go_from_the_first_row_with_ink_to_the_last():
    drawn = np.zeros((2, 1, 26, 26), np.float32)
    drawn[0, 0, 5:20, 7], drawn[1, 0, 7:22, 9] = 1, 1
    steps = drawing.written(drawn)
    assert steps.shape == (14, 2, 1, 26, 26) and not steps[0].any() and (steps[-1] == drawn).all()
    ink = steps.sum((1, 2, 3, 4))
    assert (np.diff(ink) > 0).all()  # no frame without something new: equal parts of the page would have margins
    assert len(drawing.written(np.zeros((1, 1, 26, 26)))) == 14  # a model that draws nothing
    assert len(drawing.written(drawn[:, :, :, :9][:1, :, 18:])) == 3  # two rows


# --- vary -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", SHOWN)
def test_a_picture_is_drawn_again_by_the_models_own_draws(said, models, tmp_path, kind):
    letter(tmp_path / "a" / "1.png"), letter(tmp_path / "a" / "2.png", row=30)
    code, out, err = said("vary", tmp_path / "a", "--model", f"omniglot26-{kind}", "-n", 3, "-o", tmp_path / "g.png",
                          "--each", tmp_path / "each", "--seed", 4, "--json")
    assert (code, err) == (0, "") and json.loads(out)["images"][0]["given"] == 2
    found = np.stack([np.array(Image.open(tmp_path / "each" / "a" / f"{i:03d}.png"))[::4, ::4] == 0 for i in range(3)])
    support = np.stack([prepared_file(tmp_path / "a" / f"{i}.png", "26-nearest") for i in (1, 2)])
    assert found.shape == (3, 26, 26) and support.sum() > 30
    support = torch.from_numpy(support)[None, :, None].float()
    expected = models[kind].draw_like(support, 3, generator=torch.Generator().manual_seed(4))[0]
    assert (found == expected[:, 0].numpy()).all() and 0 < found.mean() < 1


def test_several_characters_keep_their_order_and_many_drawings_come_in_parts():
    model, first, second = Copies(), np.zeros((1, 26, 26), np.uint8), np.ones((3, 26, 26), np.uint8)
    one, other = asking.drawn_like(model, [first, second], 70)
    assert one.shape == other.shape == (70, 26, 26) and not one.any() and other.all()
    assert model.asked == 2 * [(1, 1, 1, 26, 26)] + 2 * [(1, 3, 1, 26, 26)]


def test_a_meta_model_makes_one_inner_step_a_character(monkeypatch):
    model, steps = built("meta"), []
    adapted = model.adapted
    monkeypatch.setattr(model, "adapted", lambda *a, **k: steps.append(1) or adapted(*a, **k))
    asking.drawn_like(model, [np.ones((2, 26, 26), np.uint8)] * 2, 20)
    assert len(steps) == 2


# --- classify ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def letters(tmp_path):
    """Three classes, one of them with two drawings; its folder."""
    letter(tmp_path / "letters" / "a.png"), letter(tmp_path / "letters" / "c.png", across=10)
    letter(tmp_path / "letters" / "b" / "1.png", across=25), letter(tmp_path / "letters" / "b" / "2.png", across=55)
    return tmp_path / "letters"


@pytest.mark.parametrize("kind", SHOWN)
def test_scores_are_the_exact_log_probabilities(said, models, letters, tmp_path, kind):
    query = letter(tmp_path / "q.png", row=25, column=40)
    code, out, err = said("classify", letters, query, "--model", f"omniglot26-{kind}", "--json")
    (found,) = json.loads(out)
    assert (code, err) == (0, "") and found["class"] == max(found["scores"], key=found["scores"].get)

    def ready(*files):
        return torch.from_numpy(np.stack([prepared_file(file, "26-nearest") for file in files]))[:, None].float()

    for name, files in {"a": ["a.png"], "b": ["b/1.png", "b/2.png"], "c": ["c.png"]}.items():
        support = ready(*(letters / file for file in files))
        with torch.no_grad():
            expected = float(models[kind].log_prob(ready(query), support[None]))
            of_one = float(models[kind].log_prob(ready(query), support[None, :1]))
        assert found["scores"][name] == pytest.approx(expected, rel=1e-5)
        assert len(files) == 1 or of_one != pytest.approx(expected, rel=1e-5)  # the fault: a class cut to one drawing


@pytest.mark.parametrize("arguments, named", [
    (("classify", "letters", "q.png", "--model", "omniglot26-pixelcnn"), "looks at no support set"),
    (("vary", "q.png", "-o", "g.png", "--model", "omniglot26-pixelcnn"), "looks at no support set"),
    (("classify", "letters", "q.png", "--model", "omniglot26-mirror-conditional"), "in the mirror"),
    (("classify", "letters", "q.png", "--model", "omniglot26-atention"), "'omniglot26-attention'"),
    (("vary", "q.png", "-o", "g.png", "--model", "omniglot26-mta"), "'omniglot26-meta'"),
])  # fmt: skip
def test_a_model_that_cannot_is_refused_in_a_line(said, models, letters, tmp_path, monkeypatch, arguments, named):
    letter(tmp_path / "q.png")
    monkeypatch.chdir(tmp_path)
    code, out, err = said(*arguments)
    assert code == 2 and not out and named in err
    assert err.count("\n") == 1 and "Traceback" not in err and not (tmp_path / "g.png").exists()


# --- bench ------------------------------------------------------------------------------------------------------------


def test_the_benchmark_holds_every_model_against_the_unconditional_one(monkeypatch):
    monkeypatch.setattr(benchmark, "SETS", 1)
    monkeypatch.setattr(benchmark, "TARGETS", 1)
    monkeypatch.setattr(benchmark, "SIZE", 5)
    rows = benchmark.measure(seconds=0.0)
    assert len(rows) == len(benchmark.MODELS) and len({row["reference"] for row in rows}) == 1
    for row, ((name, shots), target) in zip(rows, benchmark.MODELS.items(), strict=True):
        assert name in row["name"] and f"{shots}-shot" in row["name"] and row["target"] == target
        assert row["ratio"] == row["value"] / row["reference"]
        assert "sampl" not in row["name"] and "sequential" not in row["name"]  # other benchmarks are known by these
