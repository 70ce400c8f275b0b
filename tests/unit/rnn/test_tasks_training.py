"""Every built-in task is learned, by every architecture, loss and cell that it is for; what does not fit is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rnn.data import tasks
from rnn.errors import ConfigurationError
from rnn.events import Metrics
from rnn.training.events import Done, Evaluation
from rnn.training.problem import Problem
from rnn.training.run import train
from rnn.training.validation import validate
from tests.unit.rnn.jobs import only
from unroll.contract import TrainJob
from unroll.contract.network import FEEDBACK


def job(
    name: str,
    given: dict[str, Any] | None = None,
    *,
    cell: dict[str, Any] | None = None,
    training: dict[str, Any] | None = None,
    **model: Any,
) -> TrainJob:
    """The task's own first architecture and loss, its widths and the feedback of its loss, unless told otherwise."""
    task = tasks.resolve(tasks.TaskData(name=name, parameters=given or {}))
    loss = (training or {}).get("loss", {"type": task.losses[0]})
    architecture = model.get("architecture", task.architectures[0])
    network = {
        "cell": {"type": "vanilla", "hidden_size": 16, **(cell or {})},
        "input_size": task.input_size,
        "output_size": task.output_size,
        "architecture": architecture,
        "feedback": FEEDBACK[loss["type"]] if architecture == "encoder_decoder" else "identity",
        **model,
    }
    fields = {"steps": 1, "batch_size": 4, "held_out": {"size": 8}, **(training or {}), "loss": loss}
    data = {"name": name, "parameters": given or {}}
    return TrainJob.model_validate({"kind": "train", "model": network, "data": data, "training": fields})


LEARNED: list[tuple[str, dict[str, Any], dict[str, Any], int, float]] = [
    ("integrate_noise", {"length": 6, "min_length": 3}, {}, 200, 0.2),
    ("adding", {"length": 4, "min_length": 2}, {}, 400, 0.5),
    ("parity", {"length": 3}, {}, 400, 0.5),
    ("parity", {"length": 3, "min_length": 2}, {"architecture": "many_to_one"}, 500, 0.5),
    ("recall", {"symbols": 2, "items": 2, "delay": 1}, {}, 400, 0.5),
    ("recall", {"symbols": 2, "items": 2, "delay": 1}, {"vocabulary_size": 4, "input_size": 6}, 400, 0.5),
    ("reverse", {"symbols": 2, "length": 3, "min_length": 1}, {}, 400, 0.5),
    ("reverse", {"symbols": 2, "length": 3}, {"vocabulary_size": 2, "input_size": 3}, 400, 0.5),
    ("sine", {"length": 8}, {}, 300, 0.2),
    ("xor", {}, {}, 200, 0.2),
    ("xor", {"noise": 0.1}, {"loss": "mse"}, 200, 0.3),
    ("poisson_counts", {"length": 6}, {}, 300, 0.9),
    ("integrate_leaky", {"length": 6, "min_length": 3, "tau": 3.0}, {}, 150, 0.2),
    ("oculomotor", {"epochs": 2, "epoch_length": 3}, {}, 200, 0.3),
    ("flip_flop", {"length": 6, "bits": 2, "pulse_probability": 0.4}, {}, 200, 0.3),
    ("temporal_order", {"length": 11, "min_length": 10}, {}, 300, 0.5),
    ("copy_memory", {"symbols": 2, "items": 2, "delay": 1}, {}, 300, 0.5),
    ("ring_memory", {"neurons": 6, "stimulus": 1, "delay": 3}, {}, 150, 0.2),
    ("perceptual_decision", {"fixation": 1, "stimulus": 4, "delay": 1, "response": 1, "noise": 0.1}, {}, 250, 0.7),
    ("context_integration", {"stimulus": 4, "response": 1, "noise": 0.1}, {}, 300, 0.7),
    ("delayed_match", {"stimuli": 2, "stimulus": 1, "delay": 1, "response": 1}, {"loss": "mse"}, 250, 0.5),
    ("interval_timing", {"shortest_interval": 2, "longest_interval": 4, "wait": 1, "hold": 1}, {}, 200, 0.5),
    ("path_integration", {"length": 5}, {}, 200, 0.2),
    ("population", {"length": 5, "neurons": 8, "rate": 0.5}, {}, 150, 0.4),
]


