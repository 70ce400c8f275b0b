"""The formulas that a check writes out are those of the gradients, and what their notes say is true."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch

from rnn.bptt.constraints import Constraints
from rnn.gradient_check import compare
from rnn.gradient_check.batch import Array, draw
from rnn.gradient_check.reference import by_autograd
from rnn.networks import connectivity
from rnn.reference import equations
from rnn.training.optimisers import Optimizer
from tests.oracles.cases import every_constraint
from tests.oracles.checks import CELLS, H, T, request, run
from unroll.contract import BCE, MSE, Adam, AdamW, CrossEntropy, LeakyCell, LinearCell, Network, PoissonNLL, VanillaCell


def test_the_vanilla_formulas_have_all_six_parameters_and_the_product_of_jacobians_whole():
    formulas = {one.name: one for one in run(request(VanillaCell(hidden_size=H))).formulas}
    assert {f"dL/d{name}" for name in ("W_xh", "b_x", "W_hh", "b_h", "W_hy", "b_y")} <= set(formulas)
    for name in ("W_xh", "b_x", "W_hh", "b_h"):
        assert "∏_{s=k+1..t} D[s] W_hh" in formulas[f"dL/d{name}"].formula
    assert "leaves out the product of Jacobians" in formulas["dL/dW_xh"].note


def test_the_linear_cells_formulas_speak_of_no_biases():
    formulas = {one.name: one for one in run(request(LinearCell(hidden_size=H))).formulas}
    assert "leaves out the product of Jacobians" in formulas["dL/dW_xh"].note
    assert not {"dL/db_x", "dL/db_h"} & set(formulas)
    assert not [one.name for one in formulas.values() if "b_x" in f"{one.formula}{one.note}"]


def test_initial_potentials_and_a_shared_tau_have_formulas_of_their_own():
    def of(**fields: Any) -> dict[str, str]:
        cell = LeakyCell(hidden_size=H, **fields)
        network = Network(cell=cell, input_size=1, output_size=1, h0="trainable")
        return {one.name: one.formula for one in compare.formulas.of(network, MSE())}

    potentials, shared, per_unit = of(leak="potentials"), of(learn_tau="shared"), of(learn_tau="per_unit")
    assert (potentials["dL/dh0"], shared["dL/dh0"]) == (
        "dL/dv[0], summed over sequences",
        "dL/dh[0], summed over sequences",
    )
    assert "Σ_i" in shared["dL/dτ"]
    assert "Σ_i" not in per_unit["dL/dτ"]
    assert "dL/dτ" not in potentials


@pytest.mark.parametrize("window", [None, 2, 4])
def test_the_written_formula_is_the_gradient(window: int | None):
    """The double sum over products of Jacobians, evaluated term by term as it is written."""
    one = request(VanillaCell(hidden_size=H), batch_size=1, bptt={"window": window})
    batch = draw(one)
    formulas = {each.name: each.formula for each in compare.formulas.of(batch.network, one.loss, window)}
    last = "T" if window is None else "e(k)"
    assert formulas["dL/dW_xh"].startswith(f"Σ_{{k=1..T}} Σ_{{t=k..{last}}} D[k]")
    assert formulas.get("e(k)") == (window and f"min(T, {window} ⌈k/{window}⌉)")
    w = {s: t[0] for s, t in compare.parameters.views(batch.raw_RP, batch.network).items()}
    x, target, T = batch.x_RTBI[0, :, 0], batch.target_RTBO[0, :, 0], 5
    W_hh, W_hy = w["layers.0.W_hh"], w["readout.W_hy"]
    h, D = [np.zeros(H)], [np.zeros((H, H))]
    for t in range(1, T + 1):
        h.append(np.tanh(w["layers.0.W_xh"] @ x[t - 1] + w["layers.0.b_x"] + W_hh @ h[-1] + w["layers.0.b_h"]))
        D.append(np.diag(1 - h[-1] ** 2))
    total = np.zeros((H, 2))
    for k in range(1, T + 1):
        for t in range(k, (T if window is None else min(T, window * -(-k // window))) + 1):
            product = np.eye(H)
            for s in range(k + 1, t + 1):
                product = D[s] @ W_hh @ product
            dy = 2 * (W_hy @ h[t] + w["readout.b_y"] - target[t - 1]) / (T * 3)
            total += np.outer(D[k] @ product.T @ W_hy.T @ dy, x[k - 1])
    expected = compare.parameters.views(by_autograd(batch).gradients_RP, batch.network)["layers.0.W_xh"][0]
    np.testing.assert_allclose(total, expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("name", [name for name in every_constraint(H) if name != "free"])
def test_the_written_constraints_are_what_is_used_and_what_is_pulled_back(name: str):
    """The text itself, read as NumPy."""
    one = request(VanillaCell(hidden_size=H), {"connectivity": every_constraint(H)[name]})
    batch = draw(one)
    formulas = {each.name: each.formula for each in compare.formulas.of(batch.network, one.loss)}
    raw_RP = torch.from_numpy(batch.raw_RP + np.random.default_rng(3).standard_normal(batch.raw_RP.shape))
    constraints, gradients_RP = Constraints(batch.network, raw_RP), torch.from_numpy(np.cos(batch.raw_RP))
    sign_H = connectivity.signs(batch.network)

    def recurrent(flat_RP: torch.Tensor) -> Any:
        return compare.parameters.views(flat_RP.numpy(), batch.network)["layers.0.W_hh"][0].copy()

    names: dict[str, Any] = {
        "V": recurrent(raw_RP),
        "D": recurrent(gradients_RP),
        "M": connectivity.mask(batch.network, 0, 0),
        "s": None if sign_H is None else np.broadcast_to(sign_H, (H, H)),
        "sign": lambda x: np.where(x < 0, -1, 1),
        "abs": np.abs,
    }

    def read(formula: str) -> Any:
        for written, python in (("∘", "*"), ("ᵀ", ".T"), ("dL/dW_hh", "D")):
            formula = formula.replace(written, python)
        formula, _, given = re.sub(r"\|(.*)\|", r"abs(\1)", formula).partition(" with G = ")
        return eval(formula, names | ({"G": eval(given, names)} if given else {}))

    np.testing.assert_allclose(read(formulas["W_hh"]), recurrent(constraints.used), rtol=1e-14)
    expected = read(formulas["dL/dV"])
    constraints.pull_back(gradients_RP)
    np.testing.assert_allclose(expected, recurrent(gradients_RP), rtol=1e-14)


LOSSES: dict[str, Any] = {
    "mse": MSE(),
    "weighted": MSE(time_weights=[1.0, 2.0, 0.0, 4.0, 5.0]),
    "sequences": MSE(over="sequences"),
    "weighted-sequences": MSE(over="sequences", time_weights=[1.0, 2.0, 0.0, 4.0, 5.0]),
    "classes": CrossEntropy(),
    "weighted-classes": CrossEntropy(time_weights=[1.0, 2.0, 0.0, 4.0, 5.0]),
    "bce": BCE(),
    "poisson": PoissonNLL(time_weights=[1.0, 1.0, 0.5, 1.0, 1.0]),
}


@pytest.mark.parametrize("lengths", ["equal", "variable"])
@pytest.mark.parametrize("name", LOSSES)
def test_the_written_derivative_of_the_loss_summed_is_the_gradient_of_the_readouts_bias(name: str, lengths: str):
    loss = LOSSES[name]
    one = request(VanillaCell(hidden_size=H), batch_size=3, loss=loss, variable_lengths=lengths == "variable")
    batch = draw(one)
    (written,) = [each for each in compare.formulas.of(batch.network, loss) if each.name == "dL/dy[t]"]
    names = {n: t[0] for n, t in compare.parameters.views(batch.raw_RP, batch.network).items()}
    y = equations.outputs(np, batch.network, names, batch.x_RTBI[0])
    target, length_B = batch.target_RTBO[0], np.full(3, T) if batch.length_RB is None else batch.length_RB[0]
    valid_TB1 = (np.arange(T)[:, None] < length_B)[..., None].astype(float)
    w_T11 = np.ones((T, 1, 1)) if loss.time_weights is None else np.array(loss.time_weights)[:, None, None]
    steps = (valid_TB1 * w_T11).sum()
    K = {"the sum of w[t]": steps, "the number of elements": steps, "the number of sequences": 3}
    (K_of,) = [value for words, value in K.items() if words in written.note]
    if "outputs" in written.note:
        K_of = K_of * target.shape[-1]
    odds = np.exp(y)
    value = {
        "2 (y[t] - target[t])": 2 * (y - target),
        "(softmax(y[t]) Σ_o target[t] - target[t])": odds / odds.sum(-1, keepdims=True) * target.sum(-1, keepdims=True)
        - target,
        "(sigmoid(y[t]) - target[t])": sigmoid(y) - target,
        "(exp(y[t]) - target[t])": odds - target,
    }
    factor = "w[t] " if loss.time_weights else ""
    (derivative,) = [each for text, each in value.items() if written.formula == f"dL/dy[t] = {factor}{text} / K"]
    expected = compare.parameters.views(by_autograd(batch).gradients_RP, batch.network)["readout.b_y"][0]
    np.testing.assert_allclose((derivative * valid_TB1 * w_T11 / K_of).sum((0, 1)), expected, rtol=1e-11)


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
