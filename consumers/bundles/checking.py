"""What was changed in a bundle since it was signed, and whose key signed it. Pure: a file's bytes in, findings out.

every part is as the manifest says, and no other is there
the page around them is as it says          ┐
the manifest is the one that was signed     ├─▶ intact; else each thing that is not so, by name
the signature is that of the manifest's key ┘
the key is one that somebody vouches for      ─▶ named | own | unknown | other
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from consumers.printable import printable
from stream import SourceError

from .layout import JSON, MANIFEST, SIGNATURE, FoundPart, NoBundleError, TakenApart, canonical, take_apart
from .signing import ALGORITHM, fingerprint, holds

FORMAT: Final = "clipline-evidence/1"
#: A file that is larger is none of ours.
MAX_FILE_BYTES: Final = 1 << 30
#: named: the key that was to have signed it. own: that of this machine. unknown: nobody said anything about it.
#: other: not the one that was to have signed it.
Key = Literal["named", "own", "unknown", "other"]
_SHOWN: Final = 200
_HEX: Final = re.compile(r"(?:[0-9a-f]{2}){1,64}")


@dataclass(frozen=True, slots=True)
class Checked:
    """What was found."""

    #: Each thing that is not as it was signed, in words; nothing where all is.
    findings: tuple[str, ...]
    #: The fingerprint of the key that signed the manifest; None where no key did.
    signer: str | None
    key: Key
    #: What the manifest says; nothing of it is to be believed where there are findings.
    manifest: Mapping[str, Any]

    @property
    def is_intact(self) -> bool:
        return not self.findings

    @property
    def is_vouched_for(self) -> bool:
        """Intact, and by a key that somebody vouches for."""
        return self.is_intact and self.key in {"named", "own"}


def check(data: bytes, expected: str | None = None, own: str | None = None) -> Checked:
    """Check a bundle.

    Args:
        data: the file.
        expected: the fingerprint of the key that is to have signed it.
        own: that of this machine's key, which counts where no other is expected.

    Raises:
        SourceError: the file is no bundle.
    """
    try:
        found = take_apart(data)
    except NoBundleError:
        raise SourceError("no bundle of evidence, or one whose marks were damaged: it has no place for parts") from None
    manifest, signer, findings = _signed(found)
    findings += _changed(found, manifest) if manifest else []
    findings += [f"line {number} between the marks is no part: it was added or damaged" for number in found.strays]
    return Checked(tuple(findings), signer, _whose(signer, expected, own), manifest)


def _whose(signer: str | None, expected: str | None, own: str | None) -> Key:
    if expected is not None:
        return "named" if signer == expected else "other"
    return "own" if signer is not None and signer == own else "unknown"


def _signed(found: TakenApart) -> tuple[Mapping[str, Any], str | None, list[str]]:
    """The manifest (empty where it cannot be read), who signed it, and what is wrong with that."""
    texts, findings = _signed_texts(found)
    if findings:
        return {}, None, findings
    manifest, signature = _object(texts[MANIFEST]), _object(texts[SIGNATURE])
    if [part.name for part in found.parts[:2]] != [MANIFEST, SIGNATURE]:
        findings.append("the manifest and the signature are not where they were written")
    if not _is_canonical(texts[MANIFEST], manifest) or manifest.get("format") != FORMAT:
        findings.append(f"the manifest cannot be read as {FORMAT}: it was changed, or a later version wrote it")
    if not _is_canonical(texts[SIGNATURE], signature) or set(signature) != {"manifest_sha256", "signature"}:
        findings.append("the signature is not written as it was: it was changed")
    is_as_signed = signature.get("manifest_sha256") == hashlib.sha256(texts[MANIFEST]).hexdigest()
    if not is_as_signed:
        findings.append("the manifest is not the one that was signed: it was changed, or the signature was")
    public = _public_key(manifest)
    if public is None:
        return manifest, None, [*findings, "the manifest names no ed25519 key that could have signed it"]
    if holds(public, _bytes(signature.get("signature")), texts[MANIFEST]):
        return manifest, fingerprint(public), findings
    does_not_hold = "the signature does not hold: it is of another key, or was changed"
    return manifest, None, [*findings, does_not_hold] if is_as_signed else findings


def _signed_texts(found: TakenApart) -> tuple[dict[str, bytes], list[str]]:
    """The texts of the manifest and of the signature, and which of them is not there once."""
    texts, findings = {}, []
    for name in (MANIFEST, SIGNATURE):
        alike = [part for part in found.parts if part.name == name]
        if len(alike) != 1 or alike[0].media_type != JSON:
            findings.append(f"the {name} is missing" if not alike else f"there is another {name} than one")
        else:
            texts[name] = alike[0].data or b""
    return texts, findings


def _changed(found: TakenApart, manifest: Mapping[str, Any]) -> list[str]:
    """What of the parts and the page is not as the manifest says."""
    named = [each for each in _list(manifest.get("parts")) if isinstance(each, dict)]
    expected = {str(each.get("name")): each for each in named}
    others = [part for part in found.parts if part.name not in {MANIFEST, SIGNATURE}]
    times = Counter(part.name for part in others)
    findings = [
        f"{_told(name, expected.get(name))} was added"
        if name not in expected
        else f"{_told(name, expected[name])} is there {count} times"
        for name, count in times.items()
        if name not in expected or count > 1
    ]
    there = {part.name: part for part in others}
    for name, each in expected.items():
        if name not in there:
            findings.append(f"{_told(name, each)} is missing")
        elif not _is_same(there[name], each):
            findings.append(f"{_told(name, each)} was changed")
    in_order = [part.name for part in others if part.name in expected]
    if sorted(in_order) == sorted(expected) and in_order != list(expected):
        findings.append("the parts are in another order")
    page = manifest.get("page")
    if not isinstance(page, dict) or page.get("sha256") != found.page_digest:
        findings.append("the page around the parts (its texts, look or script) was changed")
    return findings


def _is_same(part: FoundPart, expected: Mapping[str, Any]) -> bool:
    return (
        part.data is not None
        and part.media_type == expected.get("type")
        and len(part.data) == expected.get("bytes")
        and hashlib.sha256(part.data).hexdigest() == expected.get("sha256")
    )


def _told(name: str, expected: Mapping[str, Any] | None) -> str:
    place = (expected or {}).get("place")
    where = ""
    if isinstance(place, dict):
        where = f" ({place.get('topic')}[{place.get('partition')}]@{place.get('offset')})"
    return printable(f"part {name}{where}"[:_SHOWN])


def _public_key(manifest: Mapping[str, Any]) -> bytes | None:
    key = manifest.get("key")
    if not isinstance(key, dict) or key.get("algorithm") != ALGORITHM:
        return None
    public = _bytes(key.get("public_key"))
    return public if len(public) == 32 and key.get("fingerprint") == fingerprint(public) else None


def _is_canonical(text: bytes, content: Mapping[str, Any]) -> bool:
    try:
        return canonical(content) == text
    except (ValueError, RecursionError):  # a NaN
        return False


def _bytes(text: Any) -> bytes:
    """What hexadecimal digits stand for: one way to write it only, or a change would go unseen."""
    return bytes.fromhex(text) if isinstance(text, str) and _HEX.fullmatch(text) else b""


def _object(text: bytes) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
