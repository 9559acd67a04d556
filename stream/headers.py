"""Headers of a record: what `stream.broker` carries and `stream.segment` writes, so that neither needs the other."""

from __future__ import annotations

#: Names and values in their order; a name may stand twice.
Headers = list[tuple[str, bytes]]
