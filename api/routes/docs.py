"""/docs and /openapi.json: the document, and Swagger UI for it, all from this server.

Swagger UI's files come with a Python package, not from a content network: the page works without the internet, and no
third party learns that somebody uses this server. The page's policy allows requests only to this origin.
"""

from __future__ import annotations

import os
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.staticfiles import StaticFiles

router = APIRouter(include_in_schema=False)

ASSETS = "/docs/assets"

# Addresses are relative, so that the page also works behind a proxy that puts a prefix before them.
PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Unroll: the API</title>
<link rel="stylesheet" href="docs/assets/swagger-ui.css">
<link rel="icon" href="docs/assets/favicon-32x32.png">
</head>
<body>
<div id="operations"></div>
<script src="docs/assets/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"""
START = """\
SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#operations",
  presets: [SwaggerUIBundle.presets.apis],
  layout: "BaseLayout",
  deepLinking: true,
  displayRequestDuration: true,
  validatorUrl: null, // the default posts the document's address to a public validator
});
"""
POLICY = (
    "default-src 'none'; script-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "style-src 'self' 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Swagger UI sets styles on elements and has its icons in data URLs, so the policy allows both."""


class Assets(StaticFiles):
    """Swagger UI's files from the package. Browsers keep them and ask again only whether they changed."""

    def __init__(self) -> None:
        super().__init__(packages=[("fastapi_swagger", "resources")])

    def file_response(self, *args: Any, **options: Any) -> Response:
        """Return the file, or 304."""
        response = super().file_response(*args, **options)
        response.headers["Cache-Control"] = "no-cache"
        return response

    def lookup_path(self, path: str) -> tuple[str, os.stat_result | None]:
        """Find a file for the browser. The package's Python modules in the same folder are not served."""
        return ("", None) if path.endswith((".py", ".pyc")) else super().lookup_path(path)


@router.get("/openapi.json")
async def document(request: Request) -> Response:
    """Return the OpenAPI document."""
    return JSONResponse(request.app.openapi())


@router.get("/docs")
async def page() -> Response:
    """Return the page with Swagger UI."""
    return HTMLResponse(PAGE, headers={"Content-Security-Policy": POLICY})


@router.get("/docs/start.js")
async def start() -> Response:
    """Return the page's script. It is a file of its own because the page's policy forbids inline scripts."""
    return Response(START, media_type="text/javascript")
