"""The commands. Each reads its arguments, asks the library, and prints: text for people, JSON with --json."""

import codecs
import json
import sys
from pathlib import Path
from typing import Annotated

import typer

LARGEST_SEED = 2**63 - 1  # of what every generator of numpy and torch takes
SPELLED = {"≤ ": "<=", "± ": "+-", "≤": "<=", "±": "+-"}  # as wide as the signs, so that columns stay aligned


class Ended(Exception):
    """The end of a command that has said all, with an exit code of its own."""

    def __init__(self, code: int):
        super().__init__(f"exit code {code}")
        self.code = code


app = typer.Typer(
    name="oneshot",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Re-run the tables of three papers on one-shot generative models, and draw with the trained ones.",
    epilog="Start with: oneshot list",
)

Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


def within_range(seed: int) -> int:
    if not 0 <= seed <= LARGEST_SEED:
        raise ValueError(f"--seed is {seed}; expected 0 to {LARGEST_SEED}")
    return seed


Seed = Annotated[int, typer.Option(help="What every random number follows from.", callback=within_range)]


def put(value, as_json: bool, text: str) -> None:
    """Print `value` as JSON, or `text`, in what standard output can encode: JSON falls back on its own escapes."""
    encoding = codecs.lookup(getattr(sys.stdout, "encoding", None) or "utf-8").name
    if as_json:
        text = json.dumps(value, indent=1, ensure_ascii=False)
        if encoding != "utf-8" or not encodable(text, encoding):  # JSON is UTF-8
            text = json.dumps(value, indent=1)
    else:
        for sign, spelling in SPELLED.items():
            text = text if encodable(sign, encoding) else text.replace(sign, spelling)
    print(text)


def note(lines: list[str]) -> None:
    """Say what a user should know besides the answer, a line each on standard error."""
    for line in lines:
        print(f"oneshot: {line}", file=sys.stderr)


def encodable(text: str, encoding: str) -> bool:
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


@app.command("list", epilog="Example: oneshot list --json")
def list_(as_json: Json = False) -> None:
    """Experiments with their presets and expected times, and the trained models that are shipped."""
    from oneshot_lib.cli import tables

    found = tables.catalogue()
    put(found, as_json, tables.catalogue_text(found))


