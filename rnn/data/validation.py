"""Checks that a network and a loss fit the sequences of a source. NumPy only."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from rnn.data.source import Source
from rnn.errors import ConfigurationError
from unroll.contract import Architecture, Loss, Network
from unroll.contract.network import FEEDBACK

_LEAST_WEIGHT = 1e-6
"""At least one weight must be this large. If all weights are smaller, float32's sums lose them."""
_NEEDS: dict[Architecture, str] = {
    "one_to_one": "one input and one target",
    "one_to_many": "one input and a target at each step",
    "many_to_one": "a target at the last step",
    "many_to_many": "a target at each input step",
    "encoder_decoder": "a target sequence for its decoder, after the input",
}


def validate_data(network: Network, loss: Loss, source: Source) -> None:
    """Raise ConfigurationError with the reason and a JSON Pointer relative to the job."""
    if network.architecture not in source.architectures:
        detail = (
            f"{network.architecture} needs {_NEEDS[network.architecture]}; sequences of {source.name} fit only "
            f"{' or '.join(source.architectures)}: {' or '.join(_NEEDS[one] for one in source.architectures)}"
        )
        raise ConfigurationError("/model/architecture", "contradiction", detail)
    _validate_widths(network, source)
    if loss.type not in source.losses:
        detail = f"targets of {source.name} are for {' or '.join(source.losses)}, not for {loss.type}"
        raise ConfigurationError("/training/loss/type", "contradiction", detail)
    validate_feedback(network, loss)
    validate_time_weights("/training/loss/time_weights", loss, network, source.weights(), source.shortest)


def validate_feedback(network: Network, loss: Loss) -> None:
    """Raise ConfigurationError if a decoder would read its outputs in other units than its targets."""
    if network.architecture == "encoder_decoder" and network.feedback != FEEDBACK[loss.type]:
        detail = f"the loss {loss.type} needs feedback {FEEDBACK[loss.type]}, because its targets have those units"
        raise ConfigurationError("/model/feedback", "contradiction", detail)


def validate_time_weights(
    pointer: str, loss: Loss, network: Network, counts_T: npt.NDArray[np.float64], shortest: int | None
) -> None:
    """Raise ConfigurationError if the loss's weights in time do not fit the output steps.

    `counts_T` says how often each step counts before these weights apply, [T]. `shortest` is the number of valid steps
    of the shortest sequence; None: all have T.
    """
    if loss.time_weights is None:
        return
    if network.architecture in {"many_to_one", "one_to_one"}:
        detail = f"{network.architecture} networks have one output, so there are no time steps to weight"
        raise ConfigurationError(pointer, "contradiction", detail)
    if len(loss.time_weights) != len(counts_T):
        detail = f"{len(loss.time_weights)} weights for {len(counts_T)} output steps"
        raise ConfigurationError(pointer, "wrong_length", detail)
    if not (np.asarray(loss.time_weights) * counts_T)[:shortest].max() >= _LEAST_WEIGHT:
        which = f"first {shortest or len(counts_T)} weights" if counts_T.all() else "weights of steps that count"
        detail = f"none of the {which} is at least {_LEAST_WEIGHT:g}: a batch could have nothing to learn from"
        raise ConfigurationError(pointer, "contradiction", detail)


def _validate_widths(network: Network, source: Source) -> None:
    if network.vocabulary_size is not None and source.vocabulary_size != network.vocabulary_size:
        has = "numbers, not tokens" if source.vocabulary_size is None else f"{source.vocabulary_size} kinds of tokens"
        detail = f"inputs of {source.name} are {has}"
        raise ConfigurationError("/model/vocabulary_size", "width_mismatch", detail)
    if network.vocabulary_size is None and network.input_size != source.input_size:
        detail = f"task {source.name} needs input_size {source.input_size}, not {network.input_size}"
        raise ConfigurationError("/model/input_size", "width_mismatch", detail)
    if network.output_size != source.output_size:
        detail = f"task {source.name} needs output_size {source.output_size}, not {network.output_size}"
        raise ConfigurationError("/model/output_size", "width_mismatch", detail)
