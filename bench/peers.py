"""Compares one training step with JAX and nn4n: `python bench/peers.py [--threads N]`. They are the extra `bench`.

JAX: lax.scan under jit with donated arguments, x W_xh for all steps in one product, optax's Adam. nn4n: its rate
network (CTRNN, relu) with Dale's law, half of the connections and noise on each pre-activation, compared with our leaky
cell with the same; each draws its own noise and applies its own constraints within the step.

All take turns within one process that is bound to as many cores as there are threads, since XLA makes as many threads
as it sees cores; torch, the kernel and BLAS get the same number. The ratio is peer / ours. If a peer is not installed,
the script names it and prints nothing else for it.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import io
import os
from dataclasses import asdict
from typing import Any

import interleave
import numpy as np
import torch
from interleave import Step
from step import SHAPES, Shape, ours

from rnn import kernels
from rnn.bptt import constraints as reparametrise
from rnn.bptt.whole import BPTT
from rnn.cells.facts import LayerEngine
from rnn.networks import parameters
from rnn.training.noise import TrainingNoise
from rnn.training.optimisers import Optimizer
from unroll.contract import Adam, Connectivity, Dale, LeakyCell, Network, Noise

LR, DENSITY, EXCITATORY, TAU, NOISE = 1e-3, 0.5, 0.8, 10.0, 0.1
GOALS = {"jax": 2.0, "nn4n": 2.3}
NEEDED = {"jax": ("jax", "optax"), "nn4n": ("nn4n",)}
NN4N_SHAPES = ("a1", "b", "c")


def scan(s: Shape) -> Step:
    """Return a step in JAX, which returns when the loss is there."""
    import jax
    import optax
    from jax import numpy as jnp

    gates = {"vanilla": 1, "lstm": 4, "gru": 3}[s.cell]
    rng, bound = np.random.default_rng(0), 1 / np.sqrt(s.H)
    sizes = {"W_xh": (s.I, gates * s.H), "b_x": (gates * s.H,), "W_hh": (s.H, gates * s.H), "b_h": (gates * s.H,)}
    sizes |= {"W_hy": (s.H, s.O), "b_y": (s.O,)}
    weights = {name: jnp.asarray(rng.uniform(-bound, bound, size), jnp.float32) for name, size in sizes.items()}
    x = jnp.asarray(rng.standard_normal((s.T, s.B, s.I)), jnp.float32)
    target = jnp.asarray(rng.standard_normal((s.T, s.B, s.O)), jnp.float32)
    adam = optax.adam(LR)

    def cell(w: Any, carry: Any, a: Any) -> Any:
        h, c = carry
        p = h @ w["W_hh"] + w["b_h"]
        if s.cell == "vanilla":
            h = jnp.tanh(a + p)
        elif s.cell == "lstm":
            i, f, g, o = jnp.split(a + p, 4, -1)
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
            h = jax.nn.sigmoid(o) * jnp.tanh(c)
        else:
            (ar, az, an), (pr, pz, pn) = jnp.split(a, 3, -1), jnp.split(p, 3, -1)
            z = jax.nn.sigmoid(az + pz)
            h = (1 - z) * jnp.tanh(an + jax.nn.sigmoid(ar + pr) * pn) + z * h
        return (h, c), h

    def loss(w: Any) -> Any:
        zeros = jnp.zeros((s.B, s.H), jnp.float32)
        _, h = jax.lax.scan(lambda carry, a: cell(w, carry, a), (zeros, zeros), x @ w["W_xh"] + w["b_x"])
        return jnp.mean((h @ w["W_hy"] + w["b_y"] - target) ** 2)

    def update(w: Any, state: Any) -> Any:
        value, gradient = jax.value_and_grad(loss)(w)
        updates, state = adam.update(gradient, state)
        return optax.apply_updates(w, updates), state, value

    compiled = jax.jit(update, donate_argnums=(0, 1))
    at = [weights, adam.init(weights)]

    def step() -> float:
        *at[:], value = compiled(*at)
        return float(value)

    return step


def ctrnn(s: Shape) -> Step:
    """Return a step of nn4n's rate network, as its examples train it."""
    from nn4n.model import CTRNN

    rng = np.random.default_rng(0)
    # nn4n's masks are [from, to]
    sparse = torch.from_numpy((rng.random((s.H, s.H)) < DENSITY).astype(np.float32))
    signs = torch.where(torch.arange(s.H) < EXCITATORY * s.H, 1.0, -1.0)[:, None].expand(s.H, s.H).contiguous()
    with contextlib.redirect_stdout(io.StringIO()):
        network = CTRNN(
            dims=[s.I, s.H, s.O],
            activation="relu",
            tau=TAU,
            dt=1.0,
            biases="uniform",
            preact_noise=NOISE * (2 * TAU) ** 0.5,
            sparsity_masks=[None, sparse, None],
            ei_masks=[None, signs, None],
        )
    network.train()
    optimizer = torch.optim.Adam(network.parameters(), lr=LR, fused=True)
    x, target = torch.randn(s.T, s.B, s.I), torch.randn(s.T, s.B, s.O)

    def step() -> float:
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(network(x)[0], target)
        torch.autograd.backward(loss)
        optimizer.step()
        return loss.item()

    network(x[:2])
    if not network.recurrent_layer.preact_noise:
        raise SystemExit("nn4n runs without its noise: the comparison would not be of the same thing")
    return step


