"""What each task lists so that all proofs of tasks run for it (test_tasks_built_in.py, test_tasks_training.py).

A new task adds its examples, and the cost of its trivial predictor where that is not the general one for its loss.
"""

from __future__ import annotations

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
]


def cost_of_the_trivial_predictor(task: SequenceTask, y_TBO: np.ndarray, loss: str) -> np.ndarray:
    """Costs [T, B] written down by hand: of the predictor that each task names."""
    y = y_TBO.astype(np.float64)
    T = np.arange(1, len(y) + 1)
    if loss == "cross_entropy":
        return -(y * np.log(np.full(y.shape[-1], 1 / y.shape[-1]))).sum(-1)
    if loss == "bce":
        return -(y * np.log(0.5) + (1 - y) * np.log(0.5)).mean(-1)
    if loss == "poisson":
        z_variance = 1 - np.exp(-2 * T / task.tau)
        rate = (task.rate * np.exp(task.gain**2 * z_variance / 2))[:, None]
        return rate - y[..., 0] * np.log(rate)
    guess = {"adding": 1.0, "xor": 0.5}.get(task.name, 0.0)
    return ((y - guess) ** 2).mean(-1)
