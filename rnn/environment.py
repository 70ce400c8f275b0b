"""What a run's bits depend on besides its configuration."""

from __future__ import annotations

import numpy as np

from rnn.events import Environment

ENGINE = "workspace-2"
"""The BPTT engine; the number is raised when its arithmetic changes, that is when the same job gives other bits."""


def describe(device: str = "cpu") -> Environment:
    """engine, torch, threads, instruction_set and device of this process, as training on `device` would use them.

    Loads torch.
    """
    import torch

    cuda = torch.device(device).type == "cuda"
    return {
        "device": torch.cuda.get_device_name(device) if cuda else "cpu",
        "engine": f"{ENGINE}+numpy-{np.__version__}",
        "torch": str(torch.__version__),  # its own class would have whoever unpickles it load torch
        "threads": torch.get_num_threads(),
        "instruction_set": torch.backends.cpu.get_cpu_capability(),
    }
