"""Several processes write to one SQLite file: they wait for each other and none is told "database is locked"."""

from __future__ import annotations

import subprocess
import sys
from contextlib import closing

import pytest
from sqlalchemy import text

from store.db import Database
from store.settings import Settings
from tests.integration.store.factories import submit
from tests.servers.deployment import environment

PROCESSES = 3
ROUNDS = 300

READ_THEN_WRITE = """
import sys, time
from sqlalchemy import text
from store.db import Database
from store.settings import Settings
db = Database(Settings())
begin = db.begin
if sys.argv[2] == "deferred":  # the ablation: BEGIN instead of BEGIN IMMEDIATE
    begin = db.read
failures = 0
worst = 0.0
for _ in range(int(sys.argv[1])):
    begun = time.monotonic()
    try:
        with begin() as tx:
            step = tx.execute(text("SELECT step FROM jobs")).scalar_one()
            tx.execute(text("UPDATE jobs SET step = :step"), {"step": step + 1})
    except Exception as error:
        failures += "locked" in str(error) or sys.exit(repr(error))
    worst = max(worst, time.monotonic() - begun)
print(failures, worst)
"""


def run(settings: Settings, kind: str) -> tuple[int, float]:
    """(transactions told "database is locked", seconds of the slowest one)."""
    command = [sys.executable, "-c", READ_THEN_WRITE, str(ROUNDS), kind]
    processes = [
        subprocess.Popen(command, env=environment(settings), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(PROCESSES)
    ]
    failures, worst = 0, 0.0
    for process in processes:
        output, errors = process.communicate(timeout=100)
        assert process.returncode == 0, errors
        failures += int(output.split()[0])
        worst = max(worst, float(output.split()[1]))
    return failures, worst


def steps(db: Database) -> int:
    with db.read() as tx:
        return tx.execute(text("SELECT step FROM jobs")).scalar_one()


@pytest.mark.parametrize("settings", ["sqlite"], indirect=True)
def test_900_transactions_that_read_and_then_write_all_succeed_and_none_is_lost(settings: Settings):
    with closing(Database(settings)) as db:
        submit(db)
        failures, worst = run(settings, "immediate")
        assert failures == 0
        assert steps(db) == PROCESSES * ROUNDS
        assert worst < 10.0


@pytest.mark.parametrize("settings", ["sqlite"], indirect=True)
def test_without_begin_immediate_many_would_fail(settings: Settings):
    with closing(Database(settings)) as db:
        submit(db)
        failures, _ = run(settings, "deferred")
        assert failures > 0
        assert steps(db) == PROCESSES * ROUNDS - failures
