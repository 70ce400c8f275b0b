"""Many who wait for one job: what is read for them is read once."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable
from urllib.parse import urlsplit

import httpx2
import pytest

from api import feeds, pages
from store import jobs as stored_jobs
from store import journal, keys, leases
from store.db import Database
from store.errors import DatabaseUnavailable
from store.settings import Settings
from tests.integration.api.serving import JOB, Api, claim, progress
from tests.integration.store import factories

PATIENCE = 30.0


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


class Stream:
    """An event stream, read in a thread as fast as it comes."""

    def __init__(self, client: httpx2.Client, job: str, after: int = 0) -> None:
        self.seen: list[int] = []
        self._client, self._path = client, f"/v1/jobs/{job}/events?after={after}"
        self._leave = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        with self._client.stream("GET", self._path, headers={"Accept": "text/event-stream"}) as response:
            assert response.status_code == 200
            for line in response.iter_lines():
                if line.startswith("id: "):
                    self.seen.append(int(line[4:]))
                if self._leave.is_set():
                    return

    def leave(self) -> None:
        """Hang up at the next line."""
        self._leave.set()

    def ended(self, seconds: float = PATIENCE) -> bool:
        self._thread.join(seconds)
        return not self._thread.is_alive()


@pytest.fixture
def framed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The seq of every event that is made ready to be sent."""
    found: list[int] = []
    frame = pages.frame
    monkeypatch.setattr(pages, "frame", lambda event: found.append(event.seq) or frame(event))
    return found


