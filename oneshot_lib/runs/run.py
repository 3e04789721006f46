"""A run as its notebook sees it: the data, the rows to train, the time that is left, the records."""

import atexit
import contextlib
import hashlib
import math
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from oneshot_lib import machine
from oneshot_lib.data import binarisation_floor
from oneshot_lib.evaluation import Estimate
from oneshot_lib.runs.experiment import Experiment, Row, Settings
from oneshot_lib.runs.folder import claim, configuration, keep_choice
from oneshot_lib.runs.provenance import provenance
from oneshot_lib.runs.records import Record, failed, recorded, write_records
from oneshot_lib.training import Diverged, TrainingConfig, TrainingReport, run_lock, train

APART = 7_919  # between the seeds of a row's several trainings
TEMPORARY = "oneshot-run-"  # how the folders of runs without one are called
_held: dict[Path, contextlib.ExitStack] = {}  # the folders that this process has locked


class TimeSpent(Exception):
    """The time budget is spent and everything is saved; the same command goes on."""

    def _render_traceback_(self) -> list[str]:
        return [f"TimeSpent: {self}"]  # Jupyter shows this instead of a traceback


class Run:
    """What `start` returns. `settings`, `rows`, `dataset` and, of pictures, `split` (its rows),
    `train_images` and `test_images` (uint8, grey), `floor` (nats of each half).
    """

    def __init__(
        self,
        experiment: Experiment,
        preset: str,
        seed: int,
        settings: Settings,
        out: Path,
        device: str,
        minutes: float | None,
        dataset,
    ):
        self.experiment, self.preset, self.seed, self.settings = experiment, preset, seed, settings
        self.out, self.device, self.dataset = out, device, dataset
        self.deadline = math.inf if minutes is None else time.monotonic() + 60 * minutes
        self.rows = experiment.chosen(settings)
        if experiment.pictures:
            self.split = dataset.split(experiment.split)
            self.train_images, self.test_images = (
                self._half(experiment.preprocessing, half) for half in ("train", "test")
            )
        self._floors: dict[tuple[str, str], float] = {}
        self.notes: dict[str, list[str]] = {}  # what is to be said of a row in its records
        self.reports: dict[str, TrainingReport] = {}
        self.records: list[Record] = []
        about = claim(out, configuration(experiment, preset, seed, settings, device, dataset), experiment)
        self.commit, self.dirty = provenance(about["revisions"], experiment)
        self.products = self._products(about)

    def _products(self, about: dict) -> torch.dtype:
        """What the large products of training run in. A measured choice is kept in run.json: a resumed run keeps it."""
        name = self.settings.products
        if name == "measured":
            fresh = torch.float32 if self.device != "cpu" else self.settings.faster_products()
            fresh = str(fresh).removeprefix("torch.")
            name = keep_choice(self.out, about, "products", fresh)
            with live_progress():
                print(f"large products in {name}, measured to be the faster here", flush=True)
        return getattr(torch, name)

    def _half(self, preprocessing: str, half: str) -> np.ndarray:
        limit = getattr(self.settings, f"{half}_images", None)
        return self.dataset.grey(preprocessing)[getattr(self.split, half)[:limit]]

    def floor_of(self, preprocessing: str, half: str) -> float:
        """What binarisation costs every model of these images, nats an image; half is "train" or "test"."""
        if (preprocessing, half) not in self._floors:
            self._floors[preprocessing, half] = binarisation_floor(self._half(preprocessing, half))
        return self._floors[preprocessing, half]

    def _record_floor(self, preprocessing: str, metric: str, unit: str) -> float | None:
        """The floor of a picture's NLL in the NLL's own unit: nats an image, or in nats/dim each pixel's share."""
        if not self.experiment.pictures or "NLL" not in metric:
            return None
        half = "train" if metric.startswith("train") else "test"
        floor = self.floor_of(preprocessing, half)
        return round(floor / self._half(preprocessing, half)[0].size, 5) if unit == "nats/dim" else round(floor, 3)

    @property
    def floor(self) -> dict[str, float]:
        return {half: self.floor_of(self.experiment.preprocessing, half) for half in ("train", "test")}

    @property
    def minutes_left(self) -> float | None:
        left = (self.deadline - time.monotonic()) / 60
        return None if left == math.inf else left

    def check_time(self, what: str) -> None:
        """Raises TimeSpent where the budget does not reach as far as `what`."""
        if self.minutes_left is not None and self.minutes_left <= 0:
            raise TimeSpent(f"the time budget is spent before {what}; the same command goes on from there")

    def train(
        self,
        row: Row,
        model: torch.nn.Module,
        objective,
        *,
        attempt: int | None = None,
        start_from: dict | None = None,
        metric: tuple[str, str] = ("test NLL", "bound"),
        **probes,
    ) -> TrainingReport:
        """Train one row in its own folder, or load what is already there. `objective(model, step,
        generator)` -> (B,).

        `attempt` numbers the trainings of a row that has several, each with a seed and a folder of its own;
        `start_from` are tensors to begin with; `metric` (metric, kind) is what fails where training does;
        `probes` go to `oneshot_lib.training.train`. Raises TimeSpent when the budget is spent first; a run that
        diverges leaves a record that says so.
        """
        s = self.settings
        config = TrainingConfig(
            steps=s.steps(row),
            batch_size=s.images_a_step(),
            learning_rate=s.learning_rate,
            schedule=s.schedule,
            warmup=s.warmup,
            checkpoint_every=s.checkpoint_every,
            seed=self.seed + APART * (attempt or 0),
        )
        if start_from is not None:
            model.load_state_dict(start_from)
        model.product_dtype = self.products
        try:
            with live_progress():
                report = train(
                    model,
                    objective,
                    config,
                    self.out / row.key / ("" if attempt is None else f"run{attempt + 1}"),
                    minutes=self.minutes_left,
                    device=self.device,
                    label=row.name,
                    **probes,
                )
        except Diverged as error:
            self._write(failed(self._describe(row, *metric), str(error)))
            raise
        if not report.finished:
            raise TimeSpent(f"{row.name}: {report.message}")
        self.reports[row.key] = report
        model.product_dtype = torch.float32
        model.eval()
        return report

    def measured(self, row: Row, metric: str, kind: str, measure: Callable[[], Estimate], **more) -> Record:
        """Write what `measure()` finds, in the record's own sign and unit; where the same weights were measured in
        this folder before, that record is taken instead. `more` is as in `record_value`.
        """
        wanted = self._describe(row, metric, kind, **more)
        before = next((record for record in recorded(self.out) if record.id == wanted.id), None)
        if before is not None and before.value is not None and before.weights == wanted.weights:
            self.records.append(before)
            return before
        self.check_time(f"{metric} of {row.name}")
        with live_progress():
            found = measure()
        return self._write(replace(wanted, value=_plain(found.value), error=_plain(found.error), n=found.n))

    def record(self, row: Row, metric: str, estimate: Estimate, **more) -> Record:
        """Write an estimate of log p(x), a bound or importance-weighted, as the NLL `metric` ("test NLL",
        "train NLL").
        """
        kind = {"kind": "bound"} if estimate.k == 1 else {"kind": "iw", "k": estimate.k}
        return self.record_value(row, metric, value=-estimate.value, error=estimate.error, n=estimate.n, **kind, **more)

    def record_value(
        self, row: Row, metric: str, kind: str, value: float, error: float | None = None, **more
    ) -> Record:
        """Write any other number of a row; `more` are fields of `oneshot_lib.runs.records.Record` (n, series,
        item, ...).
        """
        return self._write(self._describe(row, metric, kind, value=_plain(value), error=_plain(error), **more))

    def _describe(self, row: Row, metric: str, kind: str, **more) -> Record:
        e = self.experiment
        report = self.reports.get(row.key)
        reduction = e.reduction(row)
        products = [] if self.products == torch.float32 else [f"trained with large products in {self.products}"]
        updates = [f"{report.steps:,} updates of {self.settings.images_a_step():,} examples"] if report else []
        said = [*updates, *products, *self.notes.get(row.key, []), *filter(None, [more.pop("notes", "")])]
        fields = dict(
            paper=e.paper,
            item=e.item,
            row=row.name,
            metric=metric,
            unit="nats",
            kind=kind,
            value=None,
            error=None,
            n=None,
            paper_value=row.printed_value(metric, kind),
            preset=self.preset,
            minutes=round(report.seconds / 60, 2) if report else None,
            device=device_name(self.device),
            seed=self.seed,
            commit=self.commit,
            dirty=self.dirty,
            data={
                "name": self.dataset.name,
                "preprocessing": reduction,
                "split": e.split,
                "hash": self.dataset.hash,
            },
            floor=self._record_floor(reduction, metric, more.get("unit", "nats")),
            title=e.title,
            notes="; ".join(said),
            command=self.command,
            weights=hashlib.sha256(report.weights.read_bytes()).hexdigest() if report else None,
        )
        return Record(**{**fields, **more})

    def _write(self, record: Record) -> Record:
        write_records(self.out / "records.json", [*recorded(self.out), record])
        self.records.append(record)
        return record

    @property
    def command(self) -> str:
        """What makes this run again."""
        standard = self.experiment.settings(self.preset)
        changed = {k: v for k, v in vars(self.settings).items() if v != getattr(standard, k)}
        options = [f"-p {k}={','.join(map(str, v)) if isinstance(v, tuple) else v}" for k, v in changed.items()]
        device = [f"--device {self.device}"] if self.device != "cpu" else []
        return " ".join(
            [
                f"oneshot run {self.experiment.name} --preset {self.preset} --seed {self.seed}",
                *options,
                *device,
            ]
        )


