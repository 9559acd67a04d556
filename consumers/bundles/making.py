"""From an event to its bundle: gathered, put into parts, signed, written."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from consumers import __version__
from consumers.files import passing_folder
from consumers.outputs.evidence import Evidence, TooMuchFootageError, write_evidence
from consumers.records.event import Event
from consumers.records.event_pictures import Missing
from consumers.records.prediction import rfc3339
from consumers.settings import Settings
from consumers.versions import decoder_version
from stream import Segment, SegmentError, SourceError, Transport

from .checking import FORMAT
from .gathering import Gathered, gather
from .layout import JSON, MANIFEST, SIGNATURE, Part, canonical, json_part, page_digest, write, written_bytes
from .rendering import page_around
from .signing import ALGORITHM, Signer

if TYPE_CHECKING:
    from consumers.pictures.maker import MadePictures

    from .blurring import Blur

#: Footage is in it twice, in base64, which takes 4 bytes for 3.
_EXPANSION: Final = 2 * 4 / 3
_MEDIA_TYPES: Final = {"mpegts": "video/mp2t", "matroska": "video/x-matroska", "nut": "video/x-nut"}


@dataclass(frozen=True, slots=True)
class MadeBy:
    """Who makes a bundle, and through what."""

    name: str
    way: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be in a bundle."""

    event: Event
    lead_seconds: float
    tail_seconds: float
    #: All but one region is blurred, see `blurring`; the original segments are left out.
    is_blurred: bool = False


@dataclass(frozen=True, slots=True)
class Made:
    """What was written."""

    bytes: int
    segments: int
    seconds: float
    #: What is not in it, and why, in words.
    missing: tuple[str, ...]


@dataclass(slots=True)
class _Contents:
    """Parts, and what the manifest says of each."""

    parts: list[Part] = field(default_factory=list)
    entries: list[dict[str, Any]] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    def add(self, part: Part, **facts: Any) -> None:
        entry = {"name": part.name, "type": part.media_type, "bytes": len(part.data), "sha256": part.digest}
        self.parts.append(part)
        self.entries.append(entry | facts)


def make_bundle(
    transport: Transport, settings: Settings, wanted: Wanted, by: MadeBy, signer: Signer, out: BinaryIO
) -> Made:
    """Write the bundle of an event.

    Args:
        transport: the broker.
        settings: topics, rules, model, how pictures are made, and how large a bundle may be.
        wanted: the event, and how much around it.
        by: who makes it.
        signer: signs it.
        out: where to.

    Raises:
        TooMuchFootageError: it would be larger than the settings allow.
        BrokerError: the broker is away.
        OSError: it cannot be written.
    """
    event, most = wanted.event, settings.evidence.max_megabytes * 1e6
    try:
        found = gather(transport, settings, event, wanted.lead_seconds, wanted.tail_seconds, most / _EXPANSION)
    except TooMuchFootageError as error:
        raise TooMuchFootageError(f"{error}: {_less(settings)}") from None
    contents = _Contents(missing=list(found.missing))
    contents.add(json_part("reports", list(found.reports)))
    contents.add(json_part("predictions", list(found.predictions)))
    pictures = _pictures(contents, transport, settings, event)
    blur = _blur(contents, pictures) if wanted.is_blurred else None
    _add_pictures(contents, pictures, blur)
    if found.evidence is not None:
        _add_clip(contents, found.evidence, blur)
    if found.evidence is not None and blur is None:
        _add_segments(contents, found.evidence)
    head, tail = page_around(event)
    manifest = _manifest(settings, wanted, found, by, signer) | {
        "missing": contents.missing,
        "blurred": None if blur is None else {"region": blur.region, "how": blur.words},
        "sources": [] if blur is None or found.evidence is None else [facts for _, facts in _sources(found.evidence)],
        "parts": contents.entries,
        "page": {"sha256": page_digest(head, tail)},
    }
    parts = [*_signed(manifest, signer), *contents.parts]
    size = len(head) + len(tail) + sum(written_bytes(part) for part in parts)
    if size > most:
        raise TooMuchFootageError(f"event {event.id}: its bundle would have {size / 1e6:.0f} MB: {_less(settings)}")
    evidence = found.evidence
    return Made(
        write(head, parts, tail, out),
        0 if evidence is None else len(evidence.segments),
        0.0 if evidence is None else evidence.seconds,
        tuple(contents.missing),
    )


def _less(settings: Settings) -> str:
    return (
        f"a bundle has {settings.evidence.max_megabytes:g} MB at most (evidence.max_megabytes), of which footage takes "
        "2.7 times its bytes; take less before and after the event, or allow more"
    )


def _signed(manifest: dict[str, Any], signer: Signer) -> tuple[Part, Part]:
    text = canonical(manifest)
    signature = {"manifest_sha256": hashlib.sha256(text).hexdigest(), "signature": signer.sign(text).hex()}
    return Part(MANIFEST, JSON, text), json_part(SIGNATURE, signature)


