"""What speed is measured with, `oneshot bench [NAME]`: each file here is a benchmark, called by its name.

Seconds mean little: machines differ, and neighbours come and go. So everything is measured as a ratio, `value` over
`reference`, the two taken in turns within one run, the best time of each (`timing`). `target` is the most that `ratio`
may be. `NAME.measure(seconds)` returns such rows as dicts; all benchmarks share the command's time.

Some targets say something on some processors only, where the reference is as fast as the rest for the same reason. A
row that knows of such a reason has a `note`: `sampling` measures how many passes its multiplications alone take, since
a pass multiplies in convolutions and drawing in smaller products; `homoencoder` asks whether the processor has matrix
units (AMX), which make its convolutions faster and the gates between them not.

On a busy machine the threads of torch lose most of their time waiting for each other. `oneshot` notices the load and
lets them sleep instead of spin (`OMP_WAIT_POLICY=PASSIVE`), which is ten times as fast there and changes no number;
whatever the environment says about it is left alone.
"""

import importlib
import pkgutil
import time

from oneshot_lib.choices import check

SECONDS = 28.0  # for all benchmarks together: with torch's import they answer within 40 s


def names() -> list[str]:
    """Every benchmark, in the order in which they run."""
    return sorted(found.name for found in pkgutil.iter_modules(__path__) if found.name != "timing")


def run(name: str | None = None, seconds: float = SECONDS) -> list[dict]:
    """The rows of one benchmark, or of all, in so many seconds or little more. Raises ValueError on an unknown name."""
    chosen = names() if name is None else [check(name, names(), "benchmark")]
    until, found = time.monotonic() + seconds, []
    for i, each in enumerate(chosen):
        module = importlib.import_module(f".{each}", __name__)
        found += module.measure(seconds=max(5.0, (until - time.monotonic()) / (len(chosen) - i)))
    return found
