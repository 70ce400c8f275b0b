"""Checks of a job that pydantic cannot make: whether its parts fit together, and the products of its sizes.

NumPy only, no tensor is made.
"""

from __future__ import annotations

import numpy as np

from rnn.cells.facts import facts
from rnn.data.validation import validate_data
from rnn.errors import ConfigurationError
from rnn.networks import parameters
from rnn.networks.connectivity import acyclic, learns
from rnn.networks.validation import NO_CYCLE, validate_network
from rnn.training import stopping
from rnn.training.problem import Problem
from rnn.training.schedule import learning_rate
from unroll.contract import CosineDecay, Network
from unroll.contract.limits import MAX_ACTIVATIONS, MAX_PARAMETERS, MAX_PROFILED


def validate(problem: Problem) -> None:
    """Raise ConfigurationError if this problem cannot be trained, with a JSON Pointer relative to the job.

    Codes: width_mismatch, wrong_length, contradiction, not_available, too_many_parameters, too_many_activations,
    too_many_values, and those of `rnn.networks.validation`.
    """
    network, source, training, replicas = problem.network, problem.source, problem.training, problem.replicas
    validate_network(network)
    validate_data(network, training.loss, source)
    _validate_training(problem)
    layers = len(parameters.places(network))
    if network.initialisation.type in {"spectral_radius", "dale_balanced"} and acyclic(network, replicas, layers):
        detail = f"in one of the {replicas} replicas {NO_CYCLE}"
        raise ConfigurationError("/model/initialisation", "no_spectral_radius", detail)
    total = replicas * parameters.count(network)
    if total > MAX_PARAMETERS:
        detail = (
            f"{replicas} replicas of {parameters.count(network):,} parameters are {total:,}, "
            f"more than {MAX_PARAMETERS:,}"
        )
        pointer = "/model/cell/hidden_size" if parameters.count(network) > MAX_PARAMETERS else "/replicas"
        raise ConfigurationError(pointer, "too_many_parameters", detail)

    # These are the numbers that a step keeps for its backward pass, in each layer and gate. Held-out sequences are
    # evaluated a few at a time.
    hidden, data = network.cell.hidden_size, max(network.input_size, network.output_size)
    kept = hidden * network.num_layers * len(facts(network.cell).gates)
    steps = problem.steps
    window = training.bptt.window or steps
    for pointer, size, long, wide in (
        ("/training/batch_size", training.batch_size * replicas, window, kept),
        ("/training/batch_size", training.batch_size * replicas, steps, data),
        ("/training/held_out/size", training.held_out.size, steps, data),
        ("/replicas", replicas, steps, kept),
    ):
        values = size * long * wide
        if values > MAX_ACTIVATIONS:
            detail = (
                f"{size:,} sequences of {long:,} steps and width {wide:,} are {values:,} values, "
                f"more than {MAX_ACTIVATIONS:,}"
            )
            raise ConfigurationError(pointer, "too_many_activations", detail)


def _validate_training(problem: Problem) -> None:
    stopping.validate(problem)
    network, training, steps = problem.network, problem.training, problem.steps
    window = training.bptt.window
    if window is not None and window > steps:
        detail = f"a window of {window} steps is longer than the sequences, {steps}"
        raise ConfigurationError("/training/bptt/window", "contradiction", detail)
    if window is not None and network.architecture == "one_to_one":
        detail = "a one_to_one network has one step, so there is nothing to truncate"
        raise ConfigurationError("/training/bptt/window", "not_available", detail)
    if window is not None and window < steps and network.h0 == "trainable" and not _reads_early(problem, window):
        detail = (
            f"no loss is in the first window of {window} of {steps} steps, and no gradient from later ones reaches h0"
        )
        raise ConfigurationError("/training/bptt/window", "contradiction", detail)
    if training.warmup > training.steps:
        detail = f"a warm-up of {training.warmup:,} steps is longer than the training of {training.steps:,}"
        raise ConfigurationError("/training/warmup", "contradiction", detail)
    if isinstance(training.schedule, CosineDecay):
        _validate_cosine(training.schedule, training.warmup, training.steps)
    elif training.schedule is not None and not np.float32(learning_rate(training, training.steps)):
        detail = f"the learning rate would be zero at the last of {training.steps:,} steps: let it fall more slowly"
        raise ConfigurationError("/training/schedule", "contradiction", detail)
    if training.profile_every is not None:
        _validate_profile(problem)
    if training.regularisation.omega:
        _validate_omega(network, training.teacher_forcing)
        if (window or steps) == 1:
            detail = "omega compares gradients from step to step, but there is only one step"
            raise ConfigurationError("/training/regularisation/omega", "contradiction", detail)
    if network.architecture == "encoder_decoder":
        if window is not None:
            detail = "a window would cut the decoder off from what the encoder has read"
            raise ConfigurationError("/training/bptt/window", "contradiction", detail)
    elif training.teacher_forcing != 1:
        detail = f"only the decoder of an encoder_decoder reads targets; this network is {network.architecture}"
        raise ConfigurationError("/training/teacher_forcing", "contradiction", detail)
    if training.regularisation.orthogonality and not facts(network.cell).recurrent:
        detail = "a feed-forward cell has no recurrent weights"
        raise ConfigurationError("/training/regularisation/orthogonality", "contradiction", detail)
    _validate_frozen(problem)


