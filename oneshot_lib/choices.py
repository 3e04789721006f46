"""A name among those that are known, or an error with the nearest one."""

import difflib
from collections.abc import Iterable


def check(name: str, known: Iterable[str], what: str) -> str:
    """`name` where it is known. Raises ValueError with the nearest known name where it is not.

    >>> check("rezende-tabel3", ["rezende-table1", "rezende-table3"], "experiment")
    Traceback (most recent call last):
    ValueError: unknown experiment 'rezende-tabel3'; did you mean 'rezende-table3'?
    """
    known = sorted(known)
    if name in known:
        return name
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    others = f"expected one of {', '.join(known)}" if known else "there are none"
    hint = f"did you mean {near[0]!r}?" if near else others
    raise ValueError(f"unknown {what} {name!r}; {hint}")
