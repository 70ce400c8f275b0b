"""Token inputs: x[t] = E[token[t]], rows of a learned table E [V, I] (Bengio, Ducharme & Vincent 2003).

E together with W_xh is a factorisation of the input weights of a one-hot vector. dL/dE[v] = Σ dL/dx[t] over the steps
whose token is v.
"""

from __future__ import annotations

import torch
from torch import Tensor


class Embedding:
    """Fills the inputs of the first layer from `tokens_RTB1`, whole numbers in the network's dtype."""

    def __init__(self, table_RVI: Tensor, gradient_RVI: Tensor | None, x_RTBI: Tensor, dx_RTBI: Tensor | None) -> None:
        """`x_RTBI` and `dx_RTBI` are the steps that have inputs. dx is the gradient of the loss with respect to x."""
        self._table_RVI, self._gradient_RVI = table_RVI, gradient_RVI
        self._x_RTBI, self._dx_RTBI = x_RTBI, dx_RTBI
        self.tokens_RTB1 = x_RTBI.new_zeros((*x_RTBI.shape[:3], 1))
        self._ids_RN = self.tokens_RTB1.long().flatten(1)

    def forward(self) -> None:
        """Set the inputs."""
        self._ids_RN.copy_(self.tokens_RTB1.flatten(1))
        for table_VI, ids_N, x_TBI in zip(self._table_RVI, self._ids_RN, self._x_RTBI, strict=True):
            x_TBI.copy_(table_VI[ids_N].view_as(x_TBI))

    def backward(self) -> None:
        """Set the table's gradient."""
        assert self._gradient_RVI is not None  # noqa: S101 - made with gradients
        assert self._dx_RTBI is not None  # noqa: S101 - likewise
        for gradient_VI, ids_N, dx_TBI in zip(self._gradient_RVI, self._ids_RN, self._dx_RTBI, strict=True):
            dx_NI = dx_TBI.flatten(0, 1)
            if dx_NI.is_cuda:
                # Additions by index come in no order there; a product with one-hot rows does.
                vocabulary = torch.arange(len(gradient_VI), device=dx_NI.device)
                torch.mm((ids_N == vocabulary[:, None]).to(dx_NI), dx_NI, out=gradient_VI)
            else:
                gradient_VI.zero_().index_add_(0, ids_N, dx_NI)
