"""How a process uses a GPU: the same bits twice, and float32 that is float32."""

from __future__ import annotations

import os

import torch

CUBLAS_WORKSPACES = ":4096:8"
"""Eight of 4 MiB a stream. Of one fixed size, cuBLAS and cuDNN's recurrent networks choose algorithms that repeat."""


def prepare(*, tf32: bool = False) -> None:
    """Make this process's results on a GPU repeatable. Before its first work there; more often does no harm.

    Operations without a deterministic algorithm raise from here on, instead of adding with atomics in whatever order.
    `tf32` lets matrix products of float32 round their factors to 10 bits (TensorFloat-32), which PyTorch would do in
    cuDNN by default.

    Source: PyTorch's notes on reproducibility and on CUDA semantics; cuBLAS, "Results reproducibility".
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", CUBLAS_WORKSPACES)
    torch.use_deterministic_algorithms(mode=True)
    # Deterministic mode would also fill new memory with NaN, one more kernel each; nothing here reads what it has not
    # written.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = tf32
    torch.backends.cuda.matmul.allow_tf32 = tf32
