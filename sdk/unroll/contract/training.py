"""How a network is trained: loss, optimiser, clipping, and when to log, evaluate and checkpoint."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from unroll.contract.base import Request, default_type
from unroll.contract.limits import MAX_BATCH, MAX_STEPS

PositiveFloat = Annotated[float, Field(gt=0)]
Every = Annotated[int, Field(ge=1, le=MAX_STEPS)]


class MSE(Request):
    """Mean squared error: the mean over valid batch x time x output elements."""

    type: Literal["mse"] = "mse"
    over: Literal["elements", "sequences"] = "elements"
    """elements: the mean over all elements; sequences (the course's form): each sequence's sum over time and outputs,
    and the mean of these over sequences."""


class CrossEntropy(Request):
    """Cross-entropy of softmax(y) against class probabilities, the mean over valid steps and sequences."""

    type: Literal["cross_entropy"] = "cross_entropy"


class BCE(Request):
    """Binary cross-entropy of sigmoid(y) against probabilities, the mean over valid batch x time x output elements."""

    type: Literal["bce"] = "bce"


class PoissonNLL(Request):
    """Negative log likelihood of counts with rates exp(y), without the term that is constant in y; mean as in mse."""

    type: Literal["poisson"] = "poisson"


Loss = Annotated[MSE | CrossEntropy | BCE | PoissonNLL, Field(discriminator="type"), default_type("mse")]


class Adam(Request):
    """Adam with bias correction (Kingma & Ba 2015, algorithm 1)."""

    type: Literal["adam"] = "adam"
    lr: PositiveFloat = 1e-3
    """Learning rate."""
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Decay of the first moment."""
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    """Decay of the second moment."""
    eps: PositiveFloat = 1e-8
    """Added to the root of the second moment."""


class SGD(Request):
    """Stochastic gradient descent, with momentum if asked for: v = momentum v + g, w = w - lr v."""

    type: Literal["sgd"] = "sgd"
    lr: PositiveFloat = 1e-2
    """Learning rate."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Momentum; 0 is plain gradient descent."""


class ClipByGlobalNorm(Request):
    """Scale a replica's gradient to `max_norm` where its norm over all parameters is larger."""

    type: Literal["global_norm"] = "global_norm"
    max_norm: PositiveFloat
    """The largest norm that is left as it is (Pascanu, Mikolov & Bengio 2013)."""


class BPTT(Request):
    """Backpropagation through time."""

    window: None = None
    """Truncation window in time steps; null: the whole sequence."""


class HeldOut(Request):
    """A fixed set of sequences, shared by all replicas and never trained on."""

    size: Annotated[int, Field(ge=1, le=MAX_BATCH)] = 512
    """Sequences in the set."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """The set depends on this seed and the task alone."""


class Training(Request):
    """One training run."""

    steps: Annotated[int, Field(ge=1, le=MAX_STEPS)]
    """Optimiser steps."""
    batch_size: Annotated[int, Field(ge=1, le=MAX_BATCH)] = 64
    """B, sequences in the batch of each replica."""
    loss: Loss = MSE()
    """What is minimised."""
    clip: ClipByGlobalNorm | None = None
    """Gradient clipping; null: none."""
    optimizer: Annotated[Adam | SGD, Field(discriminator="type"), default_type("adam")] = Adam()
    """How parameters follow the gradient."""
    bptt: BPTT = BPTT()
    """How gradients flow back through time."""
    held_out: HeldOut = HeldOut()
    """What evaluations are computed on."""
    evaluate_every: Every = 100
    """Steps between evaluations; the last step always has one. The best so far makes a checkpoint."""
    checkpoint_every: Every = 500
    """Steps between checkpoints; the last step always has one."""
    log_every: Every = 1
    """Steps between logged metrics."""
