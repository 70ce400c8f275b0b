"""Query parameters that several routes share, and the refusal of parameters that a route does not have."""

from __future__ import annotations

from itertools import islice
from typing import Annotated

from fastapi import Query, Request

from api.errors import Refused, summary
from api.pointers import MAX_ERRORS
from unroll.contract import FieldError
from unroll.contract.suggestions import did_you_mean

Limit = Annotated[int, Query(ge=1, le=200, description="Largest number of entries in a page.")]
Cursor = Annotated[str | None, Query(max_length=200, description="`next` of the previous page.")]


async def only_known(request: Request) -> None:
    """Dependency of every route that refuses unknown query parameters.

    A misspelt filter must not return everything, as if no filter had been given. The allowed parameters are read from
    the OpenAPI document, so nothing is accepted that the document does not name. Refuses validation_failed.
    """
    if not request.query_params:
        return
    operations = request.app.openapi()["paths"].get(request.scope["route"].path, {})
    parameters = operations.get(request.method.lower(), {}).get("parameters", [])
    known = [one["name"] for one in parameters if one["in"] == "query"]
    there_is = f"There is {', '.join(known)}." if known else "This takes no query parameters."
    none = f"There is no such query parameter. {there_is}"
    wrong = islice((name for name in request.query_params if name not in known), MAX_ERRORS)
    errors = [
        FieldError(pointer=f"?{name}", code="extra_forbidden", detail=none + did_you_mean(name, known))
        for name in wrong
    ]
    if errors:
        raise Refused("validation_failed", summary(errors), errors=errors)
