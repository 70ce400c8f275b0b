"""What each task lists so that all proofs of tasks run for it (test_tasks_built_in.py, test_tasks_training.py).

A new task adds its examples, and the cost of its trivial predictor where that is not the general one for its loss.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np

from rnn.data.sequences import SequenceTask

EXAMPLES: list[tuple[str, dict[str, Any]]] = [
    ("integrate_noise", {"length": 7, "min_length": 3}),
    ("adding", {"length": 2}),
    ("adding", {"length": 9}),
    ("adding", {"length": 9, "min_length": 2}),
    ("parity", {"length": 6}),
    ("parity", {"length": 6, "min_length": 1}),
    ("recall", {"symbols": 3, "items": 2, "delay": 0}),
    ("recall", {"symbols": 5, "items": 3, "delay": 4}),
    ("reverse", {"symbols": 4, "length": 5}),
    ("reverse", {"symbols": 4, "length": 5, "min_length": 2}),
    ("reverse", {"symbols": 4, "length": 5, "min_length": 1, "order": "same"}),
    ("sine", {"length": 12}),
    ("sine", {"length": 12, "shortest_period": 2.0, "longest_period": 30.0}),
    ("sine", {"length": 5, "shortest_period": 7.0, "longest_period": 7.0}),
    ("xor", {}),
    ("xor", {"noise": 0.5}),
    ("poisson_counts", {"length": 8}),
    ("poisson_counts", {"length": 8, "min_length": 4, "rate": 0.3, "gain": 0.5, "tau": 6.0}),
    ("integrate_leaky", {"length": 9}),
    ("integrate_leaky", {"length": 9, "min_length": 2, "tau": 0.7}),
    ("oculomotor", {"epochs": 3, "epoch_length": 4, "saccade": 1}),
    ("oculomotor", {"epochs": 2, "epoch_length": 5, "saccade": 3, "light": 0.1}),
    ("flip_flop", {"length": 7, "bits": 2, "pulse_probability": 0.3}),
    ("flip_flop", {"length": 5, "min_length": 2, "bits": 1, "pulse_probability": 1.0}),
    ("temporal_order", {"length": 10}),
    ("temporal_order", {"length": 23, "min_length": 11}),
    ("copy_memory", {"symbols": 3, "items": 2, "delay": 1}),
    ("copy_memory", {"symbols": 5, "items": 3, "delay": 4}),
    ("ring_memory", {"neurons": 5, "stimulus": 2, "delay": 3}),
    ("perceptual_decision", {"fixation": 1, "stimulus": 3, "delay": 0, "response": 2}),
    ("perceptual_decision", {"fixation": 0, "stimulus": 2, "delay": 2, "coherences": [0.4], "noise": 0.0}),
    ("context_integration", {"stimulus": 3, "response": 1}),
    ("delayed_match", {"stimuli": 2, "stimulus": 1, "delay": 0, "response": 1}),
    ("delayed_match", {"stimuli": 5, "stimulus": 2, "delay": 3, "noise": 0.0}),
    ("interval_timing", {"shortest_interval": 2, "longest_interval": 5, "wait": 3, "hold": 2}),
    ("interval_timing", {"shortest_interval": 1, "longest_interval": 1, "wait": 2, "hold": 1}),
    ("path_integration", {"length": 7}),
    ("path_integration", {"length": 7, "min_length": 2, "turning": 0.0, "speed": 1.0}),
    ("population", {"length": 3, "neurons": 6, "rate": 1.5}),
]

LONG: dict[str, dict[str, Any]] = {
    **{
        name: {"length": 400}
        for name in ("integrate_noise", "integrate_leaky", "adding", "flip_flop", "temporal_order")
    },
    **{name: {"length": 400} for name in ("parity", "reverse", "sine", "path_integration", "poisson_counts")},
    **{name: {"delay": 400} for name in ("recall", "copy_memory", "ring_memory", "delayed_match")},
    **{name: {"stimulus": 400} for name in ("perceptual_decision", "context_integration")},
    "oculomotor": {"epochs": 20, "epoch_length": 20},
    "interval_timing": {"longest_interval": 200},
    "population": {"length": 400, "rate": 2.0},
    "xor": {"noise": 1.0},
}
"""Parameters of each task with which it has long sequences, if it can."""


def cost_of_the_trivial_predictor(task: SequenceTask, y_TBO: np.ndarray, loss: str) -> np.ndarray:
    """Costs [T, B] written down by hand: of the predictor that each task names."""
    y = y_TBO.astype(np.float64)
    T = np.arange(1, len(y) + 1)
    if task.name == "copy_memory":
        recalled = np.arange(len(y))[:, None] >= task.delay + task.items
        guess_TBO = np.full(y.shape, 1 / task.symbols)
        guess_TBO[..., -1] = 1.0
        guess_TBO[: task.delay + task.items, :, :-1] = 0.0
        assert (y[..., -1].astype(bool) == ~recalled).all()
        return -np.log((y * guess_TBO).sum(-1))
    if loss == "cross_entropy":
        return -(y * np.log(np.full(y.shape[-1], 1 / y.shape[-1]))).sum(-1)
    if loss == "bce":
        return -(y * np.log(0.5) + (1 - y) * np.log(0.5)).mean(-1)
    if loss == "poisson":
        z_variance = 1 - np.exp(-2 * T / task.tau)
        rate = (task.rate * np.exp(task.gain**2 * z_variance / 2))[:, None]
        return rate - y[..., 0] * np.log(rate)
    if task.name == "interval_timing":
        trials = product(range(task.wait + 1), range(task.shortest_interval, task.longest_interval + 1))
        ramps = [[min(max(t - w - n, 0) / n, 1) for t in range(len(y))] for w, n in trials]
        return (y[..., 0] - np.mean(ramps, axis=0)[:, None]) ** 2
    halves = ("xor", "perceptual_decision", "context_integration", "delayed_match")
    guess = {"adding": 1.0, **dict.fromkeys(halves, 0.5)}.get(task.name, 0.0)
    return ((y - guess) ** 2).mean(-1)
