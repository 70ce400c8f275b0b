"""The engine that a network's architecture and a job's training call for, made for the sequences of a task."""

from __future__ import annotations

from torch import Tensor

from rnn.bptt import BPTT
from rnn.encoder_decoder import EncoderDecoder
from rnn.tasks import SequenceTask, weighted
from rnn.truncated import TruncatedBPTT
from unroll.contract import Network, Training

AnyEngine = BPTT | TruncatedBPTT | EncoderDecoder


def for_training(
    network: Network, training: Training, task: SequenceTask, parameters_RP: Tensor, gradients_RP: Tensor
) -> AnyEngine:
    """Loss and gradients of training batches, noise included."""
    loss, size = training.loss, training.batch_size
    counts = weighted(task, loss)
    if network.architecture == "encoder_decoder":
        return EncoderDecoder(
            network,
            parameters_RP,
            gradients_RP,
            task.input_steps,
            task.output_steps,
            size,
            loss,
            forced=training.teacher_forcing == 1,
            mixed=0 < training.teacher_forcing < 1,
            ragged=task.shortest is not None,
            weighted=counts,
            noisy=True,
        )
    steps = task.steps(network.architecture)
    flat, window = (parameters_RP, gradients_RP), training.bptt.window
    activity, omega = training.regularisation.activity, training.regularisation.omega
    if window is None:
        return BPTT(network, *flat, steps, size, loss, weighted=counts, noisy=True, activity=activity, omega=omega)
    return TruncatedBPTT(
        network,
        *flat,
        steps,
        size,
        loss,
        window=window,
        weighted=counts,
        noisy=True,
        activity=activity,
        omega=omega,
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
