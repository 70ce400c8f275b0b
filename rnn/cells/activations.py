"""Nonlinearities f of the rate cells, computed in place, and their slopes f' expressed through h = f(a).

    tanh        (eᵃ - e⁻ᵃ)/(eᵃ + e⁻ᵃ)     1 - h²
    sigmoid     1/(1 + e⁻ᵃ)               h - h²
    softplus    log(1 + eᵃ)               1 - e⁻ʰ
    relu        max(a, 0)                 [h > 0]
    leaky_relu  a if a > 0 else a/100     1 if h > 0 else 1/100
    saturated_relu  min(max(a, 0), 1)     [0 < h < 1]
    identity    a                         1

Because slopes depend on h only, the pre-activations need not be kept. At a kink the slope is the left one, except at 1
of the saturated relu, where it is 0.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from unroll.contract import Activation

LEAK = 0.01
"""Slope of leaky_relu below zero."""


def in_place(f: Activation, a: Tensor) -> Callable[[], object]:
    """Return a call that overwrites `a` with f(a).

    `a` must be contiguous. The call is made once and run at every training step.
    """
    if f == "tanh" and a.device.type == "cpu":
        # NumPy works on the same memory. Its tanh is as fast as torch's, and ten times faster where torch's build has
        # no vector tanh for the processor.
        shared = a.numpy()
        return partial(np.tanh, shared, shared)
    if f == "softplus":
        # log(e⁰ + eᵃ) is exact for large a too. torch's own softplus is the identity above a threshold.
        return partial(torch.logaddexp, a, a.new_zeros(()), out=a)
    calls: dict[Activation, Callable[[], object]] = {
        "tanh": a.tanh_,
        "sigmoid": a.sigmoid_,
        "relu": a.relu_,
        "leaky_relu": partial(nn.functional.leaky_relu_, a, LEAK),
        "saturated_relu": partial(a.clamp_, 0.0, 1.0),
        "identity": _nothing,
    }
    return calls[f]


def slope(f: Activation, h: Tensor, out: Tensor) -> None:
    """Write the slope f'(a), computed from h = f(a), into `out`, which may be `h` itself."""
    if f == "tanh":
        torch.addcmul(h.new_ones(()), h, h, value=-1, out=out)
    elif f == "sigmoid":
        torch.addcmul(h, h, h, value=-1, out=out)
    elif f == "softplus":
        torch.neg(h, out=out).expm1_().neg_()
    elif f == "relu":
        torch.sign(h, out=out)
    elif f == "leaky_relu":
        torch.gt(h, 0, out=out).mul_(1 - LEAK).add_(LEAK)
    elif f == "saturated_relu":
        torch.addcmul(h, h, h, value=-1, out=out).sign_()
    else:
        out.fill_(1.0)


def _nothing() -> None:
    return None
