"""A bundle of evidence: what is in it, that it plays by itself, and that whatever is changed in it is named."""

from __future__ import annotations

import base64
import contextlib
import errno
import hashlib
import io
import json
import os
import re
import shutil
import stat
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import av
import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

pytest.importorskip("cryptography")

import consumers.bundles
from consumers.bundles.by_hand import check_file, verdict_lines, write_bundle
from consumers.bundles.checking import check
from consumers.bundles.layout import canonical, take_apart
from consumers.bundles.signing import existing_signer, public_fingerprint, signer_at
from consumers.records.event import Event
from consumers.settings import Settings, SettingsError
from consumers.times import parse_time_us
from stream import Existing, MemoryTransport, Partition, SourceError
from tests.browsers import chromium
from tests.command_line import clipline
from tests.replays import SETTINGS, blinking, live
from tests.test_evidence import Shortened
from tests.videos import decoded_frames, write_video

START_US = 1_700_000_000_000_000


LIT = blinking((60, 120))


def with_key(folder: Path, **evidence: object) -> Settings:
    return Settings.model_validate(
        SETTINGS.model_dump() | {"evidence": {"key": folder / "keys" / "evidence.key", **evidence}}
    )


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundles") / "gate.mp4"
    return write_video(path, 300, rate=25, gop=50, size=(64, 48), frame=blinking((100, 180)), options={"bf": "0"})


@pytest.fixture(scope="module")
def stored(film: Path) -> tuple[MemoryTransport, Event]:
    transport = MemoryTransport()
    live(film, "hall", START_US, transport=transport)
    heard = live(film, "gate", START_US, transport=transport)[2]
    return transport, next(e for e in heard.events if e.camera == "gate" and e.state == "ended")


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return with_key(tmp_path_factory.mktemp("state"))


