"""Exported files against the server's own predictions, and what a file must do beyond them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from safetensors.numpy import load

from rnn.cells.facts import facts
from rnn.export import reading, runtimes
from rnn.export.formats import FORMATS, Format, file_name, media_type, refusal
from rnn.export.parity import Parity, parity, proven
from rnn.export.questions import Question
from rnn.export.runtimes import UnreadableError
from rnn.export.write import export
from rnn.networks import connectivity, parameters
from rnn.networks.weights import StoredNetworks, dump_weights, load_weights
from rnn.serving.predictor import Predictor
from tests.oracles.cases import every_cell
from unroll.contract import (
    Connectivity,
    Dale,
    DType,
    FeedForwardCell,
    GRUCell,
    LeakyCell,
    LinearCell,
    LSTMCell,
    Network,
    SpectralRadius,
    VanillaCell,
)

ROOT = Path(__file__).resolve().parents[2]
R, H, I, O, V = 2, 5, 3, 2, 7  # noqa: E741
ACTIVATIONS: Any = ("tanh", "relu", "leaky_relu", "softplus", "sigmoid", "identity", "saturated_relu")
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "many_to_many of tokens": {"vocabulary_size": V},
    "many_to_one": {},
    "one_to_one": {},
    "one_to_many": {},
    "one_to_many of tokens": {"vocabulary_size": V},
    "encoder_decoder": {},
    "encoder_decoder of tokens": {"vocabulary_size": V, "feedback": "softmax"},
    "encoder_decoder of events": {"feedback": "sigmoid"},
    "encoder_decoder of counts": {"feedback": "exp"},
}
STEPPING = {name: cell for name, cell in every_cell(H).items() if name in {"vanilla", "potentials", "lstm", "gru"}}


def made(cell: Any, dtype: DType = "float64", **fields: Any) -> StoredNetworks:
    """A network of two layers that starts from a learned state where it reads one, off its initialisation."""
    fields = {"num_layers": 2, "h0": "zeros" if cell.type == "feedforward" else "trainable"} | fields
    net = Network(cell=cell, input_size=I, output_size=O, **fields)
    flat_RP = parameters.initialise(net, 5, R, "float64")
    generator = np.random.default_rng(0)
    for slot in parameters.layout(net):
        name = slot.name.rpartition(".")[2]
        if name in {"h0", "c0"}:
            flat_RP[:, slot.start : slot.stop] = generator.uniform(-0.5, 0.5, (R, slot.stop - slot.start))
        if name == "tau":
            flat_RP[:, slot.start : slot.stop] *= generator.uniform(1, 2, (R, slot.stop - slot.start))
    return load_weights(dump_weights(net, dtype, flat_RP.astype(dtype)))


def kind(name: str) -> dict[str, Any]:
    return {"architecture": name.split(maxsplit=1)[0], **ARCHITECTURES[name]}


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """NumPy's reading in this process: a start of another takes longer than all that it computes."""

    def by_numpy(content: bytes, form: Format, questions: list[Question]) -> list[Any]:
        found = reading.answers(content, form, [question.fed for question in questions])
        return [found[k : k + len(questions)] for k in range(0, len(found), len(questions))]

    monkeypatch.setattr(runtimes, "by_numpy", by_numpy)


def same(weights: StoredNetworks, form: Format, replica: Any = 1) -> Parity:
    _, found = proven(weights, replica, form, seed=3)
    assert found.passed, found
    assert found.relative == max(runtime.relative for runtime in found.runtimes) <= found.tolerance
    assert found.largest > 0.01
    return found


