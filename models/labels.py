"""Names of labels: the same name is written the same way wherever it comes from.

Where a clip may have several, they stand in one text: `fight|smoke`.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Final

#: Zero-width space, word joiner, byte order mark, soft hyphen; other joiners shape the letters of some scripts.
_INVISIBLE: Final = frozenset("\u200b\u2060\ufeff\u00ad")
#: Between the labels of one clip.
SEPARATOR: Final = "|"
#: What a model with an open set says of what is like nothing that it has learnt.
UNKNOWN: Final = "unknown"


def normal_label(text: str) -> str:
    """A label without what nobody sees: composed characters (NFC), one space between words, none around them.

    Characters without a shape of their own (zero-width spaces, byte order marks, control characters) are left out. What
    people see, such as upper and lower case, stays.
    """
    words = unicodedata.normalize("NFC", text).split()
    return " ".join(word for word in map(_visible, words) if word)


def labels_in(text: str) -> tuple[str, ...]:
    """The labels of a clip that may have several, each once, in alphabetical order; none of blanks alone."""
    return tuple(sorted({label for part in text.split(SEPARATOR) if (label := normal_label(part))}))


def several_labels(labels: Iterable[str]) -> str:
    """The text that `labels_in` reads."""
    return SEPARATOR.join(sorted(set(labels)))


def same_but_for_case(labels: Iterable[str]) -> str | None:
    """A question about labels that differ in upper and lower case only: how often each occurs, how to make them one.

    None if there are none.
    """
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for label in labels:
        found[label.casefold()][label] += 1
    several = [counts.most_common() for counts in found.values() if len(counts) > 1]
    if not several:
        return None
    told = "; ".join(" and ".join(f"{label!r} ({n} times)" for label, n in counts) for counts in several)
    options = [f"--map {_quoted(f'{other}={most[0]}')}" for most, *others in several for other, _ in others]
    return f"labels differ in upper and lower case only: {told}; if they are one, say so: {' '.join(options)}"


def _quoted(text: str) -> str:
    """As a shell takes it for one word."""
    return text if re.fullmatch(r"[\w=.-]+", text) else f"'{text}'"


def _visible(word: str) -> str:
    return "".join(c for c in word if c not in _INVISIBLE and unicodedata.category(c) != "Cc")
