"""Records: everything that is needed to believe a number or to make it again, a file a run.

`EXPERIMENT/PRESET-seedN.json` holds the numbers of one run: what most of them share (the command, the commit, the
device, the data) stands once in it, what a row's numbers share (the minutes, the weights) once a row, and with a number
stands only what is its own:

    {"experiment": "rezende-table3", "preset": "laptop", "seed": 0, "shared": {"command": ..., "commit": ..., ...},
     "rows": [{"row": "ST + additive, 20 steps", "shared": {"minutes": ..., "weights": ...},
               "numbers": [{"metric": "test NLL", "kind": "bound", "value": ..., "error": ...}, ...]}, ...]}

A run writes them into its own folder. `results/` of a checkout holds those that the book stands on, an installed
package carries a copy of them, and laptop and full runs are also kept in the user's own store (`places`). Tables are
rendered from records and from nothing else (`results`).
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from types import NoneType, UnionType
from typing import get_args

from oneshot_lib.files import shorten, write_whole
from oneshot_lib.runs.experiment import PRESETS

DATA_KEYS = ("name", "preprocessing", "split", "hash")
DIGITS = {"nats": 2, "nats/dim": 4, "%": 1, "": 3}  # of a value, by its unit; a correlation has none
UPPER_BOUNDS = ("bound", "running bound", "iw")  # kinds whose value bounds an NLL from above


@dataclass(frozen=True)
class Record:
    """One number. An NLL is positive, in nats, or nats/dim where each pixel has its share, and where `kind` is "bound"
    or "iw" (`k` importance samples) the truth lies below it. An accuracy is in %, and larger is better. A correlation
    has the unit "". `value` is None where the run failed, and `notes` says how.

    `error` is the standard error over `n` draws, `floor` the part of an NLL that no model of binarised grey
    pixels can get below (in the NLL's unit), `weights` the SHA-256 of the weights file, `series` the numbers behind a
    curve, heights or [x, y] pairs. Raises ValueError on a preset or a data description of another form.
    """

    paper: str
    item: str
    row: str
    metric: str
    unit: str
    kind: str
    value: float | None
    error: float | None
    n: int | None
    paper_value: float | None
    preset: str
    minutes: float | None
    device: str
    seed: int
    commit: str | None
    dirty: bool | None
    data: dict
    floor: float | None
    weights: str | None
    command: str
    k: int | None = None
    series: list | None = None
    title: str = ""
    notes: str = ""
    created: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    def __post_init__(self):
        if self.preset not in PRESETS:
            raise ValueError(f"preset is {self.preset!r}; expected one of {', '.join(PRESETS)}")
        if not re.fullmatch(r"oneshot run \S.*", self.command):
            raise ValueError(f"command is {self.command!r}; expected oneshot run EXPERIMENT ...")
        if set(self.data) != set(DATA_KEYS):
            raise ValueError(f"data has the keys {sorted(self.data)}; expected {', '.join(DATA_KEYS)}")
        if self.series is not None:  # as it comes back from the disk
            object.__setattr__(self, "series", json.loads(json.dumps(self.series, default=float)))

    @property
    def id(self) -> str:
        """What tells this number from every other."""
        kind = f"{self.kind}{self.k or ''}"
        parts = [
            self.paper,
            self.item,
            self.row,
            self.metric,
            kind,
            self.data["name"],
            self.data["preprocessing"],
            self.data["split"],
            self.preset,
            f"seed{self.seed}",
        ]
        return re.sub(r"[^a-z0-9]+", "-", "_".join(parts).lower().replace("_", "--")).strip("-")

    @property
    def experiment(self) -> str:
        """The experiment whose run it is of, by the command: "rezende-table3"."""
        return self.command.split()[2]

    @property
    def file(self) -> str:
        """Where it stands in a folder of records: "rezende-table3/laptop-seed0.json"."""
        return f"{self.experiment}/{self.preset}-seed{self.seed}.json"

    @property
    def quantity(self) -> str:
        """The metric and how it was estimated: "test NLL, bound", "test NLL, IW K=50"."""
        kind = f"IW K={self.k}" if self.kind == "iw" else self.kind
        return f"{self.metric}, {kind}"

    def shown(self) -> str:
        """The value with its error, to the digits that the error leaves standing: "≤ 97.31 ± 0.12", "95.1 ± 0.6 %"."""
        if self.value is None:
            return "failed"
        digits = DIGITS.get(self.unit, 2)
        text = f"{self.value:.{digits}f}" + ("" if self.error is None else f" ± {self.error:.{digits}f}")
        return self._marked(text)

    def published(self) -> str:
        """The paper's value as it stands beside this one."""
        return "" if self.paper_value is None else self._marked(f"{self.paper_value:g}")

    def _marked(self, text: str) -> str:
        """With the sign of a bound before it and, where it is not nats, the unit behind."""
        unit = f" {self.unit}" if self.unit in ("%", "nats/dim") else ""
        return ("≤ " if self.kind in UPPER_BOUNDS else "") + text + unit

    def shown_floor(self) -> str:
        """The floor to the digits of its unit, "44.3" nats or "0.0651" nats/dim; nothing where there is none."""
        return "" if self.floor is None else f"{self.floor:.{4 if self.unit == 'nats/dim' else 1}f}"

    def to_json(self) -> dict:
        return {"id": self.id, **asdict(self)}


# --- a record and its JSON ------------------------------------------------------------------------------------------


def parse(values: dict, name: str) -> Record:
    """The record of all its `values`; `name` is what an error calls it. Raises ValueError on anything else, values of
    other types included."""
    if not isinstance(values, dict):
        raise ValueError(f"{name}: expected a record, a JSON object; found {type(values).__name__}")
    values = {key: value for key, value in values.items() if key != "id"}
    known = {f.name for f in fields(Record)}
    unknown, missing = set(values) - known, known - set(values)
    if unknown or missing:
        raise ValueError(f"{name}: expected a record; unknown keys {sorted(unknown)}, missing keys {sorted(missing)}")
    for f in fields(Record):
        kinds = get_args(f.type) if isinstance(f.type, UnionType) else (f.type,)
        value = values[f.name]
        if not (type(value) in kinds or (type(value) is int and float in kinds)):
            wanted = " or ".join("null" if kind is NoneType else kind.__name__ for kind in kinds)
            raise ValueError(f"{name}: expected a record; {f.name} is {value!r}, not {wanted}")
    try:
        return Record(**values)
    except ValueError as error:
        raise ValueError(f"{name}: expected a record; {error}") from error


OF_A_RUN = ("experiment", "preset", "seed")
DEFAULTS = {"k": None, "series": None, "notes": "", "title": "", "floor": None, "paper_value": None}
BY_RUN = ("paper", "item", "title", "command", "commit", "dirty", "device", "data", "created")  # what a run shares
BY_ROW = (*BY_RUN, "minutes", "weights", "floor", "notes")


def contracted(found: Sequence[Record]) -> str:
    """The text of a run's file: the records, which are all of one run, with what they share said once."""
    first, plain = found[0], [asdict(record) for record in found]
    shared = common(plain, BY_RUN, DEFAULTS)
    rows: dict[str, list[dict]] = {}
    for values in plain:
        rows.setdefault(values["row"], []).append(values)
    lines = []
    for row, numbers in rows.items():
        of_row = common(numbers, BY_ROW, DEFAULTS | shared)
        known = DEFAULTS | shared | of_row
        own = [{key: value for key, value in values.items()
                if key not in (*OF_A_RUN, "row") and not said(known, key, value)} for values in numbers]
        lines.append(f'  {{"row": {_text(row)},\n   "shared": {_text(of_row)},\n   "numbers": [\n    '
                     + ",\n    ".join(map(_text, own)) + "\n   ]}")
    head = [f"{_text(key)}: {_text(value)}" for key, value in zip(
        OF_A_RUN, (first.experiment, first.preset, first.seed), strict=True)]
    inside = ",\n  ".join(f"{_text(key)}: {_text(value)}" for key, value in shared.items())
    return ("{\n " + ", ".join(head) + ',\n "shared": {\n  ' + inside + '\n },\n "rows": [\n' + ",\n".join(lines)
            + "\n ]\n}\n")


def common(plain: list[dict], keys: Iterable[str], known: dict) -> dict:
    """What most of the dicts have in common under each of the `keys`, where it is not `known`: key -> value."""
    found = {}
    for key in keys:
        (text, times), = Counter(_text(values[key]) for values in plain).most_common(1)
        if times > 1 or len(plain) == 1:
            found[key] = json.loads(text)
    return {key: value for key, value in found.items() if not said(known, key, value)}


def said(known: dict, key: str, value) -> bool:
    """Whether `known` has the value under its key, as JSON spells it: 1 is not 1.0."""
    return key in known and _text(known[key]) == _text(value)


def _text(value) -> str:
    return json.dumps(value, ensure_ascii=False)


def expanded(text: str, name: str) -> list[Record]:
    """The records of a run's file. Raises ValueError, which names the file, on anything else."""
    try:
        about = json.loads(text)
        if "rows" not in about:
            return [parse(about, name)]  # of an earlier version: a number a file
        of_a_run = {key: about[key] for key in OF_A_RUN}
        for keys, wanted in ((about.keys(), {*OF_A_RUN, "shared", "rows"}),
                             *((row.keys(), {"row", "shared", "numbers"}) for row in about["rows"])):
            if keys != wanted:
                raise ValueError(f"unknown keys {sorted(keys - wanted)}, missing keys {sorted(wanted - keys)}")
        parts = [({**about["shared"], **row["shared"], "row": row["row"]}, row["numbers"]) for row in about["rows"]]
        every = [{**DEFAULTS, **known, **number, "preset": of_a_run["preset"], "seed": of_a_run["seed"]}
                 for known, numbers in parts for number in numbers]
    except (ValueError, AttributeError, TypeError, KeyError) as error:
        if str(error).startswith(name):
            raise
        raise ValueError(f"{name}: expected the records of a run, a JSON object; {error}") from error
    found = [parse(values, name) for values in every]
    other = next((record for record in found if record.experiment != of_a_run["experiment"]), None)
    if other is not None:
        raise ValueError(f"{name}: expected records of {of_a_run['experiment']}, found one of {other.experiment}")
    return found


# --- files ------------------------------------------------------------------------------------------------------------


def write_records(path: Path, new: Iterable[Record]) -> Path:
    """Put records of one run into its file, whole or not at all; those of the same ids that it holds are replaced.

    Raises ValueError where `path` holds something else, or the records are of several runs.
    """
    every = [*(read_run(path) if path.exists() else []), *new]
    files = {record.file for record in every}
    if len(files) != 1:
        raise ValueError(f"{shorten(path)}: expected records of one run, found those of {', '.join(sorted(files))}")
    by_id = {record.id: record for record in every}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, contracted([by_id[name] for name in sorted(by_id)]))
    return path


