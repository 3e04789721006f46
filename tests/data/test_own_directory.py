"""A user without a home, as containers have them, gets a temporary one and is told; a user with one is left alone."""

import os
import pwd
from pathlib import Path

import pytest

from oneshot_lib import files
from oneshot_lib.cli import main
from oneshot_lib.data import cache
from oneshot_lib.runs import places


@pytest.fixture
def nobody(tmp_path, monkeypatch):
    """No HOME, no entry in passwd, no XDG folders; the folder for temporary files is the test's own."""

    def unknown(user):
        raise KeyError(f"getpwuid(): uid not found: {user}")

    for name in ("HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for function in (files._temporary_home, files.say_once):
        function.cache_clear()
    yield tmp_path / f"oneshot-{os.getuid()}"
    for function in (files._temporary_home, files.say_once):
        function.cache_clear()


def test_a_user_without_a_home_gets_a_temporary_cache_and_one_line(nobody, capsys):
    for _ in range(2):
        assert files.cache_directory() == nobody / ".cache/oneshot"
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "there is no home folder" in err and "XDG_CACHE_HOME chooses another" in err
    assert nobody.stat().st_mode & 0o077 == 0  # nobody else's
    assert places.store() == nobody / ".local/share/oneshot/results"
    assert files.home_variables() == {"HOME": str(nobody), "XDG_CACHE_HOME": str(nobody / ".cache")}


@pytest.mark.parametrize("command", ["data", "results", "doctor"])
def test_the_commands_work_without_a_home(nobody, capsys, monkeypatch, command):
    monkeypatch.delenv("ONESHOT_DATA", raising=False)
    assert main([command]) == 0
    said = capsys.readouterr()
    assert said.out and said.err.count("\n") == 1 and str(nobody) in said.err


def test_somebody_elses_temporary_folder_is_not_taken(nobody, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    nobody.symlink_to(tmp_path / "elsewhere")
    found = files.cache_directory()
    assert found.parent.parent.parent == tmp_path and tmp_path / "elsewhere" not in found.resolve().parents


def test_a_home_that_is_not_writable_counts_as_none(nobody, monkeypatch, capsys, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    assert files.cache_directory() == home / ".cache/oneshot" and files.home_variables() == {}
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != home and access(path, mode))
    assert files.cache_directory() == nobody / ".cache/oneshot" and "HOME" in files.home_variables()
    assert "cannot be made" in capsys.readouterr().err
    (home / ".cache/oneshot").mkdir(parents=True)  # one that is there may be read
    assert files.cache_directory() == home / ".cache/oneshot"


def test_the_folder_that_was_chosen_is_taken_as_it_is(nobody, monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "chosen"))
    assert files.cache_directory() == tmp_path / "chosen/oneshot" and not capsys.readouterr().err



def test_a_data_folder_below_a_home_that_is_not_there_is_named(nobody, monkeypatch):
    monkeypatch.setenv("ONESHOT_DATA", "~/drawings")
    with pytest.raises(cache.DataError, match=r"ONESHOT_DATA=~/drawings: expected a folder, .* no home for ~"):
        cache.data_directory()
