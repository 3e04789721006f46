"""How far something is that takes long: tqdm's bar in a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import io
import math
import sys
from collections.abc import Callable

from tqdm import tqdm


class Progress(tqdm):
    """A bar with rate, time left and a word on how it goes; in a log, every `log_seconds` and at the end, a line:

        a model: step 1,200 of 30,000, 2.4 steps/s, 200.0 min left, 3 skipped

    `total` None is a number that nobody knows yet. With `show` False nothing is shown.
    """

    def __init__(self, label: str, total: int | None, unit: str, initial: int = 0, log_seconds: float = 10.0,
                 show: bool = True):
        self.plain, self.told = not sys.stderr.isatty(), initial
        how = {"file": io.StringIO(), "mininterval": log_seconds, "maxinterval": math.inf, "miniters": 1} \
            if self.plain else {"mininterval": 0.2, "dynamic_ncols": True}
        super().__init__(total=total, initial=initial, desc=label, unit=unit, disable=not show, **how)

    def reach(self, n: int, word: Callable[[], str] | None = None) -> None:
        """Say that n are done, and how it goes: `word` is called where it is time to be seen."""
        if self.disable:
            return
        if word is not None and (n == self.total or self._time() - self.last_print_t >= self.mininterval):
            self.set_postfix_str(word(), refresh=False)
        self.update(n - self.n)

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        """What tqdm calls when it is time to be seen."""
        if not self.plain:
            super().display(msg, pos)
        elif self.n > self.told:
            self.told = self.n
            print(self.line(), flush=True)

    def line(self) -> str:
        """How it stands, in words."""
        about = self.format_dict
        rate = (self.n - self.initial) / about["elapsed"] if about["elapsed"] > 0 else 0.0
        left = (self.total - self.n) / rate if self.total is not None and rate > 0 else math.inf
        parts = [f"{self.unit} {self.n:,}" + ("" if self.total is None else f" of {self.total:,}"),
                 f"{rate:.1f} {self.unit}s/s", f"{left / 60:.1f} min left" if left < math.inf else "", self.postfix]
        return f"{self.desc.removesuffix(': ')}: {', '.join(filter(None, parts))}"

    def tell(self, word: str) -> None:
        """Say how it stands, whenever that was said last."""
        self.set_postfix_str(word, refresh=False)
        self.display()

    def close(self) -> None:
        if not self.disable and self.plain and self.total in (None, self.n):
            self.display()
        super().close()
