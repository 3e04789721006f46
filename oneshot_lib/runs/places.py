"""Where things are: the checkout, the book's records and notebooks, this user's own records."""

from pathlib import Path

from oneshot_lib.files import own_directory, shorten

PACKAGE = Path(__file__).resolve().parents[1]


def checkout() -> Path | None:
    """The root of the checkout that this package runs from, or None where it is installed without one."""
    root = PACKAGE.parent
    return root if (root / "pyproject.toml").is_file() and (root / "book").is_dir() else None


def book_results() -> Path:
    """Where the book's records are: `results/` of the checkout, else the copy in the package."""
    root = checkout()
    return root / "results" if root else PACKAGE / "_results"


def store() -> Path:
    """Where this user's own laptop and full runs leave their records."""
    return own_directory("data") / "results"


def notebook(name: str) -> Path:
    """The notebook of an experiment: in the checkout's book, else in the package's copy. Raises OSError where there is
    none."""
    root = checkout()
    path = (root / "book" / "experiments" if root else PACKAGE / "_experiments") / f"{name}.ipynb"
    if not path.is_file():
        raise OSError(f"{shorten(path)}: expected the notebook of {name}, found no such file")
    return path
