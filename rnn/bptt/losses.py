"""Losses: the cost of one time step of one sequence, and its derivative with respect to the network's output y.

    mse             Σ_o (y - target)²                      2 (y - target)
    cross_entropy   -Σ_o target log softmax(y)             softmax(y) Σ_o target - target
    bce             Σ_o log(1 + eʸ) - target y             sigmoid(y) - target
    poisson         Σ_o eʸ - target y                      eʸ - target

`target` holds numbers (mse), class probabilities (cross_entropy; one-hot for a class), probabilities of each output
(bce) or counts (poisson). For bce y is a logit; for poisson y is the logarithm of the rate, and the term log(target!),
which does not depend on y, is left out.

The mean is over valid elements: over steps, sequences and, except for cross_entropy, outputs. The course's form of the
mean squared error, `over: sequences`, sums each sequence over time and outputs and takes the mean over sequences.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from rnn.kernels.updates import SquaredError
from unroll.contract import Loss

Call = Callable[[Tensor, Tensor, Tensor], None]


class MeanLoss:
    """Computes the loss of outputs [R, T, B, O] and its derivative with respect to them.

    With `weighted`, `weight_RTB` is the weight of each step of each sequence. A weight of 0 leaves the step out,
    whatever its output is. The mean is then over the sum of weights, or over the sequences that have any weight. With
    `native` the kernel computes the squared error, if that is the loss.
    """

    def __init__(self, loss: Loss, y_RTBO: Tensor, *, weighted: bool = False, native: bool = False) -> None:
        self._loss, self._derivative = loss, derivative_in_place(loss)
        R, T, B, O = y_RTBO.shape  # noqa: E741
        self.target_RTBO = torch.zeros_like(y_RTBO)
        self.weight_RTB = y_RTBO.new_ones(R, T, B) if weighted else None
        self.loss_R = y_RTBO.new_zeros(R)
        self._elements = elements(loss, T, B, O)
        self.scale_R = y_RTBO.new_full((R,), 1.0 / self._elements)
        """One divided by the number of elements in the mean of each replica."""
        self._squared_error = None
        if native and loss.type == "mse":
            self._squared_error = SquaredError(self.target_RTBO, self.weight_RTB, self.scale_R, self.loss_R)
            return
        self._cost_RTBO = torch.zeros_like(y_RTBO)

    def weigh(self) -> None:
        """Set `scale_R` from the weights."""
        assert self.weight_RTB is not None  # noqa: S101 - made with `weighted`
        torch.reciprocal(counted(self._loss, self.weight_RTB, self._elements), out=self.scale_R)

    def derive_in_place(self, y_RTBO: Tensor) -> None:
        """Turn y into the derivative of each element's cost, not yet multiplied by `scale_R`, and set `loss_R`."""
        if self._squared_error is not None:
            self._squared_error(y_RTBO)
            return
        self._derivative(y_RTBO, self.target_RTBO, self._cost_RTBO)
        if self.weight_RTB is not None:
            weight = self.weight_RTB.unsqueeze(-1)
            left_out = weight == 0
            for tensor in (y_RTBO, self._cost_RTBO):
                tensor.mul_(weight).masked_fill_(left_out, 0.0)
        torch.sum(self._cost_RTBO.view(len(self.loss_R), -1), 1, out=self.loss_R)
        self.loss_R.mul_(self.scale_R)


def counted(loss: Loss, weight_RTB: Tensor, elements: int) -> Tensor:
    """Return the number of elements in the mean, [R].

    `elements` is that number if every weight is one.
    """
    if loss.type == "mse" and loss.over == "sequences":
        return (weight_RTB != 0).any(1).sum(1).to(weight_RTB)
    return weight_RTB.flatten(1).mean(1).mul_(elements)


def elements(loss: Loss, time_steps: int, sequences: int, outputs: int) -> int:
    """Return the number of elements in the mean if all steps are valid."""
    if loss.type == "mse" and loss.over == "sequences":
        return sequences
    return time_steps * sequences * (1 if loss.type == "cross_entropy" else outputs)


def derivative_in_place(loss: Loss) -> Call:
    """Return a function of (y, target, cost), all [..., O], that turns y into dcost/dy and fills `cost`."""
    return {"mse": _mse, "cross_entropy": _cross_entropy, "bce": _bce, "poisson": _poisson}[loss.type]


def _mse(y: Tensor, target: Tensor, cost: Tensor) -> None:
    y.sub_(target)
    torch.mul(y, y, out=cost)
    y.mul_(2.0)


def _cross_entropy(y: Tensor, target: Tensor, cost: Tensor) -> None:
    y.sub_(torch.logsumexp(y, -1, keepdim=True))
    torch.mul(target, y, out=cost).neg_()
    y.exp_().mul_(target.sum(-1, keepdim=True)).sub_(target)


def _bce(y: Tensor, target: Tensor, cost: Tensor) -> None:
    torch.logaddexp(y, y.new_zeros(()), out=cost).addcmul_(target, y, value=-1)
    y.sigmoid_().sub_(target)


def _poisson(y: Tensor, target: Tensor, cost: Tensor) -> None:
    torch.mul(target, y, out=cost).neg_()
    y.exp_()
    cost.add_(y)
    y.sub_(target)
