"""`clipline rules`: versions of rules in words."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from consumers.records.prediction import rfc3339
from consumers.rules.applying import apply_settings, holding
from consumers.rules.rule_set import RuleSet
from consumers.rules.topic import RulesTopic, since_words
from consumers.rules.version import RulesVersion
from consumers.settings import Settings, SettingsError
from consumers.terminal.console import Output, print_json
from consumers.terminal.wording import count
from models import find
from stream import KafkaTransport


def apply_rules(settings: Settings, since_us: int | None, out: Output, errors: Output) -> None:
    """Have the rules of the settings hold, and say from when on.

    Raises:
        SettingsError: they cannot be used.
        ModelError: there is no such model.
        BrokerError: the broker does not answer.
    """
    contract = find(settings.worker.model).contract
    now_us = _now_us()
    applied = apply_settings(KafkaTransport(settings.broker, at_once=True), settings, contract, since_us, _now_us)
    name, since = applied.version.version, since_words(applied.version.since_us)
    if applied.held:
        out.print(f"rules: version {name} holds already, from {since} on", soft_wrap=True)
    else:
        out.print(f"rules: version {name} holds from {since} on, in group {settings.worker.group}", soft_wrap=True)
        if applied.late:
            errors.print(
                "the broker was slow to store it: workers may have classified windows behind that time by the rules "
                "before; apply it again, and that time holds for all",
                style="yellow",
                soft_wrap=True,
            )
        if applied.version.since_us < now_us:
            errors.print(
                "windows that were filmed since and are classified keep their events; a replay with --rules then "
                "gives others",
                style="yellow",
                soft_wrap=True,
            )
    for each in applied.later:
        out.print(f"version {each.version} takes over at {since_words(each.since_us)}", soft_wrap=True)
    if applied.dropped:
        errors.print(f"{count(len(applied.dropped), 'oldest version')} not kept any longer", style="yellow")


def show_rules(settings: Settings, name: str | None, camera: str | None, out: Output, *, as_json: bool) -> None:
    """Print a version as settings, or what it means for a camera.

    Raises:
        SettingsError: there is no such version, or it cannot be used with the model.
        ModelError: there is no such model.
        BrokerError: the broker does not answer.
    """
    versions = _topic(settings).read()
    if name is None:
        found = holding(versions, _now_us())
    else:
        found = next((each for each in reversed(versions) if each.version.startswith(name)), None)
        if found is None:
            known = ", ".join(dict.fromkeys(each.version for each in versions)) or "none"
            raise SettingsError(f"rules: there is no version {name!r} of group {settings.worker.group}; known: {known}")
    tracker, tables = (settings.tracker, settings.rules) if found is None else (found.tracker, found.tables)
    where = "from the settings: none was applied" if found is None else f"holds from {since_words(found.since_us)} on"
    if camera is not None:
        rules = RuleSet(find(settings.worker.model).contract, tracker, tables).of(camera)
        shown = {label: _plain(rule) for label, rule in rules.items()}
        if as_json:
            print_json(out, shown)
            return
        for label, rule in shown.items():
            out.print(f"{camera}, {label}: {', '.join(f'{k} {v}' for k, v in rule.items())}", soft_wrap=True)
        if not shown:
            out.print(f"{camera}: no events", soft_wrap=True)
        return
    version = RulesVersion(settings.worker.group, 0, 0, tracker, tables) if found is None else found
    if as_json:
        print_json(out, json.loads(version.encode()[2]))
        return
    for line in (f"# version {version.version}, {where}", *rules_toml(version)):
        out.print(line, soft_wrap=True)


def show_history(settings: Settings, out: Output, errors: Output, *, as_json: bool) -> None:
    """Print all versions, the newest last.

    Raises:
        BrokerError: the broker does not answer.
    """
    versions = _topic(settings).read()
    now = holding(versions, _now_us())
    for each in versions:
        if as_json:
            body = {"version": each.version, "since": rfc3339(each.since_us), "applied": rfc3339(each.applied_us)}
            print_json(out, body | {"rules": len(each.tables), "holds": each is now})
        else:
            mark = "  holds now" if each is now else ""
            out.print(
                f"{each.version}  from {since_words(each.since_us)}, applied {rfc3339(each.applied_us)}, "
                f"{count(len(each.tables), 'rule')}{mark}",
                soft_wrap=True,
            )
    if not versions:
        errors.print(
            f"group {settings.worker.group}: no rules were applied; workers go by their settings",
            style="yellow",
            soft_wrap=True,
        )


def _topic(settings: Settings) -> RulesTopic:
    return RulesTopic(KafkaTransport(settings.broker, at_once=True), settings.topics, settings.worker.group)


def _now_us() -> int:
    return time.time_ns() // 1000


def _plain(rule: Any) -> dict[str, Any]:
    """What a rule says, without what it does not."""
    names = ("severity", "start", "end", "min_seconds", "cooldown_seconds", "update_seconds", "smoothing")
    shown = {name: getattr(rule, name) for name in names}
    if rule.escalate_after_seconds is not None:
        shown["escalate_after_seconds"] = rule.escalate_after_seconds
    if rule.group is not None:
        shown |= {"group": rule.group, "merge_seconds": rule.merge_seconds}
    if rule.schedule is not None:
        shown |= {"schedule": list(rule.schedule.stretches), "time_zone": rule.schedule.time_zone}
    return shown


def rules_toml(version: RulesVersion) -> Iterator[str]:
    """[tracker] and [[rules]] of a version, as lines of settings."""
    tracker = version.tracker.model_dump(mode="json", exclude_none=True)
    labels: Mapping[str, Mapping[str, Any]] = tracker.pop("labels")
    yield from ("", "[tracker]", *_keys(tracker))
    for label, keys in labels.items():
        yield from ("", f"[tracker.labels.{json.dumps(label, ensure_ascii=False)}]", *_keys(keys))
    for table in version.tables:
        yield from ("", "[[rules]]", *_keys(table.model_dump(mode="json", exclude_none=True)))


def _keys(table: Mapping[str, Any]) -> Sequence[str]:
    return [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in table.items()]
