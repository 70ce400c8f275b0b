"""A problem is a job with its names resolved, or the refusal of a job whose names mean nothing here."""

from __future__ import annotations

import pytest

from rnn.data.tasks.integrate_noise import IntegrateNoise
from rnn.errors import ConfigurationError
from rnn.training.problem import Problem
from tests.unit.rnn.jobs import job
from unroll.contract import MSE, TaskData


def test_a_problem_has_all_that_the_numbers_of_a_job_depend_on():
    wanted = job(length=7, replicas=3, seed=5, dtype="float64", max_seconds=9.0)
    problem = Problem.of(wanted)
    assert (problem.network, problem.training) == (wanted.model, wanted.training)
    assert problem.source == IntegrateNoise(length=7)
    assert (problem.seed, problem.replicas, problem.dtype, problem.max_seconds) == (5, 3, "float64", 9.0)
    assert problem.steps == 7


def test_its_baseline_is_counted_as_its_architecture_and_loss_count():
    whole, last = job(length=7), job(length=7)
    last = last.model_copy(update={"model": last.model.model_copy(update={"architecture": "many_to_one"})})
    assert Problem.of(whole).baseline_loss == (7 + 1) / 2
    assert Problem.of(last).baseline_loss == 7
    assert Problem.of(job(length=7, loss=MSE(over="sequences"))).baseline_loss == 7 * (7 + 1) / 2


@pytest.mark.parametrize(
    ("change", "pointer", "code"),
    [
        ({"model": "by-name"}, "/model", "unresolved_model"),
        ({"data": TaskData(name="no_such_task")}, "/data/name", "unknown_task"),
        (
            {"data": TaskData(name="integrate_noise", parameters={"length": 0})},
            "/data/parameters/length",
            "greater_than_equal",
        ),
    ],
)
def test_a_name_that_means_nothing_here_is_refused(change: dict[str, object], pointer: str, code: str):
    with pytest.raises(ConfigurationError) as error:
        Problem.of(job().model_copy(update=change))
    assert (error.value.pointer, error.value.code) == (pointer, code)
