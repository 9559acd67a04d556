"""Text and tables as people have them: what spreadsheets, other systems and other countries write.

A table is text with a line of column names, separated by commas, semicolons or tabs, in UTF-8, UTF-16 or Windows-1252,
with any ends of lines. Names of columns are compared without case; cells are stripped; empty lines, and empty cells at
the end of a line, are passed over.
"""

from __future__ import annotations

import codecs
import csv
import io
import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_DELIMITERS: Final = ",;\t"
_AFTER_QUOTE: Final = re.compile(r'"[ ]+(?=[,;\t\r\n]|$)')
#: Share of zero bytes from which text without a byte order mark is taken for UTF-16.
_UTF16_ZEROS: Final = 0.2
_SEXAGESIMAL_PARTS: Final = 3
_SIXTY: Final = 60
#: How many problems one message names.
_REPORTED: Final = 20


class TableError(ValueError):
    """A file that cannot be read as text or as a table; the message names the file."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a table: its number in the file, and its cells by the column's name in lower case."""

    number: int
    cells: Mapping[str, str]
    #: More cells than there are columns, as they are.
    surplus: tuple[str, ...] = ()

    def get(self, column: str) -> str:
        """The cell; "" if it is empty or there is no such column."""
        return self.cells.get(column, "")

    def check(self) -> None:
        """Refuse a line with more cells than there are columns.

        Raises:
            ValueError: quotes the first cell too many.
        """
        if self.surplus:
            raise ValueError(
                f"{self.surplus[0]!r} is one cell more than there are columns ({', '.join(self.cells)}); "
                "expected text with commas in quotes"
            )


def read_text(path: Path, say: Callable[[str], None]) -> str:
    """The text of a file, whatever wrote it; `say` is told if its encoding had to be guessed.

    Raises:
        TableError: it cannot be read, or is no text.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise TableError(f"{path}: cannot be read ({error.strerror})") from None
    for mark, encoding in (
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
    ):
        if content.startswith(mark):
            return _decoded(content.removeprefix(mark), encoding, path)
    for first, encoding in ((1, "utf-16-le"), (0, "utf-16-be")):
        half = content[first::2]
        if half.count(0) > _UTF16_ZEROS * len(content):
            return _decoded(content, encoding, path)
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        text = _decoded(content, "cp1252", path)
        line = content.count(b"\n", 0, error.start) + 1
        say(
            f"{path}: read as Windows-1252, since line {line} is not UTF-8 (byte 0x{content[error.start]:02x}); "
            "save it as UTF-8 if names with accents look wrong"
        )
    if odd := next((c for c in text if ord(c) < ord(" ") and c not in "\t\n\r\f\v"), None):
        line = text.count("\n", 0, text.index(odd)) + 1
        raise TableError(f"{path}: expected text, found the byte 0x{ord(odd):02x} in line {line}")
    return text


def read_table(path: Path, wanted: Collection[str], say: Callable[[str], None]) -> tuple[list[str], Iterator[Line]]:
    """The names of a table's columns in lower case, and its lines that are not empty.

    Args:
        path: of the file.
        wanted: names of columns, by which the separator is known.
        say: told if the encoding had to be guessed.

    Raises:
        TableError: it cannot be read; from the iterator, too.
    """
    text = read_text(path, say)
    # A blank between a quote and the separator is nobody's text.
    lines = [_AFTER_QUOTE.sub('"', line) for line in io.StringIO(text, newline="")]
    skipped = 0
    delimiter = None
    while lines and (not lines[0].strip(f"{_DELIMITERS} \r\n") or lines[0].lower().startswith("sep=")):
        if lines[0].lower().startswith("sep="):  # Excel's own first line
            delimiter = lines[0].strip()[4:5] or None
        lines, skipped = lines[1:], skipped + 1
    if delimiter is None:
        delimiter = _delimiter(lines[0] if lines else "", wanted)
    rows = csv.reader(lines, delimiter=delimiter, strict=True, skipinitialspace=True)
    try:
        columns = [name.strip().lower() for name in next(rows, [])]
    except csv.Error as error:
        raise TableError(f"{path}, line {skipped + 1}: {error}") from None
    while columns and not columns[-1]:
        columns.pop()

    def found() -> Iterator[Line]:
        try:
            for row in rows:
                cells = [cell.strip() for cell in row]
                if any(cells):
                    surplus = tuple(cell for cell in cells[len(columns) :] if cell)
                    filled = cells + [""] * (len(columns) - len(cells))
                    yield Line(skipped + rows.line_num, dict(zip(columns, filled, strict=False)), surplus)
        except csv.Error as error:
            raise TableError(f"{path}, line {skipped + rows.line_num}: {error}") from None

    return columns, found()


def seconds_of(text: str, column: str) -> float:
    """Seconds, written as 83, 83.5, 83,5, 1:23 or 00:01:23.5.

    Raises:
        ValueError: it is no such time; quotes it with the column's name.
    """
    parts = text.strip().replace(",", ".").split(":")
    try:
        values = [float(part) for part in parts]
    except ValueError:
        values = []
    wrong = not values or len(values) > _SEXAGESIMAL_PARTS or not all(0 <= v < math.inf for v in values)
    # 1:75 is no minute; 90:00 is an hour and a half.
    wrong = wrong or any(v >= _SIXTY for v in values[1:])
    wrong = wrong or not all(v.is_integer() for v in values[:-1])
    if wrong:
        raise ValueError(f"{column} {text!r}: expected seconds, or a time like 00:01:23")
    total = 0.0
    for value in values:
        total = total * _SIXTY + value
    return total


def bounded(problems: Sequence[str]) -> str:
    """The problems, one a line, or as many as one wants to read and how many more there are."""
    more = f"\n… and {len(problems) - _REPORTED} more" if len(problems) > _REPORTED else ""
    return "\n".join(problems[:_REPORTED]) + more


def _delimiter(header: str, wanted: Collection[str]) -> str:
    """The separator by which most of the wanted columns are found; a comma if none are."""

    def known(delimiter: str) -> int:
        names = header.split(delimiter)
        return sum(name.strip().strip('"').strip().lower() in wanted for name in names)

    return max(_DELIMITERS, key=known)


def _decoded(content: bytes, encoding: str, path: Path) -> str:
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        raise TableError(f"{path}: expected text in {encoding}, found the byte 0x{content[error.start]:02x}") from None
