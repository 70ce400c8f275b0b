"""The vanilla cell (Elman 1990), and the linear and feed-forward cells, which lack some of its terms.

    a[t] = (W_xh x[t] + b_x) + (W_hh h[t-1] + b_h)
    h[t] = f(a[t])                                               forward
    dL/da[t] = f'(a[t]) ∘ (dL/dh[t] + W_hhᵀ dL/da[t+1])          backward

Shapes: W_xh [H, I], W_hh [H, H], b_x and b_h [H]. The linear cell has no biases, and its f is the identity. The
feed-forward cell has neither W_hh nor b_h, so its h[t] does not depend on h[t-1].
"""

from __future__ import annotations

from functools import partial

from torch import Tensor

from rnn.cells import activations
from rnn.cells.facts import facts
from rnn.cells.layer import LayerSpec, Transport
from rnn.cells.workspace import Call, WorkspaceLayer
from unroll.contract import FeedForwardCell, LinearCell, VanillaCell


class VanillaLayer(WorkspaceLayer):
    """A vanilla layer. It works in place: h[t] overwrites a[t], and dL/da[t] overwrites dL/dh[t]."""

    def __init__(self, spec: LayerSpec, cell: VanillaCell | LinearCell | FeedForwardCell) -> None:
        hidden_size, activation = cell.hidden_size, facts(cell).activation
        super().__init__(spec, hidden_size)
        T = self.T
        self._activation = activation
        self._recurrent = "W_hh" in self.w
        h = [self.matrices(self.h_TRBH[t]) for t in range(T + 1)]
        activate = [activations.in_place(activation, h[t]) for t in range(1, T + 1)]
        self._forward_steps: list[tuple[Call, ...]]
        if not self._recurrent:
            self._forward_steps = [(activate_t,) for activate_t in activate]
        else:
            W_hh = self.w["W_hh"]
            self._forward_steps = [
                (self.accumulate(h[t], h[t - 1], W_hh.mT), activate[t - 1]) if t > 1 or spec.carried else (activate[0],)
                for t in range(1, T + 1)
            ]
        # With several replicas, the forward pass borrows the gradient's memory.
        self._da_TRBH, self._da_RTBH = (
            self.both_orders(T, hidden_size)
            if self.stacked or spec.gradients
            else (
                self.h_TRBH[1:],
                self.h_RTBH,
            )
        )
        if spec.gradients is None:
            return
        self.dh_RTBH = self._da_RTBH
        # The replica-first copies hold the states, so the time-first memory is free for the slopes.
        self._slope_TRBH = self.h_TRBH[1:] if self.stacked else self.zeros(T, self.R, self.B, hidden_size)
        da = [self.matrices(self._da_TRBH[t]) for t in range(T)]
        slopes = [self.matrices(self._slope_TRBH[t]) for t in range(T)]
        self._last_step = partial(da[T - 1].mul_, slopes[T - 1])
        if self._recurrent:
            self._backward_steps = [
                (self.accumulate(da[t], da[t + 1], self.w["W_hh"]), partial(da[t].mul_, slopes[t]))
                for t in range(T - 2, -1, -1)
            ]
            self._to_initial = partial(self.product, da[0], self.w["W_hh"], out=self.matrices(self.d_initial["h"]))

    @property
    def states(self) -> dict[str, Tensor]:
        """State h after each step."""
        return {"h": self.h_RTBH}

    def forward(self) -> None:
        """See `Layer`."""
        self.project(self.h_TRBH[1:], self._da_RTBH if self.stacked else self.h_RTBH)
        for step in self._forward_steps:
            for call in step:
                call()
        self.to_replica_first(self._h_RTBH, self.h_TRBH)

    def backward(self) -> None:
        """See `Layer`."""
        if self.spec.profiled:
            self._above_RTBH = self._da_RTBH.clone()
        self.to_time_first(self._da_TRBH, self._da_RTBH)
        if self._activation == "identity":
            if self._recurrent:
                for recur, _ in self._backward_steps:
                    recur()
        else:
            activations.slope(self._activation, self.h_TRBH[1:], out=self._slope_TRBH)
            if self._recurrent:
                self._last_step()
                for recur, times_slope in self._backward_steps:
                    recur()
                    times_slope()
            else:
                self._da_TRBH.mul_(self._slope_TRBH)
        if self._recurrent and self.spec.carried:
            self._to_initial()
        self.to_replica_first(self._da_RTBH, self._da_TRBH)
        self.input_gradients(self._da_RTBH)
        self.biases_share_their_gradient()
        if self._recurrent:
            self.recurrent_gradient(self._da_RTBH)

    def transport(self) -> Transport:
        """See `WorkspaceLayer`. The state is a[t]."""
        return Transport(
            self._da_RTBH, self._da_RTBH, slope=None if self._activation == "identity" else self._activation
        )

    def state_gradients(self) -> Tensor:
        """See `WorkspaceLayer`."""
        return self.with_recurrence(self._above_RTBH, self._da_RTBH)
