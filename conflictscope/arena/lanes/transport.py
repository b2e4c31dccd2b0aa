"""The HTTP client under the SDKs: aiohttp's transport, as they ship it, without the detours of a general client."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from functools import cache, lru_cache
from typing import Annotated, Any, get_args

import httpx2
from pydantic import BaseModel, Field, ValidationError, create_model

from conflictscope.arena.lanes.steps import Request

on_its_way: ContextVar[Request] = ContextVar("request_on_its_way")
"""The lane's request that the present task is sending."""

_HOW = {"model", "stream", "timeout", "extra_headers", "extra_query"}
"""How `create` is to ask, and what others look for: Azure takes its path from the model."""

_url = lru_cache(httpx2.URL)  # an SDK asks for the same few


def lean_client(sdk_client: type[httpx2.AsyncClient], connections: int, keep_alive_s: float) -> httpx2.AsyncClient:
    """A client for one provider. sdk_client: `DefaultAioHttpClient` of its SDK. connections: at the most, open or kept alive."""
    limits = httpx2.Limits(
        max_connections=connections, max_keepalive_connections=connections, keepalive_expiry=keep_alive_s
    )
    lean: type[httpx2.AsyncClient] = type("LeanClient", (_Lean, sdk_client), {})
    return lean(limits=limits)


def quicken(sdk_client: Any, *reply_types: type[BaseModel]) -> None:
    """Take detours out of an SDK client of ours. reply_types: what it makes of replies.

    Replies are read by pydantic, which is much faster than the SDK's own reader; where pydantic does not accept one (a stop
    reason that is newer than the SDK), the SDK's lenient way is gone after all. The URL of a path is put together once.
    """
    post: Callable[..., Awaitable[Any]] = sdk_client.post
    readers = {kind: _told_apart(kind) for kind in reply_types}

    async def quick(path: str, *, cast_to: Any, stream: bool = False, **given: Any) -> Any:
        if cast_to not in readers or stream:
            return await post(path, cast_to=cast_to, stream=stream, **given)
        response: httpx2.Response = await post(path, cast_to=httpx2.Response, **given)
        try:
            return readers[cast_to].model_validate_json(response.content)
        except ValidationError:
            said = response.json()
            return cast_to.construct(**said) if isinstance(said, dict) else said

    sdk_client.post = quick
    sdk_client._prepare_url = cache(sdk_client._prepare_url)


def _told_apart(reply_type: type[BaseModel]) -> type[BaseModel]:
    """The same type, but that pydantic tells the blocks in `content` apart by their `type`.

    To the SDK that is a remark for its own reader, so pydantic tries one of the twenty types after the other, for each block.
    """
    content = reply_type.model_fields.get("content")
    if content is None:
        return reply_type
    [block] = get_args(content.annotation)
    kinds: Any = get_args(block)[0]
    told_apart: dict[str, Any] = {"content": (list[Annotated[kinds, Field(discriminator="type")]], ...)}
    return create_model(reply_type.__name__, __base__=reply_type, **told_apart)


def send_as_given(resource: Any, **needed: Any) -> None:
    """Take the walk over all that is said out of a `create` of OpenAI's SDK: it goes out as it is given.

    The SDK holds every message and setting to the types of the request, in search of what must be renamed or encoded. In chat
    completions and responses nothing must, and of a long conversation the walk takes three quarters of the time of a call. It
    does not go into `extra_body`. needed: what `create` insists on beside it.
    """
    from openai import NotGiven, Omit  # whoever has a client of it has waited for it

    create: Callable[..., Awaitable[Any]] = resource.create

    async def as_given(*, extra_body: Any = None, **given: Any) -> Any:
        how = {name: given.pop(name) for name in _HOW & given.keys()}
        said = {name: value for name, value in given.items() if not isinstance(value, Omit | NotGiven)}
        return await create(**{**needed, **how}, extra_body={**said, **(extra_body or {})})

    resource.create = as_given


class _Lean(httpx2.AsyncClient):
    """Sends a request straight to the transport.

    An API needs no cookies, merged defaults or auth flows, which take a tenth of an SDK's time per call; whatever else is
    asked for goes the long way. What the service says of its limits reaches the lane whose request it was.
    """

    def build_request(self, method: str, url: httpx2.URL | str, **given: Any) -> httpx2.Request:
        """The request with the SDK's own headers."""
        timeout, headers = given.pop("timeout", None), given.pop("headers", None)
        plain = isinstance(timeout, httpx2.Timeout) and isinstance(headers, httpx2.Headers | list)
        if not plain or given.get("cookies") or "extensions" in given:
            return super().build_request(method, url, headers=headers, timeout=timeout, **given)
        request = httpx2.Request(method, _url(url), headers=headers, extensions={"timeout": timeout.as_dict()}, **given)
        request.headers["accept-encoding"] = "gzip, deflate"
        return request

    async def send(self, request: httpx2.Request, *, stream: bool = False, **given: Any) -> httpx2.Response:
        """The response."""
        if given.get("auth") is not None:
            return await super().send(request, stream=stream, **given)
        response = await self._transport_for_url(request.url).handle_async_request(request)
        response.request = request
        try:
            if not stream:
                await response.aread()
        except BaseException:
            await response.aclose()
            raise
        ours = on_its_way.get(None)
        if ours is not None:
            ours.received = b"" if stream else response.content
            # From the raw list: a look-up in httpx2's headers takes longer than all other steps of a lane together.
            raw = ((name.lower(), value) for name, value in response.headers.raw)
            ours.headers = {
                name.decode("ascii", "replace"): value.decode("ascii", "replace")
                for name, value in raw
                if b"ratelimit" in name
            }
        return response
