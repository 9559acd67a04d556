"""Published versions of the schemas of all records: docs/schemas/NUMBER.json, one file each, never changed again.

    python docs/schemas.py              does what is written today break readers of a published version?
    python docs/schemas.py --publish    keep what is written today as the next version

Two directions are held to, since topics keep old records and programs of others are not replaced with ours:

    an older reader, a new record     nothing that it relies on is removed, renamed, retyped or widened
    a newer reader, an old record     nothing that old records lack is required, nothing that they hold is refused

What a reader does not know it passes over: new parts that need not be there break nobody.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

DOCS: Final = Path(__file__).resolve().parent
FOLDER: Final = DOCS / "schemas"
Schema = Mapping[str, Any]
#: Bounds, and whether a larger one takes more.
_BOUNDS: Final = {
    **dict.fromkeys(("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"), True),
    **dict.fromkeys(("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"), False),
}
_SENT: Final = (
    "pattern '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}(~drill-[0-9a-f]{8})?$' in place of '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$'"
)
_DRILLS: Final = "drills only, whose key and type older readers pass over (ADR 45)"
#: What breaks a published version all the same, and why that is accepted.
ACCEPTED: Final[Mapping[str, str]] = {
    "version 1: event.headers.ce_type: may be ['clipline.drill.started', 'clipline.drill.updated', "
    "'clipline.drill.ended'], which older readers do not know": _DRILLS,
    f"version 1: event.headers.ce_source: {_SENT}": _DRILLS,
    f"version 1: event.payload.camera: {_SENT}": _DRILLS,
    f"version 1: prediction.payload.camera: {_SENT}": _DRILLS,
    "version 1: event.payload.ending: may be ['off_schedule', 'rule_removed'], which older readers do not know": (
        "came with the rules, before versions were kept; older readers of ours name such a record and go on"
    ),
    "version 1: delivery.payload.kind: may be ['condition'], which older readers do not know": (
        "only of channels with `conditions`, which settings of older versions have not; older readers of ours name "
        "such a record and go on"
    ),
}
_TYPES: Final = frozenset({"string", "integer", "number", "boolean", "object", "array", "null"})


def current() -> dict[str, Any]:
    """What docs/asyncapi.yaml and what it refers to say today: by message, the schemas of headers and payload."""
    contract = yaml.safe_load((DOCS / "asyncapi.yaml").read_text("utf-8"))
    files = {"./event.schema.json": json.loads((DOCS / "event.schema.json").read_text("utf-8"))}
    return bundled(contract, files)


def bundled(contract: Schema, files: Mapping[str, Schema]) -> dict[str, Any]:
    """The schemas of all messages, each whole, without descriptions.

    Args:
        contract: an AsyncAPI document.
        files: schemas that it refers to, by the name under which it does.
    """
    found: dict[str, Any] = {}
    for name, message in sorted(contract["components"]["messages"].items()):
        parts = {part: _whole(message[part], contract, files) for part in ("headers", "payload") if part in message}
        found[name] = parts
    return found


def _whole(schema: Any, root: Schema, files: Mapping[str, Schema]) -> Any:
    if isinstance(schema, list):
        return [_whole(each, root, files) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if (reference := schema.get("$ref")) is not None:
        if reference in files:
            return _whole(files[reference], files[reference], files)
        target: Any = root
        for step in reference.removeprefix("#/").split("/"):
            target = target[step]
        return _whole(target, root, files)
    left_out = {"$schema", "$id", "$defs", "examples", "title"}
    whole = {}
    for key, value in schema.items():
        # A property may be called like a keyword: `description` is one only where it is text.
        if key in left_out or (key == "description" and isinstance(value, str)):
            continue
        whole[key] = _whole(value, root, files)
    return whole


def published() -> dict[int, dict[str, Any]]:
    """By number, the versions that were published."""
    return {int(path.stem): json.loads(path.read_text("utf-8")) for path in sorted(FOLDER.glob("*.json"))}


def breaks(older: Schema, newer: Schema) -> list[str]:
    """What `newer` breaks for readers of `older`, or for its own readers of older records; each names its place."""
    found = []
    for name, parts in older.items():
        if name not in newer:
            found.append(f"{name}: the message is gone")
            continue
        for part, schema in parts.items():
            if part not in newer[name]:
                found.append(f"{name}.{part}: it is said no more what it holds")
                continue
            found += _differences(schema, newer[name][part], f"{name}.{part}")
    return found


def _differences(old: Schema, new: Schema, where: str) -> Iterator[str]:
    yield from _of_kinds(old, new, where)
    yield from _of_values(old, new, where)
    yield from _of_properties(old, new, where)
    if isinstance(old.get("items"), dict) and isinstance(new.get("items"), dict):
        yield from _differences(old["items"], new["items"], f"{where}[]")
    extra = "additionalProperties"
    if isinstance(old.get(extra), dict) and isinstance(new.get(extra), dict):
        yield from _differences(old[extra], new[extra], f"{where}.*")
    for keyword in ("oneOf", "anyOf", "allOf", "if", "then", "else"):
        if old.get(keyword) != new.get(keyword):
            yield f"{where}: {keyword} is another one"


def _of_kinds(old: Schema, new: Schema, where: str) -> Iterator[str]:
    before, now = _types(old), _types(new)
    if more := sorted(now - before):
        yield f"{where}: may be {', '.join(more)}, which older readers do not expect"
    if less := sorted(before - now):
        yield f"{where}: may no more be {', '.join(less)}, which older records hold"


def _types(schema: Schema) -> frozenset[str]:
    told = schema.get("type")
    if told is None:
        return _TYPES
    kinds = {told} if isinstance(told, str) else set(told)
    return frozenset(kinds | ({"integer"} if "number" in kinds else set()))


def _of_values(old: Schema, new: Schema, where: str) -> Iterator[str]:
    before, now = _choices(old), _choices(new)
    if before is not None or now is not None:
        yield from _of_choices(before, now, where)
    for keyword in ("pattern", "format"):
        if old.get(keyword) != new.get(keyword):
            yield f"{where}: {keyword} {new.get(keyword)!r} in place of {old.get(keyword)!r}"
    for keyword, larger_takes_more in _BOUNDS.items():
        if old.get(keyword) != new.get(keyword):
            wider = new.get(keyword) is None or (
                old.get(keyword) is not None and (new[keyword] > old[keyword]) == larger_takes_more
            )
            who = "older readers expect" if wider else "older records keep to"
            yield f"{where}: {keyword} {new.get(keyword)} in place of {old.get(keyword)}, which {who}"


def _choices(schema: Schema) -> list[Any] | None:
    return [schema["const"]] if "const" in schema else schema.get("enum")


def _of_choices(before: list[Any] | None, now: list[Any] | None, where: str) -> Iterator[str]:
    if before is None:
        yield f"{where}: only some values are taken, and older records hold others"
    elif now is None:
        yield f"{where}: may be any value, and older readers know {before}"
    else:
        if more := [each for each in now if each not in before]:
            yield f"{where}: may be {more}, which older readers do not know"
        if less := [each for each in before if each not in now]:
            yield f"{where}: may no more be {less}, which older records hold"


def _of_properties(old: Schema, new: Schema, where: str) -> Iterator[str]:
    before, now = old.get("properties", {}), new.get("properties", {})
    for name, schema in before.items():
        if name in now:
            yield from _differences(schema, now[name], f"{where}.{name}")
        else:
            yield f"{where}.{name}: is gone (or has another name)"
    for name in old.get("required", []):
        if name not in new.get("required", []) and name in now:
            yield f"{where}.{name}: may be absent, and older readers rely on it"
    for name in new.get("required", []):
        if name not in old.get("required", []):
            yield f"{where}.{name}: is required, and older records lack it"
    if old.get("additionalProperties") is False and (added := sorted(set(now) - set(before))):
        yield f"{where}: {', '.join(added)} came, and older readers take nothing that they do not know"


def main(arguments: list[str]) -> int:
    """Check, or publish; the exit code."""
    versions, now = published(), current()
    if arguments == ["--publish"]:
        newest = max(versions, default=0)
        if versions.get(newest) == now:
            _say(f"version {newest} says what is written today")
            return 0
        path = FOLDER / f"{newest + 1}.json"
        path.write_text(json.dumps(now, indent=1, sort_keys=True) + "\n", "utf-8")
        _say(f"published {path.relative_to(DOCS.parent)}")
        return 0
    if arguments:
        _say(__doc__ or "")
        return 2
    found = [each for each in broken() if each not in ACCEPTED]
    _say("\n".join(found) or "nothing breaks")
    return int(bool(found))


def broken() -> list[str]:
    """What is written today breaks of published versions, those that are accepted among it."""
    now = current()
    return [f"version {number}: {each}" for number, version in published().items() for each in breaks(version, now)]


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
