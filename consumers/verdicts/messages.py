"""Links in messages: added when a message is sent, so that neither the ledger nor who reads it has them."""

from __future__ import annotations

from dataclasses import replace

from consumers.records.delivery import Delivery
from consumers.settings import Settings

from .links import Asked, Links


class LinkedMessages:
    """Adds links to messages about events, where the settings ask for them."""

    def __init__(self, settings: Settings) -> None:
        """Prepare.

        Raises:
            SettingsError: links are wanted, and their secret cannot be used.
        """
        verdicts = settings.verdicts
        self._links = Links(verdicts.base_url, *verdicts.signing()) if verdicts.base_url is not None else None
        self._good_for_us = int(verdicts.expires_hours * 3.6e9)

    def linked(self, delivery: Delivery) -> Delivery:
        """The message with `links` in its data, the same ones on each try."""
        if self._links is None or delivery.kind != "event" or delivery.drill is not None:
            return delivery
        data = delivery.message["data"]
        links = self._links.all(Asked.about(data, delivery.channel, delivery.expires_us + self._good_for_us))
        return replace(delivery, message={**delivery.message, "data": {**data, "links": dict(links)}})
