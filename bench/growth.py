"""Measures what grows with the number of jobs: `python bench/growth.py`.

Every request that lists, counts, claims or looks is timed on two databases that take turns: one with a thousand jobs,
one with many. Once the many have ended, in the other half they wait. The calls are those of the API and the workers, to
the public functions of `store` (and `/metrics` as it is rendered). `--ended` and `--waiting` set how many the many are;
a million ended jobs are too many for SQLite's file to be made in minutes, so it has a tenth of `--ended`.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import event, text

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from api.telemetry import Telemetry  # noqa: E402
from store import (  # noqa: E402
    blobs,
    checkpoints,
    fleet,
    jobs,
    journal,
    keys,
    leases,
    metrics,
    models,
    recovery,
    schema,
)
from store.db import Database  # noqa: E402
from store.keys import Identity  # noqa: E402
from store.settings import Settings  # noqa: E402
from tests.integration.store.factories import (  # noqa: E402
    NETWORK,
    TENANT,
    block,
    checkpoint,
    new_job,
)
from tests.servers import postgresql  # noqa: E402
from tests.servers.crowd import multiply  # noqa: E402
from unroll.contract import NewKey, NewModel  # noqa: E402

FEW = 1000
PIECE = 50_000
SECRET = b"bench"


@dataclass
class World:
    """A database with its jobs, and what calls need to name."""

    db: Database
    identity: Identity
    limited: Identity
    """Of a key with a quota."""
    model_id: str
    parent: str
    job: str
    """A job with events, metrics and a checkpoint."""
    waiting: str
    """The last in the line."""
    telemetry: Telemetry

    def submit(self, identity: Identity | None = None, **fields: Any) -> str:
        """Submit a job, as a request does."""
        who = identity or self.identity
        return jobs.submit(self.db, TENANT, who.key_id, new_job(**fields))[0].id


Call = Callable[[World], object]
LISTS: dict[str, dict[str, Any]] = {
    "list": {},
    "list status=succeeded": {"status": ["succeeded"]},
    "list status=paused (none)": {"status": ["paused"]},
    "list status=failed&status=cancelled (few)": {"status": ["failed", "cancelled"]},
    "list name= (all)": {"name": "same"},
    "list name= (one, old)": {"name": "rare"},
    "list name= (none)": {"name": "none"},
    "list label= (all)": {"labels": {"group": "same"}},
    "list label= (one, old)": {"labels": {"group": "rare"}},
    "list label= (none)": {"labels": {"group": "none"}},
    "list model= (all)": {"model": "m"},
    "list model= (none)": {"model": "none"},
    "list kind=train (all)": {"kind": "train"},
    "list kind=export (none)": {"kind": "export"},
    "list label= and status=failed (none of both)": {"labels": {"group": "same"}, "status": ["failed"]},
    "list name= and kind=export (none of both)": {"name": "same", "kind": "export"},
}


def listing(filters: dict[str, Any]) -> Call:
    """Return the call that lists by filters."""
    return lambda world: jobs.list_(world.db, TENANT, **filters)


def one_run(world: World) -> None:
    """Submit, claim, report and end a job."""
    world.submit(priority=99)
    lease = leases.claim(world.db, "w", "cpu", 60.0)
    assert lease is not None
    leases.report(lease, leases.Report([block(1, 10)], checkpoint=checkpoint(10, losses=(0.1,)), step=10))
    leases.end(lease, "succeeded")


def cancel_and_retry(world: World) -> None:
    """Cancel, retry, pause and resume the last job in the line, which then stands there again."""
    for verb in (jobs.cancel, jobs.retry, jobs.pause, jobs.resume):
        verb(world.db, TENANT, world.waiting)


def submit_and_remove(world: World) -> None:
    """Submit a job, cancel it and delete it."""
    job_id = world.submit()
    jobs.cancel(world.db, TENANT, job_id)
    jobs.remove(world.db, TENANT, job_id)


def submit_within_quota(world: World) -> None:
    """Submit and cancel a job of a key with a quota."""
    jobs.cancel(world.db, TENANT, world.submit(world.limited))


ENDED: dict[str, Call] = {
    **{name: listing(filters) for name, filters in LISTS.items()},
    "list parent= (all)": lambda world: jobs.list_(world.db, TENANT, parent=world.parent),
    "list parent= (none)": lambda world: jobs.list_(world.db, TENANT, parent=world.job),
    "get a job": lambda world: jobs.get(world.db, TENANT, world.job),
    "its events": lambda world: journal.read(world.db, TENANT, world.job),
    "its metrics": lambda world: metrics.read(world.db, TENANT, world.job),
    "its checkpoints": lambda world: checkpoints.list_of_job(world.db, TENANT, world.job),
    "submit": lambda world: world.submit(),
    "submit with a quota, and cancel": submit_within_quota,
    "submit, cancel and delete": submit_and_remove,
    "submit, claim, report, end": one_run,
    "/v1/me": lambda world: keys.me(world.db, world.identity),
    "/v1/me with a quota": lambda world: keys.me(world.db, world.limited),
    "/metrics": lambda world: world.telemetry.render(),
    "list queues": lambda world: fleet.list_queues(world.db, 45.0),
    "list keys": lambda world: keys.list_(world.db, TENANT),
    "list models": lambda world: models.list_(world.db, TENANT),
    "what a model serves": lambda world: models.served(world.db, TENANT, "m"),
    "reconciler: expired leases": lambda world: recovery.expire(world.db, 3),
    "reconciler: lost rings": lambda world: recovery.unheard(world.db, 1.0),
    "reconciler: a piece of the blobs": lambda world: blobs.sweep(world.db),
}
WAITING: dict[str, Call] = {
    "submit": lambda world: world.submit(),
    "submit with a quota, and cancel": submit_within_quota,
    "list": listing({}),
    "list status=queued": listing({"status": ["queued"]}),
    "get the last in the line": lambda world: jobs.get(world.db, TENANT, world.waiting),
    "cancel, retry, pause, resume": cancel_and_retry,
    "submit, claim, report, end": one_run,
    "reconciler: expired leases": lambda world: recovery.expire(world.db, 3),
    "reconciler: lost rings": lambda world: recovery.unheard(world.db, 1.0),
}


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description="What grows with the number of jobs.")
    parser.add_argument("--ended", type=int, default=1_000_000, help="ended jobs, a tenth on SQLite (default: 1000000)")
    parser.add_argument("--waiting", type=int, default=100_000, help="waiting jobs (default: 100000)")
    parser.add_argument("--rounds", type=int, default=200, help="calls of each kind (default: 200)")
    parser.add_argument("--database", choices=["sqlite", "postgresql"], help="only this one")
    parser.add_argument("--json", type=Path, help="write the figures there")
    options = parser.parse_args()
    figures = []
    for dialect in [options.database] if options.database else ["postgresql", "sqlite"]:
        ended = options.ended // 10 if dialect == "sqlite" else options.ended
        for state, many, calls in (("ended", ended, ENDED), ("waiting", options.waiting, WAITING)):
            with worlds(dialect, state, (FEW, many)) as both:
                rows = measure(calls, both, options.rounds)
            figures.append({"database": dialect, "state": state, "few": FEW, "many": many, "calls": rows})
            print(table(figures[-1]), flush=True)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")


def measure(calls: dict[str, Call], both: tuple[World, World], rounds: int) -> dict[str, list[list[float]]]:
    """Return p50 and p99 of each call in milliseconds, with few and with many jobs. The two take turns."""
    found = {}
    for name, call in calls.items():
        taken: tuple[list[float], list[float]] = ([], [])
        for round_ in range(rounds + 3):
            for world, times in zip(both, taken, strict=True):
                begin = time.perf_counter()
                call(world)
                if round_ >= 3:  # the first ones open connections and fill caches
                    times.append(1000 * (time.perf_counter() - begin))
        found[name] = [[float(np.percentile(times, p)) for p in (50, 99)] for times in taken]
    return found


def table(figure: dict[str, Any]) -> str:
    """Return the figures as a table in Markdown."""
    few, many = f"{figure['few']:,}", f"{figure['many']:,}"
    lines = [
        f"\n{figure['database']}, {few} and {many} jobs {figure['state']}; milliseconds, p50 / p99\n",
        f"| call | {few} | {many} | ratio of p50 | of p99 |",
        "|---|---|---|---|---|",
    ]
    for name, (small, large) in figure["calls"].items():
        ratios = " | ".join(f"{b / a:.2f}" for a, b in zip(small, large, strict=True))
        times = " | ".join(f"{p50:.2f} / {p99:.2f}" for p50, p99 in (small, large))
        lines.append(f"| {name} | {times} | {ratios} |")
    return "\n".join(lines)


@contextmanager
def worlds(dialect: str, state: str, sizes: tuple[int, int]) -> Iterator[tuple[World, World]]:
    """Make one database for each size."""
    server = postgresql.postgresql() if dialect == "postgresql" else None
    with tempfile.TemporaryDirectory() as folder:
        made = []
        try:
            for number, size in enumerate(sizes):
                url = "" if server is None else server.create_database()
                settings = Settings(data_dir=Path(folder) / str(number), database_url=url)
                made.append(world(settings, state, size))
            yield made[0], made[1]
        finally:
            for one in made:
                one.db.close()
            if server is not None:
                server.stop()


def world(settings: Settings, state: str, size: int) -> World:
    """Make a database in which so many jobs have ended or wait."""
    schema.migrate(settings)
    db = Database(settings)
    begin = time.monotonic()
    identities = []
    for quota in (None, 1_000_000):
        key = keys.create(db, SECRET, TENANT, NewKey(name="k", max_active_jobs=quota))
        identities.append(keys.authenticate(db, SECRET, key.secret))
    models.register(db, TENANT, NewModel(name="m", config=NETWORK), 19)
    model_id, _ = models.resolve(db, TENANT, "m")
    telemetry = Telemetry()
    telemetry.watch(db, 45.0, lambda: 0, lambda: 0)
    made = World(db, *identities, model_id, "", "", "", telemetry)
    made.parent = made.submit(name="rare", labels={"group": "rare"})
    of_model = {"model_id": model_id, "model_name": "m"}
    made.job = made.submit(name="same", labels={"group": "same"}, parent=made.parent, priority=-1, **of_model)
    for _ in range(2):
        lease = leases.claim(db, "w", "cpu", 60.0)
        assert lease is not None
        leases.report(lease, leases.Report([block(1, 10)], checkpoint=checkpoint(10, losses=(0.1,)), step=10))
        leases.end(lease, "succeeded")
    made.waiting = made.submit(priority=-1)
    of_job = {"job": made.job}
    with db.begin() as tx:  # a journal of two entries is enough to be copied
        tx.execute(text("DELETE FROM events WHERE job_id = :job AND seq > 2"), of_job)
        tx.execute(text("UPDATE jobs SET last_seq = 2 WHERE id = :job"), of_job)
    loader = Database(settings)
    if db.dialect == "postgresql":  # foreign keys are not checked: that takes longer than everything else
        event.listen(loader.engine, "connect", unchecked)
    for first in range(0, size, PIECE):
        count = min(PIECE, size - first)
        if state == "ended":
            # one a minute, and the rare one is the oldest of all
            half = f"CASE i % 2 WHEN 0 THEN '{made.limited.key_id}' ELSE key_id END"
            multiply(loader, made.job, first, count, ended_at="ended_at - 60 * (1 + i)", key_id=half)
        else:
            multiply(loader, made.waiting, first, count, queued_at="queued_at - 1 - i", priority="0")
    loader.close()
    if db.dialect == "postgresql":  # as autovacuum would, soon after so many rows came
        with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("VACUUM ANALYZE"))
    print(f"{db.dialect}: {size:,} jobs {state} after {time.monotonic() - begin:.0f} s", file=sys.stderr)
    return made


def unchecked(connection: Any, _record: object) -> None:
    """Let a session of PostgreSQL check no foreign keys."""
    connection.execute("SET session_replication_role = replica")
    connection.commit()


if __name__ == "__main__":
    main()
