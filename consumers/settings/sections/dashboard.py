"""The section of the dashboard and its HTTP API: where it is served, who may see and do what, and what it keeps."""

from __future__ import annotations

import datetime as dt
import ipaddress
from pathlib import Path
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, ValidationInfo, model_validator

from consumers.settings.addresses import is_loopback
from consumers.settings.section import MAX_COUNT, MAX_HOURS, PART, Section, SettingsError
from consumers.settings.security import one_of, secret
from stream import Secret

Role = Literal["viewer", "operator", "admin"]

_PersonName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$")]
#: As the provider calls it: "/staff/guards", an id of 36 characters.
_GroupName = Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[^\x00-\x1f\x7f]+$")]
_CameraPattern = Annotated[str, Field(pattern=r"^[A-Za-z0-9._\-*?\[\]!]{1,128}$")]
_TOKEN_HASH: Final = r"^sha256:[0-9a-f]{64}$"  # noqa: S105  what a hash looks like
_PASSWORD_HASH: Final = r"^\$argon2id\$.{20,400}$"  # noqa: S105
#: Who may see signed values can try secrets on them.
_SHORTEST_SECRET: Final = 16


def _check_network(text: str) -> str:
    try:
        ipaddress.ip_network(text)
    except ValueError:
        raise ValueError("expected an address such as 10.0.0.7, or a network such as 10.0.0.0/24") from None
    return text


def _check_issuer(text: str) -> str:
    parts = _split(text, "https://id.example/realms/main")
    if parts[0] != "https" and not is_loopback(parts[1]):
        raise ValueError("expected https: whoever is in between could say who asks")
    return text


def _check_site(text: str) -> str:
    _, _, rest = _split(text, "https://clipline.example")
    if rest:
        raise ValueError("expected no path: pages are at / of a host, as https://clipline.example")
    return text.rstrip("/")


def _split(text: str, example: str) -> tuple[str, str, str]:
    """Scheme, host and what is behind the port of an address that needs no more."""
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        host = ""
    if not host or parts.scheme not in {"http", "https"} or parts.query or parts.fragment or "@" in parts.netloc:
        raise ValueError(f"expected an address such as {example}")
    return parts.scheme, host, parts.path.strip("/")


class AccessSettings(Section):
    """What somebody may see and do."""

    role: Role = Field(
        "viewer",
        description="viewer: looks. operator: also says whether events were right, and saves them as signed evidence. "
        "admin: also sees who did what.",
    )
    cameras: list[_CameraPattern] | None = Field(
        None,
        examples=[["gate*", "dock-1"]],
        min_length=1,
        description="Which cameras there are for this one, ids or patterns. Left out: all.",
    )


class TokenSettings(AccessSettings):
    """A person's or a program's token, [dashboard.tokens.NAME]; `clipline dashboard token NAME` makes one."""

    hash: str | None = Field(
        None,
        examples=[f"sha256:{64 * '0'}"],
        pattern=_TOKEN_HASH,
        description="Of the token; the token itself is nowhere.",
    )
    hash_file: Path | None = Field(None, examples=["/run/secrets/clipline-ana"], description="A file that holds hash.")
    expires: dt.date | None = Field(
        None, examples=["2027-01-31"], description="The last day (UTC) on which it is taken. Left out: for ever."
    )

    @model_validator(mode="after")
    def _has_hash(self, info: ValidationInfo) -> TokenSettings:
        one_of({name for name, value in self if value is not None}, "hash", "hash_file")
        if info.context != PART and self.hash is None and self.hash_file is None:
            raise ValueError("expected hash or hash_file; `clipline dashboard token NAME` prints a token and its hash")
        return self


class UserSettings(AccessSettings):
    """A person who logs in, [dashboard.users.NAME]; `clipline dashboard password NAME` makes the hash."""

    password_hash: str | None = Field(
        None,
        examples=["$argon2id$v=19$m=65536,t=3,p=4$…"],
        pattern=_PASSWORD_HASH,
        description="Of the password, by Argon2id.",
    )
    password_hash_file: Path | None = Field(
        None, examples=["/run/secrets/clipline-bo"], description="A file that holds password_hash."
    )

    @model_validator(mode="after")
    def _one_hash(self) -> UserSettings:
        one_of({name for name, value in self if value is not None}, "password_hash", "password_hash_file")
        return self


class GroupSettings(AccessSettings):
    """What members of a group of the OpenID provider may see and do, [dashboard.oidc.groups.NAME]. Of somebody's
    groups those with the highest role count, with all of their cameras.
    """


