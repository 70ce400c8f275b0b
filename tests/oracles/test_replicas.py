"""Replica r of R is the network that would have been trained alone."""

from __future__ import annotations

import numpy as np
import pytest

from rnn.data import tasks
from rnn.data.batches import Batches
from rnn.data.memory import Memory
from rnn.events import Metrics
from rnn.networks import parameters
from rnn.networks.weights import load_weights
from rnn.training.events import Evaluation
from tests.unit.rnn.jobs import job, last_checkpoint, network, only, run
from unroll.contract import MSE, SGD, Adam, ClipByGlobalNorm, DType


def test_initial_parameters_of_a_replica_do_not_depend_on_how_many_there_are():
    many, few = (parameters.initialise(network(7), 11, replicas) for replicas in (6, 2))
    assert np.array_equal(many[:2], few)
    assert not np.array_equal(many[0], many[1])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_training_batches_in_the_stack_are_those_of_each_replica_alone(dtype: DType):
    task = tasks.resolve(job(length=9).data)
    x, y = (np.empty((3, 9, 5, 1), dtype) for _ in range(2))
    Batches(task, network(), MSE(), 4, Memory(x, y)).fill(17)
    for r in range(3):
        alone = task.batch(seed=4, replica=r, step=17, batch_size=5)
        alone_x, alone_y = alone.x_RTBI[0], alone.target_RTBO[0]
        assert np.array_equal(x[r], alone_x)
        np.testing.assert_allclose(y[r], alone_y, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("optimizer", [Adam(lr=0.01), SGD(lr=0.05), SGD(lr=0.02, momentum=0.9)])
@pytest.mark.parametrize("clip", [None, ClipByGlobalNorm(max_norm=0.5)])
def test_twenty_steps_of_replica_zero_in_a_stack_are_those_of_the_network_alone(
    optimizer: Adam | SGD, clip: ClipByGlobalNorm | None
):
    fields = {"steps": 20, "optimizer": optimizer, "clip": clip, "dtype": "float64", "evaluate_every": 5}
    stack, alone = (run(job(replicas=replicas, **fields)) for replicas in (4, 1))
    for kind, value in ((Metrics, lambda e: e.values["loss"]), (Evaluation, lambda e: e.loss)):
        together = np.array([value(event)[0] for event in only(kind, stack)])
        by_itself = np.array([value(event)[0] for event in only(kind, alone)])
        np.testing.assert_allclose(together, by_itself, rtol=1e-9)
    weights = [load_weights(last_checkpoint(events).weights).flat()[0] for events in (stack, alone)]
    np.testing.assert_allclose(weights[0], weights[1], rtol=1e-8, atol=1e-10)


def test_the_first_step_in_single_precision_differs_only_by_rounding():
    stack, alone = (run(job(replicas=replicas, steps=1, optimizer=SGD(lr=0.1))) for replicas in (5, 1))
    first, second = (only(Metrics, events)[0].values for events in (stack, alone))
    for name in ("loss", "gradient_norm"):
        assert first[name][0] == pytest.approx(second[name][0], rel=1e-5)
