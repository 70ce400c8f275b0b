"""What pydantic cannot see in a job: its task, and the products of its sizes. NumPy only, no tensor is made."""

from __future__ import annotations

import numpy as np

from rnn.cells.facts import facts
from rnn.data import tasks
from rnn.data.check import check_data
from rnn.data.sequences import SequenceTask
from rnn.errors import ConfigurationError
from rnn.networks import parameters
from rnn.networks.check import NO_CYCLE, check_network
from rnn.networks.connectivity import acyclic, learns
from rnn.training import stopping
from rnn.training.schedule import learning_rate
from unroll.contract import CosineDecay, Network, TrainJob
from unroll.contract.limits import MAX_ACTIVATIONS, MAX_PARAMETERS, MAX_PROFILED


def check(job: TrainJob) -> None:
    """Raise ConfigurationError if this job cannot be run, with a JSON Pointer relative to the job.

    Codes: unknown_task, pydantic's codes below /data/parameters, width_mismatch, wrong_length, contradiction,
    not_available, too_many_parameters, too_many_activations, too_many_values, those of `rnn.networks.check`, and
    unresolved_model (a name where `rnn` needs the configuration).
    """
    if not isinstance(job.model, Network):
        raise ConfigurationError("/model", "unresolved_model", f"model {job.model!r} has no configuration here")
    network = job.model
    check_network(network)
    task = tasks.resolve(job.data)
    check_data(network, job.training.loss, task)
    _check_training(job, task)
    layers = len(parameters.places(network))
    if network.initialisation.type in {"spectral_radius", "dale_balanced"} and acyclic(network, job.replicas, layers):
        detail = f"of one of the {job.replicas} replicas {NO_CYCLE}"
        raise ConfigurationError("/model/initialisation", "no_spectral_radius", detail)
    total = job.replicas * parameters.count(network)
    if total > MAX_PARAMETERS:
        detail = (
            f"{job.replicas} replicas of {parameters.count(network):,} parameters are {total:,}, "
            f"more than {MAX_PARAMETERS:,}"
        )
        pointer = "/model/cell/hidden_size" if parameters.count(network) > MAX_PARAMETERS else "/replicas"
        raise ConfigurationError(pointer, "too_many_parameters", detail)

    # What a step keeps for its backward pass, in each layer and gate; held-out sequences are evaluated a few at a time.
    hidden, data = network.cell.hidden_size, max(network.input_size, network.output_size)
    kept = hidden * network.num_layers * len(facts(network.cell).gates)
    steps = task.steps(network.architecture)
    window = job.training.bptt.window or steps
    for pointer, size, long, wide in (
        ("/training/batch_size", job.training.batch_size * job.replicas, window, kept),
        ("/training/batch_size", job.training.batch_size * job.replicas, steps, data),
        ("/training/held_out/size", job.training.held_out.size, steps, data),
        ("/replicas", job.replicas, steps, kept),
    ):
        values = size * long * wide
        if values > MAX_ACTIVATIONS:
            detail = (
                f"{size:,} sequences of {long:,} steps and width {wide:,} are {values:,} values, "
                f"more than {MAX_ACTIVATIONS:,}"
            )
            raise ConfigurationError(pointer, "too_many_activations", detail)


def _check_training(job: TrainJob, task: SequenceTask) -> None:
    stopping.check(job)
    training = job.training
    network, window = job.model, training.bptt.window
    assert isinstance(network, Network)  # noqa: S101 - checked before
    steps = task.steps(network.architecture)
    if window is not None and window > steps:
        detail = f"a window of {window} steps is longer than the sequences, {steps}"
        raise ConfigurationError("/training/bptt/window", "contradiction", detail)
    if window is not None and network.architecture == "one_to_one":
        detail = "a one_to_one network has one step, there is nothing to truncate"
        raise ConfigurationError("/training/bptt/window", "not_available", detail)
    if window is not None and window < steps and network.h0 == "trainable" and not _reads_early(job, task, window):
        detail = (
            f"no loss is in the first window of {window} of {steps} steps, and no gradient from later ones reaches h0"
        )
        raise ConfigurationError("/training/bptt/window", "contradiction", detail)
    if training.warmup > training.steps:
        detail = f"a warm-up of {training.warmup:,} steps does not end within {training.steps:,}"
        raise ConfigurationError("/training/warmup", "contradiction", detail)
    if isinstance(training.schedule, CosineDecay):
        _check_cosine(training.schedule, training.warmup, training.steps)
    elif training.schedule is not None and not np.float32(learning_rate(training, training.steps)):
        detail = f"the learning rate of the last of {training.steps:,} steps would be zero: let it fall more slowly"
        raise ConfigurationError("/training/schedule", "contradiction", detail)
    if training.profile_every is not None:
        _check_profile(job, task)
    if training.regularisation.omega:
        _check_omega(network, training.teacher_forcing)
        if (window or steps) == 1:
            detail = "omega is about gradients from step to step, and there is one step"
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
    _check_frozen(job)


