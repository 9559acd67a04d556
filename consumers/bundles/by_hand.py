"""`clipline evidence EVENT --bundle` and `clipline evidence verify`: bundles as files."""

from __future__ import annotations

import getpass
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from consumers.files import replacing
from consumers.outputs.evidence import newest_report
from consumers.printable import printable
from consumers.records.event import Event
from consumers.settings import Settings, SettingsError
from stream import SourceError, Transport

from .checking import MAX_FILE_BYTES, Checked, check
from .making import Made, MadeBy, Wanted, make_bundle
from .signing import Signer, existing_signer, key_path, public_fingerprint, signer_at

_MOST_FINDINGS: Final = 50


@dataclass(frozen=True, slots=True)
class Written:
    """A bundle that was written to a file."""

    event: Event
    made: Made
    signer: Signer
    #: Whether the key was made for it.
    is_new_key: bool


def write_bundle(
    transport: Transport,
    settings: Settings,
    event: str,
    path: Path,
    lead_seconds: float,
    tail_seconds: float,
    *,
    is_blurred: bool = False,
) -> Written:
    """Write the bundle of the event whose id begins so, whole or not at all.

    Raises:
        SourceError: there is no such event, there are several, the bundle would be too large, or the path cannot be
            written.
        SettingsError: the key cannot be used.
        BrokerError: the broker is away.
    """
    if not path.parent.is_dir():
        raise SourceError(f"{path}: there is no folder {path.parent}")
    if path.suffix.lower() not in {".html", ".htm"}:
        raise SourceError(f"{path}: expected a name that ends in .html, as browsers open it by that")
    report = newest_report(transport, settings.topics, event)
    signer, is_new = signer_at(key_path(settings.evidence.key))
    wanted = Wanted(report, lead_seconds, tail_seconds, is_blurred)
    try:
        with replacing(path) as unfinished, unfinished.open("wb") as out:
            made = make_bundle(transport, settings, wanted, _whoever_asks(), signer, out)
    except OSError as error:
        raise SourceError(f"{path}: cannot be written ({error.strerror})") from None
    return Written(report, made, signer, is_new)


def _whoever_asks() -> MadeBy:
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # as in containers whose user has no name
        name = "a user without a name"
    return MadeBy(f"{name} on {socket.gethostname()}", "command line")


def check_file(settings: Settings, path: Path, public_key: str | None) -> Checked:
    """Check the bundle of a file.

    Args:
        settings: of this machine, whose own key counts where no other is named.
        path: the file.
        public_key: who is to have signed it, a fingerprint or a file.

    Raises:
        SourceError: the file cannot be read or is no bundle, or `public_key` names none.
    """
    expected = None if public_key is None else public_fingerprint(public_key)
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise SourceError(f"{path}: cannot be read ({error.strerror})") from None
    if len(data) > MAX_FILE_BYTES:
        raise SourceError(f"{path}: larger than any bundle")
    try:
        return check(data, expected, _own(settings) if expected is None else None)
    except SourceError as error:
        raise SourceError(f"{path}: {error}") from None


def _own(settings: Settings) -> str | None:
    try:
        return existing_signer(key_path(settings.evidence.key)).fingerprint
    except SettingsError:
        return None  # most who check have none


def verdict_lines(path: Path, checked: Checked) -> Iterator[str]:
    """What was found, in words; what the file says of itself only where that was signed."""
    if not checked.is_intact:
        yield f"{path}: CHANGED, or not what it says it is"
        yield from (f"  {finding}" for finding in checked.findings[:_MOST_FINDINGS])
        if (more := len(checked.findings) - _MOST_FINDINGS) > 0:
            yield f"  and {more} more"
        return
    yield {
        "named": f"{path}: intact, and signed by the key that you named",
        "own": f"{path}: intact, and signed by the key of this machine",
        "unknown": f"{path}: intact, but signed by a key that nobody vouched for: name the one that is to have signed "
        "it (--public-key)",
        "other": f"{path}: intact, but NOT signed by the key that you named",
    }[checked.key]
    manifest = checked.manifest
    event, made, key = (_object(manifest.get(name)) for name in ("event", "made", "key"))
    yield _line("key", key.get("fingerprint"))
    yield _line("event", f"{event.get('label')} on {event.get('camera')}, {event.get('start')}, {event.get('event')}")
    yield _line("made, says its maker", f"{made.get('at')} by {made.get('by')} ({made.get('way')})")
    yield _line("with Clipline", made.get("clipline"))
    missing = manifest.get("missing")
    for each in missing if isinstance(missing, list) else []:
        yield _line("not in it", each)


def _line(name: str, value: Any) -> str:
    return f"  {name}: {printable(str(value))}"


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
