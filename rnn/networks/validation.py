"""Finds contradictions in a network that hold for any data. NumPy only."""

from __future__ import annotations

import numpy as np

from rnn.cells.facts import TimeConstant, facts
from rnn.errors import ConfigurationError
from rnn.networks import connectivity
from rnn.networks.parameters import layout, places
from unroll.contract import Connectivity, Dale, Network

_MOST_STEPS = 1e6
"""The largest time constant, in time steps, because 1 - dt/tau has seven digits in float32."""
NO_CYCLE = "the connections that exist make no cycle: W_hh has only zero eigenvalues and no spectral radius"


def validate_network(network: Network) -> None:
    """Raise ConfigurationError with the reason and a JSON Pointer relative to the job, below /model."""
    about = facts(network.cell)
    for name, constant in about.time_constants.items():
        _validate_time_constant(name, constant, about.hidden_size)
    if not about.recurrent and network.h0 == "trainable":
        raise ConfigurationError("/model/h0", "contradiction", "a feed-forward cell does not read its state")
    if not about.recurrent and (network.connectivity != Connectivity(frozen=network.connectivity.frozen)):
        detail = "a feed-forward cell has no recurrent weights to constrain"
        raise ConfigurationError("/model/connectivity", "contradiction", detail)
    if not about.recurrent and network.initialisation.type != "uniform":
        detail = "a feed-forward cell has no recurrent weights to initialise"
        raise ConfigurationError("/model/initialisation", "contradiction", detail)
    if network.feedback != "identity" and network.architecture != "encoder_decoder":
        detail = f"only the decoder of an encoder_decoder reads its outputs; this network is {network.architecture}"
        raise ConfigurationError("/model/feedback", "contradiction", detail)
    if network.vocabulary_size is not None and about.noise.input:
        detail = "inputs are tokens, which are whole numbers: there is nothing to add noise to"
        raise ConfigurationError("/model/cell/noise/input", "contradiction", detail)
    if not about.recurrent and network.architecture in {"one_to_many", "encoder_decoder"}:
        detail = f"a feed-forward cell remembers nothing, and {network.architecture} needs what came before"
        raise ConfigurationError("/model/architecture", "contradiction", detail)
    _validate_connectivity(network)
    _validate_initialisation(network)


def _validate_time_constant(name: str, constant: TimeConstant, units: int) -> None:
    pointer, dt = f"/model/cell/{name}", constant.dt
    values = constant.tau if isinstance(constant.tau, list) else [constant.tau]
    if isinstance(constant.tau, list) and len(values) != units:
        detail = f"{len(values)} time constants for {units} units"
        raise ConfigurationError(pointer, "wrong_length", detail)
    if min(values) < dt:
        detail = f"{name} {min(values)} is smaller than dt {dt}: the step would overshoot"
        raise ConfigurationError(pointer, "too_small", detail)
    if max(values) > _MOST_STEPS * dt:
        detail = f"dt {dt} is less than {1 / _MOST_STEPS:g} of {name} {max(values)}: float32 would lose the step"
        raise ConfigurationError("/model/cell/dt", "too_small", detail)
    if constant.learned == "no":
        return
    if min(values) < 1.001 * dt:
        detail = f"a learned {name} must start at {1.001 * dt:g} or more, because it stays above dt {dt:g}"
        raise ConfigurationError(pointer, "too_small", detail)
    if constant.learned == "shared" and len(set(values)) > 1:
        raise ConfigurationError(pointer, "contradiction", f"one {name} for all units cannot start from several values")


