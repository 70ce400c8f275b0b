"""The interface of a kind of job: its configuration, its checks, and the function that runs it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, Protocol, TypeVar

from rnn.events import Event
from unroll.contract import Checkpoint, JobRequest

Config = TypeVar("Config", bound=JobRequest)


@dataclass(frozen=True)
class Inputs:
    """What a job reads besides its configuration, by the ids that the configuration names."""

    checkpoints: Mapping[str, Checkpoint] = field(default_factory=dict)
    weights: Mapping[str, bytes] = field(default_factory=dict)
    """The content of these checkpoints. It is there only where the job runs."""


@dataclass(frozen=True)
class Facts:
    """What is known about a job before it runs: its size and its cost."""

    parameters: int
    """Number of parameters of one replica."""
    total: int
    """Number of steps that its progress counts."""
    memory_bytes: int
    """Estimated peak memory of its tensors."""
    seconds: float
    """Estimated time on one CPU worker."""
    baseline_loss: float | None = None
    """Expected loss of the task's trivial predictor; None for a job that measures no loss."""
    part_seconds: float = 0.0
    """Estimated time of the longest part of its work, during which it gives no sign of life (`rnn.pulse`)."""


PATIENCE = 10.0
"""How many times as long as estimated a part may take: the estimate is right to a factor of about three, and the
machine may be shared or slow."""


def patience(part_seconds: float, stall_seconds: float) -> float:
    """Return for how many seconds a trainer may give no sign of life before it counts as stalled."""
    return max(stall_seconds, PATIENCE * part_seconds)


@dataclass(frozen=True)
class Context:
    """What a running job knows about the place where it runs."""

    device: Literal["cpu", "cuda"]
    tf32: bool
    """Whether products of float32 may round their factors on a GPU."""
    preempt: Callable[[int], bool]
    """Report that a step is done. If it returns true, make a checkpoint, if the kind has any, and end."""
    cores: int | None = None
    """How many threads it may choose to compute with; None: the caller has set their number."""


class Run(Protocol):
    """The function that runs a job of one kind. It yields events; the last one is `End`."""

    def __call__(
        self, config: Any, inputs: Inputs, resume: tuple[bytes, bytes] | None, context: Context, /
    ) -> Iterator[Event]:
        """Run the job, from its start or from `resume`, the (weights, state) of a checkpoint that it made before."""


@dataclass(frozen=True)
class Kind(Generic[Config]):
    """One kind of job."""

    name: str
    config: type[Config]
    check: Callable[[Config, Inputs], Facts]
    """Raise ConfigurationError, with a JSON Pointer into the configuration, if the job cannot be run."""
    run: str
    """`module:function` of its `Run`."""
    driver: Literal["trainer", "reconciler"] = "trainer"
    """What moves the job forward: a process of its own, or the reconciler. Workers claim only jobs with a process."""
    too_large: Callable[[Config, Inputs, int], str] = lambda _config, _inputs, _most: ""
    """Return a pointer to the field that makes a job need more than so many bytes of memory."""


AnyKind = Kind[Any]
