"""Few-shot models, trained and measured: what is asked of them, what is printed of it, and what a run keeps."""

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from oneshot_lib import data, experiments
from oneshot_lib.experiments import EXPERIMENTS
from oneshot_lib.experiments.reed import few_shot, tables
from oneshot_lib.models.attention_pixelcnn import Reading
from oneshot_lib.models.few_shot import FewShotPixelCNN
from oneshot_lib.runs import records
from oneshot_lib.runs.experiment import Experiment
from oneshot_lib.training import Diverged

PIXELS = 26 * 26


@pytest.fixture(scope="module")
def letters():
    return data.characters("glyphs")


@pytest.fixture
def begin(tmp_path, monkeypatch, letters):
    """`begin(name, **overrides)` starts a quick run, of two steps, on Glyphs."""
    from oneshot_lib.runs import run as notebook_side

    monkeypatch.setattr(Experiment, "open_data", lambda self: letters)

    def start(name="reed-omniglot", minutes=None, **overrides):
        small = {"channels": 4, "layers": 2, "shots": (1,) if name == "reed-inversion" else (1, 2)}
        return experiments.start(name, out=str(tmp_path / name), overrides=small | overrides, minutes=minutes)

    yield start
    for stack in notebook_side._held.values():
        stack.close()
    notebook_side._held.clear()


def pictures(images):
    """The bytes of each drawing (N, 1, S, S)."""
    return [image.numpy().tobytes() for image in images]


# --- what is asked ----------------------------------------------------------------------------------------------------


