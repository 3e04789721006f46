"""The committed splits: which characters, or which drawings, a model is trained on and tested on.

| name | trained on | tested on | after |
| --- | --- | --- | --- |
| 30-20 | the 30 background alphabets | the 20 evaluation alphabets | Lake et al. 2015; Rezende et al. 2016 |
| 40-10, 45-5 | 40 or 45 random alphabets | the other 10 or 5 | Rezende et al. 2016 |
| weak | all alphabets, but not | characters 01 to 03 of each | Rezende et al. 2016 |
| random-1200 | 1,200 random characters | the other 423 | Hewitt et al. 2018 |
| random-drawings | 24,345 random drawings | 8,070 others (45 are left out) | sizes of Burda et al. 2016 |

Each is a JSON file here, one for each source of characters. Glyphs has its own, of the same proportions and
names.
"""

import importlib.resources
import json
from typing import NamedTuple

import numpy as np

NAMES = ("30-20", "40-10", "45-5", "weak", "random-1200", "random-drawings")


class Split(NamedTuple):
    """Rows of a data set, each an increasing integer array: `train`, `test`, and those of neither."""

    name: str
    train: np.ndarray
    test: np.ndarray
    unused: np.ndarray


def read_file(name: str) -> dict:
    """A committed file of this folder, by its name without `.json`."""
    return json.loads(importlib.resources.files(__package__).joinpath(f"{name}.json").read_text())


def read_split(characters, name: str) -> Split:
    """The rows of the committed split `name` of a `CharacterSet`. Raises ValueError for an unknown name."""
    if name not in NAMES:
        raise ValueError(f"name: expected one of {', '.join(NAMES)}, found {name!r}")
    content = read_file(f"{characters.name}-{name}")
    rows = np.arange(len(characters))
    if "test_rows" in content:
        test, unused = np.asarray(content["test_rows"]), np.asarray(content["unused_rows"], int)
        train = np.setdiff1d(rows, np.concatenate([test, unused]))
        return Split(name, train, test, unused)
    number = {c: i for i, c in enumerate(characters.classes)}
    kept = {}
    for part in ("train", "test"):
        classes = [
            number[f"{alphabet}/character{n:02}"] for alphabet, ns in content[part].items() for n in ns
        ]
        kept[part] = np.isin(characters.class_index, classes)
    return Split(name, rows[kept["train"]], rows[kept["test"]], rows[~(kept["train"] | kept["test"])])
