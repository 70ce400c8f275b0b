"""Chooses how many threads train a network. Sizes alone decide, because a run's bits depend on the number of threads.

The native kernel splits a batch once and then works through all time steps, so its threads meet only twice in a step.
That takes microseconds on an idle machine, and a millisecond where another process has one of the cores. The workspace
is PyTorch's operations, whose threads meet at every product of every time step. On a GPU one thread is used, because
others would only draw batches. docs/adr/0014 has the measurements.
"""

from __future__ import annotations

from rnn.cells.facts import facts
from rnn.training import environment
from rnn.training.chunks import chunk_size
from rnn.training.problem import Problem
from unroll.contract import DType, Network

FLOP_PER_THREAD = 16e6
"""The native kernel: work of one step, forward and backward, from which another thread pays; about 0.15 ms."""
SEQUENCES_PER_THREAD = 4
"""The native kernel: with fewer, a thread reads the weights more often than it uses them."""
FLOP_OF_A_PRODUCT = 2e6
"""The workspace: work of one time step's recurrent product from which another thread pays."""


def for_training(problem: Problem, cores: int, device: str = "cpu") -> int:
    """Return how many threads, at most `cores`, train the problem on this device (cpu, cuda)."""
    training, network = problem.training, problem.network
    steps = training.bptt.window or problem.steps
    if network.architecture == "encoder_decoder" and training.teacher_forcing < 1:
        steps = 1  # a decoder that reads its own outputs runs one time step a pass
    omega = training.regularisation.omega
    return _chosen(network, problem.dtype, problem.replicas, training.batch_size, steps, cores, device, omega=omega)


def for_evaluation(
    network: Network, dtype: DType, replicas: int, steps: int, sequences: int, cores: int, device: str = "cpu"
) -> int:
    """Return how many threads, at most `cores`, evaluate R networks on sequences of so many steps on this device."""
    size = chunk_size(replicas, steps, sequences, network.cell.hidden_size)
    if network.architecture == "encoder_decoder":
        steps = 1
    return _chosen(network, dtype, replicas, size, steps, cores, device, passes=1)


def _chosen(
    network: Network,
    dtype: DType,
    replicas: int,
    sequences: int,
    steps: int,
    cores: int,
    device: str,
    *,
    omega: float = 0.0,
    passes: int = 3,
) -> int:
    """`passes` is 1 for a forward pass alone; a backward pass costs as much as two."""
    if cores == 1 or device != "cpu":
        return 1
    H, together = network.cell.hidden_size, replicas * sequences
    product = 2.0 * together * len(facts(network.cell).gates) * H * H
    if environment.runs_on(network, dtype, device, replicas, omega=omega) == "native":
        inputs = (H + network.input_size) / H
        most = min(passes * steps * product * inputs / FLOP_PER_THREAD, together / SEQUENCES_PER_THREAD)
    else:
        most = product / FLOP_OF_A_PRODUCT
    return max(1, min(cores, int(most)))