def marked(size=4):
    """Two characters with five drawings each, the drawing's own number written into it as a pattern of bits."""
    grey = torch.zeros(10, size, size, dtype=torch.uint8)
    for number in range(10):
        for bit in range(4):
            grey[number, 0, bit] = 255 * (number + 1 >> bit & 1)
    return SimpleNamespace(grey=lambda name: grey.numpy(), class_index=torch.arange(10).numpy() // 5)


def numbers(images):
    """Which drawings of `marked` these are."""
    return (images[:, 0, 0, :4] * torch.tensor([1, 2, 4, 8])).sum(-1).int() - 1


@pytest.mark.parametrize(("shots", "targets"), [(1, 1), (2, 3), (4, 1)])
def test_a_target_is_another_drawing_of_the_same_character(shots, targets):
    tasks = few_shot.Tasks(marked(), "any", torch.arange(10).numpy())
    for seed in range(20):
        x, support = tasks.minibatch(3, shots, targets, torch.Generator().manual_seed(seed))
        assert x.shape == (3 * targets, 1, 4, 4) and support.shape == (3, shots, 1, 4, 4)
        for k in range(3):
            asked, given = set(numbers(x[k * targets:(k + 1) * targets]).tolist()), set(numbers(support[k]).tolist())
            assert len(asked) == targets and len(given) == shots and not asked & given
            assert len({n // 5 for n in asked | given}) == 1


def test_more_drawings_than_a_character_has_are_refused():
    tasks = few_shot.Tasks(marked(), "any", torch.arange(10).numpy())
    with pytest.raises(ValueError, match="support_size: expected 1 to 5"):
        tasks.minibatch(1, 4, 2, torch.Generator())


def test_the_mirrors_target_is_its_support_the_other_way_round():
    tasks = few_shot.Tasks(marked(), "any", torch.arange(10).numpy(), mirror=True)
    x, support = tasks.minibatch(6, 1, 1, torch.Generator().manual_seed(0))
    assert support.shape == (6, 1, 1, 4, 4) and torch.equal(x.flip(-1), support[:, 0])
    assert not torch.equal(x, support[:, 0])  # the fault: a copy


def test_training_draws_every_number_of_shots_by_its_share():
    asked = []

    class Model(nn.Module):
        def log_prob(self, x, support):
            asked.append(support.shape[1])
            return torch.zeros(len(x))

    settings = tables.FewShotSettings(rows=(), shots=(1, 3), shares=(0.75, 0.25), batch_groups=1, elements=1,
                                    meta_elements=1)
    maximised = few_shot.objective(few_shot.Tasks(marked(), "any", torch.arange(10).numpy()), settings)
    for step in range(400):
        maximised(Model(), step, torch.Generator().manual_seed(step))
    assert set(asked) == {1, 3} and abs(asked.count(1) / 400 - 0.75) < 4 * math.sqrt(0.75 * 0.25 / 400)
    again = list(asked)
    asked.clear()
    for step in range(400):
        maximised(Model(), step, torch.Generator().manual_seed(step))
    assert asked == again  # from the generator alone


@pytest.mark.parametrize(("targets", "sets"), [(None, 4), (4, 2), (8, 1)])
def test_a_step_has_as_many_targets_whatever_a_set_serves(targets, sets):
    seen = []

    class Model(nn.Module):
        def log_prob(self, x, support):
            seen.append((len(x), len(support)))
            return torch.zeros(len(x))

    settings = tables.FewShotSettings(rows=(), shots=(1,), shares=(1.0,), batch_groups=4, elements=2)
    tasks = few_shot.Tasks(SimpleNamespace(grey=lambda name: torch.zeros(40, 2, 2, dtype=torch.uint8).numpy(),
                                           class_index=torch.arange(40).numpy() // 20), "any",
                           torch.arange(40).numpy())  # fmt: skip
    few_shot.objective(tasks, settings, targets=targets)(Model(), 0, torch.Generator().manual_seed(0))
    assert seen == [(8, sets)]
    meta, other = (next(row for row in EXPERIMENTS["reed-omniglot"].rows if row.key == key)
                   for key in ("meta", "attention"))  # fmt: skip
    assert (settings.targets_of(meta), settings.targets_of(other)) == (8, 2)


def test_the_test_asks_every_model_the_same_and_holds_no_target_in_its_support(begin):
    run = begin(supports=2, targets=10, test_classes=3)
    first, second = ([(x, s) for x, s in few_shot.test_tasks(run, row, 2)] for row in run.rows[:2])
    assert len(first) == 3
    for (x, support), (y, other) in zip(first, second, strict=True):
        assert x.shape == (20, 1, 26, 26) and support.shape == (2, 2, 1, 26, 26)
        assert torch.equal(x, y) and torch.equal(support, other)
        for k in range(2):
            assert not set(pictures(x[10 * k:10 * k + 10])) & set(pictures(support[k]))
    assert not torch.equal(first[0][1][0], first[0][1][1])  # two random supports, not one twice


def test_all_numbers_of_shots_have_the_same_targets(begin):
    run = begin(test_classes=2, targets=10)
    for (one, _), (ten, support) in zip(few_shot.test_tasks(run, run.rows[0], 1),
                                        few_shot.test_tasks(run, run.rows[0], 10), strict=True):  # fmt: skip
        assert torch.equal(one, ten) and support.shape[1] == 10
    (x, support), *_ = few_shot.test_tasks(run, run.rows[0], 15)
    assert len(x) == 5 and not set(pictures(x)) & set(pictures(support[0]))  # as many as are left


def test_a_support_of_all_drawings_leaves_nothing_to_ask(begin):
    run = begin()
    with pytest.raises(ValueError, match="shots is 20; expected 1 to 19, a character has 20 drawings"):
        next(few_shot.test_tasks(run, run.rows[0], 20))
    with pytest.raises(ValueError, match="shots is 0"):
        next(few_shot.test_tasks(run, run.rows[0], 0))


def test_another_seed_asks_with_other_supports(begin):
    run = begin()
    other = SimpleNamespace(**vars(run) | {"seed": 1})
    (_, a), *_ = few_shot.test_tasks(run, run.rows[0], 2)
    (_, b), *_ = few_shot.test_tasks(other, run.rows[0], 2)
    assert not torch.equal(a, b)


def test_in_the_mirror_every_drawing_is_the_support_of_its_mirror_image(begin):
    run = begin("reed-inversion")
    x, support = next(few_shot.test_tasks(run, run.rows[0], 1))
    assert x.shape == (20, 1, 26, 26) and torch.equal(x, support[:, 0].flip(-1))


def test_cues_are_one_question_of_each_character(begin):
    run = begin()
    x, support = few_shot.cues(run, run.rows[0], count=3, shots=2)
    assert x.shape == (3, 1, 26, 26) and support.shape == (3, 2, 1, 26, 26)


# --- what is printed --------------------------------------------------------------------------------------------------


class Counts(nn.Module):
    """Its log p(x | s) is known: minus the ink of x, minus half of the support's."""

    image_size = 26

    def log_prob(self, x, support):
        each = len(x) // len(support)
        return -x.flatten(1).sum(1) - support.flatten(1).sum(1).repeat_interleave(each) / 2


@pytest.mark.parametrize("shots", [1, 2])
def test_the_nll_is_the_models_own_in_nats_per_pixel(begin, shots):
    run = begin(test_classes=3, targets=4, supports=2)
    found = few_shot.nll(run, run.rows[0], Counts(), shots)
    ink = []
    for x, support in few_shot.test_tasks(run, run.rows[0], shots):
        ink.append(x.sum() / len(x) / PIXELS + support.sum() / 2 / len(support) / PIXELS)
    ink = torch.stack(ink).double()
    assert found.value == pytest.approx(float(ink.mean()), rel=1e-6)
    assert found.n == 3 * 2 * 4
    assert found.error == pytest.approx(float(ink.std() / 3**0.5), rel=1e-5)  # over characters, not over drawings


def reading(columns, size=5, elements=1):
    """Attention (1, 1, H, W, N, H, W) whose pixel (i, j) reads column `columns(j)` of any row and element."""
    weights = torch.zeros(1, 1, size, size, elements, size, size)
    for j in range(size):
        weights[:, :, :, j, :, :, columns(j)] = 1 / (elements * size)
    return weights


def test_a_head_in_the_mirror_gives_minus_one_and_a_straight_one_plus_one():
    x = torch.eye(5)
    assert few_shot.correlation_of_columns(reading(lambda j: 4 - j), x).item() == pytest.approx(-1)
    assert few_shot.correlation_of_columns(reading(lambda j: j, elements=3), x).item() == pytest.approx(1)
    read = few_shot.columns_read(reading(lambda j: 4 - j))
    assert read.shape == (5, 5) and read[0].tolist() == pytest.approx([4, 3, 2, 1, 0])


def test_a_head_that_stays_has_no_direction_whatever_its_rounding():
    x = torch.eye(5)
    assert few_shot.correlation_of_columns(reading(lambda j: 2), x) == 0
    uniform = torch.full((1, 1, 5, 5, 1, 5, 5), 1 / 25) + 1e-7 * torch.rand(
        1, 1, 5, 5, 1, 5, 5, generator=torch.Generator().manual_seed(0))  # fmt: skip
    assert few_shot.correlation_of_columns(uniform, x) == 0


def test_only_pixels_with_ink_count():
    weights = reading(lambda j: 4 - j)
    weights[:, :, 1:] = reading(lambda j: j)[:, :, 1:]  # below the first row it goes straight
    x = torch.zeros(5, 5)
    x[0] = 1
    assert few_shot.correlation_of_columns(weights, x).item() == pytest.approx(-1)


@pytest.mark.parametrize("ink", [[], [(0, 0), (1, 3)], [(0, 2), (1, 2), (2, 2), (3, 2)]])
def test_too_little_ink_tells_nothing(ink):
    x = torch.zeros(5, 5)
    for place in ink:
        x[place] = 1
    assert few_shot.correlation_of_columns(reading(lambda j: 4 - j), x).isnan()


def test_the_last_read_and_all_heads_count():
    mirror, straight = reading(lambda j: 4 - j), reading(lambda j: j)
    x = torch.eye(5)
    assert few_shot.correlation_of_columns(torch.cat([straight, mirror]), x).item() == pytest.approx(-1)
    both = torch.cat([mirror, straight], 1)  # two heads that cross: the mean column stays in the middle
    assert few_shot.correlation_of_columns(both, x) == 0


def test_the_correlation_is_a_mean_over_characters(begin, monkeypatch):
    run = begin("reed-inversion", columns=4)
    row = next(row for row in run.rows if row.network == "attention")
    model = few_shot.network(run, row).eval()
    seen = []

    def read(x, support):
        seen.append((x, support))
        way = (lambda j: 25 - j) if len(seen) % 2 else (lambda j: j)
        return Reading(reading(way, size=26)[None], x[:, 0])

    monkeypatch.setattr(model, "read", read)
    found = few_shot.column_correlation(run, row, model)
    assert (found.n, found.value) == (4, pytest.approx(0, abs=1e-12)) and found.error == pytest.approx(3**-0.5)
    assert all(torch.equal(x, support[:, 0].flip(-1)) for x, support in seen)
    monkeypatch.setattr(few_shot, "correlation_of_columns", lambda *_: torch.tensor(math.nan))
    blank = few_shot.column_correlation(run, row, model)
    assert math.isnan(blank.value) and blank.n == 0


# --- a run ------------------------------------------------------------------------------------------------------------


def everything(run):
    """What the notebooks do: train every row, then measure what its experiment measures."""
    for row in run.rows:
        model = few_shot.trained(run, row)
        assert isinstance(model, FewShotPixelCNN) and model.product_dtype == torch.float32
        if run.experiment.item == "classification":
            few_shot.record_accuracy(run, row, model, shots=1, within=True)
            continue
        for shots in run.settings.shots:
            few_shot.record_nll(run, row, model, shots)
        if run.settings.mirror and row.network == "attention":
            few_shot.record_columns(run, row, model)
    return run


def test_the_four_models_leave_their_records(begin, tmp_path):
    run = everything(begin())
    kept = records.read_run(tmp_path / "reed-omniglot/records.json")
    assert [row.key for row in run.rows] == list(tables.NETWORKS) and len(kept) == 4 * 3
    for r in kept:
        assert (r.unit, r.floor, r.paper_value, len(r.weights)) == ("nats/dim", 0, None, 64)
        assert (r.data["preprocessing"], r.data["split"]) == ("26-nearest", "45-5") and r.value > 0
    tests = {(r.row, r.metric): r for r in kept if r.kind == "exact"}
    assert tests["Unconditional", "test NLL, 1-shot"].value == tests["Unconditional", "test NLL, 2-shot"].value
    assert {r.n for r in tests.values()} == {2 * 10}
    assert {r.kind for r in kept if r.metric == "train NLL"} == {"running mean"}


def test_the_mirror_stands_beside_the_slides(begin, tmp_path):
    everything(begin("reed-inversion"))
    kept = {(r.row, r.metric): r for r in records.read_run(tmp_path / "reed-inversion/records.json")}
    assert len(kept) == 3 * 2 + 1
    for row, published in (("Conditional", 2.65), ("Attention", 0.9), ("Meta", None)):
        r = kept[row, "test NLL, 1-shot"]
        assert (r.unit, r.paper_value, r.n) == ("nats/dim", published, 2 * 20) and "ImageNet at 48x48" in r.notes
        assert kept[row, "train NLL"].paper_value is None
    columns = kept["Attention", "column correlation"]
    assert (columns.unit, columns.floor, columns.n) == ("", None, 4) and -1 <= columns.value <= 1


def test_classification_leaves_its_records(begin, tmp_path):
    everything(begin("reed-classification"))
    kept = [r for r in records.read_run(tmp_path / "reed-classification/records.json") if r.unit == "%"]
    assert [r.row for r in kept] == ["Attention", "Conditional", "Meta"]
    assert {(r.metric, r.kind) for r in kept} == {("test accuracy, 1-shot 3-way", "within one alphabet")}
    assert all(r.value in (0, pytest.approx(100 / 3), pytest.approx(200 / 3), 100) for r in kept)
    assert {(r.floor, r.data["split"]) for r in kept} == {(None, "30-20")}


def test_what_was_done_before_is_not_done_again(begin, monkeypatch):
    first = everything(begin("reed-inversion"))
    monkeypatch.setattr(few_shot, "nll", lambda *_: pytest.fail("measured again"))
    monkeypatch.setattr(few_shot, "column_correlation", lambda *_: pytest.fail("measured again"))
    monkeypatch.setattr(few_shot, "objective", lambda *_: lambda *_: pytest.fail("trained again"))
    again = everything(begin("reed-inversion"))
    assert [r for r in again.records if r.metric != "train NLL"] == [
        r for r in first.records if r.metric != "train NLL"]  # fmt: skip
    stale = first.records[-1]
    records.write_records(first.out / "records.json", [replace(stale, weights="0" * 64)])
    with pytest.raises(pytest.fail.Exception, match="measured again"):  # other weights: that number says nothing now
        few_shot.record_nll(again, again.rows[-1], Counts(), 1)


def test_a_run_that_was_stopped_goes_on(begin):
    from oneshot_lib.runs.run import TimeSpent

    run = begin(minutes=1e-9, rows="unconditional")
    with pytest.raises(TimeSpent, match="the same command goes on"):
        few_shot.trained(run, run.rows[0])
    run = begin(rows="unconditional")
    assert everything(run).reports["unconditional"].finished
    late = begin(minutes=1e-9, rows="unconditional")
    model = few_shot.trained(late, late.rows[0])  # it is there already, and so are the records
    assert few_shot.record_nll(late, late.rows[0], model, 1).value == run.records[1].value


def test_a_training_that_diverges_leaves_a_record_of_it(begin, monkeypatch):
    run = begin(rows="unconditional", unconditional_steps=200, checkpoint_every=50)
    monkeypatch.setattr(few_shot, "objective", lambda *_: lambda model, *_: sum(
        p.sum() for p in model.parameters()) * torch.full((2,), math.nan))  # fmt: skip
    with pytest.raises(Diverged):
        few_shot.trained(run, run.rows[0])
    assert run.records[-1].metric == "train NLL" and run.records[-1].value is None


# --- settings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ({"shots": "1,2,4"}, "expected as many weights"),
        ({"shots": "0,2"}, "numbers of at least 1"),
        ({"shares": "0,0"}, "expected as many weights"),
        ({"mirror": True}, "expected 1 and 1 with mirror"),
        ({"targets": "0"}, "targets is 0; expected at least 1"),
        ({"columns": "0"}, "columns is 0"),
        ({"meta_elements": "3"}, "meta_elements is 3; expected a divisor of the 8 targets"),
    ],
)
def test_settings_that_cannot_be_are_refused(override, message):
    with pytest.raises(ValueError) as error:
        experiments.experiment("reed-omniglot").settings("quick", override)
    assert message in str(error.value)


def test_ways_are_those_of_the_episodes():
    with pytest.raises(ValueError, match="ways is 21"):
        experiments.experiment("reed-classification").settings("quick", {"ways": "21"})


@pytest.mark.parametrize("name", [name for name in EXPERIMENTS if name.startswith("reed-")])
def test_where_numbers_count_the_whole_test_is_asked(name):
    for preset in ("laptop", "full"):
        s = experiments.experiment(name).presets[preset]
        assert s.test_classes is None and s.shots == ((1,) if s.mirror else (1, 2, 4, 10))
