"""Reading the settings: a file, the environment over it, the command line over both, and what is wrong with them."""

from __future__ import annotations

import difflib
import logging
import os
import re
import shlex
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, get_args

from pydantic import BaseModel, ValidationError

from stream import display_name, what_is_there

from .addresses import resolve
from .section import PART, SettingsError
from .settings import Settings, section_of

log = logging.getLogger(__name__)

ENVIRONMENT_PREFIX: Final = "CLIPLINE_"
DEFAULT_FILE: Final = Path("clipline.toml")
#: Variables with the prefix that are not settings.
_OTHER_VARIABLES: Final = frozenset(
    {
        *("CLIPLINE_SETTINGS", "CLIPLINE_KAFKA_LIBS", "CLIPLINE_MODEL_MIRROR", "CLIPLINE_RUN_START", "CLIPLINE_TURNS"),
        *("CLIPLINE_REQUIRE_APACHE", "CLIPLINE_REQUIRE_RTSP", "CLIPLINE_REQUIRE_MQTT", "CLIPLINE_REQUIRE_CHROMIUM"),
    }
)
#: Variables that Kubernetes sets in every container for a service whose name begins with "clipline".
_KUBERNETES: Final = (
    (re.compile(r"CLIPLINE_(?:\w+_)?SERVICE_HOST"), re.compile(r"[\w.:%-]*")),
    (re.compile(r"CLIPLINE_(?:\w+_)?SERVICE_PORT(?:_\w+)?"), re.compile(r"\d+")),
    (re.compile(r"CLIPLINE_(?:\w+_)?PORT(?:_\d+_(?:TCP|UDP|SCTP))?"), re.compile(r"(?:tcp|udp|sctp)://\S+")),
    (re.compile(r"CLIPLINE_(?:\w+_)?PORT_\d+_(?:TCP|UDP|SCTP)_PROTO"), re.compile(r"tcp|udp|sctp")),
    (re.compile(r"CLIPLINE_(?:\w+_)?PORT_\d+_(?:TCP|UDP|SCTP)_PORT"), re.compile(r"\d+")),
    (re.compile(r"CLIPLINE_(?:\w+_)?PORT_\d+_(?:TCP|UDP|SCTP)_ADDR"), re.compile(r"[\w.:%-]*")),
)
#: How pydantic marks a key of a table, as opposed to its value, in an error's location.
_KEY: Final = "[key]"
#: Keys whose values are never quoted in an error, with whatever lies below them.
_SECRET: Final = frozenset(
    {"kafka", "redis", "cameras", "channels", "verdicts", "dashboard", "kafka_security", "redis_security"}
)
_HIDDEN: Final = "…"


def load_settings(path: Path | None = None, environment: Mapping[str, str] | None = None) -> Settings:
    """Read the file (if there is one) and the environment over it.

    Raises:
        SettingsError: the named file is absent, is not TOML, or a key or value is not understood.
    """
    environment = os.environ if environment is None else environment
    file = settings_file(path, environment)
    values = _read(file) if file is not None else {}
    from_environment = _from_environment(environment)
    problems = [
        *_problems(values, str(file), part=True, typed=True),
        *_problems(from_environment, "environment", part=True),
    ]
    if problems:
        raise SettingsError(*problems)
    return _validate(_merged(values, from_environment), f"{file or DEFAULT_FILE} and environment", environment)


def settings_file(path: Path | None = None, environment: Mapping[str, str] | None = None) -> Path | None:
    """The file that settings are read from: `path`, the one that CLIPLINE_SETTINGS names, or clipline.toml here.

    None where nothing is named and there is none.

    Raises:
        SettingsError: there is no such file.
    """
    environment = os.environ if environment is None else environment
    named = path or (Path(environment["CLIPLINE_SETTINGS"]) if "CLIPLINE_SETTINGS" in environment else None)
    if named is not None and not named.is_file():
        why = what_is_there(named, "a settings file") or "no such settings file"
        raise SettingsError(f"{display_name(str(named))}: {why}")
    return named or (DEFAULT_FILE if DEFAULT_FILE.is_file() else None)


