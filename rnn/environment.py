"""What a run's bits depend on besides its configuration."""

from __future__ import annotations

import numpy as np

from rnn import kernels
from rnn.events import Environment
from unroll.contract import DType, Network

ENGINE = "workspace-2"
"""The BPTT engine; the number is raised when its arithmetic changes, that is when the same job gives other bits."""


def describe(device: str = "cpu", network: Network | None = None, dtype: DType = "float32") -> Environment:
    """engine, torch, threads, instruction_set and device, as this process would train `network` on `device`.

    The native kernel is named with its own instruction set, which need not be that of torch.

    Loads torch.
    """
    import torch

    native = network is not None and kernels.chosen(network.cell, dtype, torch.device(device).type)
    layers = f"{kernels.VERSION}-{kernels.instruction_set()}" if native else ENGINE
    cuda = torch.device(device).type == "cuda"
    return {
        "device": torch.cuda.get_device_name(device) if cuda else "cpu",
        "engine": f"{layers}+numpy-{np.__version__}",
        "torch": str(torch.__version__),  # its own class would have whoever unpickles it load torch
        "threads": torch.get_num_threads(),
        "instruction_set": torch.backends.cpu.get_cpu_capability(),
    }
