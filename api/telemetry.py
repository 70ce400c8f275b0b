"""Metrics for Prometheus: requests of the API's processes, and jobs, queues and workers from the database.

Where several processes serve one address, prometheus_client writes what each counts to files in a folder
(PROMETHEUS_MULTIPROC_DIR, set by api/cli/several.py), and whichever is asked adds them up.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import Generic, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from store import fleet
from store.db import Database
from store.errors import DatabaseUnavailable
from unroll.contract import JobStatus

ENDED_SECONDS = 3600.0
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
KERNEL_SECONDS = (0.00003, 0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1)
MOST_LABELS = 1000
"""Series of one metric with names that users chose."""
OTHERS = "(others)"
FRESH_SECONDS = 1.0
"""Age of what another process has at the moment."""
DIFFERENCES = (0.0, 1e-6, 1e-4, 1e-3, 0.01, 0.03, 0.1, 0.3, 1.0)
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128)


Labelled = TypeVar("Labelled", bound=MetricWrapperBase)


class _Few(Generic[Labelled]):
    """The series of a metric whose labels users choose, at most MOST_LABELS: the one unused for longest is dropped.

    The files of several processes keep each series. There, further ones are counted together.
    """

    def __init__(self, metric: Labelled, *, together: bool) -> None:
        self._metric, self._together = metric, together
        self._lock = threading.Lock()
        self._found: OrderedDict[tuple[str, ...], Labelled] = OrderedDict()

    def __call__(self, *labels: str) -> Labelled:
        with self._lock:
            found = self._found.get(labels)
            if found is not None:
                self._found.move_to_end(labels)
                return found
            if len(self._found) >= MOST_LABELS:
                if self._together:
                    return self._metric.labels(*(OTHERS for _ in labels))
                self._metric.remove(*self._found.popitem(last=False)[0])
            found = self._found[labels] = self._metric.labels(*labels)
            return found


class Telemetry:
    """One registry for each application, so that two applications in one process do not share metrics."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
        self.together = folder is not None
        self._shown = self.registry
        if folder is not None:
            self._shown = CollectorRegistry()
            MultiProcessCollector(self._shown, folder)  # type: ignore[no-untyped-call]
        self.requests = Counter(
            "unroll_http_requests_total",
            "Requests answered, by route template",
            ["method", "route", "status"],
            registry=self.registry,
        )
        self.seconds = Histogram(
            "unroll_http_response_seconds",
            "Time until an answer begins; for requests that asked to wait, with the wait",
            ["method", "route"],
            buckets=SECONDS,
            registry=self.registry,
        )

        self.batches = Histogram(
            "unroll_predict_batch_size",
            "Plain predictions run together, in one turn of the event loop",
            buckets=BATCHES,
            registry=self.registry,
        )
        self.kernel = Histogram(
            "unroll_predict_kernel_seconds",
            "Time that a batch of plain predictions takes in the kernel",
            buckets=KERNEL_SECONDS,
            registry=self.registry,
        )
        self.queue = Histogram(
            "unroll_predict_queue_seconds",
            "Time that the first plain prediction of a batch has waited for its turn",
            buckets=KERNEL_SECONDS,
            registry=self.registry,
        )
        self.predictions = Counter(
            "unroll_predictions_total",
            "Predictions of models, by the checkpoint that answered",
            ["model", "checkpoint"],
            registry=self.registry,
        )
        self.shadows = Counter(
            "unroll_shadow_predictions_total",
            "Predictions that a model's shadow was to repeat: compared, dropped because too many wait, or failed",
            ["model", "outcome"],
            registry=self.registry,
        )
        self.differences = Histogram(
            "unroll_shadow_difference",
            "Largest distance between a model's outputs and its shadow's, over the largest output",
            ["model"],
            buckets=DIFFERENCES,
            registry=self.registry,
        )
        self.sessions = Gauge(
            "unroll_sessions",
            "Sessions in memory",
            multiprocess_mode="livesum",
            registry=self.registry,
        )
        self.failed_rings = Gauge(
            "unroll_failed_rings",
            "Rings that the broker did not take",
            multiprocess_mode="sum",
            registry=self.registry,
        )
        self._predicted = _Few(self.predictions, together=self.together)
        self._shadowed = _Few(self.shadows, together=self.together)
        self._differed = _Few(self.differences, together=self.together)
        self._now: dict[Gauge, Callable[[], int]] = {}
        self._answered: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    def watch(
        self, db: Database, alive_seconds: float, failed_rings: Callable[[], int], sessions: Callable[[], int]
    ) -> None:
        """Add the metrics of the database, the doorbell and the sessions, which are read at each scrape."""
        self._shown.register(_Fleet(db, alive_seconds))
        self._now = {self.failed_rings: failed_rings, self.sessions: sessions}

    async def keep_fresh(self) -> None:
        """Write again and again what this process has at the moment, for scrapes of other processes."""
        while self.together:
            self._refresh()
            await asyncio.sleep(FRESH_SECONDS)

    def _refresh(self) -> None:
        for gauge, ask in self._now.items():
            gauge.set(ask())

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one request."""
        key = method, route, status
        found = self._answered.get(key)
        if found is None:  # as many as there are routes and statuses
            found = self.requests.labels(method, route, str(status)), self.seconds.labels(method, route)
            self._answered[key] = found
        found[0].inc()
        found[1].observe(seconds)

    def predicted(self, model: str, checkpoint: str) -> None:
        """Count one prediction of a model."""
        self._predicted(model, checkpoint).inc()

    def shadowed(self, model: str, outcome: str, difference: float) -> None:
        """Count one prediction of a shadow."""
        self._shadowed(model, outcome).inc()
        if outcome == "compared":
            self._differed(model).observe(difference)

    def batch(self, size: int, kernel_seconds: float, queue_seconds: float) -> None:
        """Count one batch of plain predictions."""
        self.batches.observe(size)
        self.kernel.observe(kernel_seconds)
        self.queue.observe(queue_seconds)

    def render(self) -> bytes:
        """Return the exposition format, text version 0.0.4."""
        self._refresh()
        return generate_latest(self._shown)


class _Fleet(Collector):
    def __init__(self, db: Database, alive_seconds: float) -> None:
        self._db = db
        self._alive_seconds = alive_seconds

    def describe(self) -> Iterable[Metric]:
        """Describe nothing in advance, because registering must not query the database."""
        return []

    def collect(self) -> Iterable[Metric]:
        """Query the database; if it does not answer, report that."""
        try:
            by_status = fleet.count_jobs(self._db)
            ended = fleet.count_ended(self._db, ENDED_SECONDS)
            queues = fleet.list_queues(self._db, self._alive_seconds)
            workers = fleet.list_workers(self._db, "", self._alive_seconds)
        except DatabaseUnavailable:
            yield GaugeMetricFamily("unroll_database_up", "Whether the database answers", 0)
            return
        yield GaugeMetricFamily("unroll_database_up", "Whether the database answers", 1)
        yield _by_status("unroll_jobs", "Jobs that have not ended, by status", by_status)
        yield _by_status("unroll_jobs_ended_last_hour", "Jobs that ended in the last hour, by status", ended)
        depth = GaugeMetricFamily(
            "unroll_queue_depth", "Jobs waiting for a worker, by the device they ask for", labels=["device"]
        )
        for queue in queues:
            depth.add_metric([queue.device], queue.queued)
        yield depth
        alive = GaugeMetricFamily("unroll_workers_alive", "Workers heard of lately", labels=["device"])
        for device in ("cpu", "cuda"):
            alive.add_metric([device], sum(worker.alive and worker.device == device for worker in workers))
        yield alive


def _by_status(name: str, documentation: str, counts: Mapping[JobStatus, int]) -> Metric:
    family = GaugeMetricFamily(name, documentation, labels=["status"])
    for status, count in counts.items():
        family.add_metric([status], count)
    return family
