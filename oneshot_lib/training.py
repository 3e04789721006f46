"""One loop for every model: it maximises a bound, survives what goes wrong, and resumes to the same bits.

A run is a folder. While it is unfinished the folder holds `checkpoint.safetensors`, from which the same call goes on;
in the end it holds `weights.safetensors`. A run that was killed and resumed leaves the same bytes as one that never
stopped, because everything random at step s is drawn from a generator seeded with (seed, s), and everything that the
loop remembers (weights, Adam's moments, the history of the objective) is in the checkpoint.

What goes wrong, and what happens then:
- NaN, infinity or a sudden fall of the bound: the update is skipped and counted. After `patience` of them in a row the
  run goes back to its last good checkpoint and takes other noise from there (Hewitt 2018, supplement 6.4.1, restarted
  by hand).
- SIGINT, SIGTERM: the step is finished, the checkpoint saved, `Interrupted` raised.
- kill -9, a power cut: what is lost is the time since the last checkpoint. No file is ever half-written.
- The time budget is spent: the checkpoint is saved and the report says `finished=False`.
- No room or no right to write: an OSError before the first step.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from filelock import FileLock, Timeout
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn

from .files import write_whole
from .progress import Progress
from .streams import stream

Objective = Callable[[nn.Module, int, torch.Generator], Tensor]
Probe = Callable[[nn.Module, int], dict[str, float]]


class Interrupted(Exception):
    """The run was asked to stop (SIGINT or SIGTERM) and has saved itself. `signal` holds the number."""

    def __init__(self, number: int, message: str):
        super().__init__(message)
        self.signal = number


class Diverged(RuntimeError):
    """The objective failed again after every return to the last good checkpoint."""


@dataclass(frozen=True)
class TrainingConfig:
    """How a model is trained. The defaults are Rezende 2016, section 4, where it speaks: 800,000 steps of 24 images.

    The rest is ours: Adam; a learning rate that rises over `warmup` steps and falls on half a cosine to zero at `steps`
    (`schedule="constant"` keeps it); gradients clipped to norm `gradient_clip`. An update is skipped where the bound
    lies more than `spike` robust standard deviations below the median of the last `window` steps.
    """

    steps: int = 800_000
    batch_size: int = 24
    learning_rate: float = 1e-3
    schedule: str = "cosine"
    warmup: int = 100
    gradient_clip: float = 10.0
    seed: int = 0
    checkpoint_every: int = 1000
    window: int = 200
    spike: float = 30.0
    patience: int = 10
    returns: int = 8

    def __post_init__(self):
        for name in ("steps", "batch_size", "checkpoint_every", "window", "patience"):
            if not isinstance(getattr(self, name), int) or getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)!r}; expected a whole number of at least 1")
        if self.schedule not in ("cosine", "constant"):
            raise ValueError(f"schedule is {self.schedule!r}; expected 'cosine' or 'constant'")
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate is {self.learning_rate!r}; expected a positive number")

    def rate_at(self, step: int) -> float:
        """The learning rate of step 0, 1, ..., steps - 1."""
        rate = self.learning_rate * min(1.0, (step + 1) / max(1, self.warmup))
        return rate * (0.5 * (1 + math.cos(math.pi * step / self.steps)) if self.schedule == "cosine" else 1.0)


@dataclass(frozen=True)
class TrainingReport:
    """What a call of `train` leaves: `train_bound` is the mean of the last 1,000 steps, `seconds` the time of
    training, without the probes', in all calls together, `weights` the file, or None while the run is unfinished.
    `probes` has what the probe found, a list for each of its names, beside "step" and "seconds"."""

    finished: bool
    step: int
    steps: int
    train_bound: float
    train_bound_error: float
    seconds: float
    skipped: int
    returned: int
    weights: Path | None
    probes: dict[str, list] = field(default_factory=dict)

    @property
    def message(self) -> str:
        if self.finished:
            return f"trained {self.steps:,} steps in {self.seconds / 60:.1f} min; bound {self.train_bound:.2f} nats"
        return (f"stopped at step {self.step:,} of {self.steps:,} with the time budget; "
                "the same command goes on from there")


def train(model: nn.Module, objective: Objective, config: TrainingConfig, out: str | Path, *,
          minutes: float | None = None, device: str = "cpu", label: str = "training",
          log_seconds: float = 10.0, probe: Probe | None = None, probe_every: int | None = None) -> TrainingReport:
    """Maximises the mean of `objective(model, step, generator)` -> (B,) nats, and leaves the model trained.

    The objective draws its own batch, all its randomness from the generator. Where `out` holds an unfinished run it is
    resumed, where it holds a finished one its weights are loaded. After every `probe_every` steps and the last one
    `probe(model, step)` is called, in eval mode and without a trace in any random stream of torch's: what it finds is
    kept with the history. Raises ValueError where the run in `out` has another
    configuration, `Interrupted` on a signal, `Diverged` when nothing helps, OSError when `out` can't be written.
    """
    out = Path(out)
    size = 3 * 4 * sum(p.numel() for p in model.state_dict().values()) + 4 * config.steps
    check_writable(out, 3 * size)
    if probe_every is not None and probe_every < 1:
        raise ValueError(f"probe_every is {probe_every}; expected at least 1 step")
    run = _Training(model.to(device), config, out, device)
    run.probe, run.probe_every = probe, probe_every or config.steps
    if not run.load_finished():
        run.resume()
        with _signals() as caught:
            _loop(run, objective, label, minutes, log_seconds, caught)
    return run.report()


def _loop(run: _Training, objective: Objective, label: str, minutes: float | None, log_seconds: float,
          caught: list) -> None:
    config, began = run.config, time.monotonic()
    with Progress(label, config.steps, "step", run.step, log_seconds) as progress:
        while run.step < config.steps:
            run.advance(objective)
            run.look()
            progress.reach(run.step, run.word)
            if run.step % config.checkpoint_every == 0 and run.step < config.steps and run.healthy:
                run.save("checkpoint.safetensors")
                run.save("good.safetensors")
            if caught:
                run.save("checkpoint.safetensors")
                name = signal.Signals(caught[0]).name
                raise Interrupted(caught[0], f"{name}: saved at step {run.step:,} of {config.steps:,}; "
                                             "the same command goes on from there")
            if minutes is not None and time.monotonic() - began > 60 * minutes and run.step < config.steps:
                run.save("checkpoint.safetensors")
                return
    run.finish()


class _Training:
    """A run's whole memory: what `save` writes is what `resume` needs, and nothing else influences the next step."""

    def __init__(self, model: nn.Module, config: TrainingConfig, out: Path, device: str):
        self.model, self.config, self.out, self.device = model, config, out, device
        self.parameters = {k: p for k, p in model.named_parameters() if p.requires_grad}
        fused = all(p.is_floating_point() for p in self.parameters.values())
        self.optimizer = torch.optim.Adam(self.parameters.values(), lr=config.learning_rate, fused=fused)
        self.history = torch.full((config.steps,), math.nan)  # the mean bound of each step, NaN where it was skipped
        self.step = self.attempt = self.skipped = 0
        self.seconds_before, self.began, self.ended = 0.0, time.monotonic(), None
        self.probe, self.probe_every = None, config.steps
        self.probes: dict[str, list[float]] = {}
        self.probe_seconds: dict[str, float] = {}  # by step; not among the probes, whose bytes are the same every time

    # --- one step --------------------------------------------------------------------------------------------------

    def advance(self, objective: Objective) -> None:
        """One update, or one skipped and counted."""
        self.model.train()
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.rate_at(self.step)
        self.optimizer.zero_grad(set_to_none=True)
        bound = objective(self.model, self.step, self.generator()).mean()
        value = bound.item()
        if self._plausible(value):
            (-bound).backward()
            norm = nn.utils.clip_grad_norm_(self.parameters.values(), self.config.gradient_clip)
            if math.isfinite(norm.item()):
                self.optimizer.step()
                self.history[self.step] = value
        self.step += 1
        if not self.healthy:
            self.skipped += 1
            recent = self.history[max(0, self.step - self.config.patience) : self.step]
            if len(recent) == self.config.patience and recent.isnan().all():
                self.go_back()

    def look(self) -> None:
        """Call the probe where one is due. Its time is no training time."""
        due = self.step % self.probe_every == 0 or self.step == self.config.steps
        if self.probe is None or not due or self.step in self.probes.get("step", []):  # known after a return
            return
        began, self.probe_seconds[str(self.step)] = time.monotonic(), self.seconds
        self.model.eval()
        devices = [self.device] if self.device.startswith("cuda") else []
        with torch.no_grad(), torch.random.fork_rng(devices):
            found = {"step": self.step, **self.probe(self.model, self.step)}
        for name, value in found.items():
            self.probes.setdefault(name, []).append(float(value))
        self.began += time.monotonic() - began

    def generator(self) -> torch.Generator:
        """The source of everything random in this step: a function of the seed, the step and the returns so far."""
        return stream(self.config.seed, self.attempt, self.step, device=self.device)

    @property
    def healthy(self) -> bool:
        """Whether the last step was an update."""
        return self.step == 0 or not math.isnan(self.history[self.step - 1])

    def _plausible(self, value: float) -> bool:
        if not math.isfinite(value):
            return False
        recent = self.history[max(0, self.step - self.config.window) : self.step]
        recent = recent[~recent.isnan()]
        if len(recent) < 20:
            return True
        middle = recent.median()
        spread = 1.4826 * (recent - middle).abs().median() + 1e-3 * middle.abs() + 1e-6
        return value > (middle - self.config.spike * spread).item()

    def go_back(self) -> None:
        """To the last good checkpoint, or the start, with other noise from there."""
        attempt, skipped = self.attempt + 1, self.skipped
        if attempt > self.config.returns:
            raise Diverged(f"step {self.step:,}: the objective failed {self.config.patience} times in a row after "
                           f"{self.config.returns} returns to a good checkpoint; a smaller learning_rate may help")
        self._read(self.out / "good.safetensors")
        self.attempt, self.skipped = attempt, skipped
        self.save("checkpoint.safetensors")

    # --- files -----------------------------------------------------------------------------------------------------

    def save(self, name: str) -> None:
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        for key, parameter in self.parameters.items():
            tensors |= {f"adam.{kind}.{key}": v for kind, v in self.optimizer.state.get(parameter, {}).items()}
        tensors |= {"history": self.history[: self.step], **self.probe_tensors()}
        state = {"config": asdict(self.config), "step": self.step, "attempt": self.attempt, "skipped": self.skipped}
        save_tensors(self.out / name, tensors, state)
        self.save_progress()

    def save_progress(self) -> None:
        """What differs from one run to its equal, and so stands in a file of its own: the time it took."""
        progress = {"step": self.step, "seconds": self.seconds}
        if self.probe_seconds:
            progress["probe_seconds"] = self.probe_seconds
        write_whole(self.out / "progress.json", json.dumps(progress))

    def read_progress(self) -> None:
        if (self.out / "progress.json").exists():
            progress = json.loads((self.out / "progress.json").read_text())
            self.seconds_before, self.probe_seconds = progress["seconds"], progress.get("probe_seconds", {})

    def probe_tensors(self) -> dict[str, Tensor]:
        return {f"probe.{name}": torch.tensor(values, dtype=torch.float64) for name, values in self.probes.items()}

    def read_probes(self, tensors: dict[str, Tensor]) -> None:
        self.probes = {k.removeprefix("probe."): v.tolist() for k, v in tensors.items() if k.startswith("probe.")}

    def resume(self) -> None:
        """Goes on from the checkpoint in `out`; where there is none, writes the start."""
        if (self.out / "checkpoint.safetensors").exists():
            self._read(self.out / "checkpoint.safetensors")
            self.read_progress()
        else:
            self.save("good.safetensors")
            self.save("checkpoint.safetensors")
        self.began = time.monotonic()

    def finish(self) -> None:
        self.ended = time.monotonic()
        tensors = dict(self.model.state_dict())
        state = {"config": asdict(self.config), "step": self.step, "attempt": self.attempt, "skipped": self.skipped,
                 "train_bound": self._train_bound()}
        save_tensors(self.out / "history.safetensors", {"history": self.history, **self.probe_tensors()}, state)
        self.save_progress()
        save_tensors(self.out / "weights.safetensors", tensors, state)
        for name in ("checkpoint.safetensors", "good.safetensors"):
            (self.out / name).unlink(missing_ok=True)

    def load_finished(self) -> bool:
        path = self.out / "weights.safetensors"
        if not path.exists():
            return False
        tensors, state = load_tensors(path)
        self._compare(state)
        self.model.load_state_dict(tensors)
        kept = load_tensors(self.out / "history.safetensors")[0]
        self.history = kept["history"]
        self.read_probes(kept)
        self.step, self.attempt, self.skipped = state["step"], state["attempt"], state["skipped"]
        self.read_progress()
        self.ended = self.began
        return True

    def _read(self, path: Path) -> None:
        tensors, state = load_tensors(path)
        self._compare(state)
        self.model.load_state_dict({k[6:]: v for k, v in tensors.items() if k.startswith("model.")})
        self.optimizer.state.clear()
        for key, parameter in self.parameters.items():
            entries = {kind: tensors[f"adam.{kind}.{key}"] for kind in ("step", "exp_avg", "exp_avg_sq")
                       if f"adam.{kind}.{key}" in tensors}
            if entries:
                self.optimizer.state[parameter] = {kind: v.to(parameter.device) for kind, v in entries.items()}
        self.step, self.attempt, self.skipped = state["step"], state["attempt"], state["skipped"]
        self.history.fill_(math.nan)
        self.history[: self.step] = tensors["history"]
        self.read_probes(tensors)

    def _compare(self, state: dict) -> None:
        mine = asdict(self.config)
        for key in sorted(mine.keys() | state["config"].keys()):
            if mine.get(key) != state["config"].get(key):
                raise ValueError(f"out holds a run with {key}={state['config'].get(key)!r}, this one has {key}="
                                 f"{mine.get(key)!r}; expected the same configuration, or another folder")

    # --- what is said of it ----------------------------------------------------------------------------------------

    @property
    def seconds(self) -> float:
        """The training time of all calls so far."""
        return self.seconds_before + (self.ended or time.monotonic()) - self.began

    def _train_bound(self) -> tuple[float, float]:
        last = self.history[max(0, self.step - 1000) : self.step]
        last = last[~last.isnan()]
        if len(last) < 2:
            return (last.mean().item() if len(last) else math.nan), math.nan
        return last.mean().item(), (last.std() / len(last) ** 0.5).item()

    def recent(self) -> float:
        """The mean bound of the last 100 updates."""
        last = self.history[max(0, self.step - 100) : self.step]
        return last[~last.isnan()].mean().item()

    def word(self) -> str:
        """How it goes: the recent bound, and what was skipped."""
        return f"bound {self.recent():.2f} nats" + (f", {self.skipped} skipped" if self.skipped else "")

    def report(self) -> TrainingReport:
        weights = self.out / "weights.safetensors"
        done = weights.exists()
        steps = [int(step) for step in self.probes.get("step", [])]
        seconds = [self.probe_seconds.get(str(step), math.nan) for step in steps]
        probes = {**self.probes, "step": steps, "seconds": seconds} if steps else {}
        return TrainingReport(done, self.step, self.config.steps, *self._train_bound(), self.seconds, self.skipped,
                              self.attempt, weights if done else None, probes)


