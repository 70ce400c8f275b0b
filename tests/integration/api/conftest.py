from __future__ import annotations

from collections.abc import Iterator

import httpx2
import pytest

from store import schema
from store.settings import Settings
from tests.integration.api.serving import Api, serving
from tests.servers.deployment import Deployment


@pytest.fixture
def api(deployment: Deployment) -> Iterator[Api]:
    """A server on SQLite with files, then on PostgreSQL with Redis."""
    with serving(deployment.settings) as running:
        yield running


@pytest.fixture
def client(api: Api) -> Iterator[httpx2.Client]:
    """A client of the tenant `ours` with every scope."""
    with api.client() as made:
        yield made


@pytest.fixture
def stranger(api: Api) -> Iterator[httpx2.Client]:
    """A client of another tenant, with every scope."""
    with api.client(tenant="theirs") as made:
        yield made


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Api, httpx2.Client]]:
    """One server for a whole file, for refusals, which leave no trace and have nothing to do with the database."""
    settings = Settings(data_dir=tmp_path_factory.mktemp("data"), secret="the tests' secret")  # type: ignore[arg-type]
    schema.migrate(settings)
    with serving(settings) as running, running.client() as made:
        yield running, made
