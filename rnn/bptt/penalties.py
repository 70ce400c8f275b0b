"""Penalties on each replica's weights (as used, with constraints applied) and states, and their gradients.

    l1              λ Σ |w|                      λ sign(w)
    l2              λ/2 Σ w²                     λ w                      over W_xh, W_hh, W_hy
    orthogonality   λ ‖WᵀW - I‖²_F               4 λ W (WᵀW - I)          for each W_hh and gate
    activity        λ mean h²                    2 λ h / (T B H)          for each layer, over valid steps
    omega           see `rnn.bptt.omega`                                  for each layer

Penalties on states are added while a network's layers run backward. In an encoder_decoder each layer has its own: the
encoder's layers over the steps that they read, the decoder's layers over the steps that they write, forced or free.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rnn.bptt.omega import Omega
from rnn.cells.layer import Layer
from rnn.cells.native import NativeLayer
from rnn.cells.workspace import WorkspaceLayer
from rnn.networks import parameters
from unroll.contract import Network, Regularisation

_ALL = slice(None)


class WeightPenalty:
    """Adds the gradients of the penalties on weights to those of the loss."""

    def __init__(self, network: Network, config: Regularisation, used_RP: Tensor, gradients_RP: Tensor) -> None:
        self._config = config
        weights, gradients = (parameters.views(flat, network) for flat in (used_RP, gradients_RP))
        pairs = {name: (w, gradients[name]) for name, w in weights.items() if ".W_" in name}
        self._pairs = list(pairs.values()) if config.l1 or config.l2 else []
        H = network.cell.hidden_size
        self._recurrent = [
            (w.view(len(w), -1, H, H), g.view(len(g), -1, H, H))
            for name, (w, g) in pairs.items()
            if config.orthogonality and name.endswith("W_hh")
        ]
        self._identity = torch.eye(H if self._recurrent else 0, dtype=used_RP.dtype, device=used_RP.device)
        self._zeros_R = used_RP.new_zeros(len(used_RP))

    def add(self) -> Tensor:
        """Add the gradients, and return the penalties, [R]."""
        config, penalty_R = self._config, self._zeros_R.clone()
        for w, g in self._pairs:
            if config.l1:
                g.add_(w.sign(), alpha=config.l1)
                penalty_R.add_(w.abs().sum((1, 2)), alpha=config.l1)
            if config.l2:
                g.add_(w, alpha=config.l2)
                penalty_R.add_(w.square().sum((1, 2)), alpha=config.l2 / 2)
        for W, g in self._recurrent:
            excess = W.mT @ W - self._identity
            g.add_(W @ excess, alpha=4 * config.orthogonality)
            penalty_R.add_(excess.square().sum((1, 2, 3)), alpha=config.orthogonality)
        return penalty_R


class StatePenalty:
    """Adds the gradients of the penalties on states while a stack of layers runs backward, from the last to the first.

    Call `start`, then `reach` before each layer's `backward`, then `finish`; `penalty_R` is complete after that.
    """

    def __init__(
        self, layers: list[Layer], activity: float, omega: float = 0.0, weight_RTB: Tensor | None = None
    ) -> None:
        """The factors are those of `Regularisation`. `omega` requires layers of the workspace.

        `weight_RTB` is the weight of each step that exists; None means equal weights.
        """
        self.penalises = activity > 0 or omega > 0
        self._activity, self._weight_RTB = activity, weight_RTB
        self._omega = [Omega(layer, omega) for layer in layers if omega and isinstance(layer, WorkspaceLayer)]
        self.penalty_R = layers[0].x_RTBI.new_zeros(len(layers[0].x_RTBI))
        self.share_RTB = torch.zeros_like(weight_RTB) if weight_RTB is not None and activity else None
        """Each step's share in the mean over steps and sequences; None if all shares are equal."""

    def share(self) -> None:
        """Set `share_RTB`, if it exists, from this batch's weights."""
        if self.share_RTB is not None and self._weight_RTB is not None:
            self.share_RTB.copy_(shares(self._weight_RTB))

    def start(self) -> None:
        """Forget the last batch."""
        if self.penalises:
            self.penalty_R.zero_()

    def reach(self, layer: Layer, steps: slice = _ALL) -> None:
        """Add the gradient of the layer's activity to the gradient that came from above.

        `steps` are the layer's steps among all steps.
        """
        if not self._activity:
            return
        h_RTBH, dh_RTBH = layer.h_RTBH, layer.dh_RTBH
        if isinstance(layer, NativeLayer) and layer.reads_out:
            dh_RTBH.zero_()  # nothing else comes from above
        if self.share_RTB is None:
            self.penalty_R.add_(h_RTBH.square().mean((1, 2, 3)), alpha=self._activity)
            dh_RTBH.add_(h_RTBH, alpha=2 * self._activity / h_RTBH[0].numel())
            return
        shared_RTBH = h_RTBH * self.share_RTB[:, steps].unsqueeze(-1)
        self.penalty_R.add_((shared_RTBH * h_RTBH).mean(3).sum((1, 2)), alpha=self._activity)
        dh_RTBH.add_(shared_RTBH, alpha=2 * self._activity / h_RTBH.shape[-1])

    def finish(self) -> None:
        """Add the gradients with respect to W_hh."""
        for penalty in self._omega:
            self.penalty_R.add_(penalty.add())


def shares(weight_RTB: Tensor) -> Tensor:
    """Return each step's share in the mean: one divided by the number of valid steps, and 0 for padding.

    Valid steps are those up to a sequence's last step that the loss counts.
    """
    counted_RTB = (weight_RTB.abs().flip(1).cummax(1).values.flip(1) > 0).to(weight_RTB)
    return counted_RTB / counted_RTB.sum((1, 2), keepdim=True).clamp_(min=1)
