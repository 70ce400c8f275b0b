"""The check that users run: every cell passes it, and a wrong gradient does not."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch

from rnn import kernels
from rnn.bptt import BPTT
from rnn.errors import ConfigurationError
from rnn.gradient_check import compare
from rnn.gradient_check.batch import Array, draw
from rnn.gradient_check.bounds import require_feasible
from rnn.gradient_check.compare import check
from rnn.gradient_check.reference import Reference, by_autograd, central_difference
from rnn.optimizers import Optimizer
from unroll.contract import (
    Adam,
    AdamW,
    Check,
    CheckRequest,
    FeedForwardCell,
    GRUCell,
    LeakyCell,
    LinearCell,
    LSTMCell,
    Network,
    VanillaCell,
)
from unroll.contract.network import FEEDBACK

H, T = 4, 5
CELLS: dict[str, Any] = {
    "tanh": VanillaCell(hidden_size=H),
    "relu": VanillaCell(hidden_size=H, activation="relu"),
    "saturated": VanillaCell(hidden_size=H, activation="saturated_relu"),
    "linear": LinearCell(hidden_size=H),
    "feedforward": FeedForwardCell(hidden_size=H),
    "rates": LeakyCell(hidden_size=H, learn_tau="per_unit"),
    "potentials": LeakyCell(hidden_size=H, leak="potentials", activation="softplus", tau=3.0),
    "lstm": LSTMCell(hidden_size=H),
    "gru": GRUCell(hidden_size=H),
}


def request(cell: Any, network: dict[str, Any] | None = None, **fields: Any) -> CheckRequest:
    given = {"input_size": 2, "output_size": 3, **(network or {})}
    return CheckRequest(**({"model": Network(cell=cell, **given), "time_steps": 5, "entries": 8} | fields))


def run(one: CheckRequest) -> Check:
    require_feasible(one)
    return check(one)


def failed(found: Check) -> str:
    return "\n".join(tensor.model_dump_json() for e in found.engines for tensor in e.tensors if not tensor.passed)


@pytest.mark.parametrize("architecture", ["many_to_many", "many_to_one"])
@pytest.mark.parametrize("cell", CELLS.values(), ids=list(CELLS))
def test_every_cell_passes_on_every_engine_that_has_it(cell: Any, architecture: str):
    h0 = "zeros" if cell.type == "feedforward" else "trainable"
    fields = {"architecture": architecture, "num_layers": 2, "h0": h0}
    found = run(request(cell, fields, replicas=2))
    assert found.passed, failed(found)
    native = kernels.available() and kernels.runs(cell)
    assert [one.engine for one in found.engines] == (["workspace", "native"] if native else ["workspace"])
    for one in found.engines:
        assert one.loss == pytest.approx(found.loss, rel=1e-12)
        assert all(tensor.autograd < 1e-12 for tensor in one.tensors)
        assert any(tensor.norm > 0 for tensor in one.tensors)


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
    plain = run(request(GRUCell(hidden_size=H), fields, loss={"type": loss}, **more))
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


def test_the_vanilla_formulas_have_all_six_parameters_and_the_product_of_jacobians_whole():
    formulas = {one.name: one for one in run(request(VanillaCell(hidden_size=H))).formulas}
    assert {f"dL/d{name}" for name in ("W_xh", "b_x", "W_hh", "b_h", "W_hy", "b_y")} <= set(formulas)
    for name in ("W_xh", "b_x", "W_hh", "b_h"):
        assert "∏_{s=k+1..t} D[s] W_hh" in formulas[f"dL/d{name}"].formula
    assert "leaves out the product of Jacobians" in formulas["dL/dW_xh"].note


def test_the_written_formula_is_the_gradient():
    """The double sum over products of Jacobians, evaluated term by term as it is written."""
    one = request(VanillaCell(hidden_size=H), batch_size=1)
    batch = draw(one)
    w = {s: t[0] for s, t in compare.parameters.views(batch.raw_RP, batch.network).items()}
    x, target, T = batch.x_RTBI[0, :, 0], batch.target_RTBO[0, :, 0], 5
    W_hh, W_hy = w["layers.0.W_hh"], w["readout.W_hy"]
    h, D = [np.zeros(H)], [np.zeros((H, H))]
    for t in range(1, T + 1):
        h.append(np.tanh(w["layers.0.W_xh"] @ x[t - 1] + w["layers.0.b_x"] + W_hh @ h[-1] + w["layers.0.b_h"]))
        D.append(np.diag(1 - h[-1] ** 2))
    total = np.zeros((H, 2))
    for k in range(1, T + 1):
        for t in range(k, T + 1):
            product = np.eye(H)
            for s in range(k + 1, t + 1):
                product = D[s] @ W_hh @ product
            dy = 2 * (W_hy @ h[t] + w["readout.b_y"] - target[t - 1]) / (T * 3)
            total += np.outer(D[k] @ product.T @ W_hy.T @ dy, x[k - 1])
    expected = compare.parameters.views(by_autograd(batch).gradients_RP, batch.network)["layers.0.W_xh"][0]
    np.testing.assert_allclose(total, expected, rtol=1e-12, atol=1e-15)


def sigmoid(a: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-a)))


def written_out(cell: Any, w: dict[str, Array], x: Array, dy: Any) -> dict[str, Array]:
    """Gradients by double sums over products of J, each matrix as the formulas of the cell have it.

    `u` is the state that J is of: h, the potential, or h and c.
    """
    W_xh, b_x, W_hh, b_h, W_hy = (w[name] for name in ("W_xh", "b_x", "W_hh", "b_h", "W_hy"))
    diag, zero, alpha = np.diag, np.zeros((H, H)), 1 / getattr(cell, "tau", 1)
    h, c, v, D_before = np.zeros(H), np.zeros(H), np.zeros(H), zero
    before, J, P, Q, above = [], [], [], [], []
    for t, x_t in enumerate(x):
        before.append(h)
        p, q = W_xh @ x_t + b_x, W_hh @ h + b_h
        readout = np.eye(H)  # ∂h[t]/∂u[t]
        if cell.type == "gru":
            (p_r, p_z, p_n), (q_r, q_z, q_n) = p.reshape(3, H), q.reshape(3, H)
            r, z = sigmoid(p_r + q_r), sigmoid(p_z + q_z)
            n = np.tanh(p_n + r * q_n)
            P_n = diag((1 - z) * (1 - n**2))
            P_r, P_z = P_n @ diag(q_n * r * (1 - r)), diag((h - n) * z * (1 - z))
            P.append(np.hstack([P_r, P_z, P_n]))
            Q.append(np.hstack([P_r, P_z, diag(r) @ P_n]))
            W_hr, W_hz, W_hn = W_hh.reshape(3, H, H)
            J.append(diag(z) + P_r @ W_hr + P_z @ W_hz + diag(r) @ P_n @ W_hn)
            np.testing.assert_allclose(J[-1], diag(z) + Q[-1] @ W_hh, rtol=1e-12, atol=1e-15)
            h = (1 - z) * n + z * h
        elif cell.type == "lstm":
            a_i, a_f, a_g, a_o = (p + q).reshape(4, H)
            i, f, g, o = sigmoid(a_i), sigmoid(a_f), np.tanh(a_g), sigmoid(a_o)
            A_c = np.hstack([diag(g * i * (1 - i)), diag(c * f * (1 - f)), diag(i * (1 - g**2)), zero])
            c = f * c + i * g
            h = o * np.tanh(c)
            S = diag(o * (1 - np.tanh(c) ** 2))
            A_h = S @ A_c + np.hstack([zero, zero, zero, diag(np.tanh(c) * o * (1 - o))])
            P.append(np.vstack([A_h, A_c]))
            Q.append(P[-1])
            J.append(np.block([[A_h @ W_hh, S @ diag(f)], [A_c @ W_hh, diag(f)]]))
            readout = np.hstack([np.eye(H), zero])
        elif cell.leak == "rates":
            f = np.tanh(p + q)
            D = diag(1 - f**2)
            J.append((1 - alpha) * np.eye(H) + alpha * D @ W_hh)
            P.append(alpha * D)
            Q.append(P[-1])
            h = (1 - alpha) * h + alpha * f
        else:
            v = (1 - alpha) * v + alpha * (p + q)
            h = np.tanh(v)
            J.append((1 - alpha) * np.eye(H) + alpha * W_hh @ D_before)
            P.append(alpha * np.eye(H))
            Q.append(P[-1])
            readout = D_before = diag(1 - h**2)
        above.append(readout.T @ W_hy.T @ dy(t, h))
    return summed(x, before, J, P, Q, above)


def summed(x: Array, before: Any, J: Any, P: Any, Q: Any, above: Any) -> dict[str, Array]:
    """Σ_k Σ_{t≥k} (∏ J)ᵀ above[t], through P[k] to the input's weights and through Q[k] to the recurrent ones."""
    total: dict[str, Any] = dict.fromkeys(("W_xh", "b_x", "W_hh", "b_h"), 0.0)
    for k in range(T):
        for t in range(k, T):
            product = np.eye(len(above[0]))
            for s in range(k + 1, t + 1):
                product = J[s] @ product
            back = product.T @ above[t]
            total["W_xh"] += np.outer(P[k].T @ back, x[k])
            total["b_x"] += P[k].T @ back
            total["W_hh"] += np.outer(Q[k].T @ back, before[k])
            total["b_h"] += Q[k].T @ back
    return total


