"""The rest of a training step in the native kernel: squared errors, gradient norms and optimisers' updates.

Each is one sweep over memory (`src/updates.cpp`). PyTorch needs several operations for it, and calling each of them
costs more than computing the few numbers of a small network. Memory must be contiguous and on the CPU. The caller
checks first that the kernel exists (`rnn.kernels.available`); an `instruction_set` of "" is the best one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rnn.kernels.abi import CUpdate, library, missing
from unroll.contract import SGD, Adam, AdamW, Optimizer, RMSprop


class SquaredError:
    """Computes loss[r] = scale[r] Σ weight (y - target)², and turns y into the derivative without the factor scale."""

    def __init__(
        self,
        target_RTBO: Tensor,
        weight_RTB: Tensor | None,
        scale_R: Tensor,
        loss_R: Tensor,
        instruction_set: str = "",
    ) -> None:
        """A row whose weight is zero is left out, whatever its y is. Without weights every row has weight one."""
        R, T, B, O = target_RTBO.shape  # noqa: E741
        self._memory = tensors = (target_RTBO, weight_RTB, scale_R, loss_R)
        addresses = [_address(tensor) if tensor is not None else None for tensor in tensors]
        self._is_double = target_RTBO.dtype == torch.float64
        self._arguments = (*addresses, R, T * B, O, instruction_set.encode())
        self._run = _kernel().unroll_squared_error

    def __call__(self, y_RTBO: Tensor) -> None:
        """Turn y into the derivative and write the loss. y has the shape of the targets."""
        assert y_RTBO.shape == self._memory[0].shape  # noqa: S101 - the kernel computes addresses
        _done(self._run(self._is_double, _address(y_RTBO), *self._arguments))


class Norms:
    """Computes the Euclidean norm of each row of one matrix."""

    def __init__(self, x_RP: Tensor, instruction_set: str = "") -> None:
        self._memory = x_RP
        self._norm_R = np.zeros(len(x_RP))
        is_double = x_RP.dtype == torch.float64
        self._arguments = (is_double, _address(x_RP), *x_RP.shape, self._norm_R.ctypes.data, instruction_set.encode())
        self._run = _kernel().unroll_norms

    def __call__(self) -> npt.NDArray[np.float64]:
        """Return the present norms [R], in an array of their own."""
        _done(self._run(*self._arguments))
        return self._norm_R.copy()


class Update:
    """One optimiser's updates of parameters and moments [1 + moments, R, P], float32, in place."""

    def __init__(self, config: Optimizer, memory_KRP: Tensor, steps_taken: int, instruction_set: str = "") -> None:
        K, R, P = memory_KRP.shape
        self._memory = memory_KRP
        self._set = instruction_set.encode()
        self._skipped_R, self._broken_R = np.zeros(R, bool), np.zeros(R, bool)
        self._call = CUpdate(
            **_rates(config),
            moments=K - 1,
            R=R,
            P=P,
            step=steps_taken,
            memory=_address(memory_KRP),
            skipped=self._skipped_R.ctypes.data,
            broken=self._broken_R.ctypes.data,
        )
        self._run = _kernel().unroll_update

    def __call__(self, gradients_RP: Tensor, lr: float, skipped_R: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """Update every row except the skipped ones.

        Rows that would become non-finite are left unchanged; returns which ones these are.
        """
        self._skipped_R[...] = skipped_R
        self._broken_R[...] = False
        call = self._call
        call.step += 1
        call.lr, call.gradients = lr, _address(gradients_RP)
        _done(self._run(call, self._set))
        return self._broken_R.copy()


def _rates(config: Optimizer) -> dict[str, float]:
    match config:
        case Adam() | AdamW():
            decay = config.weight_decay if isinstance(config, AdamW) else 0.0
            return {
                "rule": 0,
                "beta1": config.beta1,
                "beta2": config.beta2,
                "eps": config.eps,
                "weight_decay": decay,
            }
        case RMSprop():
            return {"rule": 1, "beta1": config.momentum, "beta2": config.alpha, "eps": config.eps}
        case SGD():
            return {"rule": 2, "beta1": config.momentum}


def _address(tensor: Tensor) -> int:
    assert tensor.is_contiguous() and tensor.device.type == "cpu"  # noqa: S101, PT018 - the kernel computes addresses
    return tensor.data_ptr()


def _kernel() -> Any:
    kernel = library()
    if kernel is None:
        raise OSError(missing())
    return kernel


def _done(ran: bool) -> None:  # noqa: FBT001 - it is what the call returned
    if not ran:
        raise OSError("this processor lacks the instruction set that was asked for")