@app.command(epilog="Example: oneshot run rezende-table3 --preset laptop --minutes 30")
def run(
    name: Annotated[str, typer.Argument(help="An experiment, PAPER-ITEM; `oneshot list` has them.")],
    preset: Annotated[str, typer.Option(help="quick, laptop or full.")] = "quick",
    set_: Annotated[
        list[str] | None, typer.Option("-p", "--set", metavar="KEY=VALUE", help="Replace a setting.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The run's folder; runs/NAME-PRESET-seedN unless given.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Stop cleanly after so long; the same command goes on.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, mps; full means cuda unless given.")] = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Make a table of a paper again. The same command on the same folder goes on where it stopped."""
    from oneshot_lib.cli import tables
    from oneshot_lib.experiments import experiment
    from oneshot_lib.runs.launch import launch

    device = device or ("cuda" if preset == "full" else "cpu")
    outcome = launch(experiment(name), preset, seed, out, minutes, device, settings(set_ or []), show=show)
    report = {
        "status": outcome.status,
        "message": outcome.message,
        "out": str(outcome.out),
        "records": [r.to_json() for r in outcome.records],
    }
    if outcome.status != "done":
        note([f"{name}: {outcome.message}"])
    put(report, as_json, tables.run_text(outcome))
    raise Ended(outcome.code)


def show(text: str) -> None:
    """Pass on what a run prints while it trains: to standard error, so that standard output is the result."""
    sys.stderr.write(text)
    sys.stderr.flush()


def settings(pairs: list[str]) -> dict[str, str]:
    """["batch_size=48"] -> {"batch_size": "48"}. Raises ValueError where there is no "="."""
    for pair in pairs:
        if "=" not in pair:
            raise ValueError(f"-p is {pair!r}; expected KEY=VALUE, as in -p batch_size=48")
    return dict(pair.split("=", 1) for pair in pairs)


@app.command(epilog="Example: oneshot results --paper rezende --item table3")
def results(
    paper: Annotated[str | None, typer.Option(help="Only this paper, as in rezende.")] = None,
    item: Annotated[str | None, typer.Option(help="Only this table or figure, as in table3.")] = None,
    preset: Annotated[str | None, typer.Option(help="Only this preset.")] = None,
    keep: Annotated[Path | None, typer.Option(metavar="DIR", help="Copy a run's records into the checkout.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="With --keep: also over another number.")] = False,
    write: Annotated[bool, typer.Option("--write", help="Make RESULTS.md and the README's table anew.")] = False,
    as_json: Json = False,
) -> None:
    """Every number with its error beside the paper's: the book's, and those of your own runs."""
    from oneshot_lib.cli import tables
    from oneshot_lib.experiments import EXPERIMENTS
    from oneshot_lib.runs import results as records

    if keep is not None:
        kept = records.keep(keep, replace)
        note([f"kept {len(kept)} records in results/; `oneshot results --write` puts them into the tables"])
    if write:
        note([f"written: {', '.join(p.name for p in records.write_tables(EXPERIMENTS.values()))}"])
    found = records.collect(*tables.known_filters(paper, item, preset))
    put([{"source": source, **r.to_json()} for source, r in found], as_json, tables.results_text(found))


@app.command(epilog="Example: oneshot data")
def data(
    download: Annotated[str | None, typer.Option(metavar="NAME", help="Fetch a data set into the cache.")] = None,
    as_json: Json = False,
) -> None:
    """Which data sets are here, where they were found, what is missing and how to get it."""
    from oneshot_lib import data as sets
    from oneshot_lib.cli import tables

    if download is not None:
        sets.download(download)
    sets.verify()
    found = sets.describe()
    put(found, as_json, tables.data_text(found))


@app.command(epilog="Example: oneshot draw omniglot28-st-additive-t20 -n 16 -o drawing.gif")
def draw(
    model: Annotated[str, typer.Argument(help="A shipped model; `oneshot list` has them.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="FILE.png, or FILE.gif for the drawing step by step.")],
    n: Annotated[int, typer.Option("-n", help="How many drawings.")] = 16,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Let a trained model draw: symbols that nobody has drawn before."""
    from oneshot_lib.cli.drawing import draw_file

    report = draw_file(model, n, seed, out)
    put(
        report,
        as_json,
        f"{out}: {n} drawings by {model}, {report['frames']} frame{'s' * (report['frames'] > 1)}",
    )


@app.command(epilog="Example: oneshot classify letters/ unknown.png --json")
def classify(
    support: Annotated[Path, typer.Argument(help="A folder: one picture, or one sub-folder of pictures, a class.")],
    query: Annotated[list[Path], typer.Argument(help="Pictures, or folders of pictures.")],
    samples: Annotated[int, typer.Option(help="Of the class, and half as many of its element; 20 in the paper.")] = 4,
    model: Annotated[str, typer.Option(help="A shipped model over sets.")] = "omniglot28-vhe-pixelcnn-longer",
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Which class each picture belongs to, decided by how probable every class makes it."""
    from oneshot_lib.cli import classify as asked

    found = asked.classify_files(support, query, model, samples, seed)
    note(found[0]["skipped"])
    put(found, as_json, asked.answer_text(found))


@app.command(epilog="Example: oneshot vary letter.png -n 20 -o grid.png")
def vary(
    images: Annotated[
        list[Path], typer.Argument(metavar="IMAGE...", help="Pictures; or a folder of pictures of one character.")
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="FILE.png: what was given, framed, beside its drawings.")],
    n: Annotated[int, typer.Option("-n", help="How many drawings of each.")] = 20,
    each: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="One file a drawing, DIR/STEM/000.png: black on white, pixels enlarged x4."),
    ] = None,
    model: Annotated[str, typer.Option(help="A shipped model over sets.")] = "omniglot28-vhe-pixelcnn-longer",
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Draw the character in a picture again, as others would have drawn it."""
    from oneshot_lib.cli import vary as drawn

    report = drawn.vary_files(images, n, out, each, seed, model)
    note(report["skipped"])
    put(report, as_json, drawn.done_text(report, out, each))


@app.command(epilog="Example: oneshot bench sequential")
def bench(
    name: Annotated[str | None, typer.Argument(help="One benchmark; all of them unless given.")] = None,
    as_json: Json = False,
) -> None:
    """Speed on this machine, each as a ratio to a reference that was measured in the same run."""
    from oneshot_lib import benchmarks
    from oneshot_lib.cli import tables

    found = benchmarks.run(name)
    put(found, as_json, tables.benchmarks_text(found))


@app.command(epilog="Example: oneshot doctor")
def doctor(as_json: Json = False) -> None:
    """What this machine has, and which presets it can run."""
    from oneshot_lib.cli.doctor import examination_text, examine

    found = examine()
    put(found, as_json, examination_text(found))