def _validate_connectivity(network: Network) -> None:
    c, H = network.connectivity, network.cell.hidden_size
    _validate_frozen(network)
    if not facts(network.cell).recurrent:
        return

    def refuse(field: str, detail: str, code: str = "contradiction") -> ConfigurationError:
        return ConfigurationError(f"/model/connectivity/{field}", code, detail)

    if c.mask is not None:
        if len(c.mask) != H or any(len(row) != H for row in c.mask):
            raise refuse("mask", f"the mask must be {H} x {H}, a row for each unit", "wrong_length")
        if c.density < 1:
            raise refuse("density", "a mask already says which connections exist")
        if c.symmetry != "none" and any(c.mask[i][j] != c.mask[j][i] for i in range(H) for j in range(i)):
            raise refuse("mask", f"the mask of a {c.symmetry} W_hh must be symmetric")
    if c.frozen_weights is not None:
        if len(c.frozen_weights) != H or any(len(row) != H for row in c.frozen_weights):
            raise refuse("frozen_weights", f"frozen_weights must be {H} x {H}, a row for each unit", "wrong_length")
        frozen_HH = connectivity.frozen_weights(network)
        if c.symmetry != "none" and frozen_HH is not None and (frozen_HH != frozen_HH.T).any():
            detail = f"in a {c.symmetry} W_hh the weights W_ij and W_ji can only be frozen together"
            raise refuse("frozen_weights", detail)
        rest = {slot.name.rpartition(".")[2] for slot in layout(network)} - set(c.frozen)
        if rest == {"W_hh"} and not connectivity.learns(network):
            detail = "every weight that may exist is frozen: there is nothing to train"
            raise refuse("frozen_weights", detail)
    if not connectivity.connects(network):
        field = "mask" if c.mask is not None else "density" if c.density < 1 else "autapses"
        raise refuse(field, f"no connection among the {H} units is left; a network without any is the feedforward cell")
    if H == 1 and c.symmetry == "antisymmetric":
        raise refuse("symmetry", "an antisymmetric W_hh of one unit is zero")
    if c.dale is None:
        return
    if c.dale.signs is not None and c.dale.excitatory != Dale().excitatory:
        raise refuse("dale/excitatory", "the signs already say which units excite")
    if c.dale.signs is not None and len(c.dale.signs) != H:
        raise refuse("dale/signs", f"{len(c.dale.signs)} signs for {H} units", "wrong_length")
    if c.symmetry == "antisymmetric":
        raise refuse(
            "symmetry",
            "Dale's law needs one sign in each column, antisymmetry needs opposite ones for W_ij and W_ji",
        )
    sign_H = connectivity.signs(network)
    assert sign_H is not None  # noqa: S101 - dale is not None
    if c.dale.signs is None and 0 < c.dale.excitatory < 1 and len(set(sign_H.tolist())) == 1:
        kind = "inhibitory" if sign_H[0] > 0 else "excitatory"
        detail = (
            f"with {c.dale.excitatory:g} of {H} units excitatory, no unit is {kind}; give 0 or 1, signs, or more units"
        )
        raise refuse("dale/excitatory", detail)
    if c.symmetry == "symmetric" and len(set(sign_H.tolist())) > 1:
        detail = "symmetry needs one sign for W_ij and W_ji, Dale's law two for units of different signs"
        raise refuse("symmetry", detail)
    if c.dale.readout == "excitatory" and not (sign_H > 0).any():
        raise refuse("dale/readout", "there are no excitatory units to read")


def _validate_frozen(network: Network) -> None:
    c = network.connectivity
    there = {slot.name.rpartition(".")[2] for slot in layout(network)}

    def refuse(field: str, detail: str) -> ConfigurationError:
        return ConfigurationError(f"/model/connectivity/{field}", "contradiction", detail)

    for k, name in enumerate(c.frozen):
        if name not in there:
            raise refuse(f"frozen/{k}", f"a {network.cell.type} network has no {name}")
        if name in c.frozen[:k]:
            raise refuse(f"frozen/{k}", f"{name} is named twice")
    if there <= set(c.frozen):
        raise refuse("frozen", "every tensor is frozen: there is nothing to train")
    if "W_hh" in c.frozen and c.frozen_weights is not None:
        raise refuse("frozen_weights", "all of W_hh is already frozen")


def _validate_initialisation(network: Network) -> None:
    how = network.initialisation
    pointer = "/model/initialisation"
    if how.type in {"spectral_radius", "dale_balanced"} and connectivity.acyclic(network, 1, len(places(network))):
        raise ConfigurationError(pointer, "no_spectral_radius", NO_CYCLE)
    if how.type == "dale_balanced":
        sign_H = connectivity.signs(network)
        if sign_H is None or len(set(sign_H.tolist())) < 2:
            raise ConfigurationError(
                pointer, "contradiction", "dale_balanced needs Dale's law with units of both signs"
            )
    if how.type == "identity" and len(facts(network.cell).gates) > 1:
        raise ConfigurationError(pointer, "contradiction", "the identity can initialise only cells without gates")
    if how.type in {"identity", "orthogonal"} and not _leaves(how.type, network):
        raise ConfigurationError(pointer, "contradiction", f"the constraints would change the {how.type} matrix")


def _leaves(kind: str, network: Network) -> bool:
    """Return whether the constraints leave every matrix of this kind unchanged."""
    c, sign_H = network.connectivity, connectivity.signs(network)
    if c.density < 1 or not c.autapses:
        return False
    allowed_HH = None if c.mask is None else np.array(c.mask, bool)
    if kind == "identity":
        on_diagonal = allowed_HH is None or bool(allowed_HH.diagonal().all())
        return c.symmetry != "antisymmetric" and on_diagonal and (sign_H is None or bool((sign_H > 0).all()))
    return c.dale is None and c.symmetry == "none" and (allowed_HH is None or bool(allowed_HH.all()))
