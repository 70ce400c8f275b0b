"""Sends one request reliably: keys, timeouts, retries, and this package's own errors."""

from __future__ import annotations

import os
import platform
import random
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from weakref import WeakSet, finalize

import httpx2

from unroll._settings import Settings
from unroll._version import __version__
from unroll._way import proxy_for, trusted
from unroll._wire import decode, encode
from unroll.contract import Problem
from unroll.errors import (
    APIConnectionError,
    APIError,
    APITimeoutError,
    AuthenticationError,
    UnexpectedAnswerError,
    error_class,
)

Params = Mapping[str, str | int | Sequence[str] | None]

NOT_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)
"""Failures before any byte of the request was sent: every request may be sent again."""
REFUSED = frozenset({429, 503})
"""Statuses with which the server says that it did nothing."""
UNCERTAIN = frozenset({500, 502, 504})
"""Statuses after which the request may have been carried out. Only requests that may run twice are sent again."""


@dataclass(frozen=True)
class Retries:
    """Exponential backoff with full jitter: before attempt n + 1 a wait uniform in [0, min(cap, base 2^(n-1))].

    A Retry-After of the server is waited for in full, plus the jitter. If it is longer than `patience`, the error is
    raised instead. Calls that follow a job for hours survive an `outage` of the server of that many seconds.

    Source: M. Brooker, "Exponential Backoff and Jitter", AWS Architecture Blog, 2015.
    """

    attempts: int = 5
    base: float = 0.25
    cap: float = 8.0
    patience: float = 60.0
    outage: float = 300.0

    def delay(self, attempt: int, retry_after: float | None = None) -> float | None:
        """Return the seconds to wait after attempt 1, 2, ..., or None to give up."""
        if attempt >= self.attempts or (retry_after or 0.0) > self.patience:
            return None
        return (retry_after or 0.0) + self.jitter(attempt)

    def jitter(self, attempt: int) -> float:
        """Return a random wait after attempt 1, 2, ...."""
        return random.uniform(0, min(self.cap, self.base * 2 ** min(attempt - 1, 30)))  # noqa: S311 - not a secret


