"""The cache shows all of an array or nothing, and never another file's."""

import errno
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from oneshot_lib import files
from oneshot_lib.data import cache
from oneshot_lib.data.cache import DataError
from oneshot_lib.data.layouts import find


def leftovers(place):
    return sorted(p.name for p in (place / "cache").rglob("*") if p.is_file())


def test_an_array_is_made_once_and_then_mapped(place):
    calls = []

    def make():
        calls.append(1)
        return np.arange(6, dtype=np.uint8).reshape(2, 3), {"a": 1}

    for _ in range(2):
        values, about = cache.cached("x", (2, 3), make)
        assert isinstance(values, np.memmap) and not values.flags.writeable
        assert values.tolist() == [[0, 1, 2], [3, 4, 5]] and about == {"a": 1}
    assert len(calls) == 1


@pytest.mark.parametrize("spoil", [lambda b: b[:-2], lambda b: b"", lambda b: b"x" + b[1:]])
def test_a_damaged_cache_is_made_anew(place, spoil):
    cache.cached("x", (2, 3), lambda: (np.ones((2, 3)), {}))
    path = next((place / "cache").rglob("*.npy"))
    path.write_bytes(spoil(path.read_bytes()))
    assert cache.cached("x", (2, 3), lambda: (np.full((2, 3), 2.0), {}))[0].tolist() == [[2.0] * 3] * 2


STRETCH = 20_000
OVERWRITTEN = {
    "noise": lambda b: bytes(np.random.default_rng(1).integers(0, 256, len(b)).astype(np.uint8)),
    "zeros": lambda b: bytes(len(b)),
    "inverted": lambda b: bytes(1 - x for x in b),
    "one bit": lambda b: bytes([b[0] ^ 1]) + b[1:],
}


@pytest.mark.parametrize("how", OVERWRITTEN)
@pytest.mark.parametrize("opened", [False, True])
def test_an_overwritten_stretch_is_found_and_made_anew(place, capsys, monkeypatch, how, opened):
    drawings = (np.random.default_rng(0).random((300, 105, 105)) < 0.05).astype(np.uint8)
    calls = []

    def make():
        calls.append(1)
        return drawings, {"hash": "h"}

    cache.cached("x", drawings.shape, make)
    path = next((place / "cache").rglob("*.npy"))
    whole, state = path.read_bytes(), path.stat()
    for made, start in enumerate((128, 1_234_567, len(whole) - STRETCH), start=2):
        if not opened:
            monkeypatch.setattr(cache, "_seen_whole", {})  # as in a process of its own
        with open(path, "r+b") as stream:  # in place, as a failing disk would, and no time tells it
            stream.seek(start)
            stream.write(OVERWRITTEN[how](whole[start : start + STRETCH]))
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
        assert path.read_bytes() != whole and path.stat().st_mtime_ns == state.st_mtime_ns
        values, about = cache.cached("x", drawings.shape, make)
        assert np.array_equal(values, drawings) and about == {"hash": "h"} and len(calls) == made
        assert path.read_bytes() == whole
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "x-f1.npy was damaged, and is made anew" in said


def test_a_whole_array_is_added_up_once_a_process(place, monkeypatch):
    cache.cached("x", None, lambda: (np.ones(9), {}))
    cache.cached("x", None, None)
    monkeypatch.setattr(cache, "_sums", None)  # the fault: 358 MB are read for every drawing
    cache.cached("x", None, None)


def test_an_array_of_an_earlier_version_is_made_anew_in_silence(place, capsys):
    cache.cached("x", None, lambda: (np.ones(3), {}))
    next((place / "cache").rglob("*.json")).write_text('{"a": 1}')
    assert cache.cached("x", None, lambda: (np.zeros(3), {"b": 2}))[1] == {"b": 2}
    assert cache.spoiled_arrays() == [] and capsys.readouterr().err == ""


def test_an_interrupted_decode_leaves_nothing(place):
    def make():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.cached("x", None, make)
    assert leftovers(place) == []


def interrupted(writer, path):
    """What is at `path` after `writer` was interrupted in the middle."""

    try:
        with writer(path) as stream:
            stream.write(b"half")
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass
    return sorted(p.name for p in path.parent.iterdir())


def test_an_interrupted_write_leaves_nothing(tmp_path):
    assert interrupted(files.whole_file, tmp_path / "x") == []
    assert interrupted(lambda path: path.open("wb"), tmp_path / "y") == ["y"]  # the fault: written in place


WRITER = """
import sys, pathlib
from oneshot_lib.data import cache
from oneshot_lib import files
with files.whole_file(pathlib.Path(sys.argv[1])) as stream:
    stream.write(b"half"); stream.flush()
    print("written", flush=True)
    sys.stdin.read()
"""


