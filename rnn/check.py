"""What pydantic cannot see in a job: its task, and the products of its sizes. NumPy only, no tensor is made."""

from __future__ import annotations

from rnn import parameters, stopping, tasks
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

    _check_training(job, task)
    total = job.replicas * parameters.count(network)
    if total > MAX_PARAMETERS:
        detail = (
            f"{job.replicas} replicas of {parameters.count(network):,} parameters are {total:,}, "
            f"more than {MAX_PARAMETERS:,}"
        )
        raise ConfigurationError("/model/cell/hidden_size", "too_many_parameters", detail)

    # What a step keeps for its backward pass, in each layer and gate; held-out sequences are evaluated a few at a time.
    hidden, data = network.cell.hidden_size, max(network.input_size, network.output_size)
    kept = hidden * network.num_layers * len(parameters.gates(network.cell))
    window = job.training.bptt.window or task.time_steps
    for pointer, size, steps, wide in (
        ("/training/batch_size", job.training.batch_size * job.replicas, window, kept),
        ("/training/batch_size", job.training.batch_size * job.replicas, task.time_steps, data),
        ("/training/held_out/size", job.training.held_out.size, task.time_steps, data),
        ("/replicas", job.replicas, task.time_steps, kept),
    ):
        values = size * steps * wide
        if values > MAX_ACTIVATIONS:
            detail = (
                f"{size:,} sequences of {steps:,} steps and width {wide:,} are {values:,} values, "
                f"more than {MAX_ACTIVATIONS:,}"
            )
            raise ConfigurationError(pointer, "too_many_activations", detail)


def _check_training(job: TrainJob, task: tasks.SequenceTask) -> None:
    stopping.check(job)
    training = job.training
    window = training.bptt.window
    if window is not None and window > task.time_steps:
        detail = f"a window of {window} steps is longer than the sequences, {task.time_steps}"
        raise ConfigurationError("/training/bptt/window", "contradiction", detail)
    if training.regularisation.omega and isinstance(job.model, Network):
        _check_omega(job.model)
    if training.loss.type not in task.losses:
        detail = f"targets of {task.name} are for {' or '.join(task.losses)}, not for {training.loss.type}"
        raise ConfigurationError("/training/loss/type", "contradiction", detail)
    if (
        training.regularisation.orthogonality
        and isinstance(job.model, Network)
        and job.model.cell.type == "feedforward"
    ):
        detail = "a feed-forward cell has no recurrent weights"
        raise ConfigurationError("/training/regularisation/orthogonality", "contradiction", detail)


def _check_omega(network: Network) -> None:
    pointer, cell = "/training/regularisation/omega", network.cell.type
    if cell == "feedforward":
        raise ConfigurationError(pointer, "contradiction", "a feed-forward cell has no recurrent weights")
    if cell in ("lstm", "gru"):
        detail = f"omega is about gradients that W_hh carries from step to step; those of {cell} also pass its gates"
        raise ConfigurationError(pointer, "contradiction", detail)
