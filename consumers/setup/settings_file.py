"""The settings, described: what docs/configuration.md is made of, and the file that `clipline init` writes."""

from __future__ import annotations

import json
import os
import re
import shlex
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, get_origin

from pydantic import BaseModel

from consumers.settings import ENVIRONMENT_PREFIX, Settings, SettingsError, section_of
from stream import check_camera_id, display_name, is_live, split_address

#: Stands for a name that the operator chooses, as in [cameras.NAME].
NAME: Final = "NAME"
_WIDTH: Final = 100
_HEAD: Final = """\
# Clipline's settings. `clipline check` says what is wrong with them, `clipline run` uses them.
#
# A line that begins with "#" and a key, like #kafka, shows a default, or an example where there is none: remove the "#"
# to change it.
# An environment variable wins over this file: CLIPLINE_KAFKA over kafka, CLIPLINE_WORKER__MODEL over model in [worker].
"""
_EXAMPLE_CAMERA: Final = """\
#[cameras.dock-1]
#url = "rtsp://${DOCK_USER}:${DOCK_PASSWORD}@10.0.0.7/stream"
"""
_SECRET_PARAMETER: Final = re.compile(
    r"(?P<name>(?:[?&/;_]|^)(?:pass|passwd|password|pwd|auth|token|key)=)(?P<value>[^&$]+)", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One key that can be set."""

    key: str
    #: What a value may be, in words.
    type: str
    #: As TOML; None where there is none.
    default: str | None
    #: A value that can be set, as TOML.
    example: str
    description: str
    #: The environment variable that wins over the file; None where there is none, in one of many tables of a name.
    variable: str | None


@dataclass(frozen=True, slots=True)
class Described:
    """One table of the file; the name of the top is empty."""

    name: str
    description: str
    entries: tuple[Entry, ...]
    #: Whether there may be several of its name, one after another: [[rules]].
    is_row: bool = False

    @property
    def header(self) -> str:
        """As it stands in the file."""
        return f"[[{self.name}]]" if self.is_row else f"[{self.name}]"


def described(section: type[BaseModel] = Settings, name: str = "", *, is_row: bool = False) -> Iterator[Described]:
    """Every table and key of the settings, in the order of the file."""
    properties = section.model_json_schema()["properties"]
    entries, below = [], []
    for key, info in section.model_fields.items():
        path = f"{name}.{key}" if name else key
        inner = section_of(info.annotation)
        if inner is not None:
            is_many = get_origin(info.annotation) is tuple
            below.append((inner, path if is_many or inner is info.annotation else f"{path}.{NAME}", is_many))
            continue
        default = None if info.default is None else _toml(info.default)
        entries.append(
            Entry(
                key=key,
                type=_type(properties[key]),
                default=default,
                example=default if default is not None else _toml((info.examples or [None])[0]),
                description=info.description or "",
                variable=None if is_row else ENVIRONMENT_PREFIX + path.upper().replace(".", "__"),
            )
        )
    yield Described(name, " ".join((section.__doc__ or "").split()), tuple(entries), is_row)
    for inner, path, is_many in below:
        yield from described(inner, path, is_row=is_many)


def _type(schema: Mapping[str, Any]) -> str:
    inner = next((each for each in schema.get("anyOf", ()) if each["type"] != "null"), schema)
    if "enum" in inner:
        return "one of " + ", ".join(inner["enum"])
    if inner["type"] == "string":
        return "path" if inner.get("format") == "path" else "text"
    if (words := {"array": "list of texts", "boolean": "true or false"}.get(inner["type"])) is not None:
        return words
    words = "whole number" if inner["type"] == "integer" else "number"
    low, above, high = inner.get("minimum"), inner.get("exclusiveMinimum"), inner.get("maximum")
    if low is not None:
        return f"{words}, {low:,} to {high:,}" if high is not None else f"{words}, {low:g} or more"
    if above is not None:
        return f"{words} above {above:g}" + (f", at most {high:,}" if high is not None else "")
    return words


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    # Of what TOML wants escaped, JSON leaves one character as it is.
    return json.dumps(str(value) if isinstance(value, Path) else value, ensure_ascii=False).replace("\x7f", "\\u007f")


@dataclass(frozen=True, slots=True)
class NewCamera:
    """A camera as it is written into a file, and the secrets that are not."""

    name: str
    #: The address with references in place of user and password.
    url: str
    #: What the references stand for, by environment variable.
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)


def new_cameras(given: Iterable[str]) -> list[NewCamera]:
    """Cameras from "NAME=URL", each password replaced by a reference to an environment variable.

    Raises:
        SettingsError: a name cannot be one, is given twice, or has no address.
    """
    cameras: list[NewCamera] = []
    for text in given:
        name, _, url = text.partition("=")
        if not name or not url or "://" in name:
            raise SettingsError("--camera: expected NAME=ADDRESS, for example dock-1=rtsp://10.0.0.7/stream")
        try:
            check_camera_id(name)
        except ValueError as error:
            raise SettingsError(f"--camera: {error}") from None
        if not url.isascii() and any("\ud800" <= character <= "\udfff" for character in url):
            raise SettingsError(f"--camera: {name}: {display_name(url)!r} is not UTF-8, as TOML has to be: rename it")
        if any(name == each.name for each in cameras):
            raise SettingsError(f"--camera: {name} is given twice")
        cameras.append(_without_secrets(name, url, {key for each in cameras for key in each.secrets}))
    return cameras


def absent_footage(cameras: Iterable[NewCamera]) -> list[NewCamera]:
    """Those whose address is a path at which there is nothing, as far as can be told without their variables."""
    return [each for each in cameras if not is_live(each.url) and "${" not in each.url and not Path(each.url).exists()]


def _without_secrets(name: str, url: str, used: set[str]) -> NewCamera:
    secrets: dict[str, str] = {}
    prefix = re.sub(r"[^A-Z0-9]+", "_", name.upper())
    prefix = prefix if prefix[0].isalpha() else f"CAMERA_{prefix}"

    def reference(kind: str, value: str) -> str:
        variable, number = f"{prefix}_{kind}", 2
        while variable in used | secrets.keys():
            variable, number = f"{prefix}_{kind}_{number}", number + 1
        secrets[variable] = value
        return f"${{{variable}}}"

    parts = split_address(url)
    if parts is not None and parts.credentials is not None and parts.place and "${" not in parts.credentials:
        user = reference("USER", parts.user) if parts.user else ""
        password = "" if parts.password is None else f":{reference('PASSWORD', parts.password)}"
        url = f"{parts.scheme}{user}{password}@{parts.place}"
    url = _SECRET_PARAMETER.sub(lambda match: match["name"] + reference("SECRET", match["value"]), url)
    parts = split_address(url)
    for part in parts.secret_parts if parts is not None else ():
        if "${" not in part:
            url = url.replace(f"/{part}", f"/{reference('SECRET', part)}")
    return NewCamera(name, url, secrets)


def file_text(cameras: Iterable[NewCamera]) -> str:
    """A whole settings file: the cameras, and every other key with its default, commented out."""
    parts = [_HEAD.rstrip()]
    for each in described():
        optional = each.is_row or each.name.endswith(f".{NAME}")
        if each.name:
            parts.append("")
            parts.append(_comment(each.description))
        if each.name == f"cameras.{NAME}":
            parts += [_comment(f"{entry.key}: {entry.description}") for entry in each.entries]
            parts.append("")
            parts.append("\n".join(map(_camera_text, cameras)) or _EXAMPLE_CAMERA)
            continue
        if each.name:
            parts.append(f"{'#' if optional else ''}{each.header}")
        for entry in each.entries:
            parts.append("")
            parts.append(_comment(f"{entry.description} ({entry.type})"))
            parts.append(f"#{entry.key} = {entry.example}")
    return "\n".join(parts) + "\n"


def _comment(text: str) -> str:
    return textwrap.fill(text, _WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)


def _camera_text(camera: NewCamera) -> str:
    key = camera.name if "." not in camera.name else json.dumps(camera.name)
    return f"[cameras.{key}]\nurl = {_toml(camera.url)}\n"


def secrets_text(cameras: Iterable[NewCamera]) -> str:
    """A file of variables as a shell and systemd's EnvironmentFile read it."""
    secrets = {name: value for camera in cameras for name, value in camera.secrets.items()}
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in secrets.items())


def write_new(path: Path, text: str, *, force: bool, secret: bool = False) -> None:
    """Write a file that was not there, or whose loss is wanted; a secret one only its owner may read.

    Raises:
        SettingsError: it is there, or cannot be written.
    """
    flags = os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if force else os.O_EXCL)
    try:
        with os.fdopen(os.open(path, flags, 0o600 if secret else 0o666), "w", encoding="utf-8") as file:
            if secret:
                os.fchmod(file.fileno(), 0o600)
            file.write(text)
    except FileExistsError:
        raise SettingsError(f"{path}: is there already; --force overwrites it") from None
    except OSError as error:
        raise SettingsError(f"{path}: cannot be written ({error.strerror})") from None
