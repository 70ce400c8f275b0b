"""Losses: what one time step of one sequence costs, and its derivative with respect to the network's output y.

    mse             Σ_o (y - target)²                      2 (y - target)
    cross_entropy   -Σ_o target log softmax(y)             softmax(y) Σ_o target - target
    bce             Σ_o log(1 + eʸ) - target y             sigmoid(y) - target
    poisson         Σ_o eʸ - target y                      eʸ - target

`target` are class probabilities (one-hot for a class), probabilities of each output, and counts. For bce y is a logit,
for poisson the logarithm of the rate; the term log(target!), which does not depend on y, is left out.

The mean is over valid elements: over steps, sequences and, but for cross_entropy, outputs. The course's form of the
mean squared error, `over: sequences`, sums each sequence over time and outputs and takes the mean over sequences.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from unroll.contract import Loss

Call = Callable[[Tensor, Tensor, Tensor], None]


def elements(loss: Loss, time_steps: int, sequences: int, outputs: int) -> int:
    """How many elements the mean is over, where all steps are valid."""
    if loss.type == "mse" and loss.over == "sequences":
        return sequences
    return time_steps * sequences * (1 if loss.type == "cross_entropy" else outputs)


def derivative_in_place(loss: Loss) -> Call:
    """A function of (y, target, cost), all [..., O], that turns y into dcost/dy and fills `cost`."""
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
