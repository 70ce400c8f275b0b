"""Describes what a run's exact results depend on besides its configuration."""

from __future__ import annotations

import numpy as np

from rnn import kernels
from rnn.cells.facts import LayerEngine, facts
from rnn.events import Environment
from rnn.networks.noise import noise_of
from unroll.contract import DType, Network

ENGINE = "workspace-4"
"""The workspace's version. Its number rises when its arithmetic changes, so that the same job gives other bits."""


def describe(
    device: str = "cpu",
    network: Network | None = None,
    dtype: DType = "float32",
    replicas: int = 1,
    *,
    omega: float = 0.0,
    tf32: bool = False,
) -> Environment:
    """Return engine, torch, threads, instruction_set and device, as this process would train `network` on `device`.

    The native kernel is named with its own instruction set, which can differ from torch's. On a GPU the engine is cuDNN
    or the workspace, as a CUDA graph (`rnn.bptt.cuda_graphs`), with the version of CUDA that torch was built for.

    The call loads torch; on a GPU it starts CUDA.
    """
    import torch

    kind = torch.device(device).type
    layers = _names(runs_on(network, dtype, kind, replicas, omega=omega))
    if kind == "cuda":
        layers += f", cuda graph{', tf32' if tf32 else ''}+cuda-{torch.version.cuda}"
    return {
        "device": torch.cuda.get_device_name(device) if kind == "cuda" else "cpu",
        "engine": f"{layers}+numpy-{np.__version__}",
        "torch": str(torch.__version__),  # torch's own class would make every process that unpickles it load torch
        "threads": torch.get_num_threads(),
        "instruction_set": torch.backends.cpu.get_cpu_capability(),
    }


def runs_on(network: Network | None, dtype: DType, device: str, replicas: int, *, omega: float = 0.0) -> LayerEngine:
    """Return the engine that would train `network` in this process: native, cudnn or the workspace; None: not known.

    With `omega`, that of `Regularisation`, gradients of states are needed, which only the workspace keeps.
    """
    from rnn.cells.make import chosen

    if network is None or omega:
        return "workspace"
    engine = chosen(network.cell, dtype, device, replicas, noisy=noise_of(network).recurrent > 0)
    if engine == "cudnn" and network.architecture == "encoder_decoder" and len(facts(network.cell).states) > 1:
        return "workspace"  # see `rnn.cells.make.make_layer`
    return engine


def _names(engine: LayerEngine) -> str:
    if engine == "native":
        return f"{kernels.VERSION}-{kernels.instruction_set()}"
    if engine == "cudnn":
        from torch.backends import cudnn

        return f"cudnn-{cudnn.version()}"  # type: ignore[no-untyped-call]
    return ENGINE
