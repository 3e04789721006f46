"""The plane's Python side: no drawing is lost on the way into the figure, and whatever does not fit is refused."""

import numpy as np
import pytest
import torch

from oneshot_lib.evaluation import Estimate, judging
from oneshot_lib.widgets.plane_explorer import (
    PlaneExplorer,
    Source,
    Stop,
    best_move,
    changes,
    drawn,
    moved,
    stop,
)

CHARACTERS, COUNT, SIZE = 2, 3, 12


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def drawings(*shape, seed=0, share=0.3):
    return (torch.rand(*shape, generator=seeded(seed)) < share).float()


def place(made, diversity=1.0, label="", **change):
    values = dict(diversity=diversity, diversity_error=0.1, recognizability=90.0, recognizability_error=2.0,
                  drawings=made.numpy(), parts=np.full((CHARACTERS, 2), diversity), label=label)
    return Stop(**{**values, **change})


@pytest.fixture(scope="module")
def exemplars():
    return drawings(CHARACTERS, SIZE, SIZE)


@pytest.fixture(scope="module")
def sources(exemplars):
    paths = [[judging.shifted(exemplars, k, COUNT, generator=seeded()) for k in range(4)],
             [judging.flipped(exemplars, p / 20, COUNT, generator=seeded()) for p in range(3)]]
    return [Source("people", "people", [place(drawings(CHARACTERS, COUNT, SIZE, SIZE, seed=1))]),
            Source("shifted", "controls", [place(made, k, f"{k} pixels") for k, made in enumerate(paths[0])]),
            Source("flipped", "controls", [place(made, 2 * k, f"{k}") for k, made in enumerate(paths[1])]),
            Source("a model", "models", [place(drawings(CHARACTERS, COUNT, 9, 9, seed=2))])]


def test_no_drawing_is_lost_in_either_form(sources, exemplars):
    scene = PlaneExplorer(sources, exemplars).scene
    assert ["changes" in held for held in scene["sources"]] == [False, True, True, False]
    for held, given in zip(scene["sources"], sources, strict=True):
        expected = np.stack([where.drawings for where in given.stops])
        assert np.array_equal(drawn(held, exemplars.numpy().astype(np.uint8)), expected)
    wrong = exemplars.numpy()[::-1].astype(np.uint8)  # the fault: the changes are taken of another exemplar
    assert not np.array_equal(drawn(scene["sources"][1], wrong), np.stack([w.drawings for w in sources[1].stops]))


def test_changes_hold_what_is_no_change_at_all(exemplars):
    made = drawings(2, CHARACTERS, COUNT, SIZE, SIZE, seed=3).numpy().astype(np.uint8)
    own = exemplars.numpy().astype(np.uint8)
    held = {"stops": [0, 1], "count": COUNT, "size": SIZE, "changes": changes(made, own)}
    assert np.array_equal(drawn(held, own), made)
    blank = {**held, "changes": changes(0 * made, own)}
    assert not drawn(blank, own).any()


def test_a_move_is_found_and_copies_cost_three_numbers_each(exemplars):
    ring = np.zeros((SIZE, SIZE), np.uint8)
    ring[4:8, 5:9] = 1
    ring[5, 6] = 0
    for by in ((0, 0), (3, -2), (-4, 3)):
        assert best_move(moved(ring, *by), ring) == by
    assert moved(ring, 5, 0).sum() < ring.sum() == moved(ring, 4, 0).sum()  # what leaves the page is lost
    copies = judging.copies(torch.as_tensor(ring)[None].float(), 5).numpy().astype(np.uint8)
    shifted = np.stack([copies, np.roll(copies, 2, -1)])
    assert len(changes(shifted, ring[None])) == 2 * 5 * 2 * 2  # a tag and the number of differences, and no place


def test_a_stop_is_the_judges_point(exemplars):
    spread, known = torch.tensor([0.5, 1.5, 2.5]), torch.tensor([90.0, 80.0, 100.0])
    point = judging.Point(Estimate(1.5, 0.6, 3), Estimate(90.0, 5.8, 3), spread, known)
    made = drawings(3, COUNT, SIZE, SIZE)
    where = stop(point, made, [2, 0], "there")
    assert where[:4] == (1.5, 0.6, 90.0, 5.8) and where.label == "there"
    assert where.parts.tolist() == [[2.5, 100.0], [0.5, 90.0]]
    assert np.array_equal(where.drawings, made[[2, 0]].numpy())


def test_the_scene_holds_the_numbers(sources, exemplars):
    scene = PlaneExplorer(sources, exemplars).scene
    shifted = scene["sources"][1]["stops"]
    assert [where["at"] for where in shifted] == [[k, 0.1, 90.0, 2.0] for k in range(4)]
    assert shifted[2]["label"] == "2 pixels" and shifted[2]["parts"] == [[2.0, 2.0]] * CHARACTERS


def _changed(index, **change):
    return lambda given: [one._replace(**change) if k == index else one for k, one in enumerate(given)]


def _moved_stop(**change):
    return lambda given: [given[0]._replace(stops=[given[0].stops[0]._replace(**change)]), *given[1:]]


@pytest.mark.parametrize("change, named", [
    (_changed(0, group="folk"), "expected one of people, controls, models"),
    (_changed(0, group="models"), "nobody of the group 'people'"),
    (_changed(0, stops=[]), "expected at least one"),
    (_moved_stop(drawings=np.zeros((CHARACTERS + 1, COUNT, SIZE, SIZE))), "drawings of 'people' have shape"),
    (_moved_stop(drawings=np.full((CHARACTERS, COUNT, SIZE, SIZE), 0.5)), "zeros and ones"),
    (_moved_stop(parts=np.zeros((CHARACTERS + 1, 2))), "differ in shape"),
    (_moved_stop(diversity_error=float("nan")), "expected finite"),
])
def test_sources_that_do_not_fit_are_refused(change, named, sources, exemplars):
    with pytest.raises(ValueError, match=named):
        PlaneExplorer(change(sources), exemplars)


@pytest.mark.parametrize("wrong, named", [
    (dict(chosen=4), "chosen is 4"), (dict(character=-1), "character is -1"), (dict(step=4), "step is 4"),
    (dict(names=["one"]), "names has 1"), (dict(description="a"), "description is"),
])
def test_choices_that_there_are_not_are_refused(wrong, named, sources, exemplars):
    with pytest.raises(ValueError, match=named):
        PlaneExplorer(sources, exemplars, **wrong)
    with pytest.raises(ValueError, match="exemplars has shape"):
        PlaneExplorer(sources, exemplars[0])


def test_both_layers_hold_the_same_state_and_the_copy_needs_nothing_else(sources, exemplars):
    explorer = PlaneExplorer(sources, exemplars, chosen=1, step=2)
    html, static = explorer.static_html(), explorer.static_state()
    assert set(static) <= set(explorer.traits(sync=True)) and static["scene"] == explorer.scene
    assert 'class="oneshot oneshot-player oneshot-plane"' in html and explorer.description in html
    assert "http://" not in html and "https://" not in html
    assert explorer.still()[:4] == b"\x89PNG"
