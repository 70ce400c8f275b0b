"""What the rows of docs/reliability.md share: how often they try, and where they write what they found."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.chaos.rows.table import PROMISES, write
from tests.servers.deployment import Deployment


@dataclass
class Row:
    """One row of the table, on one database."""

    name: str
    column: str
    scale: float
    folder: Path

    def times(self, count: int) -> int:
        """`count` at full scale, one at least."""
        return max(1, round(count * self.scale))

    def found(self, figure: str) -> None:
        """Note the figure. A row that fails before has none, and the page says so."""
        assert self.name in PROMISES
        (self.folder / f"{self.name}.{self.column}.json").write_text(json.dumps(figure))


@pytest.fixture
def row_of(request: pytest.FixtureRequest) -> Callable[[str, Deployment], Row]:
    folder = Path(request.config.getoption("chaos_figures"))
    folder.mkdir(parents=True, exist_ok=True)
    scale = float(request.config.getoption("chaos"))

    def row(name: str, deployment: Deployment) -> Row:
        (folder / f"{name}.{deployment.name}.json").unlink(missing_ok=True)
        return Row(name, deployment.name, scale, folder)

    return row


@pytest.fixture
def chance() -> random.Random:
    """The same moments each time, as far as a machine allows."""
    return random.Random(15)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the page, where one is wanted."""
    if page := session.config.getoption("chaos_page"):
        write(Path(page), Path(session.config.getoption("chaos_figures")), float(session.config.getoption("chaos")))
