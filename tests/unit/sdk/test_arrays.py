from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import scipy.sparse
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save

from tests.unit.sdk import examples
from tests.unit.sdk.scripted_server import Answer, ScriptedServer, Seen
from unroll import Client, Curves, UnexpectedAnswerError, Weights
from unroll.contract import Checkpoint, Metrics
from unroll.weights import read_safetensors

RNG = np.random.default_rng(0)


def leaky_sum(seen: Seen) -> Answer:
    """Predicts h[t] = h[t-1] / 2 + x[t] with y = 2 h, in double precision, as the real server answers."""
    body = seen.json
    answer: dict[str, Any] = {
        "model": "m",
        "checkpoint": "ckpt_1",
        "replica": 0,
        "outputs": [],
        "state": [],
        "hidden": [],
    }
    for place, sequence in enumerate(body["inputs"]):
        h = np.asarray(body["state"][place]["layers"][0]["h"]) if "state" in body else np.zeros(1)
        hidden = []
        for x in sequence:
            h = h / 2 + np.asarray(x)
            hidden.append(h.tolist())
        answer["hidden"].append(hidden)
        answer["outputs"].append((2 * np.asarray(hidden)).tolist())
        answer["state"].append({"layers": [{"h": h.tolist()}]})
    wanted = {"model", "checkpoint", "replica", *body["return"]}
    return Answer(body={name: value for name, value in answer.items() if name in wanted})


def test_ragged_sequences_go_in_and_come_out_as_arrays(server: ScriptedServer, client: Client) -> None:
    server.script = leaky_sum
    inputs = [RNG.normal(size=(length, 1)) for length in (3, 1, 7)]
    answer = client.models.predict("m", inputs, returns=["outputs", "hidden", "state"])
    assert [y.shape for y in answer.outputs or []] == [(3, 1), (1, 1), (7, 1)]
    assert answer.hidden is not None
    assert answer.state is not None
    for x, y, h, state in zip(inputs, answer.outputs or [], answer.hidden, answer.state, strict=True):
        np.testing.assert_array_equal(y, 2 * h)
        np.testing.assert_array_equal(h[-1], state[0]["h"])
        np.testing.assert_array_equal(h[0], x[0])


def test_one_array_of_sequences_comes_back_as_one_array(server: ScriptedServer, client: Client) -> None:
    server.script = leaky_sum
    answer = client.models.predict("m", RNG.normal(size=(4, 5, 1)).astype(np.float32))
    assert isinstance(answer.outputs, np.ndarray)
    assert answer.outputs.shape == (4, 5, 1)
    assert answer.state is None
    assert answer.hidden is None


@given(st.integers(1, 7))
def test_a_sequence_cut_in_two_with_the_state_carried_gives_the_same_outputs(cut: int) -> None:
    from tests.unit.sdk.scripted_server import serve

    x = RNG.normal(size=(8, 1))
    with serve() as server, Client(server.url) as client:
        server.script = leaky_sum
        whole = client.models.predict("m", [x]).outputs
        first = client.models.predict("m", [x[:cut]], returns=["outputs", "state"])
        second = client.models.predict("m", [x[cut:]], state=first.state)
    assert whole is not None
    assert first.outputs is not None
    assert second.outputs is not None
    np.testing.assert_array_equal(np.concatenate([first.outputs[0], second.outputs[0]]), whole[0])


