"""What a job can get wrong that its schema cannot see, and what it will cost."""

from __future__ import annotations

import subprocess
import sys
import time
import tracemalloc
from typing import Any

import pytest

import unroll.contract
from rnn.errors import ConfigurationError
from rnn.networks import parameters
from rnn.training import cost as estimate
from rnn.training.problem import Problem
from rnn.training.validation import validate
from tests.unit.rnn.jobs import job, network
from unroll.contract import CosineDecay, EarlyStopping, ExponentialDecay, HeldOut, Network, StepDecay, TrainJob


def with_model(model: str | Network, **fields: Any) -> TrainJob:
    return job(**fields).model_copy(update={"model": model})


@pytest.mark.parametrize(
    ("bad", "pointer", "code"),
    [
        (with_model(network(inputs=2)), "/model/input_size", "width_mismatch"),
        (with_model(network(outputs=3)), "/model/output_size", "width_mismatch"),
        (with_model("by-name"), "/model", "unresolved_model"),
        (job(hidden=16_384, replicas=2), "/replicas", "too_many_parameters"),
        (job(length=100_000, batch_size=65_536), "/training/batch_size", "too_many_activations"),
        (job(length=100_000, held_out=HeldOut(size=65_536)), "/training/held_out/size", "too_many_activations"),
        (
            job(steps=400, evaluate_every=100, early_stopping=EarlyStopping(patience=3)),
            "/training/early_stopping/patience",
            "contradiction",
        ),
        (job(steps=100, evaluate_every=100, stop_at_skill=0.5), "/training/stop_at_skill", "contradiction"),
        (
            job(bptt=unroll.contract.BPTT(window=1), regularisation=unroll.contract.Regularisation(omega=0.1)),
            "/training/regularisation/omega",
            "contradiction",
        ),
        (job(steps=100, warmup=101), "/training/warmup", "contradiction"),
        (job(steps=100, warmup=10, schedule=CosineDecay(steps=10)), "/training/schedule/steps", "contradiction"),
        (job(steps=5000, schedule=ExponentialDecay(half_life=1)), "/training/schedule", "contradiction"),
        (job(steps=100, schedule=StepDecay(every=1, factor=1e-3)), "/training/schedule", "contradiction"),
        (job(steps=100, schedule=CosineDecay(steps=99)), "/training/schedule/steps", "contradiction"),
        (job(steps=100, profile_every=101), "/training/profile_every", "contradiction"),
        (
            with_model(
                network().model_copy(update={"architecture": "many_to_one", "h0": "trainable"}),
                bptt=unroll.contract.BPTT(window=2),
            ),
            "/training/bptt/window",
            "contradiction",
        ),
        (
            with_model(
                network().model_copy(update={"h0": "trainable"}),
                bptt=unroll.contract.BPTT(window=2),
                loss=unroll.contract.MSE(time_weights=[0, 0, 1, 1, 1, 1]),
            ),
            "/training/bptt/window",
            "contradiction",
        ),
        (
            with_model(
                network().model_copy(update={"connectivity": unroll.contract.Connectivity(frozen=["W_hh"])}),
                regularisation=unroll.contract.Regularisation(orthogonality=0.1),
            ),
            "/training/regularisation/orthogonality",
            "contradiction",
        ),
        (
            job(loss=unroll.contract.MSE(time_weights=[1e-7] * 6), length=6),
            "/training/loss/time_weights",
            "contradiction",
        ),
    ],
)
def test_a_job_that_cannot_run_is_refused_with_the_field_named(bad: TrainJob, pointer: str, code: str):
    with pytest.raises(ConfigurationError) as error:
        validate(Problem.of(bad))
    assert (error.value.pointer, error.value.code) == (pointer, code)


def test_the_refusal_of_a_huge_network_says_the_numbers_and_allocates_nothing():
    huge = job(hidden=16_384, replicas=1024)
    tracemalloc.start()
    started = time.perf_counter()
    with pytest.raises(ConfigurationError, match=r"268,\d{3},\d{3} parameters are 274,\d{3},\d{3},\d{3}.*500,000,000"):
        validate(Problem.of(huge))
    seconds, (_, peak) = time.perf_counter() - started, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert seconds < 0.05
    assert peak < 1_000_000


def test_the_course_network_is_accepted_and_has_141_parameters():
    good = job(hidden=10, length=20, replicas=8)
    validate(Problem.of(good))
    assert parameters.count(good.model) == 10 * 1 + 10 + 100 + 10 + 10 + 1