def no_file_words() -> str:
    """That no settings file is in this folder, and where above it one is, as whoever is in a folder below one needs it.

    The folder is not searched when settings are read: another project's file is not to be used unasked.
    """
    here = Path.cwd()
    above = next((parent for parent in here.parents if (parent / DEFAULT_FILE).is_file()), None)
    words = f"no {DEFAULT_FILE} in this folder"
    if above is None:
        return f"{words} (`clipline init` writes one)"
    where = "the parent" if above == here.parent else "a folder above"
    return f"{words} (found one in {where}: --settings {shlex.quote(os.path.relpath(above / DEFAULT_FILE))})"


def override(settings: Settings, values: Mapping[str, Any], where: str) -> Settings:
    """`settings` with `values` over them, nested as the sections are; a value of None leaves what is there.

    Raises:
        SettingsError: a key or value is not understood; the message begins with `where`.
    """
    return _validate(_merged(_whole(settings), _given(values)), where, os.environ)


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        # Not only errors of TOML: a number of thousands of digits, a thousand brackets.
        raise SettingsError(f"{file}: not TOML: {error}") from None
    except OSError as error:
        raise SettingsError(f"{file}: cannot be read ({error.strerror})") from None


def _whole(section: BaseModel) -> dict[str, Any]:
    """The values that somebody has given, as they are: a dump leaves passwords out."""

    def plain(value: Any) -> Any:
        if isinstance(value, BaseModel):
            return _whole(value)
        if isinstance(value, tuple):
            return [plain(each) for each in value]
        return {key: plain(each) for key, each in value.items()} if isinstance(value, dict) else value

    return {name: plain(value) for name, value in section if name in section.model_fields_set}


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    return {k: _given(v) if isinstance(v, Mapping) else v for k, v in values.items() if v is not None}


def _validate(values: Mapping[str, Any], where: str, environment: Mapping[str, str]) -> Settings:
    if problems := _problems(values, where, part=False):
        raise SettingsError(*problems)
    settings = Settings.model_validate(values)
    _ = settings.broker  # a secret that cannot be read is said at once
    try:
        redis = settings.redis_security.applied(resolve(settings.redis, environment))
    except ValueError as error:
        raise SettingsError(f"{where}: redis: {error}") from None
    return settings.model_copy(update={"redis": redis})


def _problems(values: Mapping[str, Any], where: str, *, part: bool, typed: bool = False) -> list[str]:
    """A line for each key or value that is not understood.

    Args:
        values: the settings as they were read.
        where: they are from.
        part: need not hold all that belongs together.
        typed: values have types. Those of variables are text, whatever they stand for.
    """
    found: dict[tuple[int | str, ...], str] = {}
    try:
        Settings.model_validate(values, context=PART if part else None)
    except ValidationError as error:
        found = {e["loc"]: _described(e["type"], e["loc"], e["input"], e["msg"]) for e in error.errors()}
    if typed:
        for location, value, expected in _mistyped(values, Settings):
            found.setdefault(location, _described("type", location, value, f"expected {expected}"))
    return [f"{where}: {problem}" for problem in found.values()]


#: What TOML has for values of these types, and that in words.
_TYPES: Final[Mapping[type, tuple[tuple[type, ...], str]]] = {
    bool: ((bool,), "true or false, without quotes"),
    float: ((float, int), "a number, without quotes"),
    int: ((int,), "a whole number, without quotes"),
}


def _mistyped(
    values: Mapping[str, Any], section: type[BaseModel], at: tuple[int | str, ...] = ()
) -> Iterator[tuple[tuple[int | str, ...], object, str]]:
    """Place, value and what was expected, of values that are of another type than they stand for, such as "0.7"."""
    for key, value in values.items():
        field = section.model_fields.get(key)
        if field is None:
            continue
        inner, kinds = section_of(field.annotation), (field.annotation, *get_args(field.annotation))
        if inner is not None:
            for place, each in _tables(value, is_one=inner is field.annotation):
                yield from _mistyped(each, inner, (*at, key, *place))
        for kind, (types, words) in _TYPES.items():
            if kind in kinds and type(value) not in types:
                yield (*at, key), value, words


