"""API processes behind one address: one by default, UNROLL_API_PROCESSES at most (docs/adr/0025).

Each of several has a listening socket of its own with SO_REUSEPORT, so the kernel spreads connections evenly, and a
process that died or is not ready gets none. Where the system does not spread them (macOS), all inherit one socket.
"""

from __future__ import annotations

import http.client
import select
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from tempfile import TemporaryDirectory

from api.cli.failures import FAILED, WRONG_SETTINGS, Failure, hash_secret, open_database, require_data_folder
from api.cli.processes import Process, Supervisor, followed, python
from api.cli.serve import GRACE_SECONDS, listen
from store.settings import Settings

MARGIN_SECONDS = 5.0
"""Extra seconds that a process may take to end after its own grace time."""
SPREADS = sys.platform == "linux"
"""Whether the kernel spreads connections over the sockets of one address."""


def run(settings: Settings, parent: int | None) -> None:
    """Run several API processes until SIGTERM, SIGINT or the parent's end. Raises Failure if they cannot start."""
    require_data_folder(settings, always=not settings.broker_url)
    hash_secret(settings)
    open_database(settings).close()
    with started(settings, listen(settings.host, settings.port)) as (address, processes):
        ready = Readiness(*address)

        def announce_when_ready() -> bool:
            require_alive(processes)
            if not ready():
                return False
            host, port = address
            tell(f"{len(processes)} API processes serve at http://{f'[{host}]' if ':' in host else host}:{port}")
            return True

        if not Supervisor([processes], tell, parent).run(announce_when_ready):
            raise Failure("Not every API process stopped in time.")


@contextmanager
def started(settings: Settings, listener: socket.socket) -> Iterator[tuple[tuple[str, int], list[Process]]]:
    """Give the address, and what runs the API there, for a supervisor. The listening socket is taken over.

    One process inherits the socket. While it is started again, connections wait instead of being refused. Several have
    a folder together, in which they count for /metrics.
    """
    host, port = listener.getsockname()[:2]
    # an address that listens everywhere is no address to connect to
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), port  # noqa: S104
    inherit = "--listener", str(listener.fileno())
    make = partial(Process, grace_seconds=GRACE_SECONDS + MARGIN_SECONDS)
    with listener:
        if settings.api_processes == 1:
            command = python("api.cli", "api", *inherit, *followed())
            yield reachable, [make("the API", command, pass_fds=(listener.fileno(),))]
            return
    if SPREADS:
        # held but not listening: nobody else gets the address while its processes are started again
        listener = listen(host, port, together=True)
    with TemporaryDirectory(prefix="unroll-metrics-") as folder, listener:
        yield (
            reachable,
            [
                make(
                    f"API process {number}",
                    python("api.cli", "api", *(["--together"] if SPREADS else inherit), *followed()),
                    pass_fds=() if SPREADS else (listener.fileno(),),
                    env={"UNROLL_HOST": host, "UNROLL_PORT": str(port), "PROMETHEUS_MULTIPROC_DIR": folder},
                    after_death=partial(_forget_gauges, folder),
                )
                for number in range(1, settings.api_processes + 1)
            ],
        )


def _forget_gauges(folder: str, pid: int, _how: str) -> None:
    """Leave what a dead process counted in the sums, but not what it had at that moment."""
    from prometheus_client.multiprocess import mark_process_dead

    mark_process_dead(pid, folder)  # type: ignore[no-untyped-call]


def require_alive(processes: Sequence[Process]) -> None:
    """Raise Failure if one has ended. It is asked before any was well, so trying again would not help."""
    for process in processes:
        if process.popen is not None and process.popen.poll() is not None:
            exit_code = WRONG_SETTINGS if process.popen.returncode == WRONG_SETTINGS else FAILED
            raise Failure("The API could not start; the reason is above.", exit_code)


class Readiness:
    """Asks the API whether it is ready, one question at a time, and never waits for the answer."""

    def __init__(self, host: str, port: int) -> None:
        self._connection = http.client.HTTPConnection(host, port, timeout=5)
        self._asked = False
        self._ready = False

    def __call__(self) -> bool:
        """Return whether it has said so."""
        if self._ready:
            return True
        try:
            if not self._asked:
                self._connection.request("GET", "/readyz")
                self._asked = True
            if not select.select([self._connection.sock], [], [], 0)[0]:
                return False
            self._asked = False
            response = self._connection.getresponse()
            response.read()
        except (OSError, http.client.HTTPException):
            self._connection.close()
            self._asked = False
            return False
        self._ready = response.status == http.HTTPStatus.OK
        if self._ready:
            self._connection.close()
        return self._ready


def tell(message: str) -> None:
    """Print a line on standard error."""
    print(message, file=sys.stderr, flush=True)
