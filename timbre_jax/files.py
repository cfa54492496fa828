"""A disk that takes no more, told from other trouble: the one kind that making room mends."""

from __future__ import annotations

import errno
import os

_NUMBERS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# Libraries give the system's words without its number.
_WORDS = ("No space left on device", "File too large", "Disk quota exceeded")


def why_full(error: BaseException) -> str:
    """The system's words where an error says that the disk takes no more; "" for every other error."""
    if isinstance(error, OSError) and error.errno in _NUMBERS:
        return os.strerror(error.errno)
    return next((words for words in _WORDS if words in str(error)), "")
