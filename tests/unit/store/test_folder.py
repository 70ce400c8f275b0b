"""Why a data folder cannot be used, in one sentence that names the variable, the path and the cure."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from store import folder
from store.folder import FolderUnusable, make_folder, unusable

CURE = "set UNROLL_DATA_DIR to a folder that this user may write to"


def test_a_folder_is_made_with_its_parents_and_only_its_owner_sees_into_it(tmp_path: Path):
    wanted = tmp_path / "a" / "b"
    assert unusable(wanted) is None
    assert not wanted.exists()
    make_folder(wanted)
    make_folder(wanted)
    assert stat.S_IMODE(wanted.stat().st_mode) == 0o700
    assert unusable(wanted) is None


def test_a_file_is_no_folder_and_nothing_can_be_made_below_it(tmp_path: Path):
    file = tmp_path / "file"
    file.touch()
    for path, reason in (
        (file, f"UNROLL_DATA_DIR: {file} is a file, not a folder; {CURE}"),
        (file / "x" / "y", f"UNROLL_DATA_DIR: {file}/x/y cannot be made, because {file} is a file; {CURE}"),
    ):
        assert unusable(path) == reason
        with pytest.raises(FolderUnusable) as refused:
            make_folder(path)
        assert str(refused.value) == reason


def test_what_this_user_may_not_write_to_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    # root may write to everything: the system's answer is given by hand, tests/integration/test_server_cli.py asks it
    monkeypatch.setattr(folder.os, "access", lambda *_: False)
    assert unusable(tmp_path) == f"UNROLL_DATA_DIR: {tmp_path} is a folder that this user may not write to; {CURE}"
    assert unusable(tmp_path / "x") == (
        f"UNROLL_DATA_DIR: {tmp_path / 'x'} cannot be made, because this user may not write to {tmp_path}; {CURE}"
    )

    def hidden(_path: Path) -> None:
        raise PermissionError

    monkeypatch.setattr(folder, "_look", hidden)
    assert unusable(tmp_path) == (
        f"UNROLL_DATA_DIR: {tmp_path} is in a folder that this user may not look into; {CURE}"
    )


def test_what_only_the_attempt_shows_is_said_in_the_systems_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "mkdir", full)
    with pytest.raises(FolderUnusable) as refused:
        make_folder(tmp_path / "x")
    assert str(refused.value) == f"UNROLL_DATA_DIR: {tmp_path / 'x'} cannot be made (no space left on device); {CURE}"
