"""The folder of a run: who may use it, what it was made with, and whether it is done.

DIR/run.json            the configuration, written first; the commits that worked on it
DIR/ROW/                one model: checkpoint while it trains, weights.safetensors in the end
DIR/records.json        the numbers so far
DIR/notebook.ipynb      the notebook with its outputs
DIR/DONE                written last
"""

import errno
import json
from dataclasses import asdict
from pathlib import Path

from oneshot_lib import machine
from oneshot_lib.data.outputs import foreign
from oneshot_lib.files import shorten, write_whole
from oneshot_lib.runs.experiment import Experiment, Settings
from oneshot_lib.runs.provenance import revision

ROOM = 0.004  # GB without which no run ends: weights, records, a notebook with its figures
OWN = r"\.lock|\.command\.lock|\.live|\.partial-.*"  # may lie in a folder that no run has claimed yet


def configuration(experiment: Experiment, preset: str, seed: int, settings: Settings, device: str, dataset) -> dict:
    """Everything that decides a run's numbers; `dataset` is what it is made on."""
    return json.loads(
        json.dumps(
            {
                "experiment": experiment.name,
                "preset": preset,
                "seed": seed,
                "device": device,
                "data": {"name": dataset.name, "hash": dataset.hash},
                "settings": asdict(settings),
            }
        )
    )


def claim(out: Path, wanted: dict, experiment: Experiment) -> dict:
    """Make `out` the folder of the run `wanted` of an experiment, or find that it is; returns what its run.json holds.

    Raises ValueError where it holds a run with another configuration, naming the difference, or something
    that is no run, and OSError where it can't be written or there is no room.
    """
    try:
        str(out).encode()
    except UnicodeEncodeError:
        raise ValueError(f"{str(out)!r}: expected a folder whose name is UTF-8, as notebooks are") from None
    path = out / "run.json"
    about = {"configuration": wanted, "revisions": []}
    if path.is_file():
        try:
            about = json.loads(path.read_text())
            different = differences(about["configuration"], wanted)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise ValueError(f"{shorten(path)}: expected the description of a run, found something else") from None
        if different:
            raise ValueError(
                f"{shorten(out)} holds a run with {'; '.join(different)}; "
                "the same command goes on with it, another needs another --out"
            )
    elif found := foreign(out, OWN):
        raise ValueError(f"{shorten(out)} holds files that are no run ({found[0].name}); expected an empty or a new "
                         "folder as --out")
    now = list(revision(experiment))
    if not about["revisions"] or about["revisions"][-1] != now:
        about["revisions"].append(now)
    if no_room(out):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))
    out.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps(about, indent=1))
    return about


def no_room(out: Path) -> bool:
    """Whether the disk of a run's folder is as good as full."""
    return machine.free_disk(out) < ROOM


def keep_choice(out: Path, about: dict, name: str, fresh: str) -> str:
    """What this run chose once by measuring: `fresh` on the first call, and from then on what stands in run.json."""
    choices = about.setdefault("choices", {})
    if name not in choices:
        choices[name] = fresh
        write_whole(out / "run.json", json.dumps(about, indent=1))
    return choices[name]


def differences(found: dict, wanted: dict, prefix: str = "") -> list[str]:
    """What differs between two configurations, one phrase each: "settings.batch_size 24, not 32"."""
    phrases = []
    for key in sorted(found.keys() | wanted.keys()):
        a, b = found.get(key), wanted.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            phrases += differences(a, b, f"{prefix}{key}.")
        elif a != b:
            phrases.append(f"{prefix}{key} {_short(a)}, not {_short(b)}")
    return phrases


def _short(value) -> str:
    text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= 60 else text[:57] + "..."
