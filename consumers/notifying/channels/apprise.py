"""Mail, chat, push and the rest through Apprise, in a process of its own for each message.

Its hundred services run code of many authors, with waits of their own: what takes longer than the channel allows is
killed. None of them knows a message that comes again: the ledger says `sending` before, and a notifier that dies
amid it sends that one message once more.
"""

from __future__ import annotations

import contextlib
import difflib
import json
import logging
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final
from urllib.parse import quote

import apprise

from consumers.files import passing_folder
from consumers.notifying.pictured import NO_PICTURES, Pictures, with_pictures
from consumers.notifying.plan import Again, Outcome, Sent
from consumers.notifying.words import words_of
from consumers.records.delivery import Delivery
from consumers.records.event_pictures import KINDS
from consumers.settings import SettingsError
from consumers.settings.sections.notifying import ChannelSettings

from .hiding import without_secrets

#: Beside the time for the message: until Python and Apprise are loaded.
_START_SECONDS: Final = 10.0
_SHOWN_CHARACTERS: Final = 300
# It logs addresses that it does not understand, with whatever is secret in them.
logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)
_CODE: Final = """
import json, logging, shutil, sys
import apprise
job = json.load(sys.stdin)
logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(message)s")
target = apprise.Apprise()
if not target.add(job["url"]):
    sys.exit(3)
try:
    sys.exit(0 if target.notify(title=job["title"], body=job["body"], attach=job["attach"] or None) else 4)
finally:
    if job["folder"]:  # whoever began this may have been killed, and is not there to do it
        shutil.rmtree(job["folder"], ignore_errors=True)
"""


def open_apprise(name: str, address: str, settings: ChannelSettings) -> AppriseChannel:
    """A channel that tells one of Apprise's services.

    Raises:
        SettingsError: it knows no such address.
    """
    service = apprise.Apprise.instantiate(address)
    if service is None:
        raise SettingsError(f"channels.{name}.url: {_wrong(address)}")
    return AppriseChannel(address, settings, takes_pictures=bool(getattr(service, "attachment_support", True)))


def _wrong(address: str) -> str:
    """What is wrong with an address, in words that show nothing of it but its service."""
    scheme, mark, _ = address.partition("://")
    if not mark or not re.fullmatch(r"[A-Za-z0-9]{1,20}", scheme):
        return "expected an address of Apprise's, such as mailto://user:password@host"
    schemas = apprise.Apprise().details()["schemas"]
    known = {each for schema in schemas for kind in ("protocols", "secure_protocols") for each in schema[kind] or ()}
    if scheme.lower() in known:
        return (
            f"what follows {scheme}:// is not as Apprise has it for this service: "
            f"https://github.com/caronc/apprise/wiki; special characters of a password are written as %40"
        )
    near = difflib.get_close_matches(scheme.lower(), known, n=1)
    return f"Apprise knows no {scheme}://" + (f"; did you mean {near[0]}://?" if near else "")


class AppriseChannel:
    """Sends messages to one of Apprise's services."""

    can_tell: ClassVar = False
    at_once: ClassVar = 1

    def __init__(self, url: str, settings: ChannelSettings, *, takes_pictures: bool) -> None:
        self._url, self._settings, self._takes_pictures = url, settings, takes_pictures

    def begin(self, labels: Mapping[str, Sequence[str]]) -> None:
        """See `Channel.begin`; there is nothing to take."""

    def end(self, *, is_taken_over: bool) -> None:
        """See `Channel.end`."""

    def send(self, delivery: Delivery, pictures: Pictures = NO_PICTURES) -> Outcome:
        """See `Channel.send`."""
        if not pictures:
            return self._tell(delivery, ())
        if not self._takes_pictures:
            return self._tell_without(delivery, "the service takes none")
        with contextlib.ExitStack() as stack:
            try:
                # A file, since not every service of Apprise reads an attachment that is none.
                folder = stack.enter_context(passing_folder())
                for kind, data in pictures.items():
                    (folder / f"{kind}.webp").write_bytes(data)
            except OSError as error:
                return self._tell_without(delivery, f"no place for it ({error.strerror})")
            return self._tell(delivery, sorted(folder.iterdir()))

    def _tell_without(self, delivery: Delivery, why: str) -> Outcome:
        none = {"not_inline": {"reason": "not_taken", "detail": why}}
        outcome = self._tell(with_pictures(delivery, dict.fromkeys(KINDS, none)), ())
        return Sent(f"{outcome.detail}, without its picture: {why}") if isinstance(outcome, Sent) else outcome

    def _tell(self, delivery: Delivery, files: Sequence[Path]) -> Outcome:
        title, body = words_of(delivery, self._settings)
        job: dict[str, Any] = {
            "url": self._url,
            "title": title,
            "body": body,
            "attach": [f"file://{quote(str(file))}?mime=image/webp" for file in files],
            "folder": str(files[0].parent) if files else None,
        }
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
