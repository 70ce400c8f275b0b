"""The kind of job that evaluates trained networks: on other parameters of a task, on other lengths."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from unroll.contract.base import Response
from unroll.contract.data import Data
from unroll.contract.inference import Replica
from unroll.contract.limits import MAX_BATCH, MAX_EVALUATED_LENGTHS, MAX_LENGTH
from unroll.contract.shown import Shown, table_html
from unroll.contract.submission import JobRequest
from unroll.contract.summary import Summary
from unroll.contract.training import Loss


class EvaluateJob(JobRequest):
    """Measure the loss of a checkpoint's networks on sequences that nobody trained on."""

    kind: Literal["evaluate"] = "evaluate"
    checkpoint: Annotated[str, Field(examples=["ckpt_01kjqv1a2b3c4d5e6f7g8h9j0k"])]
    """Id of the checkpoint."""
    replica: Replica = "all"
    """Which replicas to evaluate: an index, the best by held-out loss, or all of them."""
    data: Data | None = None
    """A task with any parameters, or its bare name; null: the data that the checkpoint was trained on."""
    loss: Loss | None = None
    """The loss to measure, or its bare name; null: the one that the checkpoint was trained to minimise."""
    lengths: (
        Annotated[
            list[Annotated[int, Field(ge=1, le=MAX_LENGTH)]], Field(min_length=1, max_length=MAX_EVALUATED_LENGTHS)
        ]
        | None
    ) = None
    """Values for the task's parameter `length`. Each gives one row of `by_length`: the curve of generalisation."""
    sequences: Annotated[int, Field(ge=1, le=MAX_BATCH)] = 512
    """Number of sequences, at each length."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 1
    """The sequences depend on this seed and the task alone. Held-out sets have seed 0 unless told otherwise, so by
    default none of these sequences has chosen the best network."""

    def checkpoints_read(self) -> dict[str, str]:
        """Return the checkpoint's id by its JSON Pointer."""
        return {"/checkpoint": self.checkpoint}


class LengthResult(Response):
    """What the networks reach on sequences of one length."""

    length: int
    losses: list[float | None]
    """Loss of each replica; null where it is not finite."""
    baseline: float
    """Expected loss of the task's trivial predictor at this length."""
    skill: list[float | None]
    """1 - loss / baseline, of each replica: 1 is perfect, 0 is the trivial predictor. Null where the baseline is not
    positive, as of some Poisson losses: it is then no scale."""


class EvaluationResult(Shown, Response):
    """The artifact `result.json` of an evaluate job."""

    sequences: int
    """Number of sequences that the losses are means over."""
    replicas: list[int]
    """Index of each replica in the checkpoint, in the order of `losses`."""
    losses: list[float | None]
    """Loss of each replica, on the data as asked for; null where it is not finite."""
    baseline: float
    """Expected loss of the task's trivial predictor."""
    skill: list[float | None]
    """1 - loss / baseline, of each replica. Null where the baseline is not positive."""
    mean: float | None
    """Mean loss over the replicas; null where one is not finite."""
    sd: float | None
    """Standard deviation over the replicas, with R - 1; null for one replica."""
    ci95: tuple[float, float] | None
    """95 % confidence interval of the mean over replicas, by Student's t with R - 1 degrees of freedom; null for one
    replica."""
    diverged: list[int] = []
    """Replicas that had diverged when the checkpoint was made. They are evaluated, and counted in the mean, with the
    last finite weights that they had."""
    by_length: list[LengthResult] = []
    """One entry for each of the `lengths`, in that order."""

    def headline(self) -> str:
        """Return the mean loss, half the width of its confidence interval, and the skill."""
        replicas = f"replica {self.replicas[0]}" if len(self.replicas) == 1 else f"{len(self.replicas)} replicas"
        said = f"loss {_spread(self.mean, self.ci95)}, baseline {self.baseline:.4g}"
        if self.mean is not None and self.baseline > 0:
            said += f", skill {1 - self.mean / self.baseline:.4g}"
        return f"{said}; {replicas}, {self.sequences} sequences"

    def line(self) -> str:
        """Return what was found in one line: the loss, and the mean loss at each length."""
        lengths = "; ".join(f"length {one.length}: loss {_mean(one.losses)}" for one in self.by_length)
        return f"evaluation: {self.headline()}" + (f"; {lengths}" if lengths else "")

    def table(self) -> dict[str, object]:
        """Return the loss beside the baseline, and their spread."""
        return {
            "loss": _spread(self.mean, self.ci95),
            "baseline": self.baseline,
            "replicas": self.replicas,
            "sequences": self.sequences,
        }

    def _repr_html_(self) -> str:
        """Return a table with a line for each length, and the loss of each replica."""
        header = ("length", "baseline", *(f"loss of {replica}" for replica in self.replicas))
        header += tuple(f"skill of {replica}" for replica in self.replicas)
        rows = [("as asked for", self.baseline, *self.losses, *self.skill)]
        rows += [(str(one.length), one.baseline, *one.losses, *one.skill) for one in self.by_length]
        return table_html(header, rows, self.line())


def _mean(losses: list[float | None]) -> str:
    finite = [loss for loss in losses if loss is not None]
    return f"{sum(finite) / len(finite):.4g}" if len(finite) == len(losses) else "not finite"


class EvaluateSummary(Summary):
    """What an evaluate job has to say for itself."""

    result_type: ClassVar[type[Response] | None] = EvaluationResult

    kind: Literal["evaluate"] = "evaluate"
    parameters: int
    """Number of parameters of one replica."""
    baseline_loss: float
    """Expected loss of the task's trivial predictor."""
    loss: float | None = None
    """Mean loss over the replicas, on the data as asked for."""
    sd: float | None = None
    ci95: tuple[float, float] | None = None
    skill: float | None = None
    """1 - mean loss / baseline loss. Null where the baseline is not positive."""

    def headline(self) -> str | None:
        """Return the mean loss, half the width of its confidence interval, and the skill."""
        if self.loss is None:
            return None
        return f"loss {_spread(self.loss, self.ci95)}" + ("" if self.skill is None else f", skill {self.skill:.4g}")


def _spread(mean: float | None, ci95: tuple[float, float] | None) -> str:
    if mean is None:
        return "not finite"
    return f"{mean:.4g}" if ci95 is None else f"{mean:.4g} ± {(ci95[1] - ci95[0]) / 2:.2g}"
