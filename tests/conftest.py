"""Real servers for every test that asks for one, and databases made by the migrations.

Tests can use these fixtures (all are lazy; a session that needs no PostgreSQL starts none):

    db              an empty, migrated Database; the test runs on SQLite and on PostgreSQL
    settings        the Settings behind it
    empty_settings  the Settings of a database without any table, on both
    deployment      SQLite with files, and PostgreSQL with Redis, to start processes in (tests/servers)
    broker          Settings with SQLite and a broker: files, then Redis with a password
    postgresql      the PostgreSQL server; redis_server, the Redis server
    disk            a small disk to fill
    pgbouncer       a PgBouncer in transaction mode before that PostgreSQL, with three connections

With --pooler, every PostgreSQL database of every test is reached through a PgBouncer in transaction mode.
"""

from __future__ import annotations

import atexit
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from store import schema
from store.db import Database
from store.settings import Settings
from tests.servers.databases import Databases
from tests.servers.deployment import Deployment
from tests.servers.disk import SmallDisk, small_disk
from tests.servers.pgbouncer import PgBouncer
from tests.servers.pgbouncer import find as find_pgbouncer
from tests.servers.postgresql import PostgreSQL
from tests.servers.postgresql import postgresql as start_postgresql
from tests.servers.redis import Redis
from tests.servers.redis import redis_server as start_redis

# How long an example takes says how busy the machine is, not whether the code is right.
hypothesis.settings.register_profile("unroll", deadline=None)
hypothesis.settings.load_profile("unroll")

SECRET = "the tests' secret"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--product", action="store_true", help="run every case of the oracles' matrices")
    parser.addoption("--pooler", action="store_true", help="put a PgBouncer, pooling by transaction, before PostgreSQL")
    parser.addoption("--chaos", type=float, metavar="SCALE", help="run the rows of docs/reliability.md; 1: every count")
    parser.addoption("--chaos-figures", default="/tmp/unroll-chaos", metavar="FOLDER", help="where rows leave figures")
    parser.addoption("--chaos-page", metavar="FILE", help="write the table of all rows there at the end")


def pytest_report_header(config: pytest.Config) -> str:
    """Say which cases of the matrices there are, as those that are left out are not even collected."""
    return f"matrices: {'every case' if config.getoption('product') else 'a covering set (--product: every case)'}"


@pytest.fixture(scope="session", autouse=True)
def _nobodys_settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test sees the settings, keys or data of whoever runs it."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("UNROLL_")]:
            patch.delenv(name)
        patch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("xdg")))
        yield


@pytest.fixture(scope="session")
def postgresql(request: pytest.FixtureRequest) -> Iterator[PostgreSQL]:
    program = find_pgbouncer() if request.config.getoption("pooler") else None
    server = start_postgresql()
    atexit.register(server.stop)  # an interrupted pytest may not come to the end of this fixture
    if program is not None:
        server.pooler = PgBouncer(program, server.url, connections=10)
        atexit.register(server.pooler.stop)
    yield server
    if server.pooler is not None:
        server.pooler.stop()
        atexit.unregister(server.pooler.stop)
    server.stop()
    atexit.unregister(server.stop)


@pytest.fixture(scope="session")
def pgbouncer(postgresql: PostgreSQL) -> Iterator[PgBouncer]:
    pooler = PgBouncer(find_pgbouncer(), postgresql.url)
    atexit.register(pooler.stop)
    yield pooler
    pooler.stop()
    atexit.unregister(pooler.stop)


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Redis]:
    server = start_redis()
    atexit.register(server.stop)
    yield server
    server.stop()
    atexit.unregister(server.stop)


@pytest.fixture(scope="session")
def _migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("template")
    schema.migrate(Settings(data_dir=folder))
    return folder / "unroll.db"


