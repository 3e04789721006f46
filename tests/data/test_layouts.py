"""Where a data set is looked for, and where the looking ends; `test_omniglot` and `test_digits` read every layout."""

import os

import pytest

from oneshot_lib.data import layouts
from oneshot_lib.data.cache import DataError

FILES = {"a.zip": ["a/"], "b.zip": ["b/"]}


def lay(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir() if name.endswith("/") else path.touch()
    return folder


def test_a_folder_will_do_for_a_file_and_the_published_comes_first(place):
    folder = lay(place / "data" / "omniglot", "a/x", "b/x")
    assert layouts.find("omniglot", FILES) == {"a.zip": folder / "a", "b.zip": folder / "b"}
    lay(folder, "b.zip")
    assert layouts.find("omniglot", FILES) == {"a.zip": folder / "a", "b.zip": folder / "b.zip"}


def test_the_first_that_has_all_files_is_taken(place):
    lay(place / "data" / "omniglot-py", "a.zip", "b.zip")
    lay(place / "data" / "omniglot", "a.zip")
    found = layouts.find("omniglot", FILES)
    assert found["a.zip"].parent.name == "omniglot-py"
    lay(place / "data" / "omniglot", "b.zip")
    assert layouts.find("omniglot", FILES)["a.zip"].parent.name == "omniglot"


@pytest.mark.parametrize("where", ["omniglot", "omniglot-py", "omniglot/python", "sets/Omniglot", "."])
def test_a_part_of_the_files_is_an_error_that_names_the_rest(place, where):
    lay(place / "data" / where, "a/x")
    lay(place / "cache/oneshot/downloads/omniglot", "a.zip", "b.zip")  # whoever has set the folder means it
    with pytest.raises(DataError, match=r"^\$ONESHOT_DATA/.*b.zip: expected the published file, found no such file$"):
        layouts.find("omniglot", FILES)


def test_a_relative_folder_knows_what_is_above_it(place, monkeypatch):
    lay(place / "laid" / "omniglot", "a.zip", "b.zip")
    lay(place / "laid" / "mnist", "c.gz")
    monkeypatch.chdir(place / "laid" / "omniglot")
    monkeypatch.setenv("ONESHOT_DATA", ".")
    assert layouts.find("omniglot", FILES)["a.zip"].is_file() and layouts.find("mnist", ["c.gz"])["c.gz"].is_file()


def test_a_disk_is_not_walked(place, monkeypatch):
    listed, scan = [], os.scandir

    def watched(path):
        listed.append(path)
        return scan(path)

    for k in range(layouts.FOLDERS + 50):
        (place / "data" / f"folder{k:03}" / "deeper" / "still").mkdir(parents=True)
    lay(place / "data" / "folder000" / "deeper" / "still" / "omniglot", "a.zip", "b.zip")
    lay(place, "omniglot/a.zip", "omniglot/b.zip")  # beside the folder, whose name is of no data set
    monkeypatch.setattr(os, "scandir", watched)
    assert layouts.find("omniglot", FILES) is None
    assert len(listed) <= layouts.FOLDERS + 5  # the fault: os.walk, which also finds it


def test_a_folder_that_may_not_be_read_is_passed_over(place, monkeypatch):
    (place / "data" / "locked").mkdir()
    lay(place / "data" / "sets" / "omniglot", "a.zip", "b.zip")
    scan = os.scandir

    def guarded(path):
        if os.fspath(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", guarded)
    assert layouts.find("omniglot", FILES)["a.zip"].parent.parent.name == "sets"
