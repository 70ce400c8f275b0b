"""Constraints on the recurrent weights, their initialisation, and the certificate that the constraints held."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from unroll.contract.base import Request, Response, Shorthand
from unroll.contract.limits import MAX_HIDDEN_SIZE, MAX_MASKED

Row = Annotated[list[Literal[0, 1]], Field(max_length=MAX_MASKED, fail_fast=True)]
"""One row of a matrix. Validation stops at the first wrong item, because thousands of errors help nobody."""
Rows = Annotated[list[Row], Field(max_length=MAX_MASKED, fail_fast=True)]
Gain = Annotated[float, Field(gt=0, le=100)]


class Dale(Request):
    """Dale's law: all outgoing weights of a unit have one sign, in every row (and gate) of W_hh."""

    excitatory: Annotated[float, Field(ge=0, le=1)] = 0.8
    """Fraction of the units that are excitatory, rounded to a whole number of units; these are the first ones."""
    signs: Annotated[list[Literal[1, -1]], Field(min_length=1, max_length=MAX_HIDDEN_SIZE, fail_fast=True)] | None = (
        None
    )
    """Sign of each unit, given instead of a fraction."""
    readout: Literal["all", "excitatory"] = "all"
    """Which units the readout uses."""


class Connectivity(Request):
    """Constraints on W_hh of every layer (and every gate). They hold at every step, by construction."""

    dale: Dale | None = None
    """Dale's law. null: a unit may both excite and inhibit."""
    density: Annotated[float, Field(gt=0, le=1.0, examples=[0.5])] = 1.0
    """Fraction of the possible connections that exist, drawn for each replica and layer; the other weights are zero.
    With a symmetry, W_ij and W_ji are drawn together."""
    mask: Rows | None = None
    """mask[i][j] is 1 if unit j may connect to unit i; given instead of a density."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Seed of the connections that exist. They depend only on this seed, the replica and the layer."""
    symmetry: Literal["none", "symmetric", "antisymmetric"] = "none"
    """Symmetry of W_hh."""
    autapses: bool = True
    """Whether units may connect to themselves (the diagonal of W_hh)."""
    frozen: Annotated[list[Literal["W_xh", "b_x", "W_hh", "b_h", "W_hy", "b_y"]], Field(max_length=6)] = []
    """Tensors that keep their initial values, in every layer."""
    frozen_weights: Rows | None = None
    """A 1 in row i, column j keeps the weight from unit j to unit i (in each gate) at its initial value; the others
    learn."""


class Uniform(Request):
    """Uniform weights between -1/sqrt(H) and 1/sqrt(H), as in PyTorch."""

    type: Literal["uniform"] = "uniform"


class Orthogonal(Request):
    """A random orthogonal matrix times a gain (Saxe, McClelland & Ganguli 2014)."""

    type: Literal["orthogonal"] = "orthogonal"
    gain: Gain = 1.0
    """Gain, the value of all singular values."""


class Identity(Request):
    """The identity matrix times a scale, and b_x = b_h = 0 (IRNN: Le, Jaitly & Hinton 2015)."""

    type: Literal["identity"] = "identity"
    scale: Gain = 1.0
    """Value of the diagonal entries."""


class Gaussian(Request):
    """Independent normal weights with standard deviation gain/sqrt(K).

    K is the mean number of connections that a unit may receive.
    """

    type: Literal["gaussian"] = "gaussian"
    gain: Gain = 1.0
    """Gain g; large networks are chaotic for g > 1 (Sompolinsky, Crisanti & Sommers 1988)."""


class SpectralRadius(Request):
    """Normal weights, scaled so that W_hh has the given spectral radius (the largest modulus of its eigenvalues)."""

    type: Literal["spectral_radius"] = "spectral_radius"
    radius: Gain = 0.95
    """Spectral radius."""


class DaleBalanced(Request):
    """Excitation and inhibition that cancel in each row, so that no eigenvalue lies outside the disc of the others.

    The weights are then scaled to a spectral radius. Source: Rajan & Abbott 2006.
    """

    type: Literal["dale_balanced"] = "dale_balanced"
    radius: Gain = 0.95
    """Spectral radius."""


Initialisation = Annotated[
    Uniform | Orthogonal | Identity | Gaussian | SpectralRadius | DaleBalanced,
    Field(discriminator="type"),
    Shorthand("uniform"),
]
"""How W_hh is initialised. A bare name is short for an object: "orthogonal" for {"type": "orthogonal"}."""


class LayerCertificate(Response):
    """What was counted in W_hh of one layer."""

    violations: list[int]
    """Number of weights that break a constraint, for each replica; always 0."""
    spectral_radius: list[list[float]] | None
    """Largest modulus of an eigenvalue, for each replica and gate; null where replicas x gates x H^3 > 5e9."""
    balance: list[float] | None
    """Mean over rows of (excitation - inhibition)/(excitation + inhibition), for each replica; null without Dale's
    law."""


class Certificate(Response):
    """Evidence that a checkpoint obeys its configuration's constraints, counted in the weights themselves."""

    layers: list[LayerCertificate]