def start(
    chosen: Experiment,
    preset: str = "quick",
    seed: int = 0,
    out: str | None = None,
    minutes: float | None = None,
    device: str = "cpu",
    overrides: dict | None = None,
) -> Run:
    """Start or resume the run of an experiment in the folder `out` (None: a temporary one, gone with the
    process).

    `overrides` replaces settings of the preset. Raises ValueError on bad settings or a folder with another
    configuration, OSError where the folder can't be written or another process works in it, DataError on
    bad data.
    """
    settings = chosen.settings(preset, overrides)
    check_device(device)
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    dataset = chosen.dataset(preset, settings)
    if out is None:
        sweep_temporary()
        out = tempfile.mkdtemp(prefix=TEMPORARY)
        atexit.register(shutil.rmtree, out, ignore_errors=True)
    folder = Path(out).resolve()
    _hold(folder)
    return Run(chosen, preset, seed, settings, folder, device, minutes, dataset)


def sweep_temporary(age: float = 60.0) -> None:
    """Remove the temporary folders of runs whose process was killed: `age` seconds old, and nobody holds the lock."""
    for folder in Path(tempfile.gettempdir()).glob(f"{TEMPORARY}*"):
        with contextlib.suppress(OSError):  # a run is at work in it, or it is someone else's
            if time.time() - folder.stat().st_mtime > age:
                with run_lock(folder, timeout=0):
                    shutil.rmtree(folder)


