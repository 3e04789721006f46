"""Records: one JSON file a number, with everything that is needed to believe it or to do it again.

A run writes its records into its own folder. `results/` of a checkout holds the ones that the book stands
on, an installed package carries a copy of them, and laptop and full runs are also kept in the user's own
store. Tables are rendered from records and from nothing else.
"""

import json
import re
import subprocess
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from types import NoneType, UnionType
from typing import get_args

from oneshot_lib.data.files import own_directory, say, shorten, write_whole

PACKAGE = Path(__file__).resolve().parent
PRESETS = ("quick", "laptop", "full")
BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
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
        if set(self.data) != set(DATA_KEYS):
            raise ValueError(f"data has the keys {sorted(self.data)}; expected {', '.join(DATA_KEYS)}")
        if self.series is not None:  # as it comes back from the disk
            object.__setattr__(self, "series", json.loads(json.dumps(self.series, default=float)))

    @property
    def id(self) -> str:
        """What tells this number from every other: also the name of its file."""
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


def parse(text: str, name: str) -> Record:
    """The record in a JSON text; `name` is what an error calls it. Raises ValueError on anything else, values of other
    types included."""
    try:
        values = json.loads(text)
        values.pop("id", None)
    except (ValueError, AttributeError, TypeError) as error:
        raise ValueError(f"{name}: expected a record, a JSON object; {error}") from error
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


def write_record(folder: Path, record: Record) -> Path:
    """Write FOLDER/ID.json, whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{record.id}.json"
    write_whole(path, (json.dumps(record.to_json(), indent=1, ensure_ascii=False) + "\n").encode())
    path.chmod(0o644)
    return path


def read_records(folder: Path, left_out: list[str] | None = None) -> list[Record]:
    """Every record of a folder, in the order of the tables. A folder that is not there holds none.

    A file that is no record raises ValueError, which names it; where there is a list `left_out`, its line goes there
    instead. Hidden files are nobody's records.
    """
    found = []
    for path in sorted(p for p in folder.glob("*.json") if not p.name.startswith(".")):
        try:
            found.append(_read(path))
        except ValueError as error:
            if left_out is None:
                raise
            left_out.append(str(error))
    return sorted(found, key=_order)


def _read(path: Path) -> Record:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not UTF-8"
        raise ValueError(f"{shorten(path)}: expected a record, a JSON object; {why.lower()}") from error
    return parse(text, shorten(path))


def _order(record: Record) -> tuple:
    def natural(text: str) -> list:
        return [int(p) if p.isdigit() else p for p in re.split(r"(\d+)", text)]

    r, tables_first = record, not record.item.startswith("table")
    order = (r.paper, tables_first, natural(r.item.lower()), r.data["name"], natural(r.row.lower()))
    return *order, r.metric != "test NLL", natural(r.metric), r.kind, PRESETS.index(r.preset), r.seed


def checkout() -> Path | None:
    """The root of the checkout that this package runs from, or None where it is installed without one."""
    root = PACKAGE.parent
    return root if (root / "pyproject.toml").is_file() and (root / "book").is_dir() else None


def book_results() -> Path:
    """Where the book's records are: `results/` of the checkout, else the copy in the package."""
    root = checkout()
    return root / "results" if root else PACKAGE / "_results"


def store() -> Path:
    """Where this user's own laptop and full runs leave their records."""
    return own_directory("data") / "results"


def collect(paper: str | None = None, item: str | None = None, preset: str | None = None) -> list[tuple[str, Record]]:
    """The book's records, then this user's own that differ from them: ("book" or "own", record).

    A file of the user's store that is no record, cut short or of another version, is left out, which is said. Among the
    book's it is an error: its tables would lack a number.
    """
    book = read_records(book_results())
    seen = {(r.id, r.value, r.commit) for r in book}
    left_out: list[str] = []
    own = [r for r in read_records(store(), left_out) if (r.id, r.value, r.commit) not in seen]
    for line in left_out:
        say(f"left out: {line}")
    wanted = {"paper": paper, "item": item, "preset": preset}
    return [
        (source, r)
        for source, records in (("book", book), ("own", own))
        for r in records
        if all(v is None or getattr(r, k) == v for k, v in wanted.items())
    ]


