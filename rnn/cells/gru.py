"""The gated recurrent unit (Cho et al. 2014) in PyTorch's variant: the reset gate acts after the recurrent GEMM.

    p[t] = W_xh x[t] + b_x     q[t] = W_hh h[t-1] + b_h          three blocks of H rows: r, z, n
    r = sigmoid(p_r + q_r)     z = sigmoid(p_z + q_z)     n = tanh(p_n + r ∘ q_n)
    h[t] = (1 - z) ∘ n + z ∘ h[t-1]

Backward: all four gradients are multiples of dh[t], which is the complete gradient of the loss.

    dp_n = dh ∘ (1-z) ∘ (1-n²)     dq_n = dp_n ∘ r     dp_r = dq_r = dp_n ∘ q_n ∘ r(1-r)
    dp_z = dq_z = dh ∘ (h[t-1] - n) ∘ z(1-z)
    dh[t-1] = from above + z ∘ dh[t] + W_hhᵀ dq[t]

Shapes: W_xh [3H, I], W_hh [3H, H], b_x and b_h [3H].
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from rnn.cells import activations
from rnn.cells.layer import LayerSpec
from rnn.cells.workspace import Call, WorkspaceLayer
from unroll.contract import GRUCell


class GRULayer(WorkspaceLayer):
    """A GRU layer.

    It stores the gradients as (q_n, r, z, p_n): the first three recur, the last three belong to the input. Therefore it
    uses the recurrent weights, and computes their gradients, in the order n, r, z.
    """

    def __init__(self, spec: LayerSpec, cell: GRUCell) -> None:
        super().__init__(spec, cell.hidden_size, gates=3)
        R, T, B, H = self.R, self.T, self.B, self.H
        self._p_TRBA, self._p_RTBA = self.both_orders(T, 3 * H)
        self._q_TRBA = self.zeros(T, R, B, 3 * H)
        self._W_RAH, self._b_R1A = self.zeros(R, 3 * H, H), self.zeros(R, 1, 3 * H)
        W, b = self.matrices(self._W_RAH), self.matrices(self._b_R1A)
        h = [self.matrices(self.h_TRBH[t]) for t in range(T + 1)]
        add_product = torch.baddbmm if self.stacked else torch.addmm
        self._forward_steps: list[Call] = []
        for t in range(1, T + 1):
            p, q = self.matrices(self._p_TRBA[t - 1]), self.matrices(self._q_TRBA[t - 1])
            n, q_n = p[..., 2 * H :], q[..., :H]
            r, z = p[..., :H], p[..., H : 2 * H]
            self._forward_steps += [
                partial(add_product, b, h[t - 1], W.mT, out=q),
                partial(p[..., : 2 * H].add_, q[..., H:]),
                p[..., : 2 * H].sigmoid_,
                partial(n.addcmul_, r, q_n),
                activations.in_place("tanh", n),
                partial(torch.lerp, n, h[t - 1], z, out=h[t]),
            ]
        if spec.gradients is None:
            return

        self._dh_TRBH, self.dh_RTBH = self.both_orders(T, H)
        self._d_TRBA, self._d_RTBA = self.both_orders(T, 4 * H)
        self._db_R1A = self.zeros(R, 1, 3 * H)
        self.from_start = True
        self._backward_steps: list[Call] = []
        for t in range(T - 1, -1, -1):
            d, dh = self.matrices(self._d_TRBA[t]), self.matrices(self._dh_TRBH[t])
            z = self.matrices(self._p_TRBA[t])[..., H : 2 * H]
            self._backward_steps.append(partial(d.view(*dh.shape[:-1], 4, H).mul_, dh.unsqueeze(-2)))
            if t > 0 or spec.carried:
                before = self.matrices(self._dh_TRBH[t - 1] if t > 0 else self.d_initial["h"])
                self._backward_steps.append(partial(before.addcmul_, dh, z))
                self._backward_steps.append(self.accumulate(before, d[..., : 3 * H], W))

    @property
    def states(self) -> dict[str, Tensor]:
        """State h after each step."""
        return {"h": self.h_RTBH}

    def set_bias(self, bias: Tensor) -> None:
        """Set the bias to b_x only, because b_h is added to the recurrent product."""
        bias.copy_(self.w["b_x"])

    def forward(self) -> None:
        """See `Layer`."""
        self._pack(self._W_RAH, self.spec.weights["W_hh"])
        self._pack(self._b_R1A.mT, self.spec.weights["b_h"].unsqueeze(-1))
        self.project(self._p_TRBA, self._p_RTBA)
        for step in self._forward_steps:
            step()
        self.to_replica_first(self._h_RTBH, self.h_TRBH)

    def backward(self) -> None:
        """See `Layer`."""
        H, gradients = self.H, self.spec.gradients or {}
        self.to_time_first(self._dh_TRBH, self.dh_RTBH)
        self.d_initial["h"].zero_()
        self._factors()
        for step in self._backward_steps:
            step()
        self.to_replica_first(self._d_RTBA, self._d_TRBA)
        self.input_gradients(self._d_RTBA[..., H:])
        self.recurrent_gradient(self._d_RTBA[..., : 3 * H])
        torch.sum(self._d_RTBA[..., : 3 * H].flatten(1, 2), 1, keepdim=True, out=self._db_R1A)
        self._unpack(gradients["b_h"].unsqueeze(-1), self._db_R1A.mT)

    def write_recurrent_gradient(self, dW_hh: Tensor) -> None:
        """Reorder the blocks n, r, z to r, z, n while writing the gradient."""
        self._unpack(self.g["W_hh"], dW_hh)

    def state_gradients(self) -> Tensor:
        """See `WorkspaceLayer`."""
        return self._dh_TRBH.transpose(0, 1)

    def _factors(self) -> None:
        """Fill d with the factors that multiply dh[t]."""
        H, p = self.H, self._p_TRBA
        r, z, n = p.chunk(3, -1)
        to_qn, to_r, to_z, to_pn = self._d_TRBA.chunk(4, -1)
        torch.mul(n, n, out=to_pn).neg_().add_(1.0)
        to_pn.addcmul_(to_pn, z, value=-1)
        torch.mul(to_pn, r, out=to_qn)
        torch.addcmul(to_qn, to_qn, r, value=-1, out=to_r).mul_(self._q_TRBA[..., :H])
        torch.addcmul(z, z, z, value=-1, out=to_z).mul_(self.h_TRBH[:-1] - n)

    def _pack(self, out: Tensor, rows: Tensor) -> None:
        """Copy the row blocks r, z, n of `rows` to `out` in the order n, r, z."""
        H = self.H
        out[..., :H, :].copy_(rows[..., 2 * H :, :])
        out[..., H:, :].copy_(rows[..., : 2 * H, :])

    def _unpack(self, out: Tensor, rows: Tensor) -> None:
        """Copy the row blocks n, r, z of `rows` to `out` in the order r, z, n."""
        H = self.H
        out[..., 2 * H :, :].copy_(rows[..., :H, :])
        out[..., : 2 * H, :].copy_(rows[..., H:, :])
