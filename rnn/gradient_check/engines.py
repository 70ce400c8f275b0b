"""Loss and gradients by hand: the engine that trains, in either precision, on the workspace or the native kernel."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch

from rnn import kernels
from rnn.bptt import BPTT
from rnn.gradient_check.batch import Array, Batch
from rnn.reparametrise import Constraints
from rnn.truncated import TruncatedBPTT

Engine = Literal["workspace", "native"]


def available(batch: Batch) -> list[Engine]:
    """The engines that have this network here."""
    native = kernels.available() and kernels.runs(batch.network.cell)
    return ["workspace", "native"] if native else ["workspace"]


def by_hand(batch: Batch, engine: Engine, dtype: Literal["float32", "float64"]) -> tuple[Array, Array]:
    """Losses [R] and gradients [R, P] of the raw weights, as float64."""
    request, network = batch.request, batch.network
    raw_RP = torch.from_numpy(batch.raw_RP).to(getattr(torch, dtype), copy=True)
    constraints, gradients_RP = Constraints(network, raw_RP), torch.zeros_like(raw_RP)
    sizes = request.time_steps, request.batch_size
    bptt: BPTT | TruncatedBPTT
    if request.bptt.window is None:
        bptt = BPTT(network, constraints.used, gradients_RP, *sizes, request.loss, engine=engine)
    else:
        window = request.bptt.window
        bptt = TruncatedBPTT(
            network, constraints.used, gradients_RP, *sizes, request.loss, window=window, engine=engine
        )
    bptt.x_RTBI.copy_(torch.from_numpy(batch.x_RTBI))
    bptt.target_RTBO.copy_(torch.from_numpy(batch.target_RTBO))
    bptt.forward()
    bptt.backward()
    constraints.pull_back(gradients_RP)
    return bptt.loss_R.double().numpy().copy(), gradients_RP.double().numpy().astype(np.float64)