def keep(run: Path, over: bool = False) -> list[Path]:
    """Copy the records of a run into the checkout's `results/`, all or none.

    Raises ValueError where there are none, where `results/` has another number under the same name and `over` does
    not say that it may go, or where what is there is no record.
    """
    if checkout() is None:
        raise ValueError("keep copies into a checkout's results/, and this package is installed without a checkout")
    records = read_records(run / "records")
    if not records:
        raise ValueError(f"{shorten(run)}: expected the folder of a run with records/*.json, found no record there")
    for record in records:
        path = book_results() / f"{record.id}.json"
        before = _read(path) if path.exists() or path.is_symlink() else record
        if not over and _number(before) != _number(record):
            raise ValueError(f"{shorten(path)} holds another number, {before.shown()}, and the run's is "
                             f"{record.shown()}; --replace puts the run's records in the place of those")
    return [write_record(book_results(), r) for r in records]


def _number(record: Record) -> tuple:
    """What makes two records of one id the same number."""
    return record.id, record.value, record.error, record.n, record.series, record.weights, record.data["hash"]


# --- tables -------------------------------------------------------------------------------------------------


def table(records: Iterable[tuple[str, Record]]) -> list[dict]:
    """One row for each quantity on the same data, one cell for each preset; seeds stand side by side."""
    rows: dict[tuple, dict] = {}
    for source, r in records:
        key = (
            r.paper,
            r.item,
            r.row,
            r.quantity,
            r.data["name"],
            r.data["preprocessing"],
            r.data["split"],
            source,
        )
        row = rows.setdefault(
            key,
            {
                "paper": r.paper,
                "item": r.item,
                "title": r.title,
                "row": r.row,
                "quantity": r.quantity,
                "unit": r.unit,
                "paper_value": "",
                "data": f"{r.data['name']} {r.data['preprocessing']}",
                "floor": r.shown_floor(),
                "source": source,
                "cells": {},
                "records": [],
            },
        )
        if r.paper_value is not None:
            row["paper_value"] = r.published()
        row["cells"].setdefault(r.preset, []).append((r.seed, r.shown()))
        row["records"].append(r)
    for row in rows.values():
        row["cells"] = {p: _seeds(cells) for p, cells in row["cells"].items()}
    return list(rows.values())


def _seeds(cells: list[tuple[int, str]]) -> str:
    return cells[0][1] if len(cells) == 1 else "; ".join(f"{shown} (seed {seed})" for seed, shown in cells)


def columns(rows: list[dict]) -> list[tuple[str, callable]]:
    """(heading, how to read it from a row): paper's value, one column a preset, data, floor, source."""
    present = [p for p in PRESETS if any(p in row["cells"] for row in rows)]
    read = [
        ("row", lambda r: r["row"]),
        ("quantity", lambda r: r["quantity"]),
        ("paper", lambda r: r["paper_value"]),
    ]
    read += [(p, lambda r, p=p: r["cells"].get(p, "")) for p in present]
    return read + [
        ("data", lambda r: r["data"]),
        ("floor", lambda r: r["floor"]),
        ("source", lambda r: r["source"]),
    ]


def groups(rows: list[dict]) -> list[tuple[str, list[dict]]]:
    """The rows of each table or figure of a paper under its heading."""
    found: dict[str, list[dict]] = {}
    for row in rows:
        title = f"{row['paper'].capitalize()}, {re.sub(r'(?<=[a-z])(?=[0-9])', ' ', row['item'])}"
        found.setdefault(f"{title}: {row['title']}" if row["title"] else title, []).append(row)
    return list(found.items())


