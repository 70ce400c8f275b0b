"""Runs an evaluate job."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import stdtrit

from rnn.bptt import cuda
from rnn.errors import CheckpointError
from rnn.events import End, Event, Progress, Result, Started
from rnn.kinds.checkpoints import chosen_replicas
from rnn.kinds.evaluate import parts
from rnn.kinds.kind import Context, Inputs
from rnn.networks.weights import load_weights
from rnn.training import environment, threads
from rnn.training.held_out import HeldOutLoss
from rnn.training.problem import Problem
from unroll.contract import EvaluateJob, EvaluationResult, HeldOut, LengthResult, Training


def run(job: EvaluateJob, inputs: Inputs, resume: tuple[bytes, bytes] | None, context: Context) -> Iterator[Event]:
    """Measure the losses of the checkpoint's networks.

    An interrupted job starts again from the beginning, because it makes no checkpoints.
    """
    del resume
    checkpoint, weights = inputs.checkpoints[job.checkpoint], load_weights(inputs.weights[job.checkpoint])
    network = weights.network
    if network != checkpoint.network:
        raise CheckpointError("the checkpoint's weights are of another network than its record says")
    replicas = chosen_replicas(job.replica, checkpoint)
    if context.device == "cuda":
        cuda.prepare(tf32=context.tf32)
    measured = parts(job, checkpoint)
    if context.cores is not None:
        steps = measured[0].source.steps(network.architecture)
        many = threads.for_evaluation(
            network, weights.dtype, len(replicas), steps, job.sequences, context.cores, context.device
        )
        torch.set_num_threads(many)
    yield Started(environment.describe(context.device, network, weights.dtype, len(replicas), tf32=context.tf32))
    used_RP = torch.from_numpy(weights.flat()[replicas]).to(context.device)
    held_out = HeldOut(size=job.sequences, seed=job.seed)
    losses, baselines = [], []
    for k, part in enumerate(measured):
        # an evaluation uses only the loss and the set of sequences of the training
        training = Training(steps=1, loss=part.loss, held_out=held_out)
        problem = Problem(network, part.source, training, job.seed, len(replicas), weights.dtype)
        loss = HeldOutLoss(problem, used_RP)
        for done in loss.chunks():
            step = k * job.sequences + done
            yield Progress(step)
            if context.preempt(step) and step < len(measured) * job.sequences:
                yield End(step, "preempted")
                return
        losses.append(loss.loss_R)
        del loss, problem  # the next one needs their memory
        baselines.append(part.source.baseline_loss(network.architecture, part.loss))
    curve = zip(measured[1:], losses[1:], baselines[1:], strict=True)
    result = summarised(
        job.sequences,
        replicas,
        losses[0],
        baselines[0],
        [
            LengthResult(length=part.length or 0, losses=_finite(loss_R), baseline=base, skill=_skill(loss_R, base))
            for part, loss_R, base in curve
        ],
    )
    if checkpoint.losses is not None:
        gone = [r for r in replicas if checkpoint.losses[r] is None]
        result = result.model_copy(update={"diverged": gone})
    skill = None if result.mean is None else _skill(np.array([result.mean]), result.baseline)[0]
    summary = {"loss": result.mean, "sd": result.sd, "ci95": result.ci95, "skill": skill}
    yield Result(result.model_dump(mode="json"), summary)
    yield End(len(measured) * job.sequences, "succeeded")


def summarised(
    sequences: int,
    replicas: list[int],
    loss_R: npt.NDArray[np.float64],
    baseline: float,
    by_length: list[LengthResult],
) -> EvaluationResult:
    """Return the mean of R losses, their spread, and the confidence interval of the mean.

    The interval is mean ± t sd/√R, with t the 0.975 quantile of Student's distribution with R - 1 degrees of freedom
    (Student 1908). With one replica there is no spread, and if one loss is not finite there is no mean.
    """
    R = len(loss_R)
    with np.errstate(over="ignore", invalid="ignore"):
        mean = _or_none(float(loss_R.mean()))
        sd = _or_none(float(loss_R.std(ddof=1))) if mean is not None and R > 1 else None
    ci95 = None
    if mean is not None and sd is not None:
        half = float(stdtrit(R - 1, 0.975)) * sd / math.sqrt(R)
        ci95 = (mean - half, mean + half) if math.isfinite(mean - half) and math.isfinite(mean + half) else None
    return EvaluationResult(
        sequences=sequences,
        replicas=replicas,
        losses=_finite(loss_R),
        baseline=baseline,
        skill=_skill(loss_R, baseline),
        mean=mean,
        sd=sd,
        ci95=ci95,
        by_length=by_length,
    )


def _skill(loss_R: npt.NDArray[np.float64], baseline: float) -> list[float | None]:
    """Return 1 - loss / baseline. A baseline that is not positive is no scale, and there is no skill."""
    return _finite(1 - loss_R / baseline) if baseline > 0 else [None] * len(loss_R)


def _finite(values: npt.NDArray[np.float64]) -> list[float | None]:
    return [_or_none(float(value)) for value in values]


def _or_none(value: float) -> float | None:
    """JSON has no infinity and no NaN."""
    return value if math.isfinite(value) else None
