"""Sequential models trained and measured by the library, as the page of table 3 does it in view."""

import math

import pytest
import torch

from oneshot_lib import data, evaluation, experiments
from oneshot_lib.experiments.rezende import sequential
from oneshot_lib.models.sequential import SequentialConfig, SequentialModel
from oneshot_lib.runs.experiment import Experiment

FEW = {"training_steps": 2, "batch_size": 3, "train_images": 40, "test_images": 24, "test_draws": 6, "iw_images": 3,
       "iw_samples": 2}  # fmt: skip


@pytest.fixture
def begin(tmp_path, monkeypatch):
    """`begin(name, folder, **overrides)` starts a quick run on Glyphs."""
    from oneshot_lib.runs import run as notebook_side

    letters = data.characters("glyphs")
    monkeypatch.setattr(Experiment, "open_data", lambda self: letters)

    def start(name="rezende-attention", folder="a", rows="axis-aligned", **overrides):
        return experiments.start(name, out=str(tmp_path / folder), overrides=FEW | {"rows": rows} | overrides)

    yield start
    for stack in notebook_side._held.values():
        stack.close()
    notebook_side._held.clear()


def test_the_numbers_are_those_of_the_protocol_written_out(begin):
    run = begin()
    row, device = run.rows[0], "cpu"
    model = sequential.trained(run, row)
    found = sequential.record_all(run, row, model)
    torch.manual_seed(run.seed)
    plain = SequentialModel(SequentialConfig(canvas=row.canvas, steps=row.steps, attention=row.attention))
    assert not torch.equal(plain.write_patch.weight, model.write_patch.weight), "it was trained"
    other = begin(folder="b")
    draw_train = evaluation.with_replacement(other.train_images, data.binarise, device)
    other.train(row, plain, lambda model, step, generator: model.terms(draw_train(3, generator), generator).bound)
    assert torch.equal(plain.write_patch.weight, model.write_patch.weight)
    generator, draw = torch.Generator().manual_seed(0), evaluation.with_replacement(other.test_images, data.binarise)
    assert evaluation.bound_estimate(plain, draw, 6, generator=generator) == found
    weighted = evaluation.importance_weighted_estimate(plain, draw, 3, 2, generator=generator)
    records = {(r.metric, r.kind): r for r in run.records}
    assert records["test NLL", "bound"].value == pytest.approx(-found.value, abs=1e-4)
    assert records["test NLL", "iw"].value == pytest.approx(-weighted.value, abs=1e-4)
    assert records["KL of all steps", "mean"].series == list(found.kl_per_step)
    assert len(records) == 4 and math.isfinite(records["train NLL", "running bound"].value)


def test_a_bound_that_was_measured_is_taken_and_is_the_one_of_all_measures(begin, monkeypatch):
    run = begin(rows="gaussian,error-large")
    for row in run.rows:
        model = sequential.trained(run, row)
        first = sequential.record_bound(run, row, model)
        assert first.value == pytest.approx(-sequential.bound(run, model).value, abs=1e-4) and first.value > 0
    monkeypatch.setattr(sequential, "bound", lambda *_: pytest.fail("measured again"))
    again = begin(rows="gaussian,error-large")
    assert [sequential.record_bound(again, row, sequential.trained(again, row)).value for row in again.rows] == [
        r.value for r in run.records if r.metric == "test NLL"]  # fmt: skip
