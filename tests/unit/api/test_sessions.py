"""A session is taken over by one request at a time, and nothing is left in memory."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from api.sessions import Sessions


def test_a_session_is_looked_for_by_one_request_at_a_time(monkeypatch: pytest.MonkeyPatch):
    looking, most = 0, 0

    async def find(*_: object) -> None:
        nonlocal looking, most
        looking += 1
        most = max(most, looking)
        await asyncio.sleep(0.01)
        looking -= 1

    async def ask() -> int:
        nothing: Any = None
        sessions = Sessions(nothing, nothing, nothing)
        monkeypatch.setattr(sessions, "_find", find)
        asking = [asyncio.create_task(sessions.find("tenant", "session", None)) for _ in range(3)]
        await asking[0]  # one waits for the second, and a further one comes
        asking.append(asyncio.create_task(sessions.find("tenant", "session", None)))
        await asyncio.gather(*asking)
        return len(sessions._loading)

    assert asyncio.run(ask()) == 0
    assert most == 1
