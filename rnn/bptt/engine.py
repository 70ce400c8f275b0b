"""The engine that a network's architecture and a job's training call for, made for the sequences of a task."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rnn.bptt.encoder_decoder import EncoderDecoder
from rnn.bptt.truncated import TruncatedBPTT
from rnn.bptt.whole import BPTT
from rnn.data.batches import weighted
from rnn.data.sequences import SequenceTask
from unroll.contract import Network, Training

BPTTEngine = BPTT | TruncatedBPTT | EncoderDecoder
"""What computes losses and gradients of batches. A `LayerEngine` (`rnn.cells.facts`) is what runs one layer of it."""


def for_training(
    network: Network, training: Training, task: SequenceTask, parameters_RP: Tensor, gradients_RP: Tensor
) -> BPTTEngine:
    """Loss and gradients of training batches, noise included."""
    flat, window = (parameters_RP, gradients_RP), training.bptt.window
    penalties: dict[str, Any] = {"activity": training.regularisation.activity, "omega": training.regularisation.omega}
    if window is None:
        return _over_whole_sequences(network, training, task, *flat, **penalties)
    return TruncatedBPTT(
        network,
        *flat,
        task.steps(network.architecture),
        training.batch_size,
        training.loss,
        window=window,
        weighted=weighted(task, training.loss),
        noisy=True,
        **penalties,
    )


def for_profiles(
    network: Network, training: Training, task: SequenceTask, parameters_RP: Tensor
) -> BPTT | EncoderDecoder:
    """`lag_profile` of the loss alone of training batches, noise included; with gradients that nobody else reads."""
    return _over_whole_sequences(network, training, task, parameters_RP, torch.zeros_like(parameters_RP), profiled=True)


def _over_whole_sequences(
    network: Network,
    training: Training,
    task: SequenceTask,
    parameters_RP: Tensor,
    gradients_RP: Tensor,
    **more: Any,
) -> BPTT | EncoderDecoder:
    flat, loss, size = (parameters_RP, gradients_RP), training.loss, training.batch_size
    more |= {"weighted": weighted(task, loss), "noisy": True}
    if network.architecture != "encoder_decoder":
        return BPTT(network, *flat, task.steps(network.architecture), size, loss, **more)
    return EncoderDecoder(
        network,
        *flat,
        task.input_steps,
        task.output_steps,
        size,
        loss,
        forced=training.teacher_forcing == 1,
        mixed=0 < training.teacher_forcing < 1,
        ragged=task.shortest is not None,
        **more,
    )


def for_evaluation(
    network: Network, training: Training, task: SequenceTask, parameters_RP: Tensor, sequences: int, *, counts: bool
) -> BPTT | EncoderDecoder:
    """Loss alone, without noise, a decoder running free; `counts`: whether steps do not all count alike."""
    loss = training.loss
    if network.architecture == "encoder_decoder":
        return EncoderDecoder(
            network,
            parameters_RP,
            None,
            task.input_steps,
            task.output_steps,
            sequences,
            loss,
            forced=False,
            ragged=task.shortest is not None,
            weighted=counts,
        )
    steps = task.steps(network.architecture)
    return BPTT(network, parameters_RP, None, steps, sequences, loss, weighted=counts)