def test_estimates_grow_with_every_size():
    small = Problem.of(job(hidden=10, length=20))
    larger = [
        job(hidden=20, length=20),
        job(hidden=10, length=40),
        job(hidden=10, length=20, batch_size=8),
        job(hidden=10, length=20, replicas=2),
    ]
    for other in map(Problem.of, larger):
        assert estimate.memory_bytes(other) > estimate.memory_bytes(small)
        assert estimate.seconds(other) > estimate.seconds(small)
    assert estimate.seconds(Problem.of(job(hidden=10, length=20, steps=20))) > estimate.seconds(small)


MEASURED = """
import os, sys, traceback
import torch
torch.set_num_threads(1)
from rnn import kernels
from rnn.data import tasks
from rnn.training import cost
from rnn.training.problem import Problem
from rnn.training.run import train
from tests.unit.rnn.jobs import job
from unroll.contract import Network, TaskData, Training, TrainJob, VanillaCell

def peak():
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmHWM"))

def measure(name, tiny, big):
    child = os.fork()
    if child == 0:
        try:
            list(train(tiny))
            before = peak()
            list(train(big))
            print(name, (peak() - before) / cost.memory_bytes(Problem.of(big)), flush=True)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
        os._exit(1)
    if os.waitpid(child, 0)[1]:
        sys.exit(f"failed: {name}")
"""


def measured(script: str) -> dict[str, float]:
    """What a script measures: growth of resident memory over what a tiny job needs, as a part of the estimate.

    Each measurement has a fork of its own, of a fresh process that has imported everything and run nothing.
    """
    done = subprocess.run([sys.executable, "-c", MEASURED + script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {name: float(part) for name, part in (line.split() for line in done.stdout.splitlines())}


def test_the_memory_estimate_holds_for_the_workspace_and_bounds_the_kernel():
    found = measured("""
found = kernels.available
tiny, big = job(steps=1), job(steps=2, hidden=200, length=100, batch_size=128, replicas=4)
for name, runs in ("workspace", False), ("native", True):
    kernels.available = found if runs else lambda: False
    measure(name, tiny, big)
""")
    assert set(found) == {"workspace", "native"}
    assert 0.5 < found["workspace"] < 1.5
    assert 0.2 < found["native"] < 1.0


def test_the_memory_estimate_counts_held_out_sequences_and_what_drawing_them_needs():
    found = measured("""
def held_out(name, dtype, T, N):
    data = TaskData(name=name, parameters={"delay" if name == "recall" else "length": T})
    task = tasks.resolve(data)
    net = Network(cell=VanillaCell(hidden_size=2), input_size=task.input_size, output_size=task.output_size)
    net = net.model_copy(update={"architecture": task.architectures[0]})
    fields = {"steps": 1, "batch_size": 1, "loss": {"type": task.losses[0]}, "held_out": {"size": N}}
    return TrainJob(model=net, data=data, training=Training(**fields), dtype=dtype)
for name in "integrate_noise", "sine", "poisson_counts", "recall":
    for dtype in "float32", "float64":
        big = held_out(name, dtype, 1000, 1000 if name == "recall" else 8000)
        measure(f"{name}-{dtype}", held_out(name, dtype, 5, 4), big)
""")
    assert len(found) == 8
    assert {name: part for name, part in found.items() if not 0.3 < part < 1.1} == {}


def test_what_servers_import_loads_no_torch():
    modules = (
        "events errors randomness.streams networks.parameters networks.validation networks.weights networks.noise "
        "networks.initialisation data.tasks data.batches data.validation serving.predictor reference.equations "
        "reference.windows training.problem training.validation training.cost training.resume training.divergence "
        "training.stopping training.noise training.schedule gradient_check.bounds gradient_check.formulas"
    )
    imports = "import rnn; " + "; ".join(f"import rnn.{name}" for name in modules.split())
    script = f"{imports}; import sys; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("cell", ["LSTMCell", "GRUCell", "LeakyCell"])
def test_estimates_of_other_cells_grow_with_gates_layers_and_shrink_with_a_window(cell: str, dtype: Any):
    def of(layers: int = 1, **fields: Any) -> Problem:
        net = Network(
            cell=getattr(unroll.contract, cell)(hidden_size=50), input_size=1, output_size=1, num_layers=layers
        )
        return Problem.of(with_model(net, length=100, dtype=dtype, **fields))

    vanilla = Problem.of(job(hidden=50, length=100, dtype=dtype))
    assert estimate.memory_bytes(of()) > estimate.memory_bytes(vanilla)
    assert estimate.seconds(of()) >= estimate.seconds(vanilla)
    assert estimate.memory_bytes(of(3)) > 2 * estimate.memory_bytes(of())
    assert estimate.seconds(of(3)) > 2 * estimate.seconds(of())
    window = unroll.contract.BPTT(window=10)
    assert estimate.memory_bytes(of(batch_size=512, bptt=window)) < estimate.memory_bytes(of(batch_size=512)) / 2