@pytest.fixture(scope="session")
def _migrated_database(postgresql: PostgreSQL, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    url = postgresql.create_database()
    # nobody may stay connected to what is copied, and a pooler would
    direct = postgresql.direct(url)
    schema.migrate(Settings(data_dir=tmp_path_factory.mktemp("template"), database_url=direct))
    yield url
    postgresql.drop_database(url)


@pytest.fixture(scope="session")
def _databases(postgresql: PostgreSQL, _migrated_database: str) -> Iterator[Databases]:
    lent = Databases(postgresql, _migrated_database)
    yield lent
    lent.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Settings]:
    yield from _on(request.param, request, tmp_path)


def _on(dialect: str, request: pytest.FixtureRequest, folder: Path, broker_url: str = "") -> Iterator[Settings]:
    """Settings of a migrated database without rows, for one test alone."""
    folder = folder / "data"
    folder.mkdir(mode=0o700)
    if dialect == "sqlite":
        shutil.copy(request.getfixturevalue("_migrated_file"), folder / "unroll.db")
        yield Settings(data_dir=folder, broker_url=broker_url, secret=SECRET, port=0)
    else:
        databases: Databases = request.getfixturevalue("_databases")
        url = databases.borrow()
        yield Settings(data_dir=folder, database_url=url, broker_url=broker_url, secret=SECRET, port=0)
        databases.give_back(url)


@pytest.fixture
def db(settings: Settings) -> Iterator[Database]:
    database = Database(settings)
    yield database
    database.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_settings(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Settings]:
    if request.param == "sqlite":
        yield Settings(data_dir=tmp_path / "data", secret=SECRET)
    else:
        server = request.getfixturevalue("postgresql")
        url = server.create_database()
        yield Settings(data_dir=tmp_path / "data", database_url=url, secret=SECRET)
        server.drop_database(url)


@pytest.fixture(params=["embedded", "production"])
def deployment(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Deployment]:
    if request.param == "embedded":
        found = _on("sqlite", request, tmp_path)
    else:
        found = _on("postgresql", request, tmp_path, request.getfixturevalue("redis_server").create_database())
    for each in found:
        yield Deployment(request.param, each)


@pytest.fixture(params=["filesystem", "redis"])
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Settings]:
    url = "" if request.param == "filesystem" else request.getfixturevalue("redis_server").create_database()
    yield from _on("sqlite", request, tmp_path, url)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk", megabytes=24) as mounted:
        yield mounted


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say at the end, where it is read, that web pages were not looked at, or that no GPU was used."""
    skipped = terminalreporter.getreports("skipped")
    missing = [report for report in skipped if report.nodeid.startswith("tests/browser/")]
    if missing:
        terminalreporter.section("the tests in a browser DID NOT RUN", sep="!", yellow=True, bold=True)
        terminalreporter.line(
            f"{len(missing)} of them: there is no Chromium on this machine. Install one (Debian and Ubuntu: apt-get "
            "install chromium), or name one in CHROMIUM. Where CI=true they fail instead."
        )
    without_pooler = [report for report in skipped if "no PgBouncer" in str(report.longrepr)]
    if without_pooler:
        terminalreporter.section("the tests with a pooler DID NOT RUN", sep="!", yellow=True, bold=True)
        terminalreporter.line(
            f"{len(without_pooler)} of them: there is no PgBouncer on this machine. Install one (Debian and Ubuntu: "
            "apt-get install pgbouncer). Where CI=true they fail instead."
        )
    without_disk = [report for report in skipped if "no small disk" in str(report.longrepr)]
    if without_disk:
        terminalreporter.section("the tests on a full disk DID NOT RUN", sep="!", yellow=True, bold=True)
        terminalreporter.line(
            f"{len(without_disk)} of them: this user may not mount a file system in memory. Where CI=true they fail."
        )
    without_gpu = [report for report in skipped if report.nodeid.startswith("tests/cuda/")]
    if without_gpu:
        terminalreporter.section("the tests on a GPU DID NOT RUN", sep="!", yellow=True, bold=True)
        terminalreporter.line(
            f"{len(without_gpu)} of them: torch sees no CUDA device on this machine. What can be tested of that code "
            "without one, tests/unit/rnn/test_graphs.py and tests/oracles/test_cudnn.py test."
        )
