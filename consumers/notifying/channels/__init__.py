"""How messages get to whoever is told: one module for each kind of channel."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, Final, Protocol

from consumers.notifying.pictured import NO_PICTURES, Pictures
from consumers.notifying.plan import Outcome
from consumers.records.delivery import Delivery
from consumers.settings import SettingsError
from consumers.settings.sections.notifying import ChannelSettings


class Channel(Protocol):
    """Takes one message to its receiver. For several threads."""

    #: Whether the receiver can tell a message that comes again, by its id.
    can_tell: ClassVar[bool]
    #: Messages that may be under way at once.
    at_once: ClassVar[int]

    def begin(self, labels: Mapping[str, Sequence[str]]) -> None:
        """Messages are to come; connect, where a connection is kept.

        Args:
            labels: those of the events that were told of before, by camera.
        """

    def end(self, *, is_taken_over: bool) -> None:
        """No more messages come for now; let go of what `begin` or `send` took.

        Args:
            is_taken_over: another notifier sends them.
        """

    def send(self, delivery: Delivery, pictures: Pictures = NO_PICTURES) -> Outcome:
        """Try it once, for as long as the channel's settings say; raises nothing.

        Args:
            delivery: the message.
            pictures: those that travel with it.
        """


#: What a kind of channel needs, by the package that it is imported from.
_NEEDS: Final = {"webhook": ("standardwebhooks", "httpx"), "apprise": ("apprise",), "mqtt": ("paho",)}


def open_channel(name: str, settings: ChannelSettings) -> Channel:
    """The channel that `settings` describe.

    Raises:
        SettingsError: its address or a secret cannot be used, or a library is missing; the message names the channel.
    """
    for package in _NEEDS[settings.kind]:
        if importlib.util.find_spec(package) is None:
            raise SettingsError(f"channels.{name}: {package} is missing: pip install 'clipline[notify]'")
    address = settings.address(name, dict(os.environ))
    make: Callable[[str, str, ChannelSettings], Channel]
    if settings.kind == "webhook":
        from .webhook import open_webhook as make  # noqa: PLC0415  an extra
    elif settings.kind == "mqtt":
        from .mqtt import open_mqtt as make  # noqa: PLC0415
    else:
        from .apprise import open_apprise as make  # noqa: PLC0415
    return make(name, address, settings)
