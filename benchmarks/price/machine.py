"""What machine this is: a figure without its processor says little."""

from __future__ import annotations

import platform
import re
from pathlib import Path

from consumers.cores import usable_cores
from models.engines.files import require_openvino


def processor() -> str:
    """The processor's name and what of its features matters here."""
    file = Path("/proc/cpuinfo")
    text = file.read_text("utf-8") if file.is_file() else ""
    found = re.search(r"model name\s*: (.*)", text)
    flags = [name for flag, name in (("avx512f", "AVX-512"), ("avx512_bf16", "bf16")) if f" {flag}" in text]
    return f"{found[1].strip() if found else platform.processor()} ({', '.join(flags) or 'neither AVX-512 nor bf16'})"


def machine() -> str:
    """The processor, and how many of its cores may be used."""
    return f"{usable_cores()} cores of {processor()}"


def precisions() -> tuple[str, ...]:
    """In what OpenVINO computes here, the one that Clipline chooses last."""
    has_bf16 = "BF16" in require_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return ("f32", "bf16") if has_bf16 else ("f32",)
