"""Authenticates requests, and checks that the key's scopes allow them."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from api.errors import Refused
from api.service import CurrentService
from store import keys
from store.errors import KeyExpired, Unauthorized
from store.keys import Identity
from unroll.contract import Scope

bearer = HTTPBearer(scheme_name="key", description="An API key, as `Authorization: Bearer unroll_…`.", auto_error=False)


class Requires:
    """Dependency that returns the identity of the request's key, which must have the scope; None accepts any key.

    Refuses unauthorized, key_expired, missing_scope, and quota_exceeded for a key or tenant with too many requests.
    """

    def __init__(self, scope: Scope | None) -> None:
        self.scope = scope

    def __call__(
        self,
        request: Request,
        service: CurrentService,
        credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)],
    ) -> Identity:
        """Look the key up, with one read of the database."""
        if credentials is None:
            raise Refused("unauthorized", "Send an API key as `Authorization: Bearer unroll_…`.")
        try:
            identity = keys.authenticate(service.db, service.settings.hash_secret, credentials.credentials)
        except (Unauthorized, KeyExpired) as error:
            raise Refused(
                error.code,
                error.detail,
                headers={"WWW-Authenticate": 'Bearer realm="unroll", error="invalid_token"'},
            ) from None
        request.state.key_id = identity.key_id
        request.state.identity = identity
        service.tallies.request(identity)
        if self.scope is not None and self.scope not in identity.scopes:
            raise Refused(
                "missing_scope",
                f"This needs a key with the scope {self.scope}; this one has {', '.join(sorted(identity.scopes))}.",
                headers={
                    "WWW-Authenticate": f'Bearer realm="unroll", error="insufficient_scope", scope="{self.scope}"'
                },
            )
        return identity


Anyone = Annotated[Identity, Depends(Requires(None))]
Reader = Annotated[Identity, Depends(Requires("read"))]
Writer = Annotated[Identity, Depends(Requires("write"))]
Predictor = Annotated[Identity, Depends(Requires("predict"))]
Admin = Annotated[Identity, Depends(Requires("admin"))]
