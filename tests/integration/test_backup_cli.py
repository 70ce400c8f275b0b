"""backup, restore and prune as an operator uses them: from one folder into another one."""

from __future__ import annotations

import json
import stat
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from api.cli import main
from store import fleet, jobs, keys
from store.db import Database
from store.settings import Settings
from tests.integration.store.factories import TENANT, submit
from unroll.contract import NewKey

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run `unroll-server` on a data folder, in this process: exit code, standard output, standard error."""

    def run(folder: Path, *arguments: str, **variables: str) -> tuple[int, str, str]:
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", ["unroll-server", *arguments])
            for name, value in {"data_dir": str(folder), **variables}.items():
                patch.setenv(f"UNROLL_{name.upper()}", value)
            with pytest.raises(SystemExit) as ended:
                main()
        out, error = capsys.readouterr()
        return int(ended.value.code or 0), out, error

    return run


def test_a_service_moves_to_another_folder_with_its_keys(command: Command, tmp_path: Path):
    old, new, file = tmp_path / "old", tmp_path / "new", tmp_path / "file"
    assert command(old, "migrate")[0] == 0
    before = Settings(data_dir=old)
    with closing(Database(before)) as db:
        key = keys.create(db, before.hash_secret, TENANT, NewKey(name="k")).secret
        job = submit(db).id
    code, out, error = command(old, "backup", str(file))
    assert (code, out.split(": ")[0]) == (0, str(file))
    assert "holds the secret" in error
    assert command(old, "backup", str(file))[0] == 1  # it is not written over

    assert command(new, "restore", str(file))[::2] == (0, "")
    after = Settings(data_dir=new)
    assert stat.S_IMODE((new / "secret").stat().st_mode) == 0o600
    with closing(Database(after)) as db:
        assert keys.authenticate(db, after.hash_secret, key).tenant == TENANT
        assert [one.id for one in jobs.list_(db, TENANT).data] == [job]

    for path, said in ((file, "is not empty"), (tmp_path / "nothing", "no such file"), (old / "secret", "no backup")):
        code, _, error = command(new, "restore", str(path))
        assert code != 0
        assert error.startswith("error: ")
        assert said in error
        assert error.count("\n") == 1
    assert command(new, "restore", str(file), "--replace")[0] == 0
    with closing(Database(after)) as db:
        fleet.enlist(db, "worker", "box", 1, "cpu", "1")
    assert "Workers are running" in command(new, "restore", str(file), "--replace")[2]
    assert "UNROLL_SECRET" in command(tmp_path / "else", "restore", str(file), secret="another")[2]


def test_prune_says_what_it_would_remove_and_refuses_an_age_that_is_none(command: Command, tmp_path: Path):
    assert command(tmp_path, "migrate")[0] == 0
    code, out, _ = command(tmp_path, "prune", "--older-than", "30d", "--dry-run", "-o", "json")
    nothing = {"jobs": 0, "checkpoints": 0, "artifacts": 0, "bytes": 0}
    assert (code, json.loads(out)) == (0, {**nothing, "dry_run": True, "returned_bytes": None})
    code, out, error = command(tmp_path, "prune", "--older-than", "30d")
    assert (code, out) == (0, "Removed 0 jobs, 0 checkpoints and 0 artifacts: 0.0 MB of contents.\n")
    assert "--shrink" in error
    code, _, error = command(tmp_path, "prune", "--older-than", "30")
    assert code == 2
    assert "--older-than" in error
