"""The per-lag profile on request: ‖dL/dh[t]‖ of a training batch, which shows gradients that vanish or explode.

A separate engine with scratch gradients computes it, so training's numbers do not depend on it. The time steps of an
encoder_decoder are the encoder's and then the decoder's.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from rnn.bptt import engine
from rnn.data.memory import Memory
from rnn.training.events import LagProfile
from rnn.training.problem import Problem

EACH = 64
"""Number of lags from the last step on that are all reported. Those further back are reported in geometric steps."""


class Profiler:
    """Runs the training engine's batch once more, in the workspace."""

    def __init__(self, problem: Problem, parameters_RP: Tensor) -> None:
        self._engine = engine.for_profiles(problem.network, problem.training, problem.source, parameters_RP)
        self._lags = lags(problem.steps)

    def __call__(self, step: int, memory: Memory[Tensor]) -> LagProfile:
        """Return the profile of the batch in `memory`, for the current parameters."""
        for mine, theirs in zip(self._engine.memory.all(), memory.all(), strict=True):
            mine.copy_(theirs)
        self._engine.forward()
        self._engine.backward()
        norm_RT = self._engine.lag_profile().cpu().numpy().astype(np.float64)
        return LagProfile(step, self._lags, norm_RT[:, norm_RT.shape[1] - 1 - self._lags])


def lags(steps: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return lags 0, 1, 2, … and then with growing distance, up to T - 1: at most 128."""
    close = np.arange(min(steps, EACH))
    if steps <= EACH:
        return close
    far = np.unique(np.rint(np.geomspace(EACH, steps - 1, EACH)).astype(np.int64))
    return np.concatenate([close, far])