def _tables(value: object, *, is_one: bool) -> Iterator[tuple[tuple[int | str, ...], Mapping[str, Any]]]:
    """The tables that a value holds (itself, many by name, or a row of them), and where in it they are."""
    many: dict[tuple[int | str, ...], object] = {}
    if isinstance(value, list):
        many = {(number,): each for number, each in enumerate(value)}
    elif isinstance(value, Mapping):
        many = {(): value} if is_one else {(name,): each for name, each in value.items()}
    yield from ((place, each) for place, each in many.items() if isinstance(each, Mapping))


def _described(kind: str, location: tuple[int | str, ...], found: object, message: str) -> str:
    key = _name(location)
    message = message.removeprefix("Value error, ")
    if kind == "extra_forbidden":
        return f"unknown setting {key!r}{_near(location)}"
    if location[-1:] == (_KEY,):
        return f"{key}: {message}"
    shown = _HIDDEN if location[:1] and location[0] in _SECRET else _shown(found)
    if kind == "model_type":
        return f"{key} = {shown}: expected a table, [{key}]"
    return f"{key or 'settings'} = {shown}: {message}"


def _name(location: tuple[int | str, ...]) -> str:
    """A key in words: "tracker.labels.fight.start", and "rules #2.start" of the second table [[rules]]."""
    name = ""
    for part in location:
        if isinstance(part, int):
            name += f" #{part + 1}"
        elif part != _KEY:
            name += f"{'.' if name else ''}{display_name(part)}"
    return name


def _shown(value: object) -> str:
    """`value` for a message; it may be an address, wherever it is."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{k}: {_HIDDEN if k in _SECRET else _shown(v)}" for k, v in value.items()) + "}"
    return repr(display_name(str(value)) if isinstance(value, str | Path) else value)


def _near(location: tuple[int | str, ...]) -> str:
    """What may be meant by the unknown key that a location ends with."""
    section: type[BaseModel] = Settings
    parts = iter(location[:-1])
    for part in parts:
        field = section.model_fields.get(str(part))
        inner = section_of(field.annotation) if field is not None else None
        if field is None or inner is None:
            return ""
        section = inner
        if section is not field.annotation:
            next(parts, None)  # the name of one of many
    # CLIPLINE_WORKER_MODEL for CLIPLINE_WORKER__MODEL.
    for name, field in section.model_fields.items():
        inner = section_of(field.annotation)
        key = str(location[-1]).removeprefix(f"{name}_")
        if inner is not None and key in inner.model_fields and inner is field.annotation:
            return f"; did you mean {name}.{key}, as a variable {ENVIRONMENT_PREFIX}{name.upper()}__{key.upper()}?"
    near = difflib.get_close_matches(str(location[-1]), section.model_fields, n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(section.model_fields)}"


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, value in environment.items():
        if not name.startswith(ENVIRONMENT_PREFIX) or name in _OTHER_VARIABLES:
            continue
        if _is_of_kubernetes(name, value):
            log.debug("%s is Kubernetes' variable for a service, not a setting", name)
            continue
        *sections, key = name.removeprefix(ENVIRONMENT_PREFIX).lower().split("__")
        place = values
        for section in sections:
            place = place.setdefault(section, {})
            if not isinstance(place, dict):
                raise SettingsError(
                    f"environment: {name} is inside {section!r}, which another variable sets to a value"
                )
        if isinstance(place.get(key), dict):
            raise SettingsError(f"environment: {name}: {key!r} is a section, and other variables set its keys")
        place[key] = value
    return values


def _is_of_kubernetes(name: str, value: str) -> bool:
    return any(names.fullmatch(name) and values.fullmatch(value) for names, values in _KUBERNETES)


def _merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = _merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged
