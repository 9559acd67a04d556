"""Mail, chat, push and the rest through Apprise, in a process of its own for each message.

Its hundred services run code of many authors, with waits of their own: what takes longer than the channel allows is
killed. None of them knows a message that comes again: the ledger says `sending` before, and a notifier that dies
amid it sends that one message once more.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

import apprise

from consumers.notifying.plan import Again, Outcome, Sent
from consumers.notifying.words import words_of
from consumers.records.delivery import Delivery
from consumers.settings import SettingsError
from consumers.settings.notifying import ChannelSettings

from .hiding import without_secrets

#: Beside the time for the message: until Python and Apprise are loaded.
_START_SECONDS: Final = 10.0
_SHOWN_CHARACTERS: Final = 300
_CODE: Final = """
import json, logging, sys
import apprise
job = json.load(sys.stdin)
logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(message)s")
target = apprise.Apprise()
if not target.add(job["url"]):
    sys.exit(3)
sys.exit(0 if target.notify(title=job["title"], body=job["body"]) else 4)
"""


def open_apprise(name: str, address: str, settings: ChannelSettings) -> AppriseChannel:
    """A channel that tells one of Apprise's services.

    Raises:
        SettingsError: it knows no such address.
    """
    if apprise.Apprise.instantiate(address) is None:
        raise SettingsError(
            f"channels.{name}.url: expected an address of Apprise's, such as mailto://user:password@host"
        )
    return AppriseChannel(address, settings)


class AppriseChannel:
    """Sends messages to one of Apprise's services."""

    can_tell: ClassVar = False
    at_once: ClassVar = 1

    def __init__(self, url: str, settings: ChannelSettings) -> None:
        self._url, self._settings = url, settings

    def begin(self, labels: Mapping[str, Sequence[str]]) -> None:
        """See `Channel.begin`; there is nothing to take."""

    def end(self, *, is_taken_over: bool) -> None:
        """See `Channel.end`."""

    def send(self, delivery: Delivery) -> Outcome:
        """See `Channel.send`."""
        title, body = words_of(delivery, self._settings)
        job: dict[str, Any] = {"url": self._url, "title": title, "body": body}
        limit = self._settings.timeout_seconds
        try:
            done = subprocess.run(  # noqa: S603  our own code
                [sys.executable, "-P", "-c", _CODE],
                input=json.dumps(job).encode(),
                capture_output=True,
                timeout=limit + _START_SECONDS,
                check=False,
                # Ctrl-C is for us: what is under way has its time to get there.
                start_new_session=True,
            )
        except subprocess.TimeoutExpired:
            return Again("timeout", f"the service has not taken it within {limit:g} s")
        except OSError as error:
            return Again("unreachable", f"no process for it ({error.strerror})")
        if done.returncode == 0:
            return Sent("taken by the service")
        said = " ".join(done.stderr.decode("utf-8", errors="replace").split())
        said = without_secrets(said, self._url)[-_SHOWN_CHARACTERS:]
        return Again("unreachable", said or f"Apprise ended with {done.returncode}")
