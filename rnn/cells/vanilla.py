"""The vanilla cell (Elman 1990), what happens at one time step besides the GEMMs of `rnn.bptt`.

    a[t] = (W_xh x[t] + b_x) + (W_hh h[t-1] + b_h)
    h[t] = f(a[t])                      forward
    dL/da[t] = f'(a[t]) ∘ dL/dh[t]      backward

f' is written in h, so that pre-activations need not be kept: tanh' = 1 - h², relu' = [h > 0], identity' = 1.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from torch import Tensor, addcmul, sign

from unroll.contract import Activation


def forward_in_place(f: Activation, a: Tensor) -> Callable[[], object]:
    """A call that turns `a` into f(a) where it lies; contiguous memory. Made once, run at every training step."""
    if f == "relu":
        return a.relu_
    if f == "identity":
        return _nothing
    if a.device.type == "cpu":
        # The same memory through NumPy: its tanh is as fast as torch's, and ten times faster where torch's build has no
        # vector tanh for the processor.
        shared = a.numpy()
        return partial(np.tanh, shared, shared)
    return a.tanh_


def slope(f: Activation, h: Tensor, out: Tensor) -> None:
    """f'(a) from h = f(a) into `out`, which may be `h` itself. Not needed for the identity."""
    if f == "tanh":
        addcmul(h.new_ones(()), h, h, value=-1, out=out)
    else:
        sign(h, out=out)


def _nothing() -> None:
    return None
