"""As many threads compute as the process may use cores, whatever the machine has."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import torch
from threadpoolctl import threadpool_limits

from consumers.cores import usable_cores


@contextlib.contextmanager
def one_thread_a_core() -> Iterator[None]:
    """Bound the threads of torch, OpenMP and BLAS by the cores of this process, within the block.

    By themselves they count the machine's: in a container with 2 of 64 cores, 64 threads would wait for each other.
    What OMP_NUM_THREADS says, as torchrun does for each of its processes, stays.
    """
    if "OMP_NUM_THREADS" in os.environ:
        yield
        return
    before = torch.get_num_threads()
    cores = min(before, usable_cores())
    with threadpool_limits(cores):
        torch.set_num_threads(cores)
        try:
            yield
        finally:
            torch.set_num_threads(before)
