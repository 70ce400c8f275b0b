"""What the commands say where the database cannot be used: one sentence with the cause, and exit code 2."""

from __future__ import annotations

from pathlib import Path

import pytest

from api.cli.doctor import look
from store.settings import Settings
from tests.servers.deployment import environment
from tests.servers.disk import SmallDisk
from tests.servers.pgbouncer import PgBouncer, find
from tests.servers.postgresql import PostgreSQL
from tests.servers.up import embedded, run


def refused(env: dict[str, str], *arguments: str) -> str:
    done = run(env, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    return line


def diagnosed(settings: Settings) -> str:
    """What doctor finds broken about the database."""
    found = look("database", settings)
    assert found.verdict == "broken"
    return found.detail


def leave(disk: SmallDisk, kilobytes: int) -> None:
    """Fill a disk but for so much."""
    reserve = disk.folder / "reserve"
    reserve.write_bytes(bytes(kilobytes << 10))
    disk.fill()
    reserve.unlink()


@pytest.mark.parametrize("kilobytes", [0, 80])
def test_up_on_a_full_disk_says_so_and_what_it_leaves_is_of_use_later(disk: SmallDisk, kilobytes: int):
    folder = disk.folder / "data"
    folder.mkdir(mode=0o700)
    leave(disk, kilobytes)
    assert str(folder) in refused(embedded(folder), "up")
    disk.make_room()
    assert run(embedded(folder), "migrate").returncode == 0
    leave(disk, kilobytes)
    assert str(folder) in refused(embedded(folder), "up")
    assert f"There is no room left for {folder / 'unroll.db'}" in diagnosed(Settings(data_dir=folder))


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
def test_a_database_that_does_not_hold_every_text_is_refused_by_all(
    postgresql: PostgreSQL, tmp_path: Path, encoding: str
):
    url = postgresql.create_database(encoding=encoding)
    settings = Settings(data_dir=tmp_path / "data", database_url=url, secret="s")
    for command in ("migrate", "up") if encoding == "LATIN1" else ("worker",):
        assert f"has the encoding {encoding}" in refused(environment(settings), command)
    assert f"has the encoding {encoding}" in diagnosed(settings)
    postgresql.drop_database(url)


def test_doctor_and_start_name_a_pooler_without_transactions(postgresql: PostgreSQL, tmp_path: Path):
    pooler = PgBouncer(find(), postgresql.url, mode="statement")
    try:
        settings = Settings(data_dir=tmp_path / "data", database_url=pooler.through(postgresql.url), secret="s")
        for command in ("migrate", "worker"):
            assert "pool_mode = transaction" in refused(environment(settings), command)
        assert "pool_mode = transaction" in diagnosed(settings)
    finally:
        pooler.stop()
