from __future__ import annotations

import json
import random
import threading
import time
from typing import Any

import httpx2
import pytest

from api import streams
from store import leases
from tests.integration.api.serving import JOB, Api, checkpoint, claim, pointers, problem, progress, trained
from unroll.contract import Event, Page

STREAM = {"Accept": "text/event-stream"}


def parse(text: str) -> list[dict[str, str]]:
    """Messages of a stream that end in a blank line; comments are left out."""
    messages = []
    for block in text.replace("\r\n", "\n").split("\n\n")[:-1]:
        fields = dict(line.split(": ", 1) for line in block.split("\n") if not line.startswith(":"))
        if "data" in fields:
            messages.append(fields)
    return messages


def submit(client: httpx2.Client) -> str:
    return client.post("/v1/jobs", json=JOB).json()["id"]


def test_pages_of_events_follow_each_other_without_gaps_until_the_job_has_ended(api: Api, client: httpx2.Client):
    job = submit(client)
    lease = claim(api)
    progress(lease, 20)
    seen: list[int] = []
    after: str | None = "0"
    for _ in range(3):
        page = Page[Event].model_validate_json(
            client.get(f"/v1/jobs/{job}/events", params={"after": after, "limit": 9}).content
        )
        seen += [event.seq for event in page.data]
        after = page.next
    assert (seen, after) == (list(range(1, 23)), "22")
    assert client.get(f"/v1/jobs/{job}/events?after=22").json() == {"data": [], "next": "22"}
    leases.end(lease, "succeeded")
    last = client.get(f"/v1/jobs/{job}/events?after=22").json()
    assert ([event["type"] for event in last["data"]], last["next"]) == (["end"], None)


def test_a_stream_of_an_ended_job_replays_everything_and_ends(api: Api, client: httpx2.Client):
    job = trained(api, client)["id"]
    response = client.get(f"/v1/jobs/{job}/events", headers=STREAM)
    assert response.headers["content-type"].startswith("text/event-stream")
    messages = parse(response.text)
    events = [Event.model_validate_json(message["data"]) for message in messages]
    assert [event.type for event in events] == ["queued", "started", "checkpoint", "end"]
    assert [message["id"] for message in messages] == ["1", "2", "3", "4"]
    assert [message["event"] for message in messages] == [event.type for event in events]
    assert client.get(f"/v1/jobs/{job}/events").json()["data"] == [json.loads(message["data"]) for message in messages]


def test_a_stream_shows_events_as_they_happen(api: Api, client: httpx2.Client):
    job = submit(client)
    lease = claim(api)
    with client.stream("GET", f"/v1/jobs/{job}/events", headers=STREAM) as response:
        lines = response.iter_lines()
        assert _next_id(lines) == 1
        assert _next_id(lines) == 2
        for seq in range(3, 8):
            begin = time.monotonic()
            progress(lease, 1)
            assert _next_id(lines) == seq
            assert time.monotonic() - begin < 5
        client.post(f"/v1/jobs/{job}/cancel")
        assert _next_id(lines) == 8
        leases.end(lease, "cancelled")
        assert _next_id(lines) == 9
        assert [line for line in lines if line.startswith("id")] == []


def _next_id(lines: Any) -> int:
    return next(int(line.removeprefix("id: ")) for line in lines if line.startswith("id: "))


@pytest.mark.parametrize("seed", range(3))
def test_a_stream_that_is_cut_anywhere_goes_on_without_gap_or_double(api: Api, client: httpx2.Client, seed: int):
    chance = random.Random(seed)
    job = submit(client)
    lease = claim(api)

    def work() -> None:
        for _ in range(40):
            progress(lease, chance.randrange(1, 20))
            time.sleep(0.005)
        leases.end(lease, "succeeded")

    worker = threading.Thread(target=work)
    worker.start()
    seen: list[Event] = []
    connections = 0
    while not (seen and seen[-1].type == "end"):
        connections += 1
        headers = STREAM | ({"Last-Event-ID": str(seen[-1].seq)} if seen else {})
        received = b""
        cut = chance.randrange(1, 20_000)
        with client.stream("GET", f"/v1/jobs/{job}/events", headers=headers) as response:
            for chunk in response.iter_raw():
                received += chunk
                if len(received) >= cut:
                    break
        text = received[:cut].decode() if len(received) >= cut else received.decode()
        seen += [Event.model_validate_json(message["data"]) for message in parse(text)]
    worker.join()
    assert [event.seq for event in seen] == list(range(1, len(seen) + 1))
    assert connections > 1


