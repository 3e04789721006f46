"""A record to begin with, of no run that there ever was, and four grey squares to run on."""

from types import SimpleNamespace

import numpy as np

from oneshot_lib.runs.records import Record

DATA = {"name": "omniglot", "preprocessing": "28-area", "split": "random-drawings", "hash": "e6b0"}


def record(**changes) -> Record:
    values = dict(
        paper="rezende", item="table3", row="ST + additive, 20 steps", metric="test NLL", unit="nats", kind="bound",
        value=98.123, error=0.171, n=24_000, paper_value=96.5, preset="laptop", minutes=31.0,
        device="cpu: x, 2 threads", seed=0, commit="c0ffee", dirty=False, data=DATA, floor=44.3, weights="ab" * 32,
        command="oneshot run rezende-table3 --preset laptop --seed 0", created="2026-01-01T00:00:00+00:00")  # fmt: skip
    return Record(**{**values, **changes})


LETTERS = SimpleNamespace(
    name="letters", hash="1234", grey=lambda name: np.full((4, 28, 28), 128, np.uint8),
    split=lambda name: SimpleNamespace(train=np.array([0, 1, 2]), test=np.array([3])))  # fmt: skip
