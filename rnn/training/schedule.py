"""The learning rate as a function of the step alone, so that resuming needs no state. NumPy only."""

from __future__ import annotations

import math

from unroll.contract import CosineDecay, StepDecay, Training


def learning_rate(training: Training, step: int) -> float:
    """Return the learning rate of step 1, 2, …: the optimiser's rate times the warm-up's and the schedule's factors.

    warm-up: min(1, step/warmup). With s = step - 1 steps taken, step decay: factor^⌊s/every⌋;
    exponential: 2^(-s/half_life); cosine: final + (1 - final)(1 + cos(π min(1, s/steps)))/2.
    """
    rate, taken = training.optimizer.lr, step - 1
    if step < training.warmup:
        rate *= step / training.warmup
    schedule = training.schedule
    if schedule is None:
        return rate
    if isinstance(schedule, StepDecay):
        return rate * schedule.factor ** (taken // schedule.every)
    if isinstance(schedule, CosineDecay):
        fallen = (1 + math.cos(math.pi * min(1.0, taken / schedule.steps))) / 2
        return rate * (schedule.final + (1 - schedule.final) * fallen)
    return rate * float(2.0 ** (-taken / schedule.half_life))
