"""Pascanu's Ω: a penalty on gradients that change their size while they travel back through time.

For the state s of a layer, where L is backpropagated (the loss, and the penalty on activity if there is one),

    Ω = mean over sequences of Σ_t ( ‖dL/ds[t+1] · ∂s[t+1]/∂s[t]‖ / ‖dL/ds[t+1]‖ - 1 )²        t = 1 … T-1

Jacobians of one step, through the layer's own recurrence:

    vanilla, linear         s = a[t]    W_hh diag(f'(a[t]))
    leaky, of potentials    s = v[t]    diag(1-α) + diag(α) W_hh diag(f'(v[t]))
    leaky, of rates         s = h[t]    diag(1-α) + diag(α f'(a[t+1])) W_hh

Its gradient is the immediate one: it flows only through the W_hh written here, with states and dL/ds held constant.
With δ = dL/ds[t+1], v = δ · ∂s[t+1]/∂s[t], q = ‖v‖/‖δ‖ and da = dL/da[t+1]:

    dΩ/dW_hh = mean over sequences of Σ_t 2 (q - 1) (da/‖δ‖) (f'(s[t]) ∘ v/‖v‖)ᵀ               f' = 1 for rates

A step whose gradient is zero contributes nothing, and neither does a step after the end of its sequence. For an
encoder_decoder the sum has the steps of the encoder and those of the decoder, each with its own W_hh. A decoder that
reads its own outputs has no Ω: there s[t] also reaches s[t+1] through W_hy, the feedback and W_xh, so ∂s[t+1]/∂s[t] is
not the Jacobian written here.

Source: Pascanu, Mikolov & Bengio, On the difficulty of training recurrent neural networks (2013), section 3.3,
equations 9 and 10; their x is our a.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rnn.cells import activations
from rnn.cells.workspace import WorkspaceLayer


class Omega:
    """Computes Ω of one layer, times `factor`, for all steps at once."""

    def __init__(self, layer: WorkspaceLayer, factor: float) -> None:
        """The layer must have a `transport` and gradients."""
        self._layer, self._factor = layer, factor
        R, T, B, H = layer.R, layer.T - 1, layer.B, layer.H
        # Gradients of states and of pre-activations at t+1, relative to ‖δ‖; what arrives at t; slopes at t.
        self._ds, self._da, self._v, self._slope = (layer.zeros(R, T, B, H) for _ in range(4))
        self._dW_hh = layer.matrices(layer.zeros(R, H, H))

    def add(self) -> Tensor:
        """Add the gradient to that of W_hh, after the layer's `backward`, and return the penalties, [R]."""
        layer, ds, v = self._layer, self._ds, self._v
        state = layer.transport()
        later, before = slice(1, None), slice(None, -1)

        # Scaled by the largest number first: squares of gradients that have all but vanished would be zero.
        scale_RTB1 = state.ds_RTBH[:, later].abs().amax(-1, keepdim=True)
        alive_RTB1 = scale_RTB1 > 0
        scale_RTB1.masked_fill_(~alive_RTB1, 1.0)
        torch.div(state.ds_RTBH[:, later], scale_RTB1, out=ds)
        norm_RTB1 = torch.linalg.vector_norm(ds, dim=-1, keepdim=True).masked_fill_(~alive_RTB1, 1.0)
        ds.div_(norm_RTB1)
        torch.div(state.da_RTBH[:, later], scale_RTB1, out=self._da).div_(norm_RTB1)

        da, recurred = (layer.matrices(tensor.flatten(1, 2)) for tensor in (self._da, v))
        layer.product(da, layer.w["W_hh"], out=recurred)
        if state.slope is not None:
            activations.slope(state.slope, layer.h_RTBH[:, before], out=self._slope)
            v.mul_(self._slope)
        if state.keep_R1H is not None:
            v.addcmul_(ds, state.keep_R1H.unsqueeze(1))

        q_RTB1 = torch.linalg.vector_norm(v, dim=-1, keepdim=True)
        excess_RTB1 = (q_RTB1 - 1.0).mul_(alive_RTB1)
        v.mul_((2.0 * self._factor / layer.B) * excess_RTB1 / q_RTB1.masked_fill(q_RTB1 == 0, 1.0))
        if state.slope is not None:
            v.mul_(self._slope)
        layer.product(da.mT, recurred, out=self._dW_hh)
        layer.g["W_hh"].add_(self._dW_hh)
        penalty_R: Tensor = excess_RTB1.square_().sum((1, 2, 3)).mul_(self._factor / layer.B)
        return penalty_R
