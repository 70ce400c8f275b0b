"""Registered models and built-in tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from numpy.typing import ArrayLike

from unroll._transport import Transport
from unroll._wire import decode, encode
from unroll.contract import Candidate, Model, Network, Pin, Reduction, Replica, Returnable, SampleResponse, Task
from unroll.predictions import Prediction, StateLike, ask
from unroll.resources.paging import Listing, path
from unroll.samples import Sample, sample


class Models:
    """Network configurations under a name, and predictions with what they serve."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def register(self, name: str, config: Network | Mapping[str, Any]) -> Model:
        """Register a configuration under a name.

        Registering the same configuration again is no error. Raises ConflictError for another one.
        """
        body = {"name": name, "config": config}
        return decode(Model, self._transport.request("POST", path("models"), body=body, repeatable=True).content)

    def list(self, *, limit: int | None = None) -> Listing[Model]:
        """Return all models; `limit` is the size of one page."""
        return Listing(self._transport, path("models"), Model, {"limit": limit})

    def get(self, name: str) -> Model:
        """Return one model."""
        return decode(Model, self._transport.request("GET", path("models", name)).content)

    def delete(self, name: str) -> None:
        """Delete a model. Raises ConflictError while jobs that have not ended use it."""
        self._transport.request("DELETE", path("models", name))

    def serve(
        self,
        name: str,
        checkpoint: str,
        replica: int | Literal["best"] = "best",
        *,
        candidate: Candidate | Mapping[str, Any] | None = None,
        shadow: Pin | Mapping[str, Any] | None = None,
    ) -> Model:
        """Set the checkpoint and replica that `predict` uses.

        `candidate`, {"checkpoint", "replica", "share"}, answers a share of the requests instead. `shadow`,
        {"checkpoint", "replica"}, runs the same requests and is compared in the server's metrics.
        """
        body: dict[str, object] = {"checkpoint": checkpoint, "replica": replica}
        body |= {key: value for key, value in (("candidate", candidate), ("shadow", shadow)) if value is not None}
        return decode(Model, self._transport.request("PUT", path("models", name, "serving"), body=body).content)

    def undo_serving(self, name: str) -> Model:
        """Serve what was served before the last change; a second time, that change again."""
        return decode(Model, self._transport.request("POST", path("models", name, "serving", "undo")).content)

    def unpin(self, name: str) -> Model:
        """Serve the best checkpoint of the train job that finished last."""
        return decode(Model, self._transport.request("DELETE", path("models", name, "serving")).content)

    def set_alias(self, name: str, alias: str, checkpoint: str, replica: int | Literal["best"] = "best") -> Model:
        """Give a checkpoint a name: `predict("NAME@ALIAS", ...)` uses it."""
        body = {"checkpoint": checkpoint, "replica": replica}
        return decode(Model, self._transport.request("PUT", path("models", name, "aliases", alias), body=body).content)

    def delete_alias(self, name: str, alias: str) -> None:
        """Take a checkpoint's name away."""
        self._transport.request("DELETE", path("models", name, "aliases", alias))

    def predict(
        self,
        name: str,
        inputs: ArrayLike | Sequence[ArrayLike],
        *,
        state: StateLike | None = None,
        returns: Sequence[Returnable] = ("outputs",),
        replica: Replica = "best",
        steps: int | None = None,
        reduce: Reduction | None = None,
        binary: bool | None = None,
    ) -> Prediction:
        """Run sequences through the network that the model serves.

        `inputs` is a list of arrays [T_i, I] or one array [B, T, I]. `state` is an earlier prediction's state from
        which to continue. `returns` may contain "outputs", "state" and "hidden". `steps` is the number of outputs that
        a one_to_many or encoder_decoder network writes.

        With replica "all", `reduce` "mean" or "quantiles" gives what all replicas say together: outputs are their mean
        or median, and `interval` says how far they differ. `binary` sends tensors instead of JSON, which has the same
        results and is faster for many numbers; None: where there are many. Raises ConflictError if nothing is trained
        yet.
        """
        where = path("models", name, "predict")
        return ask(
            self._transport,
            where,
            inputs,
            state=state,
            returns=returns,
            replica=replica,
            steps=steps,
            reduce=reduce,
            binary=binary,
        )


class Tasks:
    """The built-in tasks."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self) -> Listing[Task]:
        """Return all tasks."""
        return Listing(self._transport, path("tasks"), Task)

    def get(self, name: str, parameters: Mapping[str, Any] | None = None) -> Task:
        """Return one task, with the JSON Schema of its parameters.

        Widths and baseline loss are those of `parameters`.
        """
        params = {"parameters": encode(parameters, "/parameters").decode()} if parameters else None
        return decode(Task, self._transport.request("GET", path("tasks", name), params=params).content)

    def sample(
        self, name: str, parameters: Mapping[str, Any] | None = None, *, sequences: int = 1, seed: int = 0
    ) -> Sample:
        """Return some sequences of a task as arrays, to look at and to use in programs of one's own.

        They are the held-out set of this size and seed: no job trains on them. Raises ValidationError if the sample
        would be too large.
        """
        body = {"parameters": parameters or {}, "sequences": sequences, "seed": seed}
        answer = self._transport.request("POST", path("tasks", name, "sample"), body=body, repeatable=True)
        return sample(decode(SampleResponse, answer.content))
