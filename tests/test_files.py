"""Files are whole or as they were, and no more private than the user has it."""

import errno
import os

import pytest

from oneshot_lib import files


def test_a_disk_that_fills_up_while_writing_leaves_the_old_file_whole(tmp_path, monkeypatch):
    path = tmp_path / "precious"
    files.write_whole(path, "old")

    def full(*_):
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match="no space left"):
        files.write_whole(path, "new")
    assert path.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["precious"]


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_who_may_read_a_file_is_the_users_to_say(tmp_path, mask):
    before = os.umask(mask)
    try:
        files.write_whole(tmp_path / "note", "text")
        assert (tmp_path / "note").stat().st_mode & 0o777 == 0o666 & ~mask  # the fault: 0600
    finally:
        os.umask(before)


def test_bytes_and_text_are_written_as_they_are(tmp_path):
    for content in ("caf\u00e9 ≤", b"\x00\xff"):
        files.write_whole(tmp_path / "note", content)
        assert (tmp_path / "note").read_bytes() == (content.encode() if isinstance(content, str) else content)
    assert [path.name for path in tmp_path.iterdir()] == ["note"]