def _check_cosine(cosine: CosineDecay, warmup: int, steps: int) -> None:
    if cosine.steps <= warmup:
        detail = f"the cosine has fallen after {cosine.steps:,} steps, in the warm-up of {warmup:,}"
        raise ConfigurationError("/training/schedule/steps", "contradiction", detail)
    if cosine.steps < steps and not cosine.final:
        detail = (
            f"the cosine has fallen to zero after {cosine.steps:,} of {steps:,} steps, and the others would change "
            "nothing: let it fall for as many, or to a final above zero"
        )
        raise ConfigurationError("/training/schedule/steps", "contradiction", detail)


def _reads_early(job: TrainJob, task: SequenceTask, window: int) -> bool:
    """Whether a step of the first window counts in some sequence."""
    assert isinstance(job.model, Network)  # noqa: S101 - checked before
    if job.model.architecture == "many_to_one":
        return task.shortest is not None and task.shortest <= window
    weights = job.training.loss.time_weights
    counts_T = task.weights() if weights is None else task.weights() * np.asarray(weights)
    return bool(counts_T[:window].any())


def _check_frozen(job: TrainJob) -> None:
    """Penalties on what does not learn."""
    network, penalties = job.model, job.training.regularisation
    assert isinstance(network, Network)  # noqa: S101 - checked before
    frozen, recurs = set(network.connectivity.frozen), learns(network)
    there = {slot.name.rpartition(".")[2] for slot in parameters.layout(network)}
    weights = bool({"W_xh", "W_hy"} & there - frozen) or recurs
    # A decoder that reads its own outputs has states that depend on the readout.
    fed_back = network.architecture == "encoder_decoder" and job.training.teacher_forcing < 1
    states = bool(there - frozen - {"W_hh"} - (set() if fed_back else {"W_hy", "b_y"})) or recurs
    for name, learned, what in (
        ("l1", weights, "the weights"),
        ("l2", weights, "the weights"),
        ("activity", states, "all that activity depends on"),
        ("orthogonality", recurs, "W_hh"),
        ("omega", recurs, "W_hh"),
    ):
        if getattr(penalties, name) and not learned:
            detail = f"{what} cannot change, frozen as told: the penalty would do nothing"
            raise ConfigurationError(f"/training/regularisation/{name}", "contradiction", detail)


def _check_omega(network: Network, teacher_forcing: float) -> None:
    pointer, about = "/training/regularisation/omega", facts(network.cell)
    if not about.recurrent:
        raise ConfigurationError(pointer, "contradiction", "a feed-forward cell has no recurrent weights")
    if about.beside_W_hh:
        carried = "omega is about gradients that W_hh carries from step to step"
        detail = f"{carried}; those of {network.cell.type} also pass {about.beside_W_hh}"
        raise ConfigurationError(pointer, "contradiction", detail)
    if network.architecture == "encoder_decoder" and teacher_forcing < 1:
        detail = (
            "omega is about gradients that W_hh carries from step to step; where a decoder reads its own outputs they "
            "also pass the readout and W_xh: with a teacher_forcing of 1 they do not"
        )
        raise ConfigurationError(pointer, "contradiction", detail)


def _check_profile(job: TrainJob, task: SequenceTask) -> None:
    pointer, network = "/training/profile_every", job.model
    assert isinstance(network, Network)  # noqa: S101 - checked before
    if job.training.bptt.window is not None:
        detail = "there is a profile of whole sequences, not of windows, which gradients do not leave"
        raise ConfigurationError(pointer, "not_available", detail)
    every = job.training.profile_every or 1
    if every > job.training.steps:
        detail = f"a profile every {every:,} steps is none in {job.training.steps:,}"
        raise ConfigurationError(pointer, "contradiction", detail)
    told = min(task.steps(network.architecture), 128) * job.replicas
    profiles = job.training.steps // every
    if told * profiles > MAX_PROFILED:
        detail = f"{profiles:,} profiles of {told:,} numbers are more than {MAX_PROFILED:,}: ask for fewer"
        raise ConfigurationError(pointer, "too_many_values", detail)