def test_every_double_survives_the_wire_to_the_last_bit(server: ScriptedServer, client: Client) -> None:
    server.script = lambda seen: Answer(
        body={"outputs": seen.json["inputs"], "model": None, "checkpoint": "ckpt_1", "replica": 0}
    )
    x = np.array([[5e-324], [1.7976931348623157e308], [0.1], [1 / 3], [-0.0]])
    outputs = client.models.predict("m", [x]).outputs
    assert outputs is not None
    assert outputs[0].tobytes() == x.tobytes()


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (np.zeros((3, 1)), "B, T, I"),
        ([np.zeros(3)], r"inputs\[0\] must be numbers \[T, I\]"),
        ([np.zeros((2, 1)), np.array([["a"]])], r"inputs\[1\]"),
        ([np.array([[0.0, 1.0], [np.nan, 0.0]])], r"inputs\[0\]\[1\]\[0\] is nan"),
        (np.full((1, 2, 1), np.inf), r"inputs\[0\]\[0\]\[0\] is inf"),
        ([np.zeros((2, 1), complex)], "complex"),
        (3, "inputs must be a list of sequences .* not int"),
        ({"inputs": []}, "inputs must be a list of sequences .* not dict"),
        ([[[1.0], [1.0, 2.0]]], r"inputs\[0\] must be numbers \[T, I\], its lists differ in length"),
    ],
)
def test_inputs_that_are_no_sequences_are_refused_before_they_leave(
    server: ScriptedServer, client: Client, inputs: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        client.models.predict("m", inputs)
    assert server.seen == []


def table(dtype: str, *values: object) -> pd.DataFrame:
    return pd.DataFrame({"rate": [1.0, 2.0], "current": pd.Series(values, dtype=dtype)})


MASKED = np.ma.MaskedArray([[1.0, 2.0], [3.0, 4.0]], [[False, False], [True, False]])
NULLABLE = ["Int64", "Float64", "UInt8", "float64[pyarrow]", "int64[pyarrow]"]
MISSING: list[tuple[Any, str]] = [
    ([MASKED], "inputs[0][1][0] is masked"),
    (np.ma.MaskedArray([MASKED.data] * 2, [MASKED.mask] * 2), "inputs[0][1][0] is masked"),
    ([[[0.0, 1.0], MASKED[1]]], "inputs[0][1][0] is masked"),
    ([[[0.0, np.ma.masked]]], "inputs[0][0][1] is masked"),
    ([np.ma.MaskedArray([[1, 2]], [[False, True]])], "inputs[0][0][1] is masked"),
    *(([table(dtype, 0, None)], "inputs[0][1][1] (column 'current') is <NA>, not a number") for dtype in NULLABLE),
    ([table("boolean", True, None)], "inputs[0][1][1] (column 'current') is <NA>, not a number"),
    ([table("string", "1", "2")], "inputs[0][0][1] (column 'current') is '1', not a number"),
    ([table("object", 1, None)], "inputs[0][1][1] (column 'current') is None, not a number"),
    ([table("Sparse[float]", 0.0, None)], "inputs[0][1][1] (column 'current') is nan, not a finite number"),
    ([table("float", 0.0, None)], "inputs[0][1][1] (column 'current') is nan, not a finite number"),
    ([[table("Int64", 0, None)["current"]]], "inputs[0][0][1] is nan, not a finite number"),
    ([pa.table({"rate": [1, 2], "current": [0, None]})], "inputs[0][1][1] (column 'current') is nan, not a finite"),
    ([table("datetime64[s]", None, None)], "inputs[0][0][1] (column 'current') is NaT, not a number"),
    ([np.array([[1.0, None]], dtype=object)], "inputs[0][0][1] is None, not a number"),
    ([[[1.0, pd.NA]]], "inputs[0][0][1] is <NA>, not a number"),
    ([[[1, 10**400]]], "inputs[0] has a number that is too large"),
    (table("float", 0.0, 1.0), "for a single sequence [T, I] pass a list of one array"),
    ([torch.ones(2, 2, requires_grad=True)], "inputs[0] must be numbers [T, I], Can't call numpy() on Tensor that req"),
    (torch.ones(1, 2, 2, requires_grad=True), "inputs[0] must be numbers [T, I], Can't call numpy() on Tensor that"),
    ([torch.ones(2, 2).to_sparse()], "inputs[0] must be numbers [T, I], can't convert Sparse"),
    ([scipy.sparse.csr_array(np.eye(2))], "inputs[0] must be numbers [T, I], not object with shape ()"),
]


@pytest.mark.parametrize(("inputs", "said"), MISSING, ids=[said for _, said in MISSING])
def test_what_is_missing_is_told_by_field_row_and_column_and_nothing_is_sent_for_it(
    server: ScriptedServer, client: Client, inputs: Any, said: str
) -> None:
    with pytest.raises(ValueError, match=r"inputs|single sequence") as caught:
        client.models.predict("m", inputs)
    assert said in str(caught.value)
    assert server.seen == []


WHOLE: list[Any] = [
    np.ma.MaskedArray([[1.0, 0.0], [2.0, 1.0]]),
    *(table(dtype, 0, 1) for dtype in [*NULLABLE, "boolean", "Sparse[int]", "Sparse[float]", "object"]),
    pa.table({"rate": [1, 2], "current": [0, 1]}),
    torch.tensor([[1.0, 0.0], [2.0, 1.0]]),
    [pd.Series([1, 0], dtype="Int64"), [2.0, np.float32(1)]],
]


@pytest.mark.parametrize("sequence", WHOLE, ids=lambda one: f"{type(one).__name__}")
def test_tables_and_arrays_with_nothing_missing_are_sent_as_the_numbers_that_they_show(
    server: ScriptedServer, client: Client, sequence: Any
) -> None:
    server.script = leaky_sum
    client.models.predict("m", [sequence])
    assert server.seen[0].json["inputs"] == [[[1.0, 0.0], [2.0, 1.0]]]


def test_a_masked_state_is_refused_too(server: ScriptedServer, client: Client) -> None:
    with pytest.raises(ValueError, match=r"state\[0\]\[0\]\.h\[1\] is masked"):
        client.models.predict("m", [np.zeros((1, 1))], state=[[{"h": np.ma.MaskedArray([0.0, 1.0], [False, True])}]])
    assert server.seen == []


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (3, "state must be a list with one entry a sequence"),
        ([3], r"state\[0\] must be a list of layers .* not int"),
        ([{"h": [0.0]}], r"state\[0\] must be .*layers.* not an object of h"),
        ([[[0.0]]], r"state\[0\]\[0\] must be an object of arrays"),
        ([[{"h": [np.nan]}]], r"state\[0\]\[0\].h\[0\] is nan"),
    ],
)
def test_states_that_are_none_are_refused_before_they_leave(
    server: ScriptedServer, client: Client, state: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        client.models.predict("m", [np.zeros((1, 1))], state=state)
    assert server.seen == []


def test_a_state_may_be_written_as_it_travels(server: ScriptedServer, client: Client) -> None:
    server.script = leaky_sum
    bare = client.models.predict("m", [np.ones((1, 1))], state=[[{"h": [2.0]}]])
    wire = client.models.predict("m", [np.ones((1, 1))], state=[{"layers": [{"h": [2.0]}]}])
    first, second = (seen.json for seen in server.seen)
    assert first == second
    assert bare.outputs is not None
    assert wire.outputs is not None
    np.testing.assert_array_equal(bare.outputs[0], wire.outputs[0])


def series(name: str, replica: int, steps: list[int], values: list[float | None]) -> dict[str, Any]:
    return {"name": name, "replica": replica, "steps": steps, "values": values}


def curves(*found: dict[str, Any], downsampled: bool = False) -> Curves:
    body = {"job": "job_1", "last_step": 30, "downsampled": downsampled, "series": found}
    return Curves(Metrics.model_validate(body))


def test_curves_are_arrays_over_steps_and_replicas_with_nan_where_a_loss_was_not_finite() -> None:
    found = curves(
        series("loss", 0, [10, 20], [1.0, 0.5]),
        series("loss", 1, [10, 20], [2.0, None]),
        series("gradient_norm", 0, [10, 20], [3.0, 4.0]),
        series("gradient_norm", 1, [10, 20], [5.0, 6.0]),
    )
    np.testing.assert_array_equal(found.steps, [10, 20])
    np.testing.assert_array_equal(found["loss"], [[1.0, 2.0], [0.5, np.nan]])
    assert set(found) == {"loss", "gradient_norm"}
    assert set(found.to_numpy()) == {"steps", "loss", "gradient_norm"}


def test_thinned_curves_share_one_axis_of_steps() -> None:
    found = curves(
        series("loss", 0, [10, 30], [1.0, 0.5]), series("loss", 1, [10, 20, 30], [2.0, 9.0, 1.0]), downsampled=True
    )
    np.testing.assert_array_equal(found["loss"], [[1.0, 2.0], [np.nan, 9.0], [0.5, 1.0]])


def test_curves_of_a_job_without_metrics_are_empty() -> None:
    found = curves()
    assert dict(found) == {}
    assert found.steps.shape == (0,)
    assert found.to_pandas().shape == (0, 0)


def test_curves_become_a_data_frame() -> None:
    frame = curves(series("loss", 0, [10, 20], [1.0, 0.5]), series("loss", 1, [10, 20], [2.0, None])).to_pandas()
    assert frame.index.name == "step"
    assert frame["loss"][0].tolist() == [1.0, 0.5]
    assert frame.loc[10, ("loss", 1)] == 2.0
    assert np.isnan(frame.loc[20, ("loss", 1)])


def tensors(replicas: int = 2, hidden: int = 3, kind: Any = np.float32) -> dict[str, Any]:
    shapes = {
        "layers.0.W_xh": (hidden, 1),
        "layers.0.b_x": (hidden,),
        "layers.0.W_hh": (hidden, hidden),
        "layers.0.b_h": (hidden,),
        "readout.W_hy": (1, hidden),
        "readout.b_y": (1,),
    }
    return {name: RNG.normal(size=(replicas, *shape)).astype(kind) for name, shape in shapes.items()}


def saved(content: bytes, **fields: Any) -> Checkpoint:
    return Checkpoint.model_validate(examples.checkpoint(sha256=hashlib.sha256(content).hexdigest(), **fields))


def test_weights_are_arrays_as_they_were_saved(server: ScriptedServer, client: Client) -> None:
    arrays = tensors()
    content = save(arrays, {"unroll": json.dumps({"gates": []})})
    about = saved(content).model_dump(mode="json")
    server.script = lambda seen: Answer(body=content if seen.path.endswith("/content") else about)
    weights = client.checkpoints.weights("ckpt_1")
    assert set(weights) == set(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(weights[name], array)
        np.testing.assert_array_equal(weights.replica()[name], array[1])
        np.testing.assert_array_equal(weights.replica(0)[name], array[0])
    assert json.loads(weights.metadata["unroll"]) == {"gates": []}
    with pytest.raises(ValueError, match="no replica 2"):
        weights.replica(2)


def test_weights_that_are_not_the_checkpoints_are_refused() -> None:
    content = save(tensors())
    with pytest.raises(UnexpectedAnswerError, match="SHA-256"):
        Weights(content[:-1] + bytes([content[-1] ^ 1]), saved(content))


@given(st.binary(max_size=200))
def test_bytes_that_are_no_safetensors_file_are_refused(garbage: bytes) -> None:
    with pytest.raises(UnexpectedAnswerError):
        read_safetensors(garbage)


@given(st.data())
def test_a_damaged_safetensors_file_is_refused_or_read_never_worse(data: st.DataObject) -> None:
    content = bytearray(save({"a": np.arange(4, dtype=np.float32)}, {"k": "v"}))
    header = 8 + int.from_bytes(content[:8], "little")
    content[data.draw(st.integers(0, header - 1))] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    try:
        found, _ = read_safetensors(bytes(content))
    except UnexpectedAnswerError:
        return
    assert sum(array.nbytes for array in found.values()) <= len(content)


@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_a_replica_becomes_torch_modules_that_compute_the_courses_equations(activation: str, kind: Any) -> None:
    arrays = tensors(kind=kind)
    content = save(arrays)
    network = {**examples.NETWORK, "cell": {"type": "vanilla", "hidden_size": 3, "activation": activation}}
    rnn, readout = Weights(content, saved(content, network=network)).to_torch(replica=0)
    assert isinstance(rnn, torch.nn.RNN)
    assert isinstance(readout, torch.nn.Linear)
    one = {name: array[0].astype(np.float64) for name, array in arrays.items()}
    x_TBI = RNG.normal(size=(6, 2, 1)).astype(kind)
    h = np.zeros((2, 3))
    expected = []
    for x in x_TBI:
        a = x @ one["layers.0.W_xh"].T + one["layers.0.b_x"] + h @ one["layers.0.W_hh"].T + one["layers.0.b_h"]
        h = np.tanh(a) if activation == "tanh" else np.maximum(a, 0)
        expected.append(h @ one["readout.W_hy"].T + one["readout.b_y"])
    with torch.no_grad():
        outputs = readout(rnn(torch.from_numpy(x_TBI))[0]).numpy()
    assert outputs.dtype == kind
    np.testing.assert_allclose(outputs, expected, rtol=1e-12 if kind is np.float64 else 1e-4, atol=1e-5)


def test_a_cell_that_torch_does_not_have_is_refused_by_name() -> None:
    content = save(tensors())
    network = {**examples.NETWORK, "cell": {"type": "vanilla", "hidden_size": 3, "activation": "identity"}}
    with pytest.raises(ValueError, match="identity"):
        Weights(content, saved(content, network=network)).to_torch(0)


@pytest.mark.parametrize("more", [{"architecture": "encoder_decoder"}, {"vocabulary_size": 4}])
def test_a_network_of_more_than_a_module_and_a_readout_is_not_handed_out_as_less(more: dict[str, Any]) -> None:
    content = save(tensors())
    with pytest.raises(ValueError, match="neither a decoder nor an embedding"):
        Weights(content, saved(content, network=examples.NETWORK | more)).to_torch(0)


def test_without_pytorch_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    del tmp_path
    monkeypatch.setitem(sys.modules, "torch", None)
    content = save(tensors())
    with pytest.raises(ImportError, match=r"unroll-sdk\[torch\]"):
        Weights(content, saved(content)).to_torch(0)