class TestEveryNetworkComputesTheSame:
    """A cell inherits these by standing in `cases.every_cell`, a format by standing in FORMATS."""

    pytestmark = pytest.mark.usefixtures("here")

    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    @pytest.mark.parametrize("cell", every_cell(H).values(), ids=every_cell(H))
    @pytest.mark.parametrize("form", FORMATS)
    def test_of_every_cell(self, form: Format, cell: Any, dtype: DType):
        weights = made(cell, dtype)
        if (reason := refusal(weights.network, dtype, form)) is not None:
            with pytest.raises(ValueError, match=re.escape(reason)):
                export(weights, 0, form)
            return
        found = same(weights, form)
        assert found.arithmetic == (dtype if form == "onnx" else "float64")

    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    @pytest.mark.parametrize("activation", ACTIVATIONS)
    @pytest.mark.parametrize("make", [VanillaCell, LeakyCell, FeedForwardCell])
    def test_of_every_activation(self, make: Any, activation: Any, dtype: DType):
        found = same(made(make(hidden_size=H, activation=activation), dtype, num_layers=1), "onnx")
        assert found.arithmetic == dtype

    @pytest.mark.parametrize("activation", ACTIVATIONS)
    def test_of_every_activation_in_torch(self, activation: Any):
        same(made(FeedForwardCell(hidden_size=H, activation=activation)), "torch")

    @pytest.mark.parametrize("cell", STEPPING.values(), ids=STEPPING)
    @pytest.mark.parametrize("name", ARCHITECTURES)
    def test_of_every_architecture(self, name: str, cell: Any):
        for form in FORMATS:
            dtype: DType = "float64" if form == "onnx" or cell.type in {"lstm", "gru"} else "float32"
            weights = made(cell, dtype, **kind(name))
            if refusal(weights.network, dtype, form) is None:
                same(weights, form)

    @pytest.mark.parametrize("name", ["many_to_one", "one_to_many of tokens", "encoder_decoder of tokens"])
    def test_of_architectures_by_native_operators(self, name: str):
        for cell in (VanillaCell(hidden_size=H, activation="relu"), LSTMCell(hidden_size=H), GRUCell(hidden_size=H)):
            found = same(made(cell, "float32", h0="zeros", **kind(name)), "onnx")
            assert found.arithmetic == "float32"

    @pytest.mark.parametrize("form", ["safetensors", "npz"])
    def test_of_all_replicas_at_once(self, form: Format):
        weights = made(GRUCell(hidden_size=H))
        assert same(weights, form, "all").passed
        swapped = StoredNetworks(weights.network, "float64", {name: t[::-1] for name, t in weights.tensors.items()})
        assert not parity(export(swapped, "all", form), form, weights, "all", seed=3).passed


@pytest.mark.parametrize("form", FORMATS)
def test_plain_numpy_reads_the_file_in_a_process_of_its_own(form: Format):
    found = same(made(LSTMCell(hidden_size=H)), form)
    assert "numpy" in [runtime.name for runtime in found.runtimes]
    assert {runtime.name for runtime in found.runtimes} - {"numpy"} == {
        "onnx": {"onnxruntime"}, "torch": {"torch"}, "npz": set(), "safetensors": set(),
    }[form]  # fmt: skip


def test_a_file_that_numpy_cannot_read_is_said_to_be():
    with pytest.raises(UnreadableError, match="not a checkpoint, or torn"):
        runtimes.by_numpy(b"torn", "safetensors", [Question(np.zeros((1, 1, I)), None, {})])


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["layers.0.W_xh", "layers.1.W_hh", "layers.1.b_h", "readout.W_hy", "layers.0.h0"])
@pytest.mark.parametrize("form", FORMATS)
def test_one_weight_with_the_wrong_sign_is_found(form: Format, name: str, dtype: DType):
    weights = made(LSTMCell(hidden_size=H), dtype)
    wrong = {key: tensor.copy() for key, tensor in weights.tensors.items()}
    wrong[name][1].flat[2] *= -1
    found = parity(export(StoredNetworks(weights.network, dtype, wrong), 1, form), form, weights, 1, seed=3)
    assert not found.passed
    assert found.relative > 100 * found.tolerance


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("form", ["onnx", "torch", "safetensors"])
def test_one_flipped_bit_in_the_file_is_found(form: Format):
    weights = made(GRUCell(hidden_size=H))
    content = bytearray(export(weights, 0, form))
    weight = weights.tensors["readout.W_hy"][0, 1, 3].tobytes()
    assert content.count(weight) == 1
    content[content.index(weight) + 7] ^= 0x80  # the sign
    assert not parity(bytes(content), form, weights, 0, seed=3).passed


def chaotic() -> StoredNetworks:
    """In float32 its trajectories part within some steps, whoever computes them."""
    radius = SpectralRadius(radius=3.0)
    net = Network(cell=VanillaCell(hidden_size=64), input_size=I, output_size=1, initialisation=radius)
    return load_weights(dump_weights(net, "float32", parameters.initialise(net, 0, 1, "float32")))


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("form", FORMATS)
def test_what_float32_cannot_tell_apart_is_computed_and_compared_in_float64(form: Format):
    found = same(chaotic(), form, 0)
    assert found.arithmetic == found.reference == "float64"
    assert found.rounding > found.tolerance / 2