WRITTEN_OUT: dict[str, tuple[Any, dict[str, str]]] = {
    "rates": (
        LeakyCell(hidden_size=H, tau=3.0),
        {
            "J[s] = ∂h[s]/∂h[s-1]": "(1-α) I + α D[s] W_hh",
            "dL/dW_xh": "α D[k] (∏_{s=k+1..t} J[s])ᵀ W_hyᵀ dL/dy[t] x[k]ᵀ",
        },
    ),
    "potentials": (
        LeakyCell(hidden_size=H, tau=3.0, leak="potentials"),
        {
            "J[s] = ∂v[s]/∂v[s-1]": "(1-α) I + α W_hh D[s-1]",
            "dL/dW_xh": "α (∏_{s=k+1..t} J[s])ᵀ D[t] W_hyᵀ dL/dy[t] x[k]ᵀ",
        },
    ),
    "lstm": (
        CELLS["lstm"],
        {
            "J[s] = ∂(h,c)[s]/∂(h,c)[s-1]": "[A_h[s] W_hh, S[s] diag(f[s]); A_c[s] W_hh, diag(f[s])]",
            "dL/dW_xh": "[A_h[k]; A_c[k]]ᵀ (∏_{s=k+1..t} J[s])ᵀ [W_hyᵀ dL/dy[t]; 0] x[k]ᵀ",
        },
    ),
    "gru": (
        CELLS["gru"],
        {
            "J[s] = ∂h[s]/∂h[s-1]": "diag(z) + P_r W_hr + P_z W_hz + diag(r) P_n W_hn",
            "dL/dW_xh": "P[k]ᵀ (∏_{s=k+1..t} J[s])ᵀ W_hyᵀ dL/dy[t] x[k]ᵀ",
            "dL/dW_hh": "Q[k]ᵀ (∏_{s=k+1..t} J[s])ᵀ W_hyᵀ dL/dy[t] h[k-1]ᵀ",
        },
    ),
}


