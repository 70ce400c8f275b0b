"""Gradient checks, and the JSON Schemas of what can be sent."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from unroll._transport import Transport
from unroll._wire import decode
from unroll.contract import Check, SchemaKinds
from unroll.resources.paging import path

PATIENCE = 75.0
"""Seconds that the server may take beyond a request's timeout, because a check may wait for its turn and then
compute."""


def check(transport: Transport, body: Mapping[str, Any]) -> Check:
    """Send a CheckRequest; see Client.check."""
    response = transport.request("POST", path("checks"), body=body, repeatable=True, patience=PATIENCE)
    return decode(Check, response.content)


class Schemas:
    """JSON Schemas of what can be sent, with defaults and descriptions."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self) -> dict[str, str]:
        """Return the kinds, and what each describes."""
        return decode(SchemaKinds, self._transport.request("GET", path("schema")).content).kinds

    def get(self, kind: str) -> dict[str, Any]:
        """Return the JSON Schema of one kind. Raises NotFoundError, which names the kinds that exist."""
        found: dict[str, Any] = json.loads(self._transport.request("GET", path("schema", kind)).content)
        return found