@pytest.mark.usefixtures("here")
def test_a_parity_that_is_not_reached_is_not_rounded_away():
    weights = chaotic()
    found = parity(export(weights, 0, "onnx"), "onnx", weights, 0, seed=3)
    assert not found.passed
    assert found.arithmetic == "float32"
    assert found.relative > found.tolerance


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("replica", [1, "all"])
def test_a_parity_with_what_is_not_a_number_has_not_passed(replica: Any):
    weights = made(GRUCell(hidden_size=H))
    broken = {name: tensor.copy() for name, tensor in weights.tensors.items()}
    broken["readout.b_y"][1, 0] = np.nan
    found = parity(
        export(StoredNetworks(weights.network, "float64", broken), replica, "npz"), "npz", weights, replica, seed=3
    )
    assert not found.passed
    assert np.isnan(found.relative)


@pytest.mark.usefixtures("here")
def test_a_large_network_is_compared_although_one_prediction_could_not_hold_it():
    net = Network(cell=VanillaCell(hidden_size=64), input_size=3, output_size=700, vocabulary_size=2_000)
    weights = load_weights(dump_weights(net, "float32", parameters.initialise(net, 0, 1, "float32")))
    assert same(weights, "npz", 0).sequences > 64


@pytest.mark.usefixtures("here")
def test_a_network_that_grows_is_compared_on_shorter_sequences():
    weights = made(LinearCell(hidden_size=H), h0="zeros")
    tensors = {name: tensor * (8 if name.endswith("W_hh") else 1) for name, tensor in weights.tensors.items()}
    _, found = proven(StoredNetworks(weights.network, "float64", tensors), 0, "onnx", seed=3)
    assert found.passed
    assert found.steps < 24


def session(weights: StoredNetworks, replica: int = 0) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    content = export(weights, replica, "onnx")
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("cell", [c for c in every_cell(H).values() if c.type != "feedforward"], ids=lambda c: c.type)
def test_an_onnx_model_goes_on_from_the_states_that_it_gave(cell: Any, dtype: DType):
    model = session(made(cell, dtype))
    x = np.random.default_rng(1).standard_normal((4, 9, I)).astype(dtype)
    whole = model.run(["outputs"], {"inputs": x})[0]
    states = [value.name for value in model.get_overridable_initializers()]
    assert len(states) == 2 * len(facts(cell).states)
    first, *after = model.run(["outputs", *(f"{name}.next" for name in states)], {"inputs": x[:, :4]})
    rest = model.run(["outputs"], {"inputs": x[:, 4:], **dict(zip(states, after, strict=True))})[0]
    close = {"rtol": 1e-5, "atol": 1e-6} if dtype == "float32" else {"rtol": 1e-12, "atol": 1e-13}
    np.testing.assert_allclose(np.concatenate([first, rest], 1), whole, **close)
    # One of the states alone; the others are then the network's own.
    alone = model.run(["outputs"], {"inputs": x, states[0]: after[0] + 1})[0]
    assert np.abs(alone - whole).max() > 1e-3
    shared = model.run(["outputs"], {"inputs": x, states[0]: after[0][:1]})[0]
    assert shared.shape == whole.shape


@pytest.mark.parametrize(
    ("cell", "dtype", "operator"),
    [
        (VanillaCell(hidden_size=H), "float32", "RNN"),
        (LinearCell(hidden_size=H), "float32", "RNN"),
        (LSTMCell(hidden_size=H), "float32", "LSTM"),
        (GRUCell(hidden_size=H), "float32", "GRU"),
        (LeakyCell(hidden_size=H), "float32", "Scan"),
        (LSTMCell(hidden_size=H), "float64", "Scan"),  # onnxruntime has no LSTM in float64
    ],
)
def test_cells_are_native_operators_where_these_say_the_same(cell: Any, dtype: DType, operator: str):
    model = onnx.load_from_string(export(made(cell, dtype), 0, "onnx"))
    found = {node.op_type for node in model.graph.node}
    assert found & {"RNN", "LSTM", "GRU", "Scan", "Loop"} == {operator}


def test_batch_and_time_of_an_onnx_model_are_free():
    model = session(made(GRUCell(hidden_size=H)))
    for batch, time in ((1, 1), (3, 2), (2, 50)):
        x = np.random.default_rng(1).standard_normal((batch, time, I))
        given = {value.name: y for value, y in zip(model.get_outputs(), model.run(None, {"inputs": x}), strict=True)}
        assert given["outputs"].shape == (batch, time, O)
        assert given["layers.1.h.next"].shape == (batch, H)
    assert model.get_outputs()[0].name == "outputs"
    assert model.get_inputs()[0].name == "inputs"


