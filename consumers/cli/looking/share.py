"""The commands for links that show one event to whoever has them."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from consumers.cli.options import KafkaOption, PrintJsonOption, SettingsOption, command_settings, console, errors


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command()(share)
    app.command()(shares)


class SharesAction(StrEnum):
    list = "list"
    revoke = "revoke"


def share(
    event: Annotated[
        str, typer.Argument(metavar="EVENT", help="Id of the event, or the first characters of it.", show_default=False)
    ],
    how_long: Annotated[
        str | None,
        typer.Option("--for", metavar="TIME", help="How long it holds: 12h, 3d, 2w.", show_default="3d"),
    ] = None,
    as_json: PrintJsonOption = False,
    settings_file: SettingsOption = None,
    kafka: KafkaOption = None,
) -> None:
    """Make a link that shows one event to whoever has it, without a login.

    The dashboard serves it: footage, pictures and scores of the event, and
    nothing else. The link is printed once; what is kept is a hash of it. Behind a
    proxy, put its address in front of /share/…

    \b
    Examples:
      clipline share 3f0c6a
      clipline share 3f0c6a --for 12h
    """
    from consumers.records.prediction import rfc3339
    from consumers.settings import is_loopback
    from consumers.terminal.console import print_json
    from consumers.web.sharing.by_hand import make_share
    from consumers.web_server import parse_address
    from stream import KafkaTransport

    settings = command_settings(settings_file, kafka, None)
    hours = settings.dashboard.share_hours if how_long is None else _hours(how_long, settings.dashboard.max_share_hours)
    made, token = make_share(KafkaTransport(settings.broker, at_once=True), settings, event, hours)
    address = f"http://{settings.dashboard.listen}/share/{token}"
    if as_json:
        print_json(
            console, {"id": made.id, "event": made.event, "expires": rfc3339(made.expires_us), "address": address}
        )
    else:
        console.print(address, soft_wrap=True)
        errors.print(
            f"shows event {made.event[:12]} at {made.camera} until {rfc3339(made.expires_us)[:19]}Z; "
            f"`clipline shares revoke {made.id[:8]}` ends it",
            soft_wrap=True,
        )
        if is_loopback(parse_address(settings.dashboard.listen)[0]):
            errors.print(
                "dashboard.listen is this machine's own address: for others, put that of the proxy in front of it",
                soft_wrap=True,
            )


def shares(
    action: Annotated[
        SharesAction, typer.Argument(metavar="ACTION", help="list: those that hold. revoke: end one of them.")
    ] = SharesAction.list,
    link: Annotated[
        str | None,
        typer.Argument(metavar="ID", help="revoke: of the link, or the first characters of it.", show_default=False),
    ] = None,
    as_json: PrintJsonOption = False,
    settings_file: SettingsOption = None,
    kafka: KafkaOption = None,
) -> None:
    """List the links that show an event, or revoke one of them.

    \b
    Examples:
      clipline shares
      clipline shares revoke 5e21c7
    """
    from consumers.records.prediction import rfc3339
    from consumers.terminal.console import print_json
    from consumers.web.sharing.by_hand import forgotten_shares, revoke_share, stored_shares
    from stream import KafkaTransport

    if (action is SharesAction.revoke) != (link is not None):
        raise typer.BadParameter("revoke wants an ID" if link is None else "list takes no ID")
    settings = command_settings(settings_file, kafka, None)
    transport = KafkaTransport(settings.broker, at_once=True)
    if link is not None:
        gone = revoke_share(transport, settings, link)
        console.print(f"{gone.id}: shows nothing any more (event {gone.event[:12]} at {gone.camera})", soft_wrap=True)
        return
    found = stored_shares(transport, settings).shares()
    forgotten = forgotten_shares(transport, settings, found)
    for each in found:
        stretch = forgotten.get(each.id)
        if as_json:
            body = {name: value for name, value in each.body().items() if name not in {"clipline", "token"}}
            print_json(console, body | {"forgotten": None if stretch is None else rfc3339(stretch.time_us)})
        else:
            shows = "" if stretch is None else f"; shows nothing: forgotten since {rfc3339(stretch.time_us)[:19]}Z"
            console.print(
                f"{each.id}  until {rfc3339(each.expires_us)[:19]}Z  event {each.event[:12]} at {each.camera}, "
                f"by {each.by}{shows}",
                soft_wrap=True,
            )
    if not found:
        errors.print("no links", style="yellow")


def _hours(text: str, most: float) -> float:
    """How many hours a time like 12h or 3d is.

    Raises:
        BadParameter: it is no such time, or longer than a link may hold.
    """
    from consumers.times import parse_seconds

    try:
        found = parse_seconds(text) / 3600
    except ValueError as error:
        raise typer.BadParameter(f"--for: {text!r}: {error}") from None
    if not 0 < found <= most:
        raise typer.BadParameter(
            f"--for: {text!r}: expected more than nothing, and at most {most:g} hours, {most / 24:g} days "
            "(dashboard.max_share_hours)"
        )
    return found
