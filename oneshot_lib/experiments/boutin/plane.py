"""Who lies where in the plane of diversity and recognizability: people, the controls, every shipped model.

Reference: Boutin et al. 2022, Diversity vs. Recognizability.

Everybody is shown one drawing of a character and draws 20. A model is shown it as it was trained to see one (reduced to
26x26 or 28x28; grey pixels are binarised, each anew), and is judged on those of the weak split's test characters that
are test characters of its own split too: on none that it was trained on. Since these are fewer, and their pixels
coarser, it is to be compared with people on the same characters through the same pixels (`PlaneRow.beside`), never with
a model on other characters. The 19 other characters of a test come from all test characters of the weak split: a test
is equally hard for everybody.
"""

import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from oneshot_lib import data, weights
from oneshot_lib.evaluation import Estimate, judging
from oneshot_lib.evaluation.judging import mean_over_classes
from oneshot_lib.experiments.boutin import tables
from oneshot_lib.experiments.boutin.critics import (
    CLASSES,
    DRAWINGS,
    control,
    exemplar_rows,
    originals,
    people,
)
from oneshot_lib.files import write_whole
from oneshot_lib.models.critics import CriticConfig
from oneshot_lib.progress import Progress
from oneshot_lib.runs.records import Record
from oneshot_lib.runs.run import Run, live_progress
from oneshot_lib.streams import stream
from oneshot_lib.training import load_tensors

SHIPPED = {network: f"critic-{network}" for network in tables.CRITIC_NAMES}
BATCH = 200  # drawings that a model makes at a time
KEPT = 2  # characters whose drawings are kept, to be shown


class Critics(NamedTuple):
    """The two critics and the hashes of their files."""

    contrastive: torch.nn.Module
    prototypical: torch.nn.Module
    hashes: tuple[str, str]

    def __str__(self) -> str:
        return "critics " + " and ".join(digest[:12] for digest in self.hashes)


def critics(run: Run) -> Critics:
    """The shipped critics, or those of a run of boutin-critics. Raises ValueError where there are none."""
    wanted = run.settings.critics
    if wanted == "shipped":
        entries = weights.manifest()
        found = [weights.load(name) for name in SHIPPED.values()]
        return Critics(*found, tuple(entries[name]["sha256"] for name in SHIPPED.values()))
    folder = Path(wanted) if Path(wanted).is_absolute() else run.out.parent / wanted
    files = [folder / network / "weights.safetensors" for network in tables.CRITIC_NAMES]
    if not all(file.is_file() for file in files):
        raise ValueError(f"critics is {wanted!r}; expected shipped or the folder of a finished run of boutin-critics, "
                         "an absolute path or a name beside this run's folder")
    found = []
    for network, file in zip(tables.CRITIC_NAMES, files, strict=True):
        tensors, _ = load_tensors(file)
        critic = CLASSES[network](CriticConfig(channels=len(tensors["blocks.0.weight"])))
        critic.load_state_dict(tensors)
        found.append(critic.eval().requires_grad_(False))
    return Critics(*found, tuple(map(weights.sha256, files)))


# --- who is judged, and on what ---------------------------------------------------------------------------------------


def trained_on(model: str) -> tuple[str, str, str]:
    """The data of a shipped model: their name, reduction and split, ("omniglot", "28-nearest", "30-20")."""
    about = weights.manifest()[model]["data"]
    return about["name"], about["reduction"], about["split"]


def split_of(model: str) -> str:
    """The split whose test characters a model has not seen; one that was trained on no characters has seen none of the
    weak split's either."""
    name, _, split = trained_on(model)
    return "weak" if name == "mnist" else split


def why_not(model: str) -> str | None:
    """Why a model is not judged, in a sentence, or None where it is."""
    entries = weights.manifest()
    if model not in entries:
        return f"{model} is not shipped."
    if model in SHIPPED.values():
        return f"{model} is a critic."
    if split_of(model) == "random-drawings":
        return f"{model} was trained on drawings of every character."
    if not any(row.model == model for row in tables.PLANE_ROWS):
        return f"{model} is shipped, and no row judges it."
    return None


