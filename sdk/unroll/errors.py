"""What can go wrong, as one tree.

UnrollError
├── APIError                    the server answered with an error
│   ├── BadRequestError         the request could not be read, or is not allowed there (400, 405, 406, 413, 415)
│   ├── AuthenticationError     no key, a wrong one, or one that has expired (401)
│   ├── PermissionDeniedError   the key lacks a scope (403)
│   ├── NotFoundError           there is no such thing, or it belongs to somebody else (404)
│   ├── ConflictError           the present state does not allow it (409)
│   ├── InvalidRequestError     fields are wrong; `errors` points at them (422)
│   ├── RateLimitError          too much at once (429)
│   │   └── QuotaError          the key's quota of unfinished jobs is used up
│   └── ServerError             the server's fault (5xx)
├── APIConnectionError          no answer (also a ConnectionError)
│   └── APITimeoutError         no answer in time (also a TimeoutError)
├── UnexpectedAnswerError       an answer that is not Unroll's
├── JobEndedError               a job that was waited for has ended without success
│   ├── JobFailed
│   └── JobCancelled
└── WaitTimeout                 the job goes on, but the waiting has ended (also a TimeoutError)
"""

from __future__ import annotations

from typing import ClassVar

from unroll.contract import FieldError, Job, Problem


class UnrollError(Exception):
    """The base of all errors of this package."""

    request_id: str | None = None
    """What to quote when asking the operator about it; None where no request was answered."""


class APIError(UnrollError):
    """The server answered with an error.

    `code` is the stable word to branch on (unroll.contract.ProblemCode), None where the answer was not a Problem
    (a proxy's, for instance). `retryable` says whether the same request may succeed later.
    """

    def __init__(self, status: int, problem: Problem | None, request_id: str | None, excerpt: str = "") -> None:
        """`excerpt` is the beginning of an answer that is no Problem."""
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
        """What was wrong with which field."""
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
        if self.request_id:
            lines.append(f"  request id: {self.request_id}")
        return "\n".join(lines)


class BadRequestError(APIError):
    """The request could not be read, is too large, or is not allowed there."""


class AuthenticationError(APIError):
    """No key, a wrong one, or one that has expired."""


class PermissionDeniedError(APIError):
    """The key lacks a scope."""


class NotFoundError(APIError):
    """There is no such thing, or it belongs to somebody else."""


class ConflictError(APIError):
    """The present state of things does not allow it."""


class InvalidRequestError(APIError):
    """Fields are wrong; `errors` points at them."""


class RateLimitError(APIError):
    """Too much at once; try again later."""


class QuotaError(RateLimitError):
    """The key's quota of unfinished jobs is used up."""


class ServerError(APIError):
    """The server's fault."""


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
    "body_too_large": BadRequestError,
    "range_not_satisfiable": BadRequestError,
    "unsupported_media_type": BadRequestError,
    "validation_failed": InvalidRequestError,
    "idempotency_key_reused": InvalidRequestError,
    "quota_exceeded": QuotaError,
    "internal_error": ServerError,
    "database_unavailable": ServerError,
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
    """The class for a problem's code; for a code that is not known here, the class for its status."""
    if code in BY_CODE:
        return BY_CODE[code]
    return BY_STATUS.get(status, ServerError if status >= 500 else BadRequestError if status >= 400 else APIError)


class APIConnectionError(UnrollError, ConnectionError):
    """The server could not be reached, or the connection broke before it answered."""


class APITimeoutError(APIConnectionError, TimeoutError):
    """The server did not answer in time."""


class UnexpectedAnswerError(UnrollError):
    """Something answered that is not Unroll, or not a version that this package understands."""


class JobEndedError(UnrollError):
    """A job that was waited for has ended without success; `job` says how."""

    ending: ClassVar[str] = "ended"

    def __init__(self, job: Job) -> None:
        self.job = job
        super().__init__(job)

    def __str__(self) -> str:
        error = self.job.error
        said = f"Job {self.job.id} {self.ending} at step {self.job.progress.step} of {self.job.progress.total}"
        if error is None:
            return f"{said}."
        said += f": {error.message} ({error.code})"
        if error.checkpoint:
            said += f"\n  last good checkpoint: {error.checkpoint}"
        return said


class JobFailed(JobEndedError):
    """The job failed; `job.error` says why, with the end of the trainer's log."""

    ending = "failed"


class JobCancelled(JobEndedError):
    """The job was cancelled."""

    ending = "was cancelled"


class WaitTimeout(UnrollError, TimeoutError):
    """The waiting has ended, the job has not."""

    def __init__(self, job: Job, seconds: float) -> None:
        self.job = job
        self.seconds = seconds
        super().__init__(job, seconds)

    def __str__(self) -> str:
        return f"Job {self.job.id} is still {self.job.status} after {self.seconds:g} s; it goes on."