@pytest.mark.parametrize(("name", "given", "options", "steps", "share"), LEARNED, ids=str)
def test_a_small_network_learns_the_task(
    name: str, given: dict[str, Any], options: dict[str, Any], steps: int, share: float
):
    model = {key: value for key, value in options.items() if key != "loss"}
    training = {
        "steps": steps,
        "batch_size": 32,
        "evaluate_every": steps,
        "held_out": {"size": 512},
        "optimizer": {"type": "adam", "lr": 0.02},
        "clip": {"type": "global_norm", "max_norm": 1.0},
        **({"loss": {"type": options["loss"]}} if "loss" in options else {}),
    }
    wanted = job(name, given, training=training, **model)
    last = only(Evaluation, train(wanted))[-1]
    baseline = Problem.of(wanted).baseline_loss
    assert last.loss[0] < share * baseline


COMBINATIONS = [
    (task.name, architecture, loss)
    for task in tasks.TASKS.values()
    for architecture in task.architectures
    for loss in task.losses
]


@pytest.mark.parametrize("cell", ["vanilla", "leaky", "lstm", "gru", "linear", "feedforward"])
@pytest.mark.parametrize(("name", "architecture", "loss"), COMBINATIONS)
def test_every_cell_takes_a_step_on_every_task_with_every_architecture_and_loss_that_it_is_for(
    name: str, architecture: Any, loss: str, cell: str
):
    wanted = job(
        name, cell={"type": cell, "hidden_size": 3}, architecture=architecture, training={"loss": {"type": loss}}
    )
    if cell == "feedforward" and architecture in {"one_to_many", "encoder_decoder"}:
        with pytest.raises(ConfigurationError) as error:
            validate(Problem.of(wanted))
        assert error.value.pointer == "/model/architecture"
        return
    validate(Problem.of(wanted))
    events = list(train(wanted))
    assert np.isfinite([metrics.values["loss"][0] for metrics in only(Metrics, events)]).all()
    assert only(Metrics, events)
    assert only(Done, events)


def test_the_built_in_tasks_use_every_architecture_and_loss_and_tokens_and_weights_and_lengths():
    built_in = [task() for task in tasks.TASKS.values()]
    assert {one for task in built_in for one in task.architectures} == {
        "one_to_one",
        "one_to_many",
        "many_to_one",
        "many_to_many",
        "encoder_decoder",
    }
    assert {one for task in built_in for one in task.losses} == set(FEEDBACK)
    assert any(task.vocabulary_size for task in built_in)
    assert any(task.weighted for task in built_in)
    assert any("min_length" in type(task).model_fields for task in built_in)


RECALL = {"symbols": 3, "items": 2, "delay": 1}


@pytest.mark.parametrize(
    ("wanted", "pointer", "code"),
    [
        (job("xor", architecture="many_to_one"), "/model/architecture", "contradiction"),
        (job("adding", architecture="many_to_many"), "/model/architecture", "contradiction"),
        (job("sine", architecture="one_to_one"), "/model/architecture", "contradiction"),
        (job("parity", training={"loss": {"type": "cross_entropy"}}), "/training/loss/type", "contradiction"),
        (job("poisson_counts", training={"loss": {"type": "mse"}}), "/training/loss/type", "contradiction"),
        (job("adding", input_size=1), "/model/input_size", "width_mismatch"),
        (job("recall", {"symbols": 5}, input_size=10), "/model/input_size", "width_mismatch"),
        (job("reverse", {"symbols": 5}, output_size=8), "/model/output_size", "width_mismatch"),
        (job("recall", {"symbols": 5}, vocabulary_size=5), "/model/vocabulary_size", "width_mismatch"),
        (job("parity", vocabulary_size=2), "/model/vocabulary_size", "width_mismatch"),
        (job("reverse", feedback="identity"), "/model/feedback", "contradiction"),
        (job("recall", feedback="softmax"), "/model/feedback", "contradiction"),
        (
            job("recall", RECALL, training={"loss": {"type": "cross_entropy", "time_weights": [1.0] * 4}}),
            "/training/loss/time_weights",
            "wrong_length",
        ),
        (
            job("recall", RECALL, training={"loss": {"type": "cross_entropy", "time_weights": [1.0, 1, 1, 0, 0]}}),
            "/training/loss/time_weights",
            "contradiction",
        ),
        (
            job("adding", training={"loss": {"type": "mse", "time_weights": [1.0] * 20}}),
            "/training/loss/time_weights",
            "contradiction",
        ),
        (
            job("sine", {"length": 3}, training={"loss": {"type": "mse", "time_weights": [1.0] * 4}}),
            "/training/loss/time_weights",
            "wrong_length",
        ),
    ],
)
def test_a_network_or_loss_that_does_not_fit_the_task_is_refused_with_a_pointer(
    wanted: TrainJob, pointer: str, code: str
):
    with pytest.raises(ConfigurationError) as error:
        validate(Problem.of(wanted))
    assert (error.value.pointer, error.value.code) == (pointer, code)
