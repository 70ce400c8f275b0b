"""How a network is trained: loss, optimiser, clipping, and when to log, evaluate and save checkpoints."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from unroll.contract.base import Request, Shorthand
from unroll.contract.limits import MAX_BATCH, MAX_LENGTH, MAX_STEPS

Weight = Annotated[float, Field(ge=0, le=1e6)]
Rate = Annotated[float, Field(gt=0, le=1e30)]
Small = Annotated[float, Field(ge=1e-30, le=1e6)]
Limit = Annotated[float, Field(ge=1e-30, le=1e30)]
Every = Annotated[int, Field(ge=1, le=MAX_STEPS)]


class _Loss(Request):
    time_weights: Annotated[list[Weight], Field(min_length=1, max_length=MAX_LENGTH, fail_fast=True)] | None = None
    """Weight of each output step in the loss, one number for each step; 0 leaves the step out. null: all weights
    are 1."""


class MSE(_Loss):
    """Mean squared error, averaged over valid batch x time x output elements."""

    type: Literal["mse"] = "mse"
    over: Literal["elements", "sequences"] = "elements"
    """elements: the mean over all elements. sequences (the course's form): the squared errors of each sequence are
    summed over time and outputs, then averaged over sequences."""


class CrossEntropy(_Loss):
    """Cross-entropy of softmax(y) against class probabilities, averaged over valid steps and sequences."""

    type: Literal["cross_entropy"] = "cross_entropy"


class BCE(_Loss):
    """Binary cross-entropy of sigmoid(y) against probabilities, averaged over valid batch x time x output elements."""

    type: Literal["bce"] = "bce"


class PoissonNLL(_Loss):
    """Poisson negative log likelihood of counts with rates exp(y), averaged as in mse.

    The term that does not depend on y is left out.
    """

    type: Literal["poisson"] = "poisson"


LOSSES: dict[str, type[MSE | CrossEntropy | BCE | PoissonNLL]] = {
    "mse": MSE,
    "cross_entropy": CrossEntropy,
    "bce": BCE,
    "poisson": PoissonNLL,
}
Loss = Annotated[MSE | CrossEntropy | BCE | PoissonNLL, Field(discriminator="type"), Shorthand("mse")]


class Adam(Request):
    """Adam with bias correction (Kingma & Ba 2015, algorithm 1)."""

    type: Literal["adam"] = "adam"
    lr: Rate = 1e-3
    """Learning rate."""
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Decay rate of the first moment."""
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    """Decay rate of the second moment."""
    eps: Small = 1e-8
    """Number added to the root of the second moment."""


class AdamW(Request):
    """Adam with decoupled weight decay, which does not enter the moments (Loshchilov & Hutter 2019)."""

    type: Literal["adamw"] = "adamw"
    lr: Rate = 1e-3
    """Learning rate."""
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Decay rate of the first moment."""
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    """Decay rate of the second moment."""
    eps: Small = 1e-8
    """Number added to the root of the second moment."""
    weight_decay: Annotated[float, Field(ge=0, le=1e3)] = 1e-2
    """Every step subtracts lr * weight_decay times each parameter, biases included. A learned tau is trained as tau =
    dt (1 + exp(-theta)), and theta decays, so tau moves towards 2 dt."""


class RMSprop(Request):
    """Steps divided by the root of a running mean of squared gradients (Tieleman & Hinton 2012)."""

    type: Literal["rmsprop"] = "rmsprop"
    lr: Rate = 1e-2
    """Learning rate."""
    alpha: Annotated[float, Field(ge=0, lt=1)] = 0.99
    """Decay rate of the running mean."""
    eps: Small = 1e-8
    """Number added to the root."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Momentum."""


class SGD(Request):
    """Stochastic gradient descent, with optional momentum: v = momentum v + g, w = w - lr v."""

    type: Literal["sgd"] = "sgd"
    lr: Rate = 1e-2
    """Learning rate."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Momentum; 0 is plain gradient descent."""


class ClipByGlobalNorm(Request):
    """Scale a replica's gradient down to `max_norm` if its norm over all parameters is larger."""

    type: Literal["global_norm"] = "global_norm"
    max_norm: Annotated[Limit, Field(examples=[1.0])]
    """Largest norm that is left unchanged (Pascanu, Mikolov & Bengio 2013)."""


class ClipByValue(Request):
    """Limit each number of a replica's gradient to the range from -max_value to max_value."""

    type: Literal["value"] = "value"
    max_value: Annotated[Limit, Field(examples=[1.0])]
    """Largest absolute value that is left unchanged."""


class StepDecay(Request):
    """Multiply the learning rate by `factor` after every `every` steps."""

    type: Literal["step"] = "step"
    every: Annotated[Every, Field(examples=[1000])]
    """Number of steps between two decays."""
    factor: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Factor by which each decay multiplies the learning rate."""


class ExponentialDecay(Request):
    """Halve the learning rate every `half_life` steps, smoothly."""

    type: Literal["exponential"] = "exponential"
    half_life: Annotated[Every, Field(examples=[1000])]
    """Number of steps in which the learning rate halves."""


class CosineDecay(Request):
    """Lower the learning rate along half a cosine over `steps` steps, from its full value to the fraction `final`.

    It then stays there.
    """

    type: Literal["cosine"] = "cosine"
    steps: Annotated[Every, Field(examples=[2000])]
    """Number of steps until the lowest rate, counted from the first step, warm-up included. If final is 0, at least
    the job's number of steps."""
    final: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Fraction of the learning rate that remains."""


class BPTT(Request):
    """How backpropagation through time is truncated."""

    window: Annotated[int, Field(ge=1, le=MAX_LENGTH, examples=[20])] | None = None
    """Truncation window in time steps: the state passes from window to window, gradients do not; each batch makes one
    update. null: the whole sequence."""


class Regularisation(Request):
    """Penalties that are added to the loss and reported separately, as `penalty`."""

    l1: Weight = 0.0
    """Factor of the sum of |w| over W_xh, W_hh and W_hy."""
    l2: Annotated[Weight, Field(examples=[1e-4])] = 0.0
    """Factor of half the sum of w^2 over W_xh, W_hh and W_hy."""
    activity: Weight = 0.0
    """Factor of the mean of h^2, summed over layers (for an encoder_decoder those of the encoder and of the decoder).
    The mean is over units, sequences and the steps of each sequence up to the last one that counts (for an encoder,
    the last one that it reads)."""
    orthogonality: Weight = 0.0
    """Factor of the sum of the squared entries of W'W - I, for each W_hh (and gate)."""
    omega: Weight = 0.0
    """Factor of Omega, which punishes gradients that change their norm while they travel back in time: the squared
    relative change at each step, summed over steps and layers, averaged over sequences. Steps are counted within
    windows, and within an encoder and its decoder. Available only for cells without gates, and for decoders that
    always read the targets; it is computed by the workspace engine (Pascanu, Mikolov & Bengio 2013, eq. 9)."""


Optimizer = Annotated[Adam | AdamW | SGD | RMSprop, Field(discriminator="type"), Shorthand("adam")]
Clip = Annotated[
    ClipByGlobalNorm | ClipByValue, Field(discriminator="type"), Shorthand("global_norm", number="max_norm")
]
Schedule = Annotated[StepDecay | ExponentialDecay | CosineDecay, Field(discriminator="type"), Shorthand()]


class HeldOut(Request):
    """A fixed set of sequences that all replicas share and that is never used for training."""

    size: Annotated[int, Field(ge=1, le=MAX_BATCH)] = 512
    """Number of sequences in the set."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Seed of the set. The set depends only on this seed and on the task."""


class EarlyStopping(Request):
    """Stop a replica when its held-out loss has not improved for a while."""

    patience: Annotated[int, Field(ge=1, le=MAX_STEPS)] = 10
    """Number of consecutive evaluations without improvement after which the replica stops."""
    min_delta: Annotated[float, Field(ge=0, le=1e30)] = 0.0
    """Minimum decrease that counts as an improvement; the decrease must be larger."""


class Training(Request):
    """The configuration of one training run."""

    steps: Annotated[int, Field(ge=1, le=MAX_STEPS, examples=[2000])]
    """Number of optimiser steps."""
    batch_size: Annotated[int, Field(ge=1, le=MAX_BATCH)] = 64
    """Number of sequences in the batch of each replica, B."""
    loss: Loss = MSE()
    """The loss that is minimised. A bare name is short for an object: "mse" for {"type": "mse"}."""
    regularisation: Regularisation = Regularisation()
    """Penalties that are added to the loss."""
    clip: Clip | None = None
    """Gradient clipping. A bare number is short for the largest norm: 1.0 for {"type": "global_norm", "max_norm": 1.0}.
    null: no clipping."""
    optimizer: Optimizer = Adam()
    """How the gradient changes the parameters. A bare name is short for an object: "adam" for {"type": "adam"}. An
    object without a `type` is Adam."""
    schedule: Schedule | None = None
    """How the learning rate falls. null: it is constant."""
    warmup: Annotated[int, Field(ge=0, le=MAX_STEPS)] = 0
    """Number of steps in which the learning rate first rises linearly from zero; a schedule counts these steps too."""
    bptt: BPTT = BPTT()
    """How gradients flow back through time."""
    teacher_forcing: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Probability that the decoder of an encoder_decoder reads the last target instead of its own last output, drawn
    for each step of each sequence (Williams & Zipser 1989). In evaluations the decoder always reads its own outputs."""
    held_out: HeldOut = HeldOut()
    """The sequences on which evaluations are computed."""
    evaluate_every: Every = 100
    """Number of steps between evaluations; the last step always has one. The best one so far makes a checkpoint."""
    checkpoint_every: Every = 500
    """Number of steps between checkpoints; the last step always has one."""
    keep_checkpoints: Annotated[int, Field(ge=1, le=MAX_STEPS)] | None = 20
    """Number of newest checkpoints that are kept. null: all. Also kept are the best one, those that a model serves,
    and the newest two from which training can continue, with the checkpoint that was best then."""
    log_every: Every = 1
    """Number of steps between logged metrics of each replica: loss, gradient_norm and learning_rate; with clipping
    also clipped_norm (the norm after clipping) and clipped_fraction; with regularisation also penalty."""
    profile_every: Every | None = None
    """Number of steps between per-lag profiles: the norms of dL/dh[t] of a training batch in the last layer (for an
    encoder_decoder the encoder's steps, then the decoder's). null: none. Each profile costs as much time as a step."""
    early_stopping: EarlyStopping | None = None
    """When a replica stops because its loss no longer improves; from then on it keeps its weights. null: never. The
    job ends early when every replica has stopped or diverged."""
    stop_at_skill: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Skill at which a replica stops, measured at each evaluation: 1 - held-out loss / baseline loss. null: never."""
