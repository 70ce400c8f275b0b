"""What pydantic cannot see in a job: its task, and the products of its sizes. NumPy only, no tensor is made."""

from __future__ import annotations

from rnn import parameters, tasks
from rnn.check_network import check_network
from rnn.errors import ConfigurationError
from unroll.contract import Network, TrainJob
from unroll.contract.limits import MAX_ACTIVATIONS, MAX_PARAMETERS


def check(job: TrainJob) -> None:
    """Raise ConfigurationError if this job cannot be run, with a JSON Pointer relative to the job.

    Codes: unknown_task, pydantic's codes below /data/parameters, width_mismatch, too_many_parameters,
    too_many_activations, unresolved_model (a name where `rnn` needs the configuration).
    """
    if not isinstance(job.model, Network):
        raise ConfigurationError("/model", "unresolved_model", f"model {job.model!r} has no configuration here")
    network = job.model
    check_network(network)
    task = tasks.resolve(job.data)
    for field, width in (("input_size", task.input_size), ("output_size", task.output_size)):
        if getattr(network, field) != width:
            detail = f"task {task.name} needs {field} {width}, not {getattr(network, field)}"
            raise ConfigurationError(f"/model/{field}", "width_mismatch", detail)

    total = job.replicas * parameters.count(network)
    if total > MAX_PARAMETERS:
        detail = (
            f"{job.replicas} replicas of {parameters.count(network):,} parameters are {total:,}, "
            f"more than {MAX_PARAMETERS:,}"
        )
        raise ConfigurationError("/model/cell/hidden_size", "too_many_parameters", detail)

    hidden = network.cell.hidden_size
    wide = max(hidden, network.input_size, network.output_size)
    for pointer, size in (
        ("/training/batch_size", job.training.batch_size * job.replicas),
        ("/training/held_out/size", job.training.held_out.size),
    ):
        values = size * task.time_steps * wide
        if values > MAX_ACTIVATIONS:
            detail = (
                f"{size:,} sequences of {task.time_steps:,} steps and width {wide:,} are {values:,} values, "
                f"more than {MAX_ACTIVATIONS:,}"
            )
            raise ConfigurationError(pointer, "too_many_activations", detail)
