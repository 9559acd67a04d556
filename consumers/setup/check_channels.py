"""What `clipline check` says of who is told of events: channels, groups of cameras, the page behind links, the API."""

from __future__ import annotations

import fnmatch
import importlib.util
from collections.abc import Collection, Iterator
from urllib.parse import urlsplit

from consumers.notifying.channels import open_channel
from consumers.outputs.names import known_names
from consumers.settings import Settings, SettingsError, is_loopback
from models import ModelError, find

from .finding import Finding
from .ports import by_whom, taken_port


def check_channels(settings: Settings) -> Iterator[Finding]:
    """Whether each channel can be used, and whether anybody would ever be told through it. Sends nothing."""
    remarks = list(remarks_on_channels(settings))
    for name, channel in settings.channels.items():
        subject = f"channel {name}"
        try:
            open_channel(name, channel).end(is_taken_over=True)
        except SettingsError as error:
            yield from (Finding("error", subject, problem) for problem in error.problems)
        else:
            if all(remark.subject != subject for remark in remarks):
                yield Finding("ok", subject, f"{channel.kind}; `clipline notify test {name}` sends one message")
    yield from remarks
    yield from _page(settings)
    yield from _api(settings)


def remarks_on_channels(settings: Settings) -> Iterator[Finding]:
    """What channels, and rules of groups, name and nothing is called, and what they want and nobody makes."""
    labels, cameras = _labels(settings), list(settings.cameras)
    for name, channel in settings.channels.items():
        subject = f"channel {name}"
        for label in channel.labels:
            if labels and label not in labels:
                yield Finding("warning", subject, f"the model has no label {label!r} ({known_names(label, labels)})")
        yield from _unknown(subject, channel.cameras, cameras)
        if channel.pictures != "none" and (why := _no_pictures(settings)):
            yield Finding("warning", subject, f"pictures = {channel.pictures!r}, and there will be none: {why}")
    for number, rule in enumerate(settings.rules, 1):
        if rule.group:
            yield from _unknown(f"rules #{number}", [rule.camera], cameras)


def _labels(settings: Settings) -> tuple[str, ...]:
    try:
        return find(settings.worker.model).contract.labels
    except ModelError:
        return ()  # which is said of the model


def _unknown(subject: str, patterns: Collection[str], cameras: Collection[str]) -> Iterator[Finding]:
    """Patterns that are like no camera; none where the settings hold no cameras, since others attach them."""
    for pattern in patterns:
        if cameras and not fnmatch.filter(cameras, pattern):
            yield Finding(
                "warning", subject, f"no camera of the settings is like {pattern!r} ({known_names(pattern, cameras)})"
            )


def _no_pictures(settings: Settings) -> str:
    """Why no pictures of events are made; empty where they are."""
    if not settings.pictures.enabled:
        return "pictures.enabled = false"
    return "" if importlib.util.find_spec("PIL") else "Pillow is missing: pip install 'clipline[pictures]'"


def _api(settings: Settings) -> Iterator[Finding]:
    """The HTTP API, where it would not be served."""
    dashboard = settings.dashboard
    try:
        host = urlsplit(f"//{dashboard.listen}").hostname or "127.0.0.1"
    except ValueError:
        yield Finding("error", "dashboard", f"listen = {dashboard.listen!r}: expected HOST:PORT")
        return
    if dashboard.enabled:
        yield from _port(dashboard.listen)
    if dashboard.enabled and dashboard.is_open and not is_loopback(host):
        text = f"{dashboard.listen} is not served: others reach it, and nobody has to say who asks"
        yield Finding("error", "dashboard", f"{text} (`clipline dashboard token NAME`)")
    try:
        dashboard.signing()
        dashboard.oidc.secret()
    except SettingsError as error:
        yield Finding("error", "dashboard", str(error))
    if dashboard.oidc.is_set and importlib.util.find_spec("authlib") is None:
        text = "nobody can log in at the provider: authlib is missing: pip install 'clipline[oidc]'"
        yield Finding("error", "dashboard.oidc", text)
    if dashboard.oidc.is_set and dashboard.oidc.public_url is None and not is_loopback(host):
        text = "public_url is missing: others than those at this machine cannot log in at the provider"
        yield Finding("error", "dashboard.oidc", text)


def _port(listen: str) -> Iterator[Finding]:
    """Where the dashboard would be, as `check_services` says it of the broker and Redis."""
    try:
        port = urlsplit(f"//{listen}").port
    except ValueError:
        return
    if port and taken_port(listen):
        text = f"taken{by_whom(port)}: well if that is the dashboard of a `clipline run`, else name"
        yield Finding("warning", f"port {port}", f"{text} another port in dashboard.listen")
    elif port:
        yield Finding("ok", f"port {port}", "free, for the dashboard")


def _page(settings: Settings) -> Iterator[Finding]:
    """The page behind the links in messages."""
    if not settings.verdicts.is_set:
        return
    try:
        settings.verdicts.signing()
    except SettingsError as error:
        yield Finding("error", "verdicts", str(error))
        return
    if settings.verdicts.enabled and importlib.util.find_spec("uvicorn") is None:
        text = "messages have links, and nobody serves their page: uvicorn is missing: pip install 'clipline[serve]'"
        yield Finding("error", "verdicts", text)
    else:
        yield Finding("ok", "verdicts", f"http://{settings.verdicts.listen} behind {settings.verdicts.base_url}")
