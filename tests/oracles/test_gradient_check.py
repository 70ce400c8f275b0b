"""The check that users run: every cell passes it, and a wrong gradient does not."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch

from rnn.bptt.whole import BPTT
from rnn.errors import ConfigurationError
from rnn.gradient_check.batch import draw
from rnn.gradient_check.bounds import require_feasible
from rnn.gradient_check.compare import check
from rnn.gradient_check.reference import Reference, by_autograd, central_difference
from tests.oracles.checks import CELLS, H, T, request, run
from unroll.contract import (
    Check,
    GRUCell,
    LinearCell,
    LSTMCell,
    Network,
    VanillaCell,
)
from unroll.contract.network import FEEDBACK


def failed(found: Check) -> str:
    return "\n".join(tensor.model_dump_json() for e in found.engines for tensor in e.tensors if not tensor.passed)


@pytest.mark.parametrize(
    "connectivity",
    [
        {"dale": {}},
        {"density": 0.5, "autapses": False},
        {"symmetry": "antisymmetric"},
        {"frozen": ["W_xh", "b_h"]},
        {"frozen_weights": [[1, 0, 0, 1]] * H},
    ],
    ids=str,
)
def test_constraints_and_frozen_weights_are_part_of_what_is_differentiated(connectivity: Any):
    found = run(request(VanillaCell(hidden_size=H), {"connectivity": connectivity}, entries=16))
    assert found.passed, failed(found)


@pytest.mark.parametrize("loss", ["mse", "cross_entropy", "bce", "poisson"])
@pytest.mark.parametrize("window", [None, 2, 5])
@pytest.mark.parametrize("architecture", ["many_to_many", "many_to_one"])
def test_every_loss_passes_with_and_without_a_window(loss: str, window: int | None, architecture: str):
    fields = {"architecture": architecture, "h0": "trainable", "num_layers": 2}
    found = run(request(LSTMCell(hidden_size=H), fields, loss={"type": loss}, bptt={"window": window}))
    assert found.passed, failed(found)


@pytest.mark.parametrize("loss", ["mse", "cross_entropy", "bce", "poisson"])
@pytest.mark.parametrize("how", ["equal", "ragged", "window", "encoder_decoder", "one_to_many"])
def test_weights_in_time_are_part_of_the_loss(loss: str, how: str):
    of_decoder = how == "encoder_decoder"
    fields: dict[str, Any] = {"architecture": how if of_decoder or how == "one_to_many" else "many_to_many"}
    if of_decoder:
        fields["feedback"] = FEEDBACK[loss]
    weights = [2.0, 0.0, 0.5, 1.0, 3.0][: T - 1 if of_decoder else T]
    more: dict[str, Any] = {"variable_lengths": how == "ragged", "bptt": {"window": 2 if how == "window" else None}}
    if of_decoder:
        more |= {"output_steps": T - 1, "teacher_forcing": 0.5}
    found = run(request(GRUCell(hidden_size=H), fields, loss={"type": loss, "time_weights": weights}, **more))
    assert found.passed, failed(found)
    plain = run(request(GRUCell(hidden_size=H), fields, loss={"type": loss}, entries=1, **more))
    assert found.loss != pytest.approx(plain.loss, rel=1e-3)


@pytest.mark.parametrize("reference", ["autograd", "complex_step", "finite_differences"])
def test_a_missing_term_of_the_recursion_is_found_by_each_reference(monkeypatch: pytest.MonkeyPatch, reference: str):
    backward = BPTT.backward

    def without_one_time_step(engine: BPTT) -> None:
        backward(engine)
        layer: Any = engine.layers[0]
        layer.spec.gradients["W_hh"].mul_(1 - 1e-4)

    monkeypatch.setattr(BPTT, "backward", without_one_time_step)
    found = run(request(VanillaCell(hidden_size=H)))
    assert not found.passed
    for engine in found.engines:
        wrong = {tensor.name for tensor in engine.tensors if not tensor.passed}
        assert wrong == {"layers.0.W_hh"}
        tensor = next(one for one in engine.tensors if one.name == "layers.0.W_hh")
        assert getattr(tensor, reference) == pytest.approx(1e-4, rel=0.3)


def test_a_gradient_that_is_not_a_number_fails(monkeypatch: pytest.MonkeyPatch):
    backward = BPTT.backward

    def broken(engine: BPTT) -> None:
        backward(engine)
        layer: Any = engine.layers[0]
        layer.spec.gradients["W_hh"].fill_(torch.nan)

    monkeypatch.setattr(BPTT, "backward", broken)
    found = run(request(VanillaCell(hidden_size=H)))
    assert not found.passed
    Check.model_validate_json(found.model_dump_json())


def test_only_the_reset_gates_candidate_tells_the_two_biases_apart():
    for cell in (CELLS["tanh"], CELLS["lstm"], CELLS["rates"]):
        (bias,) = run(request(cell)).biases
        assert not bias.identifiable
        assert bias.distance < 1e-12
    (bias,) = run(request(CELLS["gru"])).biases
    assert bias.identifiable
    assert bias.distance_by_gate["n"] > 0.01
    assert bias.distance_by_gate["r"] < 1e-12
    assert bias.distance_by_gate["z"] < 1e-12
    assert run(request(CELLS["linear"])).biases == []


def test_a_difference_across_a_kink_is_not_taken_and_the_answer_says_so():
    one = request(VanillaCell(hidden_size=H, activation="relu"))
    batch = draw(one)
    entry = 2 * H  # the first bias: b_x of unit 0, right after W_xh [H, 2]
    reference, unit = Reference(batch, 0), 0
    W_xh, b = batch.raw_RP[0, : 2 * H].reshape(H, 2), batch.raw_RP[0, entry + unit]
    b_h = batch.raw_RP[0, 2 * H + H + H * H + unit]
    scale = float(np.linalg.norm(by_autograd(batch).gradients_RP))
    assert central_difference(reference, entry, scale) is not None
    for distance in (0.0, 1e-6, 1e-5 / 3, -5e-6):
        # the first sequence's first pre-activation of that unit, so far above zero
        batch.x_RTBI[0, 0, 0] = 0.0
        batch.x_RTBI[0, 0, 0, 0] = (distance - b - b_h) / W_xh[unit, 0]
        assert central_difference(reference, entry, scale) is None
    batch.x_RTBI[0, 0, 0, 0] = (1e-3 - b - b_h) / W_xh[unit, 0]
    assert central_difference(reference, entry, scale) is not None


def test_the_lag_profile_is_that_of_the_engine():
    one = request(VanillaCell(hidden_size=H), {"architecture": "many_to_one"}, replicas=2)
    batch = draw(one)
    flat_RP = torch.from_numpy(batch.raw_RP)
    engine = BPTT(batch.network, flat_RP, torch.zeros_like(flat_RP), 5, 3, one.loss, profiled=True)
    engine.x_RTBI.copy_(torch.from_numpy(batch.x_RTBI))
    engine.target_RTBO.copy_(torch.from_numpy(batch.target_RTBO))
    engine.forward()
    engine.backward()
    np.testing.assert_allclose(run(one).lag_profile, engine.lag_profile(), rtol=1e-10)


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"model": "net"}, "/model"),
        ({"bptt": {"window": 6}}, "/bptt/window"),
        ({"output_steps": 6}, "/output_steps"),
        ({"teacher_forcing": 0.5}, "/teacher_forcing"),
        (
            {
                "loss": {"type": "cross_entropy"},
                "model": Network(cell=GRUCell(hidden_size=H), input_size=1, output_size=1),
            },
            "/model/output_size",
        ),
        ({"loss": {"type": "mse", "time_weights": [1.0] * (T + 1)}}, "/loss/time_weights"),
        ({"loss": {"type": "mse", "time_weights": [0.0] * T}}, "/loss/time_weights"),
        (
            {"loss": {"type": "mse", "time_weights": [0.0] + [1.0] * (T - 1)}, "variable_lengths": True},
            "/loss/time_weights",
        ),
        (
            {
                "entries": 1000,
                "time_steps": 200,
                "model": Network(cell=LSTMCell(hidden_size=64), input_size=1, output_size=1),
            },
            "/entries",
        ),
        (
            {"model": Network(cell=VanillaCell(hidden_size=1024), input_size=1, output_size=1)},
            "/model/cell/hidden_size",
        ),
    ],
    ids=str,
)
def test_what_cannot_be_checked_in_time_is_refused_with_a_pointer(fields: Any, pointer: str):
    with pytest.raises(ConfigurationError) as refused:
        require_feasible(request(VanillaCell(hidden_size=H), **fields))
    assert refused.value.pointer == pointer


def test_a_network_whose_loss_overflows_is_refused():
    loud = {"initialisation": {"type": "gaussian", "gain": 100.0}}
    with pytest.raises(ConfigurationError) as refused, np.errstate(all="ignore"):
        run(request(LinearCell(hidden_size=H), loud, time_steps=200, entries=1))
    assert refused.value.code == "not_finite"


def test_gradients_whose_norm_alone_overflows_are_refused():
    network = {"output_size": 17, "num_layers": 2, "initialisation": {"type": "gaussian", "gain": 1.5}}
    sizes = {"time_steps": 12, "batch_size": 7, "loss": {"type": "poisson"}, "entries": 4, "seed": 78}
    one = request(VanillaCell(hidden_size=9, activation="identity"), network | {"input_size": 1}, **sizes)
    assert np.isfinite(by_autograd(draw(one)).gradients_RP).all()
    with pytest.raises(ConfigurationError) as refused:
        run(one)
    assert refused.value.code == "not_finite"


@pytest.mark.parametrize("cell", [CELLS["tanh"], CELLS["relu"], CELLS["lstm"], CELLS["gru"]])
def test_a_gradient_that_is_rounding_alone_passes(cell: Any):
    """Cross entropy of one class, which is zero; a request for it is refused before it comes to that."""
    found = check(request(cell, {"output_size": 1}, loss={"type": "cross_entropy"}))
    assert all(tensor.norm < 1e-15 for engine in found.engines for tensor in engine.tensors)
    assert found.passed, failed(found)


@pytest.mark.parametrize("wrong", [0.1, np.nan], ids=str)
def test_a_loss_that_is_not_that_of_the_equations_fails(monkeypatch: pytest.MonkeyPatch, wrong: float):
    forward = BPTT.forward

    def elsewhere(engine: BPTT) -> None:
        forward(engine)
        engine.loss_R.add_(wrong)

    monkeypatch.setattr(BPTT, "forward", elsewhere)
    found = run(request(VanillaCell(hidden_size=H)))
    assert not found.passed
    assert all(tensor.passed for engine in found.engines for tensor in engine.tensors)
    Check.model_validate_json(json.dumps(found.model_dump(mode="json"), allow_nan=False))


STEEP: dict[str, tuple[Any, float, int, list[str]]] = {
    "bends": (VanillaCell(hidden_size=8), 100.0, 8, ["bends so much", "float32"]),
    "grows": (LinearCell(hidden_size=8), 4.0, 40, ["float32"]),
    "overflows": (LinearCell(hidden_size=8), 4.0, 100, ["float32"]),
}


@pytest.mark.parametrize(("cell", "gain", "time_steps", "causes"), STEEP.values(), ids=list(STEEP))
def test_where_only_differences_or_float32_fail_the_answer_says_that_the_derivation_is_right(
    cell: Any, gain: float, time_steps: int, causes: list[str]
):
    network = {"initialisation": {"type": "gaussian", "gain": gain}, "input_size": 1, "output_size": 1}
    with np.errstate(all="ignore"):
        found = run(request(cell, network, time_steps=time_steps, entries=24))
    assert not found.passed
    tensors = [tensor for engine in found.engines for tensor in engine.tensors]
    assert max(max(one.autograd, one.complex_step or 0.0) for one in tensors) < 1e-12
    (note,) = [note for note in found.notes if "the derivation is right" in note]
    assert all(cause in note for cause in causes)


@pytest.mark.parametrize("factor", [1 - 1e-4, np.nan], ids=str)
def test_of_a_wrong_gradient_nothing_of_the_kind_is_said(monkeypatch: pytest.MonkeyPatch, factor: float):
    backward = BPTT.backward

    def wrong(engine: BPTT) -> None:
        backward(engine)
        layer: Any = engine.layers[0]
        layer.spec.gradients["W_hh"].mul_(factor)

    monkeypatch.setattr(BPTT, "backward", wrong)
    steep = {"initialisation": {"type": "gaussian", "gain": 100.0}}
    with np.errstate(all="ignore"):
        found = run(request(VanillaCell(hidden_size=8), steep))
    assert not found.passed
    assert not any("the derivation is right" in note for note in found.notes)


@pytest.mark.parametrize("lengths", [False, True], ids=["equal", "ragged"])
@pytest.mark.parametrize("vocabulary", [None, 4], ids=["vectors", "tokens"])
@pytest.mark.parametrize("architecture", ["one_to_one", "one_to_many", "many_to_one", "many_to_many"])
@pytest.mark.parametrize("cell", [CELLS["tanh"], CELLS["lstm"]], ids=["tanh", "lstm"])
def test_every_architecture_passes_with_tokens_and_lengths(cell: Any, architecture: str, vocabulary: Any, lengths: Any):
    fields = {"architecture": architecture, "vocabulary_size": vocabulary, "num_layers": 2}
    found = run(request(cell, fields, variable_lengths=lengths, entries=4))
    assert found.passed, failed(found)


@pytest.mark.parametrize("lengths", [False, True], ids=["equal", "ragged"])
@pytest.mark.parametrize("forcing", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("cell", [CELLS[name] for name in ("tanh", "rates", "potentials", "lstm", "gru")])
def test_an_encoder_and_its_decoder_pass_forced_free_and_mixed(cell: Any, forcing: float, lengths: Any):
    fields = {"architecture": "encoder_decoder", "num_layers": 2, "h0": "trainable", "feedback": "softmax"}
    options = {"teacher_forcing": forcing, "variable_lengths": lengths, "output_steps": 4, "entries": 4}
    found = run(request(cell, fields, loss={"type": "cross_entropy"}, **options))
    assert found.passed, failed(found)
    assert len(found.lag_profile[0]) == T + 4, "the steps of the encoder, and then those of the decoder"


@pytest.mark.parametrize("lengths", [False, True], ids=["equal", "ragged"])
@pytest.mark.parametrize("architecture", ["many_to_one", "many_to_many", "one_to_many"])
@pytest.mark.parametrize("vocabulary", [None, 4], ids=["vectors", "tokens"])
@pytest.mark.parametrize("cell", [CELLS["lstm"], CELLS["gru"]], ids=["lstm", "gru"])
def test_windows_go_together_with_every_architecture_and_with_lengths(
    cell: Any, architecture: str, vocabulary: Any, lengths: Any
):
    fields = {"architecture": architecture, "vocabulary_size": vocabulary, "num_layers": 2}
    found = run(request(cell, fields, variable_lengths=lengths, bptt={"window": 2}, entries=4))
    assert found.passed, failed(found)
    whole = run(request(cell, fields, variable_lengths=lengths, entries=1))
    assert found.loss == pytest.approx(whole.loss, rel=1e-12)
    assert found.lag_profile != whole.lag_profile
