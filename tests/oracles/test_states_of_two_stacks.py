"""Penalties on the states of an encoder and its decoder, and the profile over both, against what they say."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

import numpy as np
import pytest
import torch

from rnn.bptt.constraints import Constraints
from rnn.bptt.encoder_decoder import EncoderDecoder
from rnn.cells.facts import facts
from rnn.events import Checkpoint
from rnn.networks import parameters
from rnn.reference import equations
from rnn.training.events import LagProfile
from tests.oracles.cases import distance, every_cell, point
from tests.oracles.reference import omega, trajectory
from tests.unit.rnn.jobs import bits, only, run
from unroll.contract import MSE, CrossEntropy, Network, TrainJob

H, B, IN, OUT, READ, WRITTEN = 3, 3, 2, 2, 4, 3
ACTIVITY, OMEGA = 0.3, 0.4
SQUARES = MSE()


@dataclass(frozen=True)
class Case:
    """How the decoder is fed, and whether sequences differ in the steps that they have and in those that count."""

    forced: str
    ragged: bool = False
    loss: Any = SQUARES
    feedback: Any = "identity"


CASES = {
    "forced": Case("always"),
    "mixed": Case("some"),
    "free": Case("never"),
    "forced-ragged": Case("always", ragged=True),
    "mixed-ragged": Case("some", ragged=True),
    "free-ragged-softmax": Case("never", ragged=True, loss=CrossEntropy(), feedback="softmax"),
}
# Of each sequence: steps that it is read for, what its written steps count, and those up to the last that does.
LENGTHS = [4, 1, 3]
WEIGHT_BT = [[1.0, 0.5, 2.0], [0.0, 3.0, 0.0], [1.0, 0.0, 0.0]]
VALID_BT = [[1, 1, 1], [1, 1, 0], [1, 0, 0]]
CELLS = {name: cell for name, cell in every_cell(H).items() if name != "feedforward"}
GATED = {"lstm", "gru"}
ON_ENGINES = [
    (cell, engine)
    for cell, engine in itertools.product(CELLS, ("workspace", "native"))
    if engine == "workspace" or facts(CELLS[cell]).native is not None
]
PRECISIONS = ((torch.float64, 1e-12, 1e-9), (torch.float32, 2e-5, 2e-5))


def network(cell: str, case: Case, num_layers: int = 2) -> Network:
    return Network(
        cell=CELLS[cell],
        input_size=IN,
        output_size=OUT,
        num_layers=num_layers,
        h0="trainable",
        architecture="encoder_decoder",
        feedback=case.feedback,
    )


@cache
def batch(name: str) -> dict[str, torch.Tensor]:
    case, replicas, generator = CASES[name], 2, torch.Generator().manual_seed(1)
    x = torch.randn(replicas, READ, B, IN, generator=generator, dtype=torch.float64)
    target = torch.randn(replicas, WRITTEN, B, OUT, generator=generator, dtype=torch.float64)
    forced = torch.rand(replicas, WRITTEN, B, generator=generator) < 0.5
    if case.forced != "some":
        forced.fill_(case.forced == "always")
    weight = torch.tensor(WEIGHT_BT, dtype=torch.float64).T if case.ragged else torch.ones(WRITTEN, B)
    return {
        "x": x,
        "target": target if case.loss.type == "mse" else target.softmax(-1),
        "forced": forced,
        "weight": weight.double().expand(replicas, WRITTEN, B),
    }


def tensors_of(xp: Any, net: Network, flat: Any, r: int) -> dict[str, Any]:
    return equations.used(xp, net, {name: one[0] for name, one in parameters.views(flat[None], net).items()}, r)


def layers_of(net: Network, tensors: dict[str, Any], stack: str) -> list[dict[str, Any]]:
    prefixes = [f"{stack}.{n}." for n in range(net.num_layers)]
    return [{k.removeprefix(prefix): w for k, w in tensors.items() if k.startswith(prefix)} for prefix in prefixes]


def valid(case: Case) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """1 for each step and sequence of the encoder and of the decoder that has activity."""
    if not case.ragged:
        return np.ones((READ, B)), np.ones((WRITTEN, B))
    return (np.arange(READ)[:, None] < np.array(LENGTHS)).astype(float), np.array(VALID_BT, float).T


def mean_of_squares(xp: Any, h: Any, counts: Any) -> Any:
    return (xp.asarray(counts)[..., None] * h**2).sum() / (counts.sum() * H)


def loss_and_activity(xp: Any, net: Network, name: str, flat: Any, r: int, given: dict[str, Any]) -> tuple[Any, Any]:
    """Step by step, with what every layer gives."""
    case, cell, tensors = CASES[name], net.cell, tensors_of(xp, net, flat, r)
    x, target, forced, weight = (given[key][r] for key in ("x", "target", "forced", "weight"))
    read, written = valid(case)
    states, activity = [], 0.0
    for w in layers_of(net, tensors, "layers"):
        x, state = equations.layer_from(xp, cell, w, x, {}, lengths=xp.asarray(LENGTHS) if case.ragged else None)
        states.append(state)
        activity = activity + mean_of_squares(xp, x, read)
    decoder = layers_of(net, tensors, "decoder")
    gave: list[list[Any]] = [[] for _ in decoder]
    outputs: list[Any] = []
    for t in range(WRITTEN):
        if t == 0:
            u = 0 * target[0]
        else:
            free = equations.feed_back(xp, case.feedback, outputs[-1])
            u = xp.where(forced[t][:, None], target[t - 1], free)
        for n, w in enumerate(decoder):
            states[n] = equations.step(xp, cell, w, u, states[n])
            u = states[n]["h"]
            gave[n].append(u)
        outputs.append(u @ tensors["readout.W_hy"].T + tensors["readout.b_y"])
    for h in gave:
        activity = activity + mean_of_squares(xp, xp.stack(h), written)
    return equations.cost(xp, case.loss, xp.stack(outputs), target, weight), ACTIVITY * activity


def with_omega(net: Network, name: str, flat: torch.Tensor, r: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The loss of a forced decoder, and its penalties: activity, and Ω of the layers of each stack."""
    case, cell, tensors = CASES[name], net.cell, tensors_of(torch, net, flat, r)
    x, target, weight = (batch(name)[key][r] for key in ("x", "target", "weight"))
    last = torch.tensor(LENGTHS if case.ragged else [READ] * B) - 1
    passed, handed_on, activity = [], [], torch.zeros((), dtype=torch.float64)
    for w in layers_of(net, tensors, "layers"):
        s, a, x, after = trajectory(cell, w, x, equations.start(torch, cell, w, B))
        passed.append((w, s, a))
        handed_on.append({key: (x if key == "h" else torch.stack(s))[last, range(B)] for key in after})
        activity = activity + mean_of_squares(torch, x, valid(case)[0])
    x = torch.cat([torch.zeros_like(target[:1]), target[:-1]])
    for w, state in zip(layers_of(net, tensors, "decoder"), handed_on, strict=True):
        s, a, x, _ = trajectory(cell, w, x, state)
        passed.append((w, s, a))
        activity = activity + mean_of_squares(torch, x, valid(case)[1])
    y = x @ tensors["readout.W_hy"].T + tensors["readout.b_y"]
    loss = equations.cost(torch, case.loss, y, target, weight)
    penalty = ACTIVITY * activity
    sent_back = loss + penalty
    for w, s, a in passed:
        penalty = penalty + OMEGA * omega(cell, w, s, a, sent_back)
    return loss, penalty


