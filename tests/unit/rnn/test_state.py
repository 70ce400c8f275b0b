"""Checkpoint bytes: canonical, checked, without pickle."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load, save

from rnn.errors import CheckpointError
from rnn.networks.weights import dump_weights, load_weights
from rnn.training.problem import Problem
from rnn.training.resume import load_state, restore
from tests.unit.rnn.jobs import job, last_checkpoint, network, run
from unroll.contract import SGD, Adam, HeldOut


def checkpoint(**fields: Any):
    return last_checkpoint(run(job(steps=2, replicas=2, **fields)))


def test_equal_networks_have_equal_bytes_whatever_job_and_step_they_come_from():
    a = checkpoint()
    b = checkpoint(name="other", labels={"x": "y"}, held_out=HeldOut(size=3), checkpoint_every=1)
    assert a.weights == b.weights
    weights = load_weights(a.weights)
    again = dump_weights(weights.network, weights.dtype, weights.flat())
    assert hashlib.sha256(again).digest() == hashlib.sha256(a.weights).digest()
    assert checkpoint(seed=1).weights != a.weights


def test_weights_are_plain_safetensors_with_the_documented_names_and_one_canonical_metadata_key():
    content = checkpoint(hidden=3).weights
    assert {name: tensor.shape for name, tensor in load(content).items()} == {
        "layers.0.W_xh": (2, 3, 1),
        "layers.0.b_x": (2, 3),
        "layers.0.W_hh": (2, 3, 3),
        "layers.0.b_h": (2, 3),
        "readout.W_hy": (2, 1, 3),
        "readout.b_y": (2, 1),
    }
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    text = header["__metadata__"]["unroll"]
    assert list(header["__metadata__"]) == ["unroll"]
    about = json.loads(text)
    assert text == json.dumps(about, sort_keys=True, separators=(",", ":"))
    assert set(about) == {"format", "contract", "dtype", "network"}
    assert about["network"]["cell"] == {"type": "vanilla", "hidden_size": 3, "activation": "tanh"}


@pytest.mark.parametrize("part", ["weights", "state"])
def test_content_torn_at_any_boundary_is_refused(part: str):
    content = getattr(checkpoint(), part)
    read = load_weights if part == "weights" else load_state
    header = 8 + int.from_bytes(content[:8], "little")
    for length in {0, 1, 7, 8, 9, header // 2, header - 1, header, header + 1, len(content) - 1}:
        with pytest.raises(CheckpointError):
            read(content[:length])
    with pytest.raises(CheckpointError):
        read(content + b"\0")
    read(content)


def test_foreign_content_is_refused():
    good = checkpoint()
    tensors = load(good.weights)
    about = json.loads(
        json.loads(good.weights[8 : 8 + int.from_bytes(good.weights[:8], "little")])["__metadata__"]["unroll"]
    )

    def with_metadata(**changes: Any):
        return save(tensors, {"unroll": json.dumps(about | changes)})

    foreign = [
        b"PK\3\4 a zip",
        b"\x80\x04 a pickle",
        b"\xff" * 100,
        save(tensors),
        save(tensors, {"other": "{}"}),
        save(tensors, {"unroll": "not JSON"}),
        save(tensors, {"unroll": "[1]"}),
        with_metadata(format=99),
        with_metadata(dtype="float64"),
        with_metadata(dtype="no such type"),
        with_metadata(network={"cell": "what"}),
        with_metadata(network=network(6).model_dump(mode="json")),
        save({}, {"unroll": json.dumps(about)}),
        save(tensors | {"extra": np.zeros(2, np.float32)}, {"unroll": json.dumps(about)}),
        good.state,
    ]
    for content in foreign:
        with pytest.raises(CheckpointError):
            load_weights(content)
    with pytest.raises(CheckpointError):
        load_state(good.weights)


def test_state_and_weights_must_belong_together():
    a, b = checkpoint(), checkpoint(seed=1)
    with pytest.raises(CheckpointError, match="other weights"):
        restore(Problem.of(job(replicas=2)), a.weights, b.state)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"seed": 5}, "seed"),
        ({"hidden": 6}, "model"),
        ({"length": 7}, "data"),
        ({"batch_size": 5}, "batch_size"),
        ({"replicas": 3}, "replicas"),
        ({"dtype": "float64"}, "dtype"),
        ({"optimizer": SGD()}, "optimizer"),
        ({"optimizer": Adam(lr=0.5)}, "optimizer"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused_by_what_differs(change: dict[str, Any], named: str):
    saved = checkpoint()
    with pytest.raises(CheckpointError, match=named):
        restore(Problem.of(job(**({"replicas": 2} | change))), saved.weights, saved.state)


def test_a_checkpoint_may_be_resumed_with_another_schedule_and_other_labels():
    saved = checkpoint()
    more = job(
        replicas=2,
        steps=99,
        evaluate_every=3,
        log_every=2,
        keep_checkpoints=3,
        name="longer",
        labels={"a": "b"},
        priority=3,
    )
    weights, state = restore(Problem.of(more), saved.weights, saved.state)
    assert state.step == 2
    assert weights.replicas == 2
    assert state.environment["engine"]


def test_a_state_is_of_the_job_whose_task_has_its_defaults_written_out_or_not():
    saved = checkpoint(length=20)  # the default
    header = saved.state[8 : 8 + int.from_bytes(saved.state[:8], "little")]
    about = json.loads(json.loads(header)["__metadata__"]["unroll"])
    assert about["job"]["data"]["parameters"] == {"length": 20, "min_length": None}
    about["job"]["data"]["parameters"] = {}
    older = save(load(saved.state), {"unroll": json.dumps(about)})
    _, state = restore(Problem.of(job(length=20, replicas=2)), saved.weights, older)
    assert state.problem == load_state(saved.state).problem
    about["job"]["data"]["name"] = "no_such_task"
    with pytest.raises(CheckpointError, match="no_such_task"):
        load_state(save(load(saved.state), {"unroll": json.dumps(about)}))
