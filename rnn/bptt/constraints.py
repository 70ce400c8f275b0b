"""Constraints on weights that hold by construction: the optimiser changes raw parameters, the network uses their image.

    W_hh = s ∘ |M ∘ S(V)|      V raw, S the symmetric or antisymmetric part (V ± Vᵀ)/2, M the mask, s Dale's signs
    τ = dt (1 + e^-θ)          θ raw, so τ > dt
    W_hy = V ∘ e               e: which units are read

The gradient is pulled back through these maps (|·|' = 1 at 0, so that no weight is stuck there). Where a tensor is not
constrained, its raw and used values are the same numbers. Where a tensor or a single weight is frozen, the gradient is
zero. In a symmetric W_hh both sides of the diagonal are frozen together, so the image of a frozen weight does not move.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rnn.cells.facts import facts
from rnn.networks import connectivity, parameters
from unroll.contract import Network


def frozen(network: Network) -> list[slice | Tensor]:
    """Return the columns of [R, P] that keep their initial values.

    They are slices for whole tensors, and indices for single weights.
    """
    kept, frozen_HH = network.connectivity.frozen, connectivity.frozen_weights(network)
    columns: list[slice | Tensor] = []
    for slot in parameters.layout(network):
        name = slot.name.rpartition(".")[2]
        if name in kept:
            columns.append(slice(slot.start, slot.stop))
        elif name == "W_hh" and frozen_HH is not None:
            every_gate = np.tile(frozen_HH, (slot.shape[0] // len(frozen_HH), 1))
            columns.append(torch.from_numpy(slot.start + np.flatnonzero(every_gate)))
    return columns


def raw(network: Network, used_RP: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return raw parameters whose image is `used_RP`, which must satisfy the constraints."""
    raw_RP = used_RP.copy()
    if learned := facts(network.cell).learned:
        for full, tau in parameters.views(raw_RP, network).items():
            name = full.rpartition(".")[2]
            if name in learned:
                tau[...] = -np.log(tau / learned[name].dt - 1)
    return raw_RP


class Constraints:
    """Raw parameters, used parameters and gradients, each [R, P].

    Call `apply` before `forward`, and `pull_back` after `backward`.
    """

    def __init__(self, network: Network, raw_RP: Tensor) -> None:
        """`used` is `raw_RP` itself if nothing is constrained."""
        self._network = network
        self._constrained = connectivity.is_constrained(network)
        self.used = torch.zeros_like(raw_RP) if self._constrained else raw_RP
        self._raw = raw_RP
        self._frozen = [part if isinstance(part, slice) else part.to(raw_RP.device) for part in frozen(network)]
        R, H = len(raw_RP), network.cell.hidden_size
        sign_H, read_H = connectivity.signs(network), connectivity.read_units(network)
        self._sign_H = None if sign_H is None else torch.as_tensor(sign_H).to(raw_RP)
        self._read_H = None if read_H is None else torch.as_tensor(read_H).to(raw_RP)
        self._layers: list[tuple[str, Tensor | None]] = []
        self._direction: dict[str, Tensor] = {}
        self._raw_views, self._used_views = (parameters.views(flat, network) for flat in (raw_RP, self.used))
        learned = facts(network.cell).learned
        tails = {name: name.rpartition(".")[2] for name in self._raw_views}
        self._dt = {name: learned[tail].dt for name, tail in tails.items() if tail in learned}
        for n, name in enumerate(name for name in self._raw_views if name.endswith(".W_hh")):
            masks = [connectivity.mask(network, n, r) for r in range(R)]
            allowed = None
            if masks[0] is not None:
                allowed = torch.as_tensor(np.stack([m for m in masks if m is not None])).to(raw_RP).view(R, 1, H, H)
            self._layers.append((name, allowed))
        if self._constrained:
            self.apply()

    def apply(self) -> None:
        """Set `used` from the raw parameters."""
        if not self._constrained:
            return
        self.used.copy_(self._raw)
        for name, allowed in self._layers:
            W = self._symmetrised(self._blocks(self._raw_views[name]))
            if allowed is not None:
                W = W * allowed
            if self._sign_H is not None:
                self._direction[name] = torch.where(W < 0, -self._sign_H, self._sign_H)
                W = W.abs() * self._sign_H
            self._blocks(self._used_views[name]).copy_(W)
        for name, dt in self._dt.items():
            torch.exp(-self._raw_views[name], out=self._used_views[name]).add_(1.0).mul_(dt)
        if self._read_H is not None:
            self._used_views["readout.W_hy"].mul_(self._read_H)

    def pull_back(self, gradients_RP: Tensor) -> None:
        """Turn the gradient of the used parameters into that of the raw ones, in place."""
        network = self._network
        if self._constrained:
            views = parameters.views(gradients_RP, network)
            for name, allowed in self._layers:
                g = self._blocks(views[name])
                if self._sign_H is not None:
                    g.mul_(self._direction[name])
                if allowed is not None:
                    g.mul_(allowed)
                if network.connectivity.symmetry != "none":
                    g.copy_(self._symmetrised(g))
            for name, dt in self._dt.items():
                views[name].mul_(dt - self._used_views[name])
            if self._read_H is not None:
                views["readout.W_hy"].mul_(self._read_H)
        for part in self._frozen:
            gradients_RP[:, part] = 0.0

    def _blocks(self, W_RAH: Tensor) -> Tensor:
        """Return a view of W_hh as [R, gates, H, H]."""
        H = W_RAH.shape[-1]
        return W_RAH.view(len(W_RAH), -1, H, H)

    def _symmetrised(self, W: Tensor) -> Tensor:
        symmetry = self._network.connectivity.symmetry
        if symmetry == "none":
            return W
        return (W + W.mT) / 2 if symmetry == "symmetric" else (W - W.mT) / 2
