"""Live streams: steps that are sent as they come, while the server keeps the hidden state."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unroll._transport import Transport
from unroll._wire import decode
from unroll.contract import Replica, Session, StepResponse
from unroll.errors import ConflictError
from unroll.resources.paging import path

Floats = NDArray[np.float64]


class LiveStream:
    """One session on the server. `with` or `close()` ends it; a stream that is left alone ends after its `ttl`.

        with client.stream("integrator") as stream:
            for x in measurements:
                y = stream.push(x)

    Steps keep their order, and none is done twice. If the server crashes, the steps that were not yet durable are sent
    again, which gives the same answers.
    """

    def __init__(self, transport: Transport, session: Session) -> None:
        self._transport = transport
        self._session = session
        self._step = session.step
        self._undurable: list[tuple[int, list[Any]]] = []

    @property
    def id(self) -> str:
        """The session's id, with which `client.resume_stream` goes on, also in another process."""
        return self._session.id

    @property
    def step(self) -> int:
        """Number of steps done."""
        return self._step

    def __repr__(self) -> str:
        what = self._session.model or self._session.checkpoint
        return f"<stream {self.id} of {what} after {self._step:,} steps>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the session and delete its state."""
        self._transport.request("DELETE", path("sessions", self.id))

    def push(self, x: ArrayLike) -> Floats:
        """Do the next step or steps, and return the outputs in the same form.

        Of one sequence: x is one step [I], or several [T, I]; outputs are [O] or [T, O]. Of N sequences: [N, I], or
        [N, T, I]; outputs are [N, O] or [N, T, O]. With replica "all" an axis R comes before T, or before O.

        Raises ValueError for other shapes and for numbers that are not finite.
        """
        inputs, single = self._inputs(x)
        body = {"inputs": inputs.tolist()}
        answer = self._send(self._step, body["inputs"])
        outputs = np.asarray(answer.outputs, np.float64)
        self._undurable.append((self._step, body["inputs"]))
        self._step = answer.step
        self._undurable = [one for one in self._undurable if one[0] >= answer.durable_step]
        if single:
            outputs = outputs[..., 0, :]
        return outputs[0] if self._session.sequences == 1 else outputs

    def _inputs(self, x: ArrayLike) -> tuple[Floats, bool]:
        array = np.asarray(x, np.float64)
        count = self._session.sequences
        if not np.isfinite(array).all():
            raise ValueError("the numbers of a step must be finite")
        if count == 1:
            array = array.reshape(1) if array.ndim == 0 else array
            array = array[None]
        if array.ndim not in (2, 3) or len(array) != count:
            wanted = "[I] or [T, I]" if count == 1 else f"[{count}, I] or [{count}, T, I]"
            raise ValueError(f"the steps of {count} sequences are {wanted}, not {list(np.shape(x))}")
        return (array[:, None], True) if array.ndim == 2 else (array, False)

    def _send(self, step: int, inputs: list[Any]) -> StepResponse:
        """Do these steps, after those that a crash of the server undid."""
        try:
            return self._do(step, inputs)
        except ConflictError as error:
            if error.code != "step_out_of_order":
                raise
            done = decode(Session, self._transport.request("GET", path("sessions", self.id)).content).step
            again = [one for one in self._undurable if one[0] >= done]
            if done > step or (again[0][0] if again else step) != done:
                raise
            for before, undone in again:
                self._do(before, undone)
            return self._do(step, inputs)

    def _do(self, step: int, inputs: list[Any]) -> StepResponse:
        response = self._transport.request(
            "POST",
            path("sessions", self.id, "step"),
            body={"inputs": inputs},
            headers={"If-Match": f'"{step}"'},
            repeatable=True,
        )
        return decode(StepResponse, response.content)


def open_stream(
    transport: Transport, model: str | None, checkpoint: str | None, replica: Replica, sequences: int, ttl: float
) -> LiveStream:
    """Create a session."""
    body: dict[str, object] = {"replica": replica, "sequences": sequences, "ttl": ttl}
    body |= {"model": model} if checkpoint is None else {"checkpoint": checkpoint}
    return LiveStream(transport, decode(Session, transport.request("POST", path("sessions"), body=body).content))


def resume_stream(transport: Transport, session_id: str) -> LiveStream:
    """Go on with a session."""
    return LiveStream(transport, decode(Session, transport.request("GET", path("sessions", session_id)).content))
