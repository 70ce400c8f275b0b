"""The ideal observer of a population code, simulated."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from rnn.data.tasks import rings

_TRIALS, _ANGLES, _TABLE = 2_048, 128, 256


@lru_cache(maxsize=256)
def read_out(neurons: int, concentration: float, spikes: float) -> tuple[float, float]:
    """Return the least mean squared error of (cos θ, sin θ), and the standard error of this number.

    Neurons fire k_i ~ Poisson(λ_i(θ)) spikes, λ_i(θ) = `spikes` · exp(κ (cos(θ - φ_i) - 1)), with even preferred angles
    φ_i and a uniform stimulus θ. The posterior is p(θ | k) ∝ exp(Σ k_i κ cos(θ - φ_i) - Σ λ_i(θ)), and its mean has the
    least error: on average (1 - |E[exp(iθ) | k]|²) / 2. The posterior is summed over angles around the true one, as far
    as twelve times its width by the Fisher information. The trials have a seed of their own.
    """
    generator = np.random.Generator(np.random.Philox(key=0))
    true_M = generator.random(_TRIALS) * 2 * np.pi
    preferred_N = rings.preferred(neurons)
    spikes_MN = generator.poisson(spikes * rings.tuning(true_M, neurons, concentration))
    sum_M = spikes_MN @ np.exp(1j * preferred_N)
    # What all neurons fire together has the period of the preferred angles: a Fourier series, often of one term.
    within = np.arange(_TABLE) * (2 * np.pi / neurons / _TABLE)
    rate_XN = spikes * rings.tuning(within, neurons, concentration)
    series = np.fft.rfft(rate_XN.sum(-1)).real / _TABLE
    slope_XN = concentration * np.sin(within[:, None] - preferred_N)
    information = float((slope_XN**2 * rate_XN).sum(-1).min())
    reach = min(np.pi, 12 / np.sqrt(max(information, 1e-12)))
    away_A = (np.arange(_ANGLES) + 0.5) * (2 * reach / _ANGLES) - reach
    angle_MA = true_M[:, None] + away_A
    log_MA = concentration * (np.exp(-1j * angle_MA) * sum_M[:, None]).real
    for term in np.flatnonzero(np.abs(series[1:]) > 1e-6) + 1:
        log_MA -= 2 * series[term] * np.cos(term * neurons * angle_MA)
    p_MA = np.exp(log_MA - log_MA.max(-1, keepdims=True))
    mean_M = np.abs((p_MA * np.exp(1j * away_A)).sum(-1) / p_MA.sum(-1))
    error_M = (1 - mean_M**2) / 2
    return float(error_M.mean()), float(error_M.std() / np.sqrt(_TRIALS))
