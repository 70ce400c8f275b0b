"""The messages between the supervisor and the child that runs a job. NumPy only, since the supervisor has no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from rnn.events import Artifact, Checkpoint, End, Entry, Environment, Result
from rnn.kinds.kind import Inputs
from unroll.contract import JobRequest


@dataclass(frozen=True, slots=True)
class Place:
    """Where a child runs its job; it is told this when it starts."""

    device: Literal["cpu", "cuda"] = "cpu"
    tf32: bool = False
    """Whether products of float32 may round their factors on a GPU."""
    warm_bytes: int = 0
    """How much of a GPU's memory it may take to warm up before a job comes."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """The job to run; the supervisor sends it to the child once."""

    job_id: str
    attempt: int
    config: JobRequest
    inputs: Inputs
    resume: tuple[bytes, bytes] | None
    """Weights and state of the checkpoint to continue from."""
    step: int
    """The step of that checkpoint; 0 at the start."""
    threads: int
    """The number of threads; 0: its kind chooses it, for its network."""
    cores: int
    """The largest number that it may choose."""


@dataclass(frozen=True, slots=True)
class Ready:
    """The child waits for its assignment, with its libraries loaded and its device open."""


@dataclass(frozen=True, slots=True)
class Unfit:
    """The child can run no job here."""

    message: str
    ever: bool
    """Whether no later child could run one either."""


@dataclass(frozen=True, slots=True)
class Declared:
    """The child is about to start the job's work."""

    environment: Environment


@dataclass(frozen=True, slots=True)
class Steps:
    """Metrics of consecutive logged steps: `steps` [n] ascending, `values` [n, names, R]."""

    names: tuple[str, ...]
    steps: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]


Item = Steps | Entry | Checkpoint | Artifact | Result | End


@dataclass(frozen=True, slots=True)
class Bundle:
    """What happened since the last bundle, in order. Metrics never come after a checkpoint that they belong before.

    An empty bundle shows that the child is alive: it has done a part of a long step.
    """

    step: int
    """The last step that was done, logged or not."""
    items: tuple[Item, ...]

    @property
    def size(self) -> int:
        """The approximate size in bytes."""
        size = 0
        for item in self.items:
            if isinstance(item, Steps):
                size += item.steps.nbytes + item.values.nbytes
            elif isinstance(item, Checkpoint):
                size += len(item.weights) + len(item.state)
            elif isinstance(item, Artifact):
                size += len(item.content)
        return size


@dataclass(frozen=True, slots=True)
class Failed:
    """The child met an exception; its traceback is in the log."""

    code: Literal["training_error", "out_of_memory", "bad_checkpoint"]
    """training_error stands for any exception that is none of the others, whatever the kind of job."""
    message: str


@dataclass(frozen=True, slots=True)
class Gone:
    """The child is dead. Its exit code is negative for a signal, and 255 if its parent, the forkserver, died too."""

    exit_code: int | None


Readiness = Ready | Unfit | Gone
Message = Declared | Bundle | Failed | Gone
