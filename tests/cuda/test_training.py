"""Whole jobs on a GPU, and a trainer child that the worker would start for one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import unroll.contract
from rnn.events import Checkpoint, End, Metrics
from rnn.kinds.kind import Inputs
from rnn.training.environment import describe
from rnn.training.events import Diverged, Done, Evaluation
from tests.cuda.gpu import GPU, NETWORKS, on
from tests.unit.rnn.jobs import bits, job, last_checkpoint, only
from unroll.contract import SGD, AdamW, ClipByGlobalNorm, ClipByValue, Regularisation, RMSprop, TrainJob
from worker import processes
from worker.messages import Assignment, Bundle, Declared, Place

pytestmark = pytest.mark.cuda

EVERYTHING: dict[str, Any] = {
    "steps": 12,
    "evaluate_every": 4,
    "checkpoint_every": 5,
    "clip": ClipByGlobalNorm(max_norm=0.5),
}


def job_for(name: str, **fields: Any) -> TrainJob:
    return job(**(EVERYTHING | fields)).model_copy(update={"model": NETWORKS[name]()})


@pytest.mark.parametrize("replicas", [1, 3])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_job_in_double_precision_goes_as_on_the_cpu(name: str, replicas: int):
    one = job_for(name, replicas=replicas, dtype="float64")
    there, here = on(GPU, one), on("cpu", one)
    for kind, value in ((Metrics, lambda e: e.values["loss"]), (Evaluation, lambda e: e.loss)):
        found, expected = (np.array([value(event) for event in only(kind, events)]) for events in (there, here))
        np.testing.assert_allclose(found, expected, rtol=1e-6)
    certificate = last_checkpoint(there).certificate
    assert certificate is not None
    assert all(sum(layer.violations) == 0 for layer in certificate.layers)


@pytest.mark.parametrize("fields", [{}, {"bptt": unroll.contract.BPTT(window=4)}], ids=str)
@pytest.mark.parametrize("replicas", [1, 3])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_same_seed_gives_the_same_bits_and_resuming_goes_on_with_them(
    name: str, replicas: int, fields: dict[str, Any]
):
    one = job_for(name, replicas=replicas, **fields)
    whole = on(GPU, one)
    assert [bits(event) for event in on(GPU, one)] == [bits(event) for event in whole]
    middle = next(event for event in only(Checkpoint, whole) if event.step == 5)
    resumed = on(GPU, one, resume=(middle.weights, middle.state))
    assert [bits(event) for event in resumed] == [bits(event) for event in whole if event.step > 5]


@pytest.mark.parametrize(
    "fields",
    [
        {"optimizer": SGD(lr=0.01, momentum=0.9)},
        {"optimizer": AdamW(lr=0.01), "clip": ClipByValue(max_value=0.05)},
        {"optimizer": RMSprop(lr=0.01, momentum=0.9)},
        {"regularisation": Regularisation(l1=1e-3, l2=1e-3, activity=1e-3, orthogonality=1e-3)},
        {"regularisation": Regularisation(omega=1e-3)},
    ],
    ids=str,
)
def test_optimisers_and_penalties_are_those_of_the_cpu(fields: dict[str, Any]):
    one = job_for("vanilla", replicas=2, dtype="float64", **fields)
    found, expected = (
        np.array([event.values["loss"] for event in only(Metrics, on(device, one))]) for device in (GPU, "cpu")
    )
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_replicas_that_diverge_rest_and_the_job_says_so():
    events = on(GPU, job_for("vanilla", activation="relu", replicas=2, optimizer=SGD(lr=1e30), clip=None, steps=50))
    assert {event.replica for event in only(Diverged, events)} == {0, 1}
    assert only(Done, events)[0].outcome == "all_diverged"


def test_the_environment_names_the_device_and_the_engine():
    network = NETWORKS["lstm"]()
    one, many = describe(GPU, network), describe(GPU, network, replicas=3)
    if GPU == "cuda":
        assert one["device"] == torch.cuda.get_device_name()
        assert str(one["engine"]).startswith("cudnn-")
        assert str(many["engine"]).startswith("workspace-")


def test_a_trainer_child_forked_from_a_process_with_torch_in_it_trains_on_the_gpu(tmp_path: Path):
    children = processes.context()
    child = processes.TrainerProcess(children, tmp_path / "child.log", Place(GPU, warm_bytes=256 << 20))  # type: ignore[arg-type]
    try:
        child.assign(Assignment("job", 1, job_for("lstm"), Inputs(), None, 0, 1, 1))
        said: list[Any] = []
        while not (said and isinstance(said[-1], Bundle) and only(End, said[-1].items)):
            message = child.next(100.0)
            assert isinstance(message, Declared | Bundle), (message, child.log())
            said.append(message)
        assert only(End, said[-1].items)[0].outcome == "succeeded"
        assert "no CUDA graph" not in child.log()
    finally:
        child.kill()