class OidcSettings(Section):
    """An OpenID provider at which people log in, such as Keycloak. Needs the extra `oidc`. Whoever has a table
    [dashboard.users.NAME] has that role and those cameras, else those of the groups, else default_role.
    """

    issuer: Annotated[str, AfterValidator(_check_issuer)] | None = Field(
        None,
        examples=["https://id.example/realms/main"],
        max_length=1024,
        description="The provider's address; behind it lies /.well-known/openid-configuration. Left out: there is "
        "none.",
    )
    client_id: str | None = Field(
        None, examples=["clipline"], min_length=1, max_length=256, description="What we are called there."
    )
    client_secret: SecretStr | None = Field(
        None, examples=["…"], description="With which we prove that. Left out: a public client, with PKCE alone."
    )
    client_secret_file: Path | None = Field(
        None, examples=["/run/secrets/clipline-oidc"], description="A file that holds client_secret."
    )
    public_url: Annotated[str, AfterValidator(_check_site)] | None = Field(
        None,
        examples=["https://clipline.example"],
        max_length=1024,
        description="Where browsers reach the pages. The provider has to allow that address with "
        "/api/v1/session/oidc/callback behind it. Left out: as the browser asks for it, on this machine only.",
    )
    title: str | None = Field(
        None,
        examples=["Keycloak"],
        min_length=1,
        max_length=64,
        description="What the button calls the provider. Left out: its host.",
    )
    scopes: tuple[Annotated[str, Field(pattern=r"^[!#-\[\]-~]{1,128}$")], ...] = Field(
        ("openid", "profile", "email"), description="What we ask for: openid, and whatever brings the claims below."
    )
    name_claim: str | None = Field(
        None,
        examples=["sub"],
        min_length=1,
        max_length=256,
        description="The claim that names somebody; email counts only where it is verified. Left out: "
        "preferred_username, else email, else sub. Where people may choose those themselves: sub.",
    )
    groups_claim: str = Field(
        "groups",
        min_length=1,
        max_length=256,
        description="The claim that lists groups or roles; dots lead into it: realm_access.roles.",
    )
    groups: dict[_GroupName, GroupSettings] = Field(
        default_factory=dict, description="What groups may, each a table [dashboard.oidc.groups.NAME]."
    )
    default_role: Role | None = Field(
        None,
        examples=["viewer"],
        description="The role of those who are in none of the groups and no users here: of whoever has an account "
        "there. Left out: they are refused.",
    )
    ca_file: Path | None = Field(
        None,
        examples=["/run/secrets/id-ca.pem"],
        description="Certificates (PEM) of the CA that signed the provider's. Left out: those that the system trusts.",
    )

    @model_validator(mode="after")
    def _belongs_together(self, info: ValidationInfo) -> OidcSettings:
        one_of({name for name, value in self if value is not None}, "client_secret", "client_secret_file")
        if info.context == PART:
            return self
        if "openid" not in self.scopes:
            raise ValueError("scopes: expected openid among them")
        if (self.issuer is None) != (self.client_id is None):
            raise ValueError("issuer and client_id belong together")
        if self.issuer is None and self != OidcSettings.model_construct():
            raise ValueError("expected issuer, the address of the provider")
        return self

    @property
    def is_set(self) -> bool:
        """Whether people log in there."""
        return self.issuer is not None

    def secret(self) -> Secret | None:
        """With which we prove who we are; None for a public client.

        Raises:
            SettingsError: its file cannot be read.
        """
        return secret("dashboard.oidc.client_secret", self.client_secret, self.client_secret_file)


