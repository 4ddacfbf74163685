"""Who may ask for inference: every client, or bearers of a token; and scripts of web pages of which origins."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from fastapi import Depends, FastAPI, Header, Query, Request
from fastapi.middleware.cors import CORSMiddleware
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from residency.api.auth import Control, OpenControl, TokenFile
from residency.api.client_address import client_of

DEGRADED = "SAM3-Degraded"
"""The header of an answer that the CPU has computed."""
_PREFLIGHT_SECONDS = 600


@dataclass(frozen=True)
class Access:
    """What restricts inference: a file with the token that each request must have, and origins of web pages."""

    token_file: Path | None = None
    """None: every client may ask."""
    origins: tuple[str, ...] = ()
    """Origins whose scripts a browser lets read the answers; `*` is every origin."""

    def install(self, app: FastAPI) -> None:
        """Have an app's inference routes need the token, and its answers name the origins."""
        app.state.inference_access = TokenFile(self.token_file) if self.token_file else OpenControl()
        if self.origins:
            app.add_middleware(
                CORSMiddleware,
                allow_origins=self.origins,
                allow_methods=["GET", "POST"],
                allow_headers=["Authorization", "Content-Type", "Token"],
                expose_headers=["Retry-After", DEGRADED],
                max_age=_PREFLIGHT_SECONDS,
            )


OPEN = Access()
"""Every client may ask, and no web page of another origin."""


async def _require_token(
    request: Request,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(HTTPBearer(auto_error=False))],
    token: Annotated[str | None, Header(description="the token, as X-AnyLabeling sends it")] = None,
    api_key: Annotated[str | None, Query(description="the token, for clients that cannot set a header")] = None,
) -> None:
    access: Control = request.app.state.inference_access
    sent = credentials.credentials if credentials else token or api_key
    await access.check(sent, client_of(request.scope))


INFERENCE = [Depends(_require_token)]
"""What a route of inference depends on."""
