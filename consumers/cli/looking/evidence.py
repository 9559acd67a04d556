"""The command about the footage of events: saving it, as a film or as a bundle, and checking a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from consumers.cli.options import KafkaOption, SettingsOption, command_settings, console, errors

if TYPE_CHECKING:
    from consumers.settings import Settings

#: No id of an event begins so: those are hexadecimal digits.
_VERIFY: Final = "verify"
_KEY: Final = "key"
_NO: Final = 1


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command()(evidence)


def evidence(
    event: Annotated[
        str,
        typer.Argument(
            metavar="EVENT",
            help="Id of the event, or the first characters of it. Or verify: what was changed in a bundle. Or key: the "
            "key that signs bundles.",
        ),
    ],
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="For verify: the bundle.", show_default=False)
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="File to write; the suffix of a video chooses its container.",
            show_default="evidence.mp4, evidence.html",
        ),
    ] = None,
    bundle: Annotated[
        bool,
        typer.Option(
            "--bundle",
            help="Write one HTML file that plays by itself and is signed: segments, pictures, scores, rule, hashes.",
        ),
    ] = False,
    blur: Annotated[
        bool,
        typer.Option(
            "--blur",
            help="Encode the footage again with all blurred but the region in which most moves. People are not "
            "recognised: whoever is in that region is seen.",
        ),
    ] = False,
    lead: Annotated[float, typer.Option(min=0.0, max=3600, metavar="SECONDS", help="Footage before the event.")] = 3.0,
    tail: Annotated[float, typer.Option(min=0.0, max=3600, metavar="SECONDS", help="Footage after the event.")] = 3.0,
    public_key: Annotated[
        str | None,
        typer.Option(
            "--public-key",
            metavar="KEY",
            help="verify: who is to have signed it, a fingerprint (sha256:…) or a PEM file.",
            show_default="the key of this machine",
        ),
    ] = None,
    settings_file: SettingsOption = None,
    kafka: KafkaOption = None,
) -> None:
    """Save the footage of an event, as a video or as signed evidence.

    It is cut out of what the camera sent to Kafka, at the borders of segments,
    and not encoded again. With --bundle it becomes one HTML file that browsers
    play without a network. verify names each part of it that was changed since,
    and ends with 1 unless all is as it was signed, by a key that you vouch for.

    \b
    Examples (the first prints the ids of events):
      clipline events --json | jq -r .event
      clipline evidence 3f0c6a -o clip.mp4 --lead 5 --tail 5
      clipline evidence 3f0c6a --bundle -o event.html
      clipline evidence verify event.html --public-key sha256:…
      clipline evidence key
    """
    of_event = event not in {_VERIFY, _KEY}
    for name, given, belongs in (
        ("FILE", file is not None, event == _VERIFY),
        ("--public-key", public_key is not None, event == _VERIFY),
        ("--output", output is not None, of_event),
        ("--bundle", bundle, of_event),
        ("--blur", blur, of_event),
    ):
        if given and not belongs:
            raise typer.BadParameter(f"{name} is for {'verify' if name in {'FILE', '--public-key'} else 'an event'}")
    settings = command_settings(settings_file, kafka, None)
    if event == _VERIFY:
        if file is None:
            raise typer.BadParameter("verify wants the FILE of a bundle")
        _verify(settings, file, public_key)
    elif event == _KEY:
        _show_key(settings)
    elif bundle:
        _bundle(settings, event, output or Path("evidence.html"), lead, tail, blur)
    else:
        _film(settings, event, output or Path("evidence.mp4"), lead, tail, blur)


def _film(settings: Settings, event: str, output: Path, lead: float, tail: float, blur: bool) -> None:
    from consumers.outputs.evidence import find_evidence, write_evidence
    from consumers.terminal.wording import describe
    from stream import KafkaTransport

    transport = KafkaTransport(settings.broker, at_once=True)
    found = find_evidence(transport, settings.topics, event, lead, tail)
    if blur:
        from consumers.bundles.blurring import write_blurred_evidence

        words = write_blurred_evidence(transport, settings, found, output).words
        errors.print(f"blurred and encoded again: {words}", style="yellow", soft_wrap=True)
    else:
        write_evidence(found, output)
    console.print(describe(found.event.body()), soft_wrap=True)
    console.print(f"{output}: {found.seconds:.1f} s in {len(found.segments)} segments", soft_wrap=True)
    _say_missing(found.missing)


def _bundle(settings: Settings, event: str, output: Path, lead: float, tail: float, blur: bool) -> None:
    from consumers.bundles.by_hand import write_bundle
    from consumers.terminal.wording import describe
    from stream import KafkaTransport

    transport = KafkaTransport(settings.broker, at_once=True)
    written = write_bundle(transport, settings, event, output, lead, tail, is_blurred=blur)
    console.print(describe(written.event.body()), soft_wrap=True)
    made = written.made
    console.print(
        f"{output}: {made.seconds:.1f} s in {made.segments} segments, {made.bytes / 1e6:.1f} MB, signed by "
        f"{written.signer.fingerprint}",
        soft_wrap=True,
    )
    if written.is_new_key:
        console.print(f"made a key for that, {written.signer.path}; `clipline evidence key` shows its public half")
    _say_missing(made.missing)


def _say_missing(missing: tuple[str, ...]) -> None:
    for part in missing:
        errors.print(f"not in it: {part}", style="yellow", soft_wrap=True)


def _verify(settings: Settings, file: Path, public_key: str | None) -> None:
    from consumers.bundles.by_hand import check_file, verdict_lines

    checked = check_file(settings, file, public_key)
    for line in verdict_lines(file, checked):
        console.print(line, soft_wrap=True)
    if not checked.is_vouched_for:
        raise typer.Exit(_NO)


def _show_key(settings: Settings) -> None:
    from consumers.bundles.signing import key_path, signer_at

    signer, is_new = signer_at(key_path(settings.evidence.key))
    console.print(f"{signer.path}{': made now' if is_new else ''}", soft_wrap=True)
    console.print(signer.fingerprint, soft_wrap=True)
    # Line by line: the console takes a string for one line. What reads PEM passes over the two lines above.
    for line in signer.public_pem.splitlines():
        console.print(line, soft_wrap=True)
