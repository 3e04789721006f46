"""What is described, what is downloaded, and that nothing asks the network unasked."""

import functools
import hashlib
import http.server
import socket
import threading

import pytest

from oneshot_lib import data
from oneshot_lib.data import published


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


def test_describe_says_what_is_missing(place):
    (place / "data" / "other").mkdir()
    entries = {entry["name"]: entry for entry in data.describe()}
    assert list(entries) == ["omniglot", "mnist", "glyphs", "glyph-digits"]
    for name in ("omniglot", "mnist"):
        assert not entries[name]["found"] and entries[name]["problem"] is None
        assert f"oneshot data --download {name}" in entries[name]["get"]
    assert entries["glyphs"]["found"] and entries["glyphs"]["hash"] is None


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
