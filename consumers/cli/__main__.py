"""Where `clipline` and `python -m consumers.cli` begin."""

from __future__ import annotations

import signal


def main() -> None:
    """Import the commands, which takes a second, and run one."""
    # Meanwhile, Ctrl-C ends the process as it ends any program, without a traceback of half an import.
    waits = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if waits:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from .main import main as run

    if waits:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    run()


if __name__ == "__main__":
    main()
