"""Worker fleets to break, on both columns."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.deployment import Deployment
from tests.servers.worker import Fleet, fleet_on


@pytest.fixture
def fleet(deployment: Deployment, tmp_path: Path) -> Iterator[Fleet]:
    # a lease long enough for a supervisor that gets a tenth of a busy machine, short enough to wait for
    with fleet_on(deployment, tmp_path, lease_seconds=4.0) as ready:
        yield ready
