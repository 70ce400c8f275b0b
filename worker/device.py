"""Opens the device of a trainer before a job comes, so that the job does not wait for it."""

from __future__ import annotations

import gc
from typing import Literal

NO_CUDA = (
    "UNROLL_DEVICE=cuda, but torch sees no CUDA device; without this variable the worker trains on the CPU, and "
    "`unroll-server doctor` tells which torch is installed"
)


class NoDevice(Exception):
    """This machine does not have the device."""


def open_device(device: Literal["cpu", "cuda"], *, tf32: bool, warm_bytes: int) -> None:
    """Load the device's libraries and train tiny networks on it, which takes seconds on a GPU.

    Tensors and libraries' workspaces take at most `warm_bytes` of the GPU's memory; CUDA's own context, some hundred
    megabytes, comes on top. With 0 the GPU is only looked for. The forkserver has warmed up the CPU already.

    Raises NoDevice, and RuntimeError if the device is there but does not work.
    """
    if device == "cpu":
        return
    import torch

    from rnn.bptt import cuda
    from rnn.training.run import warm_up

    if not torch.cuda.is_available():
        raise NoDevice(NO_CUDA)
    if not warm_bytes:
        return
    cuda.prepare(tf32=tf32)
    torch.cuda.set_per_process_memory_fraction(min(1.0, warm_bytes / torch.cuda.get_device_properties(0).total_memory))
    try:
        warm_up("cuda", tf32=tf32)
    except torch.OutOfMemoryError as error:  # what fitted is warm
        print(f"warmed up only in part, within {warm_bytes} bytes: {error}", flush=True)  # noqa: T201 - the child's log
    finally:
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.set_per_process_memory_fraction(1.0)
