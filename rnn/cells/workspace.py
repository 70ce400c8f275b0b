"""The workspace: a layer of PyTorch operations on memory that is made once. Every cell of this package has one."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from rnn.cells.layer import Layer, LayerSpec, Transport

Call = Callable[[], object]


class WorkspaceLayer(Layer):
    """A layer whose buffers and per-step views are made once, without an autograd graph. Cells subclass it.

    - The input projection of all time steps is one GEMM, and so is every weight gradient.
    - The loop over time only does what is sequential.
    - Replicas are the batch axis of batched GEMMs. R = 1 uses plain GEMMs, which cost less.

    The loop works on time-first memory (…_TRB…), the GEMMs over all time steps on replica-first memory (…_RTB…). With R
    = 1 they are the same memory; otherwise each is copied to the other.
    """

    def __init__(self, spec: LayerSpec, hidden_size: int, gates: int = 1) -> None:
        self.spec = spec
        W_xh = spec.weights["W_xh"]
        self.R, self.T, self.B = len(W_xh), spec.time_steps, spec.batch_size
        self.I, self.H, self.A = spec.input_size, hidden_size, gates * hidden_size
        R, T, B, I, H, A = self.R, self.T, self.B, self.I, self.H, self.A  # noqa: E741
        self.zeros = zeros = partial(torch.zeros, dtype=W_xh.dtype, device=W_xh.device)
        self.stacked = R > 1
        self.product = torch.bmm if self.stacked else torch.mm
        self.w = {name: self.matrices(w) for name, w in spec.weights.items()}
        self.g = {name: self.matrices(g) for name, g in (spec.gradients or {}).items()}

        # Inputs get a last column of ones, and W_xhᵀ a last row of biases. So the projection's GEMM adds the biases,
        # and the gradient's GEMM sums theirs. Broadcasting an addition over short rows costs more than the GEMM.
        rows = I + ("b_x" in spec.weights)
        x1_RTBI = zeros(R, T, B, rows)
        x1_RTBI[..., I:] = 1.0
        self.x_RTBI = x1_RTBI[..., :I]
        self._x1 = self.matrices(x1_RTBI.view(R, T * B, rows))
        W_x1_RIA = zeros(R, rows, A)
        self._W_x1 = self.matrices(W_x1_RIA)
        self._W_xh_part = self.matrices(W_x1_RIA[:, :I].mT)
        self.bias_part = self.matrices(W_x1_RIA[:, I]) if rows > I else None

        # The states, with the one before the first step.
        self.h_TRBH, self._h_RTBH = self.both_orders(T + 1, H)
        self.h_RTBH = self._h_RTBH[:, 1:]
        self.initial = {"h": self.h_TRBH[0]}
        self.d_initial = {}
        self.d_states = {}
        self.noise_RTBA = zeros(R, T, B, A) if spec.noisy else None
        # Whether the recurrent input of the first step can differ from zero. If it cannot, that GEMM is left out.
        self.from_start = spec.carried
        self._recurrent_RBA = zeros(R, B, A)
        self._recurrent_RBH = zeros(R, B, H)
        if spec.gradients is not None:
            dW_x1_RIA = zeros(R, rows, A)
            self._dW_x1 = self.matrices(dW_x1_RIA)
            self._dW_xh_part = self.matrices(dW_x1_RIA[:, :I].mT)
            self.dbias_part = self.matrices(dW_x1_RIA[:, I]) if rows > I else None
            # GEMMs write to contiguous memory (twice as fast when small), from which gradients are copied to their
            # rows.
            self._dW_hh = self.matrices(zeros(R, A, H))
            self.d_initial = {"h": zeros(R, B, H)}
            self._dx = None if spec.dx_RTBI is None else self.matrices(spec.dx_RTBI.view(R, T * B, I))

    @abstractmethod
    def state_gradients(self) -> Tensor:
        """Return the complete dL/dh[t], through all later steps, [R, T, B, H].

        Call it after `backward`, on a layer made with `profiled`.
        """

    def rate_gradient(self) -> Tensor | None:
        """Return dL/dh[0], [R, B, H], if `d_initial` is for another state than h[0]; otherwise None.

        The layer must be made with `profiled`.
        """
        return None

    def transport(self) -> Transport:
        """Return how gradients pass back through one step. Call it after `backward`.

        Raises TypeError for a cell whose state is carried by more than W_hh and a leak.
        """
        raise TypeError("the state of this cell is not carried by W_hh alone")

    def with_recurrence(self, above_RTBH: Tensor, da_RTBA: Tensor) -> Tensor:
        """Return dL/dh[t] = gradient from above + W_hhᵀ dL/da[t+1]."""
        if "W_hh" in self.spec.weights:
            above_RTBH[:, :-1].add_(torch.einsum("rtba,rah->rtbh", da_RTBA[:, 1:], self.spec.weights["W_hh"]))
        return above_RTBH

    def matrices(self, tensor: Tensor) -> Tensor:
        """Return the tensor as [R, rows, columns] for batched GEMMs, or as [rows, columns] for plain ones."""
        return tensor if self.stacked else tensor.squeeze(0)

    def both_orders(self, time_steps: int, width: int) -> tuple[Tensor, Tensor]:
        """Return zeros as [time_steps, R, B, width] and as [R, time_steps, B, width]; both share memory if R = 1."""
        time_first = self.zeros(time_steps, self.R, self.B, width)
        if self.stacked:
            return time_first, self.zeros(self.R, time_steps, self.B, width)
        return time_first, time_first.view(1, time_steps, self.B, width)

    def to_time_first(self, out_TRBA: Tensor, source_RTBA: Tensor) -> None:
        """Copy the source to time-first memory, unless both are the same memory."""
        if self.stacked:
            out_TRBA.copy_(source_RTBA.transpose(0, 1))

    def to_replica_first(self, out_RTBA: Tensor, source_TRBA: Tensor) -> None:
        """Copy the source to replica-first memory, unless both are the same memory."""
        if self.stacked:
            out_RTBA.copy_(source_TRBA.transpose(0, 1))

    def accumulate(self, out: Tensor, left: Tensor, right: Tensor) -> Call:
        """Return a call that computes out += left @ right."""
        if not self.stacked:
            return partial(out.addmm_, left, right)
        if out.device.type != "cpu":
            return partial(out.baddbmm_, left, right)
        # On a CPU a batched GEMM that adds to its output is slower than a plain one followed by an addition.
        product = self._recurrent_RBH if out.shape[-1] == self.H else self._recurrent_RBA
        multiply, add = partial(torch.bmm, left, right, out=product), partial(out.add_, product)

        def multiply_and_add() -> None:
            multiply()
            add()

        return multiply_and_add

    def set_bias(self, bias: Tensor) -> None:
        """Write into `bias` the bias that the projection adds, [R, A]: b_x plus, if there is one, b_h."""
        if "b_h" in self.w:
            torch.add(self.w["b_x"], self.w["b_h"], out=bias)
        else:  # feed-forward
            bias.copy_(self.w["b_x"])

    def project(self, out_TRBA: Tensor, scratch_RTBA: Tensor) -> None:
        """Write the part of all pre-activations that does not recur, W_xh x[t] + b (+ noise), into time-first memory.

        `scratch_RTBA` is replica-first memory to borrow if there are several replicas, and `out_TRBA` itself otherwise.
        """
        self._W_xh_part.copy_(self.w["W_xh"])
        if self.bias_part is not None:
            self.set_bias(self.bias_part)
        flat = scratch_RTBA.view(self.R, self.T * self.B, self.A)
        self.product(self._x1, self._W_x1, out=self.matrices(flat))
        if self.noise_RTBA is not None:
            scratch_RTBA.add_(self.noise_RTBA)
        self.to_time_first(out_TRBA, scratch_RTBA)

    def biases_share_their_gradient(self) -> None:
        """Copy dL/db_x to dL/db_h, which is equal because both biases are in one sum.

        Call it after `input_gradients`.
        """
        if "b_h" in self.g:
            self.g["b_h"].copy_(self.g["b_x"])

    def input_gradients(self, da_RTBA: Tensor) -> None:
        """Compute dL/dW_xh and dL/db_x = Σ dL/da[t] x1[t]ᵀ, and dL/dx[t] = W_xhᵀ dL/da[t] if it is needed."""
        da = self.matrices(da_RTBA.flatten(1, 2))
        # The product is transposed, like W_x1, because a GEMM with few rows costs half of one with few columns.
        self.product(self._x1.mT, da, out=self._dW_x1)
        self.g["W_xh"].copy_(self._dW_xh_part)
        if self.dbias_part is not None:
            self.g["b_x"].copy_(self.dbias_part)
        if self._dx is not None:
            self.product(da, self.w["W_xh"], out=self._dx)

    def recurrent_gradient(self, da_RTBA: Tensor, h_RTBH: Tensor | None = None) -> None:
        """Compute dL/dW_hh = Σ dL/da[t] h[t-1]ᵀ. Without a carried state h[0] is zero, and its step is left out."""
        h_RTBH = self._h_RTBH if h_RTBH is None else h_RTBH
        first = 0 if self.from_start else 1
        da = self.matrices(da_RTBA[:, first:].flatten(1, 2))
        h = self.matrices(h_RTBH[:, first : self.T].flatten(1, 2))
        self.product(da.mT, h, out=self._dW_hh)
        self.write_recurrent_gradient(self._dW_hh)

    def write_recurrent_gradient(self, dW_hh: Tensor) -> None:
        """Copy dL/dW_hh to the gradient's own rows."""
        self.g["W_hh"].copy_(dW_hh)
