"""Small jobs, and running them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

import numpy as np

from rnn.events import Checkpoint
from rnn.training.events import TrainingEvent as Event
from rnn.training.run import train
from unroll.contract import Network, TaskData, Training, TrainJob, VanillaCell

Kind = TypeVar("Kind")


def network(hidden: int = 5, activation: Any = "tanh", inputs: int = 1, outputs: int = 1) -> Network:
    cell = VanillaCell(hidden_size=hidden, activation=activation)
    return Network(cell=cell, input_size=inputs, output_size=outputs)


def job(*, length: int = 6, hidden: int = 5, activation: Any = "tanh", **fields: Any) -> TrainJob:
    """Fields of the job and of its training, mixed."""
    training = {name: fields.pop(name) for name in list(fields) if name in Training.model_fields}
    return TrainJob(
        model=network(hidden, activation),
        data=TaskData(name="integrate_noise", parameters={"length": length}),
        training=Training(**({"steps": 10, "batch_size": 4} | training)),
        **fields,
    )


def run(job: TrainJob, **arguments: Any) -> list[Event]:
    """As a worker does, which has read the configuration from its database."""
    return list(train(stored(job), **arguments))


def stored(job: TrainJob) -> TrainJob:
    """The job after a round trip through JSON, where every field is written down."""
    return TrainJob.model_validate_json(job.model_dump_json())


def only(kind: type[Kind], events: Iterable[Event]) -> list[Kind]:
    return [event for event in events if isinstance(event, kind)]


def bits(event: Event) -> tuple[Any, ...]:
    """An event as something that is equal only if every bit is, NaN included."""
    values = []
    for name in event.__slots__:
        value = getattr(event, name)
        if isinstance(value, dict):
            value = {key: array.tobytes() for key, array in value.items()}
        elif isinstance(value, np.ndarray):
            value = value.tobytes()
        elif isinstance(value, float):
            value = repr(value)
        values.append(value)
    return (type(event).__name__, *values)


def last_checkpoint(events: Iterable[Event]) -> Checkpoint:
    return only(Checkpoint, events)[-1]
