"""The native CPU kernel: whole sequences of a layer, forward and backward, in C++ behind a plain C interface.

    src/kernel.h     the sizes and addresses that the kernel works on
    src/sequence.h   a thread's sequences: sizes, scratch, addresses; the passes over time are in forward.h, backward.h
                     and gradients.h, and cells.h, gemm.h and vector.h are what they are made of
    src/variant.cpp  compiled once for each instruction set; abi.cpp chooses among them at run time; threads.cpp
    src/updates.cpp    what a training step does besides: squared errors, gradient norms, optimisers' updates
    src/normals.cpp  standard normals and running sums for tasks and noise; bits as in rnn/randomness/normals.py
    build.py         compiles it; without a C++ compiler the package works all the same, on the workspace engine
    abi.py           loads it        updates.py  src/updates.cpp for Python

The `Layer` that runs on it is rnn/cells/native.py; which cells it has, rnn/cells/facts.py says.

Replicas and sequences are dealt to threads once, and each thread runs its own through all time steps: there is no
barrier inside a pass. Who gets what depends only on sizes and the number of threads, so results do not depend on how
busy the machine is.
"""

from __future__ import annotations

from rnn.kernels.abi import VERSION, library, missing
from unroll.contract import Cell

__all__ = ["VERSION", "available", "instruction_set", "missing", "runs"]


def available() -> bool:
    """Whether the kernel was built and can be loaded here."""
    return library() is not None


def instruction_set() -> str:
    """What the kernel uses on this processor: avx512, avx2 or portable."""
    kernel = library()
    if kernel is None:
        raise OSError(missing())
    return str(kernel.unroll_instruction_set().decode())


def runs(cell: Cell) -> bool:
    """Whether the kernel has this cell: all but the feed-forward net."""
    return cell.type != "feedforward"
