"""The episode viewer's Python side: scores become distances from the best, and whatever does not fit is refused."""

import numpy as np
import pytest
import torch

from oneshot_lib.widgets.episode_viewer import EpisodeViewer
from oneshot_lib.widgets.support_picker import packed

CLASSES, QUERIES, SIZE = 4, 5, 8
TRUTH = [0, 1, 2, 3, 0]


def parts(seed=0, shots=1):
    generator = torch.Generator().manual_seed(seed)

    def drawings(*shape):
        return (torch.rand(*shape, 1, SIZE, SIZE, generator=generator) > 0.5).float()

    scores = -100 * torch.rand(QUERIES, CLASSES, generator=generator, dtype=torch.float64) - 200
    return {"support": drawings(CLASSES, shots), "query": drawings(QUERIES), "log_scores": scores,
            "made": drawings(CLASSES, 3), "truth": TRUTH}


def test_the_scene_is_the_episode():
    given = parts()
    scene = EpisodeViewer(**given).scene
    best = given["log_scores"].max(1)
    assert scene["winner"] == best.indices.tolist() and scene["truth"] == TRUTH
    below = best.values[:, None] - given["log_scores"]
    assert np.abs(np.array(scene["below"]) - below.numpy()).max() <= 5.01e-3
    assert all(row[winner] == 0 <= min(row) for row, winner in zip(scene["below"], scene["winner"], strict=True))
    for name in ("support", "query", "made"):
        assert scene[name] == packed(given[name])
    turned = EpisodeViewer(**{**given, "log_scores": -given["log_scores"]}).scene  # the fault: the worst one wins
    assert turned["winner"] != scene["winner"]


def test_unless_told_query_k_is_of_class_k():
    given = parts()
    given = {**given, "query": given["query"][:4], "log_scores": given["log_scores"][:4]}
    del given["truth"]
    assert EpisodeViewer(**given).scene["truth"] == [0, 1, 2, 3]


@pytest.mark.parametrize("change, named", [
    (dict(log_scores=torch.zeros(QUERIES, CLASSES + 1)), "log_scores has shape"),
    (dict(log_scores=torch.full((QUERIES, CLASSES), torch.nan)), "log_scores has shape"),
    (dict(made=torch.zeros(CLASSES + 1, 3, 1, SIZE, SIZE)), "made has shape"),
    (dict(query=torch.zeros(QUERIES, 1, SIZE, SIZE + 1)), "support has shape"),
    (dict(query=torch.full((QUERIES, 1, SIZE, SIZE), 0.5)), "zeros and ones"),
    (dict(truth=[0, 1, 2, 3, CLASSES]), "truth is"),
    (dict(truth=[0, 1]), "truth is"),
    (dict(names=["A"]), "names has 1"),
    (dict(description="a"), "description is"),
])
def test_what_does_not_fit_is_refused(change, named):
    with pytest.raises(ValueError, match=named):
        EpisodeViewer(**{**parts(), **change})


def test_a_query_that_there_is_not_is_refused():
    viewer = EpisodeViewer(**parts())
    viewer.position = QUERIES - 1
    with pytest.raises(ValueError, match=f"position is {QUERIES}"):
        viewer.position = QUERIES


def test_both_layers_hold_the_same_state_and_the_copy_needs_nothing_else():
    viewer = EpisodeViewer(**parts(), position=2, label="a label")
    html = viewer.static_html()
    assert set(viewer.static_state()) <= set(viewer.traits(sync=True))
    assert '"position":2' in html and 'class="oneshot oneshot-player oneshot-episode"' in html
    assert viewer.description in html and "http://" not in html and "https://" not in html


def test_the_still_shows_the_query_at_hand():
    viewer = EpisodeViewer(**parts(shots=2))
    first = viewer.still()
    viewer.position = 1
    assert first[:4] == b"\x89PNG" and viewer.still() != first
