"""The command for the dashboard: its pages, its HTTP API, and who may use them."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from consumers.cli.options import (
    KafkaOption,
    LogOption,
    RedisOption,
    SettingsOption,
    command_settings,
    console,
    end_on_signal,
    errors,
    logged_settings,
)

if TYPE_CHECKING:
    from consumers.settings import Settings


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command()(dashboard)


class DashboardAction(StrEnum):
    serve = "serve"
    token = "token"  # noqa: S105  an action's name
    password = "password"  # noqa: S105


def dashboard(
    action: Annotated[
        DashboardAction,
        typer.Argument(
            metavar="ACTION",
            help="serve: pages and the HTTP API, until Ctrl-C. token: make a token for somebody. password: make what "
            "is kept of a password.",
        ),
    ] = DashboardAction.serve,
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="token, password: of whom.", show_default=False),
    ] = None,
    listen: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="serve: where, instead of `listen` in the settings.",
            show_default="127.0.0.1:8320",
        ),
    ] = None,
    role: Annotated[
        Literal["viewer", "operator", "admin"] | None,
        typer.Option(
            help="token, password: viewer looks, operator also says whether events were right, admin also sees who "
            "did what.",
            show_default="viewer",
        ),
    ] = None,
    camera: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="token, password: a camera that there is for this one, or a pattern such as 'gate*'. May be given "
            "several times.",
            show_default="all",
        ),
    ] = None,
    log: LogOption = None,
    settings_file: SettingsOption = None,
    kafka: KafkaOption = None,
    redis: RedisOption = None,
) -> None:
    """Serve pages to watch cameras and review events, and the HTTP API.

    Pages are at /, the API is at /api/v1, described by /api/v1/openapi.json.
    On this machine both are open. Any other address needs tokens, users or a proxy that says who
    asks: [dashboard] in the settings. `clipline run` serves it by itself.

    token prints a token once, and the lines for the settings, which hold its
    hash only. password asks for a password and prints the lines for it.

    \b
    Examples:
      clipline dashboard
      clipline dashboard token ana --role operator --camera 'gate*'
      clipline dashboard password bo
      clipline dashboard --listen 0.0.0.0:8320
    """
    is_serve = action is DashboardAction.serve
    for option, given, fits in (
        ("NAME", name, not is_serve),
        ("--role", role, not is_serve),
        ("--camera", camera or None, not is_serve),
        ("--listen", listen, is_serve),
        ("--log", log, is_serve),
        ("--settings", settings_file, is_serve),
        ("--kafka", kafka, is_serve),
        ("--redis", redis, is_serve),
    ):
        if given is not None and not fits:
            raise typer.BadParameter(f"{option} is for {'serve' if not is_serve else 'token and password'}")
    if is_serve:
        settings = logged_settings(command_settings(settings_file, kafka, redis), log, "dashboard", console, errors)
        _serve(settings, listen or settings.dashboard.listen)
        return
    if name is None:
        raise typer.BadParameter(f"{action} wants a NAME")
    _make(action, name, role or "viewer", camera or [])


def _serve(settings: Settings, address: str) -> None:
    from consumers.terminal.unhurried_streams import unhurried_streams
    from consumers.web.serving import serving_dashboard

    with end_on_signal(settings.shutdown_seconds) as ending, unhurried_streams(ending.stop.is_set):
        try:
            with serving_dashboard(settings, address) as (url, _):
                pages = url.removesuffix("/api/v1")
                console.print(f"dashboard at {pages}/ (its API: {url}), until Ctrl-C", soft_wrap=True)
                ending.stop.wait()
        except ValueError as error:
            raise typer.BadParameter(f"--listen: {error}") from None


def _make(action: DashboardAction, name: str, role: str, cameras: list[str]) -> None:
    from pydantic import ValidationError

    from consumers.settings import DashboardSettings
    from consumers.web.credentials import MAX_PASSWORD, Passwords, new_token, token_hash

    token = None
    if action is DashboardAction.token:
        token = new_token()
        table, values = "tokens", {"hash": token_hash(token)}
    else:
        password: str = typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
        if len(password) > MAX_PASSWORD:
            raise typer.BadParameter(f"expected a password of {MAX_PASSWORD} characters or less")
        table, values = "users", {"password_hash": Passwords().hash(password)}
    try:
        DashboardSettings.model_validate({table: {name: values | ({"cameras": cameras} if cameras else {})}})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise typer.BadParameter(f"{first['input']!r}: {first['msg']}") from None
    if token is not None:
        errors.print("The token, which nobody can show again:", style="yellow")
        console.print(token, soft_wrap=True)
        errors.print("For the settings:", style="yellow")
    lines = [f'[dashboard.{table}."{name}"]' if not name.replace("-", "").isalnum() else f"[dashboard.{table}.{name}]"]
    lines += [f'{key} = "{value}"' for key, value in values.items()]
    lines.append(f'role = "{role}"')
    if cameras:
        lines.append(f"cameras = [{', '.join(map(_quoted, cameras))}]")
    for line in lines:
        console.print(line, soft_wrap=True)


def _quoted(text: str) -> str:
    return f'"{text}"'  # patterns hold no quotes
