"""The course's hands-on, through HTTP: eight small RNNs learn to integrate white noise, and are tested.

`make demo` runs it. It starts a service of its own (SQLite, no servers to install) in .unroll-demo/, trains

    h[t] = tanh(W_xh x[t] + b_x + W_hh h[t-1] + b_h),   y[t] = W_hy h[t] + b_y      (1 input, 10 units, 1 output)

on x[t] ~ N(0, 1), target x[1] + ... + x[t], T = 20, and posts sequences that nobody trained on. Predicting zero costs
E[(x[1] + ... + x[t])^2] = t, on average over t exactly (T + 1) / 2 = 10.5; a network is as good as it is far below.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import unroll
from api import next_steps
from unroll.cli.streams import legible

Floats = NDArray[np.float64]

ROOT = Path(__file__).resolve().parents[1]
T = 20
MODEL = {
    "cell": {"type": "vanilla", "hidden_size": 10, "activation": "tanh"},
    "input_size": 1,
    "output_size": 1,
    "architecture": "many_to_many",
}
TEST_SEED = 20_000_001
"""Of numpy's generator here; the server's streams for training are other ones."""
START_SECONDS = 120.0
STOP_SECONDS = 60.0


class DemoFailed(Exception):
    """Something went wrong that the reader should see in one sentence."""


def main() -> int:
    """Run the demo; the exit code."""
    parser = argparse.ArgumentParser(description="Train RNNs to integrate noise through a service of our own.")
    parser.add_argument("--steps", type=int, default=2000, help="optimiser steps (default: 2000)")
    parser.add_argument("--replicas", type=int, default=8, help="independently seeded networks (default: 8)")
    parser.add_argument("--sequences", type=int, default=200, help="test sequences (default: 200)")
    parser.add_argument("--data-dir", type=Path, default=ROOT / ".unroll-demo", help="where the service keeps its data")
    parser.add_argument("--picture", type=Path, help="where to put a copy of the picture")
    options = parser.parse_args()

    legible()  # the plot has characters that not every terminal has
    signal.signal(signal.SIGTERM, _interrupt)  # as Ctrl-C: the service is stopped before we go
    folder = options.data_dir.resolve()
    try:
        with service(folder) as client:
            picture = demonstrate(client, folder, options.steps, options.replicas, options.sequences)
        if options.picture is not None:
            options.picture.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(picture, options.picture)
    except KeyboardInterrupt:
        print("\nInterrupted; the service was stopped.", file=sys.stderr)
        return 130
    except (DemoFailed, unroll.UnrollError, OSError) as error:
        print(f"\nerror: the demo failed: {error}", file=sys.stderr)
        _show_end_of(folder / "server.log")
        return 1
    return 0


def demonstrate(client: unroll.Client, folder: Path, steps: int, replicas: int, sequences: int) -> Path:
    """Train, test, show. Returns the picture's path."""
    for left_over in client.jobs.list(status=["queued", "running", "paused"]):  # of a demo that was killed
        client.jobs.cancel(left_over.id)
    client.models.register("integrator", MODEL)
    job = client.train(
        name="integrate-noise",
        model="integrator",
        data={"type": "task", "name": "integrate_noise", "parameters": {"length": T}},
        training={
            "steps": steps,
            "batch_size": 64,
            "loss": {"type": "mse"},
            "clip": None,
            "optimizer": {"type": "adam", "lr": 0.01},
        },
        seed=0,
        replicas=replicas,
    )
    try:
        ended = job.wait(progress=True)
    except KeyboardInterrupt:
        job.cancel()  # else the next demo would first have to finish this one
        raise
    print(f"Trained {replicas} networks of {ended.summary.parameters} parameters for {ended.progress.step} steps.")

    x, target = draw(sequences, T)
    everybody = client.models.predict("integrator", x, replica="all")
    outputs = np.asarray(everybody.outputs)  # [sequence, replica, t, output]
    best = job.best().replica
    mse = np.mean((outputs - target[:, None]) ** 2, axis=(0, 2, 3))
    baseline = ended.summary.baseline_loss
    report(mse, best, baseline, sequences)
    x_long, target_long = draw(sequences, 2 * T)
    longer = np.asarray(client.models.predict("integrator", x_long, replica=best).outputs)
    baseline_long = (2 * T + 1) / 2
    mse_long = float(np.mean((longer - target_long) ** 2))
    print(
        f"\nTwice as long as in training, T = {2 * T}: replica {best} has MSE {mse_long:.4g}, predicting zero "
        f"{baseline_long:g}, skill {1 - mse_long / baseline_long:.4f}."
    )

    # a typical sequence: the one in the middle when they are sorted by the best network's error
    shown = int(np.argsort(np.mean((outputs[:, best] - target) ** 2, axis=(1, 2)))[sequences // 2])
    plot_in_terminal(target[shown, :, 0], outputs[shown, best, :, 0], best)
    curves = job.metrics("loss")
    picture = folder / "integrate_noise.png"
    plot_picture(picture, x[shown, :, 0], target[shown, :, 0], outputs[shown, :, :, 0], best, curves, baseline)
    tell_where(folder, picture, job.id)
    return picture


def draw(sequences: int, length: int) -> tuple[Floats, Floats]:
    """White noise and its running sum, both [sequences, length, 1], that no job has seen."""
    x = np.random.default_rng([TEST_SEED, length]).standard_normal((sequences, length, 1))
    return x, np.cumsum(x, axis=1)


def report(mse: Floats, best: int, baseline: float, sequences: int) -> None:
    """The figures, beside what predicting zero costs."""
    print(f"\nTest MSE on {sequences} sequences that nobody trained on (T = {T}); skill = 1 - MSE / baseline")
    print(f"  {'predict zero':<14}{baseline:>10.4g}    exact: (T + 1) / 2")
    for replica, value in enumerate(mse):
        chosen = "  best on held-out data" if replica == best else ""
        print(f"  {f'replica {replica}':<14}{value:>10.4g}    skill {1 - value / baseline:.4f}{chosen}")


def plot_in_terminal(target: Floats, prediction: Floats, replica: int) -> None:
    """Target and prediction of one sequence as characters."""
    import plotext

    t = list(range(1, len(target) + 1))
    figure = plotext.figure
    figure.clear()
    figure.plot_size(80, 18)
    figure.draw(figure.signal(t, target.tolist(), marker="braille").lines())
    figure.draw(figure.signal(t, prediction.tolist(), marker="o"))
    figure.ruler("x").ticks([1, *range(5, len(t) + 1, 5)])
    figure.label("time step t")
    print(
        f"\nA typical one (median error): the running sum of its input (line), and what replica {replica} predicts (o)"
    )
    print(figure.build().string(colorless=not sys.stdout.isatty()))  # its own printing knows no encoding but UTF-8


def plot_picture(
    path: Path, x: Floats, target: Floats, outputs: Floats, best: int, curves: unroll.Curves, baseline: float
) -> None:
    """Input, target, predictions [replica, t] and learning curves as a PNG."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    ink, accent, pale = "#222222", "#d1495b", "#3d7ea6"
    t = np.arange(1, len(x) + 1)
    with plt.rc_context({"font.size": 10, "axes.spines.top": False, "axes.spines.right": False}):
        figure, axes = plt.subplot_mosaic(
            [["input", "loss"], ["output", "loss"]],
            figsize=(11.5, 5.2),
            height_ratios=[1, 2.2],
            width_ratios=[1.25, 1],
            layout="constrained",
        )
        axes["input"].bar(t, x, width=0.35, color=pale)
        axes["input"].axhline(0, color=ink, linewidth=0.6)
        axes["input"].set(ylabel="input x[t]", title="A typical test sequence (median error)")
        axes["input"].sharex(axes["output"])
        axes["input"].tick_params(labelbottom=False)

        output = axes["output"]
        spread = f"all {len(outputs)} replicas (min to max)"
        output.fill_between(t, outputs.min(0), outputs.max(0), color=accent, alpha=0.22, linewidth=0, label=spread)
        output.plot(t, target, color=ink, linewidth=1.6, label="target: running sum of x")
        output.plot(t, outputs[best], "o", color=accent, markersize=4.5, label=f"prediction of replica {best}")
        output.axhline(0, color="#999999", linewidth=0.8, linestyle=":", label="predict zero")
        output.set(xlabel="time step t", ylabel="output y[t]")
        output.set_xticks([1, *range(5, len(t) + 1, 5)])
        output.legend(frameon=False, fontsize=9)

        loss = axes["loss"]
        # the loss of one batch jumps by a factor of ten: eight such curves hide each other
        window = max(1, len(curves.steps) // 80)
        for replica, curve in enumerate(curves["loss"].T):
            loss.plot(
                np.convolve(curves.steps, np.ones(window) / window, "valid"),
                np.exp(np.convolve(np.log(curve), np.ones(window) / window, "valid")),
                color=accent if replica == best else pale,
                linewidth=1.6 if replica == best else 0.9,
                alpha=1.0 if replica == best else 0.7,
                zorder=3 if replica == best else 2,
                label={best: f"replica {best} (best)", (best + 1) % len(outputs): "other replicas"}.get(replica),
            )
        loss.axhline(baseline, color=ink, linewidth=0.9, linestyle="--", label=f"predict zero: {baseline:g}")
        loss.set(
            yscale="log",
            xlabel="step",
            ylabel="training loss (MSE)",
            title=f"Learning curves (geometric mean of {window} steps)",
        )
        loss.legend(frameon=False, fontsize=9)
        figure.savefig(path, dpi=150)
        plt.close(figure)


def tell_where(folder: Path, picture: Path, job: str) -> None:
    """Where everything is, and how to come back to it."""
    address = "http://127.0.0.1:8000"
    quoted = shlex.quote(str(folder))
    curl = f'curl -H "Authorization: Bearer $(cat {shlex.quote(str(folder / "key"))})"'
    print(
        f"""
Picture       {picture}
Data, log     {folder}

The service of this demo is stopped now. To start it again with these results:
              UNROLL_DATA_DIR={quoted} make up
and then, beside it (if port 8000 is taken, `make up` names another one):
In a browser  {address} and {address}/docs
In a shell    what is below /v1 needs the key, which curl is given here:
Loss curve    {curl} "{address}/v1/jobs/{job}/metrics?format=csv"
Checkpoints   {curl} {address}/v1/jobs/{job}/checkpoints
The job       UNROLL_DATA_DIR={quoted} unroll watch {job}

A service to keep, with data of its own:
              make up
{next_steps.text()}"""
    )


@contextlib.contextmanager
def service(folder: Path) -> Iterator[unroll.Client]:
    """A service on a free port with its data in `folder`; stopped, whatever happens, when the block ends.

    Raises DemoFailed where it does not start.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    (folder / "url").unlink(missing_ok=True)
    command = Path(sys.executable).with_name("unroll-server")
    if not command.exists():
        raise DemoFailed(f"{command} is missing: install the project into this environment, or use `make demo`")
    # the demo's service is its own: nothing of a service that this shell is configured for
    env = {name: value for name, value in os.environ.items() if not name.startswith("UNROLL_")}
    env |= {"UNROLL_DATA_DIR": str(folder), "UNROLL_PORT": "0"}
    kernel = next_steps.KernelNote()
    print("Starting a service of our own ...", end=" ", flush=True)
    with (folder / "server.log").open("ab") as log:
        server = subprocess.Popen(  # noqa: S603 - our own command
            [command, "up", "--with-parent"],
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            process_group=0,  # Ctrl-C reaches the demo alone, which then stops the service in order
        )
    try:
        url = _wait_for_address(server, folder / "url")
        print(f"{url} (for a browser, until this demo ends; documentation: {url}/docs)\n", flush=True)
        if note := kernel():
            print(f"{note}\n", file=sys.stderr, flush=True)
        with unroll.Client(url, (folder / "key").read_text(encoding="utf-8").strip()) as client:
            yield client
    finally:
        kernel.close()
        server.terminate()
        try:
            server.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            server.kill()  # its own processes follow it
            server.wait()
    if server.returncode != 0:
        raise DemoFailed(f"the service ended with exit code {server.returncode}")


def _wait_for_address(server: subprocess.Popen[bytes], path: Path) -> str:
    """`unroll-server up` writes its address when it is ready."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise DemoFailed(f"the service did not start (exit code {server.returncode})")
        if path.is_file() and (url := path.read_text(encoding="utf-8").strip()):
            return url
        time.sleep(0.05)
    raise DemoFailed(f"the service was not ready within {START_SECONDS:g} s")


def _show_end_of(log: Path, lines: int = 25) -> None:
    with contextlib.suppress(OSError):
        print(f"\nThe end of {log}:", file=sys.stderr)
        print("\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]), file=sys.stderr)


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
