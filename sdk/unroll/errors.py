"""Errors that this package raises, as one tree.

UnrollError
├── APIError                    the server answered with an error
│   ├── BadRequestError         the request cannot be read, or is not allowed there (400, 405, 406, 413, 415)
│   ├── AuthenticationError     the key is missing, wrong or expired (401)
│   ├── PermissionDeniedError   the key lacks a scope (403)
│   ├── NotFoundError           it does not exist, or it belongs to another tenant (404)
│   ├── ConflictError           the present state does not allow it (409, 412)
│   ├── InvalidRequestError     fields are wrong; `errors` points at them (422)
│   ├── RateLimitError          there were too many requests at once (429)
│   │   └── QuotaError          a limit of the key or its tenant is reached
│   └── ServerError             the server failed (5xx)
├── APIConnectionError          the server did not answer (also a ConnectionError)
│   └── APITimeoutError         the server did not answer in time (also a TimeoutError)
├── UnexpectedAnswerError       the answer does not come from Unroll
├── JobEndedError               an awaited job ended without success
│   ├── JobFailed
│   └── JobCancelled
└── WaitTimeout                 the time to wait is over; the job continues (also a TimeoutError)
"""

from __future__ import annotations

from typing import ClassVar

from unroll.contract import FieldError, Job, Problem


class UnrollError(Exception):
    """Base class of all errors of this package."""

    request_id: str | None = None
    """Identifier of the request, to quote when asking the operator. None if no request was answered."""


class APIError(UnrollError):
    """The server answered with an error.

    `code` is the stable identifier to branch on (unroll.contract.ProblemCode); it is None if the answer was not a
    Problem (a proxy's answer, for instance). `retryable` says whether the same request may succeed later.
    """

    hint: str = ""
    """What may help here, beside what the server said."""

    def __init__(self, status: int, problem: Problem | None, request_id: str | None, excerpt: str = "") -> None:
        """`excerpt` is the beginning of an answer that is not a Problem."""
        self.status = status
        self.problem = problem
        self.request_id = request_id
        self.excerpt = excerpt
        super().__init__(status, problem, request_id, excerpt)

    @property
    def code(self) -> str | None:
        """The problem's code."""
        return self.problem.code if self.problem else None

    @property
    def errors(self) -> list[FieldError]:
        """The wrong fields, and what is wrong with each."""
        return self.problem.errors if self.problem else []

    @property
    def retryable(self) -> bool:
        """Whether the same request may succeed later."""
        return self.problem.retryable if self.problem else self.status in {429, 502, 503, 504}

    def __str__(self) -> str:
        what = self.problem.detail or self.problem.title if self.problem else self.excerpt or "no explanation"
        lines = [f"{what} ({self.code or 'HTTP'} {self.status})"]
        fields = [f"{error.pointer or '(body)'}: {error.detail}" for error in self.errors]
        lines += [f"  {field}" for field in fields if field != what]
        if self.hint:
            lines.append(f"  {self.hint}")
        if self.request_id:
            lines.append(f"  request id: {self.request_id}")
        return "\n".join(lines)


class BadRequestError(APIError):
    """The request cannot be read, is too large, or is not allowed there."""


class AuthenticationError(APIError):
    """The key is missing, wrong or expired."""


class PermissionDeniedError(APIError):
    """The key lacks a scope."""


class NotFoundError(APIError):
    """What was requested does not exist, or it belongs to another tenant."""


class ConflictError(APIError):
    """The present state does not allow the request."""


class InvalidRequestError(APIError):
    """Fields of the request are wrong; `errors` points at them."""


class RateLimitError(APIError):
    """There were too many requests at once; try again later."""


class QuotaError(RateLimitError):
    """A limit of the key or of its tenant is reached; `limit` names it, as /v1/me does."""

    @property
    def limit(self) -> str | None:
        """The limit's name, for example `queued_jobs`."""
        return self.problem.limit if self.problem else None


class ServerError(APIError):
    """The server failed."""


BY_CODE: dict[str, type[APIError]] = {
    "malformed_request": BadRequestError,
    "unauthorized": AuthenticationError,
    "key_expired": AuthenticationError,
    "missing_scope": PermissionDeniedError,
    "not_found": NotFoundError,
    "method_not_allowed": BadRequestError,
    "not_acceptable": BadRequestError,
    "name_conflict": ConflictError,
    "model_in_use": ConflictError,
    "job_not_ended": ConflictError,
    "invalid_transition": ConflictError,
    "no_checkpoint": ConflictError,
    "session_expired": NotFoundError,
    "step_out_of_order": ConflictError,
    "request_timeout": BadRequestError,
    "body_too_large": BadRequestError,
    "uri_too_long": BadRequestError,
    "headers_too_large": BadRequestError,
    "range_not_satisfiable": BadRequestError,
    "unsupported_media_type": BadRequestError,
    "validation_failed": InvalidRequestError,
    "idempotency_key_reused": InvalidRequestError,
    "quota_exceeded": QuotaError,
    "internal_error": ServerError,
    "database_unavailable": ServerError,
    "storage_full": ServerError,
    "storage_failed": ServerError,
    "read_only": ServerError,
    "busy": ServerError,
    "time_limit_exceeded": ServerError,
}
BY_STATUS: dict[int, type[APIError]] = {
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    409: ConflictError,
    422: InvalidRequestError,
    429: RateLimitError,
}


def error_class(code: str | None, status: int) -> type[APIError]:
    """Return the error class for a problem's code, or the class for its status if the code is unknown."""
    if code in BY_CODE:
        return BY_CODE[code]
    return BY_STATUS.get(status, ServerError if status >= 500 else BadRequestError if status >= 400 else APIError)


class APIConnectionError(UnrollError, ConnectionError):
    """The server could not be reached, or the connection broke before it answered."""


class APITimeoutError(APIConnectionError, TimeoutError):
    """The server did not answer in time."""


class UnexpectedAnswerError(UnrollError):
    """The answer does not come from Unroll, or comes from a version that this package does not understand."""


def without_hint(job: Job, message: str) -> str:
    """Return the error's message without what may help, which stands at its end where all replicas diverged."""
    for divergence in getattr(job.summary, "diverged", []):
        message = message.removesuffix(divergence.hint or "").rstrip()
    return message


class JobEndedError(UnrollError):
    """A job that was waited for ended without success; `job` says how."""

    ending: ClassVar[str] = "ended"

    def __init__(self, job: Job, *, told: bool = False) -> None:
        """`told`: what may help was said while the job was waited for, and is not said again."""
        self.job = job
        self.told = told
        super().__init__(job)

    def __str__(self) -> str:
        error = self.job.error
        said = f"Job {self.job.id} {self.ending} at step {self.job.progress.step} of {self.job.progress.total}"
        if error is None:
            return f"{said}."
        message = without_hint(self.job, error.message) if self.told else error.message
        said += f": {message} ({error.code})"
        if error.checkpoint:
            said += f"\n  last good checkpoint: {error.checkpoint}"
        return said


class JobFailed(JobEndedError):
    """The job failed; `job.error` says why and includes the end of the trainer's log."""

    ending = "failed"


class JobCancelled(JobEndedError):
    """The job was cancelled."""

    ending = "was cancelled"


class WaitTimeout(UnrollError, TimeoutError):
    """The time to wait is over, but the job has not ended."""

    def __init__(self, job: Job, seconds: float) -> None:
        self.job = job
        self.seconds = seconds
        super().__init__(job, seconds)

    def __str__(self) -> str:
        return f"Job {self.job.id} is still {self.job.status} after {self.seconds:g} s; it goes on."
