"""A real OpenID provider over HTTP, whose answers a test may change on their way."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import httpx
import pytest

oidc_provider_mock = pytest.importorskip("oidc_provider_mock")

import flask  # noqa: E402
from joserfc import jwt  # noqa: E402
from joserfc.jwk import RSAKey  # noqa: E402
from werkzeug.serving import make_server  # noqa: E402

Change = Callable[[dict[str, Any]], None]


def _as_it_is(token: str) -> str:
    return token


@dataclass
class Provider:
    """A provider that runs: who is there, what it is asked, and what is changed of its answers."""

    issuer: str = ""
    #: Paths that were asked for, in order.
    asked: list[str] = field(default_factory=list)
    #: What was sent to them last, by path.
    forms: dict[str, dict[str, str]] = field(default_factory=dict)
    #: Of the claims of id_tokens; what is signed is then the provider's own.
    claims: Change | None = None
    #: Of an id_token as it stands.
    token: Callable[[str], str | None] = field(default=_as_it_is)
    #: Of its discovery document.
    described: Change | None = None
    #: In place of an answer, by its path: a body and a status.
    instead: dict[str, tuple[str, int]] = field(default_factory=dict)
    #: Whether it makes a new key before it answers again.
    is_rotating: bool = False

    def forget(self) -> None:
        """Change nothing any more, and begin to count anew."""
        self.claims = self.described = None
        self.token = _as_it_is
        for each in (self.asked, self.forms, self.instead):
            each.clear()

    def person(self, sub: str, **claims: Any) -> None:
        """Somebody who has an account there."""
        assert httpx.put(f"{self.issuer}/users/{quote(sub)}", json=claims, verify=False).status_code == 204

    def agree(self, address: str, sub: str) -> str:
        """Log in there, as a person does on the page at `address`; the address that the browser is sent to."""
        answer = httpx.post(address, data={"sub": sub}, verify=False, timeout=60)
        assert answer.status_code == 302, answer.text
        return answer.headers["location"]

    def refuse(self, address: str) -> str:
        """Likewise, and do not log in. This provider does not send the state back then, which it should."""
        answer = httpx.post(address, data={"action": "deny"}, verify=False, timeout=60)
        assert answer.status_code == 302, answer.text
        return answer.headers["location"]


def _changed(provider: Provider, path: str, text: str) -> str:
    body = json.loads(text)
    if path == "/oauth2/token" and "id_token" in body:
        if provider.claims is not None:
            key = RSAKey.import_key(flask.g.oidc_provider_mock_storage.jwk.as_dict(is_private=True))
            found = jwt.decode(body["id_token"], key)
            provider.claims(found.claims)
            body["id_token"] = jwt.encode(found.header, found.claims, key)
        body["id_token"] = provider.token(body["id_token"])
        if body["id_token"] is None:
            del body["id_token"]
    elif path.startswith("/.well-known/") and provider.described is not None:
        provider.described(body)
    return json.dumps(body)


@contextmanager
def openid_provider(tls: ssl.SSLContext | None = None) -> Iterator[Provider]:
    """A provider at http(s)://localhost:PORT while the body runs; anybody may be its client."""
    provider = Provider()
    app = oidc_provider_mock.app()

    @app.before_request
    def ask() -> Any:
        path = flask.request.path
        provider.asked.append(path)
        provider.forms[path] = flask.request.form.to_dict()
        if provider.is_rotating:
            provider.is_rotating = False
            storage = flask.g.oidc_provider_mock_storage
            storage.jwk = type(storage.jwk).generate_key(is_private=True)
        return provider.instead.get(path)

    @app.after_request
    def change(answer: flask.Response) -> flask.Response:
        if answer.mimetype == "application/json" and answer.status_code == 200:
            answer.set_data(_changed(provider, flask.request.path, answer.get_data(as_text=True)))
        return answer

    server = make_server("localhost", 0, app, threaded=True, ssl_context=tls)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        provider.issuer = f"http{'s' if tls else ''}://localhost:{server.server_port}"
        yield provider
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
