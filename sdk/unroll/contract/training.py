"""How a network is trained: loss, optimiser, clipping, and when to log, evaluate and checkpoint."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from unroll.contract.base import Request, default_type
from unroll.contract.limits import MAX_BATCH, MAX_LENGTH, MAX_STEPS

Weight = Annotated[float, Field(ge=0, le=1e6)]
Rate = Annotated[float, Field(gt=0, le=1e30)]
Small = Annotated[float, Field(ge=1e-30, le=1e6)]
Limit = Annotated[float, Field(ge=1e-30, le=1e30)]
Every = Annotated[int, Field(ge=1, le=MAX_STEPS)]


class _Loss(Request):
    time_weights: Annotated[list[Weight], Field(min_length=1, max_length=MAX_LENGTH)] | None = None
    """How often each output step counts, one number a step; 0 leaves it out. null: each counts once."""


class MSE(_Loss):
    """Mean squared error: the mean over valid batch x time x output elements."""

    type: Literal["mse"] = "mse"
    over: Literal["elements", "sequences"] = "elements"
    """elements: the mean over all elements; sequences (the course's form): each sequence's sum over time and outputs,
    and the mean of these over sequences."""


class CrossEntropy(_Loss):
    """Cross-entropy of softmax(y) against class probabilities, the mean over valid steps and sequences."""

    type: Literal["cross_entropy"] = "cross_entropy"


class BCE(_Loss):
    """Binary cross-entropy of sigmoid(y) against probabilities, the mean over valid batch x time x output elements."""

    type: Literal["bce"] = "bce"


class PoissonNLL(_Loss):
    """Negative log likelihood of counts with rates exp(y), without the term that is constant in y; mean as in mse."""

    type: Literal["poisson"] = "poisson"


LOSSES: dict[str, type[MSE | CrossEntropy | BCE | PoissonNLL]] = {
    "mse": MSE,
    "cross_entropy": CrossEntropy,
    "bce": BCE,
    "poisson": PoissonNLL,
}
Loss = Annotated[MSE | CrossEntropy | BCE | PoissonNLL, Field(discriminator="type"), default_type("mse")]


class Adam(Request):
    """Adam with bias correction (Kingma & Ba 2015, algorithm 1)."""

    type: Literal["adam"] = "adam"
    lr: Rate = 1e-3
    """Learning rate."""
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Decay of the first moment."""
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    """Decay of the second moment."""
    eps: Small = 1e-8
    """Added to the root of the second moment."""


class AdamW(Request):
    """Adam with weight decay that does not go through the moments (Loshchilov & Hutter 2019)."""

    type: Literal["adamw"] = "adamw"
    lr: Rate = 1e-3
    """Learning rate."""
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Decay of the first moment."""
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    """Decay of the second moment."""
    eps: Small = 1e-8
    """Added to the root of the second moment."""
    weight_decay: Annotated[float, Field(ge=0, le=1e3)] = 1e-2
    """Every step takes lr * weight_decay of each parameter away, biases included; of a learned tau, which is trained as
    tau = dt (1 + exp(-theta)), of theta: it then goes to 2 dt."""


class RMSprop(Request):
    """Steps divided by the root of a running mean of squared gradients (Tieleman & Hinton 2012)."""

    type: Literal["rmsprop"] = "rmsprop"
    lr: Rate = 1e-2
    """Learning rate."""
    alpha: Annotated[float, Field(ge=0, lt=1)] = 0.99
    """Decay of the running mean."""
    eps: Small = 1e-8
    """Added to the root."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Momentum."""


class SGD(Request):
    """Stochastic gradient descent, with momentum if asked for: v = momentum v + g, w = w - lr v."""

    type: Literal["sgd"] = "sgd"
    lr: Rate = 1e-2
    """Learning rate."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Momentum; 0 is plain gradient descent."""


class ClipByGlobalNorm(Request):
    """Scale a replica's gradient to `max_norm` where its norm over all parameters is larger."""

    type: Literal["global_norm"] = "global_norm"
    max_norm: Limit
    """The largest norm that is left as it is (Pascanu, Mikolov & Bengio 2013)."""


class ClipByValue(Request):
    """Move each number of a replica's gradient into +-max_value."""

    type: Literal["value"] = "value"
    max_value: Limit
    """The largest modulus that is left as it is."""


class StepDecay(Request):
    """The learning rate is multiplied by `factor` after every `every` steps."""

    type: Literal["step"] = "step"
    every: Every
    """Steps between two decays."""
    factor: Annotated[float, Field(gt=0, le=1)] = 0.1
    """What each decay leaves."""


class ExponentialDecay(Request):
    """The learning rate is halved every `half_life` steps, smoothly."""

    type: Literal["exponential"] = "exponential"
    half_life: Every
    """Steps to half the learning rate."""


class CosineDecay(Request):
    """The learning rate falls along half a cosine to `final` of it over `steps`, and stays there."""

    type: Literal["cosine"] = "cosine"
    steps: Every
    """Steps of the fall, from the first one on; those of a warm-up are among them. Where final is 0, no fewer than the
    job's."""
    final: Annotated[float, Field(ge=0, le=1)] = 0.0
    """The fraction that is left."""


class BPTT(Request):
    """Backpropagation through time."""

    window: Annotated[int, Field(ge=1, le=MAX_LENGTH)] | None = None
    """Truncation window in time steps: the state is carried from window to window, gradients do not cross; one update
    a batch. null: the whole sequence."""


class Regularisation(Request):
    """What is minimised besides the loss; reported apart from it, as `penalty`."""

    l1: Weight = 0.0
    """Times the sum of |w| over W_xh, W_hh and W_hy."""
    l2: Weight = 0.0
    """Times half the sum of w^2 over W_xh, W_hh and W_hy."""
    activity: Weight = 0.0
    """Times the mean of h^2 over units, sequences and their steps up to the last that counts (of an encoder the last it
    reads), summed over layers, those of an encoder and of its decoder."""
    orthogonality: Weight = 0.0
    """Times the sum of the squared entries of W'W - I, for each W_hh (and gate)."""
    omega: Weight = 0.0
    """Times how far gradients are from keeping their norm at each step back in time, squared, summed over steps (within
    windows, and within an encoder and its decoder) and layers, mean over sequences; only of cells without gates, and of
    decoders that are always forced; in the workspace engine (Pascanu, Mikolov & Bengio 2013, eq. 9)."""


Optimizer = Annotated[Adam | AdamW | SGD | RMSprop, Field(discriminator="type")]
Clip = Annotated[ClipByGlobalNorm | ClipByValue, Field(discriminator="type"), default_type("global_norm")]
Schedule = Annotated[StepDecay | ExponentialDecay | CosineDecay, Field(discriminator="type")]


class HeldOut(Request):
    """A fixed set of sequences, shared by all replicas and never trained on."""

    size: Annotated[int, Field(ge=1, le=MAX_BATCH)] = 512
    """Sequences in the set."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """The set depends on this seed and the task alone."""


class EarlyStopping(Request):
    """A replica stops when its held-out loss has not become lower for a while."""

    patience: Annotated[int, Field(ge=1, le=MAX_STEPS)] = 10
    """Evaluations in a row without improvement after which it stops."""
    min_delta: Annotated[float, Field(ge=0, le=1e30)] = 0.0
    """By more than this a loss must be lower to be an improvement."""


class Training(Request):
    """One training run."""

    steps: Annotated[int, Field(ge=1, le=MAX_STEPS)]
    """Optimiser steps."""
    batch_size: Annotated[int, Field(ge=1, le=MAX_BATCH)] = 64
    """B, sequences in the batch of each replica."""
    loss: Loss = MSE()
    """What is minimised."""
    regularisation: Regularisation = Regularisation()
    """What is minimised besides."""
    clip: Clip | None = None
    """Gradient clipping; null: none."""
    optimizer: Optimizer = Adam()
    """How parameters follow the gradient."""
    schedule: Schedule | None = None
    """How the learning rate falls; null: it stays."""
    warmup: Annotated[int, Field(ge=0, le=MAX_STEPS)] = 0
    """Steps over which the learning rate first rises from zero, linearly; a schedule counts them too."""
    bptt: BPTT = BPTT()
    """How gradients flow back through time."""
    teacher_forcing: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Of an encoder_decoder: the probability, drawn for each step of each sequence, that the decoder reads the last
    target rather than its own last output (Williams & Zipser 1989). Evaluations always run free."""
    held_out: HeldOut = HeldOut()
    """What evaluations are computed on."""
    evaluate_every: Every = 100
    """Steps between evaluations; the last step always has one. The best so far makes a checkpoint."""
    checkpoint_every: Every = 500
    """Steps between checkpoints; the last step always has one."""
    keep_checkpoints: Annotated[int, Field(ge=1, le=MAX_STEPS)] | None = 20
    """So many of the newest checkpoints are kept; null: all. Besides them the best one, those that a model serves,
    and the newest two that training can go on from, with what was best then."""
    log_every: Every = 1
    """Steps between logged metrics, of each replica: loss, gradient_norm and learning_rate; with clipping clipped_norm
    (after it) and clipped_fraction; with regularisation penalty."""
    profile_every: Every | None = None
    """Steps between per-lag profiles, the norms of dL/dh[t] of a training batch in the last layer (of an
    encoder_decoder over its encoder's steps and then its decoder's); null: none. Each costs a step."""
    early_stopping: EarlyStopping | None = None
    """When a replica stops for want of improvement, keeping its weights from then on; null: never. The job ends early
    when every replica has stopped or diverged."""
    stop_at_skill: Annotated[float, Field(gt=0, lt=1)] | None = None
    """A replica stops at an evaluation with this skill, 1 - held-out loss / baseline loss; null: never."""
