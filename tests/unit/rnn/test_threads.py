"""How many threads a network trains on: more for more work, one where they would only wait for each other."""

from __future__ import annotations

from typing import Any

import pytest

from rnn import kernels
from rnn.training import threads
from rnn.training.problem import Problem
from unroll.contract import BPTT, LSTMCell, Network, Regularisation, TaskData, Training, TrainJob, VanillaCell


def problem(H: int, B: int, T: int, R: int = 1, **training: Any) -> Problem:
    network = Network(cell=VanillaCell(hidden_size=H), input_size=1, output_size=1)
    data = TaskData(name="integrate_noise", parameters={"length": T})
    return Problem.of(
        TrainJob(model=network, data=data, training=Training(steps=1, batch_size=B, **training), replicas=R)
    )


@pytest.fixture
def _native(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "available", lambda: True)


@pytest.fixture
def _workspace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "available", lambda: False)


@pytest.mark.usefixtures("_native")
@pytest.mark.parametrize(
    ("sizes", "of_two", "of_sixteen"),
    [
        ((100, 64, 100), 2, 16),  # a1 of bench/step.py
        ((64, 32, 2000), 2, 8),  # c: four sequences a thread
        ((10, 64, 20, 8), 1, 1),  # the demo
        ((50, 32, 100), 2, 3),
        ((512, 1, 100), 1, 1),  # one sequence cannot be split
        ((512, 1, 100, 16), 2, 4),  # but replicas can
    ],
)
def test_the_kernel_gets_a_thread_for_each_share_of_work_that_pays_for_it(
    sizes: tuple[int, ...], of_two: int, of_sixteen: int
):
    assert [threads.for_training(problem(*sizes), cores) for cores in (1, 2, 16)] == [1, of_two, of_sixteen]


@pytest.mark.usefixtures("_native")
def test_what_runs_in_one_pass_counts_not_what_runs_in_a_step():
    assert threads.for_training(problem(100, 64, 100), 16) == 16
    assert threads.for_training(problem(100, 64, 100, bptt=BPTT(window=10)), 16) == 2


@pytest.mark.usefixtures("_workspace")
def test_the_workspace_needs_large_products_because_its_threads_meet_at_every_one():
    assert threads.for_training(problem(100, 64, 100), 2) == 1
    assert threads.for_training(problem(64, 32, 2000), 2) == 1
    assert threads.for_training(problem(256, 128, 200), 4) == 4


@pytest.mark.usefixtures("_native")
def test_a_job_that_the_kernel_cannot_run_is_judged_as_the_workspace_is():
    omega = Regularisation(omega=0.1)
    assert threads.for_training(problem(100, 64, 100, regularisation=omega), 2) == 1


@pytest.mark.usefixtures("_native")
def test_on_a_gpu_one_thread_draws_the_batches():
    assert threads.for_training(problem(100, 64, 100), 16, "cuda") == 1


@pytest.mark.usefixtures("_native")
def test_an_evaluation_is_a_forward_pass_over_many_sequences():
    network = Network(cell=LSTMCell(hidden_size=64), input_size=1, output_size=1)
    assert threads.for_evaluation(network, "float32", 1, 100, 512, 2) == 2
    assert threads.for_evaluation(network, "float32", 1, 100, 2, 2) == 1
    assert threads.for_evaluation(network, "float32", 1, 100, 512, 2, "cuda") == 1
