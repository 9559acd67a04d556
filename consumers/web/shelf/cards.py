"""Cards of models: those that ship, and the one of the settings where it is a file here. Each is read once."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from models import Checkpoint, ModelError, find, shipped
from models.evaluation.unseen import Measured, Unseen, measured_unseen

_DEFAULT: Final = "default"
#: Of a card, so much is read.
_MOST_TEXT: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Card:
    """A model as it lies here."""

    name: str
    checkpoint: Checkpoint
    bytes: int
    is_shipped: bool
    #: What was measured on clips that had no part in making it.
    unseen: Measured | None
    #: What people wrote of it, Markdown; None where nobody did.
    text: str | None


class ModelShelf:
    """Knows them. For several threads."""

    def __init__(self, served: str) -> None:
        """Prepare; `served` is the model of the settings: a name or a path."""
        self._served = served
        self._lock = threading.Lock()
        self._read: dict[Path, tuple[tuple[int, int], Card]] = {}
        self._unseen: Unseen | None = None

    def cards(self) -> tuple[list[Card], list[str]]:
        """All of them, by name, and what is wrong with those that cannot be read, in words."""
        with self._lock:
            cards, notes = [], []
            for name, path in self._paths().items():
                try:
                    cards.append(self._card(name, path))
                except (ModelError, OSError) as error:
                    notes.append(f"{name}: {error}")
            return cards, notes

    @property
    def unseen(self) -> Unseen:
        """What was measured on unseen clips, and of which."""
        with self._lock:
            return self._measured()

    def _measured(self) -> Unseen:
        if self._unseen is None:
            self._unseen = measured_unseen()
        return self._unseen

    def _paths(self) -> dict[str, Path]:
        found = shipped()
        own = Path(self._served)
        # Others are fetched by workers: an answer waits for no download.
        if self._served not in {_DEFAULT, *found} and own.is_file():
            found[own.stem if own.stem not in found else own.name] = own
        return found

    def _card(self, name: str, path: Path) -> Card:
        status = path.stat()
        mark = status.st_mtime_ns, status.st_size
        kept = self._read.get(path)
        if kept is not None and kept[0] == mark:
            return kept[1]
        is_shipped = path in shipped().values()
        unseen = self._measured().models.get(name) if is_shipped else None
        card = Card(name, find(str(path)), status.st_size, is_shipped, unseen, _text(path.with_suffix(".md")))
        self._read[path] = mark, card
        return card


def _text(path: Path) -> str | None:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.read(_MOST_TEXT)
    except OSError:
        return None
