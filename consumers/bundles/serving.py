"""Bundles for clients of the API: one is made at a time, a few wait or are being sent, and more are refused."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO, Final, cast

from anyio import CapacityLimiter

from consumers.settings import Settings, SettingsError
from stream import Transport

from .making import Made, MadeBy, Wanted, make_bundle
from .signing import key_path, signer_at

log = logging.getLogger(__name__)

#: Each takes a processor for seconds, and memory of twice its footage.
_AT_ONCE: Final = 1
#: Those that wait, are made or are being sent: each is a file of `max_megabytes` at most.
_MOST: Final = 4


class TooManyBundlesError(Exception):
    """As many as there may be are asked for."""


class NoKeyError(Exception):
    """There is no key that bundles can be signed with."""


class BundleMaker:
    """Makes them. For one event loop, and one thread at a time: see `room`."""

    def __init__(self, connect: Callable[[], Transport], settings: Settings) -> None:
        self._connect, self._settings = connect, settings
        #: Whoever makes one waits here, and in no thread.
        self.room = CapacityLimiter(_AT_ONCE)
        self._open = 0

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold a place while a bundle is made; `keep_place` has it held until `give_back`.

        Raises:
            TooManyBundlesError: there is none.
        """
        if self._open >= _MOST:
            raise TooManyBundlesError("too many bundles are asked for at once")
        self._open += 1
        try:
            yield
        except BaseException:
            self._open -= 1
            raise

    def give_back(self) -> None:
        """End the hold of a place whose bundle was sent."""
        self._open -= 1

    def make(self, wanted: Wanted, by: MadeBy) -> tuple[BinaryIO, Made]:
        """A bundle in a file that is gone once it is closed.

        Raises:
            NoKeyError: nobody could sign it; the log says why.
            TooMuchFootageError: it would be larger than the settings allow.
            BrokerError: the broker is away.
        """
        try:
            signer, is_new = signer_at(key_path(self._settings.evidence.key))
        except SettingsError as error:
            log.error("bundles cannot be signed: %s", error)  # noqa: TRY400  the message says it all
            raise NoKeyError from None
        if is_new:
            log.info("made the key that signs bundles, %s: %s", signer.path, signer.fingerprint)
        file = cast(BinaryIO, tempfile.TemporaryFile(prefix="clipline-bundle-"))  # noqa: SIM115  sent later
        try:
            made = make_bundle(self._connect(), self._settings, wanted, by, signer, file)
            file.seek(0)
        except BaseException:
            file.close()
            raise
        return file, made
