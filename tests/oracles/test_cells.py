"""Every cell against its equations: training on each engine, serving, the gradient check, what its facts say."""

from __future__ import annotations

import itertools
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from rnn import kernels
from rnn.bptt.encoder_decoder import EncoderDecoder
from rnn.bptt.whole import BPTT
from rnn.cells.facts import LayerEngine, facts
from rnn.cells.layer import LayerSpec
from rnn.cells.make import make_layer
from rnn.gradient_check import formulas
from rnn.networks import parameters
from rnn.networks.weights import dump_weights
from rnn.reference import equations
from rnn.serving import cells as serving
from rnn.serving.predictor import Engine, Predictor
from tests.oracles import checks
from tests.oracles.cells import CELLS, EXAMPLES, RUNS, H, by_autograd, distance, name_of, network, parameters_of, run
from unroll import contract
from unroll.contract import BCE, MSE, CrossEntropy, FeedForwardCell, GRUCell, Loss, LSTMCell, PoissonNLL, VanillaCell

SHAPES = [(1, 1, 1, 1), (1, 6, 3, 1), (3, 5, 2, 1), (2, 4, 1, 2), (1, 3, 2, 3)]  # R, T, B, layers
WITH_MEMORY = [one for one in RUNS if facts(one.values[0]).recurrent]


def test_every_cell_of_the_contract_has_examples_equations_a_forward_pass_and_formulas():
    types = {cell.model_fields["type"].default for cell in get_args(get_args(contract.Cell)[0])}
    for table in (EXAMPLES, equations.CELLS, serving.CELLS, formulas.CELLS):
        assert set(table) == types
    for kind, examples in EXAMPLES.items():
        assert {cell.type for cell in examples} == {kind}


