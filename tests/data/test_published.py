"""What is described, what is downloaded, and that nothing asks the network unasked."""

import functools
import hashlib
import http.server
import socket
import threading

import numpy as np
import pytest

from oneshot_lib import data
from oneshot_lib.cli import main
from oneshot_lib.data import cache, glyphs, published


@pytest.fixture
def server(tmp_path):
    """A web server on this machine: (address, folder that it serves)."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=folder)
    ) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}/", folder
        running.shutdown()


def publish(monkeypatch, address, contents):
    md5 = {name: hashlib.md5(content).hexdigest() for name, content in contents.items()}
    monkeypatch.setitem(published.PUBLISHED, "omniglot", (address, md5))


CONTENTS = {"images_background.zip": b"first" * 1000, "images_evaluation.zip": b"second" * 1000}


def cached_files(place):
    return [p for p in (place / "cache").rglob("*") if p.is_file()]


def test_a_download_arrives_whole(place, server, monkeypatch):
    address, folder = server
    publish(monkeypatch, address, CONTENTS)
    for name, content in CONTENTS.items():
        (folder / name).write_bytes(content)
    where = data.download("omniglot")
    assert {p.name: p.read_bytes() for p in where.iterdir()} == CONTENTS
    assert len(cached_files(place)) == 2


@pytest.mark.parametrize("how", ["another file", "cut short", "gone"])
def test_a_spoiled_download_leaves_nothing(place, server, monkeypatch, how):
    address, folder = server
    publish(monkeypatch, address, CONTENTS)
    (folder / "images_background.zip").write_bytes(CONTENTS["images_background.zip"])
    if how != "gone":
        content = CONTENTS["images_evaluation.zip"]
        (folder / "images_evaluation.zip").write_bytes(content[:-9] if how == "cut short" else content[::-1])
    with pytest.raises(data.DataError, match="^images_evaluation.zip: expected .*") as caught:
        data.download("omniglot")
    assert "\n" not in str(caught.value)
    assert cached_files(place) == []


def test_no_network_is_one_clear_line(place, monkeypatch):
    with socket.socket() as taken:  # a port on which nobody listens
        taken.bind(("127.0.0.1", 0))
        publish(monkeypatch, f"http://127.0.0.1:{taken.getsockname()[1]}/", CONTENTS)
        with pytest.raises(
            data.DataError, match="^images_background.zip: expected it at http.*, but no connection$"
        ):
            data.download("omniglot")
    assert cached_files(place) == []


def test_an_unknown_name():
    with pytest.raises(ValueError, match="name: expected one of omniglot, mnist, found 'emnist'"):
        data.download("emnist")


def test_nothing_asks_the_network_unasked(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    data.characters()
    data.mnist()
    data.describe()


def test_describe_says_what_is_missing(place, monkeypatch, capsys):
    (place / "data" / "other").mkdir()
    entries = {entry["name"]: entry for entry in data.describe()}
    assert list(entries) == ["omniglot", "mnist", "glyphs", "glyph-digits"]
    for name in ("omniglot", "mnist"):
        assert not entries[name]["found"] and entries[name]["hash"] is None
        assert "ONESHOT_DATA=" in entries[name]["problem"] and f"looked for in {name}*/" in entries[name]["problem"]
        assert f"oneshot data --download {name}" in entries[name]["get"]
    assert entries["glyphs"]["found"] and entries["glyphs"]["hash"] is None
    said = capsys.readouterr().err  # the fault: "missing" in one column of a table
    assert said.count("\n") == 2 and "expected Omniglot there, found none" in said and "expected MNIST there" in said
    monkeypatch.setenv("ONESHOT_DATA", "")  # who has set nothing is told how to get it, and not warned
    entries = {entry["name"]: entry for entry in data.describe()}
    assert entries["omniglot"]["problem"] is None and "--download omniglot" in entries["omniglot"]["get"]
    assert capsys.readouterr().err == ""


def test_a_folder_without_the_data_is_said_once(place, monkeypatch, capsys):
    images, about = np.zeros((20, 105, 105), np.uint8), {"classes": ["A/character01"], "hash": "h"}
    monkeypatch.setattr(glyphs, "load", lambda: (images, about))
    monkeypatch.setattr(glyphs, "load_digits", lambda: (images, {"labels": "", "hash": "h", "train_rows": 1}))
    (place / "data" / "photographs").mkdir()
    for open_set, name, instead in ((data.characters, "Omniglot", "glyphs"), (data.mnist, "MNIST", "glyph-digits")):
        assert open_set().name == open_set().name == instead
        said = capsys.readouterr().err
        assert said.count("\n") == 1 and f"expected {name} there, found none" in said
        assert f"the data are {open_set().label}" in said
        open_set(instead)  # who asks for them knows
    monkeypatch.setenv("ONESHOT_DATA", "")
    data.characters(), data.mnist()
    assert capsys.readouterr().err == ""


def test_a_spoiled_array_is_found_by_oneshot_data(place, monkeypatch, capsys):
    monkeypatch.setenv("ONESHOT_DATA", "")
    cache.cached("x", None, lambda: (np.ones(9), {}))
    cache.cached("y", None, lambda: (np.ones(9), {}))
    spoiled = next((place / "cache").rglob("x-*.npy"))
    words = spoiled.read_bytes()
    # the fault: sums do not see two words that change places, and nobody looks
    spoiled.write_bytes(words[:-16] + words[-8:] + words[-16:-8])
    cache.cached("x", None, lambda: (np.ones(9), {}))
    spoiled.write_bytes(words[:-72] + np.arange(9.0).tobytes())
    assert main(["data"]) == 0
    said = capsys.readouterr().err
    assert not spoiled.exists() and "x-f1.npy was damaged" in said and said.count("\n") == 1
    assert next((place / "cache").rglob("y-*.npy")).exists()


def test_describe_does_not_stumble(place):
    (place / "data" / "omniglot").mkdir()
    for name in CONTENTS:
        (place / "data" / "omniglot" / name).write_bytes(b"no zip")
    (place / "data" / "mnist").mkdir()
    entries = {entry["name"]: entry for entry in data.describe()}
    assert "images_background.zip: expected a whole zip" in entries["omniglot"]["problem"]
    assert "an empty folder" in entries["mnist"]["problem"]
    looked = {entry["name"]: entry for entry in data.describe(check=False)}
    assert looked["omniglot"]["found"] and looked["omniglot"]["hash"] is None
    assert not cached_files(place)


def test_describe_says_what_is_here(characters):
    entry = {entry["name"]: entry for entry in data.describe()}[characters.name]
    assert entry["found"] and entry["hash"] == characters.hash and entry["get"] is None
    assert entry["where"].startswith(("$ONESHOT_DATA", "~", "..."))