def to_text(rows: list[dict]) -> str:
    """The tables for a terminal."""
    blocks = []
    for heading, group in groups(rows):
        read = columns(group)
        cells = [[name for name, _ in read]] + [[f(row) for _, f in read] for row in group]
        widths = [max(len(line[i]) for line in cells) for i in range(len(read))]
        lines = ["  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in cells]
        blocks.append("\n".join([heading, lines[0], "-" * (sum(widths) + 2 * len(widths) - 2), *lines[1:]]))
    return "\n\n".join(blocks)


def to_markdown(rows: list[dict], link: str | None = None) -> str:
    """The tables as Markdown; with a `link`, "results/", every value's record is linked as LINK + ID.json."""
    blocks = []
    for heading, group in groups(rows):
        read = [c for c in columns(group) if c[0] != "source"]
        if link is not None:
            read.append(("record", lambda row: ", ".join(f"[{r.preset}]({link}{r.id}.json)" for r in row["records"])))
        lines = [[name for name, _ in read], ["---"] * len(read)] + [[f(row) for _, f in read] for row in group]
        blocks.append(f"**{heading}**\n\n" + "\n".join("| " + " | ".join(line) + " |" for line in lines))
    return "\n\n".join(blocks)


GENERATED = "Generated by `oneshot results --write`; not to be edited."
EXPLANATION = """\
Every number is a file beside this one. NLL is in nats an image, or, where it says so, in nats/dim: an image's nats
divided by its pixels. "exact" is the likelihood itself; ≤ marks a bound on it: "bound" is the free
energy, "running bound" its mean over the last 1,000 training steps, while the weights moved, "IW K" the
importance-weighted estimate with K samples; ± is the standard error of the mean over the
draws, or over the characters that they are of. The floor is what the binarisation of grey pixels adds to every model's
NLL, so numbers on data with other floors do not compare. Accuracies are in % of queries, larger is better, ± over the
episodes; divergences (KL) are in nats, correlations have no unit. Diversity is a standard deviation in the unit of the
critic's embedding, so that of two critics only ratios compare; recognizability is in % of tests; neither is better for
being larger, people are the mark; ± over the characters. Presets stand in columns of their own. `paper` is the
published value, on the paper's data and at the paper's scale.
"""


def render_book(records: list[Record]) -> str:
    """The text of results/RESULTS.md."""
    body = to_markdown(table(("book", r) for r in records), "") or "No records yet."
    return f"# Results\n\n{GENERATED}\n\n{EXPLANATION}\n\n{body}\n"


def render_readme(records: list[Record], readme: str) -> str:
    """`readme` with the table between its two markers made anew from the test metrics among the records, and what the
    critics of drawings say where the published ones have said it."""
    if readme.count(BEGIN) != 1 or readme.count(END) != 1:
        raise ValueError(f"README.md: expected one {BEGIN} and one {END} for the results table to stand between")
    chosen = [("book", r) for r in records if r.preset != "quick" and (
        r.metric.startswith("test") or ((r.paper, r.item) == ("boutin", "critics") and r.paper_value is not None))]
    body = to_markdown(table(chosen), "results/") or "No records yet."
    return f"{readme.split(BEGIN)[0]}{BEGIN}\n{body}\n{END}{readme.split(END)[1]}"


def write_tables() -> list[Path]:
    """Make RESULTS.md, and README.md's table where it has the markers, anew from `results/`."""
    root = checkout()
    if root is None:
        raise ValueError("RESULTS.md is written in a checkout, and this package is installed without one")
    records, tables = read_records(root / "results"), root / "results/RESULTS.md"
    if tables.exists() and GENERATED not in tables.read_text(encoding="utf-8"):
        raise ValueError(f"{shorten(tables)}: expected the generated tables, found a file without the line "
                         f"{GENERATED!r}; move it away")
    written = {tables: render_book(records)}
    readme = root / "README.md"
    if readme.is_file() and BEGIN in readme.read_text(encoding="utf-8"):
        written[readme] = render_readme(records, readme.read_text(encoding="utf-8"))
    for path, text in written.items():
        (root / "results").mkdir(exist_ok=True)
        write_whole(path, text.encode())
        path.chmod(0o644)
    return list(written)


def revision() -> tuple[str | None, bool | None]:
    """The commit of the checkout and whether tracked files differ from it; (None, None) outside of one."""
    root = checkout()
    if root is None:
        return None, None
    try:
        ask = [
            ["git", "-C", str(root), *words.split()]
            for words in ("rev-parse HEAD", "status --porcelain -uno -- . :!results")
        ]
        commit, status = (
            subprocess.run(a, capture_output=True, text=True, timeout=20, check=False) for a in ask
        )
    except (OSError, subprocess.TimeoutExpired):
        return None, None
    if commit.returncode or status.returncode:  # what can't be looked at is not called clean
        return None, None
    return commit.stdout.strip(), bool(status.stdout.strip())


def failed(record: Record, why: str) -> Record:
    """The record of a number that a run did not reach: kept like any other."""
    return replace(record, value=None, error=None, n=None, series=None, notes=f"failed: {why}")
