"""Where sockets are made, whose paths the kernel limits to about a hundred bytes."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from store import sockets


@pytest.fixture
def long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for temporary files with a path of more than 120 bytes."""
    folder = tmp_path / ("x" * 120)
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_the_usual_folder_is_used_where_it_is_short(monkeypatch: pytest.MonkeyPatch):
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        assert sockets.folder() == folder


def test_another_one_is_used_where_it_is_too_long_for_a_socket(long: Path):
    found = sockets.folder()
    assert found in sockets.OTHERS
    assert found != str(long)


def test_where_there_is_no_other_the_message_names_the_variable_and_the_cure(
    long: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(os, "access", lambda path, _: path == str(long))
    with pytest.raises(sockets.NoFolderForSockets, match=r"\(TMPDIR\) is too long .* set TMPDIR to a folder"):
        sockets.folder()


def test_where_nothing_can_be_written_the_message_says_so(monkeypatch: pytest.MonkeyPatch):
    def none() -> str:
        raise FileNotFoundError

    monkeypatch.setattr(tempfile, "gettempdir", none)
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(sockets.NoFolderForSockets, match="no folder to write to"):
        sockets.folder()