def test_an_onnx_model_writes_as_many_outputs_as_it_is_asked_for():
    model = session(made(LSTMCell(hidden_size=H), **kind("encoder_decoder of tokens")))
    tokens = np.array([[1, 2, 3], [0, 6, 6]])
    few, more = (model.run(["outputs"], {"inputs": tokens, "steps": np.array(steps)})[0] for steps in (2, 9))
    assert more.shape == (2, 9, O)
    np.testing.assert_array_equal(few, more[:, :2])


@pytest.mark.parametrize("form", FORMATS)
def test_equal_networks_have_equal_files(form: Format):
    assert export(made(GRUCell(hidden_size=H)), 0, form) == export(made(GRUCell(hidden_size=H)), 0, form)


def test_exported_weights_keep_the_constraints():
    constraints = Connectivity(dale=Dale(excitatory=0.6), density=0.5, autapses=False)
    weights = made(LSTMCell(hidden_size=H), connectivity=constraints)
    tensors = load(export(weights, 1, "safetensors"))
    for name, layer in (("layers.0.W_hh", 0), ("layers.1.W_hh", 1)):
        np.testing.assert_array_equal(tensors[name], connectivity.constrain(weights.network, tensors[name], layer, 1))


def test_safetensors_of_all_replicas_are_a_checkpoints_weights():
    weights = made(GRUCell(hidden_size=H))
    assert Predictor(export(weights, "all", "safetensors")).replicas == R


@pytest.mark.parametrize(
    ("cell", "form", "reason"),
    [
        (LeakyCell(hidden_size=H), "torch", "torch.nn has no module for leaky cells"),
        (LinearCell(hidden_size=H), "torch", "no module is a linear cell"),
        (VanillaCell(hidden_size=H, activation="softplus"), "torch", "tanh and relu, not softplus"),
        (VanillaCell(hidden_size=16_384), "onnx", "less than 2 GiB"),
    ],
)
def test_what_a_format_cannot_hold_is_refused_with_the_reason(cell: Any, form: Format, reason: str):
    said = refusal(Network(cell=cell, input_size=I, output_size=O), "float64", form)
    assert said is not None
    assert reason in said


def test_what_a_format_can_hold_is_not_refused():
    for form in FORMATS:
        assert refusal(Network(cell=VanillaCell(hidden_size=H), input_size=I, output_size=O), "float32", form) is None
    assert (
        refusal(Network(cell=VanillaCell(hidden_size=16_000), input_size=I, output_size=O), "float32", "onnx") is None
    )


@pytest.mark.parametrize(
    ("form", "replica", "reason"),
    [("onnx", "all", "holds one replica"), ("torch", "all", "holds one replica"), ("npz", R, "there is no 2")],
)
def test_replicas_that_a_file_cannot_hold_are_refused(form: Format, replica: Any, reason: str):
    with pytest.raises(ValueError, match=reason):
        export(made(GRUCell(hidden_size=H)), replica, form)


def test_a_server_may_ask_for_formats_without_loading_what_writes_them():
    script = (
        "import sys, rnn.export.formats\n"
        "assert not {'torch', 'onnx', 'onnxruntime'} & sys.modules.keys(), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT, env={"PYTHONPATH": f"{ROOT}:{ROOT / 'sdk'}"})
    assert len({file_name(form) for form in FORMATS}) == len(FORMATS)
    assert all("/" in media_type(form) for form in FORMATS)


def test_the_snippets_of_the_page_compute_our_predictions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    net = Network(cell=VanillaCell(hidden_size=H), input_size=I, output_size=O)
    content = dump_weights(net, "float64", parameters.initialise(net, 5, 1, "float64"))
    for form in FORMATS:
        (tmp_path / file_name(form)).write_bytes(export(load_weights(content), 0, form))
    monkeypatch.chdir(tmp_path)
    inputs = np.random.default_rng(1).standard_normal((4, 15, I))
    expected = np.array(Predictor(content).predict(list(inputs)).outputs)
    snippets = re.findall(r"```python\n(.*?)```", (ROOT / "docs/export.md").read_text(), re.DOTALL)
    assert len(snippets) == 5
    space: dict[str, Any] = {"inputs": inputs}
    compared = 0
    for snippet in snippets:
        space.pop("outputs", None)
        exec(snippet, space)
        if "outputs" in space:
            np.testing.assert_allclose(space["outputs"], expected, rtol=1e-12, atol=1e-13)
            compared += 1
    assert compared == 3
    np.testing.assert_allclose(np.concatenate([space["first"], space["rest"]], 1), expected, rtol=1e-12, atol=1e-13)
    np.testing.assert_array_equal(space["tensors"]["readout.b_y"], load_weights(content).tensors["readout.b_y"][0])
