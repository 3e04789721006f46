"""Both sources of characters, and a data folder and a cache of the test's own."""

import pytest

from oneshot_lib import data, files
from oneshot_lib.data import omniglot
from oneshot_lib.data.layouts import find


@pytest.fixture(scope="session", params=["glyphs", "omniglot"])
def characters(request):
    """Glyphs, and Omniglot where its files are present."""
    if request.param == "omniglot" and find("omniglot", omniglot.spellings()) is None:
        pytest.skip("Omniglot's files are not here: set ONESHOT_DATA")
    return data.characters(request.param)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """An empty data folder and an empty cache, and nothing else: `place / "data"`, `place / "cache"`."""
    (tmp_path / "data").mkdir()
    monkeypatch.setenv("ONESHOT_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    files.say_once.cache_clear()
    return tmp_path
