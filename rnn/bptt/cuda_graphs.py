"""CUDA graphs: a pass over memory that never moves, recorded once and replayed by a single launch.

A pass of the workspace engine is thousands of small operations, each of which the host takes longer to launch than the
GPU to run. All of them read and write buffers that are made once, and which ones run does not depend on any number in
them: so the launches can be recorded. A replay runs the same kernels on the same memory, that is, gives the same bits.

Host code between the launches is not recorded: what a pass reads in Python (a flag, a number) stays as it was then.
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
"""Makes replays of calls that always run in this order, or raises CaptureError."""

WARM_UPS = 3
"""Passes before recording: libraries load kernels, choose algorithms and take workspaces in their first ones."""


class CaptureError(Exception):
    """A pass cannot be recorded; the message says why. It can still be run."""


class ForwardBackward(Protocol):
    """What `rnn.bptt.whole.BPTT` and `rnn.bptt.truncated.TruncatedBPTT` have in common."""

    def forward(self) -> None:
        """Set the losses."""

    def backward(self) -> None:
        """Set the gradients."""


class Passes:
    """`forward` and `backward` of an engine: replays where the device can, the engine's own calls elsewhere.

    With `trains=False` only `forward` may be called. Recording runs the passes on whatever the engine's memory holds.
    """

    def __init__(
        self, engine: ForwardBackward, device: torch.device, *, trains: bool = True, record: Record | None = None
    ) -> None:
        """`record` stands in for CUDA's recorder; without one, passes are recorded on CUDA devices only."""
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
    """Records on a stream of its own. The graphs share a memory pool: they are replayed in the order of recording."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def __call__(self, calls: Sequence[Call]) -> list[Call]:
        """Warm up, record each call, and give their replays. Raises CaptureError, and what the warm-up raises."""
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
        return [graph.replay for graph in graphs]


def _record(call: Call, pool: Any) -> torch.cuda.CUDAGraph:
    """One call's graph, on the current stream, which must not be the default one."""
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
