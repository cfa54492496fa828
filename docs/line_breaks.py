"""MkDocs hook: keeps the dashes of a flag, and the numbers of an interval, on one line."""

from __future__ import annotations

import re

_TAG_OR_FLAG = re.compile(r"<[^>]*>|(?<![\w-])--(?:[a-z][\w.-]*)?")
_CELL = re.compile(r"(<td[^>]*>)(.*?)(</td>)", re.DOTALL)
_INTERVAL = re.compile(r"\([-+.\d]+(?:–| to )[-+.\d]+\)")


def _unbroken(text: str) -> str:
    """Returns HTML that is not wrapped."""
    return f'<span class="unbroken">{text}</span>'


def on_page_content(html: str, **kwargs) -> str:
    """Marks the flags in code, and the intervals in table cells, of a page."""

    def mark_flags(match: re.Match) -> str:
        return _TAG_OR_FLAG.sub(lambda part: part[0] if part[0].startswith("<") else _unbroken(part[0]), match[0])

    def mark_intervals(match: re.Match) -> str:
        return match[1] + _INTERVAL.sub(lambda part: _unbroken(part[0]), match[2]) + match[3]

    return _CELL.sub(mark_intervals, re.sub(r"<code.*?</code>", mark_flags, html, flags=re.DOTALL))
