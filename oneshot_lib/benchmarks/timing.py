"""Times that compare: taken in turns within one run, the best of each, since what disturbs only adds."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping


def alternate(one: Callable[[], None], other: Callable[[], None], seconds: float) -> tuple[float, float]:
    """The best times of two functions run in turns for so many seconds: the best, since what disturbs only adds."""
    times: tuple[list, list] = ([], [])
    end = time.perf_counter() + seconds
    for _ in range(2):
        one(), other()
    while time.perf_counter() < end or len(times[1]) < 3:
        for function, laps in zip((one, other), times, strict=True):
            began = time.perf_counter()
            function()
            laps.append(time.perf_counter() - began)
    return min(times[0]), min(times[1])


def in_turns(steps: Mapping[tuple, Callable[[], None]], seconds: float) -> dict[tuple, float]:
    """The best time of each function, all run in turns for so many seconds; two laps at least, the first to warm up."""
    laps: dict[tuple, list[float]] = {key: [] for key in steps}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(min(laps.values(), key=len)) < 2:
        for key, step in steps.items():
            began = time.perf_counter()
            step()
            laps[key].append(time.perf_counter() - began)
    return {key: min(found) for key, found in laps.items()}
