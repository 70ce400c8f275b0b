"""Estimates what a job will cost, from its sizes alone. NumPy only; it takes microseconds.

Memory is counted from the buffers of `rnn.bptt.whole` in the workspace (the native kernel needs less),
`rnn.training.optimisers` and `rnn.training.held_out`. Time comes from a model with few constants: a cost for each call,
and rates for GEMMs, pointwise work and random numbers. They were fitted to one core of an Intel Xeon (AVX-512, torch
2.13.0, float32, shapes from H = 10 to 256). The estimate is right to a factor of about three on a CPU of this decade; a
GPU is not modelled.
"""

from __future__ import annotations

from rnn.cells.facts import facts
from rnn.data.source import Source
from rnn.networks import parameters
from rnn.networks.connectivity import is_constrained
from rnn.networks.noise import noise_of
from rnn.training.chunks import chunk_size
from rnn.training.problem import Problem
from rnn.training.resume import moment_names
from unroll.contract import DType, Network

_STEP_SECONDS = 150e-6
_TIME_STEP_SECONDS = 8e-6
_SECONDS_PER_FLOP = 1 / 80e9
_SECONDS_PER_ACTIVATION = 2.5e-9
_SECONDS_PER_DRAW = 15e-9
_SECONDS_PER_PARAMETER = 2e-9
_COPIES = 8
"""How often an update, or the making of a checkpoint, goes through all parameters between two signs of life."""
_BYTES_PER_TIME_STEP = 4_200
"""Memory of views and prepared calls for each time step, which does not depend on the width."""

_SECONDS_PER_FLOP_FLOAT64 = 1 / 40e9

_OMEGA = 4
"""Numbers that `rnn.bptt.omega` keeps for each hidden unit, step and sequence, counted like
`CellFacts.trajectories`."""


def memory_bytes(problem: Problem) -> int:
    """Return the peak memory of the trainer's tensors, without the interpreter and its libraries (about 250 MB).

    It is counted for the workspace; the native kernel needs at least a third less.
    """
    network, training = problem.network, problem.training
    R, T, B, N = problem.replicas, problem.steps, training.batch_size, training.held_out.size
    I, H, O, L = network.input_size, network.cell.hidden_size, network.output_size, network.num_layers  # noqa: E741
    P = parameters.count(network)
    moments = len(moment_names(training.optimizer))
    raw = 1 if is_constrained(network) else 0
    # Parameters and moments are there twice (with their values before the update), then gradients and their contiguous
    # products.
    learned = R * P * (2 * (1 + moments) + 2 + raw)
    K = training.bptt.window or T
    batch = R * K * B * (I + 1 + 3 * O) + (R * T * B * (I + O) if K < T else 0)
    kept = facts(network.cell).trajectories
    trajectories = L * R * K * B * H * (kept.training_stacked if R > 1 else kept.training)
    if training.regularisation.omega:
        trajectories += L * R * K * B * H * _OMEGA
    if training.profile_every is not None:  # it has its own engine, in the workspace
        trajectories *= 2
        batch *= 2
        learned += R * P
    # The inputs of upper layers are copies of the outputs below, and noise is as wide as pre-activations.
    between = R * K * B * H * (L - 1 + (L if noise_of(network).recurrent else 0))
    held_out = _evaluation_values(network, problem.source, R, N)
    item = 4 if problem.dtype == "float32" else 8
    # A checkpoint holds weights, moments and raw parameters twice: once as arrays and once as bytes.
    checkpoint = 2 * R * P * (1 + moments + raw)
    total = learned + batch + trajectories + between + held_out + checkpoint
    return item * total + L * (T + K) * _BYTES_PER_TIME_STEP


def evaluation_memory_bytes(
    network: Network, source: Source, replicas: int, sequences: int, dtype: DType, stored: int | None = None
) -> int:
    """Return the peak memory of an evaluation of R replicas: their weights, the sequences, one chunk of states."""
    T, L = source.steps(network.architecture), network.num_layers
    # the checkpoint with all its `stored` replicas as bytes, as tensors and flat, and a copy of those that are chosen
    weights = (3 * (stored or replicas) + replicas) * parameters.count(network)
    values = weights + _evaluation_values(network, source, replicas, sequences)
    return (4 if dtype == "float32" else 8) * values + L * T * _BYTES_PER_TIME_STEP


