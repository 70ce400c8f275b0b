"""One running worker per column and module: loading torch takes longer than most tests."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from store.settings import Settings
from tests.servers.deployment import Deployment
from tests.servers.worker import Fleet, fleet_on

FAILPOINTS = "kill@50/poison,raise@50/raising,hang@50/hanging,memory@0/hungry,slow@0/slow"


@pytest.fixture(scope="module", params=["embedded", "production"])
def worked(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A fleet of one worker, in which jobs with some names meet a fault."""
    folder: Path = tmp_path_factory.mktemp(request.param)
    if request.param == "embedded":
        shutil.copy(request.getfixturevalue("_migrated_file"), folder / "unroll.db")
        settings = Settings(data_dir=folder, secret="a secret")
    else:
        postgresql = request.getfixturevalue("postgresql")
        settings = Settings(
            data_dir=folder,
            database_url=postgresql.create_database(request.getfixturevalue("_migrated_database")),
            broker_url=request.getfixturevalue("redis_server").create_database(),
            secret="a secret",
        )
    with fleet_on(Deployment(request.param, settings), folder, stall_seconds=2.5) as fleet:
        fleet.start(FAILPOINTS)
        yield fleet
    if settings.database_url:
        postgresql.drop_database(settings.database_url)
