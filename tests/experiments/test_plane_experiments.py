"""The plane of the judged drawings: who is judged on what, how a model draws after one exemplar, what a run keeps."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from oneshot_lib import data, experiments, weights
from oneshot_lib.evaluation import judging
from oneshot_lib.experiments import EXPERIMENTS
from oneshot_lib.experiments.boutin import critics, plane, plane_figure, tables
from oneshot_lib.models.critics import ContrastiveCritic, CriticConfig, PrototypicalCritic
from oneshot_lib.models.homoencoder import PixelCNNHomoencoder, PixelCNNHomoencoderConfig
from oneshot_lib.models.sequential import SequentialConfig, SequentialModel
from oneshot_lib.runs import records
from oneshot_lib.runs.experiment import Experiment
from oneshot_lib.runs.run import TimeSpent

ROWS = {row.key: row for row in tables.PLANE_ROWS}
MODELS = [row for row in tables.PLANE_ROWS if row.model]
TINY = CriticConfig(channels=2, embedding=8, projection=4)


class Copyist(torch.nn.Module):
    """A few-shot model that draws what it is shown, or its mirror image."""

    mirror = False

    def draw_like(self, support, n, generator=None):
        x = support[:, :1].flip(-1) if self.mirror else support[:, :1]
        return x.expand(-1, n, -1, -1, -1)


@pytest.fixture(scope="module")
def letters():
    return data.characters("glyphs")


@pytest.fixture
def begin(tmp_path, monkeypatch, letters):
    """`begin(name, **overrides)` starts a quick run on Glyphs, with untrained critics, two to four numbers wide."""
    from oneshot_lib.runs import run as notebook_side

    torch.manual_seed(0)
    stand_ins = {"critic-contrastive": ContrastiveCritic(TINY).eval(),
                 "critic-prototypical": PrototypicalCritic(TINY).eval()}
    entries, load = weights.manifest(), weights.load
    entries |= {name: {"sha256": name, "does": ["judge"],
                       "data": {"name": "omniglot", "reduction": "50-antialias", "split": "weak"}}
                for name, critic in stand_ins.items()}
    loaded = []

    def loading(name):
        loaded.append(name)
        return stand_ins[name] if name in stand_ins else Copyist() if name.startswith("omniglot2") else load(name)

    monkeypatch.setattr(weights, "manifest", lambda: dict(entries))
    monkeypatch.setattr(weights, "load", loading)
    monkeypatch.setattr(Experiment, "open_data", lambda self: letters)

    def start(name="boutin-plane", minutes=None, **overrides):
        run = experiments.start(name, out=str(tmp_path / name), overrides=overrides, minutes=minutes)
        run.entries, run.loaded = entries, loaded
        return run

    yield start
    for stack in notebook_side._held.values():
        stack.close()
    notebook_side._held.clear()


def classes_of(images, places):
    return set(images.class_index[critics.exemplar_rows(images)[places]].tolist())


# --- who is judged on what --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", [None, "glyphs"])
@pytest.mark.parametrize("split", ["weak", "30-20", "45-5", "random-1200", "random-drawings"])
def test_nobody_is_judged_on_a_character_that_it_was_trained_on(source, split):
    images = data.characters(source)
    trained = set(images.class_index[images.split(split).train].tolist())
    places = plane.unseen(images, split)
    assert not classes_of(images, places) & trained
    everybody = np.arange(len(critics.exemplar_rows(images)))
    assert not classes_of(images, np.setdiff1d(everybody, places)) - trained  # and on all that it was not
    assert bool(classes_of(images, everybody) & trained) == (split != "weak")  # the fault: all of the weak split's
    if images.name == "omniglot":
        counts = {"weak": 150, "30-20": 60, "45-5": 15, "random-1200": 36, "random-drawings": 0}
        assert len(places) == counts[split]


@pytest.mark.parametrize("row", MODELS, ids=lambda row: row.key)
def test_a_row_says_what_its_weights_say(row, begin):
    run = begin()
    if row.model not in run.entries:
        assert plane.why_not(row.model) == f"{row.model} is not shipped."
        return
    name, reduction, split = plane.trained_on(row.model)
    assert row.preprocessing == plane.reduction_of(row) == ("28-area" if name == "mnist" else reduction)
    beside = ROWS[row.beside]
    assert beside.drawn_by == "people" and beside.preprocessing == row.preprocessing
    places = plane.asked(run, row)
    assert set(places) == {"weak" if name == "mnist" else split} and set(places) <= set(beside.splits)
    assert all(set(places) <= set(ROWS[key].splits) for key in tables.CONTROLS)


def test_a_model_of_every_character_is_not_judged(begin):
    run = begin(characters=None)
    why = plane.left_out()
    for name in ("omniglot28-st-additive-t20", "omniglot28-st-cgru-t20"):
        assert why[name] == f"{name} was trained on drawings of every character."
        assert not len(plane.unseen(run.dataset, plane.split_of(name)))
        row = replace(ROWS["omniglot28-vhe-pixelcnn"], model=name)
        assert plane.record(run, row, plane.critics(run)) == [] == run.records


def test_a_model_that_no_row_knows_is_named(begin):
    run = begin()
    before = plane.left_out()
    about = {"name": "omniglot", "reduction": "28-nearest", "split": "30-20"}
    run.entries["omniglot28-new"] = {"data": about, "does": ["draw_like", "classify"], "sha256": "0"}
    assert plane.left_out() == before | {"omniglot28-new": "omniglot28-new is shipped, and no row judges it."}
    assert not set(before) & set(plane.SHIPPED.values())
    del run.entries["omniglot26-meta"]
    assert plane.record(run, ROWS["omniglot26-meta"], plane.critics(run)) == []
    assert plane.left_out()["omniglot26-meta"] == "omniglot26-meta is not shipped."


# --- drawing ----------------------------------------------------------------------------------------------------------


def test_what_is_drawn_in_the_mirror_is_mirrored_back(begin, letters, monkeypatch):
    run, rows = begin(), critics.exemplar_rows(letters)[:3]
    row, model = ROWS["omniglot26-mirror-attention"], Copyist()
    model.mirror = True
    assert {row.model for row in MODELS if row.mirrored} == {name for name in run.entries if "mirror" in name}
    exemplars = torch.from_numpy(letters.grey("26-nearest")[rows] / 255).float()
    copied = judging.copies(exemplars, run.settings.drawings)
    assert torch.equal(plane.drawn_by_model(run, row, rows, model), copied)
    assert not torch.equal(plane.drawn_by_model(run, replace(row, mirrored=False), rows, model), copied)  # the fault


def test_drawings_are_in_the_exemplars_order(begin, letters, monkeypatch):
    run, rows = begin(), critics.exemplar_rows(letters)[:5]
    monkeypatch.setattr(plane, "BATCH", 8)  # two characters at a time
    made = plane.drawn_by_model(run, ROWS["omniglot26-conditional"], rows, Copyist())
    exemplars = torch.from_numpy(letters.grey("26-nearest")[rows] / 255).float()
    assert torch.equal(made, judging.copies(exemplars, 4))


def test_a_homoencoder_infers_c_from_the_exemplar_alone_and_anew():
    torch.manual_seed(0)
    model = PixelCNNHomoencoder(PixelCNNHomoencoderConfig(class_channels=1, element_latent=0, channels=2,
                                                          decoder_layers=1, pixelcnn_layers=1)).eval()
    seen = []
    model.sample_from = lambda c, generator: seen.append(c) or torch.zeros(len(c), 1, 28, 28)
    exemplars = (torch.rand(2, 28, 28) < 0.2).float()
    made = plane.drawings(model, exemplars, 300, torch.Generator().manual_seed(1))
    assert made.shape == (2, 300, 28, 28)
    c = seen[0].unflatten(0, (2, 300))
    for k in range(2):
        q = model.posterior(exemplars[k][None, None, None])
        error = (c[k].mean(0) - q.mean[0]) / (q.log_sigma[0].exp() / 300**0.5)
        assert error.abs().mean() < 1.2 and c[k].std(0).gt(0).all()  # a standard normal has 0.8
    other = (c[0].mean(0) - model.posterior(exemplars[1][None, None, None]).mean[0]).abs().mean()
    assert other > 0 and not torch.equal(exemplars[0], exemplars[1])


def test_the_first_steps_are_the_exemplars_and_the_rest_the_priors():
    torch.manual_seed(0)
    model = SequentialModel(SequentialConfig(image_size=8, steps=4, hidden=6, patch=3, posterior_hidden=5, latent=2))
    asked = []
    draw = model.draw
    model.draw = lambda z, generator: asked.append(z) or draw(z=z, generator=generator)
    x = (torch.rand(3, 8, 8) < 0.3).float()
    found = {}
    for share in (1.0, 0.5, 0.0):
        made = plane.drawings(model, x, 5, torch.Generator().manual_seed(3), share=share, mean=True)
        assert made.shape == (3, 5, 8, 8) and 0 < made.min() and made.max() < 1  # probabilities
        found[share] = asked.pop()
    z = model.infer(x[:, None].repeat_interleave(5, 0), torch.Generator().manual_seed(3)).z
    assert torch.equal(found[1.0], z)
    assert torch.equal(found[0.5][:, :2], z[:, :2]) and not (found[0.5][:, 2:] == z[:, 2:]).any()
    assert not (found[0.0] == z).any()
    sample = plane.drawings(model, x, 5, torch.Generator().manual_seed(3))
    assert set(sample.unique().tolist()) == {0.0, 1.0}
    for wrong in (dict(share=1.5), dict(exemplars=x[:, None])):
        with pytest.raises(ValueError, match="expected"):
            plane.drawings(model, **{"exemplars": x, "count": 2, "generator": torch.Generator()} | wrong)


def test_people_are_their_own_characters(letters):
    rows = critics.exemplar_rows(letters)
    classes = letters.class_index[rows]
    drawn = critics.people(letters, "28-nearest", classes[:3])
    assert torch.equal(drawn, torch.from_numpy(letters.grey("28-nearest")[:].reshape(-1, 20, 28, 28)[classes[:3]] / 255)
                       .float())  # fmt: skip
    for number in (1, 19):
        others = critics.exemplar_rows(letters, number)
        assert (letters.class_index[others] == classes).all() and not (others == rows).any()
    grey = critics.people(letters, "28-area", classes[:3], 4)
    binary = critics.people(letters, "28-area", classes[:3], 4, torch.Generator().manual_seed(0))
    assert set(binary.unique().tolist()) == {0.0, 1.0} and len(grey.unique()) > 2
    with pytest.raises(ValueError, match="count is 21; expected 1 to 20"):
        critics.people(letters, "28-area", classes, 21)


# --- a run ------------------------------------------------------------------------------------------------------------

FEW = ("people", "copies", "people-26-nearest", "people-28-area-binary", "omniglot26-conditional",
       "mnist-st-cgru-t30-half")


def everything(run):
    by = plane.critics(run)
    for row in run.rows:
        plane.record(run, row, by)
    return run


def plain(records):
    return [replace(r, created="") for r in records]


def test_a_run_leaves_two_records_a_row_and_set(begin, tmp_path):
    run = everything(begin(rows=FEW, exemplars=2))
    kept = records.read_run(tmp_path / "boutin-plane/records.json")
    assert len(kept) == len(run.records) == 2 * (4 + 4 + 2 + 2 + 1 + 1)
    by_row = {(r.row, r.metric, r.kind): r for r in kept}
    assert len(by_row) == len(kept) and {(r.metric, r.unit) for r in kept} == {("diversity", ""),
                                                                              ("recognizability", "%")}
    copies = [r for r in kept if r.row == ROWS["copies"].name]
    assert all(r.value == (0 if r.unit == "" else 100) for r in copies)
    model = by_row[ROWS["omniglot26-conditional"].name, "recognizability", "2 characters of 45-5"]
    assert model.weights == run.entries["omniglot26-conditional"]["sha256"] and model.n == len(model.series) == 2
    assert model.data["preprocessing"] == "26-nearest" and "critics critic-contr and critic-proto" in model.notes
    assert "2 exemplars" in model.notes and (model.paper_value, model.floor) == (None, None)
    half = by_row[ROWS["mnist-st-cgru-t30-half"].name, "diversity", "2 characters"]
    assert "50% of the steps from the exemplar, sample" in half.notes


def test_a_run_that_was_stopped_goes_on_to_the_same_records(begin, monkeypatch, tmp_path):
    whole = everything(begin(rows=FEW))
    with monkeypatch.context() as patch:
        patch.setattr(plane, "drawn", lambda *_: pytest.fail("drawn again"))
        again = everything(begin(rows=FEW, minutes=1e-9))  # no time, and none is needed
    assert plain(again.records) == plain(whole.records)
    for file in [*(tmp_path / "boutin-plane").glob("*/exemplar1.npz")][2:]:
        file.unlink()
    with pytest.raises(TimeSpent, match="the same command goes on"):
        everything(begin(rows=FEW, minutes=1e-9))
    assert plain(everything(begin(rows=FEW)).records) == plain(whole.records)
    whole.entries["critic-prototypical"]["sha256"] = "another"
    with monkeypatch.context() as patch, pytest.raises(pytest.fail.Exception, match="drawn again"):
        patch.setattr(plane, "drawn", lambda *_: pytest.fail("drawn again"))  # another critic: judged anew
        everything(begin(rows=FEW))


def test_the_papers_values_are_of_its_own_characters():
    assert ROWS["people"].printed_value("diversity", "150 characters") == 1.311
    assert ROWS["people"].printed_value("diversity", "60 characters of 30-20") is None
    assert ROWS["people-28-nearest"].printed_value("recognizability", "150 characters") == 90.1
    assert ROWS["people-28-area-binary"].printed_value("recognizability", "150 characters") is None
    assert plane.kind("weak", 150) == tables.ALL


def test_the_critics_of_a_run_can_be_taken(begin, tmp_path):
    run = begin("boutin-critics", channels=2)
    trained = {row.key: critics.trained(run, row) for row in run.rows}
    for row in run.rows:
        critics.record_controls(run, row, trained[row.key])
    found = {r.metric: r for r in run.records if r.metric != "training loss"}
    assert len(found) == 4 + 4 + 3 and {r.kind for r in found.values()} == {"10 characters"}
    assert found["diversity of exact copies"].value < 1e-5
    assert {r.weights for r in found.values()} == set(
        weights.sha256(run.reports[network].weights) for network in tables.CRITIC_NAMES)  # fmt: skip
    judge = begin(rows=("copies",), critics="boutin-critics")
    by = plane.critics(judge)
    x = torch.rand(2, 1, 50, 50)
    for network in tables.CRITIC_NAMES:
        assert torch.allclose(getattr(by, network).embed(x), trained[network].embed(x), atol=1e-5)
    assert by.hashes == tuple(weights.sha256(run.reports[network].weights) for network in tables.CRITIC_NAMES)
    judge.settings = replace(judge.settings, critics="nowhere")
    with pytest.raises(ValueError, match="critics is 'nowhere'; expected shipped or the folder"):
        plane.critics(judge)


# --- the figure -------------------------------------------------------------------------------------------------------


def test_a_model_stands_beside_people_of_the_same_characters_and_pixels(begin):
    import matplotlib.pyplot as plt

    run = everything(begin(rows=FEW))
    sets = plane.placed(run.records)
    for characters, points in sets.items():
        assert {p.kind for p in points} == {characters}
        for point in points:
            if point.row.model:
                mark = plane.beside(point, points)
                assert mark.kind == characters and mark.row.preprocessing == point.row.preprocessing
    figure = plane_figure.plane(sets, plane_figure.claim(sets))
    shown = {name: points for name, points in sets.items() if any(p.row.model for p in points)}
    assert [axes.get_title("left") for axes in figure.axes] == list(shown) and len(shown) == 2
    assert [len(axes.containers) for axes in figure.axes] == [len(points) for points in shown.values()]
    plt.close(figure)
    assert plane.to_markdown(sets).count("| who |") == len(sets)
    mark = next(p for points in sets.values() for p in points if p.row.key == "people")
    assert plane.as_people_are(mark, mark)
    far = mark._replace(recognizability=replace(mark.recognizability, value=-900.0))
    assert not plane.as_people_are(far, mark)  # as diverse, and that says nothing
    strips = [plane.sheet(run, row, plane.critics(run), 4) for row in run.rows]
    assert {strip.shape for strip in strips} == {(5, 50, 50)}
    assert torch.equal(strips[1][0], strips[1][1])  # the copyist's first drawing is the exemplar before it
    plane_figure.strips(run.rows, strips)
    plt.close("all")


# --- settings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [{"characters": 0}, {"drawings": "1"}, {"tests": 0}, {"ways": 1}, {"exemplars": 21}])
def test_settings_that_cannot_be_are_refused(wrong):
    with pytest.raises(ValueError, match="expected"):
        EXPERIMENTS["boutin-plane"].settings("quick", wrong)


def test_where_numbers_count_the_protocol_is_kept():
    for preset in ("laptop", "full"):
        s = EXPERIMENTS["boutin-plane"].presets[preset]
        assert (s.drawings, s.tests, s.ways, s.characters, s.critics) == (20, 500, 20, None, "shipped")
        assert set(s.rows) == set(ROWS)