def _validate_cosine(cosine: CosineDecay, warmup: int, steps: int) -> None:
    if cosine.steps <= warmup:
        detail = f"the cosine ends after {cosine.steps:,} steps, within the warm-up of {warmup:,}"
        raise ConfigurationError("/training/schedule/steps", "contradiction", detail)
    if cosine.steps < steps and not cosine.final:
        detail = (
            f"the cosine has fallen to zero after {cosine.steps:,} of {steps:,} steps, and the others would change "
            "nothing: let it fall for as many, or to a final above zero"
        )
        raise ConfigurationError("/training/schedule/steps", "contradiction", detail)


def _reads_early(problem: Problem, window: int) -> bool:
    """Return whether a step of the first window counts in some sequence."""
    source = problem.source
    if problem.network.architecture == "many_to_one":
        return source.shortest is not None and source.shortest <= window
    weights = problem.training.loss.time_weights
    counts_T = source.weights() if weights is None else source.weights() * np.asarray(weights)
    return bool(counts_T[:window].any())


def _validate_frozen(problem: Problem) -> None:
    """Raise ConfigurationError for penalties on parameters that are not trained."""
    network, penalties = problem.network, problem.training.regularisation
    frozen, recurs = set(network.connectivity.frozen), learns(network)
    there = {slot.name.rpartition(".")[2] for slot in parameters.layout(network)}
    weights = bool({"W_xh", "W_hy"} & there - frozen) or recurs
    # The states of a decoder that reads its own outputs depend on the readout.
    fed_back = network.architecture == "encoder_decoder" and problem.training.teacher_forcing < 1
    states = bool(there - frozen - {"W_hh"} - (set() if fed_back else {"W_hy", "b_y"})) or recurs
    for name, learned, what in (
        ("l1", weights, "the weights"),
        ("l2", weights, "the weights"),
        ("activity", states, "all that activity depends on"),
        ("orthogonality", recurs, "W_hh"),
        ("omega", recurs, "W_hh"),
    ):
        if getattr(penalties, name) and not learned:
            detail = f"frozen parameters keep {what} from changing: the penalty would do nothing"
            raise ConfigurationError(f"/training/regularisation/{name}", "contradiction", detail)


def _validate_omega(network: Network, teacher_forcing: float) -> None:
    pointer, about = "/training/regularisation/omega", facts(network.cell)
    if not about.recurrent:
        raise ConfigurationError(pointer, "contradiction", "a feed-forward cell has no recurrent weights")
    if about.beside_W_hh:
        carried = "omega measures gradients that W_hh carries from step to step"
        detail = f"{carried}; those of {network.cell.type} also pass {about.beside_W_hh}"
        raise ConfigurationError(pointer, "contradiction", detail)
    if network.architecture == "encoder_decoder" and teacher_forcing < 1:
        detail = (
            "omega measures gradients that W_hh carries from step to step; if a decoder reads its own outputs, they "
            "also pass the readout and W_xh: use a teacher_forcing of 1"
        )
        raise ConfigurationError(pointer, "contradiction", detail)


def _validate_profile(problem: Problem) -> None:
    pointer, training = "/training/profile_every", problem.training
    if training.bptt.window is not None:
        detail = "a profile needs whole sequences: gradients do not leave a truncation window"
        raise ConfigurationError(pointer, "not_available", detail)
    every = training.profile_every or 1
    if every > training.steps:
        detail = f"a profile every {every:,} steps never happens in {training.steps:,} steps"
        raise ConfigurationError(pointer, "contradiction", detail)
    told = min(problem.steps, 128) * problem.replicas
    profiles = training.steps // every
    if told * profiles > MAX_PROFILED:
        detail = f"{profiles:,} profiles of {told:,} values are more than {MAX_PROFILED:,}: ask for fewer profiles"
        raise ConfigurationError(pointer, "too_many_values", detail)
