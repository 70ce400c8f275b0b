"""Which noise a network has while it is trained. Only leaky cells have some. NumPy only."""

from __future__ import annotations

from unroll.contract import LeakyCell, Network, Noise


def noise_of(network: Network) -> Noise:
    """Return the network's noise; a cell without noise has zeros."""
    return network.cell.noise if isinstance(network.cell, LeakyCell) else Noise()
