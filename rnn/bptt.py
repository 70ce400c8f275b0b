"""Backpropagation through time, by hand, in a workspace that is allocated once. Equations: `rnn.numpy_page`.

Why it is fast, without a kernel of its own:
- the input projection of all time steps is one GEMM, and so is every weight gradient;
- the loop over time only has what is sequential: forward a[t] += h[t-1] W_hhᵀ and f in place, backward
  dL/da[t] = f'(a[t]) ∘ (dL/dh[t] + dL/da[t+1] W_hh) in place;
- buffers, and the views that each time step works on, are made once; no graph is recorded.

Replicas are the batch axis of batched GEMMs; R = 1 uses plain ones, which cost less. The sum of the replicas' losses
is what is differentiated, so each row of the gradient is that replica's own.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from rnn import parameters
from rnn.cells import vanilla
from unroll.contract import Network


class BPTT:
    """Loss and gradients of R networks on batches of one shape.

    Fill `x_RTBI` and `target_RTBO`, call `forward` and `backward`, read `loss_R` and the gradient matrix given. Works
    in the dtype and on the device of the parameters, which are read where they lie at every call.
    """

    def __init__(
        self, network: Network, parameters_RP: Tensor, gradients_RP: Tensor, time_steps: int, batch_size: int
    ) -> None:
        R, T, B = len(parameters_RP), time_steps, batch_size
        I, H, O = network.input_size, network.cell.hidden_size, network.output_size  # noqa: E741
        zeros = partial(torch.zeros, dtype=parameters_RP.dtype, device=parameters_RP.device)
        self._activation = network.cell.activation
        self._stacked = R > 1
        self._scale = 1.0 / (T * B * O)
        self._product = torch.bmm if self._stacked else torch.mm

        def matrices(tensor: Tensor) -> Tensor:
            """[R, rows, columns] for batched GEMMs, [rows, columns] for plain ones."""
            return tensor if self._stacked else tensor.squeeze(0)

        self._w = {name: matrices(w) for name, w in parameters.views(parameters_RP, network).items()}
        self._g = {name: matrices(g) for name, g in parameters.views(gradients_RP, network).items()}
        # GEMMs write to contiguous memory (twice as fast when small), from where gradients are copied to their rows.
        self._dW_hh = torch.empty_like(self._g["layers.0.W_hh"], memory_format=torch.contiguous_format)
        self._dW_hy = torch.empty_like(self._g["readout.W_hy"], memory_format=torch.contiguous_format)

        # Inputs end in a column of ones, and W_xhᵀ in a row of biases: the projection's GEMM adds them, the gradient's
        # sums theirs. Broadcasting an addition over short rows costs more than the GEMM.
        x1_RTBI = zeros(R, T, B, I + 1)
        x1_RTBI[..., I] = 1.0
        self.x_RTBI, self.target_RTBO = x1_RTBI[..., :I], zeros(R, T, B, O)
        self.loss_R = zeros(R)
        self._x1 = matrices(x1_RTBI.view(R, T * B, I + 1))
        W_x1_RIH, dW_x1_RIH = zeros(R, I + 1, H), zeros(R, I + 1, H)
        self._W_x1, self._dW_x1 = matrices(W_x1_RIH), matrices(dW_x1_RIH)
        self._W_xh_part, self._bias_part = matrices(W_x1_RIH[:, :I].mT), matrices(W_x1_RIH[:, I])
        self._dW_xh_part, self._dbias_part = matrices(dW_x1_RIH[:, :I].mT), matrices(dW_x1_RIH[:, I])
        self._target = matrices(self.target_RTBO.view(R, T * B, O))
        self._error, self._squared = torch.zeros_like(self._target), torch.zeros_like(self._target)

        # The loop works on time-first memory, the GEMMs over all time steps on replica-first memory.
        self._h_TRBH, self._da_TRBH = zeros(T, R, B, H), zeros(T, R, B, H)
        if self._stacked:
            self._h_RTBH, self._da_RTBH = zeros(R, T, B, H), zeros(R, T, B, H)
            self._slope_TRBH = self._h_TRBH  # free once the states have been copied to replica-first memory
        else:
            self._h_RTBH, self._da_RTBH = self._h_TRBH.view(R, T, B, H), self._da_TRBH.view(R, T, B, H)
            self._slope_TRBH = zeros(T, R, B, H)
        self._h = matrices(self._h_RTBH.view(R, T * B, H))
        self._da = matrices(self._da_RTBH.view(R, T * B, H))
        # dL/dW_hh pairs dL/da[t] with h[t-1], t = 2 … T: h[0] is zero.
        self._da_later = self._da[..., B:, :].mT
        self._h_earlier = self._h[..., : (T - 1) * B, :]

        self._recurrent_RBH = zeros(R, B, H)
        W_hh = self._w["layers.0.W_hh"]
        h = [matrices(self._h_TRBH[t]) for t in range(T)]
        da = [matrices(self._da_TRBH[t]) for t in range(T)]
        slope = [matrices(self._slope_TRBH[t]) for t in range(T)]
        activate = [vanilla.forward_in_place(self._activation, h[t]) for t in range(T)]
        self._first_step = activate[0]
        self._forward_steps = [(self._accumulate(h[t], h[t - 1], W_hh.mT), activate[t]) for t in range(1, T)]
        self._last_step = partial(da[T - 1].mul_, slope[T - 1])
        self._backward_steps = [
            (self._accumulate(da[t], da[t + 1], W_hh), partial(da[t].mul_, slope[t])) for t in range(T - 2, -1, -1)
        ]

    def _accumulate(self, out: Tensor, left: Tensor, right: Tensor) -> Callable[[], object]:
        """A call that does out += left @ right."""
        if not self._stacked:
            return partial(out.addmm_, left, right)
        if out.device.type == "cuda":
            return partial(out.baddbmm_, left, right)
        # On CPU a batched GEMM that adds to its output is slower than one that does not and an addition.
        product = self._recurrent_RBH
        multiply, add = partial(torch.bmm, left, right, out=product), partial(out.add_, product)

        def multiply_and_add() -> None:
            multiply()
            add()

        return multiply_and_add

    def forward(self) -> None:
        """Run the networks over the batch and set `loss_R`, the mean squared errors."""
        w = self._w
        # a[t] without its recurrent part, in h's place. Where replicas are stacked, dL/da's memory is borrowed.
        self._W_xh_part.copy_(w["layers.0.W_xh"])
        torch.add(w["layers.0.b_x"], w["layers.0.b_h"], out=self._bias_part)
        self._product(self._x1, self._W_x1, out=self._da if self._stacked else self._h)
        if self._stacked:
            self._h_TRBH.copy_(self._da_RTBH.transpose(0, 1))

        self._first_step()
        for recur, activate in self._forward_steps:
            recur()
            activate()

        if self._stacked:
            self._h_RTBH.copy_(self._h_TRBH.transpose(0, 1))
        y = self._error
        self._product(self._h, w["readout.W_hy"].mT, out=y)
        y.add_(w["readout.b_y"].unsqueeze(-2)).sub_(self._target)
        torch.mul(y, y, out=self._squared)
        torch.sum(self._squared.view(len(self.loss_R), -1), 1, out=self.loss_R)
        self.loss_R.mul_(self._scale)

    def backward(self) -> None:
        """Set the gradients of the losses that `forward` has just computed. Once after each `forward`."""
        w, g, dy, da = self._w, self._g, self._error, self._da
        dy.mul_(2.0 * self._scale)
        self._product(dy, w["readout.W_hy"], out=da)
        if self._stacked:
            self._da_TRBH.copy_(self._da_RTBH.transpose(0, 1))

        if self._activation == "identity":
            for recur, _ in self._backward_steps:
                recur()
        else:
            vanilla.slope(self._activation, self._h_TRBH, out=self._slope_TRBH)
            self._last_step()
            for recur, times_slope in self._backward_steps:
                recur()
                times_slope()

        if self._stacked:
            self._da_RTBH.copy_(self._da_TRBH.transpose(0, 1))
        # Transposed, like W_x1: a GEMM with few rows costs half of one with few columns.
        self._product(self._x1.mT, da, out=self._dW_x1)
        self._product(self._da_later, self._h_earlier, out=self._dW_hh)
        self._product(dy.mT, self._h, out=self._dW_hy)
        g["layers.0.W_xh"].copy_(self._dW_xh_part)
        g["layers.0.b_x"].copy_(self._dbias_part)
        g["layers.0.b_h"].copy_(self._dbias_part)
        g["layers.0.W_hh"].copy_(self._dW_hh)
        g["readout.W_hy"].copy_(self._dW_hy)
        torch.sum(dy, -2, out=g["readout.b_y"])
