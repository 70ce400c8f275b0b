"""The native CPU kernel: it runs whole sequences of a layer, forward and backward, in C++ behind a plain C interface.

    src/kernel.h     the sizes and addresses that the kernel works on
    src/sequence.h   the sequences of one thread: sizes, scratch memory, addresses; forward.h, backward.h and
                     gradients.h pass over time, built from cells.h, gemm.h and vector.h
    src/variant.cpp  compiled once for each instruction set; abi.cpp selects one at run time; threads.cpp
    src/updates.cpp  the rest of a training step: squared errors, gradient norms, optimisers' updates
    src/normals.cpp  standard normals and running sums for tasks and noise; bits as in rnn/randomness/normals.py
    build.py         compiles the kernel; without a C++ compiler the package still works, on the workspace engine
    abi.py           loads the kernel        updates.py  calls src/updates.cpp from Python

The `Layer` that runs on the kernel is rnn/cells/native.py; rnn/cells/facts.py says which cells the kernel has.

Replicas and sequences are assigned to threads once, and each thread runs its own through all time steps, so no thread
waits for another inside a pass. The assignment depends only on sizes and the number of threads, so results do not
depend on how busy the machine is.
"""

from __future__ import annotations

import shlex
import sys

from rnn.kernels.abi import LIBRARY, VERSION, library, missing

__all__ = ["VERSION", "available", "describe", "instruction_set", "missing"]


def available() -> bool:
    """Return whether the kernel was built and can be loaded here."""
    return library() is not None


def instruction_set() -> str:
    """Return the instruction set that the kernel uses on this processor: avx512, avx2 or portable."""
    kernel = library()
    if kernel is None:
        raise OSError(missing())
    return str(kernel.unroll_instruction_set().decode())


def describe() -> str:
    """Return `native, ` and the instruction set, or why there is no kernel, what that costs, and how to get it.

    docs/performance.md has the measurements of both engines.
    """
    if available():
        return f"native, {instruction_set()}"
    build = shlex.join([sys.executable, str(LIBRARY.with_name("build.py"))])
    return (
        f"{missing()}. Training on a CPU works without it, but takes roughly 2 to 4 times as long, and small networks "
        "up to 10 times. To get it, install a C++ compiler (Debian, Ubuntu: apt-get install g++; macOS: xcode-select "
        f"--install) and run: {build}"
    )
