"""Windows, penalties, clipping, optimisers, schedules and noise against what they are defined as."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

import unroll.contract
from rnn import equations, kernels, parameters
from rnn.bptt import BPTT
from rnn.check import check
from rnn.errors import ConfigurationError
from rnn.events import Checkpoint, Metrics
from rnn.optimizers import Optimizer, clip
from rnn.regularise import WeightPenalty
from rnn.schedule import learning_rate
from rnn.state import load_weights
from rnn.truncated import TruncatedBPTT
from tests.unit.rnn.jobs import bits, job, last_checkpoint, only, run
from unroll.contract import (
    MSE,
    SGD,
    Adam,
    AdamW,
    ClipByGlobalNorm,
    ClipByValue,
    Connectivity,
    CosineDecay,
    CrossEntropy,
    ExponentialDecay,
    FeedForwardCell,
    GRUCell,
    LeakyCell,
    LSTMCell,
    Network,
    Noise,
    PoissonNLL,
    Regularisation,
    RMSprop,
    StepDecay,
    Training,
    VanillaCell,
)

H = 5
CELLS: list[Any] = [
    VanillaCell(hidden_size=H),
    LeakyCell(hidden_size=H, leak="rates"),
    LeakyCell(hidden_size=H, leak="potentials", activation="softplus"),
    LSTMCell(hidden_size=H),
    GRUCell(hidden_size=H),
    FeedForwardCell(hidden_size=H),
]
# Every engine that this machine has, with the cells it runs.
RUNS: list[Any] = [
    pytest.param(cell, engine, id=f"{engine}-{cell.type}-{getattr(cell, 'leak', '')}")
    for engine in ("workspace", *(("native",) if kernels.available() else ()))
    for cell in CELLS
    if engine == "workspace" or kernels.runs(cell)
]


def network(cell: Any, **fields: Any) -> Network:
    return Network(**({"cell": cell, "input_size": 2, "output_size": 1, "num_layers": 2} | fields))


def problem(net: Network, R: int = 2, T: int = 7, B: int = 3) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    flat_RP = torch.from_numpy(parameters.initialise(net, 2, R, "float64"))
    x, target = (torch.randn(R, T, B, width, dtype=torch.float64, generator=generator) for width in (2, 1))
    return flat_RP, x, target


def loss_and_gradients(engine: Any, x: torch.Tensor, target: torch.Tensor, gradients: torch.Tensor) -> Any:
    for _ in range(2):
        engine.x_RTBI.copy_(x)
        engine.target_RTBO.copy_(target)
        engine.forward()
        engine.backward()
    return engine.loss_R.clone(), gradients.clone()


def distance(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).norm() / b.norm())


@pytest.mark.parametrize("h0", ["zeros", "trainable"])
@pytest.mark.parametrize("architecture", ["many_to_many", "many_to_one"])
@pytest.mark.parametrize(("cell", "engine"), RUNS)
def test_a_window_of_all_steps_is_full_backpropagation(cell: Any, architecture: Any, h0: Any, engine: Any):
    net = network(cell, architecture=architecture, h0=h0 if cell.type != "feedforward" else "zeros")
    flat_RP, x, target = problem(net)
    gradients = torch.zeros_like(flat_RP)
    whole = loss_and_gradients(BPTT(net, flat_RP, gradients, 7, 3, engine=engine), x, target, gradients)
    window = TruncatedBPTT(net, flat_RP, gradients, 7, 3, window=7, engine=engine)
    truncated = loss_and_gradients(window, x, target, gradients)
    assert distance(truncated[0], whole[0]) < 1e-12
    assert distance(truncated[1], whole[1]) < 1e-12


@pytest.mark.parametrize("architecture", ["many_to_many", "many_to_one"])
@pytest.mark.parametrize(("cell", "engine"), RUNS)
@pytest.mark.parametrize("K", [1, 3, 6])
def test_windows_have_the_whole_loss_and_the_gradients_of_a_state_that_is_detached_between_them(
    cell: Any, architecture: Any, engine: Any, K: int
):
    """Reference: autograd, each window started from the last one's states without their history."""
    net = network(cell, architecture=architecture)
    flat_RP, x, target = problem(net)
    gradients = torch.zeros_like(flat_RP)
    full, _ = loss_and_gradients(BPTT(net, flat_RP, gradients, 7, 3), x, target, gradients)
    window = TruncatedBPTT(net, flat_RP, gradients, 7, 3, window=K, engine=engine)
    loss_R, found = loss_and_gradients(window, x, target, gradients)
    assert distance(loss_R, full) < 1e-12

    leaf = flat_RP.clone().requires_grad_()
    total = torch.zeros((), dtype=torch.float64)
    for r in range(2):
        tensors = {name: tensor[r] for name, tensor in parameters.views(leaf, net).items()}
        states: list[dict[str, Any]] = [{}, {}]
        outputs = []
        for start in range(0, 7, K):
            h = x[r, start : start + K]
            for n in range(2):
                prefix = f"layers.{n}."
                w = {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
                h, states[n] = equations.layer_from(torch, cell, w, h, states[n])
                states[n] = {name: state.detach() for name, state in states[n].items()}
            outputs.append(h @ tensors["readout.W_hy"].T + tensors["readout.b_y"])
        y = torch.cat(outputs)
        kept = slice(-1, None) if architecture == "many_to_one" else slice(None)
        total = total + equations.cost(torch, MSE(), y[kept], target[r][kept])
    total.backward()
    assert leaf.grad is not None
    assert distance(found, leaf.grad) < 1e-12
    if K < 6 and cell.type != "feedforward":
        _, untruncated = loss_and_gradients(BPTT(net, flat_RP, gradients, 7, 3), x, target, gradients)
        assert distance(found, untruncated) > 1e-4


@pytest.mark.parametrize(("cell", "engine"), [run for run in RUNS if run.values[0].type != "feedforward"])
@pytest.mark.parametrize("kind", ["l1", "l2", "activity", "orthogonality"])
def test_penalties_have_the_gradients_of_what_they_say(cell: Any, engine: Any, kind: str):
    net = network(cell)
    flat_RP, x, target = problem(net)
    config = Regularisation(**{kind: 0.3})
    gradients = torch.zeros_like(flat_RP)
    bptt = BPTT(net, flat_RP, gradients, 7, 3, activity=config.activity, engine=engine)
    loss_and_gradients(bptt, x, target, gradients)
    penalty_R = bptt.penalty_R + WeightPenalty(net, config, flat_RP, gradients).add()

    leaf = flat_RP.clone().requires_grad_()
    penalties, total = [], torch.zeros((), dtype=torch.float64)
    for r in range(2):
        tensors = {name: tensor[r] for name, tensor in parameters.views(leaf, net).items()}
        weights = [w for name, w in tensors.items() if ".W_" in name]
        recurrent = [w.view(-1, H, H) for name, w in tensors.items() if name.endswith("W_hh")]
        h, given = x[r], []
        for n in range(2):
            w = {name.removeprefix(f"layers.{n}."): t for name, t in tensors.items() if name.startswith(f"layers.{n}.")}
            h = equations.layer(torch, cell, w, h)
            given.append(h)
        penalties.append(
            0.3
            * {
                "l1": lambda weights=weights: sum(w.abs().sum() for w in weights),
                "l2": lambda weights=weights: sum((w**2).sum() for w in weights) / 2,
                "activity": lambda given=given: sum((h**2).mean() for h in given),
                "orthogonality": lambda recurrent=recurrent: sum(
                    ((W.mT @ W - torch.eye(H, dtype=W.dtype)) ** 2).sum() for W in recurrent
                ),
            }[kind]()
        )
        y = h @ tensors["readout.W_hy"].T + tensors["readout.b_y"]
        total = total + penalties[-1] + ((y - target[r]) ** 2).mean()
    total.backward()
    assert leaf.grad is not None
    assert penalty_R.tolist() == pytest.approx([p.item() for p in penalties], rel=1e-12)
    assert distance(gradients, leaf.grad) < 1e-10


@pytest.mark.parametrize("architecture", ["many_to_many", "many_to_one"])
@pytest.mark.parametrize(("cell", "engine"), RUNS)
@pytest.mark.parametrize("K", [1, 3, 7])
def test_the_penalty_on_activity_is_a_mean_over_all_steps_whatever_the_window(
    cell: Any, engine: Any, architecture: Any, K: int
):
    """Its gradients stop where the loss's do; a window of all steps is full backpropagation."""
    net = network(cell, architecture=architecture)
    flat_RP, x, target = problem(net)
    gradients = torch.zeros_like(flat_RP)
    window = TruncatedBPTT(net, flat_RP, gradients, 7, 3, window=K, activity=0.3, engine=engine)
    loss_R, found = loss_and_gradients(window, x, target, gradients)
    full = BPTT(net, flat_RP, gradients, 7, 3, activity=0.3, engine=engine)
    full_loss_R, untruncated = loss_and_gradients(full, x, target, gradients)
    assert distance(window.penalty_R, full.penalty_R) < 1e-12
    assert distance(loss_R, full_loss_R) < 1e-12
    if K == 7 or cell.type == "feedforward":
        assert distance(found, untruncated) < 1e-12
        return
    leaf = flat_RP.clone().requires_grad_()
    total = torch.zeros((), dtype=torch.float64)
    for r in range(2):
        tensors = {name: tensor[r] for name, tensor in parameters.views(leaf, net).items()}
        states: list[dict[str, Any]] = [{}, {}]
        outputs = []
        for start in range(0, 7, K):
            h = x[r, start : start + K]
            for n in range(2):
                prefix = f"layers.{n}."
                w = {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
                h, states[n] = equations.layer_from(torch, cell, w, h, states[n])
                states[n] = {name: state.detach() for name, state in states[n].items()}
                total = total + 0.3 * (h**2).sum() / (7 * 3 * H)
            outputs.append(h @ tensors["readout.W_hy"].T + tensors["readout.b_y"])
        kept = slice(-1, None) if architecture == "many_to_one" else slice(None)
        total = total + equations.cost(torch, MSE(), torch.cat(outputs)[kept], target[r][kept])
    total.backward()
    assert leaf.grad is not None
    assert distance(found, leaf.grad) < 1e-12


@pytest.mark.parametrize(
    ("config", "reference"),
    [
        (Adam(lr=0.02), lambda p: torch.optim.Adam(p, lr=0.02)),
        (AdamW(lr=0.02, weight_decay=0.1), lambda p: torch.optim.AdamW(p, lr=0.02, weight_decay=0.1)),
        (RMSprop(lr=0.02), lambda p: torch.optim.RMSprop(p, lr=0.02)),
        (RMSprop(lr=0.02, momentum=0.9), lambda p: torch.optim.RMSprop(p, lr=0.02, momentum=0.9)),
        (SGD(lr=0.1, momentum=0.5), lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.5)),
    ],
    ids=["adam", "adamw", "rmsprop", "rmsprop-momentum", "sgd"],
)
def test_optimisers_are_those_of_torch(config: Any, reference: Any):
    start = np.random.default_rng(0).standard_normal((2, 9))
    ours = Optimizer(config, start, torch.device("cpu"))
    parameter = torch.nn.Parameter(torch.from_numpy(start.copy()))
    theirs = reference([parameter])
    generator = torch.Generator().manual_seed(0)
    for _ in range(12):
        gradient = torch.randn(2, 9, dtype=torch.float64, generator=generator)
        ours.step(gradient.clone(), np.zeros(2, bool))
        parameter.grad = gradient.clone()
        theirs.step()
    np.testing.assert_allclose(ours.parameters.numpy(), parameter.detach().numpy(), rtol=1e-12)


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


def test_weight_decay_leaves_frozen_tensors_alone():
    net = Network(
        cell=VanillaCell(hidden_size=H), input_size=1, output_size=1, connectivity=Connectivity(frozen=["W_hh"])
    )
    one = job(optimizer=AdamW(lr=0.1, weight_decay=0.5)).model_copy(update={"model": net})
    start = parameters.views(parameters.initialise(net, 0, 1), net)["layers.0.W_hh"]
    tensors = load_weights(last_checkpoint(run(one)).weights).tensors
    assert np.array_equal(tensors["layers.0.W_hh"], start)


def test_clipping_by_value_and_norm_reports_what_it_did():
    gradients = torch.tensor([[3.0, -4.0], [0.3, 0.4]])
    norm_R = gradients.norm(dim=1)
    by_norm, by_value = gradients.clone(), gradients.clone()
    assert clip(ClipByGlobalNorm(max_norm=1.0), by_norm, norm_R).tolist() == [1.0, 0.0]
    assert by_norm.tolist() == [pytest.approx([0.6, -0.8]), pytest.approx([0.3, 0.4])]
    assert clip(ClipByValue(max_value=3.5), by_value, norm_R).tolist() == [0.5, 0.0]
    assert by_value.tolist() == [[3.0, -3.5], pytest.approx([0.3, 0.4])]


def test_schedules_follow_their_formulas():
    def rates(**fields: Any) -> list[float]:
        training = Training(steps=100, optimizer=Adam(lr=1.0), **fields)
        return [learning_rate(training, step) for step in (1, 2, 3, 11, 21, 50)]

    assert rates() == [1.0] * 6
    assert rates(warmup=4) == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    assert rates(schedule=StepDecay(every=10, factor=0.5)) == [1, 1, 1, 0.5, 0.25, 0.0625]
    assert rates(schedule=ExponentialDecay(half_life=10))[3:5] == [0.5, 0.25]
    cosine = rates(schedule=CosineDecay(steps=20, final=0.2))
    assert cosine[3:] == pytest.approx([0.2 + 0.8 * (1 + math.cos(math.pi / 2)) / 2, 0.2, 0.2])


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
        check(job(length=6, **fields))
    assert error.value.pointer == pointer


@pytest.mark.parametrize(("cell", "engine"), RUNS)
@pytest.mark.parametrize("loss", [MSE(), MSE(over="sequences"), PoissonNLL()], ids=str)
def test_padding_changes_neither_loss_nor_gradients(cell: Any, engine: Any, loss: Any):
    """Different lengths in one padded batch against each sequence alone, and more padding with other numbers in it."""
    net = network(cell)
    flat_RP, x, target = problem(net)
    lengths = [7, 3, 1]
    gradients = torch.zeros_like(flat_RP)

    def padded(T: int, fill: float) -> Any:
        bptt = BPTT(net, flat_RP, gradients, T, 3, loss, weighted=True, engine=engine)
        weight = torch.zeros(2, T, 3, dtype=torch.float64)
        long_x, long_target = (torch.full((2, T, 3, part.shape[-1]), fill, dtype=torch.float64) for part in (x, target))
        for b, length in enumerate(lengths):
            weight[:, :length, b] = 1.0
            long_x[:, :length, b], long_target[:, :length, b] = x[:, :length, b], target[:, :length, b]
        bptt.readout.weigh(weight)
        return loss_and_gradients(bptt, long_x, long_target, gradients)

    loss_R, found = padded(7, 0.0)
    more_loss_R, more = padded(11, 3.0)
    assert distance(more_loss_R, loss_R) < 1e-12
    assert distance(more, found) < 1e-12

    total_R, total = torch.zeros_like(loss_R), torch.zeros_like(found)
    for b, length in enumerate(lengths):
        alone = BPTT(net, flat_RP, gradients, length, 1, loss, engine=engine)
        one = loss_and_gradients(alone, x[:, :length, b : b + 1], target[:, :length, b : b + 1], gradients)
        share = 1 / 3 if loss.type == "mse" and loss.over == "sequences" else length / sum(lengths)
        total_R += share * one[0]
        total += share * one[1]
    assert distance(loss_R, total_R) < 1e-12
    assert distance(found, total) < 1e-12


@pytest.mark.parametrize("architecture", ["many_to_many", "many_to_one"])
@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: f"{cell.type}-{getattr(cell, 'leak', '')}")
def test_the_lag_profile_is_the_norm_of_autograd_s_gradient_at_every_state(cell: Any, architecture: Any):
    net = network(cell, architecture=architecture)
    flat_RP, x, target = problem(net)
    gradients = torch.zeros_like(flat_RP)
    engine = BPTT(net, flat_RP, gradients, 7, 3, profiled=True)
    loss_and_gradients(engine, x, target, gradients)
    profile = engine.lag_profile()
    assert profile.shape == (2, 7)
    for r in range(2):
        tensors = {name: tensor[r] for name, tensor in parameters.views(flat_RP, net).items()}
        h = x[r]
        for n in range(2):
            w = {name.removeprefix(f"layers.{n}."): t for name, t in tensors.items() if name.startswith(f"layers.{n}.")}
            # What a small push on the given h[t] does to the loss, pushes added inside the last layer's recursion.
            push = torch.zeros(7, 3, H, dtype=torch.float64, requires_grad=n == 1)
            h = equations.layer(torch, cell, w, h, push)
        y = h @ tensors["readout.W_hy"].T + tensors["readout.b_y"]
        kept = slice(-1, None) if architecture == "many_to_one" else slice(None)
        equations.cost(torch, MSE(), y[kept], target[r][kept]).backward()
        assert push.grad is not None
        np.testing.assert_allclose(profile[r], push.grad.norm(dim=(1, 2)), rtol=1e-10, atol=1e-14)
