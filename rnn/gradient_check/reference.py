"""The same gradients without hand-written derivatives, over `rnn.reference.equations` in float64.

For a truncated gradient, the loss treats each window's first state as a constant: the state that the unmoved weights
give. This is what truncation means, and it makes the loss a function of which differences can be taken.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from types import ModuleType
from typing import Any

import numpy as np
import torch

from rnn.bptt import constraints as reparametrise
from rnn.cells.facts import facts
from rnn.gradient_check.batch import Array, CheckBatch
from rnn.networks import parameters
from rnn.reference import equations, windows
from unroll.contract import MSE, Network

_SMOOTH_STEP, _KINKED_STEP = 1e-3, 1e-5
"""Steps of the finite differences. Smooth networks use fourth order; with kinks the step is short, so that few
kinks lie within it."""
_KINK = 1e-8
"""Tolerance for kinks, as a fraction of the gradient's norm: see `central_difference`."""


@dataclass(frozen=True)
class Autograd:
    """Results for each replica: loss [R], gradients [R, P], and the norms of dL/dh[t] of the last layer, [R, T].

    T counts the steps of an encoder and then those of its decoder.
    """

    loss_R: Array
    size_R: Array
    """Sum of the absolute values of the loss's terms: see `Reference.size`."""
    gradients_RP: Array
    profile_RT: Array
    unfrozen_RP: Array
    """The gradients before those of frozen weights are set to zero."""


class Reference:
    """The loss of one replica as a function of its raw weights."""

    def __init__(self, batch: CheckBatch, replica: int) -> None:
        self.batch, self._r = batch, replica
        self.point_P: Array = batch.raw_RP[replica]
        self._held: list[list[dict[str, Any]]] = [[] for _ in self._windows()]
        if len(self._held) > 1:
            self._held = self._states()

    def loss(self, xp: ModuleType, raw_P: Any, push: Any = None) -> Any:
        """Return the loss. `push` [T, B, H] is added to the last layer's h: see `equations.outputs`."""
        target, weight = (None if array is None else xp.asarray(array) for array in self.batch.read(self._r))
        return equations.cost(xp, self.batch.request.loss, self._outputs(xp, raw_P, target, push), target, weight)

    def size(self) -> float:
        """Return a bound on the sum of the absolute values of the loss's terms. The rounding error is a fraction of it.

        Every loss is a mean of A(y) - c target y, with A ≥ 0 and c of 1 or 2. The two terms can nearly cancel, so that
        the loss and its gradient are small, but the rounding error stays that of the terms.
        """
        target, weight = self.batch.read(self._r)
        y = self._outputs(np, self.point_P, target, None)
        loss, shared = self.batch.request.loss, np.sqrt(np.abs(target * y))
        mean = equations.cost(np, loss if loss.type == "mse" else MSE(), 0 * y, shared, weight)
        if loss.type == "cross_entropy":  # of whose mean the outputs of a step are one element
            mean *= y.shape[-1]
        return float(abs(self.loss(np, self.point_P)) + 4 * mean)

    def _outputs(self, xp: ModuleType, raw_P: Any, target: Any, push: Any) -> Any:
        """Return y at the steps that have a target."""
        batch, r = self.batch, self._r
        tensors, x = self._tensors(xp, raw_P), xp.asarray(batch.x_RTBI[r])
        if len(self._held) == 1:
            return equations.outputs(
                xp,
                batch.network,
                tensors,
                x,
                lengths=self._lengths(xp),
                steps=batch.target_RTBO.shape[1],
                target=target,
                forced=None if batch.forced_RTB is None else xp.asarray(batch.forced_RTB[r]),
                feedback=batch.network.feedback,
                push=push,
            )
        h = []
        for part, held in zip(self._windows(), self._held, strict=True):
            states = [{name: xp.asarray(state) for name, state in one.items()} for one in held]
            pushed = None if push is None else push[part]
            h.append(self._window(xp, tensors, x, part, states, pushed)[0][-1])
        y = xp.concatenate(h) @ tensors["readout.W_hy"].T + tensors["readout.b_y"]
        if batch.network.architecture != "many_to_one":
            return y
        # in the window where the sequence ends: in later ones its state is held, and no gradient leaves them
        B = y.shape[1]
        last_B = np.full(B, len(y)) if batch.length_RB is None else batch.length_RB[r]
        return y[last_B - 1, np.arange(B)][None]

    def _lengths(self, xp: ModuleType) -> Any:
        """Return the number of valid input steps of each sequence.

        A one_to_many network has one input, and no padding after it.
        """
        length_RB = self.batch.length_RB
        if length_RB is None or self.batch.network.architecture == "one_to_many":
            return None
        return xp.asarray(length_RB[self._r])

    def _tensors(self, xp: ModuleType, raw_P: Any) -> dict[str, Any]:
        raw = {name: tensor[0] for name, tensor in parameters.views(raw_P[None], self.batch.network).items()}
        return equations.used(xp, self.batch.network, raw, self._r)

    def _windows(self) -> list[slice]:
        return windows.parts(self.batch.target_RTBO.shape[1], self.batch.request.bptt.window)

    def _window(
        self, xp: ModuleType, tensors: dict[str, Any], x: Any, part: slice, states: list[dict[str, Any]], push: Any
    ) -> tuple[list[Any], list[dict[str, Any]]]:
        steps, lengths = self.batch.target_RTBO.shape[1], self._lengths(xp)
        return windows.run(xp, self.batch.network, tensors, x, part, states, steps=steps, push=push, lengths=lengths)

    def _states(self) -> list[list[dict[str, Any]]]:
        """Return the first states of each window, computed with the unmoved weights."""
        tensors, x = self._tensors(np, self.point_P), self.batch.x_RTBI[self._r]
        found: list[list[dict[str, Any]]] = [[]]
        for part in self._windows()[:-1]:
            found.append(self._window(np, tensors, x, part, found[-1], None)[1])
        return found


def by_autograd(batch: CheckBatch) -> Autograd:
    """Compute the gradients replica by replica, so that only one graph is in memory at a time."""
    R, T, B, _ = batch.target_RTBO.shape
    if batch.network.architecture == "encoder_decoder":
        T += batch.x_RTBI.shape[1]
    loss_R, size_R, gradients_RP, profile_RT = np.zeros(R), np.zeros(R), np.zeros_like(batch.raw_RP), np.zeros((R, T))
    for r in range(R):
        leaf = torch.from_numpy(batch.raw_RP[r].copy()).requires_grad_()
        push = torch.zeros(T, B, batch.network.cell.hidden_size, dtype=torch.float64, requires_grad=True)
        reference = Reference(batch, r)
        loss = reference.loss(torch, leaf, push)
        loss.backward()
        assert leaf.grad is not None and push.grad is not None  # noqa: S101, PT018 - both are leaves of the loss
        loss_R[r], size_R[r] = loss.item(), reference.size()
        gradients_RP[r], profile_RT[r] = leaf.grad.numpy(), push.grad.norm(dim=(1, 2)).numpy()
    free_RP = gradients_RP.copy()
    for part in reparametrise.frozen(batch.network):
        free_RP[:, part] = 0.0
    return Autograd(loss_R, size_R, free_RP, profile_RT, gradients_RP)


def complex_step(reference: Reference, entry: int) -> float:
    """Return dL/dw by a complex step of w (Squire & Trapp 1998). No difference is taken, so no digits are lost."""
    moved = reference.point_P.astype(np.complex128)
    moved[entry] += 1e-30j
    return float(reference.loss(np, moved).imag / 1e-30)


def step_of(network: Network) -> float:
    """Return the distance by which a central difference moves a weight."""
    # |.| of Dale's law has a kink too
    smooth = not facts(network.cell).kinked and network.connectivity.dale is None
    return _SMOOTH_STEP if smooth else _KINKED_STEP


def central_difference(reference: Reference, entry: int, scale: float) -> float | None:
    """Return dL/dw by central differences, or None if a unit has its kink within the step.

    `scale` is the gradient's norm.
    """

    def at(distance: float) -> float:
        moved = reference.point_P.copy()
        moved[entry] += distance
        return float(reference.loss(np, moved))

    s = step_of(reference.batch.network)
    if s == _SMOOTH_STEP:
        return (8 * (at(s) - at(-s)) - (at(2 * s) - at(-2 * s))) / (12 * s)
    right, centre, left = at(s), at(0.0), at(-s)
    # By how much one-sided slopes differ. Where all is smooth, half the step halves it; with a kink, at most one of
    # the two halvings below does so by chance (if it lies a third of the way, of s or of s/2).
    bends = [(at(d) + at(-d) - 2 * centre) / d for d in (s / 2, s / 4)]
    bends.insert(0, (right + left - 2 * centre) / s)
    if max(abs(wide - 2 * narrow) for wide, narrow in pairwise(bends)) > _KINK * scale:
        return None
    return (right - left) / (2 * s)
