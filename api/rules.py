"""What no JSON Schema can say: the refusals of requests that are valid by their schema, each with its reason.

They stand in the OpenAPI document under `x-rules`, as patterns of the `code` and the `pointer` of an error. A request
that its schema admits is accepted, or refused with errors that all fit one of these; `make fuzz` checks it.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import NamedTuple

from unroll.contract import FieldError


class Rule(NamedTuple):
    """One kind of refusal. `*` in a pattern stands for anything."""

    code: str
    pointer: str
    reason: str


RULES = (
    Rule("contradiction", "*", "Two fields exclude each other, or one of them would have no effect."),
    Rule("not_available", "*", "A field does not apply to this kind of network, task or job."),
    Rule("width_mismatch", "*", "A network's widths are those of the task."),
    Rule("wrong_length", "*", "A list has as many entries as another field says."),
    Rule("wrong_shape", "/state*", "A state has the shape of the network's."),
    Rule("wrong_width", "/inputs*", "A time step has as many numbers as the network's input_size."),
    Rule("not_a_token", "/inputs*", "A token is a whole number below the network's vocabulary_size."),
    Rule("empty_sequence", "/inputs*", "A sequence has at least one time step."),
    Rule("not_finite", "*", "A number is finite in the precision of the network."),
    Rule("missing", "/steps", "Networks that write sequences need the number of outputs."),
    Rule("too_small", "*", "A time constant is at least one step."),
    Rule("no_spectral_radius", "*", "The connections that exist make a cycle."),
    Rule("too_*", "*", "Products of sizes have limits too: parameters, activations, memory, time."),
    Rule("out_of_range", "/replica", "A replica's index is below the number of replicas."),
    Rule("not_evaluated", "/replica", "The best replica is known only of checkpoints that were evaluated."),
    Rule("unknown_task", "/data*", "The task is one of GET /v1/tasks."),
    Rule("*", "/data/parameters*", "The schema of a task's parameters is at GET /v1/tasks/{name}."),
    Rule("*", "[?]parameters*", "The schema of a task's parameters is at GET /v1/tasks/{name}."),
    Rule("*", "/parameters*", "The schema of a task's parameters is at GET /v1/tasks/{name}."),
    Rule("expired", "/expires_at", "A key expires in the future."),
    Rule("invalid", "/checkpoint", "The checkpoint exists and fits."),
    Rule("invalid", "/replica", "The checkpoint has this replica."),
    Rule("invalid", "/model", "The model exists."),
    Rule("invalid", "[?]names", "The job has these metrics."),
    Rule("invalid", "[?]max_points", "An answer has a limited number of values."),
    Rule("invalid", "[?]cursor", "A cursor was given out by this server."),
    Rule("idempotency_key_reused", "#Idempotency-Key", "A key belongs to the body that it was first sent with."),
    Rule("invalid", "#Last-Event-ID", "The id was given out by this server."),
)


def fits(error: FieldError) -> bool:
    """Return whether a valid request may be refused with this error."""
    return any(fnmatchcase(error.code, rule.code) and fnmatchcase(error.pointer, rule.pointer) for rule in RULES)
