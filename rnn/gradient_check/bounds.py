"""Limits on the cost of a gradient check, computed from its sizes alone. It makes no tensor and needs no torch."""

from __future__ import annotations

from math import prod

import numpy as np

from rnn.data.validation import validate_feedback, validate_time_weights
from rnn.errors import ConfigurationError
from rnn.networks import parameters
from rnn.networks.validation import validate_network
from unroll.contract import CheckRequest, Network
from unroll.contract.limits import MAX_CHECK_LAYER_STEPS, MAX_CHECK_MULTIPLICATIONS, MAX_CHECK_PARAMETERS

EVALUATIONS = 8
"""Largest number of evaluations of the loss for each entry that is moved: one for the complex step, up to seven for the
difference."""


def network_of(request: CheckRequest) -> Network:
    """Return the network of a request.

    Raises ConfigurationError (unresolved_model) if the request has a name instead of a network.
    """
    if not isinstance(request.model, Network):
        raise ConfigurationError(
            "/model", "unresolved_model", f"the name {request.model!r} was not replaced by a network"
        )
    return request.model


def require_feasible(request: CheckRequest) -> None:
    """Raise ConfigurationError, with a JSON Pointer into the request, if the network or the sizes cannot be checked.

    Codes: those of `validate_network`, contradiction, not_available, wrong_length, too_many_parameters, too_slow,
    unresolved_model.
    """
    network = network_of(request)
    validate_network(network)
    validate_feedback(network, request.loss)
    _check_window(request, network)
    decodes = network.architecture == "encoder_decoder"
    if request.loss.type == "cross_entropy" and network.output_size == 1:
        detail = "with a single class, cross_entropy and its gradient are zero for any weights"
        raise ConfigurationError("/model/output_size", "contradiction", detail)
    for pointer, given in (
        ("/output_steps", request.output_steps is not None),
        ("/teacher_forcing", request.teacher_forcing != 1),
    ):
        if given and not decodes:
            detail = f"a {network.architecture} network has no decoder"
            raise ConfigurationError(pointer, "contradiction", detail)
    outputs = (request.output_steps or request.time_steps) if decodes else request.time_steps
    shortest = 1 if request.variable_lengths and not decodes else None
    validate_time_weights("/loss/time_weights", request.loss, network, np.ones(outputs), shortest)
    T = request.time_steps + (outputs if decodes else 0)
    R, B, P = request.replicas, request.batch_size, parameters.count(network)
    if R * P > MAX_CHECK_PARAMETERS:
        detail = f"{R} replicas of {P:,} parameters are {R * P:,}, more than {MAX_CHECK_PARAMETERS:,}"
        raise ConfigurationError("/model/cell/hidden_size", "too_many_parameters", detail)
    moved = R * sum(min(prod(slot.shape), request.entries) for slot in parameters.layout(network))
    for each, most, what in (
        (T * network.num_layers, MAX_CHECK_LAYER_STEPS, "steps of layers"),
        (T * B * P, MAX_CHECK_MULTIPLICATIONS, "multiplications"),
    ):
        if moved * EVALUATIONS * each > most:
            detail = (
                f"the check moves {moved:,} entries and computes the loss {EVALUATIONS} times for each: "
                f"{moved * EVALUATIONS * each:,} {what}, more than {most:,}; take fewer entries, steps or sequences"
            )
            raise ConfigurationError("/entries", "too_slow", detail)


def _check_window(request: CheckRequest, network: Network) -> None:
    window = request.bptt.window
    if window is None:
        return
    if window > request.time_steps:
        detail = f"a window of {window} steps is longer than the sequences, {request.time_steps}"
        raise ConfigurationError("/bptt/window", "contradiction", detail)
    if network.architecture not in {"many_to_many", "many_to_one", "one_to_many"}:
        detail = f"a truncation window is not available for {network.architecture}"
        raise ConfigurationError("/bptt/window", "not_available", detail)
