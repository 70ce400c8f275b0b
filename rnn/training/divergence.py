"""Suggests in short sentences why a replica may have diverged, from its configuration and its step. NumPy only.

The suggestion is a guess among the usual causes: initial weights, steps or gradients that are too large (Pascanu,
Mikolov & Bengio 2013).
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from rnn.cells.facts import facts
from rnn.networks import connectivity
from rnn.training.problem import Problem
from unroll.contract import SGD, AdamW, ClipByGlobalNorm, ClipByValue, Network, Training

Float64R = npt.NDArray[np.float64]

SAMPLED_EVERY = 10
"""Steps between two records of gradient norms, because the usual norm changes slowly."""
_SURPRISE = 2.0
"""Largest factor by which one record may exceed the usual norm; larger ones count as this much. An explosion begins in
the last steps before a divergence, and a norm to clip at that it had raised would clip nothing."""
_EARLY = 20
_LARGE_PENALTY = 10.0


def usual_norm(before_R: Float64R, norm_R: Float64R) -> Float64R:
    """Return the running geometric mean of gradient norms, [R], in which new norms weigh a fifth.

    NaN: none was seen. A norm far above the mean so far counts as one a little above it.
    """
    seen_R = np.isfinite(norm_R) & (norm_R > 0)
    norm_R = np.where(seen_R, np.fmin(norm_R, _SURPRISE * before_R), 1.0)
    mixed_R = np.where(np.isnan(before_R), norm_R, before_R**0.8 * norm_R**0.2)
    return np.where(seen_R, mixed_R, before_R)


def radius(network: Network, weights: dict[str, npt.NDArray[np.generic]]) -> float | None:
    """Return the largest spectral radius of one replica's W_hh, from tensors [1, …].

    None: the spectral radius says nothing about growth.
    """
    if not facts(network.cell).growth:
        return None
    certificate = connectivity.certificate(network, weights)
    found = [layer.spectral_radius for layer in certificate.layers] if certificate else []
    return max((max(one[0]) for one in found if one), default=None)


def hint(problem: Problem, step: int, *, finite: bool, usual: float, radius: float | None) -> str:
    """Return what may help a replica that diverged at `step`.

    `finite` says whether loss and gradient were still finite, so that the update overflowed. `usual` is the replica's
    usual gradient norm, NaN if there is none. `radius` is the spectral radius of its W_hh if units are unbounded.
    """
    training, start = problem.training, problem.network.initialisation.type
    lr = f"{training.optimizer.lr:g}"
    said = []
    if step == 1 and not finite:
        said.append(f"It was so before the first update: the initialisation ({start}) is too large.")
    else:
        if step <= _EARLY:
            rise = "" if training.warmup else ", let it rise over a warmup"
            said.append(f"It came right at the start, at step {step}: lower the learning rate (now {lr}){rise},")
            said.append(f"or take a smaller initialisation (now {start}).")
        said += _about_steps(training, usual)
    if large := [f"{name} {factor:g}" for name, factor in training.regularisation if factor >= _LARGE_PENALTY]:
        said.append(f"Penalties are large ({', '.join(large)}): smaller ones may help.")
    if isinstance(training.optimizer, AdamW) and training.optimizer.lr * training.optimizer.weight_decay >= 1:
        decay = f"{training.optimizer.lr * training.optimizer.weight_decay:g}"
        said.append(f"Each step takes lr * weight_decay = {decay} of a weight away: make that less than 1.")
    if radius is not None and radius > 1:
        units = facts(problem.network.cell).growth
        said.append(f"With {units} units and a spectral radius of W_hh that is {radius:.3g} by now,")
        said.append("above 1, states can grow at every time step: take a bounded activation, or a smaller start.")
    return " ".join(said)


def _about_steps(training: Training, usual: float) -> list[str]:
    """Return what may make steps shorter: a norm to clip at that clips, or a smaller learning rate."""
    lr, kind = training.optimizer.lr, training.optimizer.type
    lower = f"lower the learning rate (now {lr:g})"
    limit, at = 1.0, "a max_norm of 1"
    if math.isfinite(usual):
        # Half of it clips most steps, and is in the range that Pascanu, Mikolov & Bengio (2013) found to work. A step
        # of plain descent is lr times this long, and none should be longer than weights are large.
        limit = min(usual / 2, 1 / lr) if isinstance(training.optimizer, SGD) else usual / 2
        why = "half its usual norm" if limit == usual / 2 else "so that no step is longer than 1"
        at = f"a max_norm of about {limit:.2g}, {why}"
    match training.clip:
        case ClipByGlobalNorm(max_norm=now) if now > limit and math.isfinite(usual):
            return [f"The clip at {now:g} is too high for this network: try {at},", f"or {lower}."]
        case ClipByGlobalNorm(max_norm=now) | ClipByValue(max_value=now):
            return [f"Gradients are clipped already, at {now:g}: {lower}."]
    if not isinstance(training.optimizer, SGD):
        # its steps are as long as lr whatever the gradient's scale, so that clipping evens out single gradients alone
        return [f"A step of {kind} is about as long as its learning rate: {lower}.", f"Clipping helps less: {at}."]
    return [f"Gradients are not clipped: clip them by global norm, with {at},", f"or {lower}."]
