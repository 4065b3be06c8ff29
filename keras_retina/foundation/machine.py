"""This machine: its name and our version in measurements, and its freed memory, which is kept for the next step."""

from __future__ import annotations

import ctypes
import importlib.metadata
import os
import platform
import re
import sys
from pathlib import Path

# Parameters of glibc's mallopt, from malloc.h.
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8
_LARGEST_INT = 2**31 - 1

MOST_THREADS = 1024  # LiteRT counts them in 32 bits, and makes as many as it is told


def keep_freed_memory() -> bool:
    """Tells glibc to reuse freed blocks instead of returning them to the system; True where that took effect.

    By default every tensor over 32 MiB is mapped and unmapped again for each operation, and the kernel clears its pages
    each time. Measured with `benchmarks/training/training_step.py`. Other C libraries and systems are left alone.
    """
    if not sys.platform.startswith("linux"):
        return False
    library = ctypes.CDLL(None)
    if not hasattr(library, "mallopt") or not hasattr(library, "gnu_get_libc_version"):
        return False
    settings = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, _LARGEST_INT), (_ARENA_MAX, 1))
    return all([library.mallopt(parameter, value) == 1 for parameter, value in settings])


def usable_cores() -> list[int]:
    """Returns the numbers of the cores that this process may use; all of the machine where the system does not tell."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def machine_name() -> str:
    """Returns processor, cores and system, e.g. `AMD EPYC 7B13, 2 cores, Linux x86_64`."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        found = re.search(r"^(?:model name|Model)\s*:\s*(.+)$", cpuinfo.read_text(errors="replace"), re.MULTILINE)
        name = found.group(1).strip() if found else name
    return f"{name}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}"


def vector_instructions() -> str:
    """Returns the widest vector instructions of the processor: `AVX-512`, `AVX2`, or its architecture.

    Kernels for others round differently, and a training ends elsewhere.
    """
    cpuinfo = Path("/proc/cpuinfo")
    flags = set(cpuinfo.read_text(errors="replace").split()) if cpuinfo.is_file() else set()
    names = {"avx512f": "AVX-512", "avx2": "AVX2"}
    return next((name for flag, name in names.items() if flag in flags), platform.machine())


def package_version() -> str:
    """Returns the version of the installed `keras-retina`."""
    return importlib.metadata.version("keras-retina")
