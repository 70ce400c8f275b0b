"""What makes no sense in a network, whatever its data. NumPy only."""

from __future__ import annotations

from rnn.errors import ConfigurationError
from unroll.contract import LeakyCell, Network


def check_network(network: Network) -> None:
    """Raise ConfigurationError with a JSON Pointer relative to the job, below /model, and the reason."""
    cell = network.cell
    if isinstance(cell, LeakyCell):
        _check_tau(cell)
    if cell.type == "feedforward" and network.h0 == "trainable":
        raise ConfigurationError("/model/h0", "contradiction", "a feed-forward cell does not read its state")


def _check_tau(cell: LeakyCell) -> None:
    pointer = "/model/cell/tau"
    values = cell.tau if isinstance(cell.tau, list) else [cell.tau]
    if isinstance(cell.tau, list) and len(values) != cell.hidden_size:
        detail = f"{len(values)} time constants for {cell.hidden_size} units"
        raise ConfigurationError(pointer, "wrong_length", detail)
    if min(values) < cell.dt:
        detail = f"tau {min(values)} is smaller than dt {cell.dt}: the step would overshoot"
        raise ConfigurationError(pointer, "too_small", detail)
    if cell.learn_tau != "no" and min(values) <= cell.dt:
        raise ConfigurationError(pointer, "too_small", f"a learned tau starts above dt {cell.dt}")