def made(net: Network, name: str, flat: tuple[torch.Tensor, torch.Tensor], **more: Any) -> EncoderDecoder:
    case = CASES[name]
    how = {"forced": case.forced == "always", "mixed": case.forced == "some"}
    return EncoderDecoder(
        net, *flat, READ, WRITTEN, B, case.loss, **how, ragged=case.ragged, weighted=case.ragged, **more
    )


def passes(engine: EncoderDecoder, name: str, first: int = 0) -> EncoderDecoder:
    """Forward and backward, of the batch of the replicas from `first` on; a batch before it must not matter."""
    memory = engine.memory
    given = {key: tensor[first : first + len(memory.x_RTBI)] for key, tensor in batch(name).items()}
    for shift in (1, 0):
        memory.x_RTBI.copy_(given["x"].roll(shift, 1))
        memory.target_RTBO.copy_(given["target"].roll(shift, 2))
        if memory.weight_RTB is not None and memory.length_RB is not None:
            memory.weight_RTB.copy_(given["weight"].roll(shift, 2))
            memory.length_RB.copy_(torch.tensor(LENGTHS).roll(shift, 0))
        if memory.forced_RTB is not None:
            memory.forced_RTB.copy_(given["forced"])
        engine.forward()
        engine.backward()
    return engine