def test_a_killed_writer_leaves_no_half_file(tmp_path):
    target = tmp_path / "x.npy"
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(target)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout.readline() == "written\n"
    (partial,) = tmp_path.iterdir()
    os.utime(partial, (0, 0))
    files.sweep(tmp_path)
    assert partial.exists(), "a living writer's file was swept away"
    writer.send_signal(signal.SIGKILL)
    writer.communicate()
    assert not target.exists()
    os.utime(partial)
    files.sweep(tmp_path)
    assert partial.exists(), "a file is swept only when it is old"
    os.utime(partial, (0, 0))
    files.sweep(tmp_path)
    assert list(tmp_path.iterdir()) == []


FILLER = """
import sys, numpy as np
from oneshot_lib.data import cache
from oneshot_lib import files
def make():
    print("making", flush=True); sys.stdin.readline()
    return np.full((300, 1000), 7, np.uint8), {"k": [1, 2]}
values, about = cache.cached("shared", (300, 1000), make)
assert values.shape == (300, 1000) and (values == 7).all() and about == {"k": [1, 2]}
"""


def test_two_processes_fill_the_cache_at_once(place):
    both = [
        subprocess.Popen(
            [sys.executable, "-c", FILLER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    for process in both:
        assert process.stdout.readline() == "making\n"  # both are past the look into the cache
    for process in both:
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in both:
        process.communicate()
        assert process.returncode == 0
    assert [name.split(".")[-1] for name in leftovers(place)] == ["json", "npy"]


def test_the_fingerprint_sees_every_byte(tmp_path):
    path, other = tmp_path / "a", tmp_path / "b"
    path.write_bytes(bytes(100_000))
    other.write_bytes(b"b")
    before, status = cache.fingerprint(path, other), path.stat()
    path.write_bytes(bytes(70_000) + b"\1" + bytes(29_999))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    after = path.stat()
    assert cache.fingerprint(path, other) != before
    assert cache.fingerprint(other, path) != cache.fingerprint(path, other)
    # the fault: size and time of change do not see it
    assert (after.st_size, after.st_mtime_ns) == (status.st_size, status.st_mtime_ns)


def test_a_full_disk_is_one_clear_line(place, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(DataError, match="No space left on device; XDG_CACHE_HOME chooses another") as caught:
        cache.cached("x", None, lambda: (np.ones(3), {}))
    assert "\n" not in str(caught.value)
    assert [name for name in leftovers(place) if "partial" in name or "npy" in name] == []


def test_a_cache_folder_that_cannot_be(place):
    (place / "cache").write_text("a file")
    with pytest.raises(DataError, match="XDG_CACHE_HOME"):
        cache.cached("x", None, lambda: (np.ones(3), {}))


def test_the_data_folder(place, monkeypatch):
    with pytest.raises(DataError, match="ONESHOT_DATA=.*expected a folder of data sets .*found it empty"):
        cache.data_directory()
    monkeypatch.setenv("ONESHOT_DATA", str(place / "nowhere"))
    with pytest.raises(DataError, match="ONESHOT_DATA=.*nowhere: expected a folder"):
        cache.data_directory()
    monkeypatch.setenv("ONESHOT_DATA", "")
    assert cache.data_directory() is None


def test_a_folder_without_its_files(place):
    (place / "data" / "omniglot").mkdir()
    with pytest.raises(DataError, match=r"\$ONESHOT_DATA/omniglot/a.zip: expected .* found an empty folder"):
        find("omniglot", ["a.zip"])
    (place / "data" / "omniglot" / "a.zip").touch()
    with pytest.raises(DataError, match=r"\$ONESHOT_DATA/omniglot/b.zip: expected .* found no such file"):
        find("omniglot", ["a.zip", "b.zip"])
    assert find("mnist", ["a"]) is None


def test_the_data_folder_comes_before_the_downloads(place):
    for root in ("data", "cache/oneshot/downloads"):
        (place / root / "omniglot").mkdir(parents=True)
        (place / root / "omniglot" / "a.zip").touch()
    assert find("omniglot", ["a.zip"])["a.zip"].parent.parent.name == "data"
    (place / "data" / "omniglot" / "a.zip").unlink()
    (place / "data" / "omniglot").rmdir()
    (place / "data" / "other").mkdir()
    assert find("omniglot", ["a.zip"])["a.zip"].parent.parent.name == "downloads"


def test_paths_are_shortened(monkeypatch, tmp_path):
    monkeypatch.setenv("ONESHOT_DATA", str(tmp_path / "d"))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert files.shorten(tmp_path / "d" / "omniglot" / "x.zip") == "$ONESHOT_DATA/omniglot/x.zip"
    assert files.shorten(tmp_path / "e" / "x.zip") == "~/e/x.zip"
    assert files.shorten("/a/b/c/d/e/x.zip") == ".../d/e/x.zip"
