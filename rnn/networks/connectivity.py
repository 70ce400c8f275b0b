"""Computes which recurrent connections a network may have, and certifies that it has no others. NumPy only.

W_hh [A, H] has one block of H x H for each gate; a constraint holds for each block. Row i, column j is the connection
from unit j to unit i.
"""

from __future__ import annotations

from itertools import islice, product
from typing import Any

import numpy as np
import numpy.typing as npt

from rnn.cells.facts import facts
from rnn.pulse import beat
from rnn.randomness.streams import Purpose, Stream
from unroll.contract import Certificate, LayerCertificate, Network

Array = npt.NDArray[Any]
_LARGEST = 5 * 10**9
"""The largest R H³ (for each gate) up to which spectral radii are computed. It takes a few seconds, like one training
step of such a network."""

_MANY = 16
_MOST_DRAWN = 1_000_000
"""The largest number of possible connections that `acyclic` draws, because the API waits for it: about 0.05 s."""


def is_constrained(network: Network) -> bool:
    """Return whether raw and used parameters differ."""
    c = network.connectivity
    learned = bool(facts(network.cell).learned)
    return learned or not (c.dale is None and c.density == 1 and c.mask is None and c.symmetry == "none" and c.autapses)


def signs(network: Network) -> npt.NDArray[np.int8] | None:
    """Return +1 or -1 for each unit, [H]; None without Dale's law."""
    dale, H = network.connectivity.dale, network.cell.hidden_size
    if dale is None:
        return None
    if dale.signs is not None:
        return np.array(dale.signs, np.int8)
    return np.where(np.arange(H) < round(dale.excitatory * H), 1, -1).astype(np.int8)


def read_units(network: Network) -> npt.NDArray[np.bool_] | None:
    """Return which units the readout reads, [H]; None means all."""
    sign_H, dale = signs(network), network.connectivity.dale
    return sign_H > 0 if sign_H is not None and dale is not None and dale.readout == "excitatory" else None


def mask(network: Network, layer: int, replica: int) -> npt.NDArray[np.bool_] | None:
    """Return which connections may exist, [H, H]; None means all.

    With a density, exactly round(density x possible) connections exist. In symmetric networks W_ij and W_ji count as
    one.
    """
    connectivity, H = network.connectivity, network.cell.hidden_size
    paired = connectivity.symmetry != "none"
    if connectivity.mask is not None:
        allowed = np.array(connectivity.mask, bool).reshape(H, H)
    elif connectivity.density < 1 or not connectivity.autapses:
        allowed = np.ones((H, H), bool)
    else:
        return None
    if not connectivity.autapses or connectivity.symmetry == "antisymmetric":
        np.fill_diagonal(allowed, val=False)
    if connectivity.density < 1:
        possible = np.flatnonzero(np.tril(allowed) if paired else allowed)
        generator = Stream(connectivity.seed, Purpose.CONNECTIVITY, replica).at(layer)
        chosen = generator.permutation(possible)[: round(connectivity.density * len(possible))]
        allowed = np.zeros((H, H), bool)
        allowed.flat[chosen] = True
        if paired:
            allowed |= allowed.T
    return allowed


def connects(network: Network) -> bool:
    """Return whether any recurrent connection may exist. No connection is drawn, however many units there are."""
    c, H = network.connectivity, network.cell.hidden_size
    if c.mask is not None:
        allowed_HH = mask(network, 0, 0)
        return allowed_HH is None or bool(allowed_HH.any())
    if c.density == 1 and c.autapses:
        return True
    to_others = H * (H - 1) if c.symmetry == "none" else H * (H - 1) // 2
    to_themselves = H if c.autapses and c.symmetry != "antisymmetric" else 0
    return round(c.density * (to_others + to_themselves)) > 0


