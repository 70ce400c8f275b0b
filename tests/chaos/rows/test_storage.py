"""Rows of docs/reliability.md in which stored content is damaged, or the disk is full."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from psycopg import sql
from sqlalchemy import delete, select, update

from store import blobs, leases, schema
from store.db import Database
from store.errors import DatabaseUnavailable
from store.settings import Settings
from store.tables import blob_chunks, checkpoints
from tests.chaos.rows.conftest import Row
from tests.integration.api.serving import serving
from tests.integration.store import factories
from tests.servers.deployment import Deployment
from tests.servers.postgresql import OwnPostgreSQL, PostgreSQL
from tests.servers.worker import TENANT, fleet_on, job

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1200)]

RowOf = Callable[[str, Deployment], Row]


def test_torn(row_of: RowOf, deployment: Deployment, chance: random.Random, monkeypatch: pytest.MonkeyPatch) -> None:
    row = row_of("torn", deployment)
    monkeypatch.setattr(blobs, "CHUNK_BYTES", 64)  # so that there are many boundaries
    count, size = row.times(200), 640
    db = Database(deployment.settings)
    for number in range(count):
        factories.submit(db)
        lease = factories.claim(db)
        content = [chance.randbytes(size) for _ in range(4)]
        for step, (weights, state) in ((100, content[:2]), (200, content[2:])):
            leases.report(
                lease,
                leases.Report(checkpoint=factories.checkpoint(step, weights=weights, state=state), step=step),
            )
        with db.begin() as tx:
            newest = tx.execute(
                select(checkpoints).where(checkpoints.c.job_id == lease.job_id, checkpoints.c.step == 200)
            ).one()
            torn = newest.weights_sha256 if number % 2 else newest.state_sha256
            at = chance.randrange(size)
            chunk = (blob_chunks.c.sha256 == torn) & (blob_chunks.c.position == at // 64)
            if number % 3 == 0:  # cut at a boundary: everything from there on is missing
                tx.execute(delete(blob_chunks).where(blob_chunks.c.sha256 == torn, blob_chunks.c.position >= at // 64))
            elif number % 3 == 1:  # cut within a chunk
                data = tx.execute(select(blob_chunks.c.data).where(chunk)).scalar_one()
                tx.execute(update(blob_chunks).where(chunk).values(data=data[: at % 64]))
            else:  # one bit is another
                data = bytearray(tx.execute(select(blob_chunks.c.data).where(chunk)).scalar_one())
                data[at % 64] ^= 1 << chance.randrange(8)
                tx.execute(update(blob_chunks).where(chunk).values(data=bytes(data)))
        successor = factories.take_over(db, lease)
        point = leases.resume_point(successor)
        assert point is not None
        assert (point.step, point.weights, point.state) == (100, content[0], content[1])
        leases.end(successor, "succeeded")
    db.close()
    row.found(f"{count} damaged checkpoints: bad loads 0, the one before was used each time")


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """A file system of its own. Only root may mount one."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=777", "none", str(folder)]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode != 0:
        pytest.skip(f"no small file system can be mounted here: {made.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@contextmanager
def filled(folder: Path) -> Iterator[None]:
    """Not a block is left, until the end of the block of code."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    try:
        yield
    finally:
        ballast.unlink()


@contextmanager
def database_on(server: PostgreSQL, disk: Path) -> Iterator[str]:
    """A database whose tables lie there, while its log does not: without it the server itself would end."""
    tables, space = disk / "tables", f"small_{os.getpid()}"
    tables.mkdir()
    if isinstance(server, OwnPostgreSQL) and server.user:
        shutil.chown(tables, server.user)
    url = server.create_database()
    name = sql.Identifier(url.rpartition("/")[2])
    server._execute(sql.SQL("CREATE TABLESPACE {} LOCATION {}").format(sql.Identifier(space), str(tables)))
    server._execute(sql.SQL("ALTER DATABASE {} SET TABLESPACE {}").format(name, sql.Identifier(space)))
    try:
        yield url
    finally:
        server.drop_database(url)
        server._execute(sql.SQL("DROP TABLESPACE {}").format(sql.Identifier(space)))


def test_disk(row_of: RowOf, request: pytest.FixtureRequest, deployment: Deployment, tmp_path: Path) -> None:
    row = row_of("disk", deployment)
    rounds, steps, reads, refused = row.times(3), 6000, 0, 0
    with contextlib.ExitStack() as stack:
        if deployment.name == "production":
            server = request.getfixturevalue("postgresql")
            if not isinstance(server, OwnPostgreSQL):
                pytest.skip("the tables of a server that was named by TEST_DATABASE_URL cannot be put on a small disk")
            disk = stack.enter_context(small_disk(server.folder / "small", 96))
            changed = {"database_url": stack.enter_context(database_on(server, disk)), "data_dir": tmp_path}
        else:
            disk = stack.enter_context(small_disk(tmp_path / "small", 96))
            changed = {"data_dir": disk / "data"}
        settings = Settings(**deployment.settings.model_dump() | changed)  # type: ignore[arg-type]
        schema.migrate(settings)
        with (
            fleet_on(Deployment(deployment.name, settings), tmp_path, lease_seconds=4.0, max_crashes=1000) as fleet,
            serving(fleet.settings) as api,
            api.client(tenant=TENANT) as client,
        ):
            fleet.start()
            for _ in range(rounds):
                job_id = fleet.submit(job(steps))
                fleet.until_step(job_id, 700)
                with filled(disk):
                    until = time.monotonic() + 6.0
                    while time.monotonic() < until:
                        answer = client.get(f"/v1/jobs/{job_id}")
                        assert answer.status_code == 200, answer.text
                        reads += 1
                        try:
                            fleet.submit(job(20))
                        except DatabaseUnavailable:
                            refused += 1
                            time.sleep(0.1)
                fleet.assert_ended_as_if_nothing_had_happened(job_id, steps)
    row.found(f"{rounds} times full: {reads} reads answered, {refused} writes refused, SHA-256 equal")
