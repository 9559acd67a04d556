"""An OpenID provider over HTTP, by authlib: discovery, keys, PKCE, state, nonce and the checks of id_tokens are its.

What is ours: how long what it said is kept, how long we wait, and what we take it at its word for. `iss` and `aud` are
checked against the settings, and signatures by a key that only the provider has: neither `none` nor a shared secret.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import httpx2
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.starlette_client import StarletteIntegration, StarletteOAuth2App
from joserfc.errors import JoseError
from starlette.requests import Request
from starlette.responses import Response

from consumers.printable import printable
from consumers.settings import OidcSettings, SettingsError, is_loopback
from stream import Secret

from .claims import Person, lacks, person_of
from .errors import ProviderError

# It tells each request that went well.
logging.getLogger("httpx2").setLevel(logging.WARNING)

#: For each answer, and for all that one step of a login asks for.
_ANSWER_SECONDS: Final = 5.0
_STEP_SECONDS: Final = 12.0
#: What the provider says of itself is asked for anew after so long; where that failed, nobody asks again at once.
_KEEP_SECONDS: Final = 3600.0
_RETRY_SECONDS: Final = 3.0
_MAX_BYTES: Final = 1024 * 1024
_SHOWN: Final = 200
_ENDPOINTS: Final = ("authorization_endpoint", "token_endpoint", "jwks_uri")
#: Of which only the provider has the key.
_ALGORITHMS: Final = frozenset(f"{kind}{bits}" for kind in ("RS", "PS", "ES") for bits in (256, 384, 512)) | {"EdDSA"}
#: What a provider may say in place of a code (RFC 6749, OpenID Connect Core), as users need it.
_REFUSALS: Final[Mapping[str, str]] = {
    "access_denied": "the login was refused there, by you or by the provider",
    "login_required": "nobody is logged in there",
    "interaction_required": "it has a question that was not answered",
    "consent_required": "consent was not given there",
    "account_selection_required": "no account was chosen there",
    "invalid_scope": "it does not know the scopes of the settings",
    "invalid_grant": "its code was used before, or is too old",
    "unauthorized_client": "it does not let our client do this",
    "invalid_request": "it does not understand our request",
    "unsupported_response_type": "it does not give codes to our client",
    "server_error": "something went wrong there",
    "temporarily_unavailable": "it cannot be asked at the moment",
}


class OpenIdProvider:
    """A provider, and us as its client. For one event loop."""

    def __init__(self, settings: OidcSettings, secret: Secret | None) -> None:
        """Prepare; nothing is asked for yet.

        Raises:
            SettingsError: the certificates cannot be used.
        """
        self._settings, self._secret = settings, secret
        self._issuer, self._client = settings.issuer or "", settings.client_id or ""
        self._tls = _tls(settings.ca_file)
        self._room = asyncio.Lock()
        self._known: tuple[StarletteOAuth2App, float] | None = None
        self._failed: tuple[ProviderError, float] | None = None

    async def begin(self, request: Request, back: str) -> Response:
        """Send a browser to the provider, which sends it on to `back`; what we need then is put into the session.

        Raises:
            ProviderError: the provider cannot be asked.
        """
        async with self._patiently():
            app = await self._app()
            answer: Response = await app.authorize_redirect(request, back)
            return answer

    async def end(self, request: Request) -> Person:
        """Who comes back from the provider.

        Raises:
            ProviderError: the provider cannot be asked, does not vouch for anybody, or this browser began no login.
            NamelessError: it names somebody in no way that we can use.
        """
        async with self._patiently():
            app = await self._app()
            said = request.query_params
            is_ours = bool(await app.framework.get_state_data(request.session, said.get("state")))
            if is_ours and "error" in said:
                raise _refused(said["error"], said.get("error_description"))
            # Some forget the state then. What anybody may have written is not repeated.
            if request.session and "state" not in said and said.get("error") in _REFUSALS:
                raise _refused(said["error"], None)
            if not is_ours:
                raise ProviderError("login-lost", "this login was not begun in this browser, or it took too long")
            return await self._vouched(app, request)

    async def _vouched(self, app: StarletteOAuth2App, request: Request) -> Person:
        expected = {
            "iss": {"essential": True, "value": app.server_metadata["issuer"]},
            "aud": {"essential": True, "value": self._client},
        }
        try:
            token = await app.authorize_access_token(request, claims_options=expected)
            claims = token.get("userinfo")
            if not claims:
                raise ProviderError("login-refused", "the provider sent no id_token")
            claims = dict(claims)
            if lacks(claims, self._settings) and app.server_metadata.get("userinfo_endpoint"):
                more = await app.userinfo(token=token)
                # OpenID Connect Core, 5.3.2: it may be about somebody else.
                if more.get("sub") != claims["sub"]:
                    raise ProviderError("login-refused", "the provider speaks of somebody else than before")
                claims = {**more, **claims}
        except JoseError as error:
            # It may have other keys by now.
            self._known = None
            raise ProviderError("login-refused", f"the provider's id_token does not hold: {_words(error)}") from error
        except AuthlibBaseError as error:
            raise _refused(str(error.error), error.description) from error
        return person_of(claims, self._settings)

    async def _app(self) -> StarletteOAuth2App:
        """The provider as it describes itself, asked by one for all who wait."""
        async with self._room:
            now = time.monotonic()
            if self._known is not None and now - self._known[1] < _KEEP_SECONDS:
                return self._known[0]
            if self._failed is not None and now - self._failed[1] < _RETRY_SECONDS:
                raise ProviderError(self._failed[0].kind, str(self._failed[0]))
            try:
                async with self._told():
                    app = await self._described()
            except ProviderError as error:
                self._failed = error, time.monotonic()
                raise
            self._known, self._failed = (app, now), None
            return app

    async def _described(self) -> StarletteOAuth2App:
        app = StarletteOAuth2App(
            StarletteIntegration("oidc"),
            client_id=self._client,
            client_secret=None if self._secret is None else self._secret.reveal(),
            server_metadata_url=f"{self._issuer.rstrip('/')}/.well-known/openid-configuration",
            client_kwargs={
                "scope": " ".join(self._settings.scopes),
                "code_challenge_method": "S256",
                "timeout": _ANSWER_SECONDS,
                "verify": self._tls,
                "event_hooks": {"response": [_bound]},
            },
        )
        app.server_metadata = self._checked(await app.load_server_metadata())
        return app

    def _checked(self, said: Mapping[str, Any]) -> dict[str, Any]:
        """What we use of what a provider says of itself."""
        if str(said.get("issuer")).rstrip("/") != self._issuer.rstrip("/"):
            shown = printable(str(said.get("issuer")))[:_SHOWN]
            raise ProviderError("provider-wrong", f"{self._issuer} calls itself {shown}: set dashboard.oidc.issuer so")
        found = {"issuer": said["issuer"], "_loaded_at": said["_loaded_at"]}
        for name in (*_ENDPOINTS, "userinfo_endpoint"):
            if (address := said.get(name)) is None and name not in _ENDPOINTS:
                continue
            if not self._is_safe(address):
                raise ProviderError("provider-wrong", f"{self._issuer} names no {name} with https")
            found[name] = address
        algorithms = sorted(_ALGORITHMS & set(said.get("id_token_signing_alg_values_supported") or ["RS256"]))
        if not algorithms:
            raise ProviderError("provider-wrong", f"{self._issuer} signs with no key of its own (RS256, ES256 …)")
        found["id_token_signing_alg_values_supported"] = algorithms
        ways = said.get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
        if self._secret is not None and "client_secret_basic" not in ways and "client_secret_post" in ways:
            found["token_endpoint_auth_method"] = "client_secret_post"  # noqa: S105  a name
        return found

    def _is_safe(self, address: object) -> bool:
        parts = urlsplit(address) if isinstance(address, str) else None
        if parts is None or not parts.hostname:
            return False
        is_here = is_loopback(urlsplit(self._issuer).hostname or "") and is_loopback(parts.hostname)
        return parts.scheme == "https" or (parts.scheme == "http" and is_here)

    @asynccontextmanager
    async def _patiently(self) -> AsyncIterator[None]:
        async with self._told(), asyncio.timeout(_STEP_SECONDS):
            yield

    @asynccontextmanager
    async def _told(self) -> AsyncIterator[None]:
        """Turn what libraries raise into words. What a provider sends may be anything, and then they raise anything."""
        try:
            yield
        except httpx2.HTTPStatusError as error:
            where, status = str(error.request.url.copy_with(query=None)), error.response.status_code
            raise ProviderError("provider-wrong", f"{where} answers {status}") from error
        except (httpx2.HTTPError, TimeoutError, OSError) as error:
            raise ProviderError("provider-away", f"{self._issuer} does not answer: {_words(error)}") from error
        except (ValueError, TypeError, KeyError, AttributeError, RuntimeError, httpx2.InvalidURL, JoseError) as error:
            raise ProviderError(
                "provider-wrong", f"{self._issuer} answers what is not understood: {_words(error)}"
            ) from error


class _Bounded(httpx2.AsyncByteStream):
    """An answer that is given up where it does not end."""

    def __init__(self, stream: httpx2.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for part in self._stream:
            size += len(part)
            if size > _MAX_BYTES:
                raise ValueError(f"more than {_MAX_BYTES:,} bytes")
            yield part

    async def aclose(self) -> None:
        await self._stream.aclose()


async def _bound(response: httpx2.Response) -> None:
    assert isinstance(response.stream, httpx2.AsyncByteStream)
    response.stream = _Bounded(response.stream)


def _refused(error: str, description: str | None) -> ProviderError:
    if error == "invalid_client":
        return ProviderError("provider-wrong", "the provider does not accept dashboard.oidc.client_id with its secret")
    said = _REFUSALS.get(error, printable(error)[:_SHOWN])
    more = f" ({printable(' '.join(description.split()))[:_SHOWN]})" if description else ""
    return ProviderError("login-refused", f"the provider does not let this one in: {said}{more}")


def _words(error: BaseException) -> str:
    return printable(" ".join(str(error).split()))[:_SHOWN] or type(error).__name__


def _tls(ca_file: Path | None) -> ssl.SSLContext | bool:
    if ca_file is None:
        return True
    try:
        return ssl.create_default_context(cafile=ca_file)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise SettingsError(f"dashboard.oidc.ca_file: {ca_file} cannot be used ({why})") from None
