"""How many processor cores this process may use."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Final

_CGROUPS: Final = Path("/sys/fs/cgroup")
_MEMBERSHIP: Final = Path("/proc/self/cgroup")


def usable_cores(cgroups: Path = _CGROUPS, membership: Path = _MEMBERSHIP) -> int:
    """Cores by affinity, fewer where a control group limits the process's share, as Docker and Kubernetes do.

    Args:
        cgroups: where control groups are mounted.
        membership: names the groups of this process, one a line.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([cores, *(math.ceil(share) for share in _shares(cgroups, membership))]))


def _shares(cgroups: Path, membership: Path) -> Iterator[float]:
    """The limits, in cores, of this process's groups and of those that they lie in."""
    try:
        lines = membership.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not controllers:  # version 2: one tree for all controllers
            # Beside version 1 it is mounted one level deeper.
            for tree in (cgroups, cgroups / "unified"):
                yield from _limits(tree, path, _quota_v2)
        elif "cpu" in controllers.split(","):
            for tree in {cgroups / controllers, cgroups / "cpu"}:
                yield from _limits(tree, path, _quota_v1)


def _limits(tree: Path, path: str, quota: Callable[[Path], float | None]) -> Iterator[float]:
    group = PurePosixPath(path.lstrip("/"))
    # In a container the path may be that of the host, where the mounted tree begins with the container's own group.
    for each in (group, *group.parents):
        with contextlib.suppress(OSError, ValueError, ZeroDivisionError):
            if (limit := quota(tree / each)) is not None:
                yield limit


def _quota_v2(group: Path) -> float | None:
    """`cpu.max` holds "max 100000" or microseconds of processor time in each period of microseconds."""
    quota, period = (group / "cpu.max").read_text("utf-8").split()
    return None if quota == "max" else int(quota) / int(period)


def _quota_v1(group: Path) -> float | None:
    quota, period = (int((group / f"cpu.cfs_{name}_us").read_text("utf-8")) for name in ("quota", "period"))
    return None if quota < 0 else quota / period
