"""The table of docs/reliability.md: what is promised under which fault, and what the rows found."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path

PROMISES = {
    "killed": (
        "kill -9 of a trainer or a worker",
        "The job resumes; the result has the same bits.",
        "at random steps of running jobs",
    ),
    "doubled": ("Messages delivered several times", "A job has one owner.", "each message 10 times, to 4 workers"),
    "zombie": (
        "A worker that wakes up after its lease",
        "What it writes is refused.",
        "SIGSTOP beyond the lease, takeover, SIGCONT; and stale writes to the store",
    ),
    "broker": (
        "The broker is wiped or down",
        "Jobs are accepted and run.",
        "FLUSHALL, kill -9, SIGSTOP; the folder of the files removed",
    ),
    "database": (
        "The database restarts",
        "What was acknowledged is there; jobs go on.",
        "immediate shutdown at random steps",
    ),
    "api": (
        "The API is killed around commit and publish",
        "One job for each Idempotency-Key.",
        "kill -9 while clients submit and retry",
    ),
    "sigterm": ("SIGTERM", "Checkpoint and exit within the grace time.", "at random steps of running jobs"),
    "cancel": ("Cancel against finish", "One end state.", "cancels at random moments of short jobs"),
    "poison": (
        "A job that kills its process, runs out of memory, or hangs",
        "It fails after 3 attempts (memory: 1) with its cause; others run.",
        "self-kill, a memory limit, a step that never ends",
    ),
    "torn": (
        "A damaged checkpoint",
        "The last good one is used.",
        "stored content cut at every boundary of a chunk and at random bytes",
    ),
    "disk": (
        "A full disk",
        "Reads go on; jobs end with the same bits when there is room again.",
        "a small file system filled to the last block under a running job",
    ),
    "stream": (
        "A stream is cut, or its reader is slow",
        "Gapless by Last-Event-ID; bounded memory.",
        "cuts at random bytes; readers that do not read",
    ),
    "clock": ("Clocks that are wrong", "No early takeover.", "workers whose clock is an hour ahead or behind"),
    "migration": (
        "A migration under a running job",
        "The job finishes.",
        "tables changed as an upgrade changes them, in mid-run",
    ),
    "sleep": (
        "A machine that sleeps",
        "Jobs go on in the same attempt.",
        "SIGSTOP of every process for longer than a lease, then SIGCONT",
    ),
    "pooler": (
        "A transaction pooler before PostgreSQL",
        "Everything works through it.",
        "PgBouncer in transaction mode between all processes and PostgreSQL",
    ),
    "network": (
        "A worker that is cut off from database and broker",
        "Another one takes over; nothing is written twice.",
        "two workers in network namespaces of their own, the cable of one cut",
    ),
}
"""Fault, promise and injection of each row. The rows' tests are named by the keys."""

COLUMNS = ("embedded", "production")


def write(page: Path, figures: Path, scale: float) -> None:
    """Write the page from the figures that the rows left."""
    lines = [
        "# Reliability",
        "",
        "What Unroll promises when something breaks, and what was found when it was broken on purpose. `make chaos`",
        "breaks it and writes this page; each row is a test in `tests/chaos/rows/`, and fails where its promise does",
        "not hold.",
        "",
        "| # | Fault | Promise | Injection | SQLite, files | PostgreSQL, Redis |",
        "|---|---|---|---|---|---|",
    ]
    for number, (name, (fault, promise, injection)) in enumerate(PROMISES.items(), 1):
        found = [_figure(figures / f"{name}.{column}.json") for column in COLUMNS]
        lines.append(f"| {number} | {fault} | {promise} | {injection} | {found[0]} | {found[1]} |")
    lines += ["", f"Measured at scale {scale:g} (`make chaos SCALE={scale:g}`) on {_machine()}.", ""]
    page.write_text("\n".join(lines))


def _figure(file: Path) -> str:
    return json.loads(file.read_text()) if file.is_file() else "**not shown: the row failed or did not run**"


def _machine() -> str:
    return f"{platform.system()}, {platform.machine()}, {os.cpu_count()} processors, Python {platform.python_version()}"
