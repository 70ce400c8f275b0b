"""The kinds that there are."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from datetime import UTC, datetime
from functools import cache
from typing import get_args

import numpy as np
import pytest

from rnn import kinds
from rnn.events import Checkpoint, Result
from rnn.kinds.kind import Context, Inputs
from rnn.kinds.runs.evaluate import summarised
from tests.unit.rnn.jobs import job as training
from tests.unit.rnn.jobs import run
from tests.unit.rnn.kinds.conformance import KindConformance
from unroll import contract
from unroll.contract import EvaluateJob, ExportJob, HeldOut, JobRequest, Kind, TaskData

SEQUENCES, SEED = 32, 7


@cache
def trained() -> Inputs:
    """The last checkpoint of a small training run of three replicas."""
    config = training(steps=20, replicas=3, held_out=HeldOut(size=SEQUENCES, seed=SEED))
    last = [event for event in run(config) if isinstance(event, Checkpoint)][-1]
    about = contract.Checkpoint(
        id="ckpt",
        job="job",
        step=last.step,
        sha256=hashlib.sha256(last.weights).hexdigest(),
        size=len(last.weights),
        reason=last.reason,
        losses=None if last.losses is None else list(last.losses),
        best_replica=last.best_replica,
        replicas=3,
        resumable=True,
        network=config.model,
        dtype=config.dtype,
        data=config.data,
        loss=config.training.loss,
        created_at=datetime.now(UTC),
    )
    return Inputs({"ckpt": about}, {"ckpt": last.weights})


def evaluate(**fields: object) -> EvaluateJob:
    return EvaluateJob.model_validate({"checkpoint": "ckpt", "sequences": SEQUENCES, **fields})


class TestTrain(KindConformance):
    name = "train"

    def job(self) -> tuple[JobRequest, Inputs]:
        return training(steps=6, replicas=2), Inputs()

    def refused(self) -> list[tuple[JobRequest, str]]:
        nothing = training()
        return [
            (nothing.model_copy(update={"model": "a name"}), "/model"),
            (nothing.model_copy(update={"data": TaskData(name="xor")}), "/model/architecture"),
        ]


class TestEvaluate(KindConformance):
    name = "evaluate"

    def job(self) -> tuple[JobRequest, Inputs]:
        return evaluate(lengths=[3, 9]), trained()

    def refused(self) -> list[tuple[JobRequest, str]]:
        return [
            (evaluate(replica=3), "/replica"),
            (evaluate(data=TaskData(name="xor")), "/data"),
            (evaluate(data=TaskData(name="adding"), lengths=[3]), "/data"),
        ]


def export(format: str = "onnx", **fields: object) -> ExportJob:  # noqa: A002 - the field's name
    return ExportJob.model_validate({"checkpoint": "ckpt", "format": format, **fields})


class TestExport(KindConformance):
    name = "export"

    def job(self) -> tuple[JobRequest, Inputs]:
        return export(replica=1), trained()

    def refused(self) -> list[tuple[JobRequest, str]]:
        return [(export(replica=3), "/replica"), (export("torch", replica="all"), "/replica")]


def test_the_registry_has_the_kinds_of_the_contract():
    assert set(kinds.KINDS) == set(get_args(Kind)) == {one.model_fields["kind"].default for one in contract.JOB_TYPES}


def test_asking_what_a_job_is_and_costs_loads_no_torch():
    script = "import rnn.kinds, sys; assert not {'torch', 'scipy', 'onnx', 'onnxruntime'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)


def losses(config: EvaluateJob) -> dict[str, object]:
    context = Context("cpu", tf32=False, preempt=lambda _step: False)
    (result,) = [one for one in kinds.runner("evaluate")(config, trained(), None, context) if isinstance(one, Result)]
    return result.content


def test_an_evaluation_on_the_held_out_set_gives_the_checkpoints_own_losses():
    found = losses(evaluate(seed=SEED))
    assert found["losses"] == trained().checkpoints["ckpt"].losses
    assert losses(evaluate(seed=SEED + 1))["losses"] != found["losses"]


def test_an_evaluation_of_one_replica_is_that_of_all_and_has_no_spread():
    every, one = losses(evaluate()), losses(evaluate(replica=1))
    assert one["replicas"] == [1]
    assert one["losses"] == every["losses"][1:2]  # type: ignore[index]
    assert (one["mean"], one["sd"], one["ci95"]) == (one["losses"][0], None, None)  # type: ignore[index]


def test_a_row_of_the_curve_is_an_evaluation_of_the_task_at_that_length():
    curve = losses(evaluate(lengths=[3, 9]))["by_length"]
    for row, length in zip(curve, (3, 9), strict=True):  # type: ignore[call-overload]
        alone = losses(evaluate(data=TaskData(name="integrate_noise", parameters={"length": length})))
        assert (row["length"], row["losses"], row["baseline"]) == (length, alone["losses"], (length + 1) / 2)
        assert row["skill"] == alone["skill"]


def test_the_confidence_interval_is_students():
    # by hand: mean 2, sd 1, and the 0.975 quantile of Student's t with 2 degrees of freedom is 4.302653
    found = summarised(10, [0, 1, 2], np.array([1.0, 2.0, 3.0]), 4.0, [])
    assert (found.mean, found.sd, found.skill) == (2.0, 1.0, [0.75, 0.5, 0.25])
    assert found.ci95 == pytest.approx((2 - 4.302653 / 3**0.5, 2 + 4.302653 / 3**0.5), rel=1e-6)


def test_a_spread_that_is_not_finite_is_null_as_json_has_no_infinity():
    found = summarised(4, [0, 1], np.array([1e200, 3e200]), 2.0, [])
    assert (found.mean, found.sd, found.ci95) == (2e200, None, None)


@pytest.mark.parametrize("baseline", [0.0, -3.0])
def test_a_baseline_that_is_not_positive_is_no_scale_for_a_skill(baseline: float):
    assert summarised(4, [0, 1], np.array([-4.0, 1.0]), baseline, []).skill == [None, None]


def found(config: EvaluateJob, inputs: Inputs) -> Result:
    context = Context("cpu", tf32=False, preempt=lambda _step: False)
    (result,) = [one for one in kinds.runner("evaluate")(config, inputs, None, context) if isinstance(one, Result)]
    return result


def test_a_task_with_a_baseline_of_zero_is_evaluated_without_a_skill():
    constant = TaskData(name="sine", parameters={"length": 4, "shortest_period": 2.0, "longest_period": 2.0})
    config = training(steps=2, replicas=1)
    network = config.model.model_copy(update={"architecture": "one_to_many"})
    events = run(config.model_copy(update={"model": network, "data": constant}))
    last = [event for event in events if isinstance(event, Checkpoint)][-1]
    changed = {"network": network, "data": constant, "replicas": 1, "losses": None, "best_replica": None}
    about = trained().checkpoints["ckpt"].model_copy(update=changed)
    result = found(evaluate(), Inputs({"ckpt": about}, {"ckpt": last.weights}))
    assert result.content["baseline"] == 0
    assert (result.content["skill"], result.summary["skill"]) == ([None], None)


def test_replicas_that_had_diverged_are_named():
    about = trained().checkpoints["ckpt"].model_copy(update={"losses": [0.5, None, 0.7]})
    assert found(evaluate(), Inputs({"ckpt": about}, trained().weights)).content["diverged"] == [1]


def test_a_loss_that_is_not_finite_is_null_and_leaves_no_mean():
    found = summarised(10, [0, 1], np.array([np.inf, 1.0]), 2.0, [])
    assert (found.losses, found.skill, found.mean, found.ci95) == ([None, 1.0], [None, 0.5], None, None)