def _evaluation_values(network: Network, source: Source, replicas: int, sequences: int) -> int:
    """Count what an evaluation holds besides weights: the sequences, and the states of one chunk of them."""
    T, H, L = source.steps(network.architecture), network.cell.hidden_size, network.num_layers
    I, O = network.input_size, network.output_size  # noqa: E741
    kept = facts(network.cell).trajectories
    states = L * H * (kept.evaluation_stacked if replicas > 1 else kept.evaluation) + (L - 1) * H
    # sequences, their weights, and the same again while they are drawn or change their type
    drawn = T * sequences * (2 * (I + O) + 1)
    return drawn + replicas * T * chunk_size(replicas, T, sequences, H) * (states + I + 4 * O)


def evaluation_seconds(network: Network, source: Source, replicas: int, sequences: int, dtype: DType) -> float:
    """Return the time of one evaluation on one CPU core, right to a factor of about three."""
    return _forward_seconds(network, source.steps(network.architecture), replicas, sequences, dtype)


def _forward_seconds(network: Network, T: int, replicas: int, sequences: int, dtype: DType) -> float:
    """Return the time of one forward pass over T time steps."""
    H, L = network.cell.hidden_size, network.num_layers
    gates = len(facts(network.cell).gates)
    products = H * gates * (L * H + network.input_size + (L - 1) * H) + H * network.output_size
    of_sequences = 2 * products * _SECONDS_PER_FLOP + L * H * gates * _SECONDS_PER_ACTIVATION
    one = L * T * gates * _TIME_STEP_SECONDS + replicas * T * sequences * of_sequences
    return (1 if dtype == "float32" else 2) * one


def part_seconds(problem: Problem) -> float:
    """Return the time of the longest part of a train job between two signs of life (`rnn.pulse`), on one CPU core.

    It is the backward pass of one layer over one window, the drawing of a batch, a part of an evaluation, or a product
    of recurrent weights, of which initialisations and certificates are made. It is as right as `seconds`.
    """
    network, training = problem.network, problem.training
    R, T, B, H = problem.replicas, problem.steps, training.batch_size, network.cell.hidden_size
    backward = 2 * _forward_seconds(network, training.bptt.window or T, R, B, problem.dtype) / network.num_layers
    drawn = network.input_size + (network.num_layers * H if noise_of(network).recurrent else 0)
    weights = 2 * len(facts(network.cell).gates) * H**3 * _SECONDS_PER_FLOP_FLOAT64
    kept = R * parameters.count(network) * _SECONDS_PER_PARAMETER * _COPIES
    evaluated = evaluation_part_seconds(network, problem.source, R, training.held_out.size, problem.dtype)
    return max(backward, R * T * B * drawn * _SECONDS_PER_DRAW, evaluated, weights, kept)


def evaluation_part_seconds(network: Network, source: Source, replicas: int, sequences: int, dtype: DType) -> float:
    """Return the time of the longest part of an evaluation: one layer over one chunk, or the drawing of all."""
    T, H = source.steps(network.architecture), network.cell.hidden_size
    chunk = chunk_size(replicas, T, sequences, H)
    forward = _forward_seconds(network, T, replicas, chunk, dtype) / network.num_layers
    return max(forward, T * sequences * (source.input_size + source.output_size) * _SECONDS_PER_DRAW)


def seconds(problem: Problem) -> float:
    """Return the training time on one CPU core, evaluations included, right to a factor of about three."""
    network, training = problem.network, problem.training
    R, T, B = problem.replicas, problem.steps, training.batch_size
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
    # An evaluation costs a third of a step, its forward pass, on other sequences.
    evaluation = L * T * gates * _TIME_STEP_SECONDS + (
        R * T * training.held_out.size * (2 * products * _SECONDS_PER_FLOP + L * H * gates * _SECONDS_PER_ACTIVATION)
    )
    factor = 1 if problem.dtype == "float32" else 2
    return factor * (training.steps * step + (training.steps / training.evaluate_every + 1) * evaluation)