def computed(
    net: Network, name: str, raw_RP: torch.Tensor, engine: Any, omega: float = 0.0, first: int = 0
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Losses, penalties and raw gradients."""
    constraints, gradients_RP = Constraints(net, raw_RP), torch.full_like(raw_RP, 99.0)
    flat = constraints.used, gradients_RP
    one = passes(made(net, name, flat, activity=ACTIVITY, omega=omega, engine=engine), name, first)
    constraints.pull_back(gradients_RP)
    return one.loss_R, one.penalty_R, gradients_RP


@lru_cache(maxsize=1)
def expected(cell: str, name: str, kind: str) -> tuple[Network, torch.Tensor, Any, Any, torch.Tensor]:
    """A network of two replicas, its raw parameters, losses, penalties, and autograd's gradients of their sum."""
    net = network(cell, CASES[name])
    raw_RP = point(net, 2)
    leaf = raw_RP.clone().requires_grad_()
    both = [
        with_omega(net, name, leaf[r], r)
        if kind == "omega"
        else loss_and_activity(torch, net, name, leaf[r], r, batch(name))
        for r in range(2)
    ]
    losses, penalties = (torch.stack(values) for values in zip(*both, strict=True))
    (losses + penalties).sum().backward()
    assert leaf.grad is not None
    return net, raw_RP, losses.tolist(), penalties.tolist(), leaf.grad


@pytest.mark.parametrize(
    ("cell", "name", "engine", "kind"),
    [
        *((cell, name, engine, "activity") for (cell, engine), name in itertools.product(ON_ENGINES, CASES)),
        *(
            (cell, name, "workspace", "omega")
            for cell, name in itertools.product(CELLS, CASES)
            if cell not in GATED and CASES[name].forced == "always"
        ),
    ],
)
def test_penalties_and_gradients_are_those_of_autograd_in_both_precisions(cell: str, name: str, engine: str, kind: str):
    """And the first replica of two, as the last one, has those of the network alone."""
    net, raw_RP, losses, penalties, gradients = expected(cell, name, kind)
    factor = OMEGA if kind == "omega" else 0.0
    for dtype, close, most in PRECISIONS[::-1]:
        loss_R, penalty_R, gradients_RP = computed(net, name, raw_RP.to(dtype), engine, factor)
        assert loss_R.tolist() == pytest.approx(losses, rel=close)
        assert penalty_R.tolist() == pytest.approx(penalties, rel=close)
        assert distance(gradients_RP.double(), gradients) < most
    for r in (0, 1):
        alone = computed(net, name, raw_RP[r : r + 1].clone(), engine, factor, first=r)
        for many, one in zip((loss_R, penalty_R, gradients_RP), alone, strict=True):
            assert distance(one[0], many[r]) < 1e-12


@pytest.mark.parametrize(("cell", "name"), list(itertools.product(CELLS, CASES)))
def test_gradients_of_the_activity_are_those_of_complex_steps(cell: str, name: str):
    net = network(cell, CASES[name], num_layers=1)
    raw_RP = point(net, 1)
    given = {key: tensor.numpy() for key, tensor in batch(name).items()}
    place = raw_RP[0].numpy()

    def total(flat: Any) -> Any:
        return sum(loss_and_activity(np, net, name, flat, 0, given))

    steps = [total(place + 1e-30j * unit).imag / 1e-30 for unit in np.eye(len(place))]
    for engine in [engine for one, engine in ON_ENGINES if one == cell]:
        loss_R, penalty_R, gradients_RP = computed(net, name, raw_RP, engine)
        assert (loss_R + penalty_R).item() == pytest.approx(total(place), rel=1e-12)
        assert distance(gradients_RP[0], torch.tensor(steps, dtype=torch.float64)) < 1e-9


@pytest.mark.parametrize(("cell", "name"), list(itertools.product(CELLS, CASES)))
def test_the_profile_is_the_norm_of_autograd_s_gradient_at_every_state_read_and_then_written(cell: str, name: str):
    case, given = CASES[name], batch(name)
    net = network(cell, case)
    raw_RP = point(net, 2)
    norms = []
    for r in range(2):
        # What a small push on the given h[t] does to the loss, pushes added inside the last layers' recursions.
        push = torch.zeros(READ + WRITTEN, B, H, dtype=torch.float64, requires_grad=True)
        y = equations.outputs(
            torch,
            net,
            tensors_of(torch, net, raw_RP[r], r),
            given["x"][r],
            lengths=torch.tensor(LENGTHS) if case.ragged else None,
            steps=WRITTEN,
            target=given["target"][r],
            forced=given["forced"][r],
            feedback=case.feedback,
            push=push,
        )
        equations.cost(torch, case.loss, y, given["target"][r], given["weight"][r]).backward()
        assert push.grad is not None
        norms.append(push.grad.norm(dim=(1, 2)))
    for dtype, _, close in PRECISIONS:
        used_RP = Constraints(net, raw_RP.to(dtype)).used
        profile_RT = passes(made(net, name, (used_RP, torch.zeros_like(used_RP)), profiled=True), name).lag_profile()
        assert profile_RT.shape == (2, READ + WRITTEN)
        np.testing.assert_allclose(profile_RT, torch.stack(norms), rtol=close)


def test_there_is_no_omega_of_a_decoder_that_reads_its_own_outputs():
    net = network("vanilla", CASES["free"])
    flat_RP = point(net, 1)
    for name in ("free", "mixed"):
        with pytest.raises(ValueError, match="reads its own outputs"):
            made(net, name, (flat_RP, torch.zeros_like(flat_RP)), omega=1.0)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("cell", "forcing"), list(itertools.product(CELLS, (0.0, 0.5, 1.0))))
def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(cell: str, forcing: float, dtype: str):
    """In single precision on the kernel where it has the cell, in double precision in the workspace; Ω there alone."""
    has_omega = forcing == 1 and cell not in GATED and dtype == "float64"
    one = TrainJob.model_validate(
        {
            "model": network(cell, Case("some", feedback="softmax")),
            "data": {"name": "reverse", "parameters": {"symbols": 2, "length": 3, "min_length": 1}},
            "training": {
                "steps": 4,
                "batch_size": 2,
                "loss": {"type": "cross_entropy"},
                "teacher_forcing": forcing,
                "regularisation": {"activity": ACTIVITY, "omega": OMEGA if has_omega else 0.0},
                "optimizer": {"type": "adam", "lr": 0.1},
                "checkpoint_every": 2,
                "profile_every": 1,
            },
            "replicas": 2,
            "dtype": dtype,
        }
    )
    whole = run(one)
    assert len(only(LagProfile, whole)) == 4
    middle = next(event for event in only(Checkpoint, whole) if event.step == 2)
    resumed = run(one, resume=(middle.weights, middle.state))
    assert [bits(event) for event in resumed] == [bits(event) for event in whole if event.step > 2]
