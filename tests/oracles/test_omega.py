"""Pascanu's Ω against its formula, written out, and autograd over it with states and gradients held constant."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from rnn import equations, parameters
from rnn.bptt import BPTT
from rnn.check import check
from rnn.errors import ConfigurationError
from rnn.events import Checkpoint, Metrics
from rnn.truncated import TruncatedBPTT
from tests.unit.rnn.jobs import bits, job, only, run
from unroll.contract import (
    FeedForwardCell,
    GRUCell,
    LeakyCell,
    LinearCell,
    LSTMCell,
    Network,
    Orthogonal,
    Regularisation,
    VanillaCell,
)

H, T, B = 5, 7, 3
FACTOR = 0.3
CELLS: list[Any] = [
    VanillaCell(hidden_size=H),
    VanillaCell(hidden_size=H, activation="relu"),
    VanillaCell(hidden_size=H, activation="sigmoid"),
    VanillaCell(hidden_size=H, activation="identity"),
    LinearCell(hidden_size=H),
    LeakyCell(hidden_size=H, leak="rates", tau=[1.0, 2.0, 3.0, 4.0, 5.0]),
    LeakyCell(hidden_size=H, leak="rates", activation="softplus", tau=3.0, learn_tau="per_unit"),
    LeakyCell(hidden_size=H, leak="potentials", tau=[1.0, 2.0, 3.0, 4.0, 5.0]),
    LeakyCell(hidden_size=H, leak="potentials", activation="softplus", tau=3.0, learn_tau="shared"),
]


def name_of(cell: Any) -> str:
    return "-".join((cell.type, getattr(cell, "activation", ""), getattr(cell, "leak", "")))


def network(cell: Any, **fields: Any) -> Network:
    return Network(**({"cell": cell, "input_size": 2, "output_size": 1, "num_layers": 2} | fields))


def trajectory(cell: Any, w: dict[str, Any], x: torch.Tensor, s: Any) -> tuple[list[Any], list[Any], torch.Tensor]:
    """States s[t] (see `rnn.omega`), pre-activations a[t], and rates; autograd sees each s[t] between two steps."""
    f = getattr(cell, "activation", "identity")
    states, before, rates = [], [], []
    for x_t in x:
        h = s if cell.type == "leaky" and cell.leak == "rates" else equations.activate(torch, f, s)
        a = x_t @ w["W_xh"].T + h @ w["W_hh"].T + w.get("b_x", 0) + w.get("b_h", 0)
        if cell.type == "leaky":
            alpha = alphas(cell, w)
            s = (1 - alpha) * s + alpha * (a if cell.leak == "potentials" else equations.activate(torch, f, a))
        else:
            s = a
        states.append(s)
        before.append(a)
        rates.append(s if cell.type == "leaky" and cell.leak == "rates" else equations.activate(torch, f, s))
    return states, before, torch.stack(rates)


def alphas(cell: Any, w: dict[str, Any]) -> Any:
    return cell.dt / w["tau"] if "tau" in w else cell.dt / torch.as_tensor(cell.tau, dtype=torch.float64)


def slope(cell: Any, a: torch.Tensor) -> torch.Tensor:
    a = a.detach().clone().requires_grad_()
    equations.activate(torch, getattr(cell, "activation", "identity"), a).sum().backward()
    assert a.grad is not None
    return a.grad


def jacobian(cell: Any, w: dict[str, Any], s: torch.Tensor, a_later: torch.Tensor) -> torch.Tensor:
    """∂s[t+1]/∂s[t] of one sequence, only W_hh not constant."""
    W = w["W_hh"]
    if cell.type != "leaky":
        return W @ torch.diag(slope(cell, s))
    alpha = torch.as_tensor(alphas(cell, w)).detach().expand(H)
    if cell.leak == "rates":
        return torch.diag(1 - alpha) + torch.diag(alpha * slope(cell, a_later)) @ W
    return torch.diag(1 - alpha) + torch.diag(alpha) @ W @ torch.diag(slope(cell, s))


def reference(
    net: Network, flat_RP: torch.Tensor, x: torch.Tensor, target: torch.Tensor, window: int
) -> tuple[list[float], torch.Tensor]:
    """Ω times its factor for each replica, and the gradients of it and of the loss."""
    cell: Any = net.cell
    leaf = flat_RP.double().clone().requires_grad_()
    penalties, total = [], torch.zeros((), dtype=torch.float64)
    for r in range(len(leaf)):
        tensors = {name: tensor[r] for name, tensor in parameters.views(leaf, net).items()}
        layers = [
            {name.removeprefix(f"layers.{n}."): w for name, w in tensors.items() if name.startswith(f"layers.{n}.")}
            for n in range(net.num_layers)
        ]
        last = [torch.zeros(B, H, dtype=torch.float64)] * net.num_layers
        if cell.type == "vanilla" and cell.activation == "sigmoid":
            last = [torch.full((B, H), -torch.inf, dtype=torch.float64)] * net.num_layers  # whose rate is zero
        seen, outputs = [], []
        for start in range(0, T, window):
            h = x[r, start : start + window]
            for n, w in enumerate(layers):
                states, before, h = trajectory(cell, w, h, last[n])
                last[n] = states[-1].detach()
                seen.append((w, states, before))
            outputs.append(h @ tensors["readout.W_hy"].T + tensors["readout.b_y"])
        y = torch.cat(outputs)
        kept = slice(-1, None) if net.architecture == "many_to_one" else slice(None)
        loss = ((y[kept] - target[r][kept]) ** 2).mean()
        omega = torch.zeros((), dtype=torch.float64)
        for w, states, before in seen:
            deltas = torch.autograd.grad(loss, states, retain_graph=True, allow_unused=True)
            for t in range(len(states) - 1):
                for b in range(B):
                    delta = deltas[t + 1][b] if deltas[t + 1] is not None else torch.zeros(H)
                    if not delta.any():
                        continue
                    J = jacobian(cell, w, states[t][b], before[t + 1][b])
                    omega = omega + ((delta @ J).norm() / delta.norm() - 1) ** 2 / B
        penalties.append(FACTOR * omega.item())
        total = total + loss + FACTOR * omega
    total.backward()
    assert leaf.grad is not None
    return penalties, leaf.grad


def problem(net: Network, replicas: int, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(1)
    flat_RP = torch.from_numpy(parameters.initialise(net, 2, replicas, "float64")).to(dtype)
    return flat_RP, *(torch.randn(replicas, T, B, width, generator=generator, dtype=torch.float64) for width in (2, 1))


def step(engine: Any, x: torch.Tensor, target: torch.Tensor) -> Any:
    # Twice: what the first pass leaves must not matter.
    for _ in range(2):
        engine.x_RTBI.copy_(x)
        engine.target_RTBO.copy_(target)
        engine.forward()
        engine.backward()
    return engine


def distance(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a.double() - b).norm() / b.norm())


@pytest.mark.parametrize("architecture", ["many_to_many", "many_to_one"])
@pytest.mark.parametrize("window", [1, 4, T])
@pytest.mark.parametrize("replicas", [1, 2])
@pytest.mark.parametrize(
    "cell", CELLS, ids=lambda c: f"{c.type}-{getattr(c, 'activation', '')}-{getattr(c, 'leak', '')}"
)
def test_omega_and_its_immediate_gradient_are_those_of_the_formula(
    cell: Any, replicas: int, window: int, architecture: Any
):
    net = network(cell, architecture=architecture)
    flat_RP, x, target = problem(net, replicas)
    gradients_RP = torch.zeros_like(flat_RP)
    penalties, expected = reference(net, flat_RP, x, target, window)
    engines: list[Any] = [TruncatedBPTT(net, flat_RP, gradients_RP, T, B, window=window, omega=FACTOR)]
    if window == T:
        engines.append(BPTT(net, flat_RP, gradients_RP, T, B, omega=FACTOR))
    for engine in engines:
        step(engine, x, target)
        assert engine.penalty_R.tolist() == pytest.approx(penalties, rel=1e-9)
        assert (window == 1) == (penalties[0] == 0), "with windows of one step there are no pairs"
        assert distance(gradients_RP, expected) < 1e-9


@pytest.mark.parametrize(
    "cell", CELLS, ids=lambda c: f"{c.type}-{getattr(c, 'activation', '')}-{getattr(c, 'leak', '')}"
)
def test_omega_in_single_precision_agrees_to_its_rounding(cell: Any):
    net = network(cell)
    flat_RP, x, target = problem(net, 2, torch.float32)
    gradients_RP = torch.zeros_like(flat_RP)
    engine = step(BPTT(net, flat_RP, gradients_RP, T, B, omega=FACTOR), x, target)
    penalties, expected = reference(net, flat_RP, x, target, T)
    assert engine.penalty_R.tolist() == pytest.approx(penalties, rel=2e-5)
    assert distance(gradients_RP, expected) < 2e-5


def test_gradients_too_small_to_be_squared_still_count_and_those_that_are_zero_do_not():
    """Of a linear network with W_hh = I/100 every ratio is 1/100, however little arrives."""
    net = network(LinearCell(hidden_size=H), num_layers=1, architecture="many_to_one")
    flat_RP = torch.from_numpy(parameters.initialise(net, 0, 1))
    parameters.views(flat_RP, net)["layers.0.W_hh"][:] = torch.eye(H) / 100
    gradients_RP = torch.zeros_like(flat_RP)
    engine = BPTT(net, flat_RP, gradients_RP, 16, 1, omega=1.0)
    engine.x_RTBI.fill_(1.0)
    engine.target_RTBO.fill_(1.0)
    engine.forward()
    engine.backward()
    # 0.01^15 = 1e-30: its square is far below the smallest float32.
    assert engine.penalty_R.item() == pytest.approx(15 * 0.99**2, rel=1e-4)
    assert torch.isfinite(gradients_RP).all()
    engine.forward()
    engine.readout.leave_out()
    engine.backward()
    assert engine.penalty_R.item() == 0.0
    assert not gradients_RP.any()


def test_minimising_omega_brings_vanished_gradients_back():
    """Gradient descent on Ω alone (the loss's gradient is the same with and without it, and is taken away)."""
    net = Network(
        cell=VanillaCell(hidden_size=8),
        input_size=1,
        output_size=1,
        architecture="many_to_one",
        initialisation=Orthogonal(gain=0.3),
    )
    steps, sequences = 20, 4
    flat_RP = torch.from_numpy(parameters.initialise(net, 0, 1, "float64"))
    gradients_RP = torch.zeros_like(flat_RP)
    without_RP = torch.zeros_like(flat_RP)
    penalised = BPTT(net, flat_RP, gradients_RP, steps, sequences, omega=1.0)
    plain = BPTT(net, flat_RP, without_RP, steps, sequences, profiled=True)
    generator = torch.Generator().manual_seed(0)
    x, target = (torch.randn(1, steps, sequences, 1, generator=generator, dtype=torch.float64) for _ in range(2))

    def reach() -> float:
        """‖dL/dh[1]‖ over ‖dL/dh[T]‖."""
        profile_T = step(plain, x, target).lag_profile()[0]
        return float(profile_T[0] / profile_T[-1])

    before, omegas = reach(), []
    for _ in range(60):
        step(plain, x, target)
        omegas.append(step(penalised, x, target).penalty_R.item())
        flat_RP -= 0.02 * (gradients_RP - without_RP)
    assert before < 1e-9
    assert reach() > 1e-2
    assert omegas[-1] < 0.1 * omegas[0]


def test_a_job_reports_omega_as_its_penalty_and_resumes_bit_for_bit():
    one = job(steps=6, checkpoint_every=3, regularisation=Regularisation(omega=0.5, activity=0.1), replicas=2)
    whole = run(one)
    middle = next(event for event in only(Checkpoint, whole) if event.step == 3)
    resumed = run(one, resume=(middle.weights, middle.state))
    assert [bits(event) for event in resumed] == [bits(event) for event in whole if event.step > 3]
    without = run(job(steps=6, regularisation=Regularisation(activity=0.1), replicas=2))
    first, other = (only(Metrics, events)[0].values["penalty"] for events in (whole, without))
    assert (first > other).all()


@pytest.mark.parametrize("cell", [LSTMCell(hidden_size=H), GRUCell(hidden_size=H), FeedForwardCell(hidden_size=H)])
def test_omega_of_a_cell_with_gates_or_without_recurrence_is_refused(cell: Any):
    one = job(regularisation=Regularisation(omega=1.0))
    with pytest.raises(ConfigurationError) as error:
        check(one.model_copy(update={"model": network(cell, input_size=1)}))
    assert error.value.pointer == "/training/regularisation/omega"
    assert len(error.value.detail) > 20
