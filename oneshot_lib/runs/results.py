"""All numbers together: the book's and this user's own, and the tables that are made of them."""

import re
from collections.abc import Iterable
from pathlib import Path

from oneshot_lib import text
from oneshot_lib.files import say, shorten, write_whole
from oneshot_lib.runs import places
from oneshot_lib.runs.experiment import PRESETS, Experiment
from oneshot_lib.runs.records import Record, read_records, read_run, recorded, write_records

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"


def collect(paper: str | None = None, item: str | None = None, preset: str | None = None) -> list[tuple[str, Record]]:
    """The book's records, then this user's own that differ from them: ("book" or "own", record).

    A file of the user's store that is no record, cut short or of another version, is left out, which is said. Among the
    book's it is an error: its tables would lack a number.
    """
    book = read_records(places.book_results())
    seen = {(r.id, r.value, r.commit) for r in book}
    left_out: list[str] = []
    own = [r for r in read_records(places.store(), left_out) if (r.id, r.value, r.commit) not in seen]
    for line in left_out:
        say(f"left out: {line}")
    wanted = {"paper": paper, "item": item, "preset": preset}
    return [
        (source, r)
        for source, records in (("book", book), ("own", own))
        for r in records
        if all(v is None or getattr(r, k) == v for k, v in wanted.items())
    ]


def keep(run: Path, over: bool = False) -> list[Record]:
    """Put the records of a run into the checkout's `results/`, all or none; returns them.

    Raises ValueError where there are none, where `results/` has another number under the same name and `over` does
    not say that it may go, or where what is there is no run's.
    """
    if places.checkout() is None:
        raise ValueError("keep copies into a checkout's results/, and this package is installed without a checkout")
    found = recorded(run)
    if not found:
        raise ValueError(f"{shorten(run)}: expected the folder of a run with a records.json, found no record there")
    kept = places.book_results() / found[0].file
    before = {record.id: record for record in (read_run(kept) if kept.exists() or kept.is_symlink() else [])}
    for record in found:
        old = before.get(record.id, record)
        if not over and _number(old) != _number(record):
            raise ValueError(f"{shorten(kept)} holds another number as {record.id}, {old.shown()}, and the run's is "
                             f"{record.shown()}; --replace puts the run's records in the place of those")
    write_records(kept, found)
    return found


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
        title = item_title(row["paper"], row["item"])
        found.setdefault(f"{title}: {row['title']}" if row["title"] else title, []).append(row)
    return list(found.items())


def item_title(paper: str, item: str) -> str:
    """How a table or figure is called: "Rezende, table 3"."""
    return f"{paper.capitalize()}, {re.sub(r'(?<=[a-z])(?=[0-9])', ' ', item)}"


def to_text(rows: list[dict]) -> str:
    """The tables for a terminal."""
    blocks = []
    for heading, group in groups(rows):
        read = columns(group)
        lines = text.columns([[f(row) for _, f in read] for row in group], [name for name, _ in read]).splitlines()
        blocks.append("\n".join([heading, lines[0], "-" * max(map(len, lines)), *lines[1:]]))
    return "\n\n".join(blocks)


def to_markdown(rows: list[dict], link: str | None = None) -> str:
    """The tables as Markdown; with a `link`, "results/", every value's record is linked as LINK + its file."""
    blocks = []
    for heading, group in groups(rows):
        read = [c for c in columns(group) if c[0] != "source"]
        if link is not None:
            read.append(("record", lambda row: ", ".join(f"[{r.preset}]({link}{r.file})" for r in row["records"])))
        lines = [[name for name, _ in read], ["---"] * len(read)] + [[f(row) for _, f in read] for row in group]
        blocks.append(f"**{heading}**\n\n" + "\n".join("| " + " | ".join(line) + " |" for line in lines))
    return "\n\n".join(blocks)


GENERATED = "Generated by `oneshot results --write`; not to be edited."
EXPLANATION = """\
Every number stands, with what made it, in the file that its last column names. NLL is in nats an image, or, where it
says so, in nats/dim: an image's nats divided by its pixels. "exact" is the likelihood itself; ≤ marks a bound on it:
"bound" is the free energy, "running bound" its mean over the last 1,000 training steps, while the weights moved, "IW
K" the importance-weighted estimate with K samples; ± is the standard error of the mean over the
draws, or over the characters that they are of. The floor is what the binarisation of grey pixels adds to every model's
NLL, so numbers on data with other floors do not compare. Accuracies are in % of queries, larger is better, ± over the
episodes; divergences (KL) are in nats, correlations have no unit. Diversity is a standard deviation in the unit of the
critic's embedding, so that of two critics only ratios compare; recognizability is in % of tests; neither is better for
being larger, people are the mark; ± over the characters. Presets stand in columns of their own. `paper` is the
published value, on the paper's data and at the paper's scale.
"""


def render_book(found: list[Record]) -> str:
    """The text of results/RESULTS.md."""
    body = to_markdown(table(("book", r) for r in found), "") or "No records yet."
    return f"# Results\n\n{GENERATED}\n\n{EXPLANATION}\n\n{body}\n"


def headlines(found: Iterable[Record], experiments: Iterable[Experiment]) -> list[Record]:
    """The record of each headline of the experiments, of the largest preset that there is, in their order."""
    by_name: dict[tuple, Record] = {}
    for r in sorted(found, key=lambda r: (PRESETS.index(r.preset), -r.seed)):
        by_name[r.experiment, r.row, r.metric, r.kind] = r
    wanted = [(e.name, next(row.name for row in e.rows if row.key == key), metric, kind)
              for e in experiments for key, metric, kind in e.headlines]
    return [by_name[name] for name in wanted if name in by_name]


def render_readme(found: list[Record], readme: str, experiments: Iterable[Experiment]) -> str:
    """`readme` with the table between its two markers made anew from the headlines of the experiments."""
    if readme.count(BEGIN) != 1 or readme.count(END) != 1:
        raise ValueError(f"README.md: expected one {BEGIN} and one {END} for the results table to stand between")
    lines = [f"| {item_title(r.paper, r.item)} | {r.row} | {r.quantity} | {r.published()} "
             f"| [{r.shown()}](results/{r.file}) | {r.preset} |" for r in headlines(found, experiments)]
    heading = ["| table | model | quantity | paper | here | preset |", "| --- | --- | --- | --- | --- | --- |"]
    body = "\n".join([*heading, *lines]) if lines else "No records yet."
    return f"{readme.split(BEGIN)[0]}{BEGIN}\n{body}\n{END}{readme.split(END)[1]}"


def write_tables(experiments: Iterable[Experiment]) -> list[Path]:
    """Make RESULTS.md, and README.md's table where it has the markers, anew from `results/`."""
    root = places.checkout()
    if root is None:
        raise ValueError("RESULTS.md is written in a checkout, and this package is installed without one")
    found, tables = read_records(root / "results"), root / "results/RESULTS.md"
    if tables.exists() and GENERATED not in tables.read_text(encoding="utf-8"):
        raise ValueError(f"{shorten(tables)}: expected the generated tables, found a file without the line "
                         f"{GENERATED!r}; move it away")
    written = {tables: render_book(found)}
    readme = root / "README.md"
    if readme.is_file() and BEGIN in readme.read_text(encoding="utf-8"):
        written[readme] = render_readme(found, readme.read_text(encoding="utf-8"), experiments)
    for path, content in written.items():
        (root / "results").mkdir(exist_ok=True)
        write_whole(path, content)
    return list(written)
