"""Measures predictions against what people use today, side by side: `python bench/serving.py`.

One sequence a request, T = 100, one input, 100 hidden units, as JSON; a session's step has T = 1, and its peer gets the
same inputs without a state. The peers (bench/serving_peers.py) are a handler
of FastAPI around torch.nn, onnxruntime behind FastAPI, and LitServe. All servers run during the whole measurement, and
the load goes to one after the other, round after round, so that the machine's drift affects all alike. The figures are
medians of the rounds' ratios with the smallest and the largest, and each server's requests a second, p50, p99 and CPU
time a request. Servers and load share the machine's cores.

Then follow a body of 100 x 32 inputs as safetensors beside FastAPI's JSON, predictions while a job trains on the same
machine, and what a server takes by itself: CPU while nobody asks, memory with 1,000 networks, a cold network's first
answer (bench/serving_rows.py).

LitServe comes with `pip install -e '.[bench]'`; a peer that is not installed is named and left out.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from bench import serving_rows  # noqa: E402
from bench.serving_servers import Server, ours, peer, sessions  # noqa: E402

CPU_GOALS = {("safetensors body", "fastapi"): 15}
"""Of CPU a request, where that is compared: the peer's over ours."""
PEERS = ("fastapi", "onnx", "litserve")
GOALS = {
    ("vanilla", "fastapi"): {1: 8, 16: 10, 64: 10},
    ("vanilla", "litserve"): {16: 12, 64: 12},
    ("vanilla", "onnx"): {16: 6, 64: 6},
    ("vanilla without a compiler", "litserve"): {16: 4, 64: 4},
    ("while a job trains", "unroll alone"): {16: 0.5},
    ("session step", "fastapi"): {16: 4, 64: 4},
    ("session step over a WebSocket", "fastapi"): {16: 8, 64: 8},
    **{(cell, "fastapi"): {16: 8, 64: 8} for cell in ("lstm", "gru", "leaky")},
}


def measure(servers: dict[str, Server], clients: int, rounds: int, seconds: float) -> dict[str, list[dict[str, Any]]]:
    """Load one server after the other, round after round."""
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in servers}
    for _ in range(rounds):
        for name, server in servers.items():
            found[name].append(server.load(clients, seconds))
    return found


def row(title: str, clients: int, found: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Return the figures of one comparison; the first server is ours."""
    own, *peers = found
    made: dict[str, Any] = {"what": title, "clients": clients, "servers": {}, "ratios": {}}
    for name, rounds in found.items():
        names = ("per_second", "p50_ms", "p99_ms", "cpu_us")
        made["servers"][name] = {k: statistics.median(one[k] for one in rounds) for k in names}
    for name in peers:
        ratios = [a["per_second"] / b["per_second"] for a, b in zip(found[own], found[name], strict=True)]
        goal = GOALS.get((title, name), {}).get(clients)
        made["ratios"][name] = {
            "median": statistics.median(ratios),
            "least": min(ratios),
            "most": max(ratios),
            "goal": goal,
            "cpu": made["servers"][name]["cpu_us"] / made["servers"][own]["cpu_us"],
            "cpu_goal": CPU_GOALS.get((title, name)),
        }
    return made


def show(made: dict[str, Any]) -> None:
    """Print one comparison as rows of a table."""
    for name, server in made["servers"].items():
        ratio = made["ratios"].get(name)
        compared = "| | "
        if ratio is not None:
            spread = f"{ratio['median']:.3g} ({ratio['least']:.3g} to {ratio['most']:.3g})"
            compared = f"| {spread} | {ratio['goal'] or ''} "
            if ratio["cpu_goal"]:
                compared = f"| {spread}; {ratio['cpu']:.1f} a CPU second | {ratio['cpu_goal']} a CPU second "
        print(
            f"| {made['what']} | {made['clients']} | {name} | {server['per_second']:.0f} | {server['p50_ms']:.2f} "
            f"| {server['p99_ms']:.2f} | {server['cpu_us']:.0f} {compared}|",
            flush=True,
        )


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description="Predictions a second, beside what people use today.")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each server (default: 5)")
    parser.add_argument("--seconds", type=float, default=3.0, help="length of a turn (default: 3)")
    parser.add_argument("--only", default="", help="rows whose name contains this text")
    parser.add_argument("--json", type=Path, help="write the figures there")
    options = parser.parse_args()
    installed = [name for name in PEERS if name != "litserve" or importlib.util.find_spec("litserve")]
    if len(installed) < len(PEERS):
        print("LitServe is not installed (pip install -e '.[bench]'): its columns are missing")
    print("| what | clients | server | requests/s | p50 ms | p99 ms | CPU µs a request | ours over it | goal |")
    print("|---|---|---|---|---|---|---|---|---|")
    rows = []
    for title, cell, peers, counts in (
        ("vanilla", "vanilla", installed, (1, 16, 64)),
        ("vanilla without a compiler", "vanilla", [n for n in installed if n == "litserve"], (1, 16, 64)),
        ("lstm", "lstm", ["fastapi"], (16, 64)),
        ("gru", "gru", ["fastapi"], (16, 64)),
        ("leaky", "leaky", ["fastapi"], (16, 64)),
        ("session step", "vanilla", ["fastapi"], (1, 16, 64)),
        ("session step over a WebSocket", "vanilla", ["fastapi"], (1, 16, 64)),
    ):
        if options.only not in title:
            continue
        with ExitStack() as stack:
            mine = stack.enter_context(ours("unroll", [cell], kernel="compiler" not in title))
            own, length = mine[cell], 100
            if "session" in title:
                own, length = sessions(own, own.key, cell, socket="WebSocket" in title), 1
            servers = {"unroll": own} | {name: stack.enter_context(peer(name, cell, length)) for name in peers}
            for clients in counts:
                rows.append(row(title, clients, measure(servers, clients, options.rounds, options.seconds)))
                show(rows[-1])
    with ExitStack() as stack:
        if options.only in "safetensors body":
            servers = serving_rows.tensors(stack)
            rows.append(row("safetensors body", 16, measure(servers, 16, options.rounds, options.seconds)))
            show(rows[-1])
        if options.only in "while a job trains":
            found = serving_rows.while_training(stack, 16, options.rounds, options.seconds)
            rows.append(row("while a job trains", 16, found))
            show(rows[-1])
    for title, measured in serving_rows.ALONE.items():
        if options.only in title:
            figures = measured()
            rows.append({"what": title, "figures": figures})
            print(f"{title}: " + ", ".join(f"{name} {value:.4g}" for name, value in figures.items()), flush=True)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
