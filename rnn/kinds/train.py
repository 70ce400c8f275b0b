"""Train jobs: networks by backpropagation through time."""

from __future__ import annotations

from rnn.data import tasks
from rnn.kinds.kind import Facts, Inputs, Kind
from rnn.networks import parameters
from rnn.training import cost
from rnn.training.check import check as check_training
from unroll.contract import Network, TrainJob


def check(job: TrainJob, inputs: Inputs) -> Facts:
    """Check a train job whose network is in full. Raises ConfigurationError."""
    del inputs
    check_training(job)
    assert isinstance(job.model, Network)  # noqa: S101 - checked just now
    return Facts(
        parameters=parameters.count(job.model),
        total=job.training.steps,
        memory_bytes=cost.memory_bytes(job),
        seconds=cost.seconds(job),
        baseline_loss=tasks.baseline_loss(job.data, job.model.architecture, job.training.loss),
    )


def too_large(job: TrainJob, inputs: Inputs, most: int) -> str:
    """Point at the first field that, at its least, would let the job fit into `most` bytes."""
    del inputs
    training = job.training
    least: dict[str, dict[str, object]] = {
        "/training/batch_size": {"training": training.model_copy(update={"batch_size": 1})},
        "/training/held_out/size": {
            "training": training.model_copy(update={"held_out": training.held_out.model_copy(update={"size": 1})})
        },
        "/replicas": {"replicas": 1},
    }
    fitting = (at for at, update in least.items() if cost.memory_bytes(job.model_copy(update=update)) <= most)
    return next(fitting, "/model/cell/hidden_size")


KIND = Kind("train", TrainJob, check, "rnn.kinds.runs.train:run", too_large=too_large)
