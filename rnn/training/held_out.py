"""Computes the held-out loss of every replica with the engine's own forward pass. All replicas share one fixed set."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rnn.bptt import engine
from rnn.bptt.cuda_graphs import Passes
from rnn.data.batches import held_out, weighted
from rnn.pulse import beat
from rnn.training.chunks import chunk_size
from rnn.training.problem import Problem


class HeldOutLoss:
    """Computes the loss of R networks on a problem's held-out sequences."""

    def __init__(self, problem: Problem, parameters_RP: Tensor) -> None:
        network, source, training = problem.network, problem.source, problem.training
        loss = training.loss
        N = training.held_out.size
        self._size = size = chunk_size(len(parameters_RP), problem.steps, N, network.cell.hidden_size)
        counts = weighted(source, loss) or N % size > 0
        self._engine = engine.for_evaluation(network, training, source, parameters_RP, size, counts=counts)
        self._forward = Passes(self._engine, parameters_RP.device, trains=False).forward
        memory = self._engine.memory
        beat()
        found = held_out(source, network, loss, training.held_out, counts=counts)
        beat()
        self._copies = [
            (tensor, axis, torch.from_numpy(array[0]).to(tensor))
            for tensor, array, axis in (
                (memory.x_RTBI, found.x_RTBI, 1),
                (memory.target_RTBO, found.target_RTBO, 1),
                (memory.weight_RTB, found.weight_RTB, 1),
                (memory.length_RB, found.length_RB, 0),
            )
            if tensor is not None and array is not None
        ]
        self._sequences = N
        self._weight_RTB = memory.weight_RTB

    def __call__(self) -> npt.NDArray[np.float64]:
        """Return the losses [R] of the current parameters."""
        for _ in self.chunks():
            pass
        return self.loss_R

    def chunks(self) -> Iterator[int]:
        """Evaluate the sequences chunk by chunk, and yield how many are done.

        After the last chunk, `loss_R` has the losses.
        """
        loss_R = self._engine.loss_R
        total_R = torch.zeros_like(loss_R, dtype=torch.float64)
        counted_R = torch.zeros_like(total_R)
        for start in range(0, self._sequences, self._size):
            # All chunks have one size. In the last one, sequences of the chunk before remain, and do not count.
            taken = min(self._size, self._sequences - start)
            for memory, axis, every in self._copies:
                memory.narrow(axis + 1, 0, taken).copy_(every.narrow(axis, start, taken))
            if taken < self._size and self._weight_RTB is not None:
                self._weight_RTB[:, :, taken:] = 0.0
            self._forward()
            beat()
            # The total is a mean of the chunks' means, each weighted by the number of elements in it.
            elements_R = self._engine.scale_R.double().reciprocal()
            total_R.addcmul_(loss_R.double(), elements_R)
            counted_R.add_(elements_R)
            if start + taken == self._sequences:
                self.loss_R: npt.NDArray[np.float64] = (total_R / counted_R).cpu().numpy()
            yield start + taken
