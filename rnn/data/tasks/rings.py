"""Neurons whose preferred angles lie evenly around a circle."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def tuning(angle_X: npt.NDArray[Any], neurons: int, concentration: float) -> npt.NDArray[Any]:
    """Return exp(κ (cos(θ - φ) - 1)) for each angle θ and each neuron's preferred angle φ, [..., neurons].

    It is 1 where the angle is the preferred one; κ says how narrow it is (von Mises). It has the dtype of the angles.
    """
    tuning_XN: npt.NDArray[Any] = angle_X[..., None] - preferred(neurons).astype(angle_X.dtype)
    np.cos(tuning_XN, out=tuning_XN)
    tuning_XN -= 1
    tuning_XN *= concentration
    np.exp(tuning_XN, out=tuning_XN)
    return tuning_XN


def preferred(neurons: int) -> npt.NDArray[np.float64]:
    """Return the preferred angles, from 0 on, in radians."""
    return np.linspace(0, 2 * np.pi, neurons, endpoint=False)


def names(neurons: int) -> list[str]:
    """Return the names of the neurons: their preferred angles."""
    return [f"neuron at {360 * neuron / neurons:.4g}°" for neuron in range(neurons)]


def write(angle_RB: npt.NDArray[Any], target_RTBO: npt.NDArray[Any]) -> None:
    """Write an angle as (cos, sin), the same at every step."""
    target_RTBO[..., 0] = np.cos(angle_RB)[:, None]
    target_RTBO[..., 1] = np.sin(angle_RB)[:, None]
