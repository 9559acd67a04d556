"""What rooms of the code log, apart from what earlier tests left running in the process."""

from __future__ import annotations

import logging

import pytest


def logged_by(caplog: pytest.LogCaptureFixture, *rooms: str) -> list[logging.LogRecord]:
    """Records of these rooms (names of loggers, or beginnings of such up to a dot), in order.

    All tests of a process share one log: a client that an earlier one did not close logs in the middle of the next.
    """
    return [r for r in caplog.records if any(f"{r.name}.".startswith(f"{room}.") for room in rooms)]


def messages_of(caplog: pytest.LogCaptureFixture, *rooms: str) -> list[str]:
    return [record.getMessage() for record in logged_by(caplog, *rooms)]
