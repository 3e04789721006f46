"""How far a training is: a bar in a terminal, a line now and then in a log."""

from __future__ import annotations

import math
import sys
import time

from tqdm import tqdm


class Progress:
    """A bar with rate, time left and objective in a terminal; elsewhere a plain line now and then.

    `run` has `step`, `config.steps`, `skipped` and `recent()`, the mean bound of the last updates.
    """

    def __init__(self, label: str, run, log_seconds: float):
        self.label, self.run, self.log_seconds = label, run, log_seconds
        self.bar = None
        self.first, self.start, self.shown = run.step, time.monotonic(), time.monotonic()

    def __enter__(self) -> Progress:
        if sys.stderr.isatty():
            self.bar = tqdm(total=self.run.config.steps, initial=self.run.step, desc=self.label, unit="step",
                            dynamic_ncols=True)
        return self

    def __exit__(self, *_) -> None:
        if self.bar is not None:
            self.bar.close()

    def show(self) -> None:
        run, now = self.run, time.monotonic()
        last = run.step == run.config.steps
        if self.bar is not None:
            if now - self.shown > 0.2 or last:
                self.bar.n = run.step
                self.bar.set_postfix_str(f"bound {run.recent():.2f} nats, {run.skipped} skipped")
                self.shown = now
        elif now - self.shown > self.log_seconds or last:
            rate = (run.step - self.first) / (now - self.start)
            left = (run.config.steps - run.step) / rate if rate > 0 else math.inf
            print(f"{self.label}: step {run.step:,} of {run.config.steps:,}, {rate:.1f} steps/s, "
                  f"{left / 60:.1f} min left, bound {run.recent():.2f} nats"
                  + (f", {run.skipped} skipped" if run.skipped else ""), flush=True)
            self.shown = now
