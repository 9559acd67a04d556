"""From a model's thresholds and the settings to one rule for each label of a camera.

    the model's thresholds        fight: 0.7
    [tracker], its labels         min_seconds = 2
    [[rules]] camera = "*"        severity = "detection"
    [[rules]] camera = "dock-*"   start = 0.9                 dock-1, fight: 0.9, 2 s, detection

What is further down wins, key by key.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from consumers.records.prediction import content_id
from consumers.settings import RuleSettings, SettingsError, TrackerSettings
from models import Contract, normal_label

from .rule import Rule

#: Cameras whose rules are kept ready.
_MAX_CAMERAS: Final = 4096
#: Keys of a rule that are taken as they are.
_PLAIN: Final = ("min_seconds", "cooldown_seconds", "update_seconds", "smoothing", "severity", "merge_seconds")


def tracker_rules(contract: Contract, settings: TrackerSettings) -> dict[str, Rule]:
    """The rule of each label that makes events: the model's thresholds, overridden by the settings.

    Raises:
        SettingsError: the settings name a label that the model does not have, or thresholds that contradict.
    """
    rules = {}
    given = {normal_label(label): override for label, override in settings.labels.items()}
    for label, override in given.items():
        if label not in contract.labels:
            raise SettingsError(f"tracker.labels.{label}: the model knows {', '.join(contract.labels)}")
        if label not in contract.thresholds and override.start is None:
            raise SettingsError(f"tracker.labels.{label}: the model has no threshold for it, so 'start' is needed")
    for label in contract.labels:
        own = given.get(label)
        model = contract.thresholds.get(label)
        start = own.start if own and own.start is not None else model.start if model else None
        if start is None:
            continue
        end = own.end if own and own.end is not None else min(start, model.end) if model else start / 2
        try:
            rules[label] = Rule(
                start=start,
                end=end,
                min_seconds=_either(own.min_seconds if own else None, settings.min_seconds),
                cooldown_seconds=_either(own.cooldown_seconds if own else None, settings.cooldown_seconds),
                update_seconds=settings.update_seconds,
                smoothing=own.smoothing if own and own.smoothing is not None else settings.smoothing,
            )
        except ValueError as error:
            raise SettingsError(f"tracker.labels.{label}: {error}") from None
    return rules


def version_of(tracker: TrackerSettings, tables: Sequence[RuleSettings]) -> str:
    """The name of these rules: 12 digits that follow from what they say, wherever and whenever they are said."""
    content = {
        "tracker": tracker.model_dump(mode="json", exclude_none=True),
        "rules": [table.model_dump(mode="json", exclude_none=True) for table in tables],
    }
    return content_id(json.dumps(content, sort_keys=True))[:12]


class RuleSet:
    """The rules of all cameras in one version."""

    def __init__(self, contract: Contract, tracker: TrackerSettings, tables: Sequence[RuleSettings] = ()) -> None:
        """Put a model's thresholds and the settings together.

        Raises:
            SettingsError: they name a label that the model does not have, or contradict one another.
        """
        self.tracker, self.tables = tracker, tuple(tables)
        self.version = version_of(tracker, tables)
        self._labels = contract.labels
        self._normal = [t.model_copy(update={"label": normal_label(t.label)}) for t in tables]
        self._base = {
            label: replace(rule, version=self.version) for label, rule in tracker_rules(contract, tracker).items()
        }
        self._cameras: dict[str, dict[str, Rule]] = {}
        started = {*self._base, *(t.label for t in self._normal if t.start is not None)}
        for number, table in enumerate(self._normal, 1):
            if table.label == "*":
                continue
            if table.label not in self._labels:
                raise SettingsError(f"rules #{number}.label: the model knows {', '.join(self._labels)}")
            if table.label not in started:
                raise SettingsError(
                    f"rules #{number}.label: the model has no threshold for {table.label!r}, so 'start' is needed"
                )

    @property
    def base(self) -> Mapping[str, Rule]:
        """Those that come from the model and [tracker]."""
        return self._base

    @property
    def patterns(self) -> tuple[str, ...]:
        """Of which cameras something is said."""
        return tuple(dict.fromkeys(table.camera for table in self.tables))

    def of(self, camera: str) -> Mapping[str, Rule]:
        """The rule of each label that makes events on a camera."""
        if (known := self._cameras.get(camera)) is None:
            if len(self._cameras) >= _MAX_CAMERAS:
                self._cameras.clear()
            found = {label: self._rule(camera, label) for label in self._labels}
            known = self._cameras[camera] = {label: rule for label, rule in found.items() if rule is not None}
        return known

    def _rule(self, camera: str, label: str) -> Rule | None:
        rule, is_enabled = self._base.get(label), True
        for table in self._normal:
            if table.is_about(camera, label):
                is_enabled = is_enabled if table.enabled is None else table.enabled
                rule = self._first(table) if rule is None else _over(rule, table)
        return rule if is_enabled else None

    def _first(self, table: RuleSettings) -> Rule | None:
        """The rule of a label for which the model has no threshold: only a table that names it can begin it."""
        if table.label == "*" or table.start is None:
            return None
        tracker = self.tracker
        rule = Rule(
            table.start,
            table.start / 2,
            tracker.min_seconds,
            tracker.cooldown_seconds,
            tracker.update_seconds,
            tracker.smoothing,
            version=self.version,
        )
        return _over(rule, table)


def check_cameras(rules: RuleSet, cameras: Iterable[str]) -> None:
    """See that no table contradicts those above it, for these cameras. For others, `end` is lowered to `start`.

    Raises:
        SettingsError: one does; names the table and a camera.
    """
    for camera in cameras:
        for label, rule in rules.of(camera).items():
            ends = [n for n, t in enumerate(rules.tables, 1) if t.end is not None and t.is_about(camera, label)]
            if ends and (end := rules.tables[ends[-1] - 1].end) is not None and end > rule.start:
                raise SettingsError(
                    f"rules #{ends[-1]}.end = {end:g}: camera {camera} starts events of {label!r} from {rule.start:g}"
                )


def _over(rule: Rule, table: RuleSettings) -> Rule:
    """A rule with what a table says over it."""
    start = _either(table.start, rule.start)
    changes = {key: value for key in _PLAIN if (value := getattr(table, key)) is not None}
    if table.escalate_after_seconds is not None:
        changes["escalate_after_seconds"] = table.escalate_after_seconds or None
    if table.group is not None:
        changes["group"] = table.group or None
    if table.schedule is not None:
        changes["schedule"] = table.hours
    return replace(rule, start=start, end=min(start, _either(table.end, rule.end)), **changes)


def _either(value: float | None, otherwise: float) -> float:
    return otherwise if value is None else value
