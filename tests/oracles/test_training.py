"""Whole runs with everything: they resume bit for bit, have the noise of their step, and refuse contradictions."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

import unroll.contract
from rnn.data import tasks
from rnn.errors import ConfigurationError
from rnn.events import Checkpoint, Metrics
from rnn.training.problem import Problem
from rnn.training.validation import validate
from tests.oracles.cases import H, every_cell, every_constraint
from tests.unit.rnn.jobs import bits, job, only, run
from unroll.contract import (
    SGD,
    AdamW,
    ClipByGlobalNorm,
    ClipByValue,
    CosineDecay,
    CrossEntropy,
    LeakyCell,
    Network,
    Noise,
    Regularisation,
    RMSprop,
    TaskData,
)
from unroll.contract.network import FEEDBACK

EVERYTHING = {
    "steps": 12,
    "replicas": 2,
    "checkpoint_every": 5,
    "optimizer": AdamW(lr=0.05),
    "schedule": CosineDecay(steps=10, final=0.1),
    "warmup": 3,
    "clip": ClipByValue(max_value=0.05),
    "regularisation": Regularisation(l1=1e-3, l2=1e-3, orthogonality=1e-3),
    "bptt": unroll.contract.BPTT(window=4),
}

# A task of each architecture, and how often a decoder reads its targets: always, sometimes, never.
TASKS: dict[str, tuple[TaskData, float]] = {
    "one-to-one": (TaskData(name="xor"), 1.0),
    "one-to-many": (TaskData(name="sine", parameters={"length": 4}), 1.0),
    "many-to-one-ragged": (TaskData(name="adding", parameters={"length": 5, "min_length": 3}), 1.0),
    "many-to-many-tokens": (TaskData(name="recall", parameters={"symbols": 3, "items": 1, "delay": 1}), 1.0),
    **{
        f"encoder-decoder-{fed}": (TaskData(name="reverse", parameters={"length": 3, "min_length": 2}), forcing)
        for fed, forcing in (("forced", 1.0), ("mixed", 0.5), ("free", 0.0))
    },
}
NETWORKS = [
    (cell, constraint, task)
    for cell, constraint, task in itertools.product(every_cell(H), ("free", "dale-sparse-no-autapses"), TASKS)
    if cell != "feedforward" or (constraint == "free" and task in {"one-to-one", "many-to-one-ragged"})
]


@pytest.mark.parametrize(
    ("dtype", "clip"), [("float32", ClipByGlobalNorm(max_norm=0.002)), ("float64", ClipByValue(max_value=0.0005))]
)
@pytest.mark.parametrize(("cell", "constraint", "task"), NETWORKS)
def test_every_architecture_resumes_bit_for_bit_with_clipping_and_with_noise_where_the_cell_has_it(
    cell: str, constraint: str, task: str, dtype: Any, clip: Any
):
    """In single precision on the kernel where it has the cell, in double precision in the workspace."""
    data, forcing = TASKS[task]
    sequences = tasks.resolve(data)
    vocabulary, loss = sequences.vocabulary_size, sequences.losses[0]
    own: Any = every_cell(H)[cell]
    if isinstance(own, LeakyCell):
        own = own.model_copy(update={"noise": Noise(input=0.0 if vocabulary else 0.1, recurrent=0.1, output=0.1)})
    net = Network(
        cell=own,
        input_size=3 if vocabulary else sequences.input_size,
        output_size=sequences.output_size,
        architecture=sequences.architectures[0],
        vocabulary_size=vocabulary,
        feedback=FEEDBACK[loss] if sequences.architectures[0] == "encoder_decoder" else "identity",
        num_layers=2,
        h0="zeros" if cell == "feedforward" else "trainable",
        connectivity=every_constraint(H)[constraint],
    )
    fields: dict[str, Any] = {"steps": 4, "replicas": 2, "checkpoint_every": 2, "evaluate_every": 4, "batch_size": 2}
    one = job(
        **fields,
        dtype=dtype,
        clip=clip,
        optimizer=AdamW(lr=0.1),
        loss={"type": loss},
        teacher_forcing=forcing,
        held_out={"size": 4},
    ).model_copy(update={"model": net, "data": data})
    whole = run(one)
    middle = next(event for event in only(Checkpoint, whole) if event.step == 2)
    resumed = run(one, resume=(middle.weights, middle.state))
    assert [bits(event) for event in resumed] == [bits(event) for event in whole if event.step > 2]
    assert all((event.values["clipped_fraction"] > 0).all() for event in only(Metrics, resumed))


@pytest.mark.parametrize("optimizer", [AdamW(lr=0.05), RMSprop(lr=0.01), RMSprop(lr=0.01, momentum=0.9)])
def test_a_run_with_everything_resumes_bit_for_bit(optimizer: Any):
    cell = LeakyCell(hidden_size=H, learn_tau="per_unit", noise=Noise(input=0.1, recurrent=0.1, output=0.1))
    net = Network(cell=cell, input_size=1, output_size=1, h0="trainable", num_layers=2)
    one = job(**(EVERYTHING | {"optimizer": optimizer})).model_copy(update={"model": net})
    whole = run(one)
    middle = next(event for event in only(Checkpoint, whole) if event.step == 5)
    resumed = run(one, resume=(middle.weights, middle.state))
    assert [bits(event) for event in resumed] == [bits(event) for event in whole if event.step > 5]
    assert set(only(Metrics, whole)[0].values) == {
        "loss",
        "gradient_norm",
        "clipped_norm",
        "clipped_fraction",
        "penalty",
        "learning_rate",
    }


def test_training_noise_is_the_same_for_a_step_whatever_came_before_and_evaluations_have_none():
    def losses(noise: Noise, **fields: Any) -> tuple[list[float], list[float]]:
        net = Network(cell=LeakyCell(hidden_size=H, noise=noise), input_size=1, output_size=1)
        events = run(
            job(steps=3, optimizer=SGD(lr=1e-30), evaluate_every=1, **fields).model_copy(update={"model": net})
        )
        evaluated = [float(e.losses[0]) for e in only(Checkpoint, events) if e.losses]
        return [float(e.values["loss"][0]) for e in only(Metrics, events)], evaluated

    quiet, quiet_evaluated = losses(Noise())
    for noise in (Noise(input=0.5), Noise(recurrent=0.5), Noise(output=0.5)):
        noisy, noisy_evaluated = losses(noise)
        assert noisy == losses(noise)[0]
        assert noisy == pytest.approx(losses(noise, replicas=3)[0], rel=1e-5), "noise of a replica is its own"
        assert all(a != b for a, b in zip(noisy, quiet, strict=True))
        assert noisy_evaluated == quiet_evaluated


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"bptt": unroll.contract.BPTT(window=7)}, "/training/bptt/window"),
        ({"loss": CrossEntropy()}, "/training/loss/type"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_place(fields: dict[str, Any], pointer: str):
    with pytest.raises(ConfigurationError) as error:
        validate(Problem.of(job(length=6, **fields)))
    assert error.value.pointer == pointer
