"""Ring memory: an angle is shown by a ring of neurons and then held in memory."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from rnn.data.sequences import SequenceTask
from rnn.data.source import Batch
from rnn.data.tasks import rings
from rnn.randomness.streams import Draws


class RingMemory(SequenceTask):
    """x_i[t] = exp(κ (cos(θ - φ_i) - 1)) + noise in the first S steps, noise alone afterwards;  y = (cos θ, sin θ).

    The angle θ is uniform, the preferred angles φ_i of N neurons lie evenly around the circle, and noise is N(0, σ²).
    Predicting zero costs E[cos² θ] = E[sin² θ] = 1/2.
    """

    name: ClassVar[str] = "ring_memory"
    group: ClassVar[str] = "memory"
    description: ClassVar[str] = (
        "Remember an angle: a ring of neurons shows it as a bump of activity for some steps, and the targets are its "
        "cosine and sine from the first step to the last."
    )
    origin: ClassVar[str] = (
        "Compte, Brunel, Goldman-Rakic & Wang 2000, Synaptic mechanisms and network dynamics underlying spatial "
        "working memory"
    )
    predictor: ClassVar[str] = "zero"
    formula: ClassVar[str] = "1 / 2"

    neurons: Annotated[int, Field(ge=3, le=1_000)] = 12
    """Number of neurons on the ring, N."""
    concentration: Annotated[float, Field(ge=0.1, le=100)] = 2.0
    """How narrow the bump is, κ: a larger one is narrower, with a width of about 1 / √κ radians."""
    stimulus: Annotated[int, Field(ge=1, le=10_000)] = 5
    """Number of time steps for which the angle is shown, S."""
    delay: Annotated[int, Field(ge=0, le=50_000)] = 25
    """Number of time steps for which it is held afterwards."""
    noise: Annotated[float, Field(ge=0, le=100)] = 0.1
    """Standard deviation σ of the noise on each neuron, in each time step."""

    @property
    def input_steps(self) -> int:
        """Number of input steps."""
        return self.stimulus + self.delay

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

    def costs(self, loss: str) -> npt.NDArray[np.float64]:
        """Return the mean square of a cosine."""
        del loss
        return np.full(self.input_steps, 0.5)

    def draw(self, draws: Draws, batch: Batch) -> None:
        """Draw noise and an angle for each sequence."""
        draws.normals(batch.x_RTBI, np.full(self.neurons, self.noise, np.float32))
        angle_RB = np.stack([generator.random(batch.x_RTBI.shape[2]) for generator in draws]) * (2 * np.pi)
        batch.x_RTBI[:, : self.stimulus] += rings.tuning(angle_RB, self.neurons, self.concentration)[:, None]
        rings.write(angle_RB, batch.target_RTBO)
