"""`unroll-server up`: run the whole service on one machine, from an empty folder, with one command."""

from __future__ import annotations

import contextlib
import fcntl
import os
import platform
import secrets
import stat
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from api import next_steps
from api.cli.failures import Failure, hash_secret, load_settings, open_database, require_data_folder
from api.cli.processes import MANY_DEATHS, Process, Supervisor, followed, python
from api.cli.serve import listen
from api.cli.several import MARGIN_SECONDS, Readiness, require_alive, started, tell
from store.settings import Settings

TENANT = "default"
REPORTED_SECONDS = 60.0
"""A worker that has been silent for so long is not one of this service, whatever its process number."""


def run(*, with_parent: bool = False) -> None:
    """Run until SIGTERM, SIGINT or the parent's end. Raises Failure if the service cannot start."""
    parent = os.getppid() if with_parent else None
    settings = load_settings()
    require_data_folder(settings, always=True)
    make_private(settings.data_dir)
    with held(settings.data_dir):
        from store.schema import migrate

        open_database(settings, checked=False).close()
        secret = hash_secret(settings)
        migrate(settings)
        provide_key(settings, secret)
        _serve(settings, parent)


def make_private(folder: Path) -> None:
    """Make an empty data folder readable only by its owner.

    If other users can read a folder with something in it, this is reported but not changed, because the folder may hold
    other files.
    """
    if not any(folder.iterdir()):
        folder.chmod(0o700)
    elif stat.S_IMODE(folder.stat().st_mode) & 0o077:
        print(f"warning: other users can look into {folder}; better: chmod 700 {folder}", file=sys.stderr)


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Lock the folder, because two supervisors would overwrite each other's `key` and `url`.

    The kernel holds the lock, so a supervisor that was killed leaves nothing to clean up. Raises Failure if the folder
    is in use.
    """
    with (folder / "lock").open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            owner = file.read().strip() or "unknown"
            raise Failure(f"{folder} is already served by another `unroll-server up` (process {owner})") from error
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def provide_key(settings: Settings, secret: bytes) -> Path:
    """Return the file with a key for this machine's user.

    The key is made if there is none, or if the present one no longer works. Raises DatabaseUnavailable if nothing can
    be written.
    """
    from store import keys
    from store.errors import KeyExpired, Unauthorized
    from unroll.contract import NewKey

    path = settings.data_dir / "key"
    db = open_database(settings)
    try:
        if (unwritable := db.writable()) is not None:
            raise unwritable
        if path.is_file():
            path.chmod(0o600)
            with contextlib.suppress(Unauthorized, KeyExpired):
                keys.authenticate(db, secret, path.read_text(encoding="utf-8").strip())
                return path
        made = keys.create(db, secret, TENANT, NewKey(name="local", scopes=["read", "write", "predict", "admin"]))
    finally:
        db.close()
    write_private(path, made.secret)
    return path


def write_private(path: Path, text: str) -> None:
    """Replace the file in one step, readable only by its owner: a reader sees the old text or the new one."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(f"{text}\n")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _serve(settings: Settings, parent: int | None) -> None:
    with started(settings, listen(settings.host, settings.port, else_free=True)) as (address, apis):
        _supervise(settings, parent, address, apis)


def _supervise(settings: Settings, parent: int | None, address: tuple[str, int], apis: list[Process]) -> None:
    from store import fleet

    host, port = address
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    token = secrets.token_hex(4)
    workers = [
        Process(
            f"worker {number}",
            python("worker", "--token", token, *followed()),
            grace_seconds=settings.drain_seconds + MARGIN_SECONDS,
            short_lives=MANY_DEATHS,
            after_death=lambda pid, how: _hand_back(settings, fleet.worker_id(pid, token), how),
        )
        for number in range(1, settings.workers + 1)
    ]

    ready, kernel, reported = Readiness(host, port), next_steps.KernelNote(), _Workers(settings, workers)

    def announce_when_ready() -> bool:
        require_alive(apis)
        if not ready() or not reported():
            return False
        write_private(settings.data_dir / "url", url)
        if settings.port not in (0, port):
            tell(f"Port {settings.port} is in use; this is another, free one.")
        if settings.device == "cpu" and (note := kernel()):
            tell(note)
        print(_announcement(url, settings.data_dir), flush=True)
        return True

    # workers stop first: while they drain, users can still see what becomes of their jobs
    supervisor = Supervisor([workers, apis], tell, parent)
    try:
        in_time = supervisor.run(announce_when_ready)
    finally:
        kernel.close()
        reported.close()
        (settings.data_dir / "url").unlink(missing_ok=True)
    if not in_time:
        raise Failure("Not everything stopped in time; what was running goes on from its last checkpoint.")
    tell("Stopped.")


def _announcement(url: str, folder: Path) -> str:
    return f"""\
Unroll serves at   {url} (a page for a browser)
API documentation  {url}/docs (for a browser too; everything below /v1 needs the key)
Key                {folder / "key"} (the SDK and `unroll` find it by themselves here)
Data               {folder}
Ctrl-C stops it: running jobs are checkpointed, and go on at the next start.

{next_steps.text()}"""


def _hand_back(settings: Settings, worker_id: str, how: str) -> None:
    """Give back what a dead worker was running, so that nobody waits for its lease to expire.

    If the database does not answer now, the lease expires by itself.
    """
    from store import fleet, recovery
    from store.errors import DatabaseUnavailable

    db = open_database(settings, checked=False)
    try:
        # no ring: workers look for jobs that wait at their start and every UNROLL_RECONCILE_SECONDS
        recovery.take_back(db, worker_id, how, settings.max_crashes)
        fleet.dismiss(db, worker_id)
    except DatabaseUnavailable as error:
        tell(f"what {worker_id} was running waits until its lease expires: {error}")
    finally:
        db.close()


class _Workers:
    """Asks the database, every quarter of a second, whether one of these workers has reported that it is ready."""

    def __init__(self, settings: Settings, started: Sequence[Process]) -> None:
        self._db, self._started, self._next = open_database(settings, checked=False), started, 0.0

    def close(self) -> None:
        self._db.close()

    def __call__(self) -> bool:
        from store.errors import DatabaseUnavailable
        from store.fleet import list_workers

        if time.monotonic() < self._next:
            return False
        self._next = time.monotonic() + 0.25
        ours = {process.popen.pid for process in self._started if process.popen is not None}
        here = platform.node()[:255]
        try:
            found = list_workers(self._db, "", REPORTED_SECONDS)
        except DatabaseUnavailable:
            return False
        return any(one.alive and one.pid in ours and one.host == here for one in found)
