"""Gaussian noise while training, addressed like the data by (seed, replica, step), so that resuming needs no state.

Of one stream, in this order: the input's [T,B,I], each layer's [T,B,H], the output's [T,B,O]; what is zero is not
drawn.
Drawn as float32 whatever the dtype. NumPy only.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from rnn.memory import Memory
from rnn.randomness import Draws, Purpose
from unroll.contract import LeakyCell, Network, Noise

Array = npt.NDArray[Any]


def of(network: Network) -> Noise:
    """The network's noise; none for cells that have none."""
    return network.cell.noise if isinstance(network.cell, LeakyCell) else Noise()


def none() -> Noise:
    """No noise."""
    return Noise()


class TrainingNoise:
    """Adds to the inputs, and overwrites the noise of pre-activations and outputs, all [R, T, B, …]."""

    def __init__(self, network: Network, seed: int, memory: Memory[Array]) -> None:
        """`memory` has arrays for each layer's noise and the output's where the network has such noise."""
        cell, noise = network.cell, of(network)
        replicas = len(memory.x_RTBI)
        self._draws = [Draws(seed, Purpose.NOISE, [r]) for r in range(replicas)] if noise != Noise() else []
        self._x, self._input = memory.x_RTBI, noise.input
        scale = noise.recurrent * np.sqrt(2 * np.asarray(cell.tau) / cell.dt) if isinstance(cell, LeakyCell) else 0.0
        self._filled = [(array, scale) for array in memory.noise_RTBH]
        if memory.noise_RTBO is not None:
            self._filled.append((memory.noise_RTBO, np.asarray(noise.output)))

    def draw(self, step: int) -> None:
        """For the batch of `step`, after it has been filled in."""
        for r, draws in enumerate(self._draws):
            draws.at(step)
            if self._input:
                self._x[r] += _normal(draws, self._x[r].shape) * np.float32(self._input)
            for array, scale in self._filled:
                np.multiply(_normal(draws, array[r].shape), scale, out=array[r], casting="unsafe")


def _normal(draws: Draws, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    drawn = np.empty(shape, np.float32)
    draws.normals(drawn[np.newaxis])
    return drawn
