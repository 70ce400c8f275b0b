"""What a job will cost, from its sizes alone. NumPy only, microseconds.

Memory is counted from the buffers of `rnn.bptt` in the workspace (the native kernel needs less), `rnn.optimizers` and
`rnn.evaluate`. Time is a model with few
constants, fitted to one core of an Intel Xeon (AVX-512, torch 2.13.0, float32, shapes from H = 10 to 256): a cost for
each call, and rates for GEMMs, pointwise work and random numbers. Good to a factor of about three on a CPU of this
decade; a GPU is not modelled.
"""

from __future__ import annotations

from rnn import parameters, tasks
from rnn.state import moment_names
from unroll.contract import Network, TrainJob

_STEP_SECONDS = 150e-6
_TIME_STEP_SECONDS = 8e-6
_SECONDS_PER_FLOP = 1 / 80e9
_SECONDS_PER_ACTIVATION = 2.5e-9
_SECONDS_PER_DRAW = 15e-9
_SECONDS_PER_PARAMETER = 2e-9
_BYTES_PER_TIME_STEP = 4_200
"""Of views and prepared calls, which do not depend on the width."""


def memory_bytes(job: TrainJob) -> int:
    """Peak memory of the trainer's tensors, without the interpreter and its libraries (about 250 MB)."""
    network, training = _network(job), job.training
    task = tasks.resolve(job.data)
    R, T, B, N = job.replicas, task.time_steps, training.batch_size, training.held_out.size
    I, H, O = network.input_size, network.cell.hidden_size, network.output_size  # noqa: E741
    P = parameters.count(network)
    # Parameters and moments twice (as they were before the update), gradients, and their contiguous products.
    learned = R * P * (2 * (1 + len(moment_names(training.optimizer))) + 2)
    batch = R * T * B * (I + 1 + 3 * O)
    trajectories = R * T * B * H * (4 if R > 1 else 3) + R * B * H
    held_out = T * N * (I + O) + 4 * min(R * N * H, max(R * H, 1 << 20))
    item = 4 if job.dtype == "float32" else 8
    # A checkpoint is made as bytes: weights and moments, once as arrays and once as bytes.
    checkpoint = 2 * R * P * (1 + len(moment_names(training.optimizer)))
    return item * (learned + batch + trajectories + held_out + checkpoint) + T * _BYTES_PER_TIME_STEP


def seconds(job: TrainJob) -> float:
    """Training time on one CPU core, evaluations included; good to a factor of about three."""
    network, training = _network(job), job.training
    task = tasks.resolve(job.data)
    R, T, B = job.replicas, task.time_steps, training.batch_size
    I, H, O = network.input_size, network.cell.hidden_size, network.output_size  # noqa: E741
    multiplications = R * T * B * H * (3 * H + 2 * I + 3 * O)
    step = (
        _STEP_SECONDS
        + T * _TIME_STEP_SECONDS
        + 2 * multiplications * _SECONDS_PER_FLOP
        + R * T * B * H * _SECONDS_PER_ACTIVATION
        + R * T * B * I * _SECONDS_PER_DRAW
        + R * parameters.count(network) * _SECONDS_PER_PARAMETER
    )
    # An evaluation is the forward third of a step, on other sequences.
    evaluation = T * _TIME_STEP_SECONDS + (
        R * T * training.held_out.size * H * (2 * (H + I + O) * _SECONDS_PER_FLOP + _SECONDS_PER_ACTIVATION)
    )
    factor = 1 if job.dtype == "float32" else 2
    return factor * (training.steps * step + (training.steps / training.evaluate_every + 1) * evaluation)


def _network(job: TrainJob) -> Network:
    if not isinstance(job.model, Network):
        raise TypeError("an estimate needs the model's configuration, not its name")
    return job.model