def test_a_client_that_has_seen_everything_is_told_not_to_come_back(api: Api, client: httpx2.Client):
    job = trained(api, client)["id"]
    path = f"/v1/jobs/{job}/events"
    assert client.get(path, headers=STREAM | {"Last-Event-ID": "4"}).status_code == 204
    assert [message["id"] for message in parse(client.get(path, headers=STREAM | {"Last-Event-ID": "3"}).text)] == ["4"]


@pytest.mark.parametrize("value", ["x", "-1", "1.5", "9" * 30, "²"])
def test_a_last_event_id_that_is_none_is_refused(shared: tuple[Api, httpx2.Client], value: str):
    _, client = shared
    job = submit(client)
    headers = {"Accept": "text/event-stream", "Last-Event-ID": value.encode("utf-8")}
    assert pointers(client.get(f"/v1/jobs/{job}/events", headers=headers)) == ["#Last-Event-ID"]


def test_a_stream_of_a_job_that_is_deleted_ends(api: Api, client: httpx2.Client):
    job = submit(client)
    with client.stream("GET", f"/v1/jobs/{job}/events", headers=STREAM) as response:
        lines = response.iter_lines()
        assert _next_id(lines) == 1
        from sqlalchemy import delete

        from store.tables import jobs

        with api.db.begin() as tx:  # not by the route, which lets a stream see the end first
            tx.execute(delete(jobs).where(jobs.c.id == job))
        assert [line for line in lines if line.startswith("id")] == []


def test_a_silent_stream_is_kept_alive(client: httpx2.Client, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(streams, "KEEP_ALIVE_SECONDS", 0.2)
    job = submit(client)
    with client.stream("GET", f"/v1/jobs/{job}/events", headers=STREAM) as response:
        comments = (line for line in response.iter_lines() if line.startswith(":"))
        begin = time.monotonic()
        assert [next(comments), next(comments)] == [": keep-alive"] * 2
        assert time.monotonic() - begin < 10
        client.post(f"/v1/jobs/{job}/cancel")


def test_a_retried_job_goes_on_in_the_same_stream_of_numbers(client: httpx2.Client):
    job = submit(client)
    client.post(f"/v1/jobs/{job}/cancel")
    client.post(f"/v1/jobs/{job}/retry")
    client.post(f"/v1/jobs/{job}/cancel")
    messages = parse(client.get(f"/v1/jobs/{job}/events", headers=STREAM).text)
    assert [message["event"] for message in messages] == ["queued", "end", "queued", "end"]
    assert [message["id"] for message in messages] == ["1", "2", "3", "4"]


def test_events_are_offered_as_json_or_as_a_stream_and_nothing_else(client: httpx2.Client):
    path = f"/v1/jobs/{submit(client)}/events"
    problem(client.get(path, headers={"Accept": "text/html"}), 406, "not_acceptable")
    assert (
        client.get(path, headers={"Accept": "text/*;q=0.1, application/json"}).headers["content-type"]
        == "application/json"
    )


def test_checkpoints_appear_in_the_journal(api: Api, client: httpx2.Client):
    job = submit(client)
    lease = claim(api)
    checkpoint(lease, 10, (0.3, 0.4))
    data = client.get(f"/v1/jobs/{job}/events").json()["data"][-1]["data"]
    assert data == {
        "checkpoint": client.get(f"/v1/jobs/{job}").json()["summary"]["last_checkpoint"],
        "step": 10,
        "reason": "periodic",
        "best": True,
    }
