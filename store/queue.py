"""The doorbell: Celery wakes workers on other machines, and the database decides what they do (docs/adr).

A ring carries a job's id and guarantees nothing: it may be lost, doubled or late. The worker that hears it claims the
best queued job. Ringing therefore never blocks and never raises, and the reconciler rings again for jobs that are still
queued.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Generic, Literal, TypeVar

import redis
from celery import Celery
from celery.app.amqp import AMQP
from kombu import Connection, Exchange, Queue

from store import spool
from store.settings import Settings

log = logging.getLogger(__name__)

RING = "unroll.ring"
CHANNEL = "unroll:wake"
DEVICES = ("auto", "cpu", "cuda")
POLL_SECONDS = 0.05
BROKER_SECONDS = 2.0
MAX_WAITING = 256
"""Largest number of rings that wait in one queue. More would be useless: one ring makes a worker continue until no
job is queued."""
MAX_UNSENT = 1024
COMPLAIN_SECONDS = 30.0

Device = Literal["auto", "cpu", "cuda"]
Item = TypeVar("Item")


class _PatientConnection(Connection):  # type: ignore[misc]
    """Looks for a lost broker every two seconds for ever.

    The waits of kombu's own connection grow to 30 s, during which no job would start.
    """

    def ensure_connection(self, errback: Any = None, max_retries: Any = None, **options: Any) -> Any:
        waits = {"interval_start": 0.5, "interval_step": 0.5, "interval_max": 2.0}
        return super().ensure_connection(errback, max_retries, **(waits | options))


class _PatientAMQP(AMQP):  # type: ignore[misc]
    Connection = _PatientConnection


def queue_name(device: str) -> str:
    """Return the queue of jobs that request this device. Every worker hears the queue `auto`."""
    return f"unroll.{device}"


def heard_by(device: Literal["cpu", "cuda"]) -> list[str]:
    """Return the queues that a worker with this device listens to."""
    return [queue_name(device), queue_name("auto")]


def celery_app(settings: Settings) -> Celery:
    """Return the Celery app for the broker that the settings name."""
    on_redis = settings.broker.startswith(("redis://", "rediss://"))
    if on_redis:
        url = settings.broker
        options: dict[str, Any] = {
            "socket_timeout": BROKER_SECONDS,
            "socket_connect_timeout": BROKER_SECONDS,
            "socket_keepalive": True,
            "health_check_interval": 5,
            "max_retries": 0,
        }
    elif settings.broker.startswith("filesystem://"):
        url = f"{spool.SCHEME}://localhost/"
        folder = settings.data_dir.absolute() / "queue"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        options = {
            "data_folder_in": str(folder),
            "data_folder_out": str(folder),
            "control_folder": str(folder),
            "polling_interval": POLL_SECONDS,
        }
    else:
        message = f"UNROLL_BROKER_URL: redis://, rediss:// or filesystem://, not {settings.broker.split(':', 1)[0]}://"
        raise ValueError(message)
    app = Celery("unroll", broker=url, amqp=_PatientAMQP, set_as_current=False)
    app.conf.update(
        broker_transport_options=options,
        broker_connection_timeout=BROKER_SECONDS,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_channel_error_retry=True,
        broker_pool_limit=1,
        accept_content=["json"],
        task_serializer="json",
        result_backend=None,
        task_ignore_result=True,
        # ack early: a message that is kept until the job ends would be delivered again by its visibility timeout
        task_acks_late=False,
        task_publish_retry=False,
        # no exchange: nothing to declare, hence nothing that a wiped broker could have forgotten
        task_queues=[Queue(queue_name(device), Exchange(""), queue_name(device)) for device in DEVICES],
        task_default_queue=queue_name("auto"),
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=on_redis,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        # the runner drains within a grace time of its own
        worker_soft_shutdown_timeout=0.0,
        worker_timer_precision=0.1,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
    )
    return app


class _Outbox(Generic[Item]):
    """A thread that sends items, the newest for each key.

    The number of waiting items is bounded, and `put` never raises.
    """

    def __init__(self, name: str, send: Callable[[str, Item], None], reset: Callable[[], None]) -> None:
        self._send, self._reset = send, reset
        self._unsent: OrderedDict[str, Item] = OrderedDict()
        self._changed = threading.Condition()
        self._closing = False
        self._complained = -COMPLAIN_SECONDS
        self.failures = 0
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def put(self, key: str, item: Item) -> None:
        with self._changed:
            if key in self._unsent or len(self._unsent) < MAX_UNSENT:
                self._unsent[key] = item
                self._changed.notify()
            else:
                self.failures += 1

    def close(self, seconds: float) -> None:
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(seconds)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._unsent or self._closing)
                if not self._unsent:
                    break
                key, item = self._unsent.popitem(last=False)
            for last_try in (False, True):
                try:
                    self._send(key, item)
                    break
                except Exception as error:  # noqa: BLE001 - whatever a broker's client raises, nobody is waiting for it
                    self._disconnect()  # the first failure may only mean that the broker was restarted meanwhile
                    if last_try:
                        self._give_up(error)
        self._disconnect()

    def _disconnect(self) -> None:
        try:
            self._reset()
        except Exception as error:  # noqa: BLE001
            log.debug("closing a connection to the broker failed: %s", error)

    def _give_up(self, error: Exception) -> None:
        with self._changed:
            # the broker is away: what waits would only delay the first message after it is back
            self.failures += 1 + len(self._unsent)
            self._unsent.clear()
        if time.monotonic() - self._complained >= COMPLAIN_SECONDS:
            self._complained = time.monotonic()
            log.warning("the broker does not answer (%s); jobs wait for the reconciler's next ring", error)


class Doorbell:
    """Rings for workers. A thread sends the rings; `failures` counts those that were given up."""

    def __init__(self, settings: Settings) -> None:
        """Prepare without connecting. Raises ValueError for a broker that is not supported."""
        self._app = celery_app(settings)
        self._connection: Any = None
        self._producer: Any = None
        self._outbox = _Outbox[Device]("doorbell", self._send, self._disconnect)

    @property
    def failures(self) -> int:
        """Number of rings that were not delivered."""
        return self._outbox.failures

    def ring(self, job_id: str, device: Device) -> None:
        """Wake a worker that can run the job. Returns at once and never raises."""
        self._outbox.put(job_id, device)

    def close(self, seconds: float = 1.0) -> None:
        """Send the waiting rings, for at most this many seconds."""
        self._outbox.close(seconds)

    def _send(self, job_id: str, device: Device) -> None:
        if self._producer is None:
            self._connection = self._app.connection_for_write()
            self._connection.ensure_connection(max_retries=1, interval_start=0.0, interval_step=0.0)
            # a channel of our own: the connection's default channel would retry for ever
            self._producer = self._app.amqp.Producer(self._connection.channel())
        queue = self._app.amqp.queues[queue_name(device)]
        if queue.bind(self._producer.channel).queue_declare()[1] >= MAX_WAITING:
            return
        self._app.send_task(RING, [job_id], queue=queue.name, producer=self._producer, retry=False)

    def _disconnect(self) -> None:
        connection, self._connection, self._producer = self._connection, None, None
        if connection is not None:
            connection.release()


class Notifier:
    """Tells event streams that a job's journal has grown.

    It works on Redis. With another broker streams poll, and this class does nothing.
    """

    def __init__(self, settings: Settings) -> None:
        """Prepare without connecting."""
        self._outbox: _Outbox[None] | None = None
        if settings.broker.startswith(("redis://", "rediss://")):
            self._redis = redis.Redis.from_url(
                settings.broker, socket_timeout=BROKER_SECONDS, socket_connect_timeout=BROKER_SECONDS
            )
            self._outbox = _Outbox("notifier", lambda job_id, _: self._publish(job_id), self._redis.close)

    def publish(self, job_id: str) -> None:
        """Wake all streams that wait for this job. Returns at once and never raises."""
        if self._outbox is not None:
            self._outbox.put(job_id, None)

    def close(self, seconds: float = 1.0) -> None:
        """Send the waiting notices, for at most this many seconds."""
        if self._outbox is not None:
            self._outbox.close(seconds)

    def _publish(self, job_id: str) -> None:
        self._redis.publish(CHANNEL, job_id)


def reachable(settings: Settings) -> bool:
    """Return whether the broker answers now. Takes at most BROKER_SECONDS."""
    if not settings.broker.startswith(("redis://", "rediss://")):
        return (settings.data_dir / "queue").is_dir()
    client = redis.Redis.from_url(settings.broker, socket_timeout=BROKER_SECONDS, socket_connect_timeout=BROKER_SECONDS)
    with client:
        try:
            return bool(client.ping())
        except (redis.RedisError, OSError):
            return False