class TestEveryCell:
    """What holds for every configuration in `tests.oracles.cells`, on every engine that has it."""

    @pytest.mark.parametrize("shape", SHAPES, ids=str)
    @pytest.mark.parametrize(("cell", "engine"), RUNS)
    @pytest.mark.parametrize("architecture", ["many_to_many", "many_to_one"])
    def test_loss_and_gradients_are_those_of_autograd_over_the_equations(
        self, cell: Any, engine: LayerEngine, shape: tuple[int, ...], architecture: Any
    ):
        R, T, B, layers = shape
        net = network(cell, layers, architecture=architecture)
        flat_RP = parameters_of(net, R)
        bptt, gradients_RP, x, target = run(net, flat_RP, T, B, engine=engine)
        losses, expected = by_autograd(net, flat_RP, x, target, MSE())
        assert bptt.loss_R.tolist() == pytest.approx(losses.tolist(), rel=1e-12)
        for name, gradient in parameters.views(gradients_RP, net).items():
            reference = parameters.views(expected, net)[name]
            np.testing.assert_allclose(gradient, reference, rtol=1e-8, atol=1e-12, err_msg=name)
        assert distance(gradients_RP, expected) < 1e-12

    @pytest.mark.parametrize(("cell", "engine"), RUNS)
    def test_single_precision_agrees_to_its_rounding(self, cell: Any, engine: LayerEngine):
        net = network(cell, 2)
        flat_RP = parameters_of(net, 2).float()
        bptt, gradients_RP, x, target = run(net, flat_RP, 8, 5, engine=engine)
        losses, expected = by_autograd(net, flat_RP, x, target, MSE())
        assert bptt.loss_R.tolist() == pytest.approx(losses.tolist(), rel=2e-5)
        assert distance(gradients_RP, expected) < 2e-5

    @pytest.mark.parametrize(("cell", "engine"), RUNS)
    @pytest.mark.parametrize("loss", [MSE(), CrossEntropy()], ids=lambda loss: loss.type)
    def test_complex_steps_agree_to_nine_digits_and_differences_to_six(
        self, cell: Any, engine: LayerEngine, loss: Loss
    ):
        """Central differences are taken only where no unit comes near a kink."""
        net = network(cell)
        flat_RP = parameters_of(net, 1)
        _, gradients_RP, x, target = run(net, flat_RP, 4, 2, loss, engine)

        def cost(flat: np.ndarray[Any, Any]) -> Any:
            tensors = {name: tensor[0] for name, tensor in parameters.views(flat[None], net).items()}
            return equations.cost(np, loss, equations.outputs(np, net, tensors, x[0].numpy()), target[0].numpy())

        point = flat_RP[0].numpy()
        units = np.eye(len(point))
        complex_steps = np.array([cost(point + 1e-30j * unit).imag / 1e-30 for unit in units])
        assert distance(gradients_RP[0], torch.from_numpy(complex_steps)) < 1e-9
        if not facts(cell).kinked:
            differences = np.array([(cost(point + 1e-6 * unit) - cost(point - 1e-6 * unit)) / 2e-6 for unit in units])
            assert distance(gradients_RP[0], torch.from_numpy(differences)) < 1e-6

    @pytest.mark.parametrize(("cell", "engine"), RUNS)
    def test_a_replica_in_a_stack_has_the_gradients_of_the_network_alone(self, cell: Any, engine: LayerEngine):
        net = network(cell, 2)
        flat_RP = parameters_of(net, 3)
        _, together, x, target = run(net, flat_RP, 6, 4, engine=engine)
        for r in range(3):
            alone_1P = torch.zeros_like(flat_RP[:1])
            bptt = BPTT(net, flat_RP[r : r + 1].clone(), alone_1P, 6, 4, engine=engine)
            bptt.x_RTBI.copy_(x[r : r + 1])
            bptt.target_RTBO.copy_(target[r : r + 1])
            bptt.forward()
            bptt.backward()
            assert distance(together[r], alone_1P[0]) < 1e-12

    @pytest.mark.parametrize(("cell", "engine"), RUNS)
    def test_states_have_the_names_and_shapes_of_the_facts_and_go_on_where_they_were(
        self, cell: Any, engine: LayerEngine
    ):
        """One layer from a state that is given: what it gives, the state that it leaves, gradients of the first one."""
        (R, T, B, I), about = (2, 5, 3, 2), facts(cell)  # noqa: E741
        generator = torch.Generator().manual_seed(6)

        def normal(*shape: int) -> torch.Tensor:
            return torch.randn(shape, generator=generator, dtype=torch.float64)

        w = {name: normal(R, *shape).mul_(0.5) for name, shape in about.tensors(I).items()}
        w |= {name: w[name].abs_().add_(constant.dt) for name, constant in about.learned.items()}
        gradients = {name: torch.zeros_like(tensor) for name, tensor in w.items()}
        layer = make_layer(cell, LayerSpec(I, T, B, w, gradients, carried=True), engine)
        first = {name: normal(R, B, *shape) for name, shape in about.states.items()}
        x, dh = normal(R, T, B, I), normal(R, T, B, H)
        assert list(layer.initial) == list(first)
        layer.x_RTBI.copy_(x)
        for name, state in first.items():
            layer.initial[name].copy_(state)
        layer.forward()
        h, final = layer.h_RTBH.clone(), {name: state.clone() for name, state in layer.final.items()}
        assert {name: tuple(state.shape) for name, state in final.items()} == {
            name: (R, B, *shape) for name, shape in about.states.items()
        }
        layer.dh_RTBH.copy_(dh)
        layer.backward()
        for r in range(R):
            leaves = {name: state[r].clone().requires_grad_() for name, state in first.items()}
            own = {name: tensor[r] for name, tensor in w.items()}
            begin = equations.CELLS[cell.type].start(torch, cell, leaves)
            expected, last = equations.layer_from(torch, cell, own, x[r], begin)
            assert distance(h[r], expected.detach()) < 1e-12
            left = equations.CELLS[cell.type].start(torch, cell, {name: state[r] for name, state in final.items()})
            for name, state in last.items():
                assert distance(left[name], state.detach()) < 1e-12, name
            if about.recurrent:
                for name, d in zip(leaves, torch.autograd.grad(expected, list(leaves.values()), dh[r]), strict=True):
                    assert distance(layer.d_initial[name][r], d) < 1e-12, name

    @pytest.mark.parametrize("reading", ["targets", "outputs"])
    @pytest.mark.parametrize(("cell", "engine"), WITH_MEMORY)
    def test_states_are_handed_from_an_encoder_to_its_decoder_and_gradients_back(
        self, cell: Any, engine: LayerEngine, reading: str
    ):
        forced, net = reading == "targets", network(cell, 2, architecture="encoder_decoder")
        flat_RP, gradients_RP = (raw := parameters_of(net, 2)), torch.zeros_like(raw)
        bptt = EncoderDecoder(net, flat_RP, gradients_RP, 4, 3, 3, MSE(), forced=forced, engine=engine)
        generator = torch.Generator().manual_seed(5)
        for memory in bptt.memory.all():
            memory.copy_(torch.randn(memory.shape, generator=generator, dtype=torch.float64))
        x, target = bptt.memory.x_RTBI.clone(), bptt.memory.target_RTBO.clone()
        bptt.forward()
        bptt.backward()
        leaf = flat_RP.clone().requires_grad_()
        losses = []
        for r in range(2):
            tensors = {name: tensor[r] for name, tensor in parameters.views(leaf, net).items()}
            reads = torch.ones(3, 3, dtype=torch.bool) if forced else None
            y = equations.outputs(torch, net, tensors, x[r], steps=3, target=target[r], forced=reads)
            losses.append(equations.cost(torch, MSE(), y, target[r]))
        (expected,) = torch.autograd.grad(torch.stack(losses).sum(), leaf)
        assert bptt.loss_R.tolist() == pytest.approx([loss.item() for loss in losses], rel=1e-12)
        assert distance(gradients_RP, expected) < 1e-12

    @pytest.mark.parametrize("engine", ["auto", "numpy"])
    @pytest.mark.parametrize("layers", [1, 2])
    @pytest.mark.parametrize("cell", CELLS, ids=name_of)
    def test_the_predictor_computes_the_equations_and_goes_on_from_its_state_bit_for_bit(
        self, cell: Any, layers: int, engine: Engine
    ):
        net = network(cell, layers)
        flat_RP = parameters_of(net, 2)
        predictor = Predictor(dump_weights(net, "float64", flat_RP.numpy()), engine)
        x = np.random.default_rng(2).standard_normal((11, 9, 2))
        sequences = [x[: 1 + n, n] for n in range(9)]
        whole = predictor.predict(sequences, None, "all", {"outputs", "state", "hidden"})
        for r in range(2):
            tensors = {name: tensor[r] for name, tensor in parameters.views(flat_RP.numpy(), net).items()}
            y = equations.outputs(np, net, tensors, x)
            for n, output in enumerate(whole.outputs or []):
                np.testing.assert_allclose(output[r], y[: 1 + n, n], rtol=1e-10, atol=1e-13)
        first = predictor.predict([s[: len(s) // 2] for s in sequences[1:]], None, "all", {"state"})
        assert first.state is not None
        second = predictor.predict([s[len(s) // 2 :] for s in sequences[1:]], first.state, "all", {"outputs", "state"})
        for n, output in enumerate(second.outputs or []):
            assert np.array_equal(output, whole.outputs[n + 1][:, len(sequences[n + 1]) // 2 :])
        for together, in_two in zip(whole.state[1:], second.state, strict=True):
            assert all(np.array_equal(a[name], b[name]) for a, b in zip(together, in_two, strict=True) for name in a)

    @pytest.mark.parametrize("architecture", ["many_to_many", "many_to_one"])
    @pytest.mark.parametrize("cell", CELLS, ids=name_of)
    def test_the_gradient_check_passes_on_every_engine_that_has_it(self, cell: Any, architecture: str):
        h0 = "trainable" if facts(cell).recurrent else "zeros"
        fields = {"architecture": architecture, "num_layers": 2, "h0": h0}
        found = checks.run(checks.request(cell, fields, replicas=2))
        assert found.passed, [t for e in found.engines for t in e.tensors if not t.passed]
        native = kernels.available() and facts(cell).native is not None
        assert [one.engine for one in found.engines] == (["workspace", "native"] if native else ["workspace"])
        for one in found.engines:
            assert one.loss == pytest.approx(found.loss, rel=1e-12)
            assert all(tensor.autograd < 1e-12 for tensor in one.tensors)
            assert any(tensor.norm > 0 for tensor in one.tensors)
        biases = facts(cell).recurrent and facts(cell).biases != "none"
        apart = facts(cell).biases == "apart"
        assert [one.identifiable for one in found.biases] == [apart] * 2 * biases

    @pytest.mark.parametrize("cell", CELLS, ids=name_of)
    def test_each_parameter_has_its_place_and_moves_the_loss(self, cell: Any):
        net = network(cell, 2)
        slots = parameters.layout(net)
        assert [slot.start for slot in slots] == [0, *(slot.stop for slot in slots[:-1])]
        flat_RP = parameters_of(net, 1)
        _, gradients_RP, _, _ = run(net, flat_RP, 6, 5, engine="workspace")
        for name, gradient in parameters.views(gradients_RP, net).items():
            assert gradient.norm() > 1e-9, name

    @pytest.mark.parametrize("cell", CELLS, ids=name_of)
    def test_omega_has_what_it_needs_where_w_hh_alone_carries_the_state(self, cell: Any):
        about = facts(cell)
        w = {name: torch.rand(1, *shape) + 1 for name, shape in about.tensors(1).items()}
        layer: Any = make_layer(
            cell, LayerSpec(1, 3, 2, w, {name: torch.zeros_like(t) for name, t in w.items()}), "workspace"
        )
        layer.forward()
        layer.backward()
        if about.beside_W_hh:
            with pytest.raises(TypeError):
                layer.transport()
        else:
            assert layer.transport().ds_RTBH.shape == (1, 3, 2, H)

    @pytest.mark.parametrize("cell", CELLS, ids=name_of)
    def test_the_memory_that_its_facts_tell_is_what_its_layer_takes(self, cell: Any):
        """Buffers of layers whose sequences outweigh their weights; inputs and weights are some tenths of a number."""
        T, B, told = 60, 16, facts(cell).trajectories
        for trains, replicas, numbers in (
            (True, 1, told.training),
            (True, 2, told.training_stacked),
            (False, 1, told.evaluation),
            (False, 2, told.evaluation_stacked),
        ):
            w, gradients = (
                {name: torch.ones(replicas, *shape) for name, shape in facts(cell).tensors(1).items()} for _ in "wg"
            )
            spec = LayerSpec(1, T, B, w, gradients if trains else None)
            with Allocated() as allocated:
                make_layer(cell, spec, "workspace")
            assert allocated.numbers() / (replicas * T * B * H) == pytest.approx(numbers, abs=1.9)


class Allocated(TorchDispatchMode):
    """Counts the numbers in all memory that torch's operations make, in float32."""

    def __init__(self) -> None:
        super().__init__()
        self._kept: list[torch.Tensor] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = function(*args, **(kwargs or {}))
        if isinstance(made, torch.Tensor):
            self._kept.append(made)
        return made

    def numbers(self) -> float:
        return sum({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in self._kept}.values()) / 4


@pytest.mark.parametrize(
    "loss", [MSE(over="sequences"), CrossEntropy(), BCE(), PoissonNLL()], ids=lambda loss: loss.type
)
@pytest.mark.parametrize("architecture", ["many_to_many", "many_to_one"])
@pytest.mark.parametrize("replicas", [1, 3])
@pytest.mark.parametrize("engine", ["workspace", "native"])
def test_every_loss_has_the_gradient_of_its_equation(loss: Loss, architecture: Any, replicas: int, engine: LayerEngine):
    net = network(VanillaCell(hidden_size=H), architecture=architecture)
    flat_RP = parameters_of(net, replicas)
    bptt, gradients_RP, x, target = run(net, flat_RP, 5, 3, loss, engine)
    losses, expected = by_autograd(net, flat_RP, x, target, loss)
    assert bptt.loss_R.tolist() == pytest.approx(losses.tolist(), rel=1e-12)
    assert distance(gradients_RP, expected) < 1e-12


@pytest.mark.parametrize(
    ("cell", "module"), [(LSTMCell(hidden_size=7), torch.nn.LSTM), (GRUCell(hidden_size=7), torch.nn.GRU)]
)
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("engine", ["workspace", "native"])
@pytest.mark.parametrize(("dtype", "most"), [(torch.float64, 1e-12), (torch.float32, 2e-5)], ids=["float64", "float32"])
def test_lstm_and_gru_are_those_of_torch_with_the_same_weights(
    cell: Any, module: Any, layers: int, engine: LayerEngine, dtype: torch.dtype, most: float
):
    """Theirs always in double precision."""
    net = network(cell, layers, h0="zeros")
    flat_RP = parameters_of(net, 1).float()
    bptt, gradients_RP, x, target = run(net, flat_RP.to(dtype), 9, 5, engine=engine)
    theirs, readout = module(2, 7, layers, dtype=torch.float64), torch.nn.Linear(7, 3, dtype=torch.float64)
    names = {"W_xh": "weight_ih", "W_hh": "weight_hh", "b_x": "bias_ih", "b_h": "bias_hh"}
    w = {name: tensor[0] for name, tensor in parameters.views(flat_RP, net).items()}
    theirs.load_state_dict({f"{b}_l{n}": w[f"layers.{n}.{a}"] for n in range(layers) for a, b in names.items()})
    readout.load_state_dict({"weight": w["readout.W_hy"], "bias": w["readout.b_y"]})
    loss = torch.nn.functional.mse_loss(readout(theirs(x[0])[0]), target[0])
    loss.backward()
    assert bptt.loss_R[0].item() == pytest.approx(loss.item(), rel=most)
    g = {name: tensor[0] for name, tensor in parameters.views(gradients_RP, net).items()}
    for n, (ours, name) in itertools.product(range(layers), names.items()):
        assert distance(g[f"layers.{n}.{ours}"], getattr(theirs, f"{name}_l{n}").grad) < most
    assert distance(g["readout.W_hy"], readout.weight.grad) < most


def test_a_feed_forward_network_does_not_know_the_past():
    net = network(FeedForwardCell(hidden_size=H))
    flat_RP = parameters_of(net, 1)
    predictor = Predictor(dump_weights(net, "float64", flat_RP.numpy()))
    one, other = np.random.default_rng(3).standard_normal((2, 6, 2))
    other[5] = one[5]
    outputs = predictor.predict([one, other]).outputs
    assert np.array_equal(outputs[0][5], outputs[1][5])
    assert not np.array_equal(outputs[0][4], outputs[1][4])
