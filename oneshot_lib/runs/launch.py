"""From a command to a finished run: check everything, execute the notebook elsewhere, say how it went.

What a user can get wrong (a name, a setting, the data, the folder) is found before a kernel starts.
"""

import contextlib
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from oneshot_lib.files import shorten, write_whole
from oneshot_lib.runs import places
from oneshot_lib.runs.experiment import Experiment
from oneshot_lib.runs.folder import claim, configuration
from oneshot_lib.runs.records import Record, recorded, write_records

PATIENCE = 30.0  # seconds in which an interrupted run may save itself
REPEAT = 5.0  # seconds after which it is asked again: between two cells a kernel is deaf


@dataclass(frozen=True)
class Outcome:
    """How a run went: `status` is "done", "stopped" (the time budget), "interrupted" or "failed"."""

    status: str
    message: str
    code: int
    out: Path
    records: tuple[Record, ...] = ()


def launch(
    chosen: Experiment,
    preset: str,
    seed: int = 0,
    out: Path | None = None,
    minutes: float | None = None,
    device: str = "cpu",
    overrides: dict | None = None,
    show: Callable[[str], None] = sys.stderr.write,
) -> Outcome:
    """Run or resume an experiment in `out`; what it prints while it trains goes to `show`.

    Raises ValueError (DataError among them) or OSError for what can be found before the notebook starts.
    """
    settings = chosen.settings(preset, overrides)
    source = places.notebook(chosen.name)
    if minutes is not None and not 0 < minutes < math.inf:
        raise ValueError(f"minutes is {minutes:g}; expected a number above 0")
    dataset = chosen.dataset(preset, settings)
    settings.check_run(dataset, chosen.split)
    for reduction in {chosen.reduction(row) for row in chosen.chosen(settings)} if chosen.pictures else ():
        dataset.grey(reduction)
    if device != "cpu":
        from oneshot_lib.runs.run import check_device

        check_device(device)
    out = Path(out or Path("runs") / f"{chosen.name}-{preset}-seed{seed}").resolve()
    claim(out, configuration(chosen, preset, seed, settings, device, dataset), chosen)
    with _sole(out):
        if (out / "DONE").is_file():
            return _done(out, "was finished before")
        parameters = {
            "preset": preset,
            "seed": seed,
            "out": str(out),
            "minutes": minutes,
            "device": device,
            "overrides": dict(overrides or {}),
        }
        task = {
            "notebook": str(source),
            "output": str(out / "notebook.ipynb"),
            "folder": str(out),
            "parameters": parameters,
        }
        return _finish(out, preset, *_execute(task, out, limit_seconds(chosen, preset, minutes), show))


def limit_seconds(chosen: Experiment, preset: str, minutes: float | None) -> float:
    """When a run counts as hung: four times what it should take, and ten minutes."""
    expected = chosen.minutes[preset]
    return 60 * (10 + 4 * (expected if minutes is None else min(expected, minutes) + 0.25 * expected))


@contextlib.contextmanager
def _sole(out: Path):
    """One command at a time in a folder. The lock goes with the process, however that ends."""
    from filelock import FileLock, Timeout

    lock = FileLock(out / ".command.lock")
    try:
        lock.acquire(timeout=1)
    except Timeout:
        raise OSError(
            f"{shorten(out)}: another `oneshot run` is at work in it; wait for it, or give another --out"
        ) from None
    try:
        yield
    finally:
        lock.release()


def _execute(task: dict, out: Path, limit: float, show: Callable[[str], None]) -> tuple[int, dict, int | None]:
    """Start the executing process and stay with it: (exit code, what it says, the signal that stopped it)."""
    live = out / ".live"
    live.write_bytes(b"")
    terminal = sys.stderr.isatty()
    environment = dict(
        os.environ,
        ONESHOT_LIVE=str(live),
        ONESHOT_TERMINAL=str(int(terminal)),
        ONESHOT_ENCODING=getattr(sys.stderr, "encoding", None) or "utf-8",
        COLUMNS=str(shutil.get_terminal_size().columns),
        PYDEVD_DISABLE_FILE_VALIDATION="1",
    )
    with (
        open(out / "run.log", "wb") as log,
        open(live, encoding="utf-8", errors="replace", newline="") as progress,
    ):
        with _asked_to_stop() as asked:
            process = subprocess.Popen(
                [sys.executable, "-m", "oneshot_lib.runs.execute", json.dumps(task)],
                cwd=out,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
            try:
                _stay(process, progress, asked, time.monotonic() + limit, show)
            finally:
                with contextlib.suppress(OSError):
                    process.stdin.close()  # the end of the words: the kernel is killed if it still lives
            said = process.stdout.read().decode(errors="replace")
            code = process.wait()
            show(progress.read())
    live.unlink(missing_ok=True)
    return code, _outcome(said, code, out), asked[0] if asked else None


def _stay(process, progress, asked: list[int], deadline: float, show: Callable[[str], None]) -> None:
    """Until the process ends: pass on what is printed, hand on a request to stop, and mind the time limit."""
    told, heard = -REPEAT, 0
    while process.poll() is None:
        show(progress.read())
        now = time.monotonic()
        if now > deadline and asked:
            return
        if now > deadline:
            raise OSError("the run passed its time limit and was stopped; the same command goes on where it was")
        if asked and not heard:
            show(f"\n{signal.Signals(asked[0]).name}: saving, a moment; once more stops at once\n")
            deadline = now + PATIENCE
        if len(asked) > max(heard, 1):
            return
        heard = len(asked)
        if asked and now - told > REPEAT:
            with contextlib.suppress(OSError):
                process.stdin.write(b"interrupt\n")
                process.stdin.flush()
            told = now
        time.sleep(0.05)


@contextlib.contextmanager
def _asked_to_stop():
    """While it lasts SIGINT, SIGTERM and SIGHUP are noted in the list that it gives."""
    asked: list[int] = []
    numbers = [getattr(signal, n) for n in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, n)]
    before = {number: signal.signal(number, lambda n, _: asked.append(n)) for number in numbers}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _outcome(said: str, code: int, out: Path) -> dict:
    with contextlib.suppress(ValueError, IndexError):
        return json.loads(said.strip().splitlines()[-1])
    tail = (out / "run.log").read_text(errors="replace").strip().splitlines()
    return {
        "error": "NotebookDied",
        "message": f"exit code {code}; {tail[-1] if tail else 'nothing was said'}",
    }


def _finish(out: Path, preset: str, code: int, said: dict, stopped_by: int | None) -> Outcome:
    """The outcome, from the exit code first. DONE is written here, after everything else is on the disk."""
    records = tuple(recorded(out))
    if code == 0:
        message = "done"
        try:
            if records and preset != "quick":
                write_records(places.store() / records[0].file, records)
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or error
            message = f"done, but {shorten(places.store())} can't be written ({why}): keep the records yourself"
        write_whole(out / "DONE", b"")
        return _done(out, message)
    if stopped_by is not None:
        reached = f"; {said['message']}" if said.get("error") == "Interrupted" else "; the same command goes on"
        return Outcome(
            "interrupted",
            f"stopped by {signal.Signals(stopped_by).name}{reached}",
            128 + stopped_by,
            out,
            records,
        )
    if said["error"] == "TimeSpent":
        return Outcome("stopped", said["message"], 0, out, records)
    message = " ".join(str(said["message"]).split()) or "no message"
    return Outcome("failed", f"{said['error']}: {message}", 1, out, records)


def _done(out: Path, message: str) -> Outcome:
    return Outcome("done", message, 0, out, tuple(recorded(out)))
