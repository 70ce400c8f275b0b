"""A training job after its names are resolved. NumPy only, no tensor is made."""

from __future__ import annotations

from dataclasses import dataclass

from rnn.data import tasks
from rnn.data.source import Source
from rnn.errors import ConfigurationError
from unroll.contract import DType, Network, Training, TrainJob


@dataclass(frozen=True, slots=True)
class Problem:
    """A network, the sequences to train it on, and how to train it. It is made once, from a job."""

    network: Network
    source: Source
    """The source that the sequences come from."""
    training: Training
    seed: int
    replicas: int
    """R, the number of replicas."""
    dtype: DType
    max_seconds: float | None = None

    @classmethod
    def of(cls, job: TrainJob) -> Problem:
        """Return the problem that a job describes.

        Raises ConfigurationError with a JSON Pointer into the job: `unresolved_model` at /model if it has a name
        instead of a network, and the errors of `rnn.data.tasks.resolve`. `rnn.training.validation.validate` finds other
        mistakes.
        """
        if not isinstance(job.model, Network):
            raise ConfigurationError(
                "/model", "unresolved_model", f"the name {job.model!r} was not replaced by a network"
            )
        source = tasks.resolve(job.data)
        return cls(job.model, source, job.training, job.seed, job.replicas, job.dtype, job.max_seconds)

    @property
    def steps(self) -> int:
        """T, the time steps that the network runs for the longest sequence."""
        return self.source.steps(self.network.architecture)

    @property
    def baseline_loss(self) -> float:
        """The expected loss of the source's trivial predictor, as this job computes it."""
        return self.source.baseline_loss(self.network.architecture, self.training.loss)
