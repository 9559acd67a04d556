"""By which scores of a camera become events at a time, as workers with the same settings have it.

Rules come from their topic, or, where nobody has applied any, from the settings; beneath them lies what the model says.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from consumers.rules.applying import holding
from consumers.rules.rule import Rule
from consumers.rules.rule_set import RuleSet
from consumers.rules.version import RulesVersion
from consumers.settings import Settings, SettingsError
from models import Checkpoint, ModelError, find, shipped

#: Versions whose rules are kept ready.
_MAX_VERSIONS: Final = 64
_DEFAULT: Final = "default"


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What holds."""

    #: The rule of each label that makes events.
    rules: Mapping[str, Rule]
    #: The model that the settings name, as predictions name it; None where it is not here.
    model: str | None
    #: Of the rules.
    version: str | None
    #: Why there are none, in words; None where they are known.
    why: str | None = None


class ThresholdReader:
    """Knows them. For several threads."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._checkpoint: Checkpoint | None = None
        self._sets: dict[str, RuleSet] = {}

    def read(self, camera: str, time_us: int, versions: Sequence[RulesVersion]) -> Thresholds:
        """What holds for a camera at an event time, of the versions that were applied."""
        with self._lock:
            try:
                checkpoint = self._model()
                rules = self._rules(checkpoint, holding(versions, time_us))
            except (ModelError, SettingsError, OSError) as error:
                return Thresholds({}, None, None, str(error))
            return Thresholds(rules.of(camera), checkpoint.id, rules.version)

    def checkpoint(self) -> Checkpoint | str:
        """The model of the settings, or why it is not known here, in words."""
        with self._lock:
            try:
                return self._model()
            except (ModelError, OSError) as error:
                return str(error)

    def _model(self) -> Checkpoint:
        if self._checkpoint is None:
            name = self._settings.worker.model
            # Others are fetched by workers: an answer waits for no download.
            if name not in {_DEFAULT, *shipped()} and not Path(name).is_file():
                raise ModelError(f"model {name!r} is not on the dashboard's machine")
            self._checkpoint = find(name)
        return self._checkpoint

    def _rules(self, checkpoint: Checkpoint, version: RulesVersion | None) -> RuleSet:
        tracker, tables = self._settings.tracker, self._settings.rules
        if version is not None:
            tracker, tables = version.tracker, version.tables
        name = "" if version is None else version.version
        if (known := self._sets.get(name)) is None:
            if len(self._sets) >= _MAX_VERSIONS:
                self._sets.clear()
            known = self._sets[name] = RuleSet(checkpoint.contract, tracker, tables)
        return known
