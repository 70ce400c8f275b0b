"""A real PgBouncer before a PostgreSQL server, in any of its modes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time

import psycopg
import pytest
from sqlalchemy.engine import make_url

from tests.servers.postgresql import unprivileged_user
from tests.servers.processes import free_port, scratch, start

START_SECONDS = 30.0
PLACES = ("/usr/sbin", "/usr/local/sbin", "/opt/homebrew/bin")


def find() -> str:
    """PgBouncer's program. Without one the test is skipped, which tests/conftest.py says loudly; in CI it fails."""
    program = shutil.which("pgbouncer", path=os.pathsep.join([os.environ.get("PATH", os.defpath), *PLACES]))
    if program is not None:
        return program
    if os.environ.get("CI", "").lower() in {"1", "true"}:
        pytest.fail("no PgBouncer on this machine, and CI must have one: .ci/run installs it")
    pytest.skip("no PgBouncer on this machine")


class PgBouncer:
    """A pooler with few connections to the server. `url` is that of one database, `through` makes others of them."""

    def __init__(self, program: str, url: str, *, mode: str = "transaction", connections: int = 3) -> None:
        """Starts it before the server of `url`."""
        server = make_url(url)
        # it refuses to run as root
        user = unprivileged_user() if os.geteuid() == 0 else None
        self.folder = scratch("pgbouncer", user)
        self.port = free_port()
        (self.folder / "users").write_text(f'"{server.username}" "{server.password}"\n')
        (self.folder / "ini").write_text(
            f"""
[databases]
* = host={server.host} port={server.port or 5432}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {self.port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {self.folder / "users"}
pool_mode = {mode}
default_pool_size = {connections}
max_client_conn = 2000
server_idle_timeout = 5
"""
        )
        for name in ("users", "ini"):
            (self.folder / name).chmod(0o644)
        self.log = self.folder / "log"
        self.process = start([program, self.folder / "ini"], self.log, user=user)
        self._wait_for(self.through(url))

    def through(self, url: str) -> str:
        """The URL of a database of the server, reached through the pooler."""
        return make_url(url).set(host="127.0.0.1", port=self.port).render_as_string(hide_password=False)

    def _wait_for(self, url: str) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                psycopg.connect(url, connect_timeout=5).close()
            except psycopg.OperationalError as error:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"PgBouncer did not start: {self.log.read_text()[-2000:]}") from error
                time.sleep(0.02)
            else:
                return

    def stop(self) -> None:
        """End it and remove its folder."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)
        shutil.rmtree(self.folder, ignore_errors=True)
