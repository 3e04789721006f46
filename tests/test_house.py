"""The house as a graph: who imports whom, lazily or not. No circle, no import upward, no room too large."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LIBRARY = "oneshot_lib"
LONGEST = 450  # lines
FLOORS = (  # from the ground up: a module imports its own floor and those below
    ("choices", "files", "machine", "precision", "progress", "streams", "text"),
    ("data", "distributions"),
    ("attention", "objectives"),
    ("models",),
    ("evaluation", "plotting", "training", "weights"),
    ("asking", "runs"),
    ("experiments",),
    ("benchmarks", "widgets"),
    ("cli",),
)
# what a floor does not say: rooms side by side that know nothing of each other
STRANGERS = {("data", "distributions"), ("distributions", "data"), ("attention", "objectives"),
             ("objectives", "attention"), ("training", "evaluation"), ("training", "weights"), ("weights", "training"),
             ("plotting", "weights"), ("plotting", "training"), ("asking", "runs"), ("runs", "asking"),
             ("widgets", "benchmarks"), ("benchmarks", "widgets")}


def modules(root: Path = ROOT) -> dict[str, Path]:
    """Name -> file of every module of the library but the face itself, "oneshot_lib.data.episodes"."""
    files = sorted((root / LIBRARY).rglob("*.py"))
    named = {".".join(p.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): p for p in files}
    return {name: path for name, path in named.items() if name != LIBRARY}


def imported(name: str, path: Path, known) -> set[str]:
    """The modules of the library that a module names in an import, anywhere in it."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package.split(".")[: len(package.split(".")) + 1 - node.level] if node.level else [])
            base = ".".join(filter(None, [base, node.module or ""]))
            found |= {f"{base}.{a.name}" if f"{base}.{a.name}" in known else base for a in node.names}
    return {other for other in found if other in known and other != name}


def graph(root: Path = ROOT) -> dict[str, set[str]]:
    known = modules(root)
    return {name: imported(name, path, known) for name, path in known.items()}


def circle(edges: dict[str, set[str]]) -> list[str]:
    """Modules that import each other in a ring, the first that is found; empty where there is none."""
    done, path = set(), []

    def walk(name: str) -> list[str]:
        if name in path:
            return path[path.index(name):]
        if name in done:
            return []
        path.append(name)
        for other in sorted(edges.get(name, ())):
            if found := walk(other):
                return found
        path.pop()
        done.add(name)
        return []

    return next((found for name in sorted(edges) if (found := walk(name))), [])


def room(name: str) -> str:
    return name.split(".")[1]


def upward(edges: dict[str, set[str]]) -> list[str]:
    """Imports of a higher floor, and of a stranger on the same one."""
    floor = {name: level for level, names in enumerate(FLOORS) for name in names}
    return [f"{a} imports {b}" for a, others in edges.items() for b in others
            if floor[room(b)] > floor[room(a)] or (room(a), room(b)) in STRANGERS]


def test_every_room_has_its_floor():
    assert {room(name) for name in modules()} - {"__main__"} == {name for names in FLOORS for name in names}


def test_no_modules_import_each_other_in_a_circle():
    assert circle(graph()) == []


def test_no_import_runs_upward():
    edges = {name: others for name, others in graph().items() if room(name) != "__main__"}
    assert upward(edges) == []


@pytest.mark.parametrize("path", [*modules().values(), *ROOT.glob("book/*.py")], ids=lambda p: str(p.relative_to(ROOT)))
def test_no_module_is_too_long(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST


def test_the_test_sees_circles_and_upward_imports(tmp_path):
    texts = {"data/files.py": "def late():\n    from oneshot_lib.models.pixelcnn import gate\n",
             "models/__init__.py": "", "models/pixelcnn.py": "from . import sampling\n",
             "models/sampling.py": "from ..data import files\n",
             "data/__init__.py": "import oneshot_lib.models.pixelcnn\n"}  # fmt: skip
    for name, text in texts.items():
        (tmp_path / LIBRARY / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / LIBRARY / name).write_text(text)
    edges = graph(tmp_path)
    assert edges["oneshot_lib.models.sampling"] == {"oneshot_lib.data.files"}
    ring = {f"oneshot_lib.{name}" for name in ("models.pixelcnn", "models.sampling", "data.files")}
    assert set(circle(edges)) == ring and not circle({name: edges[name] - ring for name in edges})
    assert sorted(upward(edges)) == ["oneshot_lib.data imports oneshot_lib.models.pixelcnn",
                                     "oneshot_lib.data.files imports oneshot_lib.models.pixelcnn"]


@pytest.mark.parametrize("what", ["oneshot_lib", "oneshot_lib.cli.commands", "oneshot_lib.experiments",
                                  "oneshot_lib.runs.results", "oneshot_lib.runs.launch", "oneshot_lib.weights"])
def test_what_answers_at_once_waits_for_no_torch(what):
    code = f"import sys, {what}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
