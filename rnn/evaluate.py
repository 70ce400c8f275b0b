"""Held-out loss of every replica, on one fixed set that all share, by the engine's own forward pass."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rnn.bptt import BPTT
from rnn.chunks import chunk_size
from rnn.graphs import Passes
from unroll.contract import Loss, Network


class HeldOutLoss:
    """The loss of R networks on inputs [T, N, I] and targets [T, N, O]."""

    def __init__(
        self,
        network: Network,
        parameters_RP: Tensor,
        x_TNI: npt.NDArray[Any],
        target_TNO: npt.NDArray[Any],
        loss: Loss | None = None,
    ) -> None:
        T, N, _ = x_TNI.shape
        self._size = size = chunk_size(len(parameters_RP), T, N, network.cell.hidden_size)
        self._engine = BPTT(network, parameters_RP, None, T, size, loss, weighted=N % size > 0)
        self._forward = Passes(self._engine, parameters_RP.device, trains=False).forward
        # All chunks are of one size; the last one is filled up with sequences that do not count.
        missing = -N % size
        self._x_TNI, self._target_TNO = (
            torch.from_numpy(np.pad(array, ((0, 0), (0, missing), (0, 0)))).to(parameters_RP)
            for array in (x_TNI, target_TNO)
        )
        self._sequences = N

    def __call__(self) -> npt.NDArray[np.float64]:
        """Losses [R] of the parameters as they are now."""
        engine, N, size = self._engine, self._sequences, self._size
        total_R = torch.zeros_like(engine.loss_R, dtype=torch.float64)
        for start in range(0, N, size):
            valid = min(size, N - start)
            engine.x_RTBI.copy_(self._x_TNI[:, start : start + size])
            engine.target_RTBO.copy_(self._target_TNO[:, start : start + size])
            if engine.readout.weight_RTB is not None:
                weight_RTB = torch.zeros_like(engine.readout.weight_RTB)
                weight_RTB[:, :, :valid] = 1.0
                engine.readout.weigh(weight_RTB)
            self._forward()
            total_R.add_(engine.loss_R, alpha=valid / N)
        return total_R.cpu().numpy()
