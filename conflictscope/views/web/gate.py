"""Who may see a page: whoever has the token of the printed address, asking under our own name, and no other site's page."""

from __future__ import annotations

import ipaddress
import secrets
import socket
from typing import Protocol
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_OURS = ("same-origin", "none")

_SAFE = {
    # Vega writes no inline style onto a canvas, and with `ast` it evaluates expressions without `eval`.
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


class Refusal(Protocol):
    """Makes the page that says why there is none. onward: the path of a link."""

    def __call__(self, request: Request, status: int, reason: str, onward: str | None = None) -> Response: ...


class Gate:
    """Lets requests through to an application, or refuses them; every answer forbids what a page of ours has no use for.

    token: what the printed address carries. A browser that comes with it gets it as a cookie and is sent on to the same page
    without it. cookie: its name, of this folder alone, for browsers give the cookies of a host to all its ports. host: that the
    server is bound to. static: the path of files that hold no data, for which no token is asked.
    """

    def __init__(self, app: ASGIApp, *, token: str, cookie: str, host: str, static: str, refusal: Refusal) -> None:
        self._app = app
        self._token = token
        self._cookie = cookie
        self._host = host
        self._static = static
        self._refusal = refusal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_safe(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _SAFE.items():
                    headers[name] = value
                headers.setdefault("cache-control", "no-store")
            await send(message)

        request = Request(scope)
        answer = self._answer(request) or self._app
        await answer(scope, receive, send_safe)

    def _answer(self, request: Request) -> Response | None:
        """What keeps a request from the application; None where nothing does."""
        if not self._named_so(request.headers):
            return self._refusal(request, 403, "This server does not answer under that name.")
        if request.scope["path"].startswith(self._static):  # not that of its URL, which the Host header has a part in
            return None
        if self._is_token(parse_qs(request.url.query).get("token", [""])[-1]):
            return self._admitted(request)
        if not _of_our_page(request.headers):
            return self._refusal(request, 403, "Another site's page asked for this.")
        if not self._is_token(request.cookies.get(self._cookie, "")):
            return self._refusal(request, 401, "Open the address that `conflictscope view` printed, with its token.")
        return None

    def _admitted(self, request: Request) -> Response:
        """To the same page, without the token in its address."""
        path = "/" + request.url.path.lstrip("/\\")  # two slashes would lead to another host
        query = "&".join(part for part in request.url.query.split("&") if not part.startswith("token="))
        response: Response = RedirectResponse(f"{path}?{query}" if query else path, 303)
        if request.headers.get("sec-fetch-site", "none") not in _OURS:
            # A browser that comes from a link elsewhere keeps a strict cookie back until somebody clicks on a page of ours.
            response = self._refusal(request, 200, "You came here from another page.", onward=path)
        response.set_cookie(self._cookie, self._token, httponly=True, samesite="strict", path="/")
        return response

    def _is_token(self, given: str) -> bool:
        return secrets.compare_digest(given.encode(), self._token.encode())

    def _named_so(self, headers: Headers) -> bool:
        """Whether the Host header names this server: a page of a name that is made to resolve to it must read nothing."""
        try:
            name = urlsplit(f"//{headers.get('host', '')}").hostname or ""
        except ValueError:
            return False
        if name in _LOOPBACK or name == self._host.lower():
            return True
        return self._host not in _LOOPBACK and (_is_address(name) or name == socket.gethostname().lower())


def _of_our_page(headers: Headers) -> bool:
    """Whether no page but ours has part in a request, as far as the browser tells."""
    origin = headers.get("origin")
    return headers.get("sec-fetch-site", "none") in _OURS and origin in (None, f"http://{headers.get('host')}")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
