"""The weights and the random batch of a gradient check. NumPy only, float64."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rnn.bptt import constraints as reparametrise
from rnn.cells.facts import facts
from rnn.gradient_check.bounds import network_of
from rnn.networks import parameters
from unroll.contract import CheckRequest, Network

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class CheckBatch:
    """Weights and data that all engines and references receive."""

    request: CheckRequest
    network: Network
    raw_RP: Array
    """Raw weights, before constraints are applied: see `rnn.bptt.constraints`."""
    x_RTBI: Array
    """Inputs, or tokens as numbers. For a one_to_many network only the first step."""
    target_RTBO: Array
    length_RB: Array | None
    """Number of valid steps of each sequence: of its inputs and, except for an encoder_decoder, of its outputs."""
    forced_RTB: Array | None
    """1 where a decoder reads the target of the previous step."""

    def weights(self) -> Array | None:
        """Return how often the engine counts each step, [R, T, B].

        For a many_to_one network only the last valid step counts.
        """
        in_time = self.request.loss.time_weights
        ragged = self.length_RB is not None and self.network.architecture != "encoder_decoder"
        if not ragged and in_time is None:
            return None
        counts_RTB: Array = np.ones(self.target_RTBO.shape[:3])
        if self.length_RB is not None and ragged:
            left_RTB = self.length_RB[:, None, :] - np.arange(counts_RTB.shape[1])[:, None]
            counts_RTB[left_RTB != 1 if self.network.architecture == "many_to_one" else left_RTB <= 0] = 0.0
        return counts_RTB if in_time is None else counts_RTB * np.asarray(in_time)[:, None]

    def read(self, r: int) -> tuple[Array, Array | None]:
        """Return targets and weights of replica r, at the steps where the equations have outputs."""
        target, weight_RTB = self.target_RTBO[r], self.weights()
        if self.network.architecture != "many_to_one":
            return target, None if weight_RTB is None else weight_RTB[r]
        if self.length_RB is None:
            return target[-1:], None
        return target[self.length_RB[r] - 1, np.arange(target.shape[1])][None], None


def draw(request: CheckRequest) -> CheckBatch:
    """Draw the weights with which a training job of this seed starts, and a random batch.

    Initial states are moved away from zero. Inputs are normal, and targets fit the loss.
    """
    network = network_of(request)
    R, B, architecture = request.replicas, request.batch_size, network.architecture
    T = 1 if architecture == "one_to_one" else request.time_steps
    inputs = 1 if architecture == "one_to_many" else T
    outputs = (request.output_steps or T) if architecture == "encoder_decoder" else T
    raw_RP = reparametrise.raw(network, parameters.initialise(network, request.seed, R, "float64"))
    initial = tuple(f".{name}0" for name in facts(network.cell).states)
    generators = [np.random.default_rng([request.seed, r]) for r in range(R)]
    for r, generator in enumerate(generators):
        for name, tensor in parameters.views(raw_RP[r : r + 1], network).items():
            if name.endswith(initial):
                tensor[...] = generator.standard_normal(tensor.shape) / 2
    x = np.stack([_inputs(network, generator, (inputs, B)) for generator in generators])
    target = np.stack([_targets(request.loss.type, g, (outputs, B, network.output_size)) for g in generators])
    length = np.stack([g.integers(1, T + 1, B) for g in generators]) if request.variable_lengths else None
    forced = None
    if architecture == "encoder_decoder":
        forced = np.stack([g.random((outputs, B)) < request.teacher_forcing for g in generators])
    return CheckBatch(request, network, raw_RP, x, target, length, forced)


def _inputs(network: Network, generator: np.random.Generator, shape: tuple[int, int]) -> Array:
    if network.vocabulary_size is None:
        return generator.standard_normal((*shape, network.input_size))
    return generator.integers(0, network.vocabulary_size, (*shape, 1)).astype(np.float64)


def _targets(loss: str, generator: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Draw targets: numbers, class probabilities, independent probabilities or counts, as the loss requires."""
    if loss == "cross_entropy":
        odds = np.exp(generator.standard_normal(shape))
        return np.asarray(odds / odds.sum(-1, keepdims=True))
    if loss == "bce":
        return generator.random(shape)
    return generator.poisson(1.0, shape).astype(np.float64) if loss == "poisson" else generator.standard_normal(shape)
