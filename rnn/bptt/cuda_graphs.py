"""CUDA graphs: a pass over memory that never moves is recorded once and then replayed by a single launch.

A pass of the workspace engine consists of thousands of small operations, and the host takes longer to launch each one
than the GPU takes to run it. All of them use buffers that are allocated once, and no number in the buffers decides
which operations run, so the launches can be recorded. A replay runs the same kernels on the same memory and so gives
the same bits.

Host code between the launches is not recorded: values that a pass reads in Python (a flag, a number) stay as they were
during the recording.
"""

from __future__ import annotations

import contextlib
import gc
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch

Call = Callable[[], None]
Record = Callable[[Sequence[Call]], list[Call]]
"""A function that makes replays of calls which always run in this order, or raises CaptureError."""

WARM_UPS = 3
"""Passes that run before the recording, because libraries load kernels, choose algorithms and allocate workspaces
in their first passes."""


class CaptureError(Exception):
    """The pass cannot be recorded; the message says why. It can still run without a graph."""


class ForwardBackward(Protocol):
    """The methods that `rnn.bptt.whole.BPTT` and `rnn.bptt.truncated.TruncatedBPTT` share."""

    def forward(self) -> None:
        """Set the losses."""

    def backward(self) -> None:
        """Set the gradients."""


class Passes:
    """`forward` and `backward` of an engine: replays of a graph if the device supports it, otherwise plain calls.

    With `trains=False` only `forward` may be called. Recording runs the passes on the present content of the engine's
    memory.
    """

    def __init__(
        self, engine: ForwardBackward, device: torch.device, *, trains: bool = True, record: Record | None = None
    ) -> None:
        """`record` replaces CUDA's recorder, for tests. Without it, passes are recorded only on CUDA devices."""
        calls: list[Call] = [engine.forward, engine.backward] if trains else [engine.forward]
        self.failure: str | None = None
        """Why passes run without a graph although they should have one."""
        if record is None and device.type == "cuda":
            record = CUDARecorder(device)
        self.replayed = record is not None
        if record is not None:
            try:
                calls = record(calls)
            except CaptureError as error:
                self.failure, self.replayed = str(error), False
                warnings.warn(f"no CUDA graph, so steps take longer: {error}", RuntimeWarning, stacklevel=2)
        self.forward = calls[0]
        if trains:
            self.backward = calls[1]


class CUDARecorder:
    """Records on its own stream. The graphs share a memory pool, so they must be replayed in the order of recording."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def __call__(self, calls: Sequence[Call]) -> list[Call]:
        """Warm up, record each call, and return the replays. Raises CaptureError, and whatever the warm-up raises."""
        with torch.cuda.device(self._device):
            stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                for _ in range(WARM_UPS):
                    for call in calls:
                        call()
            torch.cuda.synchronize()
            # What a collection would free while recording, graphs of an earlier run say, goes now; so does the memory
            # that the warm-up left to this stream.
            gc.collect()
            torch.cuda.empty_cache()
            pool = torch.cuda.graph_pool_handle()
            with torch.cuda.stream(stream):
                graphs = [_record(call, pool) for call in calls]
            # An error that outlasts the recording must not be taken for its refusal alone.
            torch.cuda.synchronize()
        return [Replay(graph, call) for graph, call in zip(graphs, calls, strict=True)]


class Replay:
    """A recorded call. It keeps alive what the call works on, because a graph knows only addresses."""

    def __init__(self, graph: torch.cuda.CUDAGraph, call: Callable[[], object]) -> None:
        self._graph, self._call = graph, call

    def __call__(self) -> None:
        """Run what was recorded, on the same memory."""
        self._graph.replay()


def _record(call: Call, pool: Any) -> torch.cuda.CUDAGraph:
    """Record the graph of one call on the current stream, which must not be the default one."""
    graph = torch.cuda.CUDAGraph()
    try:
        # thread_local: autograd runs the backward pass of a cuDNN layer in a thread of its own, where cuDNN may ask the
        # driver for things that are forbidden to the recording thread.
        graph.capture_begin(pool=pool, capture_error_mode="thread_local")
        try:
            call()
        except BaseException:
            # The stream must leave the capture, however broken it is; the first error is the one that tells.
            with contextlib.suppress(RuntimeError):
                graph.capture_end()
            raise
        graph.capture_end()
    except RuntimeError as error:
        torch.cuda.synchronize()
        raise CaptureError(str(error).partition("\n")[0]) from error
    return graph
