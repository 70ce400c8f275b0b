"""Makes results on a GPU repeatable and keeps float32 at full precision."""

from __future__ import annotations

import os

import torch

CUBLAS_WORKSPACES = ":4096:8"
"""Memory of eight times 4 MiB for each stream. With a fixed size, cuBLAS and cuDNN's recurrent networks choose
algorithms whose results repeat."""


def prepare(*, tf32: bool = False) -> None:
    """Make this process's results on a GPU repeatable.

    Call it before the process's first work there; calling it again does no harm. From then on, operations without a
    deterministic algorithm raise an error instead of adding with atomics in any order. `tf32` lets float32 matrix
    products round their factors to 10 bits (TensorFloat-32), which PyTorch does by default in cuDNN.

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
