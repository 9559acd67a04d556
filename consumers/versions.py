"""What decoded pictures depend on beside the file: the decoder's version, and that of the code around it."""

from __future__ import annotations

from pathlib import Path

import av

import stream
from models import code_version


def decoder_version(*, on_gpu: bool = False) -> str:
    """PyAV, libav's libraries and our own reading and decoding: another may give other pictures."""
    libav = " ".join(f"{name} {'.'.join(map(str, v))}" for name, v in sorted(av.library_versions.items()))
    where = " on a GPU" if on_gpu else ""
    return f"av {av.__version__} {libav} code {code_version(Path(stream.__file__).parent)}{where}"
