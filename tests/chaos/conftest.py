"""Worker fleets to break, on both columns."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.deployment import Deployment
from tests.servers.worker import Fleet, fleet_on

ROWS = Path(__file__).parent / "rows"


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """The rows of docs/reliability.md take half an hour: `make chaos` runs them, `make test` what is beside them."""
    return True if collection_path == ROWS and not config.getoption("chaos") else None


@pytest.fixture
def fleet(deployment: Deployment, tmp_path: Path) -> Iterator[Fleet]:
    # a lease long enough for a supervisor that gets a tenth of a busy machine, short enough to wait for
    with fleet_on(deployment, tmp_path, lease_seconds=4.0) as ready:
        yield ready