def write_record(folder: Path, record: Record) -> Path:
    """Put a record into its run's file in a folder of records: FOLDER/EXPERIMENT/PRESET-seedN.json."""
    return write_records(folder / record.file, [record])


def read_run(path: Path) -> list[Record]:
    """The records of one file, in the order of the tables. Raises ValueError, which names it, where it holds none."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not UTF-8"
        raise ValueError(f"{shorten(path)}: expected the records of a run, a JSON object; {why.lower()}") from error
    return in_order(expanded(text, shorten(path)))


def read_records(folder: Path, left_out: list[str] | None = None) -> list[Record]:
    """Every record of a folder, in the order of the tables. A folder that is not there holds none.

    A file that is no run's raises ValueError, which names it; where there is a list `left_out`, its line goes there
    instead. Hidden files are nobody's records. A store may hold files of an earlier version, a number each: of two
    records with one id the newer one counts.
    """
    found: list[Record] = []
    for path in sorted(p for p in (*folder.glob("*.json"), *folder.glob("*/*.json")) if not p.name.startswith(".")):
        try:
            found += read_run(path)
        except ValueError as error:
            if left_out is None:
                raise
            left_out.append(str(error))
    return in_order({r.id: r for r in sorted(found, key=lambda r: r.created)}.values())


def recorded(run: Path) -> list[Record]:
    """What the run in a folder has recorded: in its records.json, or, of an earlier version, in its records/."""
    path = run / "records.json"
    return read_run(path) if path.is_file() else read_records(run / "records")


def in_order(found: Iterable[Record]) -> list[Record]:
    """The order of the tables: by paper, tables before figures, by row and metric."""
    return sorted(sorted(found, key=lambda record: record.id), key=_order)


def _order(record: Record) -> tuple:
    def natural(text: str) -> list:
        return [int(p) if p.isdigit() else p for p in re.split(r"(\d+)", text)]

    r, tables_first = record, not record.item.startswith("table")
    order = (r.paper, tables_first, natural(r.item.lower()), r.data["name"], natural(r.row.lower()))
    return *order, r.metric != "test NLL", natural(r.metric), r.kind, PRESETS.index(r.preset), r.seed


def failed(record: Record, why: str) -> Record:
    """The record of a number that a run did not reach: kept like any other."""
    return replace(record, value=None, error=None, n=None, series=None, notes=f"failed: {why}")
