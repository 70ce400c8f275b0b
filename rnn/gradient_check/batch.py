"""The weights and the random batch of a gradient check. NumPy only, float64."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rnn import parameters, reparametrise
from unroll.contract import CheckRequest, Network

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Batch:
    """What all engines and references are given."""

    request: CheckRequest
    network: Network
    raw_RP: Array
    """Raw weights: see `rnn.reparametrise`."""
    x_RTBI: Array
    target_RTBO: Array

    @property
    def read(self) -> slice:
        """The time steps that have outputs."""
        return slice(-1, None) if self.network.architecture == "many_to_one" else slice(None)


def draw(request: CheckRequest) -> Batch:
    """Weights as a training job of this seed starts from, initial states moved off zero; x normal, targets to match."""
    network = request.model
    assert isinstance(network, Network)  # noqa: S101 - see bounds.require_feasible
    R, T, B = request.replicas, request.time_steps, request.batch_size
    raw_RP = reparametrise.raw(network, parameters.initialise(network, request.seed, R, "float64"))
    generators = [np.random.default_rng([request.seed, r]) for r in range(R)]
    for r, generator in enumerate(generators):
        for name, tensor in parameters.views(raw_RP[r : r + 1], network).items():
            if name.endswith(("h0", "c0")):
                tensor[...] = generator.standard_normal(tensor.shape) / 2
    x = np.stack([generator.standard_normal((T, B, network.input_size)) for generator in generators])
    target = np.stack([_targets(request.loss.type, g, (T, B, network.output_size)) for g in generators])
    return Batch(request, network, raw_RP, x, target)


def _targets(loss: str, generator: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Numbers, probabilities of classes that exclude each other or do not, counts."""
    if loss == "cross_entropy":
        odds = np.exp(generator.standard_normal(shape))
        return np.asarray(odds / odds.sum(-1, keepdims=True))
    if loss == "bce":
        return generator.random(shape)
    return generator.poisson(1.0, shape).astype(np.float64) if loss == "poisson" else generator.standard_normal(shape)
