"""The noise that a network has while it is trained. NumPy only."""

from __future__ import annotations

from rnn.cells.facts import facts
from unroll.contract import Network, Noise


def noise_of(network: Network) -> Noise:
    """Return the network's noise; a cell without noise has zeros."""
    return facts(network.cell).noise
