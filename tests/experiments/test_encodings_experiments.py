"""What a file's encoding costs: which drawings are asked about, what is compared with what, what a run keeps."""

import numpy as np
import pytest
import torch

from oneshot_lib import data, experiments, weights
from oneshot_lib.data.encodings import ENCODINGS
from oneshot_lib.experiments.pictures import encodings, tables
from oneshot_lib.runs.experiment import Experiment

ROWS = {row.encoding: row for row in tables.ROWS}


class Overlap(torch.nn.Module):
    """The class whose one drawing shares most pixels with the query."""

    tractable = True

    def class_log_scores(self, support, query, generator=None):
        return -(support[None, :, 0] != query[:, None]).flatten(2).sum(2).double()


@pytest.fixture
def begin(tmp_path, monkeypatch):
    """`begin(**overrides)` starts a quick run on Glyphs that asks `Overlap`."""
    letters = data.characters("glyphs")
    monkeypatch.setattr(Experiment, "open_data", lambda self: letters)
    monkeypatch.setattr(weights, "load", lambda name: Overlap())
    return lambda **overrides: experiments.start("pictures-encodings", out=str(tmp_path), overrides=overrides)


def test_every_encoding_is_a_row():
    assert list(tables.NAMES) == [tables.KEPT, *ENCODINGS]
    assert len({row.key for row in tables.ROWS}) == len({row.name for row in tables.ROWS}) == len(tables.NAMES)


def test_only_training_characters_are_asked_about(begin):
    by = encodings.Episodes(run := begin(episodes=2, ways=4))
    assert by.support.shape == by.query.shape == (2, 4)
    index = run.dataset.class_index
    assert np.array_equal(index[by.support], index[by.query]) and not np.array_equal(by.support, by.query)
    assert not set(index[by.support].ravel()) & set(index[run.split.test])  # the fault: the episodes of table 2


def test_a_drawing_has_one_file_in_an_encoding(begin):
    run = begin()
    for name in ("wide margin", "vignette"):
        first, again, other = (encodings.prepared(run, name, row) for row in (40, 40, 41))
        assert np.array_equal(first, again) and not np.array_equal(first, other)
        assert first.shape == (28, 28) and set(np.unique(first)) == {0, 1}


def test_what_is_not_prepared_is_the_page_reduced(begin):
    run = begin()
    wanted = data.preprocess(run.dataset.images[40:41], "28-nearest")[0] // 255
    assert np.array_equal(encodings.prepared(run, tables.KEPT, 40), wanted)


def test_the_support_and_the_query_are_each_in_the_encoding_that_they_are_asked_in(begin, monkeypatch):
    by = encodings.Episodes(begin(episodes=3, ways=5))
    blank = np.zeros((28, 28), np.uint8)
    by._images = {"right": {row: blank.copy() for row in np.unique([by.support, by.query]).tolist()}}
    for place, (support, query) in enumerate(zip(by.support.T, by.query.T, strict=True)):
        for row in (*support, *query):
            by._images["right"][int(row)][place] = 1  # every class has a line of its own
    by._images["wrong"] = {row: np.roll(image, 1, 0) for row, image in by._images["right"].items()}
    assert encodings.accuracy(by, "right", "right").value == encodings.accuracy(by, "wrong", "wrong").value == 100
    mixed = encodings.accuracy(by, "right", "wrong")
    assert mixed.value == pytest.approx(0) and mixed.n == 3  # each is taken for the class below; the last has none
    assert encodings.accuracy(by, "wrong", "right").value == pytest.approx(20)  # the first of equals


def test_moved_counts_pixels(begin):
    by = encodings.Episodes(begin(episodes=1, ways=3))
    page = by.images("page")
    by._images["tight"] = {row: image.copy() for row, image in page.items()}
    for k, image in enumerate(by._images["tight"].values()):
        image[0, : 2 + 4 * (k % 2)] ^= 1
    found = encodings.moved(by, "tight")
    assert (found.value, found.n) == (4.0, 6) and found.error == pytest.approx(2.0 * (6 / 5) ** 0.5 / 6**0.5)


def test_a_row_has_the_records_that_mean_something_for_it(begin):
    run = begin(rows=["kept", "page", "tight"], ways=3)
    by = encodings.Episodes(run)
    found = {row.encoding: [r.metric for r in encodings.record(run, row, by)] for row in run.rows}
    assert found == {tables.KEPT: [tables.ALIKE, tables.MOVED], "page": [tables.ALIKE],
                     "tight": [tables.ALIKE, tables.ON_PAGES, tables.MOVED]}
    assert all("trained on" in r.notes and r.kind == "trained on" for r in run.records)


@pytest.mark.parametrize("setting, value", [("episodes", 0), ("episodes", 101), ("ways", 1), ("ways", 21),
                                            ("outer", 0), ("inner", 0), ("most", 0)])
def test_settings_that_there_are_not(setting, value):
    with pytest.raises(ValueError, match=f"{setting} is {value}; expected"):
        experiments.experiment("pictures-encodings").settings("quick", {setting: value})
