"""Large memory pages for training on a CPU under Linux.

A training step allocates and frees hundreds of megabytes. With pages of 4 kB, the kernel maps and zeros each page again in
every step, which takes a sixth to a third of a step of `rebnord2022`. Many systems give pages of 2 MB only to programs that
request them ("madvise"), and glibc requests them only if an environment variable is set when the process starts. A program that
needs them therefore replaces itself by the same program with that variable set, before it loads anything large.

GLIBC_TUNABLES=glibc.malloc.hugetlb=0 prevents this.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping
from pathlib import Path

TUNABLE = "glibc.malloc.hugetlb"
_SYSTEM = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def missing_variables(environment: Mapping[str, str], *, system: Path = _SYSTEM) -> dict[str, str]:
    """Returns the environment variables that a process needs to get large pages.

    The result is empty if they would change nothing: the kernel gives large pages to all programs or to none, the C library is
    not glibc 2.35 or newer, or the environment already sets the tunable.
    """
    name, version = platform.libc_ver()
    tunables = environment.get("GLIBC_TUNABLES", "")
    if TUNABLE in tunables or name != "glibc" or tuple(int(part) for part in version.split(".")[:2]) < (2, 35):
        return {}
    try:
        if "[madvise]" not in system.read_text():
            return {}
    except OSError:  # not Linux, or a kernel without large pages
        return {}
    return {"GLIBC_TUNABLES": f"{tunables}:{TUNABLE}=1".lstrip(":")}


def use_large_pages() -> None:
    """Restarts this program, in the same process, with large pages if they have an effect."""
    variables = missing_variables(os.environ)
    if variables and sys.executable and sys.orig_argv:
        # Started by its full path, because Python searches its packages relative to its first argument.
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, **variables})
