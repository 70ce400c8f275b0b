"""The leaky rate cell: a rate network in continuous time, τ dh/dt = -h + …, in Euler steps of dt, with α = dt/τ.

With `leak: rates` the leak acts on the unit's output, after the nonlinearity (Jaeger et al. 2007):

    a[t] = W_xh x[t] + b_x + W_hh h[t-1] + b_h + ξ[t]
    h[t] = (1-α) h[t-1] + α f(a[t])

    dL/dh[t] in full = gradient from above + (1-α) dL/dh[t+1] + W_hhᵀ dL/da[t+1]
    dL/da[t] = α f'(a[t]) ∘ dL/dh[t]                    dL/dα = Σ_t dL/dh[t] ∘ (f(a[t]) - h[t-1])

With `leak: potentials` it acts on the unit's potential v, before the nonlinearity, and the unit's output is f(v) (Song,
Yang & Wang 2016):

    v[t] = (1-α) v[t-1] + α (W_xh x[t] + b_x + W_hh h[t-1] + b_h + ξ[t])
    h[t] = f(v[t])

    dL/dv[t] = f'(v[t]) ∘ (dL/dh[t] from above + W_hhᵀ α dL/dv[t+1]) + (1-α) dL/dv[t+1]
    dL/dα = Σ_t dL/dv[t] ∘ (v[t] - v[t-1])/α

The state at the start and the end of a sequence is h for rates and v for potentials. α is fixed, or learned through τ:
dα/dτ = -α/τ. The caller supplies the noise ξ (`rnn.training.noise`). Shapes: W_xh [H, I], W_hh [H, H], b_x and b_h [H],
α one number or [H].
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from rnn.cells import activations
from rnn.cells.layer import LayerSpec, Transport
from rnn.cells.workspace import Call, WorkspaceLayer
from unroll.contract import LeakyCell


class LeakyLayer(WorkspaceLayer):
    """A leaky layer. It keeps α as [R, 1, H]. In names, s is f(a) for rates; for potentials it is not kept."""

    def __init__(self, spec: LayerSpec, cell: LeakyCell) -> None:
        super().__init__(spec, cell.hidden_size)
        self._cell = cell
        self._rates = cell.leak == "rates"
        R, T, B, H = self.R, self.T, self.B, self.H
        # If f(0) is not zero, potentials of zero already give a recurrent input at the first step.
        self.from_start = spec.carried or (not self._rates and cell.activation in {"sigmoid", "softplus"})
        tau = torch.as_tensor(cell.tau, dtype=self.h_TRBH.dtype, device=self.h_TRBH.device)
        self._alpha_R1H = self.zeros(R, 1, H).add_(cell.dt / tau)
        self._keep_R1H = 1.0 - self._alpha_R1H
        alpha, keep = self.matrices(self._alpha_R1H), self.matrices(self._keep_R1H)

        # For rates this memory holds a[t] and then f(a[t]). For potentials it holds the input of the leak, and
        # afterwards nothing.
        self._s_TRBH, self._s_RTBH = self.both_orders(T, H)
        self._v_TRBH = self.h_TRBH if self._rates else self.zeros(T + 1, R, B, H)
        self.initial = {"h": self._v_TRBH[0]}
        h = [self.matrices(self.h_TRBH[t]) for t in range(T + 1)]
        v = [self.matrices(self._v_TRBH[t]) for t in range(T + 1)]
        s = [self.matrices(self._s_TRBH[t]) for t in range(T)]
        self._first_rate = (
            () if self._rates else (partial(h[0].copy_, v[0]), activations.in_place(cell.activation, h[0]))
        )
        self._forward_steps: list[Call] = []
        for t in range(1, T + 1):
            if t > 1 or self.from_start:
                self._forward_steps.append(self.accumulate(s[t - 1], h[t - 1], self.w["W_hh"].mT))
            if self._rates:
                self._forward_steps.append(activations.in_place(cell.activation, s[t - 1]))
            self._forward_steps.append(partial(torch.lerp, v[t - 1], s[t - 1], alpha, out=v[t]))
            if not self._rates:
                self._forward_steps.append(partial(h[t].copy_, v[t]))
                self._forward_steps.append(activations.in_place(cell.activation, h[t]))
        if spec.gradients is None:
            return

        # For rates this memory holds dL/dh from above and then in full; for potentials it holds dL/dv. dL/da overwrites
        # the slopes.
        self._dh_TRBH, self.dh_RTBH = self.both_orders(T, H)
        self._da_TRBH, self._da_RTBH = self.both_orders(T, H)
        dh = [self.matrices(self._dh_TRBH[t]) for t in range(T)]
        da = [self.matrices(self._da_TRBH[t]) for t in range(T)]
        handed_on = spec.handed_on and not self._rates
        d_states_TRBH = self.zeros(T if handed_on else 0, R, B, H)
        if handed_on:
            self.d_states = {"h": d_states_TRBH.transpose(0, 1)}
        self._backward_steps: list[Call] = []
        for t in range(T - 1, -1, -1):
            if t < T - 1:
                self._backward_steps.append(self.accumulate(dh[t], da[t + 1], self.w["W_hh"]))
            if self._rates:
                if t < T - 1:
                    self._backward_steps.append(partial(dh[t].addcmul_, dh[t + 1], keep))
                self._backward_steps.append(partial(da[t].mul_, dh[t]))
            else:
                self._backward_steps.append(partial(dh[t].mul_, da[t]))
                if t < T - 1:
                    self._backward_steps.append(partial(dh[t].addcmul_, dh[t + 1], keep))
                if handed_on:
                    self._backward_steps.append(partial(dh[t].add_, self.matrices(d_states_TRBH[t])))
                self._backward_steps.append(partial(torch.mul, dh[t], alpha, out=da[t]))
        self._to_initial = partial(self.product, da[0], self.w["W_hh"], out=self.matrices(self.d_initial["h"]))

    @property
    def states(self) -> dict[str, Tensor]:
        """State h (rates) or v (potentials) after each step."""
        return {"h": self.h_RTBH if self._rates else self._v_TRBH[1:].transpose(0, 1)}

    def forward(self) -> None:
        """See `Layer`."""
        if "tau" in self.w:
            torch.div(
                self._cell.dt, self.spec.weights["tau"].unsqueeze(1).expand_as(self._alpha_R1H), out=self._alpha_R1H
            )
            torch.sub(1.0, self._alpha_R1H, out=self._keep_R1H)
        self.project(self._s_TRBH, self._s_RTBH)
        for call in self._first_rate:
            call()
        for step in self._forward_steps:
            step()
        self.to_replica_first(self._h_RTBH, self.h_TRBH)

    def backward(self) -> None:
        """See `Layer`."""
        f, dh_TRBH = self._cell.activation, self._dh_TRBH
        if self.spec.profiled and not self._rates:
            self._above_RTBH = self.dh_RTBH.clone()
        self.to_time_first(dh_TRBH, self.dh_RTBH)
        if self._rates:
            activations.slope(f, self._s_TRBH, out=self._da_TRBH)
            self._da_TRBH.mul_(self._alpha_R1H)
        else:
            activations.slope(f, self.h_TRBH[1:], out=self._da_TRBH)
        for step in self._backward_steps:
            step()
        if self.spec.carried:
            self._to_initial()
            d_initial = self.d_initial["h"]
            if not self._rates:
                slope_RBH = torch.empty_like(d_initial)
                activations.slope(f, self.h_TRBH[0], out=slope_RBH)
                d_initial.mul_(slope_RBH)
            d_initial.addcmul_(dh_TRBH[0], self._keep_R1H)
        if "tau" in self.g:
            self._tau_gradient()
        self.to_replica_first(self._da_RTBH, self._da_TRBH)
        self.input_gradients(self._da_RTBH)
        self.biases_share_their_gradient()
        self.recurrent_gradient(self._da_RTBH)

    def transport(self) -> Transport:
        """See `WorkspaceLayer`. The state is h[t], or the potential v[t]."""
        ds_RTBH = self._dh_TRBH.transpose(0, 1)
        return Transport(ds_RTBH, self._da_RTBH, self._keep_R1H, None if self._rates else self._cell.activation)

    def state_gradients(self) -> Tensor:
        """See `WorkspaceLayer`. For potentials too it is the gradient of the rate h[t] = f(v[t])."""
        if self._rates:
            return self._dh_TRBH.transpose(0, 1)
        return self.with_recurrence(self._above_RTBH, self._da_RTBH)

    def rate_gradient(self) -> Tensor | None:
        """See `WorkspaceLayer`. For potentials it is W_hhᵀ dL/da[1]."""
        if self._rates:
            return None
        return torch.einsum("rba,rah->rbh", self._da_RTBH[:, 0], self.spec.weights["W_hh"])

    def _tau_gradient(self) -> None:
        v_TRBH = self._v_TRBH
        if self._rates:
            torch.sub(self._s_TRBH, v_TRBH[:-1], out=self._s_TRBH)
        else:
            torch.sub(v_TRBH[1:], v_TRBH[:-1], out=self._s_TRBH).div_(self._alpha_R1H)
        dalpha_RH = self._s_TRBH.mul_(self._dh_TRBH).sum((0, 2))
        tau, gradient = self.spec.weights["tau"], (self.spec.gradients or {})["tau"]
        dtau_RH = dalpha_RH.mul_(-self._alpha_R1H[:, 0] / tau)
        gradient.copy_(dtau_RH.sum(1, keepdim=True) if gradient.shape[1] == 1 else dtau_RH)