def left_out() -> dict[str, str]:
    """The models that are shipped or have a row and are not judged, and why; of the critics nothing is said."""
    named = {row.model for row in tables.PLANE_ROWS if row.model} | set(weights.manifest())
    return {name: why for name in sorted(named - set(SHIPPED.values())) if (why := why_not(name))}


def reduction_of(row: tables.PlaneRow) -> str:
    """What the exemplar is reduced to: to a model's own training images, and of digits to as many pixels."""
    if not row.model:
        return row.preprocessing or "50-antialias"
    name, reduction, _ = trained_on(row.model)
    return "28-area" if name == "mnist" else reduction


def unseen(characters, split: str) -> np.ndarray:
    """The test characters of the weak split that are test characters of `split` too: places among the exemplars.

    Of a split by drawings there are none: what it trains on are drawings of every character.
    """
    held = characters.split(split)
    of_exemplars = characters.class_index[exemplar_rows(characters)]
    return np.flatnonzero(~np.isin(of_exemplars, characters.class_index[np.concatenate([held.train, held.unused])]))


def asked(run: Run, row: tables.PlaneRow) -> dict[str, np.ndarray]:
    """Split -> which characters the row is judged on, as places among the exemplars; at most `characters` of each."""
    found = {}
    for split in (split_of(row.model),) if row.model else row.splits:
        places = unseen(run.dataset, split)
        limit = min(run.settings.characters or len(places), len(places))
        found[split] = places[np.linspace(0, len(places) - 1, limit).round().astype(int)] if limit else places
    return found


def kind(split: str, characters: int) -> str:
    """How a record says which characters it is over: "150 characters", "60 characters of 30-20"."""
    return f"{characters} characters" + ("" if split == "weak" else f" of {split}")


# --- drawing ----------------------------------------------------------------------------------------------------------


@torch.no_grad()
def drawings(model, exemplars: Tensor, count: int, generator: torch.Generator, **how) -> Tensor:
    """What a model draws of each exemplar (K, S, S), zeros and ones: (K, count, S, S) in [0, 1].

    Each exemplar is the one element of a support, `how` what the model's own `draw_like` can be told. Raises ValueError
    on another shape.
    """
    if exemplars.dim() != 3:
        raise ValueError(f"exemplars has shape {tuple(exemplars.shape)}; expected (K, S, S)")
    return model.draw_like(exemplars[:, None, None], count, generator=generator, **how)[:, :, 0]


def how_drawn(row: tables.PlaneRow) -> dict:
    """What `draw_like` is told besides: of a sequential model its share and its output."""
    return {"share": row.share, "mean": row.output == "mean"} if "strokes" in weights.abilities(row.model) else {}


