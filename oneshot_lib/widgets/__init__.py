"""Figures that a reader can touch: one file a widget, its JavaScript and style beside it.

A widget is the class of a file that has a script beside it, whatever the two are called: `shell` says how one is made.
They are looked up when they are asked for, so that `oneshot_lib.widgets.frames`, which needs numpy and Pillow alone,
can be imported without Jupyter's widgets.
"""

import functools
import importlib
import re
from pathlib import Path

_CLASS = re.compile(r"^class (\w+)\((?:TwoLayer|Kernel)Widget\):", re.M)


@functools.cache
def _homes() -> dict[str, str]:
    """The name of each widget and the module that it is in; no module is imported for it."""
    files = [script.with_suffix(".py") for script in sorted(Path(__file__).parent.glob("*.js"))]
    found = {name: file.stem for file in files if file.exists() for name in _CLASS.findall(file.read_text("utf-8"))
             if file.stem != "shell"}
    return {"Beside": "shell", **found}


def __getattr__(name):
    if name == "__all__":
        return sorted(_homes())
    if not name.startswith("_") and name in _homes():
        return getattr(importlib.import_module(f".{_homes()[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted({*globals(), *_homes()})
