"""Constraints on the recurrent weights, how they start, and the certificate that they held."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from unroll.contract.base import Request, Response, default_type
from unroll.contract.limits import MAX_HIDDEN_SIZE

Row = Annotated[list[Literal[0, 1]], Field(max_length=MAX_HIDDEN_SIZE)]
Gain = Annotated[float, Field(gt=0, le=100)]


class Dale(Request):
    """Dale's law: all that a unit sends is of one sign, in every row (and gate) of W_hh."""

    excitatory: Annotated[float, Field(ge=0, le=1)] = 0.8
    """Fraction of the units that excite, the first ones; the number is rounded."""
    signs: Annotated[list[Literal[1, -1]], Field(min_length=1, max_length=MAX_HIDDEN_SIZE)] | None = None
    """The sign of each unit, instead of a fraction."""
    readout: Literal["all", "excitatory"] = "all"
    """Which units the readout sees."""


class Connectivity(Request):
    """Constraints on W_hh of every layer (and every gate). They hold at each step, by construction."""

    dale: Dale | None = None
    """Dale's law; null: units may both excite and inhibit."""
    density: Annotated[float, Field(gt=0, le=1.0)] = 1.0
    """Fraction of the possible connections that exist, drawn for each replica and layer; others are zero. With symmetry
    W_ij and W_ji are drawn as one."""
    mask: Annotated[list[Row], Field(max_length=MAX_HIDDEN_SIZE)] | None = None
    """mask[i][j] says whether unit j may connect to unit i; instead of a density."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Which connections exist depends on this seed, the replica and the layer alone."""
    symmetry: Literal["none", "symmetric", "antisymmetric"] = "none"
    """Symmetry of W_hh."""
    autapses: bool = True
    """Whether units may connect to themselves (the diagonal of W_hh)."""
    frozen: list[Literal["W_xh", "b_x", "W_hh", "b_h", "W_hy", "b_y"]] = []
    """Tensors that keep their initial values, in every layer."""
    frozen_weights: Annotated[list[Row], Field(max_length=MAX_HIDDEN_SIZE)] | None = None
    """1 in row i, column j: the weight from unit j to unit i (of each gate) keeps its initial value; others learn."""


class Uniform(Request):
    """Uniform in +-1/sqrt(H), as in PyTorch."""

    type: Literal["uniform"] = "uniform"


class Orthogonal(Request):
    """A random orthogonal matrix times a gain (Saxe, McClelland & Ganguli 2014)."""

    type: Literal["orthogonal"] = "orthogonal"
    gain: Gain = 1.0
    """All singular values."""


class Identity(Request):
    """The identity times a scale, and b_x = b_h = 0 (IRNN: Le, Jaitly & Hinton 2015)."""

    type: Literal["identity"] = "identity"
    scale: Gain = 1.0
    """The diagonal."""


class Gaussian(Request):
    """Independent normal weights of standard deviation gain/sqrt(K); a unit may receive K connections on average."""

    type: Literal["gaussian"] = "gaussian"
    gain: Gain = 1.0
    """g; from g > 1 large networks are chaotic (Sompolinsky, Crisanti & Sommers 1988)."""


class SpectralRadius(Request):
    """Normal weights, scaled so that the largest modulus of an eigenvalue of W_hh is what is asked for."""

    type: Literal["spectral_radius"] = "spectral_radius"
    radius: Gain = 0.95
    """The spectral radius."""


class DaleBalanced(Request):
    """Excitation and inhibition that cancel in each row, so that no eigenvalue lies outside the others' disc.

    Rajan & Abbott 2006; then scaled to a spectral radius.
    """

    type: Literal["dale_balanced"] = "dale_balanced"
    radius: Gain = 0.95
    """The spectral radius."""


Initialisation = Annotated[
    Uniform | Orthogonal | Identity | Gaussian | SpectralRadius | DaleBalanced,
    Field(discriminator="type"),
    default_type("uniform"),
]


class LayerCertificate(Response):
    """What was counted in one layer's W_hh."""

    violations: list[int]
    """Weights of each replica that break a constraint: 0."""
    spectral_radius: list[list[float]] | None
    """The largest modulus of an eigenvalue, of each replica and gate; null where replicas x gates x H^3 > 5e9."""
    balance: list[float] | None
    """Of each replica, the mean over rows of (excitation - inhibition)/(excitation + inhibition); null without Dale."""


class Certificate(Response):
    """That a checkpoint's weights are what their configuration says, counted in the weights themselves."""

    layers: list[LayerCertificate]