@pytest.mark.parametrize(("cell", "written"), WRITTEN_OUT.values(), ids=list(WRITTEN_OUT))
def test_the_written_formulas_of_gates_and_leaks_are_the_gradients_too(cell: Any, written: dict[str, str]):
    one = request(cell, batch_size=1)
    batch = draw(one)
    formulas = {each.name: each.formula for each in compare.formulas.of(batch.network, one.loss)}
    assert all(part in formulas[name] for name, part in written.items())
    for name in ("W_xh", "b_x", "W_hh", "b_h"):
        assert formulas[f"dL/d{name}"].startswith("Σ_{k=1..T} Σ_{t=k..T} ")
    tensors = compare.parameters.views(batch.raw_RP, batch.network)
    w = {name.rpartition(".")[2]: tensor[0] for name, tensor in tensors.items()}

    def dy(t: int, h: Array) -> Array:
        return np.asarray(2 * (w["W_hy"] @ h + w["b_y"] - batch.target_RTBO[0, t, 0]) / (T * 3))

    found = written_out(cell, w, batch.x_RTBI[0, :, 0], dy)
    expected = compare.parameters.views(by_autograd(batch).gradients_RP, batch.network)
    for name, total in found.items():
        np.testing.assert_allclose(total, expected[f"layers.0.{name}"][0], rtol=1e-11, atol=1e-15)


@pytest.mark.parametrize(
    ("optimizer", "left"),
    [(Adam(lr=0.1), 1.0), (AdamW(lr=0.1, weight_decay=0.5), 1 - 0.1 * 0.5)],
    ids=["adam", "weight decay"],
)
def test_a_step_keeps_the_difference_of_two_biases_but_weight_decay_shrinks_it_as_the_note_says(
    optimizer: Any, left: float
):
    one = request(VanillaCell(hidden_size=H))
    (note,) = [each.note for each in run(one).formulas if each.name == "dL/db_h"]
    assert "their difference stays" in note
    assert "the difference shrinks" in note
    batch = draw(one)

    def apart(flat_RP: Array) -> Array:
        b = compare.parameters.views(flat_RP, batch.network)
        return np.asarray(b["layers.0.b_x"] - b["layers.0.b_h"])

    trained = Optimizer(optimizer, batch.raw_RP, torch.device("cpu"))
    trained.step(torch.from_numpy(by_autograd(batch).gradients_RP), np.zeros(1, bool))
    np.testing.assert_allclose(apart(trained.parameters.numpy()), left * apart(batch.raw_RP), atol=1e-9)


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
    assert len(found.lag_profile[0]) == 4


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
    whole = run(request(cell, fields, variable_lengths=lengths, entries=4))
    assert found.loss == pytest.approx(whole.loss, rel=1e-12)
    assert found.lag_profile != whole.lag_profile
