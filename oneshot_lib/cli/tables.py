"""What the commands show, as data for --json and as text."""

from oneshot_lib.choices import check
from oneshot_lib.experiments import EXPERIMENTS
from oneshot_lib.runs.experiment import PRESETS
from oneshot_lib.text import columns


def duration(minutes: float) -> str:
    """A length of time as one says it: "12 s", "140 min", "25 h"."""
    if minutes < 1:
        return f"{60 * minutes:.0f} s"
    return f"{minutes:.0f} min" if minutes <= 180 else f"{minutes / 60:.0f} h"


# --- list ---------------------------------------------------------------------------------------------------


def catalogue() -> list[dict]:
    """Experiments, then shipped models."""
    from oneshot_lib import weights

    found = []
    for e in EXPERIMENTS.values():
        presets = {
            p: {
                "expected_minutes": e.minutes[p],
                "on": "one GPU" if p == "full" else "two cores",
                "rows": [row.name for row in e.chosen(e.presets[p])],
            }
            for p in PRESETS
        }
        found.append(
            {
                "kind": "experiment",
                "name": e.name,
                "title": e.title,
                "reference": e.reference,
                "data": f"{e.data} {e.preprocessing}, split {e.split}",
                "presets": presets,
            }
        )
    return found + [{"kind": "model", "name": name, **model_shown(entry)} for name, entry in weights.manifest().items()]


def model_shown(entry: dict) -> dict:
    """What is printed of a shipped model: its data in words, "omniglot 28-nearest, 30-20"."""
    from oneshot_lib import weights

    shown = {key: entry[key] for key in ("config", "data", "model", "preset", "record", "sha256", "steps_trained",
                                         "started_from") if key in entry}  # fmt: skip
    for about in filter(None, (shown, shown.get("started_from"))):
        about["data"] = weights.in_words(about["data"])
    return shown


def catalogue_text(found: list[dict]) -> str:
    experiments = [e for e in found if e["kind"] == "experiment"]
    rows = [
        [e["name"], e["title"], *(duration(e["presets"][p]["expected_minutes"]) for p in PRESETS)] for e in experiments
    ]
    blocks = [
        columns(rows, ["experiment", "what", *PRESETS]),
        "quick and laptop: on two cores; full: guessed for one GPU, not measured yet.",
        "Run one: oneshot run NAME --preset quick",
    ]
    models = [[m["name"], str(m.get("model", "")), str(m.get("preset", ""))] for m in found if m["kind"] == "model"]
    if models:
        blocks += [
            columns(models, ["model", "class", "preset"]),
            "Let one draw: oneshot draw MODEL -o drawing.gif",
        ]
    return "\n\n".join(blocks)


# --- run and results ----------------------------------------------------------------------------------------


def run_text(outcome) -> str:
    from oneshot_lib.files import shorten
    from oneshot_lib.runs.results import table, to_text

    text = to_text(table(("this run", r) for r in outcome.records))
    what = "the weights, the records and notebook.ipynb" if outcome.status == "done" else "what was done so far"
    where = f"{outcome.status}: {shorten(outcome.out)} holds {what}"
    return f"{text}\n\n{where}" if text else where


def known_filters(paper: str | None, item: str | None, preset: str | None) -> tuple:
    """The filters of `results` as they came. Raises ValueError where nothing can match."""
    if paper is not None:
        check(paper, {e.paper for e in EXPERIMENTS.values()}, "paper")
    if item is not None:
        check(item, {i for e in EXPERIMENTS.values() for i in (e.item, *e.also)}, "item")
    if preset is not None:
        check(preset, PRESETS, "preset")
    return paper, item, preset


def results_text(found: list) -> str:
    from oneshot_lib.runs.results import table, to_text

    if not found:
        return "No records. Make some: oneshot run rezende-table3 --preset laptop"
    return (
        f"{to_text(table(found))}\n\n≤: a bound, the truth lies below. ±: standard error. floor: nats that "
        "binarisation costs every model.\nsource: book = shipped records, own = runs on this machine."
    )


# --- data ---------------------------------------------------------------------------------------------------


def data_text(found: list[dict]) -> str:
    rows = [[d["name"], "found" if d["found"] else "missing", d["where"] or ""] for d in found]
    notes = [f"{d['name']}: {d['problem'] or d['get']}" for d in found if not d["found"] or d["problem"]]
    return "\n".join([columns(rows, ["data set", "", "where"]), *notes])


# --- bench --------------------------------------------------------------------------------------------------


def benchmarks_text(found: list[dict]) -> str:
    def number(value) -> str:
        return "" if value is None else f"{value:.3g}"

    rows = [
        [
            b["name"],
            f"{number(b['value'])} {b['unit']}",
            number(b["reference"]),
            number(b["ratio"]),
            number(b["target"]),
            "" if None in (b["ratio"], b["target"]) else "yes" if b["ratio"] <= b["target"] else "no",
        ]
        for b in found
    ]
    table = columns(rows, ["benchmark", "value", "reference", "ratio", "target", "reached"])
    return "\n".join([table, *(f"{b['name']}: {b['note']}" for b in found if b.get("note"))])
