from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.sdk.scripted_server import ScriptedServer, serve
from unroll import Client
from unroll._transport import Retries


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with serve() as scripted:
        yield scripted


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("UNROLL_URL", raising=False)
    monkeypatch.delenv("UNROLL_API_KEY", raising=False)
    monkeypatch.setenv("UNROLL_DATA_DIR", str(tmp_path / "data"))


@pytest.fixture
def client(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    monkeypatch.setattr(Retries, "jitter", lambda _self, _attempt: 0.001)  # the waits themselves have their own test
    with Client(server.url, "secret", timeout=5.0) as connected:
        yield connected