def drawn_by_model(run: Run, row: tables.PlaneRow, rows: np.ndarray, model=None) -> Tensor:
    """A model's drawings of the exemplars in `rows` of the data set: (K, count, S, S). What was drawn in the mirror is
    mirrored back. Some characters at a time."""
    model = weights.load(row.model).to(run.device) if model is None else model
    count = run.settings.drawings
    draw = stream(run.seed, "exemplars")
    exemplars = data.binarise(run.dataset.grey(reduction_of(row))[rows], draw)
    generator = stream(run.seed, "drawings", device=run.device)
    made: list[Tensor] = []
    with Progress(row.name, len(exemplars), "character") as progress:
        for part in exemplars.split(max(1, BATCH // count)):
            made.append(drawings(model, part.to(run.device), count, generator, **how_drawn(row)).cpu())
            progress.reach(sum(map(len, made)))
    return torch.cat(made).flip(-1) if row.mirrored else torch.cat(made)


def drawn(run: Run, row: tables.PlaneRow, rows: np.ndarray) -> Tensor:
    """The row's drawings of the exemplars in `rows` of the data set: (K, count, S, S) in [0, 1]."""
    if row.drawn_by == "model":
        return drawn_by_model(run, row, rows)
    count, classes = run.settings.drawings, run.dataset.class_index[rows]
    draw = stream(run.seed, "drawings")
    if row.preprocessing is not None:
        return people(run.dataset, row.preprocessing, classes, min(count, DRAWINGS), draw if row.binary else None)
    count = min(count, DRAWINGS) if row.drawn_by == "people" else count
    return control(row.drawn_by, run.dataset, originals(run.dataset, rows), classes, count, generator=draw)


# --- judging ----------------------------------------------------------------------------------------------------------


class Judgement(NamedTuple):
    """One number a character on either axis: `own` (K,) are its places among the exemplars, `shown` (k, n, S, S) the
    drawings of the first few."""

    own: np.ndarray
    diversity: np.ndarray
    recognizability: np.ndarray
    shown: np.ndarray

    def over(self, places: np.ndarray) -> tuple[Tensor, Tensor]:
        """Both axes of some of the characters."""
        at = np.searchsorted(self.own, places)
        return torch.from_numpy(self.diversity[at]), torch.from_numpy(self.recognizability[at])


def judgement(run: Run, row: tables.PlaneRow, by: Critics, number: int = 0) -> Judgement:
    """What the critics say of the row's drawings of the `number`-th exemplars; where this folder has it from the same
    critics and weights, that is taken. Raises TimeSpent where the budget is spent before."""
    about = json.dumps([*by.hashes, weights.manifest()[row.model]["sha256"] if row.model else ""])
    path = run.out / row.key / f"exemplar{number + 1}.npz"
    if path.is_file():
        with np.load(path, allow_pickle=False) as kept:
            if str(kept["about"]) == about:
                return Judgement(*(kept[name] for name in Judgement._fields))
    run.check_time(f"the drawings of {row.name}")
    rows = exemplar_rows(run.dataset, number)
    own = np.unique(np.concatenate(list(asked(run, row).values())))
    with live_progress():
        made = drawn(run, row, rows[own])
        point = judging.judge(by.contrastive, by.prototypical, made, torch.from_numpy(own),
                              originals(run.dataset, rows), tests=run.settings.tests, ways=run.settings.ways,
                              generator=stream(run.seed, "tests"))
    found = Judgement(own, point.diversity_of.numpy(), point.recognizability_of.numpy(),
                      (255 * made[:KEPT]).round().byte().numpy())
    file = io.BytesIO()
    np.savez_compressed(file, about=np.array(about), **found._asdict())
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, file.getvalue())
    return found


def sheet(run: Run, row: tables.PlaneRow, by: Critics, count: int = 10) -> Tensor:
    """The exemplar of the first character that a row is judged on, and what the row drew of it: (1 + count, 50, 50) in
    [0, 1], pixels enlarged as they are."""
    found = judgement(run, row, by)
    exemplar = originals(run.dataset, exemplar_rows(run.dataset)[found.own[:1]])  # (1, 50, 50)
    made = torch.from_numpy(found.shown[0][:count]).float() / 255
    enlarged = torch.nn.functional.interpolate(made[:, None], exemplar.shape[1:])[:, 0]
    return torch.cat([exemplar, enlarged])


def record(run: Run, row: tables.PlaneRow, by: Critics) -> list[Record]:
    """Judge the row and write its records: both axes on each set of characters that it is judged on.

    A character's number is the mean over its exemplars, the error the standard error over characters. A model's records
    hold the characters' numbers too, in the order of the data set, and the hash of the model; those of people and
    controls that of the critic. A model that isn't judged leaves no record.
    """
    if row.model and why_not(row.model):
        return []
    judged = [judgement(run, row, by, number) for number in range(run.settings.exemplars)]
    more = {"notes": "; ".join([str(by), *_told(run, row)])}
    drawer = weights.manifest()[row.model]["sha256"] if row.model else None
    if row.model:
        more["data"] = {"name": run.dataset.name, "preprocessing": reduction_of(row), "split": run.experiment.split,
                        "hash": run.dataset.hash}
    written = []
    for split, places in asked(run, row).items():
        axes = [torch.stack(parts).mean(0) for parts in zip(*(one.over(places) for one in judged), strict=True)]
        for metric, unit, values, digits, critic in zip((tables.DIVERSITY, tables.RECOGNIZABILITY), ("", "%"), axes,
                                                        (4, 2), by.hashes, strict=True):
            found: Estimate = mean_over_classes(values)
            series = [round(float(value), digits) for value in values] if row.model else None
            written.append(run.record_value(row, metric, kind(split, len(places)), found.value, found.error, n=found.n,
                                            unit=unit, series=series, weights=drawer or critic, **more))
    return written


def _told(run: Run, row: tables.PlaneRow) -> list[str]:
    """What else a record says: of the exemplars, of a sequential model's steps, of the mirror."""
    said = [f"{run.settings.exemplars} exemplars of each character"] if run.settings.exemplars > 1 else []
    if row.binary:
        said.append("grey pixels binarised")
    if row.model and "strokes" in weights.abilities(row.model):
        said.append(f"{row.share:.0%} of the steps from the exemplar, {row.output}")
    if row.mirrored:
        said.append("drawn in the mirror, mirrored back")
    return said


# --- the plane --------------------------------------------------------------------------------------------------------


class Placed(NamedTuple):
    """A row on one set of characters: its two records, and whom it is compared with."""

    row: tables.PlaneRow
    kind: str
    diversity: Record
    recognizability: Record


def placed(records: Iterable[Record]) -> dict[str, list[Placed]]:
    """Records of this experiment, by the characters that they are over: kind -> the points, in the rows' order. Failed
    ones are left out, and of several presets or seeds the last."""
    by_name = {row.name: row for row in tables.PLANE_ROWS}
    found: dict[tuple[str, str], dict[str, Record]] = {}
    for record in records:
        if record.row in by_name and record.value is not None:
            found.setdefault((record.kind, record.row), {})[record.metric] = record
    sets: dict[str, list[Placed]] = {}
    for row in tables.PLANE_ROWS:
        for (characters, name), both in found.items():
            if name == row.name and len(both) == 2:
                sets.setdefault(characters, []).append(
                    Placed(row, characters, both[tables.DIVERSITY], both[tables.RECOGNIZABILITY]))
    return dict(sorted(sets.items(), key=lambda item: -item[1][0].diversity.n))


def beside(point: Placed, points: list[Placed]) -> Placed | None:
    """The people on the same characters through the same pixels, or where these were not judged, on paper."""
    by_key = {other.row.key: other for other in points}
    return by_key.get(point.row.beside, by_key.get("people"))


def as_people_are(point: Placed, mark: Placed, errors: float = 2.0) -> bool:
    """Whether both axes agree with the people beside, within so many standard errors of the difference."""
    pairs = ((point.diversity, mark.diversity), (point.recognizability, mark.recognizability))
    return all(abs(a.value - b.value) <= errors * np.hypot(a.error or 0, b.error or 0) for a, b in pairs)


def to_markdown(sets: dict[str, list[Placed]]) -> str:
    """A table a set of characters: everybody's two numbers, and beside each model those of the people."""
    blocks = []
    for characters, points in sets.items():
        lines = [f"**{characters}**", "", "| who | diversity | recognizability | people through the same pixels |",
                 "| --- | --- | --- | --- |"]
        for point in points:
            mark = beside(point, points) if point.row.model else None
            people_there = f"{mark.diversity.shown()}, {mark.recognizability.shown()}" if mark else ""
            lines.append(f"| {point.row.name} | {point.diversity.shown()} | {point.recognizability.shown()} | "
                         f"{people_there} |")
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)
