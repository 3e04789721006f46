"""What a notebook's outputs depend on, as one hash: a notebook runs again when it has changed."""

import ast
import hashlib
import json
import os
import sys
from functools import cache
from pathlib import Path

from pairs import ROOT, cell_metadata, notebook_of, read_notebook

LIBRARY = ROOT / "oneshot_lib"
READS_RECORDS = "runs/results.py"  # of the library's modules, the one that reads results/


@cache
def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def module_file(dotted: str) -> Path | None:
    base = ROOT.joinpath(*dotted.split("."))
    return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.exists()), None)


def imported(source: str, package: str = "") -> set[str]:
    """Dotted names that some source of `package` may load from the library; "*" where it cannot be told."""
    lines = source.splitlines()
    try:
        tree = ast.parse("\n".join("" if line.lstrip().startswith(("%", "!")) else line for line in lines))
    except SyntaxError:
        return {"*"}
    names = {"*"} if "import_module" in source else set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {"*" if alias.name == "oneshot_lib" else alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")
            parent = above[: len(above) - node.level + 1] if node.level else []
            stem = ".".join([*parent, *([node.module] if node.module else [])])
            names |= {f"{stem}.{alias.name}" for alias in node.names}  # and with it all that stand before a dot
    return {name for name in names if name == "*" or name.split(".")[0] == "oneshot_lib"}


def waits_for_names(file: Path | None) -> bool:
    """Whether a package loads its modules when it is asked for a name: importing it alone then loads none of them."""
    text = file.read_text(encoding="utf-8") if file and file.name == "__init__.py" else ""
    return "def __getattr__(" in text and "import_module" in text


def modules(source: str) -> set[Path]:
    """The library's modules that code rests on, directly or through others."""
    found, waiting, seen = set(), imported(source), set()
    while waiting:
        dotted = waiting.pop()
        if dotted == "*":
            return {path for path in LIBRARY.rglob("*.py")}
        seen.add(dotted)
        parts = dotted.split(".")
        asked = dotted if module_file(dotted) else ".".join(parts[:-1])
        if waits_for_names(package := module_file(asked)):  # by a name that is none of a module's: by any of them
            waiting |= {f"{asked}.{path.stem}" for path in package.parent.glob("*.py")} - seen
            waiting |= {f"{asked}.{path.parent.name}" for path in package.parent.glob("*/__init__.py")} - seen
        for size in range(1, len(parts) + 1):
            name = ".".join(parts[:size])
            file = module_file(name)
            if file and file not in found:
                found.add(file)
                package = name if file.name == "__init__.py" else name.rpartition(".")[0]
                more = imported(file.read_text(encoding="utf-8"), package)
                waiting |= (more - {"*"} if waits_for_names(file) else more) - seen
    return found


def files(source: str) -> set[Path]:
    """The modules, what lies beside them (weights, splits, JavaScript), the records where they are read."""
    code = modules(source)
    folders = {file.parent for file in code} - {LIBRARY}
    beside = {path for folder in folders for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"}
    records = set((ROOT / "results").rglob("*.json")) if LIBRARY / READS_RECORDS in code else set()
    return code | {path for path in beside if path.suffix != ".py"} | records


@cache
def data_at_hand() -> str:
    """Which data sets the chapters will find, as `oneshot data` describes them."""
    sys.path.insert(0, str(ROOT))
    try:
        from oneshot_lib import data

        return json.dumps([(one["name"], one["found"], one.get("hash")) for one in data.describe()], default=str)
    except (ImportError, AttributeError):
        return os.environ.get("ONESHOT_DATA", "")


def state(name: str) -> str:
    """A hash of a notebook's cells and of everything that their outputs depend on."""
    cells = [(cell.cell_type, cell.source, cell_metadata(cell)) for cell in read_notebook(notebook_of(name)).cells]
    code = "\n".join(source for kind, source, _ in cells if kind == "code")
    used = files(code) | {ROOT / "requirements.lock", ROOT / "book/pairs.py"}
    listed = [(path.relative_to(ROOT).as_posix(), digest(path)) for path in sorted(used)]
    return hashlib.sha256(json.dumps([cells, listed, data_at_hand()], sort_keys=True).encode()).hexdigest()
