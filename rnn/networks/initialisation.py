"""Initial values of a layer's parameters, drawn from one replica's random generator. NumPy only."""

from __future__ import annotations

from math import sqrt
from typing import Any

import numpy as np
import numpy.typing as npt

from rnn.cells.facts import facts
from rnn.errors import ConfigurationError
from rnn.networks import connectivity
from unroll.contract import DaleBalanced, Gaussian, Identity, Network, Orthogonal, SpectralRadius

Array = npt.NDArray[Any]


def other(network: Network, name: str, uniform: Array) -> Array:
    """Return the initial values of any tensor but W_hh. They are `uniform` unless the network says otherwise."""
    about = facts(network.cell)
    if name in {f"{state}0" for state in about.states}:
        return np.zeros_like(uniform)
    if isinstance(network.initialisation, Identity) and name in {"b_x", "b_h"}:
        return np.zeros_like(uniform)
    start = about.starts.get(name)
    return uniform if start is None else np.asarray(start(uniform))


def recurrent(network: Network, uniform: Array, generator: np.random.Generator, layer: int, replica: int) -> Array:
    """Return the initial W_hh [A, H], gate by gate, with constraints applied. `uniform` is its default value.

    Raises ConfigurationError (`no_spectral_radius`) if the connections that exist have only zero eigenvalues.
    """
    how, H = network.initialisation, network.cell.hidden_size
    if isinstance(how, Identity):
        return np.tile(how.scale * np.eye(H), (len(uniform) // H, 1))
    if how.type == "uniform":
        return connectivity.constrain(network, uniform, layer, replica)
    normal = generator.standard_normal(uniform.shape)
    if isinstance(how, Orthogonal):
        # The signs make the distribution uniform over orthogonal matrices (Mezzadri 2007).
        factors = (np.linalg.qr(block) for block in normal.reshape(-1, H, H))
        return np.concatenate([how.gain * q * np.sign(np.diag(r)) for q, r in factors])
    allowed = connectivity.mask(network, layer, replica)
    inputs = H if allowed is None else max(1.0, allowed.sum() / H)
    W_AH = connectivity.constrain(network, normal / sqrt(inputs), layer, replica)
    if isinstance(how, Gaussian):
        return how.gain * (W_AH if network.connectivity.symmetry == "none" else _as_wide(W_AH))
    assert isinstance(how, SpectralRadius | DaleBalanced)  # noqa: S101 - the others are above
    blocks = W_AH.reshape(-1, H, H)
    if isinstance(how, DaleBalanced):
        blocks = _balanced(blocks)
    radius = connectivity.spectral_radius(blocks)
    if radius.min() <= 1e-6 * np.linalg.norm(blocks):
        detail = "W_hh has only zero eigenvalues, which no scale makes a spectral radius"
        raise ConfigurationError("/model/initialisation", "no_spectral_radius", detail)
    return (blocks * (how.radius / radius)[:, None, None]).reshape(W_AH.shape)


def _as_wide(W_AH: Array) -> Array:
    """Scale symmetric or antisymmetric parts of normal matrices back to the variance of those matrices.

    The mean of two numbers has half their variance.
    """
    wide = sqrt(2) * W_AH.reshape(-1, W_AH.shape[1], W_AH.shape[1])
    diagonal = np.einsum("ghh->gh", wide)
    diagonal /= sqrt(2)
    return wide.reshape(W_AH.shape)


def _balanced(blocks: Array) -> Array:
    """Scale each row's inhibition to cancel its excitation. Rows that lack one of them do not change."""
    excitation, inhibition = np.clip(blocks, 0, None), np.clip(blocks, None, 0)
    e, i = excitation.sum(2, keepdims=True), -inhibition.sum(2, keepdims=True)
    scale = np.divide(e, i, out=np.ones_like(e), where=(e > 0) & (i > 0))
    return np.asarray(excitation + inhibition * scale)
