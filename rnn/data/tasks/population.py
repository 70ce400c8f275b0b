"""Population code: tuned neurons tell a stimulus by Poisson spikes, and the network reads it out."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from rnn.data.sequences import SequenceTask
from rnn.data.source import Batch
from rnn.data.tasks import rings
from rnn.data.tasks.observers import read_out
from rnn.randomness.streams import Draws
from unroll.contract import Architecture, Floor

_CELLS = 1 << 17
"""Number of neurons, sequences and steps whose spikes are drawn at once: more would take much memory."""


class Population(SequenceTask):
    """x_i[t] ~ Poisson(r exp(κ (cos(θ - φ_i) - 1))), independent given θ;  y = (cos θ, sin θ), at the last step.

    The stimulus is an angle θ, uniform; the preferred angles φ_i of N neurons lie evenly around the circle. Predicting
    zero costs E[cos² θ] = 1/2. The floor is the error of the mean of the posterior distribution of θ, given all spikes.
    It is simulated with 2048 trials (rnn.data.tasks.observers), with the standard error that is given beside it.
    """

    name: ClassVar[str] = "population"
    group: ClassVar[str] = "neurons"
    description: ClassVar[str] = (
        "Read out a population code: neurons on a ring, each tuned to an angle, fire Poisson spikes, and the targets "
        "are the cosine and sine of the angle that they show. The error of an ideal observer, simulated, is the floor."
    )
    origin: ClassVar[str] = "Ma, Beck, Latham & Pouget 2006, Bayesian inference with probabilistic population codes"
    predictor: ClassVar[str] = "zero"
    formula: ClassVar[str] = "1 / 2"
    architectures: ClassVar[tuple[Architecture, ...]] = ("many_to_one",)

    length: Annotated[int, Field(ge=1, le=10_000)] = 50
    """Number of time steps for which the neurons are observed, T."""
    neurons: Annotated[int, Field(ge=3, le=256)] = 16
    """Number of neurons, N."""
    rate: Annotated[float, Field(gt=0, le=2)] = 0.1
    """Mean number of spikes r in each time step, of a neuron whose preferred angle is shown."""
    concentration: Annotated[float, Field(ge=0.1, le=100)] = 2.0
    """How narrow the tuning is, κ: a larger one is narrower, with a width of about 1 / √κ radians."""

    @property
    def input_steps(self) -> int:
        """Number of input steps, T."""
        return self.length

    @property
    def input_size(self) -> int:
        """Width of the inputs: one for each neuron."""
        return self.neurons

    @property
    def output_size(self) -> int:
        """Width of the outputs: 2."""
        return 2

    @property
    def input_names(self) -> list[str]:
        """The neurons, by their preferred angles."""
        return rings.names(self.neurons)

    @property
    def target_names(self) -> list[str]:
        """Cosine and sine of the angle."""
        return ["cos θ", "sin θ"]

    def floor(self) -> Floor:
        """Return the error of an observer that knows the tuning of all neurons."""
        loss, error = read_out(self.neurons, self.concentration, self.rate * self.length)
        return Floor(observer="the mean of the posterior given all spikes, simulated", loss=loss, error=error)

    def costs(self, loss: str) -> npt.NDArray[np.float64]:
        """Return the mean square of a cosine."""
        del loss
        return np.full(self.length, 0.5)

    def draw(self, draws: Draws, batch: Batch) -> None:
        """Draw an angle for each sequence, and spikes.

        Spikes are drawn by thinning: as many as if every neuron fired at its largest rate, at places that are equally
        likely; each is then kept with the probability that its neuron's tuning gives.
        """
        R, T, B, N = batch.x_RTBI.shape
        angle_RB = np.empty((R, B), np.float32)
        for r, generator in enumerate(draws):
            generator.random(dtype=np.float32, out=angle_RB[r])
        angle_RB *= np.float32(2 * np.pi)
        block = max(1, _CELLS // (B * N))
        kept_RX = rings.tuning(angle_RB, N, self.concentration).reshape(R, B * N)
        for generator, kept_X, x_TBN in zip(draws, kept_RX, batch.x_RTBI, strict=True):
            for begin in range(0, T, block):
                x_KBN = x_TBN[begin : begin + block]
                place = generator.integers(0, x_KBN.size, generator.poisson(self.rate * x_KBN.size), dtype=np.uint32)
                place = place[generator.random(len(place), dtype=np.float32) < kept_X[place % np.uint32(B * N)]]
                spikes_KBN = np.zeros(x_KBN.shape, np.float32)
                np.add.at(spikes_KBN.reshape(-1), place, np.float32(1))  # several spikes may lie at one place
                x_KBN[...] = spikes_KBN
        rings.write(angle_RB, batch.target_RTBO)
