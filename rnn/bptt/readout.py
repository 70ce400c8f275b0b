"""The linear readout y[t] = W_hy h[t] + b_y of all time steps in one GEMM, its loss, and their gradients.

dL/dW_hy = Σ_t dL/dy[t] h[t]ᵀ     dL/db_y = Σ_t dL/dy[t]     dL/dh[t] = W_hyᵀ dL/dy[t]
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from rnn.bptt.losses import MeanLoss
from rnn.cells.layer import Layer
from rnn.cells.native import NativeLayer
from unroll.contract import Loss


class Readout:
    """Reads h [R, T, B, H] of a layer, and fills its dh.

    A layer on the native kernel computes its own readout and takes dL/dy, while its states are in the cache; the loss
    is computed here. With `last_only` (many_to_one) only the last step has an output and a loss.
    """

    def __init__(
        self,
        loss: Loss,
        weights: dict[str, Tensor],
        gradients: dict[str, Tensor] | None,
        layer: Layer,
        *,
        last_only: bool = False,
        weighted: bool = False,
        noisy: bool = False,
    ) -> None:
        h_RTBH, native = layer.h_RTBH, isinstance(layer, NativeLayer)
        R, T, B, _ = h_RTBH.shape
        O = weights["W_hy"].shape[1]  # noqa: E741
        zeros = partial(torch.zeros, dtype=h_RTBH.dtype, device=h_RTBH.device)
        stacked = R > 1

        def matrices(tensor: Tensor) -> Tensor:
            return tensor if stacked else tensor.squeeze(0)

        self._product = torch.bmm if stacked else torch.mm
        self._last_only = last_only
        self._by_layer = native
        self._w = {name: matrices(w) for name, w in weights.items()}
        self._g = {name: matrices(g) for name, g in (gradients or {}).items()}
        first = T - 1 if last_only else 0
        self.y_RTBO = zeros(R, T - first, B, O)
        """The output; after `forward`, the derivative of the loss."""
        self.mean = MeanLoss(loss, self.y_RTBO, weighted=weighted, native=native)
        self.target_RTBO = zeros(R, T, B, O) if last_only else self.mean.target_RTBO
        self.loss_R = self.mean.loss_R
        self.noise_RTBO = zeros(R, T, B, O) if noisy else None
        self._scale = matrices(self.mean.scale_R.view(R, 1, 1))
        self._read = slice(first, T)
        self._h = matrices(h_RTBH[:, first:].flatten(1, 2))
        self._y = matrices(self.y_RTBO.view(R, -1, O))
        if isinstance(layer, NativeLayer):
            layer.read_out(weights, gradients, self.y_RTBO)
        elif gradients is not None:
            self._dh_RTBH = layer.dh_RTBH
            self._dh = matrices(self._dh_RTBH[:, first:].flatten(1, 2))
            self._dW_hy = torch.zeros_like(self._w["W_hy"], memory_format=torch.contiguous_format)

    def outputs(self) -> Tensor:
        """Compute y [R, T, B, O], or [R, 1, B, O] with `last_only`. `forward` overwrites this memory."""
        if not self._by_layer:
            self._product(self._h, self._w["W_hy"].mT, out=self._y)
            self._y.add_(self._w["b_y"].unsqueeze(-2))
        if self.noise_RTBO is not None:
            self.y_RTBO.add_(self.noise_RTBO[:, self._read])
        return self.y_RTBO

    def forward(self) -> None:
        """Set `loss_R`."""
        y = self.outputs()
        if self._last_only:
            self.mean.target_RTBO.copy_(self.target_RTBO[:, self._read])
        self.mean.derive_in_place(y)

    def leave_out(self) -> None:
        """Replace `forward` for steps on which the loss does not depend: `backward` then passes on zeros."""
        self.y_RTBO.zero_()
        self.loss_R.zero_()

    def backward(self) -> None:
        """Write the readout's gradients and fill dh; a native layer receives dL/dy and does both itself."""
        dy = self._y.mul_(self._scale)
        if self._by_layer:
            return
        if self._last_only:
            self._dh_RTBH.zero_()
        self._product(dy, self._w["W_hy"], out=self._dh)
        self._product(dy.mT, self._h, out=self._dW_hy)
        self._g["W_hy"].copy_(self._dW_hy)
        torch.sum(dy, -2, out=self._g["b_y"])