def leaky(s: Shape, engine: LayerEngine) -> Step:
    """Return our step of the same network."""
    cell = LeakyCell(
        hidden_size=s.H, activation="relu", leak="potentials", dt=1.0, tau=TAU, noise=Noise(recurrent=NOISE)
    )
    connectivity = Connectivity(dale=Dale(excitatory=EXCITATORY), density=DENSITY)
    network = Network(cell=cell, input_size=s.I, output_size=s.O, connectivity=connectivity)
    raw_RP = reparametrise.raw(network, parameters.initialise(network, 0, s.R))
    optimizer = Optimizer(Adam(lr=LR), raw_RP, torch.device("cpu"))
    constraints = reparametrise.Constraints(network, optimizer.parameters)
    gradients_RP = torch.zeros_like(optimizer.parameters)
    bptt = BPTT(network, constraints.used, gradients_RP, s.T, s.B, noisy=True, engine=engine)
    bptt.x_RTBI.normal_()
    bptt.target_RTBO.normal_()
    noise = TrainingNoise(network, 0, bptt.memory.map(torch.Tensor.numpy), torch.get_num_threads())
    resting_R, at = np.zeros(s.R, bool), [0]

    def step() -> float:
        at[0] += 1
        with bptt.threads():
            noise.draw(at[0])
            bptt.forward()
            bptt.backward()
            constraints.pull_back(gradients_RP)
            optimizer.step(gradients_RP, resting_R)
            constraints.apply()
        return float(bptt.loss_R[0])

    return step


def compare(s: Shape, peer: str, rounds: int) -> dict[str, Any]:
    """Return the times and ratios of one shape and one peer."""
    mine = ours if peer == "jax" else leaky
    engines: list[LayerEngine] = ["native", "workspace"] if kernels.available() else ["workspace"]
    methods: dict[str, Step] = {"peer": scan(s) if peer == "jax" else ctrnn(s)}
    methods |= {engine: mine(s, engine) for engine in engines}
    times = interleave.take_turns(methods, rounds)
    found = {name: value for name, value in asdict(s).items() if name != "goals"} | {"peer": peer, "goal": GOALS[peer]}
    found["milliseconds"] = {name: round(1e3 * float(np.median(taken)), 4) for name, taken in times.items()}
    found["ratio"] = {engine: interleave.ratio(times["peer"], times[engine]) for engine in engines}
    return found


def row(found: dict[str, Any]) -> list[str]:
    """Return one row of the table."""
    sizes = "/".join(str(found[axis]) for axis in "IHOBT")
    cell = found["cell"] if found["peer"] == "jax" else "leaky"
    ratios = [found["ratio"].get(engine) for engine in ("native", "workspace")]
    times = [found["milliseconds"].get(name, float("nan")) for name in ("native", "workspace", "peer")]
    shown = [interleave.show(ratio) if ratio else "not built" for ratio in ratios]
    return [
        f"{found['name']} ({sizes})",
        found["peer"],
        cell,
        *shown,
        f"{found['goal']:g}",
        *(f"{t:.3g}" for t in times),
    ]


def bound_to(threads: int) -> None:
    """Bind this process to as many cores as it has threads, before XLA counts them."""
    cores = sorted(os.sched_getaffinity(0))
    if threads > len(cores):
        raise SystemExit(f"{threads} threads on {len(cores)} cores: no peer would run as many")
    os.sched_setaffinity(0, cores[:threads])
    torch.set_num_threads(threads)


def main() -> None:
    """Print one row for each shape and peer, and which peers are missing."""
    arguments = interleave.parser(__doc__, rounds=9).parse_args()
    interleave.keep_freed_memory()
    bound_to(arguments.threads)
    torch.manual_seed(0)
    packages = {name for names in NEEDED.values() for name in names}
    installed = {name for name in packages if importlib.util.find_spec(name)}
    conditions = interleave.about(arguments.threads)
    conditions["peers"] = {name: importlib.metadata.version(name) for name in sorted(installed)}
    print(", ".join(f"{name} {value}" for name, value in conditions.items()))
    for peer, names in NEEDED.items():
        if missing := set(names) - installed:
            print(f"NOT MEASURED: {peer}; not installed: {', '.join(sorted(missing))} (pip install -e '.[bench]')")
    head = ("shape (I/H/O/B/T)", "peer", "cell", "native", "workspace", "goal", "native ms", "workspace ms", "peer ms")
    table = interleave.Table(head, markdown=arguments.markdown)
    wanted, results = interleave.wanted(arguments.shapes), []
    for shape in SHAPES:
        if shape.R > 1 or (wanted and shape.name not in wanted):
            continue
        for peer, names in NEEDED.items():
            if set(names) <= installed and (peer == "jax" or shape.name in NN4N_SHAPES):
                results.append(compare(shape, peer, arguments.rounds))
                table.row(row(results[-1]))
    interleave.save(arguments.json, conditions, results)


if __name__ == "__main__":
    main()
