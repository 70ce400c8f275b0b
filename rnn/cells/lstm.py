"""The LSTM cell with forget gate (Hochreiter & Schmidhuber 1997; Gers, Schmidhuber & Cummins 2000), as in PyTorch.

    a[t] = W_xh x[t] + b_x + W_hh h[t-1] + b_h          four blocks of H rows: i, f, g, o
    i, f, o = sigmoid(a_i, a_f, a_o)     g = tanh(a_g)
    c[t] = f ∘ c[t-1] + i ∘ g
    h[t] = o ∘ tanh(c[t])

Backward, with dh[t] = dL/dh[t] from above + W_hhᵀ da[t+1] and tc = tanh(c[t]):

    dc[t] = f[t+1] ∘ dc[t+1] + dh[t] ∘ o ∘ (1 - tc²)
    da_i = dc ∘ g ∘ i(1-i)     da_f = dc ∘ c[t-1] ∘ f(1-f)     da_g = dc ∘ i ∘ (1-g²)     da_o = dh ∘ tc ∘ o(1-o)

Shapes: W_xh [4H, I], W_hh [4H, H], b_x and b_h [4H].
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from rnn.cells import activations
from rnn.cells.layer import LayerSpec
from rnn.cells.workspace import Call, WorkspaceLayer
from unroll.contract import LSTMCell


class LSTMLayer(WorkspaceLayer):
    """An LSTM layer. It computes the factors of dc and dh for all steps at once, in the gradients' memory."""

    def __init__(self, spec: LayerSpec, cell: LSTMCell) -> None:
        super().__init__(spec, cell.hidden_size, gates=4)
        R, T, B, H = self.R, self.T, self.B, self.H
        self._a_TRBA, self._a_RTBA = self.both_orders(T, 4 * H)
        self._c_TRBH, self._tc_TRBH = self.zeros(T + 1, R, B, H), self.zeros(T, R, B, H)
        self.initial = {"h": self.h_TRBH[0], "c": self._c_TRBH[0]}
        h = [self.matrices(self.h_TRBH[t]) for t in range(T + 1)]
        c = [self.matrices(self._c_TRBH[t]) for t in range(T + 1)]
        self._forward_steps: list[Call] = []
        for t in range(1, T + 1):
            a, tc = self.matrices(self._a_TRBA[t - 1]), self.matrices(self._tc_TRBH[t - 1])
            i, f, g, o = a.chunk(4, -1)
            if t > 1 or spec.carried:
                self._forward_steps.append(self.accumulate(a, h[t - 1], self.w["W_hh"].mT))
            self._forward_steps += [
                a[..., : 2 * H].sigmoid_,
                activations.in_place("tanh", g),
                o.sigmoid_,
                partial(torch.mul, f, c[t - 1], out=c[t]),
                partial(c[t].addcmul_, i, g),
                partial(tc.copy_, c[t]),
                activations.in_place("tanh", tc),
                partial(torch.mul, o, tc, out=h[t]),
            ]
        if spec.gradients is None:
            return

        self._dh_TRBH, self.dh_RTBH = self.both_orders(T, H)
        self._da_TRBA, self._da_RTBA = self.both_orders(T, 4 * H)
        self._to_cell_TRBH = self.zeros(T, R, B, H)
        self.d_initial["c"] = self.zeros(R, B, H)
        dc = self.matrices(self.d_initial["c"])
        d_states_TRBH = self.zeros(T if spec.handed_on else 0, R, B, H)
        if spec.handed_on:
            self.d_states = {"c": d_states_TRBH.transpose(0, 1)}
        da = [self.matrices(self._da_TRBA[t]) for t in range(T)]
        self._backward_steps: list[Call] = [dc.zero_]
        for t in range(T - 1, -1, -1):
            dh, to_cell = self.matrices(self._dh_TRBH[t]), self.matrices(self._to_cell_TRBH[t])
            gates = da[t][..., : 3 * H].view(*dc.shape[:-1], 3, H)
            if t < T - 1:
                self._backward_steps.append(self.accumulate(dh, da[t + 1], self.w["W_hh"]))
            if spec.handed_on:
                self._backward_steps.append(partial(dc.add_, self.matrices(d_states_TRBH[t])))
            self._backward_steps += [
                partial(dc.addcmul_, dh, to_cell),
                partial(gates.mul_, dc.unsqueeze(-2)),
                partial(da[t][..., 3 * H :].mul_, dh),
                partial(dc.mul_, self.matrices(self._a_TRBA[t])[..., H : 2 * H]),
            ]
        self._to_initial = partial(self.product, da[0], self.w["W_hh"], out=self.matrices(self.d_initial["h"]))

    @property
    def states(self) -> dict[str, Tensor]:
        """States h and c after each step."""
        return {"h": self.h_RTBH, "c": self._c_TRBH[1:].transpose(0, 1)}

    def forward(self) -> None:
        """See `Layer`."""
        self.project(self._a_TRBA, self._a_RTBA)
        for step in self._forward_steps:
            step()
        self.to_replica_first(self._h_RTBH, self.h_TRBH)

    def backward(self) -> None:
        """See `Layer`."""
        self.to_time_first(self._dh_TRBH, self.dh_RTBH)
        self._factors()
        for step in self._backward_steps:
            step()
        if self.spec.carried:
            self._to_initial()
        self.to_replica_first(self._da_RTBA, self._da_TRBA)
        self.input_gradients(self._da_RTBA)
        self.biases_share_their_gradient()
        self.recurrent_gradient(self._da_RTBA)

    def state_gradients(self) -> Tensor:
        """See `WorkspaceLayer`."""
        return self._dh_TRBH.transpose(0, 1)

    def _factors(self) -> None:
        """Fill da with the factors of dc (i, f, g) and of dh (o), and `to_cell` with the factor of dh in dc."""
        a, tc = self._a_TRBA, self._tc_TRBH
        i, f, g, o = a.chunk(4, -1)
        to_i, to_f, to_g, to_o = self._da_TRBA.chunk(4, -1)
        for gate, factor in ((i, to_i), (f, to_f), (o, to_o)):
            torch.addcmul(gate, gate, gate, value=-1, out=factor)
        torch.addcmul(i, torch.mul(g, g, out=to_g), i, value=-1, out=to_g)
        to_i.mul_(g)
        to_f.mul_(self._c_TRBH[:-1])
        to_o.mul_(tc)
        torch.mul(tc, tc, out=self._to_cell_TRBH).neg_().add_(1.0).mul_(o)
