"""Training and measuring models over sets: who pays what for c, what is drawn when, and what a run keeps."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from oneshot_lib import data, experiments, weights
from oneshot_lib.distributions import DiagonalGaussian
from oneshot_lib.evaluation import joint_likelihood
from oneshot_lib.experiments.hewitt import sets
from oneshot_lib.experiments.hewitt.tables import SetSettings
from oneshot_lib.models.families_1d import FamilyConfig, FamilyHomoencoder
from oneshot_lib.models.homoencoder import PixelCNNHomoencoder, PixelCNNHomoencoderConfig
from oneshot_lib.objectives import SET_OBJECTIVES, SetBound
from oneshot_lib.runs import records
from oneshot_lib.runs.experiment import Experiment

GROUPS, ELEMENTS, SIZE = 3, 2, 400


class Source:
    """Batches of blank drawings; `asked` are the sizes of D and where x came from."""

    def __init__(self):
        self.asked = []

    def minibatch(self, batch_size, support_size, generator, x_from="class", sets="all", elements=1):
        self.asked.append((support_size, x_from, sets))
        x = torch.rand(batch_size * elements, 1, 4, 4, generator=generator)
        support = torch.rand(batch_size, support_size, 1, 4, 4, generator=generator)
        return SimpleNamespace(x=x, support=support, set_size=torch.full((batch_size,), SIZE))


class Priced:
    """Its terms are known numbers; `seen` is how many elements of D its encoder was shown."""

    def __init__(self):
        self.seen = []

    def terms(self, x, support, set_size, generator=None, rescale=True):
        self.seen.append(support.shape[1])
        n = len(x)
        size = torch.full((n,), float(SIZE if rescale else support.shape[1]))
        return SetBound(torch.full((n,), -100.0), torch.full((n,), 8.0), torch.full((n,), 300.0), size)


def settings(**changes):
    return SetSettings(rows=(), **{"batch_groups": GROUPS, "elements": ELEMENTS, "products": "float32"} | changes)


def values(name, steps=1, model=None, source=None, **changes):
    maximised = sets.objective(source or Source(), name, settings(**changes))
    model = model or Priced()
    return [maximised(model, step, torch.Generator().manual_seed(step)) for step in range(steps)]


# --- the objective --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "divided_by"), [("vhe", 400), ("rescale", 400), ("neural-statistician", 5),
                                                  ("resample", 5)])  # fmt: skip
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_c_is_paid_for_by_the_class_or_by_the_support(name, divided_by, dropout):
    source, model = Source(), Priced()
    for value in values(name, 20, model, source, sample_dropout=dropout):
        assert value.shape == (GROUPS * ELEMENTS,)
        assert value.tolist() == pytest.approx([-108 - 300 / divided_by] * len(value))
    assert set(source.asked) == {(5, SET_OBJECTIVES[name].x_from, "all")}
    # what dropout hides from the encoder is paid for all the same; divided by what is seen, the price would move
    assert (min(model.seen) < 5) == (dropout > 0)


def test_the_price_of_the_latents_rises_over_the_annealing():
    found = [v[0].item() for v in values("vhe", 6, kl_annealing=4)]
    price = 8 + 300 / 400
    assert found == pytest.approx([-100 - price * w for w in (0.25, 0.5, 0.75, 1, 1, 1)])


def test_the_size_of_the_support_is_drawn_anew_for_every_step():
    source = Source()
    values("vhe", 60, source=source, smallest_support=1, sets="drawings")
    assert {size for size, _, _ in source.asked} == {1, 2, 3, 4, 5}
    assert {kind for _, _, kind in source.asked} == {"drawings"}
    again = Source()
    values("vhe", 60, source=again, smallest_support=1, sets="drawings")
    assert again.asked == source.asked  # from the generator alone


def test_an_unknown_objective_is_refused():
    with pytest.raises(ValueError, match="did you mean 'resample'"):
        sets.objective(Source(), "resampel", settings())


def test_sample_dropout_leaves_each_element_out_as_often_and_one_in():
    generator = torch.Generator().manual_seed(1)
    places = [sets.kept(4, 0.3, generator).tolist() for _ in range(4000)]
    shares = [sum(k in seen for seen in places) / 4000 for k in range(4)]
    expected = 0.7 + 0.3**4 / 4  # the last one of all that would be left out stays, whichever it is
    assert all(abs(share - expected) < 4 * math.sqrt(0.21 / 4000) for share in shares)
    assert all(len(sets.kept(3, 0.999, generator)) == 1 for _ in range(50))


# --- joint likelihood -----------------------------------------------------------------------------------------


def family(seed=0):
    model = FamilyHomoencoder(FamilyConfig("gaussian"), torch.Generator().manual_seed(seed)).double()
    model.encoder.bias.data += torch.tensor([0.6, -0.7])  # q is not the prior
    c = torch.full((6, model.family.latent), 0.4, dtype=torch.float64)
    x = model.sample_from(c, torch.Generator().manual_seed(1))
    return model, x.double()


def test_the_joint_likelihood_is_that_of_the_integral():
    model, x = family()
    exact = model.log_marginal(x[None]).item() / len(x)
    generator = torch.Generator().manual_seed(2)
    found = joint_likelihood(model, x, outer=40_000, inner=1, generator=generator, batch=6_000)
    assert found == pytest.approx(exact, abs=2e-3)
    with torch.no_grad():  # the fault: no price for c
        q = model.posterior(x[None])
        c = q.sample(torch.randn(40_000, q.mean.shape[1], generator=generator, dtype=torch.float64))
        free = model.element_log_weights(x.repeat(40_000), c.repeat_interleave(len(x), 0))[0].view(-1, len(x)).sum(1)
        assert abs((free.logsumexp(0).item() - math.log(40_000)) / len(x) - exact) > 0.01


def test_the_joint_likelihood_lies_between_the_bound_and_the_truth():
    model, x = family(3)
    exact, generator = model.log_marginal(x[None]).item() / len(x), torch.Generator().manual_seed(4)
    means = []
    for outer in (1, 8):
        found = np.array([joint_likelihood(model, x, outer, 1, generator=generator) for _ in range(500)])
        means.append(found.mean())
        assert found.mean() < exact + 4 * found.std() / 500**0.5
    assert means[0] < means[1]


def test_one_draw_of_the_joint_likelihood_is_the_bound_with_d_x():
    """log p(c) of a prior that is a network: its mean under q is that of the divergence."""
    torch.manual_seed(0)
    model = PixelCNNHomoencoder(PixelCNNHomoencoderConfig(image_size=8, class_channels=2, channels=4,
                                                          element_latent=0)).double().eval()  # fmt: skip
    for p in model.prior.parameters():
        p.data.mul_(3)  # far from a standard normal
    x, generator = (torch.rand(3, 1, 8, 8).double() > 0.7).double(), torch.Generator().manual_seed(1)
    with torch.no_grad():
        q = model.posterior(x[None])
        q = DiagonalGaussian(q.mean.expand(400, -1), q.log_sigma.expand(400, -1))
        c = q.sample(torch.randn(q.mean.shape, generator=generator, dtype=torch.float64))
        kl, ratio = model.class_kl(q, c), q.log_prob(c) - model.class_prior(c).log_prob(c)
        difference = kl - ratio
        assert abs(difference.mean()) < 4 * difference.std() / 400**0.5
        standard = kl - (q.log_prob(c) - DiagonalGaussian(0 * c, 0 * c).log_prob(c))
        assert abs(standard.mean()) > 4 * standard.std() / 400**0.5  # the fault: another prior
    one = np.array([joint_likelihood(model, x, 1, 1, generator=generator) for _ in range(200)])
    size = torch.tensor([3])
    with torch.no_grad():
        bound = torch.stack([model.terms(x, x[None], size, generator).bound.mean() for _ in range(200)]).numpy()
    error = (one.var() / 200 + bound.var() / 200) ** 0.5
    assert abs(one.mean() - bound.mean()) < 4 * error


@pytest.mark.parametrize("wrong", [{"outer": 0}, {"inner": 0}, {"elements": torch.zeros(0)}])
def test_a_joint_likelihood_of_nothing_is_refused(wrong):
    given = {"elements": torch.zeros(2), "outer": 1, "inner": 1} | wrong
    with pytest.raises(ValueError, match="expected at least 1 of each"):
        joint_likelihood(family()[0], generator=torch.Generator(), **given)


# --- a run ----------------------------------------------------------------------------------------------------


def tiny():
    return PixelCNNHomoencoder(PixelCNNHomoencoderConfig(class_channels=1, channels=2, element_latent=2,
                                                         decoder_layers=1, pixelcnn_layers=1))  # fmt: skip


@pytest.fixture
def begin(tmp_path, monkeypatch):
    """`begin(name, **overrides)` starts a run of a few steps with a tiny network on Glyphs."""
    from oneshot_lib.runs import run as notebook_side

    letters = data.characters("glyphs")
    monkeypatch.setattr(Experiment, "open_data", lambda self: letters)
    monkeypatch.setitem(sets.CLASSES, "pixelcnn", tiny)
    monkeypatch.setitem(sets.CLASSES, "deconvolutional", tiny)

    def start(name="hewitt-table1", minutes=None, **overrides):
        return experiments.start(name, out=str(tmp_path / name), overrides=overrides, minutes=minutes)

    yield start
    for stack in notebook_side._held.values():
        stack.close()
    notebook_side._held.clear()


def test_a_model_of_table_1_leaves_its_records_and_its_curves(begin, tmp_path):
    run = begin(rows="pixelcnn-resample,pixelcnn-vhe")
    for row in run.rows:
        model = sets.trained(run, row)
        sets.record_accuracy(run, row, model, shots=5)
        sets.record_kl(run, row, model)
    kept = {(r.row, r.metric): r for r in records.read_run(tmp_path / "hewitt-table1/records.json")}
    assert len(kept) == 10
    kl = kept["PixelCNN, VHE", "train KL of c"]
    assert (kl.value > 0, kl.unit, kl.paper_value, kl.floor) == (True, "nats", 268.37, None)
    accuracy = kept["PixelCNN, VHE", "test accuracy, 5-shot 3-way"]
    assert accuracy.unit == "%" and accuracy.value in (0, pytest.approx(100 / 3), pytest.approx(200 / 3), 100)
    assert accuracy.paper_value is None  # the paper's has 20 ways
    assert kept["PixelCNN, VHE", "train NLL"].kind == "running bound"
    assert kept["PixelCNN, resample", "train NLL"].kind == "running mean"  # it bounds nothing
    curve = kept["PixelCNN, VHE", "KL while training"]
    assert curve.item == "failure-curves" and len(curve.series) == 3 and curve.series[-1][1] == pytest.approx(
        curve.value, abs=1e-3)  # fmt: skip
    assert [m for m, _ in curve.series] == sorted(m for m, _ in curve.series)
    assert kept["PixelCNN, VHE", "accuracy while training"].unit == "%"


def test_what_was_done_before_is_not_done_again(begin, monkeypatch):
    run = begin(rows="pixelcnn-vhe")
    (row,) = run.rows
    first = sets.record_accuracy(run, row, sets.trained(run, row), shots=5)
    again = begin(rows="pixelcnn-vhe")
    monkeypatch.setattr(sets, "accuracy", lambda *_, **__: pytest.fail("measured again"))
    monkeypatch.setattr(sets, "objective", lambda *_: lambda *_: pytest.fail("trained again"))
    assert sets.record_accuracy(again, row, sets.trained(again, row), shots=5) == first
    assert again.records[-1] == first
    stale = replace(first, weights="0" * 64)
    records.write_records(run.out / "records.json", [stale])  # other weights: what was measured then says nothing now
    monkeypatch.setattr(sets, "accuracy", lambda *_, **__: SimpleNamespace(value=1.0, error=math.nan, n=1))
    assert sets.record_accuracy(again, row, sets.trained(again, row), shots=5).value == 1.0


def test_the_best_of_several_trainings_is_that_of_the_best_objective(begin, monkeypatch):
    run = begin(rows="pixelcnn-vhe", runs=3, probes=0)
    (row,) = run.rows
    seeds = []
    monkeypatch.setitem(sets.CLASSES, "pixelcnn", lambda: seeds.append(torch.initial_seed()) or tiny())
    model = sets.trained(run, row)
    (record,) = [r for r in run.records if r.metric == "train NLL"]
    assert len(set(seeds)) == 3 and record.value == pytest.approx(min(record.series), abs=1e-4)
    assert len(record.series) == 3 and "best of 3 trainings" in record.notes
    best = run.out / "pixelcnn-vhe" / f"run{1 + record.series.index(min(record.series))}" / "weights.safetensors"
    assert weights.sha256(best) == record.weights == weights.sha256(run.reports[row.key].weights)
    from safetensors.torch import load_file

    assert all(torch.equal(v, model.state_dict()[k]) for k, v in load_file(best).items())


def test_the_second_row_of_table_2_goes_on_from_the_first(begin, monkeypatch):
    run = begin("hewitt-table2", learning_rate=1e-12, nearest_steps=1, area_steps=1)
    nearest, area = (sets.trained(run, row) for row in run.rows)
    for (name, a), b in zip(nearest.named_parameters(), area.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-9), name
    other = tiny()  # the fault: from nothing, weights are others
    assert not all(torch.allclose(a, b) for a, b in zip(nearest.parameters(), other.parameters(), strict=True))
    row = run.rows[1]
    bound, weighted = sets.record_joint(run, row, area)
    assert (bound.item, bound.kind, bound.paper_value) == ("table3", "bound", 61.22)
    assert (weighted.kind, weighted.k, weighted.n) == ("iw", 2, 2)
    assert bound.data["preprocessing"] == "28-area" and bound.floor > 0 and bound.value > bound.floor
    assert "trained on from vhe-nearest" in bound.notes
    assert run.records[0].data["preprocessing"] == "28-nearest" and run.records[0].floor == 0


def test_start_from_names_what_is_there():
    settings = experiments.experiment("hewitt-table2").settings
    with pytest.raises(ValueError, match="start_from is 'vhe-nearest'; expected a row that is trained before"):
        settings("quick", {"rows": "vhe-area"})
    assert settings("quick", {"rows": "vhe-area", "start_from": "none"}).start_from is None
    assert settings("quick", {"rows": "vhe-nearest"}).rows == ("vhe-nearest",)


def test_whole_classes_are_whole_and_of_the_test_characters(begin):
    run = begin("hewitt-table2")
    row = run.rows[0]
    found = list(sets.whole_classes(run, row, 4))
    assert len(found) == 4 and all(x.shape == (20, 1, 28, 28) for x in found)
    assert {x.unique().tolist() == [0, 1] for x in found} == {True}
    binary = run.dataset.grey("28-nearest")[run.split.test] > 0
    known = {drawing.tobytes() for drawing in binary}
    assert all((image[0] > 0).numpy().tobytes() in known for x in found for image in x)


def test_cues_and_drawings_have_their_shapes(begin):
    run = begin()
    support = sets.cues(run, run.rows[0], 2, shots=5)
    assert support.shape == (2, 5, 1, 28, 28)
    torch.manual_seed(0)
    made = tiny().draw_like(support, 3, generator=torch.Generator().manual_seed(0))
    assert made.shape == (2, 3, 1, 28, 28) and set(made.unique().tolist()) <= {0.0, 1.0}




# --- weights of every class -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "config"), [
    ("SequentialModel", {"steps": 2, "hidden": 8, "posterior_hidden": 8}),
    ("PixelCNNHomoencoder", {"channels": 2, "decoder_layers": 1}),
    ("DeconvolutionalHomoencoder", {"class_latent": 4, "width": 8}),
    ("FamilyHomoencoder", {"family": "gaussian"}),
])  # fmt: skip
def test_weights_of_every_class_are_loaded(kind, config, tmp_path, monkeypatch):
    import json

    from safetensors.torch import save_file

    torch.manual_seed(0)
    model = weights.build(kind, config)
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, tmp_path / "a.safetensors")
    entry = {"model": kind, "config": config, "sha256": weights.sha256(tmp_path / "a.safetensors")}
    (tmp_path / "manifest.json").write_text(json.dumps({"a": entry}))
    monkeypatch.setattr(weights, "FOLDER", tmp_path)
    loaded = weights.load("a")
    assert type(loaded).__name__ == kind and not loaded.training
    assert all(torch.equal(v, loaded.state_dict()[k]) for k, v in model.state_dict().items())


def test_weights_of_no_known_class_are_refused():
    with pytest.raises(ValueError, match="model is 'Oracle'; expected one of AttentionPixelCNN, .*SequentialModel"):
        weights.build("Oracle", {})
