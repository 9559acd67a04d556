"""What all sections of the settings share."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final, Self

from pydantic import BaseModel, ConfigDict, PlainSerializer, SecretStr, model_validator

from stream import display_name

#: Context of a validation that sees the settings of one origin only.
PART: Final = "part"

#: Nobody means more, and sums stay far from where they would overflow: ten years, a petabyte, a month in seconds.
MAX_HOURS: Final = 87_600
MAX_MEGABYTES: Final = 1_000_000_000
MAX_DAYS: Final = 30 * 86_400
MAX_COUNT: Final = 1_000_000_000
#: Of what lies within a segment, which lasts an hour at most.
MAX_SECONDS: Final = 3600

_REFERENCE: Final = re.compile(r"\s*\$\{[^}]*\}\s*")
#: An address that may hold a password: kept whole, shown and dumped without it, and in no error.
Address = Annotated[str, PlainSerializer(display_name)]


class SettingsError(Exception):
    """Settings are unknown or have unusable values.

    The message names where they came from and is about the first of `problems`, which holds one line for each.
    """

    def __init__(self, *problems: str) -> None:
        more = len(problems) - 1
        super().__init__(problems[0] + (f" (and {more} more: see `clipline check`)" if more else ""))
        self.problems = problems


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, hide_input_in_errors=True)

    @model_validator(mode="after")
    def _has_no_references(self) -> Self:
        # Taken as it stands, a secret that everybody can guess would sign what only we may sign.
        for name, value in self:
            if isinstance(value, SecretStr) and _REFERENCE.fullmatch(value.get_secret_value()):
                raise ValueError(
                    f"{name}: ${{…}} stands for a variable in addresses only: use {name}_file, or the variable of this "
                    "setting (docs/configuration.md)"
                )
        return self

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        for name, value in super().__repr_args__():
            shown = Path(display_name(str(value))) if isinstance(value, Path) else value
            yield name, display_name(value) if isinstance(value, str) else shown


def check_group(text: str) -> str:
    """Return the name of a group of workers.

    Raises:
        ValueError: there can be no such group.
    """
    if not text.isprintable():
        raise ValueError("expected no control characters")
    if text.endswith(".redis"):
        raise ValueError("expected another ending than .redis: that is the name of a group that fills Redis")
    return text


def only_line(file: Path, where: str, what: str) -> str:
    """The one line that `file` holds.

    Raises:
        SettingsError: it cannot be read, or holds another number of lines.
    """
    shown = display_name(str(file))
    try:
        # A password may hold spaces, and editors begin files with a mark.
        lines = [line.strip() for line in file.read_text("utf-8-sig").splitlines() if line.strip()]
    except OSError as error:
        raise SettingsError(f"{where}: {shown} cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{where}: {shown} is not text") from None
    if len(lines) != 1:
        raise SettingsError(f"{where}: {shown}: expected one {what} on one line, found {len(lines)}")
    return lines[0]
