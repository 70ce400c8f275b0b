"""The per-lag profile on request: ‖dL/dh[t]‖ of a training batch, for seeing gradients vanish or explode.

It is taken by an engine of its own with scratch gradients, so training's numbers do not depend on it. The time steps of
an encoder_decoder are those of its encoder and then those of its decoder.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from rnn.bptt import engine
from rnn.data.memory import Memory
from rnn.training.events import LagProfile
from rnn.training.problem import Problem

EACH = 64
"""Lags that are all told, from the last step on; those further back are told in geometric steps."""


class Profiler:
    """Runs a batch that the training engine has been given once more, in the workspace."""

    def __init__(self, problem: Problem, parameters_RP: Tensor) -> None:
        self._engine = engine.for_profiles(problem.network, problem.training, problem.source, parameters_RP)
        self._lags = lags(problem.steps)

    def __call__(self, step: int, memory: Memory[Tensor]) -> LagProfile:
        """Of the batch in `memory` and the parameters as they are now."""
        for mine, theirs in zip(self._engine.memory.all(), memory.all(), strict=True):
            mine.copy_(theirs)
        self._engine.forward()
        self._engine.backward()
        norm_RT = self._engine.lag_profile().cpu().numpy().astype(np.float64)
        return LagProfile(step, self._lags, norm_RT[:, norm_RT.shape[1] - 1 - self._lags])


def lags(steps: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """0, 1, 2, … and then ever further apart, up to T - 1: at most 128."""
    close = np.arange(min(steps, EACH))
    if steps <= EACH:
        return close
    far = np.unique(np.rint(np.geomspace(EACH, steps - 1, EACH)).astype(np.int64))
    return np.concatenate([close, far])