class Transport:
    """The connections to one server. They may be shared between threads.

    A forked child gets connections of its own: of an answer on a shared one, parent and child would each read a part.
    A copy that was pickled has the same settings, the key included, and connects by itself.
    """

    def __init__(self, settings: Settings, *, timeout: float, retries: Retries) -> None:
        """`timeout` is the longest silence, in seconds, before a request counts as unanswered.

        Raises ValueError for a proxy or for certificates of the environment that cannot be used.
        """
        self.settings = settings
        self.timeout = timeout
        self.retries = retries
        self._proxy = proxy_for(settings.url)
        self._trusted = trusted(settings.url, self._proxy)
        self._sockets: WeakSet[socket.socket] = WeakSet()
        self._connect()
        _transports.add(self)

    def __getstate__(self) -> tuple[Settings, float, Retries]:
        return self.settings, self.timeout, self.retries

    def __setstate__(self, state: tuple[Settings, float, Retries]) -> None:
        settings, timeout, retries = state
        self.__init__(settings, timeout=timeout, retries=retries)  # type: ignore[misc]

    def _connect(self) -> None:
        self._http = self._open()
        # Nobody can close the copies that are within unpickled handles.
        self._forgotten = finalize(self, self._http.close)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def forked(self) -> None:
        """Leave the parent's connections to the parent. This is called in the child, which has only this thread.

        Closing this process's copy of a socket says nothing to the server. Nothing else of the parent's pool is
        touched: one of the parent's threads may have held its lock.
        """
        for inherited in self._sockets:
            inherited.close()
        self._sockets = WeakSet()
        self._forgotten.detach()
        if not self._http.is_closed:
            self._connect()

    def _open(self) -> httpx2.Client:
        headers = {"User-Agent": f"unroll-sdk/{__version__} python/{platform.python_version()}"}
        if self.settings.api_key:
            headers["Authorization"] = f"Bearer {self.settings.api_key}"
        proxy = None if self._proxy is None else self._proxy.through(self._trusted)
        return httpx2.Client(
            base_url=self.settings.url, headers=headers, proxy=proxy, verify=self._trusted, trust_env=False
        )

    def _remember_socket(self, what: str, info: Mapping[str, Any]) -> None:
        """Note a socket when it is opened. httpx2 calls this for every step of a request."""
        if what.endswith((".connect_tcp.complete", ".start_tls.complete")):
            opened = info["return_value"].get_extra_info("socket")
            if opened is not None:
                self._sockets.add(opened)

    def request(
        self,
        method: str,
        path: str,
        *,
        params: Params | None = None,
        body: object = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        repeatable: bool | None = None,
        patience: float = 0.0,
    ) -> httpx2.Response:
        """Send a request and return the answer, 2xx or 304.

        `body` is sent as JSON; `content` as it is, with the Content-Type of `headers`.
        `repeatable`: running it twice is the same as running it once; by default true for every method except POST.
        `patience`: seconds that the server may take intentionally, beyond the timeout.
        Raises an APIError, APIConnectionError or APITimeoutError when the retries are used up.
        """
        repeatable = method != "POST" if repeatable is None else repeatable
        if body is not None:
            content, headers = encode(body), {"Content-Type": "application/json", **(headers or {})}
        attempt, maybe_done = 0, False
        while True:
            attempt += 1
            request = self._build(method, path, params, content, headers, self._timeout(self.timeout + patience))
            try:
                response = self._http.send(request)
            except httpx2.TransportError as error:
                maybe_done |= not isinstance(error, NOT_SENT)
                delay = self.retries.delay(attempt) if repeatable or isinstance(error, NOT_SENT) else None
                if delay is None:
                    raise self._unreachable(error) from None  # its message says the cause; frames of sockets do not
            else:
                if response.is_success or response.status_code == 304:
                    return response
                if method == "DELETE" and response.status_code == 404 and maybe_done:
                    return response  # an earlier attempt, whose answer was lost, has deleted it
                again = response.status_code in (REFUSED | UNCERTAIN if repeatable else REFUSED)
                maybe_done |= response.status_code in UNCERTAIN
                delay = self.retries.delay(attempt, _retry_after(response)) if again else None
                if delay is None:
                    raise self._error(response)
            time.sleep(delay)

    def answers(self, path: str) -> bool:
        """Return whether a GET, sent once, is answered with success."""
        try:
            return self._http.send(self._build("GET", path, None, None, None, self._timeout(self.timeout))).is_success
        except httpx2.TransportError:
            return False

    @contextmanager
    def stream(
        self, path: str, *, params: Params | None = None, headers: Mapping[str, str], silence: float
    ) -> Iterator[httpx2.Response]:
        """Send one GET and yield its body as it comes, without retries; `silence` seconds without a byte are a timeout.

        Raises the same errors as `request`, also while the body is read.
        """
        request = self._build("GET", path, params, None, headers, self._timeout(silence))
        try:
            # A connection of its own: it may live for hours, in which others need theirs, and a child that is forked
            # meanwhile closes its copy without waiting for anybody.
            with self._open() as http:
                response = http.send(request, stream=True)
                try:
                    if not response.is_success:
                        response.read()
                        raise self._error(response)
                    yield response
                finally:
                    response.close()
        except httpx2.TransportError as error:
            raise self._unreachable(error) from None

    def _build(
        self,
        method: str,
        path: str,
        params: Params | None,
        content: bytes | None,
        headers: Mapping[str, str] | None,
        timeout: httpx2.Timeout,
    ) -> httpx2.Request:
        given = {name: value for name, value in (params or {}).items() if value is not None}
        return self._http.build_request(
            method,
            path,
            params=given,
            content=content,
            headers=dict(headers or {}),
            timeout=timeout,
            extensions={"trace": self._remember_socket},
        )

    def _timeout(self, read: float) -> httpx2.Timeout:
        return httpx2.Timeout(self.timeout, connect=min(self.timeout, 5.0), read=read)

    def _unreachable(self, error: httpx2.TransportError) -> APIConnectionError:
        reason = (str(error) or type(error).__name__).rstrip(".")
        if self._proxy is not None:
            reason += f"; through the proxy {self._proxy}"
        if "CERTIFICATE_VERIFY_FAILED" in reason:
            reason += "; SSL_CERT_FILE names a file of certificates to trust"
        if isinstance(error, httpx2.TimeoutException) and not isinstance(error, httpx2.ConnectTimeout):
            return APITimeoutError(f"{self.settings.url} did not answer in time: {reason}")
        kind = APITimeoutError if isinstance(error, httpx2.TimeoutException) else APIConnectionError
        return kind(f"{self.settings.url} cannot be reached ({reason}): {self.settings.unreachable}")

    def _error(self, response: httpx2.Response) -> APIError:
        error = _error(response)
        if isinstance(error, AuthenticationError):
            error.hint = self.settings.unauthorised
        elif self._proxy is not None and error.problem is None:
            error.hint = f"This may be the answer of the proxy {self._proxy}: NO_PROXY names the hosts that need none."
        return error


_transports: WeakSet[Transport] = WeakSet()


def _forked() -> None:
    for transport in list(_transports):
        transport.forked()


if hasattr(os, "register_at_fork"):  # where processes fork
    os.register_at_fork(after_in_child=_forked)


def _retry_after(response: httpx2.Response) -> float | None:
    """Return the seconds of Retry-After in either form (RFC 9110, 10.2.3), or None if it is missing or unreadable."""
    value = response.headers.get("Retry-After", "")
    if value.isdecimal():
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


def _error(response: httpx2.Response) -> APIError:
    problem: Problem | None = None
    if response.headers.get("Content-Type", "").startswith("application/problem+json"):
        try:
            problem = decode(Problem, response.content)
        except UnexpectedAnswerError:
            problem = None
    request_id = problem.request_id if problem else response.headers.get("X-Request-ID")
    kind = error_class(problem.code if problem else None, response.status_code)
    return kind(response.status_code, problem, request_id, response.text[:200].strip())
