"""Making models by their names, and the HTTP clients that they are reached by: one for each provider, closed at the end."""

from __future__ import annotations

import resource
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

import httpx2
from pydantic_ai.exceptions import UserError
from pydantic_ai.models import Model, infer_model
from pydantic_ai.providers import Provider, infer_provider, infer_provider_class

from conflictscope.arena import LOCAL, lean_client, quicken, send_as_given
from conflictscope.errors import InputError
from conflictscope.planted import Lexicon, PlantedWorld, planted_model
from conflictscope.redaction import know_secrets
from conflictscope.services import PLANTED, ProviderConfig, Services, provider_section

if TYPE_CHECKING:
    from pydantic_ai.embeddings import EmbeddingModel

T = TypeVar("T")
_FILES_BESIDE_SOCKETS = 100
_CONNECT_S = 30.0
_KEEP_ALIVE_S = 120.0  # longer than a reply takes, so that the connections of one turn serve the next


class Models:
    """Makes models; an async context that closes what it opened."""

    def __init__(self, config: Services, world: PlantedWorld | None, lexicon: Lexicon) -> None:
        self._config = config
        self._world = world
        self._lexicon = lexicon
        self._providers: dict[str, Provider[Any]] = {}
        self._clients: list[httpx2.AsyncClient] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for client in self._clients:
            await client.aclose()

    def make(self, name: str) -> Model:
        """The model of this pydantic-ai name. Raises InputError for an unknown name or a missing key."""
        if name.startswith(PLANTED):
            if self._world is None:
                raise InputError(f'{name!r} needs `world = "FILE.toml"` in its file')
            return planted_model(self._world, name.removeprefix(PLANTED), self._lexicon)

        return self._infer(infer_model, name, "planted models need no key")

    def embedding(self, name: str) -> EmbeddingModel:
        """The embedding model of this pydantic-ai name; of `sentence-transformers:`, also of a folder.

        Raises InputError for an unknown name, a missing key, package or folder.
        """
        from pydantic_ai.embeddings import infer_embedding_model

        provider, _, model = name.partition(":")
        if provider == LOCAL:
            return _local_embedding(model)
        if name.startswith(PLANTED):
            raise InputError(
                f"model {name!r} cannot be used: a planted world has no embedding model (`hashing` needs none)"
            )
        return self._infer(
            lambda name, factory: infer_embedding_model(name, provider_factory=factory),
            name,
            "`hashing` needs no model",
        )

    def _infer(self, infer: Callable[[str, Callable[[str], Provider[Any]]], T], name: str, remedy: str) -> T:
        # Imported here, for the two SDKs take a second to import and a planted run needs neither.
        from anthropic import AnthropicError
        from openai import OpenAIError

        try:
            infer_provider_class(name.partition(":")[0])
            return infer(name, self._provider)
        except (UserError, OpenAIError, AnthropicError, ValueError, ImportError, TypeError) as error:
            first_sentence = str(error).partition(". ")[0].partition(" or pass it via")[0]
            raise InputError(f"model {name!r} cannot be used: {first_sentence} ({remedy})") from None

    def _provider(self, name: str) -> Provider[Any]:
        section = provider_section(name)
        if section not in self._providers:
            self._providers[section] = self._make_provider(name, self._config.providers.get(section))
        return self._providers[section]

    def _make_provider(self, name: str, section: ProviderConfig | None) -> Provider[Any]:
        """A provider on the fast transport, with the SDK's own retries off; one that is on neither SDK as pydantic-ai has it."""
        import anthropic
        import openai
        from anthropic.types.beta import BetaMessage
        from openai.types.chat import ChatCompletion
        from openai.types.responses import Response

        kind = infer_provider_class(name)
        base_url = section.base_url if section else None
        provider = infer_provider(name) if base_url is None else kind(base_url=base_url)  # type: ignore[call-arg]
        client = provider.client
        know_secrets({}, *(getattr(client, attribute, None) for attribute in ("api_key", "auth_token")))
        if isinstance(client, openai.AsyncOpenAI):
            fast_openai = client.with_options(**self._fast(openai))
            quicken(fast_openai, ChatCompletion, Response)
            send_as_given(fast_openai.chat.completions, messages=())
            send_as_given(fast_openai.responses)
            return kind(openai_client=fast_openai)  # type: ignore[call-arg]
        if isinstance(client, anthropic.AsyncAnthropic):
            fast = client.with_options(**self._fast(anthropic), open_telemetry=False)
            quicken(fast, BetaMessage)
            return kind(anthropic_client=fast)  # type: ignore[call-arg]
        turn_retries_off(client)
        return provider

    def _fast(self, sdk: Any) -> dict[str, Any]:
        # The lane's deadline comes first; this time-out only sees to it that a reply may take as long as that.
        timeout = httpx2.Timeout(self._config.limits.call_timeout_s + _CONNECT_S, connect=_CONNECT_S)
        return {"http_client": self._http_client(sdk), "max_retries": 0, "timeout": timeout}

    def _http_client(self, sdk: Any) -> httpx2.AsyncClient:
        most = self._config.limits.concurrency
        allow_open_files((len(self._clients) + 1) * most)
        client = lean_client(sdk.DefaultAioHttpClient, most, _KEEP_ALIVE_S)
        self._clients.append(client)
        return client


def _local_embedding(model: str) -> EmbeddingModel:
    """A model of sentence-transformers, by its name or as a folder. It is loaded when it is first asked."""
    folder = Path(model).expanduser()
    if model.startswith(("/", ".", "~")) and not folder.is_dir():
        raise InputError(f"embedding '{LOCAL}:{model}': there is no such folder")
    try:
        from pydantic_ai.embeddings.sentence_transformers import SentenceTransformerEmbeddingModel
    except ImportError as error:
        raise InputError(
            f"embedding '{LOCAL}:{model}' needs the package sentence-transformers ({error.__cause__ or error}): "
            f'pip install "conflictscope[{LOCAL}]"'
        ) from None
    return SentenceTransformerEmbeddingModel(str(folder))


def turn_retries_off(client: Any) -> None:
    """Leave retries to the lane: an SDK's own would be neither counted nor paid for."""
    if hasattr(client, "max_retries"):
        client.max_retries = 0


def allow_open_files(sockets: int) -> None:
    """See to it that the process may hold so many sockets. Raises InputError where it may not."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = sockets + _FILES_BESIDE_SOCKETS
    if soft != resource.RLIM_INFINITY and soft < needed:
        if hard != resource.RLIM_INFINITY and hard < needed:
            raise InputError(
                f"limits.concurrency: {sockets:,} connections need {needed:,} open files, and this system allows {hard:,} "
                "(ulimit -Hn): lower it"
            )
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