@pytest.fixture(scope="module")
def bundle(stored, settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    transport, event = stored
    path = tmp_path_factory.mktemp("made") / "event.html"
    write_bundle(transport, settings, event.id[:10], path, 2.0, 1.0)
    return path


def test_what_was_written_is_intact_and_says_whose_it_is(bundle: Path, settings: Settings, stored):
    checked = check_file(settings, bundle, None)
    assert (checked.findings, checked.key, checked.is_vouched_for) == ((), "own", True)
    lines = list(verdict_lines(bundle, checked))
    assert lines[0].endswith("intact, and signed by the key of this machine")
    assert any(stored[1].id in line for line in lines)


def test_a_bundle_holds_segments_scores_and_reports_as_they_lie_on_kafka(bundle: Path, stored):
    transport, event = stored
    parts = {part.name: part for part in take_apart(bundle.read_bytes()).parts}
    manifest = json.loads(parts["manifest"].data)
    places = [each["place"] for each in manifest["parts"] if "place" in each]
    assert len(places) >= 3
    for each in manifest["parts"]:
        assert hashlib.sha256(parts[each["name"]].data).hexdigest() == each["sha256"]
        if "place" in each:
            lies = (each["place"]["topic"], each["place"]["partition"]), each["place"]["offset"]
            (record,) = transport.read({lies[0]: (lies[1], lies[1] + 1)})
            assert (record.key, record.value) == (b"gate", parts[each["name"]].data)
    for name, many in (("reports", event.revision + 1), ("predictions", 10)):
        records = json.loads(parts[name].data)
        assert len(records) >= many
        for each in records:
            (record,) = transport.read({(each["topic"], each["partition"]): (each["offset"], each["offset"] + 1)})
            assert (record.key, record.value) == (each["key"].encode(), each["value"].encode())
    assert [json.loads(each["value"])["state"] for each in json.loads(parts["reports"].data)][-1] == "ended"


def test_the_clip_shows_the_frames_of_the_segments(bundle: Path, film: Path, tmp_path: Path):
    parts = {part.name: part for part in take_apart(bundle.read_bytes()).parts}
    manifest = json.loads(parts["manifest"].data)
    clip = next(each for each in manifest["parts"] if each["name"] == "clip")
    (tmp_path / "clip.mp4").write_bytes(parts["clip"].data)
    source = dict(decoded_frames(film))
    begin = parse_time_us(clip["start"]) - START_US
    frames = decoded_frames(tmp_path / "clip.mp4")
    assert len(frames) * 40_000 == parse_time_us(clip["end"]) - parse_time_us(clip["start"])
    for at, image in frames:
        nearest = min(source, key=lambda each: abs(each - at - begin))
        assert np.array_equal(image, source[nearest]), at


def line_of(data: bytes, name: str) -> tuple[int, int]:
    """Where the line of a part begins and ends."""
    found = re.search(rb'<script type="[^"]+" id="part-%s">[^<]*</script>\n' % name.encode(), data)
    assert found is not None, name
    return found.span()


def flipped(data: bytes, at: int) -> bytes:
    """One character is another one; letters stay letters, digits digits."""
    other = {ord("0"): b"1", ord("A"): b"B", ord("a"): b"b"}.get(
        data[at], b"A" if data[at : at + 1].isalpha() else b"0"
    )
    return data[:at] + other + data[at + 1 :]


#: What is changed, and what names it.
KINDS = {
    "reports": "part reports was changed",
    "predictions": "part predictions was changed",
    "strip": "part strip was changed",
    "peak": "part peak was changed",
    "clip": "part clip was changed",
    "segment-00001": r"part segment-00001 \(clipline\.segments\[\d+\]@\d+\) was changed",
    "manifest": "the manifest is not the one that was signed",
    "signature": "the signature",
}


@pytest.mark.parametrize("name", KINDS)
def test_a_changed_byte_of_a_part_is_found_and_named(bundle: Path, settings: Settings, name: str):
    data = bundle.read_bytes()
    begin, end = line_of(data, name)
    content = data.index(b">", begin) + 1
    for at in (content + 40, (content + end) // 2, end - 14):
        checked = check(flipped(data, at), own=existing_signer(settings.evidence.key).fingerprint)
        assert any(re.search(KINDS[name], finding) for finding in checked.findings), (at, checked.findings)
        assert not checked.is_vouched_for
        others = [
            finding for finding in checked.findings if finding.startswith("part ") and f"part {name}" not in finding
        ]
        assert name in {"manifest", "signature"} or others == []


def test_no_byte_of_the_page_can_be_changed_unseen(bundle: Path):
    """A script, a text, the policy, blanks: all that is no part is the page."""
    data = bundle.read_bytes()
    begin, end = data.index(b"<!-- clipline parts begin"), data.index(b"<!-- clipline parts end")
    places = [*range(0, begin, 997), *range(end + 60, len(data), 2503), len(data) - 2]
    assert len(places) > 30
    for at in places:
        assert check(flipped(data, at)).findings == (
            "the page around the parts (its texts, look or script) was changed",
        ), at
    for other in (data + b"\n", b"\n" + data, data.replace(b"</body>", b"<script>alert(1)</script></body>")):
        assert "the page around the parts" in check(other).findings[0]


def test_no_byte_between_parts_can_be_changed_unseen(bundle: Path):
    """Marks, tags and the ends of lines: whatever browsers would overlook, too."""
    data = bundle.read_bytes()
    begin, end = data.index(b"<!-- clipline parts begin"), data.index(b"<!-- clipline parts end") + 28
    tags = [m.start() + n for m in re.finditer(rb"<script type=|</script>\n", data[begin:end]) for n in range(14)]
    for at in [*range(begin, begin + 31), *(begin + each for each in tags), *range(end - 29, end)]:
        for changed in (flipped(data, at), data[:at] + b" " + data[at:], data[:at] + data[at + 1 :]):
            if changed == data:
                continue
            with contextlib.suppress(SourceError):  # without its marks it is no bundle
                assert check(changed).findings, (at, data[at - 20 : at + 20])


def test_another_way_to_write_the_same_is_a_change(bundle: Path):
    """Decoders of base64, JSON and hexadecimal take several."""
    data = bundle.read_bytes()
    alike: dict[str, bytes] = {}
    for found in re.finditer(rb'id="part-([a-z0-9-]+)">([^<]*)([A-Za-z0-9+/])(==?)</script>', data):
        digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
        other = digits[digits.index(found[3]) ^ 1 :][:1]
        changed = data[: found.start(3)] + other + data[found.end(3) :]
        assert base64.b64decode(found[2] + other + found[4]) == base64.b64decode(found[2] + found[3] + found[4])
        alike[found[1].decode()] = changed
    assert alike
    for name, changed in alike.items():
        assert [each.split(" (")[0].removesuffix(" was changed") for each in check(changed).findings] == [
            f"part {name}"
        ]
    begin, end = line_of(data, "signature")
    upper = (
        data[:begin]
        + re.sub(rb'(signature":")([0-9a-f]+)', lambda m: m[1] + m[2].upper(), data[begin:end])
        + data[end:]
    )
    assert check(upper).findings
    assert check(data.replace(b'{"manifest_sha256":', b'{ "manifest_sha256":')).findings
    assert check(data.replace(b'"part-predictions">[', b'"part-predictions">[ ')).findings == (
        "part predictions was changed",
    )


def without(data: bytes, name: str) -> bytes:
    begin, end = line_of(data, name)
    return data[:begin] + data[end:]


def swapped(data: bytes) -> bytes:
    (first, middle), (_, end) = line_of(data, "segment-00001"), line_of(data, "segment-00002")
    return data[:first] + data[middle:end] + data[first:middle] + data[end:]


def added(data: bytes, line: bytes) -> bytes:
    end = data.index(b"<!-- clipline parts end")
    return data[:end] + line + data[end:]


OTHER_WAYS: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "a segment is gone": (lambda d: without(d, "segment-00002"), r"part segment-00002 \(.*@\d+\) is missing"),
    "the manifest is gone": (lambda d: without(d, "manifest"), "the manifest is missing"),
    "the signature is gone": (lambda d: without(d, "signature"), "the signature is missing"),
    "segments are exchanged": (swapped, "another order"),
    "a part is added": (
        lambda d: added(d, b'<script type="video/mp2t" id="part-segment-00099">AAAA</script>\n'),
        "part segment-00099 was added",
    ),
    "a part is there twice": (
        lambda d: added(d, b'<script type="image/webp" id="part-peak">AAAA</script>\n'),
        "part peak is there 2 times",
    ),
    "a second manifest": (
        lambda d: added(d, b'<script type="application/json" id="part-manifest">{}</script>\n'),
        "another manifest than one",
    ),
    "a line that is no part": (lambda d: added(d, b"<script>alert(1)</script>\n"), "line .* is no part"),
    "a part is of another type": (
        lambda d: d.replace(b'type="image/webp" id="part-peak"', b'type="image/jpeg" id="part-peak"'),
        "part peak was changed",
    ),
    "lines end as on Windows": (lambda d: d.replace(b"\n", b"\r\n"), "no place for parts|is no part"),
}


@pytest.mark.parametrize("way", OTHER_WAYS)
def test_what_is_taken_away_added_or_exchanged_is_named(bundle: Path, way: str):
    change, words = OTHER_WAYS[way]
    changed = change(bundle.read_bytes())
    assert changed != bundle.read_bytes()
    try:
        findings = check(changed).findings
    except SourceError as error:
        findings = (str(error),)
    assert any(re.search(words, finding) for finding in findings), findings


def resigned(data: bytes, path: Path, change: Callable[[dict], object] = lambda _: None) -> bytes:
    """As somebody with another key would do it, who knows all that we do."""
    signer, _ = signer_at(path)
    begin, end = line_of(data, "manifest")
    manifest = json.loads(data[data.index(b">", begin) + 1 : end - len(b"</script>\n")])
    change(manifest)
    manifest["key"] |= {"public_key": signer.public.hex(), "fingerprint": signer.fingerprint}
    text = canonical(manifest)
    signature = {"manifest_sha256": hashlib.sha256(text).hexdigest(), "signature": signer.sign(text).hex()}
    lines = b"".join(
        b'<script type="application/json" id="part-%s">%s</script>\n' % (name, content)
        for name, content in ((b"manifest", text), (b"signature", canonical(signature)))
    )
    return data[:begin] + lines + data[line_of(data, "signature")[1] :]


def test_a_bundle_is_checked_without_clipline_as_the_docs_say(bundle: Path, settings: Settings, tmp_path: Path):
    if missing := [tool for tool in ("openssl", "xxd", "sha256sum") if shutil.which(tool) is None]:
        pytest.skip(f"needs {', '.join(missing)}")
    page = (Path(__file__).parents[1] / "docs" / "evidence.md").read_text()
    (script,) = re.findall(r"```bash\n(.*?)```", page, re.DOTALL)
    shutil.copy(bundle, tmp_path / "event.html")
    (tmp_path / "maker.pem").write_text(existing_signer(settings.evidence.key).public_pem)
    done = subprocess.run(["bash", "-ec", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    manifest = json.loads((tmp_path / "manifest.json").read_bytes())
    clip = next(each["sha256"] for each in manifest["parts"] if each["name"] == "clip")
    assert done.stdout.splitlines() == [
        "Signature Verified Successfully",
        f"{clip}  -",
        f"{manifest['page']['sha256']}  -",
    ]
    (tmp_path / "event.html").write_bytes(bundle.read_bytes().replace(b'"label":"bright"', b'"label":"brighT"'))
    done = subprocess.run(["bash", "-ec", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "Verified Successfully" not in done.stdout


def test_a_bundle_that_another_key_signed_is_intact_but_not_vouched_for(bundle: Path, settings, tmp_path: Path):
    own = existing_signer(settings.evidence.key)
    forged = resigned(bundle.read_bytes(), tmp_path / "other.key", lambda m: m["event"].update(label="nothing"))
    path = tmp_path / "forged.html"
    path.write_bytes(forged)
    unknown = check_file(settings, path, None)
    assert (unknown.findings, unknown.key, unknown.is_vouched_for) == ((), "unknown", False)
    assert "nobody vouched for" in next(verdict_lines(path, unknown))
    other = check_file(settings, path, own.fingerprint)
    assert (other.findings, other.key, other.is_vouched_for) == ((), "other", False)
    assert "NOT signed by the key that you named" in next(verdict_lines(path, other))
    pem = tmp_path / "other.pem"
    pem.write_text(existing_signer(tmp_path / "other.key").public_pem)
    named = check_file(settings, path, str(pem))
    assert (named.key, named.is_vouched_for) == ("named", True)


def test_a_signature_of_another_manifest_is_told_from_a_changed_manifest(bundle: Path, settings, tmp_path: Path):
    data = bundle.read_bytes()
    # Of the same manifest, by another key: the manifest still names ours.
    begin, end = line_of(data, "manifest")
    text = data[data.index(b">", begin) + 1 : end - len(b"</script>\n")]
    other, _ = signer_at(tmp_path / "other.key")
    block = canonical({"manifest_sha256": hashlib.sha256(text).hexdigest(), "signature": other.sign(text).hex()})
    first, last = line_of(data, "signature")
    line = b'<script type="application/json" id="part-signature">' + block + b"</script>\n"
    assert check(data[:first] + line + data[last:]).findings == (
        "the signature does not hold: it is of another key, or was changed",
    )
    # One letter of what it says, all else as it was.
    changed = data.replace(b'"label":"bright"', b'"label":"brighT"', 1)
    findings = check(changed).findings
    assert findings == ("the manifest is not the one that was signed: it was changed, or the signature was",)


@pytest.mark.parametrize(
    "text", [b"[]", b"{}", b"1e999", b'{"parts":[1,{"name":{}}],"key":[]}', b"[" * 5000, b'{"a":NaN}', b"\xff"]
)
def test_a_manifest_that_is_none_of_ours_is_a_finding(bundle: Path, text: bytes):
    data = bundle.read_bytes()
    begin, end = line_of(data, "manifest")
    changed = data[:begin] + b'<script type="application/json" id="part-manifest">' + text + b"</script>\n" + data[end:]
    checked = check(changed)
    assert checked.findings
    assert checked.signer is None


def test_a_file_that_is_no_bundle_is_said(settings: Settings, tmp_path: Path, film: Path):
    (tmp_path / "page.html").write_text("<html></html>")
    for path in (tmp_path / "page.html", film):
        with pytest.raises(SourceError, match="no bundle of evidence"):
            check_file(settings, path, None)
    with pytest.raises(SourceError, match=r"absent\.html: cannot be read"):
        check_file(settings, tmp_path / "absent.html", None)


def test_the_command_ends_with_0_for_what_is_vouched_for_only(bundle: Path, settings: Settings, tmp_path: Path):
    own = {"CLIPLINE_EVIDENCE__KEY": str(settings.evidence.key)}
    elsewhere = {"CLIPLINE_EVIDENCE__KEY": str(tmp_path / "none.key")}
    fingerprint = existing_signer(settings.evidence.key).fingerprint
    changed = tmp_path / "changed.html"
    changed.write_bytes(without(bundle.read_bytes(), "segment-00001"))
    for file, more, environment, code, words in (
        (bundle, (), own, 0, "signed by the key of this machine"),
        (bundle, ("--public-key", fingerprint), elsewhere, 0, "signed by the key that you named"),
        (bundle, ("--public-key", f"sha256:{64 * '0'}"), own, 1, "NOT signed by the key that you named"),
        (bundle, (), elsewhere, 1, "signed by a key that nobody vouched for"),
        (changed, (), own, 1, "is missing"),
        (tmp_path / "absent.html", (), own, 2, "cannot be read"),
    ):
        done = clipline("evidence", "verify", file, *more, **environment)
        assert (done.returncode, words in done.stdout + done.stderr) == (code, True), (more, done)
    # Looking makes no key.
    assert not (tmp_path / "none.key").exists()
    shown = clipline("evidence", "key", **own)
    assert shown.returncode == 0
    assert fingerprint in shown.stdout
    assert "PRIVATE" not in shown.stdout
    # As docs/evidence.md has it: all that is printed, into a file that openssl and `verify` read.
    pem = tmp_path / "maker.pem"
    pem.write_text(shown.stdout)
    read = load_pem_public_key(pem.read_bytes())
    assert isinstance(read, Ed25519PublicKey)
    assert read.public_bytes_raw() == existing_signer(settings.evidence.key).public
    done = clipline("evidence", "verify", bundle, "--public-key", pem, **elsewhere)
    assert (done.returncode, "signed by the key that you named" in done.stdout) == (0, True), done.stderr


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("evidence verify", "verify wants the FILE"),
        ("evidence 3f0c6a event.html", "FILE is for verify"),
        ("evidence 3f0c6a --public-key sha256:00", "--public-key is for verify"),
        ("evidence verify event.html --bundle", "--bundle is for an event"),
        ("evidence key -o key.pem", "--output is for an event"),
    ],
)
def test_options_of_something_else_are_refused(line: str, words: str):
    done = clipline(*line.split())
    assert done.returncode == 2
    assert words in done.stderr


def test_a_key_is_made_once_and_is_its_owners(tmp_path: Path):
    path = tmp_path / "state" / "evidence.key"
    made, is_new = signer_at(path)
    again, is_new_again = signer_at(path)
    assert (is_new, is_new_again, made.fingerprint) == (True, False, again.fingerprint)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [each.name for each in path.parent.iterdir()] == ["evidence.key"]
    (tmp_path / "public.pem").write_text(made.public_pem)
    assert public_fingerprint(str(tmp_path / "public.pem")) == made.fingerprint == public_fingerprint(made.fingerprint)
    assert made.fingerprint == f"sha256:{hashlib.sha256(made.public).hexdigest()}"


def test_a_key_is_made_where_there_are_no_hard_links_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def no_links(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    made, is_new = signer_at(tmp_path / "key")
    assert is_new
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    assert existing_signer(tmp_path / "key").fingerprint == made.fingerprint
    assert [each.name for each in tmp_path.iterdir()] == ["key"]


def test_a_file_that_holds_no_such_key_is_named(tmp_path: Path):
    path = tmp_path / "evidence.key"
    path.write_text("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
    with pytest.raises(SettingsError, match=r"evidence\.key: expected an ed25519 private key"):
        signer_at(path)
    with pytest.raises(SourceError, match="expected an ed25519 public key"):
        public_fingerprint(str(path))
    with pytest.raises(SourceError, match="neither a fingerprint"):
        public_fingerprint("sha256:12")


def test_what_would_be_too_large_is_refused_and_nothing_is_left(stored, tmp_path: Path):
    transport, event = stored
    settings = with_key(tmp_path, max_megabytes=0.05)
    with pytest.raises(SourceError, match=r"footage has .* MB or more.*evidence\.max_megabytes"):
        write_bundle(transport, settings, event.id, tmp_path / "event.html", 2.0, 2.0)
    # The footage would fit: the rest does not.
    settings = with_key(tmp_path, max_megabytes=0.12)
    with pytest.raises(SourceError, match=r"its bundle would have .* MB: a bundle has 0\.12 MB at most"):
        write_bundle(transport, settings, event.id, tmp_path / "event.html", 0.0, 0.0)
    assert [each.name for each in tmp_path.iterdir()] == ["keys"]


class Retained(Shortened):
    """Likewise, with all else as it was."""

    def existing(self, topics: Iterable[str]) -> Mapping[str, Existing]:
        return self._whole.existing(topics)

    def partition_of(self, topic: str, key: bytes) -> int:
        return self._whole.partition_of(topic, key)

    def sent_since(self, topic: str, time_us: int) -> Mapping[Partition, int]:
        return self._whole.sent_since(topic, time_us)


def test_what_retention_has_taken_is_said_in_page_and_manifest(stored, settings: Settings, tmp_path: Path):
    transport, event = stored
    first, last = map(int, event.segments.rpartition("@")[2].split("-"))
    some = write_bundle(Retained(transport, first + 1), settings, event.id, tmp_path / "some.html", 2.0, 1.0)
    assert any("removed by retention" in each for each in some.made.missing)
    none = write_bundle(Retained(transport, last + 1), settings, event.id, tmp_path / "none.html", 2.0, 1.0)
    assert none.made.segments == 0
    for name in ("some", "none"):
        checked = check_file(settings, tmp_path / f"{name}.html", None)
        assert checked.is_vouched_for
        assert any("retention" in each for each in checked.manifest["missing"])
        assert any("not in it: " in line for line in verdict_lines(tmp_path, checked))


def test_a_codec_that_mp4_cannot_carry_is_said_and_its_segments_are_there(settings: Settings, tmp_path: Path):
    film = write_video(tmp_path / "gate.mkv", 200, codec="libvpx", rate=25, gop=25, size=(64, 48), frame=LIT)
    transport = MemoryTransport()
    heard = live(film, "gate", START_US, transport=transport)[2]
    event = next(each for each in heard.events if each.state == "ended")
    made = write_bundle(transport, settings, event.id, tmp_path / "event.html", 0.0, 0.0).made
    assert any(re.match("clip: .*vp8 segments cannot be joined", each) for each in made.missing)
    checked = check_file(settings, tmp_path / "event.html", None)
    assert checked.is_vouched_for
    kinds = {each["name"]: each["type"] for each in checked.manifest["parts"]}
    assert "clip" not in kinds
    assert kinds["segment-00000"] == "video/x-matroska"


def test_the_clip_of_h265_has_the_name_that_all_players_know(settings: Settings, tmp_path: Path):
    film = write_video(tmp_path / "gate.mp4", 200, codec="libx265", rate=25, gop=25, size=(64, 48), frame=LIT)
    transport = MemoryTransport()
    heard = live(film, "gate", START_US, transport=transport)[2]
    event = next(each for each in heard.events if each.state == "ended")
    write_bundle(transport, settings, event.id, tmp_path / "event.html", 0.0, 0.0)
    parts = {part.name: part for part in take_apart((tmp_path / "event.html").read_bytes()).parts}
    with av.open(io.BytesIO(parts["clip"].data)) as container:
        assert container.streams.video[0].codec_context.codec_tag == "hvc1"
        assert len(list(container.decode(video=0))) > 25


def test_texts_of_the_page_are_the_same_in_both_languages():
    text = (Path(consumers.bundles.__file__).parent / "page" / "texts.js").read_text()
    texts = json.loads(text[text.index("{") : text.rindex(";")])
    assert texts["en"].keys() == texts["de"].keys()
    script = (Path(consumers.bundles.__file__).parent / "page" / "bundle.js").read_text()
    used = set(re.findall(r'\bt\("([a-z.]+)"', script)) | set(re.findall(r'"([a-z]+\.[a-z.]+)" :', script))
    assert used <= texts["en"].keys()
    for key, english in texts["en"].items():
        assert set(re.findall(r"\{\w+\}", english)) == set(re.findall(r"\{\w+\}", texts["de"][key])), key


def test_it_plays_from_a_file_without_a_network(bundle: Path):
    with chromium() as browser:
        context = browser.new_context(locale="de-DE", timezone_id="Europe/Berlin", offline=True)
        page = context.new_page()
        asked, said = [], []
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(bundle.as_uri())
        page.wait_for_selector("video")
        page.evaluate("document.querySelector('video').play()")
        deadline = time.monotonic() + 20
        while page.evaluate("document.querySelector('video').currentTime") < 1:
            assert time.monotonic() < deadline, said
            page.wait_for_timeout(50)
        assert page.evaluate("document.querySelector('video').videoWidth") == 64
        assert page.locator("canvas").count() == 1
        assert page.locator("img").evaluate_all("all => all.map(each => each.naturalWidth > 0)") == [True, True]
        assert "Werte" in page.inner_text("main") or "Ereignis" in page.inner_text("main")
        # In the zone of who looks, and in that of records.
        assert "23:13:24" in page.inner_text("#when")
        assert "22:13:24 UTC" in page.inner_text("#when")
        page.click("#tools button")
        assert "as the camera sent them" in page.inner_text("main")
        with page.expect_download() as download:
            page.click("text=Save all segments as one file")
        parts = {part.name: part for part in take_apart(bundle.read_bytes()).parts}
        segments = [part.data for name, part in sorted(parts.items()) if name.startswith("segment-")]
        assert Path(download.value.path()).read_bytes() == b"".join(segments)
        assert said == []
        assert [each for each in asked if not each.startswith(("blob:", bundle.as_uri()))] == []
        context.close()