class DashboardSettings(Section):
    """The HTTP API: `clipline dashboard`, and within `clipline run`."""

    enabled: bool = Field(
        True,  # noqa: FBT003  a default
        description="Let `clipline run` serve it. false: it starts no process for it.",
    )
    listen: str = Field(
        "127.0.0.1:8320",
        description="Where it is served, HOST:PORT. Other addresses than this machine's own need tokens, users, an "
        "OpenID provider or a proxy that names who asks.",
    )
    tokens: dict[_PersonName, TokenSettings] = Field(
        default_factory=dict, description="Who comes with a token, each a table [dashboard.tokens.NAME]."
    )
    users: dict[_PersonName, UserSettings] = Field(
        default_factory=dict,
        description="Who logs in with a password, or is named by a proxy or an OpenID provider, each a table "
        "[dashboard.users.NAME].",
    )
    oidc: OidcSettings = Field(default_factory=OidcSettings, description="An OpenID provider, [dashboard.oidc].")
    user_header: str | None = Field(
        None,
        examples=["X-Forwarded-User"],
        pattern=r"^[A-Za-z0-9-]{1,64}$",
        description="The header in which a proxy of trusted_proxies says who asks. It has to remove what a client "
        "sends under that name.",
    )
    trusted_proxies: tuple[Annotated[str, AfterValidator(_check_network)], ...] = Field(
        (),
        examples=[["10.0.0.7"]],
        description="Addresses and networks of proxies. Headers about who asks, and from where, are taken from no "
        "other.",
    )
    proxy_role: Role | None = Field(
        None,
        examples=["viewer"],
        description="The role of those whom a proxy names and who are no users here. Left out: they are refused.",
    )
    secret: SecretStr | None = Field(
        None,
        examples=["…"],
        description="Signs sessions and the tokens of live views, 16 characters or more. Left out: a new one at each "
        "start, which ends all sessions.",
    )
    secret_file: Path | None = Field(
        None, examples=["/run/secrets/clipline-dashboard"], description="A file that holds secret."
    )
    session_hours: float = Field(12.0, gt=0, le=30 * 24, description="Hours after which somebody has to log in again.")
    live_token_seconds: float = Field(
        300.0, ge=10, le=24 * 3600, description="Seconds for which the token of a camera's live view is good."
    )
    share_hours: float = Field(
        72.0, gt=0, le=24 * 366, description="Hours for which a link to one event holds, unless it is made for others."
    )
    max_share_hours: float = Field(
        30 * 24.0, gt=0, le=24 * 366, description="Hours for which such a link holds at most."
    )
    max_shares: int = Field(
        1000, ge=1, le=10_000, description="Links that hold at once. To make one more, one has to be revoked."
    )
    requests_per_minute: int = Field(
        1200,
        ge=1,
        le=MAX_COUNT,
        description="Requests a minute of one token, user or address; more are told to wait (429).",
    )
    footage_requests_per_minute: int = Field(
        30_000,
        ge=1,
        le=MAX_COUNT,
        description="Likewise, of playlists and segments, which are not among those: a wall of 16 cameras asks 2000 "
        "times a minute.",
    )
    failures_per_minute: int = Field(
        20,
        ge=1,
        le=MAX_COUNT,
        description="Wrong passwords and tokens a minute from one address; more are told to wait (429).",
    )
    max_clients: int = Field(
        256, ge=1, le=10_000, description="Connections at once. One more is told to come back later (503)."
    )
    max_streams: int = Field(
        128, ge=1, le=10_000, description="Of these, streams of events at once. One more is told to come back later."
    )
    max_fast_views: int = Field(
        16,
        ge=1,
        le=1000,
        description="Fast views of cameras at once; the partition of each is read as long as somebody watches. One "
        "more is told to come back later.",
    )
    max_events: int = Field(
        20_000, ge=1, le=1_000_000, description="Events that are kept in memory, about 2 kB each. The oldest go first."
    )
    keep_hours: float = Field(
        30 * 24.0, gt=0, le=MAX_HOURS, description="Hours for which events, verdicts and messages are kept there."
    )
    footage_megabytes: float = Field(
        128.0,
        gt=0,
        le=100_000,
        description="Megabytes (1,048,576 bytes) of the segments that were served last, for the next who asks. What "
        "is not there any more is read from Kafka again.",
    )
    reports: Path | None = Field(
        None,
        examples=["/var/lib/clipline/reports"],
        description="A folder of reports of `replay`, `tune` and `evaluate`, .html and .json, which the pages list and "
        "show. Left out: none are.",
    )
    audit_days: float = Field(
        365.0, gt=0, le=MAX_HOURS / 24, description="Days that the topic of who changed what is kept."
    )

    @model_validator(mode="after")
    def _belongs_together(self, info: ValidationInfo) -> DashboardSettings:
        one_of({name for name, value in self if value is not None}, "secret", "secret_file")
        if info.context == PART:
            return self
        if self.user_header is not None and not self.trusted_proxies:
            raise ValueError("user_header needs trusted_proxies: anybody could send it")
        if self.proxy_role is not None and self.user_header is None:
            raise ValueError("proxy_role needs user_header, in which the proxy says who asks")
        if self.oidc.is_set and not (self.oidc.groups or self.oidc.default_role or self.users):
            raise ValueError("oidc lets nobody in: set its groups or default_role, or users")
        if self.max_streams >= self.max_clients:
            raise ValueError(f"max_streams = {self.max_streams}: expected less than max_clients, {self.max_clients}")
        if self.share_hours > self.max_share_hours:
            raise ValueError(f"share_hours = {self.share_hours:g}: expected at most {self.max_share_hours:g}")
        if self.secret is not None and len(self.secret.get_secret_value()) < _SHORTEST_SECRET:
            raise ValueError(f"secret: expected {_SHORTEST_SECRET} characters or more")
        return self

    @property
    def is_open(self) -> bool:
        """Whether whoever reaches it is let in."""
        is_named = bool(self.tokens) or self.user_header is not None or self.oidc.is_set
        return not is_named and not self.has_passwords

    @property
    def has_passwords(self) -> bool:
        """Whether anybody can log in with a password."""
        return any(map(_has_password, self.users.values()))

    def signing(self) -> Secret | None:
        """What signs sessions; None where each start has its own.

        Raises:
            SettingsError: it is too short, or its file cannot be read.
        """
        found = secret("dashboard.secret", self.secret, self.secret_file)
        if found is not None and len(found.reveal()) < _SHORTEST_SECRET:
            raise SettingsError(f"dashboard.secret: expected {_SHORTEST_SECRET} characters or more")
        return found


def _has_password(user: UserSettings) -> bool:
    return user.password_hash is not None or user.password_hash_file is not None
