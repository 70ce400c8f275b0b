"""Rings and wake-ups: they promise nothing, so what counts is that they never hold anybody up."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from store.queue import MAX_WAITING, RING, Doorbell, Notifier, celery_app, heard_by, queue_name
from store.settings import Settings
from store.wakeups import POLL_SECONDS, POLL_SECONDS_WHEN_RUNG, Wakeups
from tests.servers.redis import OwnRedis

AT_ONCE = 0.5
PATIENCE = 30.0


@pytest.fixture
def redis_of_our_own() -> Iterator[OwnRedis]:
    server = OwnRedis()
    yield server
    server.stop()


def waiting(settings: Settings, device: str) -> int:
    with celery_app(settings).connection_for_read() as connection:
        return connection.channel().queue_declare(queue_name(device)).message_count


def until_waiting(settings: Settings, device: str, count: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while waiting(settings, device) != count:
        assert time.monotonic() < deadline, waiting(settings, device)
        time.sleep(0.01)


def take(settings: Settings, device: str) -> list[tuple[str, list[str]]]:
    """All messages of a queue: task and arguments."""
    found = []
    with celery_app(settings).connection_for_read() as connection:
        channel = connection.channel()
        while (message := channel.basic_get(queue_name(device), no_ack=True)) is not None:
            found.append((message.headers["task"], message.payload[0]))
    return found


def test_a_ring_carries_the_job_to_workers_that_can_run_it(broker: Settings) -> None:
    bell = Doorbell(broker)
    bell.ring("job_a", "cpu")
    bell.ring("job_b", "auto")
    bell.close(PATIENCE)
    assert take(broker, "cpu") == [(RING, ["job_a"])]
    assert take(broker, "auto") == [(RING, ["job_b"])]
    assert take(broker, "cuda") == []
    assert [queue_name(device) in heard_by("cpu") for device in ("auto", "cpu", "cuda")] == [True, True, False]
    assert [queue_name(device) in heard_by("cuda") for device in ("auto", "cpu", "cuda")] == [True, False, True]


def test_a_queue_that_nobody_serves_stays_bounded(broker: Settings) -> None:
    bell = Doorbell(broker)
    for number in range(MAX_WAITING + 50):
        bell.ring(f"job_{number}", "cuda")
    bell.close(PATIENCE)
    assert waiting(broker, "cuda") == MAX_WAITING
    assert bell.failures == 0


def test_every_message_reaches_exactly_one_of_several_readers(broker: Settings) -> None:
    bell = Doorbell(broker)
    sent = [f"job_{number}" for number in range(200)]
    taken: list[str] = []
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            taken.extend(arguments[0] for _, arguments in take(broker, "cpu"))

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    for job_id in sent:
        bell.ring(job_id, "cpu")
    bell.close(PATIENCE)
    deadline = time.monotonic() + PATIENCE
    while len(taken) < len(sent) and time.monotonic() < deadline:
        time.sleep(0.01)
    stop.set()
    for reader in readers:
        reader.join(PATIENCE)
    assert sorted(taken) == sorted(sent)


@pytest.mark.parametrize("moment", ["killed", "frozen"])
def test_ringing_returns_at_once_while_the_broker_is_away_and_works_when_it_is_back(
    redis_of_our_own: OwnRedis, tmp_path: Path, moment: str
) -> None:
    on_redis = Settings(data_dir=tmp_path, broker_url=redis_of_our_own.create_database())
    bell, notifier = Doorbell(on_redis), Notifier(on_redis)
    bell.ring("job_before", "cpu")
    until_waiting(on_redis, "cpu", 1)
    redis_of_our_own.kill() if moment == "killed" else redis_of_our_own.freeze()
    began = time.monotonic()
    for number in range(100):
        bell.ring(f"job_{number}", "cpu")
        notifier.publish(f"job_{number}")
    assert time.monotonic() - began < AT_ONCE
    deadline = time.monotonic() + PATIENCE
    while bell.failures == 0:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    redis_of_our_own.start() if moment == "killed" else redis_of_our_own.thaw()
    before = waiting(on_redis, "cpu")
    bell.ring("job_after", "cpu")
    deadline = time.monotonic() + PATIENCE
    while waiting(on_redis, "cpu") <= before:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert "job_after" in {arguments[0] for _, arguments in take(on_redis, "cpu")}
    bell.close()
    notifier.close()


def test_a_broker_of_an_unknown_kind_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"UNROLL_BROKER_URL.*not amqp://$"):
        celery_app(Settings(data_dir=tmp_path, broker_url="amqp://secret@somewhere"))


def test_who_listens_is_rung_at_once_where_there_is_redis_and_polls_often_where_there_is_none(broker: Settings) -> None:
    notifier = Notifier(broker)

    async def wait() -> None:
        rung: asyncio.Queue[str | None] = asyncio.Queue()
        wakeups = Wakeups(broker, rung.put_nowait)
        assert wakeups.poll_seconds == POLL_SECONDS
        await wakeups.start()
        if broker.broker_url:
            async with asyncio.timeout(PATIENCE):
                assert await rung.get() is None  # whatever happened before it listened
                assert wakeups.poll_seconds == POLL_SECONDS_WHEN_RUNG
                notifier.publish("job_a")
                assert await rung.get() == "job_a"
        await wakeups.close()
        assert rung.empty()

    asyncio.run(wait())
    notifier.close()


def test_rings_come_back_with_the_broker(redis_of_our_own: OwnRedis, tmp_path: Path) -> None:
    on_redis = Settings(data_dir=tmp_path, broker_url=redis_of_our_own.create_database())
    notifier = Notifier(on_redis)

    async def wait() -> None:
        rung: asyncio.Queue[str | None] = asyncio.Queue()
        wakeups = Wakeups(on_redis, rung.put_nowait)
        await wakeups.start()
        async with asyncio.timeout(PATIENCE):
            assert await rung.get() is None
            redis_of_our_own.kill()
            await asyncio.sleep(0.2)
            redis_of_our_own.start()
            assert await rung.get() is None  # what was missed meanwhile
            while rung.empty():
                notifier.publish("job_a")
                await asyncio.sleep(0.05)
            assert await rung.get() == "job_a"
        await wakeups.close()

    asyncio.run(wait())
    notifier.close()
