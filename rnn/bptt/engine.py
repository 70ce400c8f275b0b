"""Makes the engine that a network's architecture and a job's training need, for the sequences of a source."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rnn.bptt.encoder_decoder import EncoderDecoder
from rnn.bptt.truncated import TruncatedBPTT
from rnn.bptt.whole import BPTT
from rnn.data.batches import weighted
from rnn.data.source import Source
from unroll.contract import Network, Training

BPTTEngine = BPTT | TruncatedBPTT | EncoderDecoder
"""What computes losses and gradients of batches. A `LayerEngine` (`rnn.cells.facts`) is what runs one layer of it."""


def for_training(
    network: Network, training: Training, source: Source, parameters_RP: Tensor, gradients_RP: Tensor
) -> BPTTEngine:
    """Return an engine for loss and gradients of training batches, with noise."""
    flat, window = (parameters_RP, gradients_RP), training.bptt.window
    penalties: dict[str, Any] = {"activity": training.regularisation.activity, "omega": training.regularisation.omega}
    if window is None:
        return _over_whole_sequences(network, training, source, *flat, **penalties)
    return TruncatedBPTT(
        network,
        *flat,
        source.steps(network.architecture),
        training.batch_size,
        training.loss,
        window=window,
        weighted=weighted(source, training.loss),
        noisy=True,
        **penalties,
    )


def for_profiles(network: Network, training: Training, source: Source, parameters_RP: Tensor) -> BPTT | EncoderDecoder:
    """Return an engine for `lag_profile` of training batches, with noise and without penalties.

    Its gradients are written to memory of their own that nothing else reads.
    """
    return _over_whole_sequences(
        network, training, source, parameters_RP, torch.zeros_like(parameters_RP), profiled=True
    )


def _over_whole_sequences(
    network: Network,
    training: Training,
    source: Source,
    parameters_RP: Tensor,
    gradients_RP: Tensor,
    **more: Any,
) -> BPTT | EncoderDecoder:
    flat, loss, size = (parameters_RP, gradients_RP), training.loss, training.batch_size
    more |= {"weighted": weighted(source, loss), "noisy": True}
    if network.architecture != "encoder_decoder":
        return BPTT(network, *flat, source.steps(network.architecture), size, loss, **more)
    return EncoderDecoder(
        network,
        *flat,
        source.input_steps,
        source.output_steps,
        size,
        loss,
        forced=training.teacher_forcing == 1,
        mixed=0 < training.teacher_forcing < 1,
        ragged=source.shortest is not None,
        **more,
    )


def for_evaluation(
    network: Network, training: Training, source: Source, parameters_RP: Tensor, sequences: int, *, counts: bool
) -> BPTT | EncoderDecoder:
    """Return an engine for the loss alone, without noise. A decoder runs free.

    `counts` says whether steps have different weights.
    """
    loss = training.loss
    if network.architecture == "encoder_decoder":
        return EncoderDecoder(
            network,
            parameters_RP,
            None,
            source.input_steps,
            source.output_steps,
            sequences,
            loss,
            forced=False,
            ragged=source.shortest is not None,
            weighted=counts,
        )
    steps = source.steps(network.architecture)
    return BPTT(network, parameters_RP, None, steps, sequences, loss, weighted=counts)
