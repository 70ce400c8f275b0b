"""Held-out loss of every replica, on one fixed set that all share. Keeps one hidden state, not all of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rnn import parameters
from rnn.cells import vanilla
from unroll.contract import Network

_CHUNK = 1 << 20
"""Hidden values worked on at a time: bounds memory. A constant, so that results do not depend on free memory."""


class HeldOutLoss:
    """Mean squared error of R networks on inputs [T, N, I] and targets [T, N, O]."""

    def __init__(
        self, network: Network, parameters_RP: Tensor, x_TNI: npt.NDArray[Any], target_TNO: npt.NDArray[Any]
    ) -> None:
        self._activation = network.cell.activation
        self._w = parameters.views(parameters_RP, network)
        self._replicas = len(parameters_RP)
        self._x_TNI = torch.from_numpy(x_TNI).to(parameters_RP)
        self._target_TNO = torch.from_numpy(target_TNO).to(parameters_RP)
        N = x_TNI.shape[1]
        chunk = max(1, min(N, _CHUNK // (self._replicas * network.cell.hidden_size)))
        self._slices = [slice(start, min(start + chunk, N)) for start in range(0, N, chunk)]

    def __call__(self) -> npt.NDArray[np.float64]:
        """Losses [R] of the parameters as they are now."""
        squared_R = sum((self._squared_error(part) for part in self._slices), start=torch.zeros(()))
        return (squared_R / self._target_TNO.numel()).cpu().numpy()

    def _squared_error(self, part: slice) -> Tensor:
        w = self._w
        bias_R1H = (w["layers.0.b_x"] + w["layers.0.b_h"]).unsqueeze(1)
        b_y_R1O = w["readout.b_y"].unsqueeze(1)
        total_R = torch.zeros(self._replicas, dtype=torch.float64, device=bias_R1H.device)
        h_RNH: Tensor | None = None
        for x_NI, target_NO in zip(self._x_TNI[:, part], self._target_TNO[:, part], strict=True):
            a_RNH = torch.matmul(x_NI, w["layers.0.W_xh"].mT).add_(bias_R1H)
            if h_RNH is not None:
                a_RNH.add_(torch.bmm(h_RNH, w["layers.0.W_hh"].mT))
            vanilla.forward_in_place(self._activation, a_RNH)()
            h_RNH = a_RNH
            error_RNO = torch.bmm(h_RNH, w["readout.W_hy"].mT).add_(b_y_R1O).sub_(target_NO)
            total_R.add_(error_RNO.square_().sum((1, 2)))
        return total_R
