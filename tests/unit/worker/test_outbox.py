"""What a trainer child sends: everything, in order, in few messages."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rnn.events import Artifact, Checkpoint, End, Entry, Metrics, Progress, Result
from worker.messages import Bundle, Steps
from worker.trainer import BATCH_SECONDS, BEAT_SECONDS, Outbox


@dataclass
class Wire:
    """The sending end of a pipe that keeps what is sent."""

    sent: list[Bundle] = field(default_factory=list)

    def send(self, bundle: Any) -> None:
        self.sent.append(bundle)


def metrics(step: int) -> Metrics:
    return Metrics(step, {"loss": np.array([step, step + 0.5]), "gradient_norm": np.array([1.0, np.nan])})


def checkpoint(step: int) -> Checkpoint:
    return Checkpoint(step, "periodic", b"w", b"s", None, None)


@given(
    steps=st.integers(1, 60),
    log_every=st.integers(1, 7),
    checkpoint_every=st.integers(1, 20),
    step_seconds=st.sampled_from([0.0, BATCH_SECONDS / 3, BATCH_SECONDS * 2]),
    resumed_at=st.integers(0, 5),
)
def test_all_that_happened_arrives_once_and_no_metrics_stand_behind_a_later_checkpoint(
    steps: int, log_every: int, checkpoint_every: int, step_seconds: float, resumed_at: int
) -> None:
    now = 0.0
    wire = Wire()
    outbox = Outbox(wire, resumed_at, lambda: now)  # type: ignore[arg-type]
    for step in range(resumed_at + 1, resumed_at + steps + 1):
        now += step_seconds
        if step % log_every == 0:
            outbox.add(metrics(step))
        outbox.advance(step)  # the trainer asks between a step's metrics and its checkpoint
        if step % checkpoint_every == 0:
            outbox.add(checkpoint(step))
    outbox.add(End(resumed_at + steps, "succeeded"))

    assert [one.step for one in wire.sent] == sorted(one.step for one in wire.sent)
    assert wire.sent[-1].step == resumed_at + steps
    logged: list[int] = []
    for item in [item for one in wire.sent for item in one.items]:
        if isinstance(item, Steps):
            logged += item.steps.tolist()
            np.testing.assert_array_equal(item.values[:, item.names.index("loss"), 0], item.steps)
        elif isinstance(item, Checkpoint):
            assert not logged or logged[-1] <= item.step
            assert len(logged) == item.step // log_every - resumed_at // log_every
    expected = [step for step in range(resumed_at + 1, resumed_at + steps + 1) if step % log_every == 0]
    assert logged == expected


def test_the_first_event_leaves_at_once_and_later_ones_in_batches() -> None:
    now = 0.0
    wire = Wire()
    outbox = Outbox(wire, 0, lambda: now)  # type: ignore[arg-type]
    outbox.add(metrics(1))
    assert [one.step for one in wire.sent] == [1]
    for step in range(2, 100):
        outbox.advance(step)
        outbox.add(metrics(step))
    assert len(wire.sent) == 1
    now = BATCH_SECONDS
    outbox.add(Entry(100, "evaluation", {"step": 100}))
    assert len(wire.sent) == 2
    evaluation, steps = wire.sent[1].items  # joined metrics may stand behind it; only a checkpoint closes them
    assert isinstance(steps, Steps)
    assert isinstance(evaluation, Entry)
    assert steps.values.shape == (98, 2, 2)


def test_steps_that_log_nothing_are_a_sign_of_life_all_the_same() -> None:
    now = 0.0
    wire = Wire()
    outbox = Outbox(wire, 10, lambda: now)  # type: ignore[arg-type]
    for step in range(11, 16):
        now += BATCH_SECONDS
        outbox.advance(step)
    assert [(one.step, one.items) for one in wire.sent] == [(step, ()) for step in range(11, 16)]


def test_progress_of_a_kind_that_has_no_metrics_is_a_sign_of_life_too() -> None:
    now = 0.0
    wire = Wire()
    outbox = Outbox(wire, 0, lambda: now)  # type: ignore[arg-type]
    for step in (64, 128):
        now += BATCH_SECONDS
        outbox.add(Progress(step))
    outbox.advance(100)  # never backwards
    outbox.flush()
    assert [(one.step, one.items) for one in wire.sent] == [(64, ()), (128, ())]


def test_an_artifact_leaves_at_once_behind_all_that_was_said_before_it() -> None:
    wire = Wire()
    outbox = Outbox(wire, 0, lambda: 0.0)  # type: ignore[arg-type]
    outbox.add(Progress(1))
    said = [Entry(2, "evaluation", {}), Artifact("a", "text/plain", b"a"), Result({}, {}), End(3, "succeeded")]
    for event in said:
        outbox.add(event)
    assert [(one.step, one.items) for one in wire.sent] == [(1, ()), (2, tuple(said[:2])), (3, tuple(said[2:]))]


def test_a_beat_is_passed_on_only_in_a_silence_and_is_an_empty_bundle_of_the_same_step() -> None:
    now = 100.0
    wire = Wire()
    outbox = Outbox(wire, 3, lambda: now)  # type: ignore[arg-type]
    outbox.add(metrics(4))
    assert len(wire.sent) == 1
    outbox.beat()
    assert len(wire.sent) == 1
    for n in range(2, 5):
        now += BATCH_SECONDS + BEAT_SECONDS
        outbox.beat()
        outbox.beat()
        assert len(wire.sent) == n
    assert [(one.step, one.items) for one in wire.sent[1:]] == [(4, ())] * 3
