"""Loss and gradients of the training engine, in either precision, on the workspace or on the native kernel."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from rnn import kernels
from rnn.bptt.constraints import Constraints
from rnn.bptt.encoder_decoder import EncoderDecoder
from rnn.bptt.truncated import TruncatedBPTT
from rnn.bptt.whole import BPTT
from rnn.cells.facts import facts
from rnn.gradient_check.batch import Array, CheckBatch

CheckedEngine = Literal["workspace", "native"]
"""The layer engines that are checked: on CPU in either precision."""


def available(batch: CheckBatch) -> list[CheckedEngine]:
    """Return the engines that support this network here."""
    native = kernels.available() and facts(batch.network.cell).native is not None
    return ["workspace", "native"] if native else ["workspace"]


def by_hand(batch: CheckBatch, engine: CheckedEngine, dtype: Literal["float32", "float64"]) -> tuple[Array, Array]:
    """Return losses [R] and gradients [R, P] of the raw weights, as float64."""
    network = batch.network
    raw_RP = torch.from_numpy(batch.raw_RP).to(getattr(torch, dtype), copy=True)
    constraints, gradients_RP = Constraints(network, raw_RP), torch.zeros_like(raw_RP)
    bptt = _engine(batch, constraints.used, gradients_RP, engine)
    memory = bptt.memory
    for tensor, array in (
        (memory.x_RTBI, batch.x_RTBI),
        (memory.target_RTBO, batch.target_RTBO),
        (memory.weight_RTB, batch.weights()),
        (memory.length_RB, batch.length_RB),
        (memory.forced_RTB, batch.forced_RTB),
    ):
        if tensor is not None and array is not None:
            tensor.copy_(torch.from_numpy(array))
    bptt.forward()
    bptt.backward()
    constraints.pull_back(gradients_RP)
    return bptt.loss_R.double().numpy().copy(), gradients_RP.double().numpy().astype(np.float64)


def _engine(
    batch: CheckBatch, used_RP: Tensor, gradients_RP: Tensor, engine: CheckedEngine
) -> BPTT | TruncatedBPTT | EncoderDecoder:
    request, network = batch.request, batch.network
    steps, B = batch.target_RTBO.shape[1], request.batch_size
    weighted = batch.weights() is not None
    if network.architecture == "encoder_decoder":
        return EncoderDecoder(
            network,
            used_RP,
            gradients_RP,
            batch.x_RTBI.shape[1],
            steps,
            B,
            request.loss,
            forced=request.teacher_forcing == 1,
            mixed=0 < request.teacher_forcing < 1,
            ragged=batch.length_RB is not None,
            weighted=weighted,
            engine=engine,
        )
    sizes = steps, B, request.loss
    if request.bptt.window is None:
        return BPTT(network, used_RP, gradients_RP, *sizes, weighted=weighted, engine=engine)
    window = request.bptt.window
    return TruncatedBPTT(network, used_RP, gradients_RP, *sizes, window=window, weighted=weighted, engine=engine)