def _pictures(contents: _Contents, transport: Transport, settings: Settings, event: Event) -> MadePictures | None:
    try:
        from consumers.pictures.maker import PictureMaker  # noqa: PLC0415  an extra
    except ModuleNotFoundError as error:
        contents.missing.append(f"pictures: {error.name} is not installed where the bundle was made")
        return None
    return PictureMaker(settings).make(transport, event)


def _blur(contents: _Contents, pictures: MadePictures | None) -> Blur:
    from .blurring import Blur  # noqa: PLC0415  needs the extra of pictures

    blur = Blur(None) if pictures is None else Blur.of(pictures)
    contents.missing += [
        f"blurred and encoded again: {blur.words}",
        "segments: left out, as they show what is blurred; the manifest says where they lay, and their hashes",
    ]
    return blur


def _add_pictures(contents: _Contents, pictures: MadePictures | None, blur: Blur | None) -> None:
    if pictures is None:
        return
    for name, drawn in (("strip", pictures.strip), ("peak", pictures.peak)):
        # A strip shows the region, and nothing else.
        is_hidden = blur is not None and (name == "peak" or blur.region is None)
        if isinstance(drawn, Missing):
            contents.missing.append(f"{name}: {drawn.detail}")
        elif is_hidden:
            contents.missing.append(f"{name}: left out, as it shows what is blurred")
        else:
            times = [rfc3339(time_us) for time_us in drawn.frames_us]
            contents.add(Part(name, "image/webp", drawn.data), frames=times, width=drawn.width, height=drawn.height)


def _add_clip(contents: _Contents, evidence: Evidence, blur: Blur | None) -> None:
    """The segments as one MP4, which browsers play; nothing is encoded again, unless it is blurred."""
    with passing_folder() as folder:
        path = folder / "clip.mp4"
        try:
            write_evidence(evidence, path)
            if blur is not None:
                from .blurring import write_blurred  # noqa: PLC0415  needs the extra of pictures

                path = folder / "blurred.mp4"
                write_blurred(folder / "clip.mp4", evidence.segments[0], blur, path)
        except (SegmentError, SourceError) as error:
            contents.missing.append(f"clip: {str(error).replace(str(path), 'MP4')}")
            return
        data = path.read_bytes()
    first, last = evidence.segments[0], evidence.segments[-1]
    how = "copied packet by packet into another container" if blur is None else "decoded, blurred and encoded again"
    contents.add(
        Part("clip", "video/mp4", data),
        start=rfc3339(first.start_us),
        end=rfc3339(last.end_us),
        codec=first.codec if blur is None else "h264",
        of=f"the segments, {how}",
        by=decoder_version().partition(" code ")[0],
    )


def _add_segments(contents: _Contents, evidence: Evidence) -> None:
    """The segments, byte for byte as they lie on Kafka."""
    for number, (segment, facts) in enumerate(_sources(evidence)):
        part = Part(f"segment-{number:05d}", _MEDIA_TYPES[segment.container], segment.data)
        contents.add(part, **{name: value for name, value in facts.items() if name != "sha256"})


def _sources(evidence: Evidence) -> Iterator[tuple[Segment, dict[str, Any]]]:
    """The segments, and what is to be said of each: where it lay, what it is."""
    for is_context, segments in ((True, evidence.context), (False, evidence.segments)):
        for segment in segments:
            (topic, partition), offset = evidence.place(segment)
            yield (
                segment,
                {
                    "place": {"topic": topic, "partition": partition, "offset": offset},
                    "sha256": hashlib.sha256(segment.data).hexdigest(),
                    # What decoders need of before; players do not show it.
                    "context": is_context,
                    **_facts(segment),
                },
            )


def _facts(segment: Segment) -> dict[str, Any]:
    return {
        "start": rfc3339(segment.start_us),
        "end": rfc3339(segment.end_us),
        "epoch_us": segment.epoch_us,
        "sequence": segment.sequence,
        "frames": segment.frames,
        "codec": segment.codec,
        "width": segment.width,
        "height": segment.height,
        "feed": segment.feed,
    }


def _manifest(settings: Settings, wanted: Wanted, found: Gathered, by: MadeBy, signer: Signer) -> dict[str, Any]:
    """All but what follows from the parts."""
    plain = canonical(settings.model_dump(mode="json"))
    return {
        "format": FORMAT,
        "made": {
            "at": rfc3339(time.time_ns() // 1000),
            "by": by.name,
            "way": by.way,
            "clipline": __version__,
        },
        "key": {"algorithm": ALGORITHM, "public_key": signer.public.hex(), "fingerprint": signer.fingerprint},
        "event": wanted.event.body() | {"revision": wanted.event.revision, "segments": wanted.event.segments},
        "asked": {"lead_seconds": wanted.lead_seconds, "tail_seconds": wanted.tail_seconds},
        "rule": found.rule,
        "model": found.model,
        # Passwords and tokens are stars in it.
        "settings": {"sha256": hashlib.sha256(plain).hexdigest(), "when": "as they were when the bundle was made"},
    }