def _hold(folder: Path) -> None:
    """Lock the folder for this process, as long as it lives; a second start in it takes over from the
    first.
    """
    if folder in _held:
        return
    stack = contextlib.ExitStack()
    stack.enter_context(run_lock(folder))
    _held[folder] = stack
    atexit.register(stack.close)


def check_device(device: str) -> None:
    """Raises ValueError unless torch can compute on `device`: "cpu", "cuda", "cuda:1", "mps"."""
    kind = device.split(":")[0]
    if kind not in ("cpu", "cuda", "mps"):
        raise ValueError(f"device is {device!r}; expected cpu, cuda, cuda:N or mps")
    ready = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not ready[kind]:
        raise ValueError(f"device is {device!r}, and torch finds none here; --device cpu works everywhere")


def device_name(device: str) -> str:
    """What a record says of the device: "cpu: AMD EPYC 7763, 2 threads", "cuda: NVIDIA H200"."""
    if device.startswith("cuda"):
        return f"cuda: {torch.cuda.get_device_name(device)}"
    return f"{device}: {machine.processor()}, {torch.get_num_threads()} threads"


@contextlib.contextmanager
def live_progress():
    """Under `oneshot run`, whose terminal is not this process's: what is printed meanwhile goes there,
    through a file.
    """
    path = os.environ.get("ONESHOT_LIVE")
    if not path:
        yield
        return
    with open(path, "a", encoding="utf-8") as file:
        stream = _Live(file, os.environ.get("ONESHOT_TERMINAL") == "1", os.environ.get("ONESHOT_ENCODING", "utf-8"))
        with contextlib.redirect_stdout(stream), contextlib.redirect_stderr(stream):
            yield


class _Live:
    """A text stream into the live file that says it is a terminal, and of its encoding, if the command's is one."""

    def __init__(self, file, terminal: bool, encoding: str):
        self.file, self.terminal, self.encoding = file, terminal, encoding

    def write(self, text: str) -> int:
        count = self.file.write(text)
        self.file.flush()
        return count

    def flush(self) -> None:
        self.file.flush()

    def isatty(self) -> bool:
        return self.terminal


def _plain(value) -> float | None:
    """A number for a record: an error that one draw can't have (nan) is none."""
    value = None if value is None else float(np.asarray(value))
    return None if value is None or math.isnan(value) else round(value, 5)
