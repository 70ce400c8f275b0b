"""Adapts a source's sequences to a network: its architecture, its vocabulary, and the loss's weights in time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from rnn.data.memory import Memory
from rnn.data.source import Array, Batch, Source
from rnn.randomness.streams import Draws, Purpose
from unroll.contract import HeldOut, Loss, Network


def weighted(source: Source, loss: Loss) -> bool:
    """Return whether some steps or sequences count more than others in the loss."""
    return source.weighted or source.shortest is not None or loss.time_weights is not None


def input_width(source: Source, network: Network) -> int:
    """Return how many numbers the network reads at each step; 1 if it has a vocabulary of its own."""
    return source.input_size if network.vocabulary_size is None else 1


class Batches:
    """Draws the training batches of R replicas directly into the given memory."""

    def __init__(
        self, source: Source, network: Network, loss: Loss, seed: int, memory: Memory[Array], threads: int = 1
    ) -> None:
        """`memory` belongs to the engine. It has weights if `weighted` is true."""
        replicas, _, sequences, _ = memory.x_RTBI.shape
        length_RB, target_length_RB = memory.length_RB, None
        if source.shortest is not None:
            target_length_RB = np.full((replicas, sequences), source.output_steps, np.int64)
            length_RB = np.empty_like(target_length_RB) if length_RB is None else length_RB
        batch = Batch(memory.x_RTBI, memory.target_RTBO, memory.weight_RTB, length_RB, target_length_RB)
        self._adapt = _Adapted(source, network, loss, batch, source.fill)
        self._draws = Draws(seed, Purpose.BATCHES, range(len(memory.x_RTBI)), threads)

    def fill(self, step: int) -> None:
        """Overwrite the memory with the batch of `step`. Each replica gets the same values as from `Source.batch`."""
        self._adapt.draw(self._draws.at(step))


def held_out(source: Source, network: Network, loss: Loss, config: HeldOut, *, counts: bool) -> Batch:
    """Return the sequences that evaluations use, R = 1; with weights if `counts`."""
    own = source.allocate(1, config.size, weighted=counts)
    x_RTBI, width = own.x_RTBI, input_width(source, network)
    if x_RTBI.shape[-1] != width:
        x_RTBI = np.zeros((*x_RTBI.shape[:3], width), np.float32)
    memory = Batch(x_RTBI, own.target_RTBO, own.weight_RTB, own.length_RB, own.target_length_RB)
    _Adapted(source, network, loss, memory, source.fill_held_out).draw(Draws(config.seed, Purpose.HELD_OUT))
    return memory


class _Adapted:
    def __init__(
        self, source: Source, network: Network, loss: Loss, memory: Batch, fill: Callable[[Draws, Batch], None]
    ) -> None:
        self._fill, self._memory = fill, memory
        self._last_only = network.architecture == "many_to_one"
        self._own = memory
        self._one_hot = source.vocabulary_size is not None and network.vocabulary_size is None
        if self._one_hot:
            tokens_RTB1 = np.zeros((*memory.x_RTBI.shape[:3], 1), np.float32)
            self._own = Batch(
                tokens_RTB1, memory.target_RTBO, memory.weight_RTB, memory.length_RB, memory.target_length_RB
            )
        self._time_weights = None if loss.time_weights is None else np.asarray(loss.time_weights)[:, None]

    def draw(self, draws: Draws) -> None:
        memory = self._memory
        self._fill(draws, self._own)
        if self._one_hot:
            memory.x_RTBI.fill(0.0)
            np.put_along_axis(memory.x_RTBI, self._own.x_RTBI.astype(np.int64), 1.0, axis=-1)
        if memory.weight_RTB is None:
            return
        if self._last_only:
            memory.weight_RTB.fill(0.0)
            if memory.target_length_RB is None:
                memory.weight_RTB[:, -1] = 1.0
            else:
                np.put_along_axis(memory.weight_RTB, memory.target_length_RB[:, None] - 1, 1.0, axis=1)
        elif self._time_weights is not None:
            np.multiply(memory.weight_RTB, self._time_weights, out=memory.weight_RTB, casting="unsafe")
