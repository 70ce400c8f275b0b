"""The front page: what this server is and how to get in, for browsers as HTML and for programs as JSON.

It needs no key, so it shows nothing that belongs to a tenant, and its cost is bounded: the database is asked at most
once a second, by one thread, however many requests there are.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import ipaddress
import re
import shlex
import time
from collections.abc import Callable
from html import escape
from pathlib import Path
from string import Template
from typing import Literal

from pydantic import BaseModel

from api.next_steps import for_shell

TEXT = Path(__file__).with_name("page.html").read_text(encoding="utf-8")
PAGE = Template(TEXT)


def _policy() -> str:
    style = re.search(r"<style>(.*?)</style>", TEXT, re.DOTALL)
    assert style is not None  # noqa: S101 - the file is this package's own
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    return (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


POLICY = _policy()
"""The page may use its own style and its icon, and nothing else: it has no script and loads nothing."""

FRESH_SECONDS = 1.0
PATIENCE_SECONDS = 2.0
"""A database that does not answer within this time is reported as one that does not answer."""


LINKS = {"docs": "docs", "openapi": "openapi.json", "readiness": "readyz", "schemas": "v1/schema"}


class Facts(BaseModel):
    """What the front page says, as JSON."""

    name: Literal["Unroll"] = "Unroll"
    version: str
    address: str
    status: Literal["ready", "degraded", "not_ready"]
    """As /readyz says it; not_ready: the database does not answer or has another version's schema."""
    workers: int | None
    """Number of living workers; null: the database does not answer."""
    key: str
    """How to get a key, in words."""
    links: dict[str, str] = LINKS
    """Where a program goes on, relative to the server's address."""


State = tuple[Literal["ready", "degraded", "not_ready"], int | None]


class Glance:
    """Asks how the server is, at most once a second and in one thread at a time."""

    def __init__(self) -> None:
        self._asking: asyncio.Task[State] | None = None
        self._asked = 0.0

    async def look(self, ask: Callable[[], State]) -> State:
        """Return what `ask` returned less than a second ago, or asks again in a thread."""
        if self._asking is None or (self._asking.done() and time.monotonic() - self._asked > FRESH_SECONDS):
            self._asked = time.monotonic()
            self._asking = asyncio.create_task(asyncio.to_thread(ask))
        done, _ = await asyncio.wait({self._asking}, timeout=PATIENCE_SECONDS)
        return self._asking.result() if done else ("not_ready", None)


def of_this_machine(client: str | None, host: str | None) -> bool:
    """Return whether a request came from this machine and was addressed to it, so that paths on it may be named."""
    return client is not None and _loopback(client) and host is not None and (host == "localhost" or _loopback(host))


def _loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address.strip("[]")).is_loopback
    except ValueError:
        return False


def page(facts: Facts, key_file: Path | None) -> str:
    """Return the page. `key_file` is where this machine's users find a key; None: it is not told or there is none."""
    address = facts.address
    state = {
        "ready": '<span class="good">ready</span>',
        "degraded": '<span class="bad">degraded</span>: the broker does not answer; jobs are accepted and start later',
        "not_ready": '<span class="bad">not ready</span>: the database does not answer or is of another version',
    }[facts.status]
    workers = {
        None: '<span class="soft">unknown</span>',
        0: '<span class="bad">none is alive</span>: jobs wait until one starts',
        1: '<span class="good">1 is alive</span>',
    }.get(facts.workers, f'<span class="good">{facts.workers} are alive</span>')
    secret = "$UNROLL_API_KEY" if key_file is None else f"$(cat {shlex.quote(str(key_file))})"
    first = for_shell() if key_file is not None else f"export UNROLL_URL={shlex.quote(address)} UNROLL_API_KEY=..."
    client = "unroll.Client()" if key_file is not None else f'unroll.Client("{address}", "...")'
    return PAGE.substitute(
        address=f"<code>{escape(address)}</code>",
        version=escape(facts.version),
        state=state,
        workers=workers,
        key=re.sub(r"`([^`]*)`", r"<code>\1</code>", escape(facts.key)),
        shell=escape(f"{first}\nunroll tasks\nunroll train --task integrate_noise --hidden 10 --steps 2000 --lr 0.01"),
        python=escape(f"import unroll\n\nclient = {client}\nprint(client.me())"),
        curl=escape(f'curl -H "Authorization: Bearer {secret}" {shlex.quote(f"{address}/v1/jobs")}'),
    )


def how_to_get_a_key(key_file: Path | None) -> str:
    """Return one or two sentences. Code stands between backquotes."""
    if key_file is not None:
        return (
            f"On this machine it lies in the file `{key_file}`; the command `unroll` and the Python package find it "
            "by themselves."
        )
    return (
        "Whoever runs this server makes keys with `unroll-server key create --name NAME`; on the machine of an "
        "`unroll-server up`, one lies in the file `key` of its data folder, where `unroll` finds it by itself."
    )