def test_many_streams_of_a_job_share_one_reader_and_each_sees_everything_once(
    api: Api, client: httpx2.Client, framed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    heads = journal.heads
    monkeypatch.setattr(journal, "heads", lambda db, ids: asked.append(len(ids)) or heads(db, ids))
    job = client.post("/v1/jobs", json=JOB).json()["id"]
    lease = claim(api)
    progress(lease, 300)
    streams = [Stream(client, job, after) for after in [0] * 20 + [150, 299, 302]]
    begin = time.monotonic()
    for _ in range(5):
        progress(lease, 60)
        time.sleep(0.1)
    until(lambda: all(602 in stream.seen for stream in streams))
    leases.end(lease, "succeeded")
    assert all(stream.ended() for stream in streams)
    seconds = time.monotonic() - begin
    assert [stream.seen[0] for stream in streams] == [1] * 20 + [151, 300, 303]
    assert all(stream.seen == list(range(stream.seen[0], 604)) for stream in streams)
    assert sorted(framed) == list(range(1, 604))  # each was read and written once, for all of them
    assert len(asked) <= seconds / feeds.LEAST_SECONDS + 2


def test_a_reader_that_stalls_costs_a_chunk_and_then_sees_everything(
    api: Api, client: httpx2.Client, framed: list[int]
) -> None:
    job = client.post("/v1/jobs", json=JOB).json()["id"]
    lease = claim(api)
    big = {"text": "x" * 20_000}
    for _ in range(20):  # 20 MB: more than any socket buffer holds
        leases.report(lease, leases.Report(entries=[("progress", big)] * 50))
    url = urlsplit(api.url)
    with socket.create_connection((url.hostname, url.port)) as stalled:
        stalled.sendall(
            f"GET /v1/jobs/{job}/events HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\nConnection: close\r\n"
            f"Authorization: {client.headers['authorization']}\r\n\r\n".encode()
        )
        quick = Stream(client, job, 1000)
        for _ in range(10):
            progress(lease, 1)  # it stalls, and others go on
            time.sleep(0.05)
        until(lambda: 1012 in quick.seen)
        assert len(framed) <= 3 * pages.PAGE
        assert client.get("/livez").status_code == 200
        leases.end(lease, "succeeded")
        assert quick.ended()
        stalled.settimeout(PATIENCE)
        received = bytearray()
        while part := stalled.recv(1 << 20):
            received += part
    assert received.endswith(b"0\r\n\r\n")
    ids = [int(line[4:]) for line in bytes(received).split(b"\n") if line.startswith(b"id: ")]
    assert ids == list(range(1, 1014))


def test_the_stream_of_a_key_that_was_revoked_or_narrowed_ends(
    api: Api, client: httpx2.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeds, "KEY_SECONDS", 0.1)
    job = client.post("/v1/jobs", json=JOB).json()["id"]
    with api.client("read") as revoked, api.client("read", "predict") as narrowed:
        streams = [Stream(each, job) for each in (client, revoked, narrowed)]
        until(lambda: all(stream.seen for stream in streams))
        for each, change in ((revoked, None), (narrowed, {"scopes": ["predict"]})):
            path = f"/v1/keys/{each.get('/v1/me').json()['key']['id']}"
            answer = client.delete(path) if change is None else client.patch(path, json=change)
            assert answer.is_success
        assert streams[1].ended()
        assert streams[2].ended()
        assert not streams[0].ended(0.5)
        client.post(f"/v1/jobs/{job}/cancel")
        assert streams[0].ended()


def test_streams_outlive_a_short_outage_of_the_database_and_end_in_a_long_one(
    api: Api, client: httpx2.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = client.post("/v1/jobs", json=JOB).json()["id"]
    lease = claim(api)
    stream = Stream(client, job)
    until(lambda: 2 in stream.seen)
    heads, away = journal.heads, threading.Event()

    def sometimes(db: Database, ids: list[str]) -> dict[str, journal.Head]:
        if away.is_set():
            raise DatabaseUnavailable
        return heads(db, ids)

    monkeypatch.setattr(journal, "heads", sometimes)
    away.set()
    progress(lease, 3)
    time.sleep(0.6)
    assert stream.seen == [1, 2]
    away.clear()
    until(lambda: stream.seen == [1, 2, 3, 4, 5])
    monkeypatch.setattr(feeds, "OUTAGE_SECONDS", 0.2)
    away.set()
    assert stream.ended()


def test_nobody_reads_when_the_last_stream_has_left(
    api: Api, client: httpx2.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []
    heads = journal.heads
    monkeypatch.setattr(journal, "heads", lambda db, ids: asked.append(ids) or heads(db, ids))
    job = client.post("/v1/jobs", json=JOB).json()["id"]
    streams = [Stream(client, job) for _ in range(3)]
    until(lambda: all(stream.seen for stream in streams))
    for stream in streams:
        stream.leave()
    progress(claim(api), 1)  # a line for them to hang up at
    assert all(stream.ended() for stream in streams)

    def silent() -> bool:
        before = len(asked)
        time.sleep(1.5 * feeds.LOOK_SECONDS)
        return len(asked) == before

    until(silent)


def test_all_who_wait_for_a_job_with_prefer_share_their_looks(
    client: httpx2.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = client.post("/v1/jobs", json=JOB).json()["id"]
    looks: list[str] = []
    get = stored_jobs.get
    monkeypatch.setattr(stored_jobs, "get", lambda db, tenant, job_id: looks.append(job_id) or get(db, tenant, job_id))
    answers: list[str] = []

    def wait() -> None:
        answers.append(client.get(f"/v1/jobs/{job}", headers={"Prefer": "wait=60"}).json()["status"])

    waiting = [threading.Thread(target=wait) for _ in range(30)]
    begin = time.monotonic()
    for each in waiting:
        each.start()
    until(lambda: len(looks) >= 30)
    time.sleep(3 * feeds.LOOK_SECONDS)
    client.post(f"/v1/jobs/{job}/cancel")
    for each in waiting:
        each.join(PATIENCE)
    seconds = time.monotonic() - begin
    assert answers == ["cancelled"] * 30
    # the first of each is its own; asked each by itself, it would be thirty times more after it
    assert len(looks) <= 30 + 10 * (seconds / feeds.LOOK_SECONDS + 2)


def test_pages_are_read_once_forgotten_when_there_are_too_many_and_read_again(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "PAGE", 4)
    monkeypatch.setattr(pages, "MAX_BYTES", 2000)
    read: list[tuple[int, int]] = []
    written = [journal.Event(seq=seq, type="queued", time="2026-01-01T00:00:00Z", data={}) for seq in range(1, 41)]
    head = 10

    def entries(_db: Database, _job: str, *, after: int, limit: int) -> list[journal.Event]:
        read.append((after, limit))
        return written[after : min(after + limit, head)]

    monkeypatch.setattr(journal, "entries", entries)

    async def ids(kept: pages.Pages, after: int) -> list[int]:
        return [json.loads(frame.split(b"data: ")[1])["seq"] for frame in await kept.read("job", after)]

    async def run() -> None:
        nonlocal head
        kept = pages.Pages(db)
        assert await asyncio.gather(*(ids(kept, 1) for _ in range(5))) == [[2, 3, 4]] * 5
        assert (await ids(kept, 0), read) == ([1, 2, 3, 4], [(0, 4)])
        assert (await ids(kept, 8), await ids(kept, 10)) == ([9, 10], [])
        head = 40
        assert await ids(kept, 10) == [11, 12]  # the rest of the page alone
        assert read == [(0, 4), (8, 4), (10, 2), (10, 2)]
        seen = 0
        while found := await ids(kept, seen):
            assert found == list(range(seen + 1, seen + 1 + len(found)))
            seen = found[-1]
        assert seen == 40
        assert kept._size == sum(page.size for page in kept._pages.values()) <= 2000
        read.clear()
        assert (await ids(kept, 0), await ids(kept, 36)) == ([1, 2, 3, 4], [37, 38, 39, 40])
        assert read == [(0, 4)]

    asyncio.run(run())


def test_a_read_that_began_before_an_entry_was_written_is_no_answer_to_who_asks_for_it(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = journal.Event(seq=1, type="queued", time="2026-01-01T00:00:00Z", data={})
    begun, go = threading.Event(), threading.Event()

    def entries(_db: Database, _job: str, **_: int) -> list[journal.Event]:
        if not begun.is_set():
            begun.set()
            go.wait(PATIENCE)
            return []
        return [first]

    monkeypatch.setattr(journal, "entries", entries)

    async def run() -> None:
        kept = pages.Pages(db)
        early = asyncio.create_task(kept.read("job", 0))
        await asyncio.to_thread(begun.wait, PATIENCE)
        late = asyncio.create_task(kept.read("job", 0))
        await asyncio.sleep(0.05)
        go.set()
        assert await early == []
        assert len(await late) == 1

    asyncio.run(run())


def test_a_stream_that_must_end_while_it_reads_ends_after_it(settings: Settings, db: Database) -> None:
    job = factories.submit(db).id

    async def run() -> None:
        made = feeds.Feeds(settings, db, asyncio.Event())
        with made.follow(job, journal.Head(1, ended=False)) as follower:
            reading = asyncio.create_task(follower.read(0))
            await asyncio.sleep(0)
            follower.cut()
            assert len(await reading) == 1
            assert follower.over(1)
        await made.close()

    asyncio.run(run())


def test_keys_that_can_still_read(db: Database) -> None:
    made = {}
    for name, fields in {
        "reads": {"scopes": ["read"]},
        "predicts": {"scopes": ["predict"]},
        "expired": {"scopes": ["read"], "expires_at": "2001-01-01T00:00:00Z"},
        "removed": {"scopes": ["read"]},
    }.items():
        new = keys.NewKey.model_validate_json(json.dumps({"name": name, **fields}))
        made[name] = keys.create(db, b"secret", "ours", new).id
    keys.remove(db, "ours", made["removed"])
    assert keys.able(db, list(made.values()), "read") == {made["reads"]}