@contextmanager
def _signals() -> Iterator[list]:
    """While it lasts SIGINT and SIGTERM are noted in the list instead of killing; only a main thread can do that."""
    caught: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield caught
        return
    before = {s: signal.signal(s, lambda number, _: caught.append(number)) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield caught
    finally:
        for s, handler in before.items():
            signal.signal(s, handler)


# --- files that are whole or not there --------------------------------------------------------------------------------


def save_tensors(path: str | Path, tensors: dict[str, Tensor], state: dict) -> None:
    """One safetensors file with `state` as JSON in its header: the same content gives the same bytes."""
    tensors = {k: v.detach().to("cpu").contiguous() for k, v in tensors.items()}
    write_whole(Path(path), save(tensors, {"state": json.dumps(state, sort_keys=True)}))


def load_tensors(path: str | Path) -> tuple[dict[str, Tensor], dict]:
    """Tensors and state of a file that `save_tensors` wrote. Raises ValueError, naming the file, on anything else."""
    try:
        with safe_open(path, "pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (no mapping)
            return tensors, json.loads((file.metadata() or {}).get("state", "{}"))
    except FileNotFoundError:
        raise
    except Exception as error:
        name = Path(path).name
        raise ValueError(f"{name} is not a whole safetensors file ({error}); expected one that a run wrote") from None


def check_writable(folder: str | Path, size: int) -> None:
    """Raises OSError, with the reason in words, unless `size` bytes can be written to `folder` (made if missing)."""
    folder = Path(folder)
    probe = folder / f".probe.{os.getpid()}.tmp"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"x")
        probe.unlink()
    except OSError as error:
        raise OSError(f"out is {folder}, which can't be written ({error.strerror}); expected a writable folder") \
            from None
    free = shutil.disk_usage(folder).free
    if free < size:
        raise OSError(f"no space left in {folder}: {free / 1e6:.0f} MB free; the run needs {size / 1e6:.0f} MB")


@contextmanager
def run_lock(folder: str | Path, timeout: float = 20.0) -> Iterator[None]:
    """Holds `folder` for one process. A holder that is dying is waited for; one that lives is a clear error."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=timeout)
    except Timeout:
        raise OSError(f"out is {folder}, which another run is using; expected a folder of its own, or wait for it") \
            from None
    try:
        yield
    finally:
        lock.release()