def acyclic(network: Network, replicas: int, layers: int) -> bool:
    """Return whether some replica's connections in a layer form no cycle, so that W_hh has only zero eigenvalues.

    `layers` counts the layers of all stacks together. The search is skipped if units receive so many connections that
    it does not happen (_MANY or more on average, with more units than that). It looks at as many replicas and layers as
    it can draw quickly (_MOST_DRAWN); in the others, the initialisation finds such connections when the job runs.
    """
    c, H = network.connectivity, network.cell.hidden_size
    if c.mask is None and c.density * H >= _MANY and H > _MANY:
        return False
    drawn = 1 if c.density == 1 else replicas
    looked_at = islice(product(range(drawn), range(layers if c.density < 1 else 1)), _MOST_DRAWN // H**2)
    masks = (mask(network, layer, r) for r, layer in looked_at)
    return any(_is_acyclic(allowed) for allowed in masks if allowed is not None)


def _is_acyclic(allowed_HH: npt.NDArray[np.bool_]) -> bool:
    """Remove units that receive nothing until none is left (no cycle) or all receive something (a cycle)."""
    while len(allowed_HH):
        receives = allowed_HH.any(1)
        if receives.all():
            return False
        allowed_HH = allowed_HH[np.ix_(receives, receives)]
    return True


def frozen_weights(network: Network) -> npt.NDArray[np.bool_] | None:
    """Return which single weights keep their initial values, [H, H]; None means none.

    It is the same in every layer, gate and replica.
    """
    frozen = network.connectivity.frozen_weights
    return None if frozen is None or not any(map(any, frozen)) else np.array(frozen, bool)


def learns(network: Network) -> bool:
    """Return whether some weight of W_hh changes in training: it may differ from zero and is not frozen."""
    c = network.connectivity
    if not facts(network.cell).recurrent or "W_hh" in c.frozen:
        return False
    frozen_HH = frozen_weights(network)
    if frozen_HH is None:
        return True
    # With a density, each replica and each layer draws its own connections.
    allowed_HH = mask(network, 0, 0) if c.density == 1 else None
    return bool((~frozen_HH if allowed_HH is None else allowed_HH & ~frozen_HH).any())


def constrain(network: Network, W_AH: Array, layer: int, replica: int) -> Array:
    """Return W_hh changed so that it satisfies the constraints. If it satisfies them already, nothing changes."""
    H, symmetry = network.cell.hidden_size, network.connectivity.symmetry
    W = W_AH.reshape(-1, H, H)
    if symmetry != "none":
        W = (W + W.swapaxes(1, 2)) / 2 if symmetry == "symmetric" else (W - W.swapaxes(1, 2)) / 2
    allowed, sign_H = mask(network, layer, replica), signs(network)
    if allowed is not None:
        W = W * allowed
    if sign_H is not None:
        W = np.abs(W) * sign_H
    return W.reshape(W_AH.shape)


def certificate(
    network: Network, tensors: dict[str, Array], start: dict[str, Array] | None = None
) -> Certificate | None:
    """Count violations of the constraints in the weights themselves, [R, …] by name; None for a cell without W_hh.

    With `start`, earlier weights of the same networks, it also counts frozen weights that have changed since.
    """
    if not facts(network.cell).recurrent:
        return None
    H = network.cell.hidden_size
    sign_H, read_H, frozen_HH = signs(network), read_units(network), frozen_weights(network)
    layers = []
    names = [name for name in tensors if name.endswith(".W_hh")]
    for n, name in enumerate(names):
        W_RGHH = tensors[name]
        W_RGHH = W_RGHH.reshape(len(W_RGHH), -1, H, H).astype(np.float64)
        bad = np.zeros(W_RGHH.shape, bool)
        for r in range(len(W_RGHH)):
            allowed = mask(network, n, r)
            if allowed is not None:
                bad[r] |= (W_RGHH[r] != 0) & ~allowed
        if network.connectivity.symmetry != "none":
            mirrored = W_RGHH.swapaxes(2, 3)
            bad |= (mirrored if network.connectivity.symmetry == "symmetric" else -mirrored) != W_RGHH
        if start is not None and frozen_HH is not None:
            bad |= (start[name].reshape(W_RGHH.shape) != W_RGHH) & frozen_HH
        balance = None
        if sign_H is not None:
            bad |= W_RGHH * sign_H < 0
            total = np.abs(W_RGHH).sum(3)
            rows = np.divide(W_RGHH.sum(3), total, out=np.zeros_like(total), where=total > 0)
            balance = rows.mean((1, 2)).tolist()
        violations = bad.sum((1, 2, 3))
        if read_H is not None and name == names[-1]:
            violations += (tensors["readout.W_hy"][:, :, ~read_H] != 0).sum((1, 2))
        radius = spectral_radius(W_RGHH).tolist() if W_RGHH.size * H <= _LARGEST else None
        layers.append(LayerCertificate(violations=violations.tolist(), spectral_radius=radius, balance=balance))
    return Certificate(layers=layers)


def spectral_radius(W: Array) -> Array:
    """Return max |eigenvalue| of square matrices [..., H, H] in float64, by Gelfand's formula ‖W^k‖^(1/k) at k = 2^24.

    Repeated squaring with rescaling needs a few GEMMs instead of an eigendecomposition. Its error is the norm's
    condition to the power 2^-24, and rounding.
    """
    power = W.astype(np.float64)
    logarithm = np.zeros(W.shape[:-2])
    for k in range(25):
        norm = np.linalg.norm(power, axis=(-2, -1))
        if k == 0:
            zero = norm == 0
        with np.errstate(divide="ignore"):
            logarithm += np.log(norm) / 2.0**k
        safe = np.where(norm > 0, norm, 1.0)[..., None, None]
        power = power / safe
        power = power @ power
        beat()
    return np.where(zero, 0.0, np.exp(logarithm))
