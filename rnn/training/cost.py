"""What a job will cost, from its sizes alone. NumPy only, microseconds.

Memory is counted from the buffers of `rnn.bptt.whole` in the workspace (the native kernel needs less),
`rnn.training.optimisers` and `rnn.training.held_out`. Time is a model with few constants, fitted to one core of an
Intel Xeon (AVX-512, torch 2.13.0, float32, shapes from H = 10 to 256): a cost for each call, and rates for GEMMs,
pointwise work and random numbers. Good to a factor of about three on a CPU of this decade; a GPU is not modelled.
"""

from __future__ import annotations

from rnn.cells.facts import facts
from rnn.data import tasks
from rnn.networks import parameters
from rnn.networks.connectivity import is_constrained
from rnn.networks.noise import noise_of
from rnn.training.chunks import chunk_size
from rnn.training.resume import moment_names
from unroll.contract import Network, TrainJob

_STEP_SECONDS = 150e-6
_TIME_STEP_SECONDS = 8e-6
_SECONDS_PER_FLOP = 1 / 80e9
_SECONDS_PER_ACTIVATION = 2.5e-9
_SECONDS_PER_DRAW = 15e-9
_SECONDS_PER_PARAMETER = 2e-9
_BYTES_PER_TIME_STEP = 4_200
"""Of views and prepared calls, which do not depend on the width."""

_OMEGA = 4
"""Numbers for each hidden unit, step and sequence, as those in `CellFacts.trajectories`, for `rnn.bptt.omega`."""


def memory_bytes(job: TrainJob) -> int:
    """Peak memory of the trainer's tensors, without the interpreter and its libraries (about 250 MB).

    Counted for the workspace; the native kernel needs less, a third at the least.
    """
    network, training = _network(job), job.training
    task = tasks.resolve(job.data)
    R, T, B, N = job.replicas, task.steps(network.architecture), training.batch_size, training.held_out.size
    I, H, O, L = network.input_size, network.cell.hidden_size, network.output_size, network.num_layers  # noqa: E741
    P = parameters.count(network)
    moments = len(moment_names(training.optimizer))
    raw = 1 if is_constrained(network) else 0
    # Parameters and moments twice (as they were before the update), gradients, and their contiguous products.
    learned = R * P * (2 * (1 + moments) + 2 + raw)
    K = training.bptt.window or T
    batch = R * K * B * (I + 1 + 3 * O) + (R * T * B * (I + O) if K < T else 0)
    kept = facts(network.cell).trajectories
    trajectories = L * R * K * B * H * (kept.training_stacked if R > 1 else kept.training)
    if training.regularisation.omega:
        trajectories += L * R * K * B * H * _OMEGA
    if training.profile_every is not None:  # an engine of its own, in the workspace
        trajectories *= 2
        batch *= 2
        learned += R * P
    # The inputs of upper layers are copies of what is below, and noise is as wide as pre-activations.
    between = R * K * B * H * (L - 1 + (L if noise_of(network).recurrent else 0))
    chunk = chunk_size(R, T, N, H)
    # Held-out sequences, their weights, and as much again while they are drawn or change their type.
    held_out = T * N * (2 * (I + O) + 1)
    held_out += (
        R * T * chunk * (L * H * (kept.evaluation_stacked if R > 1 else kept.evaluation) + (L - 1) * H + I + 4 * O)
    )
    item = 4 if job.dtype == "float32" else 8
    # A checkpoint is made as bytes: weights, moments and raw parameters, once as arrays and once as bytes.
    checkpoint = 2 * R * P * (1 + moments + raw)
    total = learned + batch + trajectories + between + held_out + checkpoint
    return item * total + L * (T + K) * _BYTES_PER_TIME_STEP


def seconds(job: TrainJob) -> float:
    """Training time on one CPU core, evaluations included; good to a factor of about three."""
    network, training = _network(job), job.training
    task = tasks.resolve(job.data)
    R, T, B = job.replicas, task.steps(network.architecture), training.batch_size
    I, H, O, L = network.input_size, network.cell.hidden_size, network.output_size, network.num_layers  # noqa: E741
    gates = len(facts(network.cell).gates)
    products = H * gates * (L * H + I + (L - 1) * H) + H * O
    drawn = I + (L * H if noise_of(network).recurrent else 0)
    step = (
        _STEP_SECONDS
        + L * T * gates * _TIME_STEP_SECONDS
        + 2 * 3 * R * T * B * products * _SECONDS_PER_FLOP
        + L * R * T * B * H * gates * _SECONDS_PER_ACTIVATION
        + R * T * B * drawn * _SECONDS_PER_DRAW
        + R * parameters.count(network) * _SECONDS_PER_PARAMETER
    )
    # An evaluation is the forward third of a step, on other sequences.
    evaluation = L * T * gates * _TIME_STEP_SECONDS + (
        R * T * training.held_out.size * (2 * products * _SECONDS_PER_FLOP + L * H * gates * _SECONDS_PER_ACTIVATION)
    )
    factor = 1 if job.dtype == "float32" else 2
    return factor * (training.steps * step + (training.steps / training.evaluate_every + 1) * evaluation)


def _network(job: TrainJob) -> Network:
    if not isinstance(job.model, Network):
        raise TypeError("an estimate needs the model's configuration, not its name")
    return job.model
