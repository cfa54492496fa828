"""Large pages of memory for training on a CPU under Linux.

A training step takes and gives back hundreds of megabytes. In pages of 4 kB each of them is fetched from the kernel, and
zeroed, again at every step: a sixth to a third of a step of `rebnord2022`. Many systems give pages of 2 MB only to those who
ask ("madvise"), and glibc asks only if its environment variable says so when a process begins. So a program that wants them
begins once more, with the variable: the same process (its number stays, no child is made), before anything heavy is loaded.

GLIBC_TUNABLES=glibc.malloc.hugetlb=0 keeps it from that.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping
from pathlib import Path

TUNABLE = "glibc.malloc.hugetlb"
_SYSTEM = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def wanted(environment: Mapping[str, str], *, system: Path = _SYSTEM) -> dict[str, str]:
    """What must be added to a process's environment to get large pages; empty where nothing would change.

    That is so where the kernel gives them to everybody or nobody, for a C library other than glibc 2.35 or newer, and where
    somebody has already said whether to ask.
    """
    name, version = platform.libc_ver()
    tunables = environment.get("GLIBC_TUNABLES", "")
    if TUNABLE in tunables or name != "glibc" or tuple(int(part) for part in version.split(".")[:2]) < (2, 35):
        return {}
    try:
        if "[madvise]" not in system.read_text():
            return {}
    except OSError:  # not Linux, or a kernel without them
        return {}
    return {"GLIBC_TUNABLES": f"{tunables}:{TUNABLE}=1".lstrip(":")}


def use_large_pages() -> None:
    """Begins this program again with large pages, where that changes anything; else does nothing."""
    added = wanted(os.environ)
    if added and sys.executable and sys.orig_argv:
        # By its path: Python looks for its packages beside what its first argument names.
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, **added})
