"""Escapes for untrusted text, so that it is safe on a terminal, in a table cell and in a line of a log."""

from __future__ import annotations

import re

# C1 controls, bidirectional marks and overrides, the line separators of Unicode, and lone surrogates
_BEYOND_ASCII = "\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
_IN_TEXT = re.compile(f"[\\x00-\\x1f{_BEYOND_ASCII}]")
_IN_JSON = re.compile(f"[{_BEYOND_ASCII}]")  # JSON escapes the other control characters itself


def printable(text: str) -> str:
    r"""Escape control characters as Python does (`\x1b`, `\n`), so that they neither act nor hide text."""
    return _IN_TEXT.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def printable_json(document: str) -> str:
    """Return equivalent JSON in which the characters that act on a terminal are escaped."""
    return _IN_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", document)
