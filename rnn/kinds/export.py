"""Export jobs: a checkpoint's network as a file for other programs, with a proof that it computes what we compute."""

from __future__ import annotations

from rnn.errors import ConfigurationError
from rnn.export.formats import FORMATS, refusal
from rnn.kinds.checkpoints import chosen_replicas
from rnn.kinds.kind import Facts, Inputs, Kind
from rnn.networks import parameters
from unroll.contract import ExportJob

_SECONDS = 10.0
"""Time to load the runtimes, to start a process for NumPy, and to compute a few short sequences several times."""
_BYTES = 300_000_000
"""Memory of the runtimes."""
_SECONDS_PER_WEIGHT = 1e-6


def check(job: ExportJob, inputs: Inputs) -> Facts:
    """Check an export job against the checkpoint that it reads. Raises ConfigurationError."""
    checkpoint = inputs.checkpoints[job.checkpoint]
    replicas = chosen_replicas(job.replica, checkpoint)
    if len(replicas) > 1 and not FORMATS[job.format].all_replicas:
        detail = f"a file of format {job.format} holds one network; name one of the {checkpoint.replicas} replicas"
        raise ConfigurationError("/replica", "contradiction", detail)
    if (reason := refusal(checkpoint.network, checkpoint.dtype, job.format)) is not None:
        raise ConfigurationError("/format", "not_available", reason)
    count = parameters.count(checkpoint.network)
    weights = count * len(replicas)
    seconds = _SECONDS + _SECONDS_PER_WEIGHT * weights
    return Facts(
        parameters=count,
        total=1,
        # the checkpoint, and for each of several runtimes the weights as arrays and as bytes
        memory_bytes=_BYTES + 8 * (2 * count * checkpoint.replicas + 6 * weights),
        seconds=seconds,
        part_seconds=seconds,  # other programs do most of the work
    )


def too_large(job: ExportJob, inputs: Inputs, most: int) -> str:
    """Return a pointer to the checkpoint, because nothing else makes an export large."""
    del job, inputs, most
    return "/checkpoint"


KIND = Kind("export", ExportJob, check, "rnn.kinds.runs.export:run", too_large=too_large)
