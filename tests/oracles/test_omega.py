"""Pascanu's Ω against its formula, written out, and autograd over it with states and gradients held constant."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from rnn.bptt import constraints as reparametrise
from rnn.bptt.constraints import Constraints
from rnn.bptt.truncated import TruncatedBPTT
from rnn.bptt.whole import BPTT
from rnn.errors import ConfigurationError
from rnn.events import Checkpoint, Metrics
from rnn.networks import parameters
from rnn.training.problem import Problem
from rnn.training.validation import validate
from tests.oracles.reference import by_autograd
from tests.unit.rnn.jobs import bits, job, only, run
from unroll.contract import (
    CrossEntropy,
    FeedForwardCell,
    GRUCell,
    LeakyCell,
    LinearCell,
    LSTMCell,
    Network,
    Orthogonal,
    Regularisation,
    TaskData,
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


def problem(net: Network, replicas: int, dtype: torch.dtype = torch.float64) -> tuple[Any, ...]:
    """Raw parameters, the constraints that make the used ones of them, inputs and targets."""
    generator = torch.Generator().manual_seed(1)
    raw_RP = torch.from_numpy(reparametrise.raw(net, parameters.initialise(net, 2, replicas, "float64"))).to(dtype)
    data = (torch.randn(replicas, T, B, width, generator=generator, dtype=torch.float64) for width in (2, 1))
    return raw_RP, Constraints(net, raw_RP), *data


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
    raw_RP, constraints, x, target = problem(net, replicas)
    gradients_RP = torch.zeros_like(raw_RP)
    _, penalties, expected = by_autograd(net, raw_RP, x, target, Regularisation(omega=FACTOR), window)
    engines: list[Any] = [TruncatedBPTT(net, constraints.used, gradients_RP, T, B, window=window, omega=FACTOR)]
    if window == T:
        engines.append(BPTT(net, constraints.used, gradients_RP, T, B, omega=FACTOR))
    for engine in engines:
        step(engine, x, target)
        constraints.pull_back(gradients_RP)
        assert engine.penalty_R.tolist() == pytest.approx(penalties, rel=1e-9)
        assert (window == 1) == (penalties[0] == 0), "with windows of one step there are no pairs"
        assert distance(gradients_RP, expected) < 1e-9


@pytest.mark.parametrize(
    "cell", CELLS, ids=lambda c: f"{c.type}-{getattr(c, 'activation', '')}-{getattr(c, 'leak', '')}"
)
def test_omega_in_single_precision_agrees_to_its_rounding(cell: Any):
    net = network(cell)
    raw_RP, constraints, x, target = problem(net, 2, torch.float32)
    gradients_RP = torch.zeros_like(raw_RP)
    engine = step(BPTT(net, constraints.used, gradients_RP, T, B, omega=FACTOR), x, target)
    constraints.pull_back(gradients_RP)
    _, penalties, expected = by_autograd(net, raw_RP, x, target, Regularisation(omega=FACTOR))
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
        validate(Problem.of(one.model_copy(update={"model": network(cell, input_size=1)})))
    assert error.value.pointer == "/training/regularisation/omega"
    assert len(error.value.detail) > 20


def test_omega_of_a_decoder_that_reads_its_own_outputs_is_refused_and_of_a_forced_one_it_is_not():
    fields = {"architecture": "encoder_decoder", "feedback": "softmax", "input_size": 2, "output_size": 2}
    for forcing in (0.0, 0.9, 1.0):
        one = job(regularisation=Regularisation(omega=1.0), teacher_forcing=forcing, loss=CrossEntropy())
        data = TaskData(name="reverse", parameters={"symbols": 2})
        one = one.model_copy(update={"model": network(VanillaCell(hidden_size=H), **fields), "data": data})
        if forcing == 1:
            validate(Problem.of(one))
            continue
        with pytest.raises(ConfigurationError, match="teacher_forcing of 1") as error:
            validate(Problem.of(one))
        assert (error.value.pointer, error.value.code) == ("/training/regularisation/omega", "contradiction")
