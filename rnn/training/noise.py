"""Gaussian noise while training. It is addressed by (seed, replica, step) like the data, so resuming needs no state.

One stream gives, in this order, the input's noise [T,B,I], each layer's [T,B,H] and the output's [T,B,O]; noise of zero
size is not drawn. It is drawn as float32 for every dtype. NumPy only.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from rnn.cells.facts import facts
from rnn.data.memory import Memory
from rnn.networks.noise import noise_of
from rnn.randomness.streams import Draws, Purpose
from unroll.contract import Network

Array = npt.NDArray[Any]


class TrainingNoise:
    """Adds noise to the inputs, and overwrites the noise of pre-activations and outputs, all [R, T, B, …]."""

    def __init__(self, network: Network, seed: int, memory: Memory[Array], threads: int = 1) -> None:
        """`memory` has an array for each layer's noise and for the output's noise if the network has such noise."""
        leak, noise = facts(network.cell).leak, noise_of(network)
        self._draws = Draws(seed, Purpose.NOISE, range(len(memory.x_RTBI)), threads)
        self._x_RTBI = memory.x_RTBI
        self._of_inputs = np.empty(self._x_RTBI.shape, np.float32) if noise.input else None
        self._input = _factors(noise.input, self._x_RTBI)
        scale = noise.recurrent * np.sqrt(2 * np.asarray(leak.tau) / leak.dt) if leak else 0.0
        self._filled = [(array, _factors(scale, array)) for array in memory.noise_RTBH]
        if memory.noise_RTBO is not None:
            self._filled.append((memory.noise_RTBO, _factors(noise.output, memory.noise_RTBO)))

    def draw(self, step: int) -> None:
        """Draw the noise for the batch of `step`, after that batch has been filled in."""
        draws = self._draws.at(step)
        if self._of_inputs is not None:
            draws.normals(self._of_inputs, self._input)
            self._x_RTBI += self._of_inputs
        for array, scale in self._filled:
            draws.normals(array, scale)


def _factors(scale: Any, array: Array) -> npt.NDArray[np.float32]:
    """Return one factor for each number of a row."""
    return np.full(array.shape[-1], scale, np.float32)
